//! Recordings that are damaged, or whose writer is ended.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::program::{interrupt, tidewatch_in, Said, PROGRAM};

use super::files::recorded;
use super::LIVE;

#[test]
fn a_damaged_recording_is_played_up_to_the_damage_and_the_exit_code_says_so() {
    let (folder, own) = recorded();
    let whole = fs::read(folder.path().join("r.tide")).unwrap();
    let replay = |bytes: &[u8]| {
        fs::write(folder.path().join("d.tide"), bytes).unwrap();
        let Said { code, out, err } = tidewatch_in(folder.path(), ["replay", "d.tide", "p.toml", "-q"]);
        assert_eq!(Some(1), code, "{err}");
        (out, err)
    };
    let (out, err) = replay(&whole[..whole.len() - 5]);
    assert!(out == own[0] && err.contains("the recording was not closed"), "{err}");
    let (out, err) = replay(&whole[..whole.len() * 4 / 5]);
    assert!(out.len() < own[0].len(), "{err}");
    assert!(
        err.starts_with("d.tide: damaged at byte ") && err.contains("bytes from there on are lost"),
        "{err}"
    );
    // So early that a source is not known: then nothing is played, and both are told.
    fs::write(folder.path().join("d.tide"), &whole[..150]).unwrap();
    let Said { code, out, err } = tidewatch_in(folder.path(), ["replay", "d.tide", "p.toml", "-q"]);
    assert_eq!((Some(2), "", 2), (code, &*out, err.lines().count()), "{err}");
    assert!(err.starts_with("d.tide: damaged at byte ") && err.contains("d.tide has no source "), "{err}");
    // In the middle of the blocks of records, which are most of it.
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 4;
    let (_, err) = replay(&flipped);
    assert!(err.starts_with("d.tide: damaged at byte ") && err.contains(" in block "), "{err}");
    assert!(err.contains("the block does not have its checksum; ") && err.contains(" from offset "), "{err}");
}

/// Starts to record standard input into `r.tide`, gives it a hundred records, and waits for `until`.
fn record_standard_input(folder: &Path, until: impl Fn(u64) -> bool) -> Child {
    let text = LIVE.replace("\"memory\"", "\"stdio\"").replace("max_future = \"1h\"\n", "");
    fs::write(folder.join("p.toml"), text).unwrap();
    let mut child = Command::new(PROGRAM)
        .args(["record", "p.toml", "--out", "r.tide"])
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let input = child.stdin.as_mut().expect("it is piped");
    writeln!(input, "ts,host,load").unwrap();
    (0..100).for_each(|n| writeln!(input, "{n},a,{n}").unwrap());
    input.flush().unwrap();
    let start = Instant::now();
    while !until(folder.join("r.tide").metadata().map_or(0, |file| file.len())) {
        assert!(start.elapsed() < Duration::from_secs(20), "it is not written");
        thread::sleep(Duration::from_millis(50));
    }
    child
}

/// Replays `r.tide`; the exit code, how many records there were, and standard error.
fn replay_standard_input(folder: &Path) -> (Option<i32>, u64, String) {
    let Said { code, out, err } =
        tidewatch_in(folder, ["replay", "r.tide", "p.toml", "--json", "--stream", "evictions"]);
    let summary: serde_json::Value = serde_json::from_str(&out).expect("it is JSON");
    (code, summary["records"].as_u64().expect("a number"), err)
}

#[test]
fn what_was_recorded_before_the_program_was_killed_can_be_replayed() {
    let folder = tempfile::tempdir().expect("there is room for it");
    // All but the beginning has waited for its five seconds.
    let mut child = record_standard_input(folder.path(), |length| length > 200);
    child.kill().expect("it is ours");
    child.wait().expect("it is ours");
    let (code, records, err) = replay_standard_input(folder.path());
    assert_eq!((Some(1), 100), (code, records));
    assert!(err.contains("the recording was not closed"), "{err}");
}

#[test]
fn an_interruption_closes_a_recording() {
    let folder = tempfile::tempdir().expect("there is room for it");
    let mut child = record_standard_input(folder.path(), |length| length > 0);
    thread::sleep(Duration::from_millis(500));
    interrupt(&child);
    // It must not end before it has heard of that: to wait for it would close its input.
    let _input = child.stdin.take();
    assert_eq!(Some(130), child.wait().expect("it is ours").code());
    assert_eq!((Some(0), 100, String::new()), replay_standard_input(folder.path()));
}
