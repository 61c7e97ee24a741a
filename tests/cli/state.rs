//! `tidewatch state`.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tidewatch::checkpoint::{object, Began, Body, Change, Changes, Manifest, ObjectRef, LOG};
use tidewatch_connectors::ingest::Position;
use tidewatch_connectors::store::{self, within, Log, Store};
use tidewatch_dataflows::{EventTime, Offset};

use crate::harness::program::{self, tidewatch, Said};

fn time(secs: i64) -> EventTime {
    EventTime::from_secs(secs).expect("in range")
}

/// A store with checkpoints at 10 s and 20 s: at the second one, a key has a new state and another was evicted.
fn checkpointed() -> (TempDir, String, Vec<ObjectRef>) {
    let folder = TempDir::new().expect("there is room for it");
    let url = folder.path().join("state").display().to_string();
    let whole = store::open(&url).expect("it can be made");
    assert!(whole.put_new("incarnations/00000000000000000001", b"").expect("there is room for it"));
    let store: Arc<dyn Store> = within(whole, "1/");
    let (mut log, _) = Log::open(store.clone(), LOG).expect("it is empty");
    let began = Began { hash: 7, version: String::new(), host: String::new(), process: 1, run: 1 };
    let epoch = log.begin(&Body::Began(began).encode()).expect("there is room for it");
    let first = [("api\u{1f}a", Some(&b"\x01\x02"[..])), ("api\u{1f}b", Some(b"\x03")), ("db", Some(b""))];
    let second = [("api\u{1f}a", Some(&b"\x04\x05\x06"[..])), ("api\u{1f}b", None)];
    let mut objects = Vec::new();
    for (boundary, kept) in [(10, &first[..]), (20, &second)] {
        let mut changes = Changes::new();
        for (key, state) in kept {
            let (version, last) = (time(boundary), time(boundary - 1));
            changes.push(Change { key, version, last, state: *state });
        }
        let bytes = object::encode(time(boundary), &changes).expect("there is memory");
        objects.push(ObjectRef::write(&*store, epoch, bytes).expect("there is room for it"));
        let position = Position {
            source: "requests".to_owned(),
            name: "requests.csv".to_owned(),
            offset: Offset(boundary as u64 * 100),
            watermark: time(boundary),
            newest: time(boundary),
        };
        let manifest = Manifest {
            boundary: time(boundary),
            epoch,
            hash: 7,
            is_savepoint: false,
            workers: 1,
            partitions: vec![position],
            objects: objects.clone(),
            editions: Vec::new(),
        };
        log.append(epoch, &Body::Manifest(manifest).encode()).expect("there is room for it");
    }
    (folder, url, objects)
}

fn state(url: &str, arguments: &[&str]) -> Said {
    tidewatch([&["state"], arguments, &["--store", url]].concat())
}

#[test]
fn keys_are_listed_as_of_the_newest_checkpoint_or_an_older_one() {
    let (_folder, url, _) = checkpointed();
    let newest = "api/a  1970-01-01T00:00:19Z  3 bytes\ndb  1970-01-01T00:00:09Z  0 bytes\n";
    assert_eq!(newest, state(&url, &["ls"]).out);
    assert_eq!(newest, state(&url, &["ls", "--as-of", "1970-01-01T00:00:20Z"]).out);
    let older = "api/a  1970-01-01T00:00:09Z  2 bytes\napi/b  1970-01-01T00:00:09Z  1 bytes\n";
    assert_eq!(older, state(&url, &["ls", "--prefix", "api/", "--as-of", "1970-01-01T00:00:19.9Z"]).out);
    let json = state(&url, &["ls", "--prefix", "d", "--json"]).out;
    let expected = r#"{"bytes":0,"key":["db"],"kind":"key","last":"1970-01-01T00:00:09Z","version":"1970-01-01T00:00:10Z"}"#;
    assert_eq!(format!("{expected}\n"), json);
}

#[test]
fn a_key_is_shown_with_its_state() {
    let (_folder, url, _) = checkpointed();
    let shown = "api/a\nlast record   1970-01-01T00:00:19Z\nlast changed  before 1970-01-01T00:00:20Z\n\
                 state         3 bytes\n040506\n";
    assert_eq!(shown, state(&url, &["show", "api/a"]).out);
    let json: Value = serde_json::from_str(&state(&url, &["show", "api/a", "--json"]).out).expect("is JSON");
    assert_eq!("040506", json["state"]);
    let gone = state(&url, &["show", "api/b"]);
    let expected = format!("store \"{url}\" keeps nothing of key \"api/b\"\n");
    assert_eq!((Some(2), expected), (gone.code, gone.err));
}

#[test]
fn what_is_kept_at_all_is_told() {
    let (_folder, url, objects) = checkpointed();
    let json: Value = serde_json::from_str(&state(&url, &["stat", "--json"]).out).expect("is JSON");
    let bytes: u64 = objects.iter().map(|object| object.bytes).sum();
    assert_eq!(
        serde_json::json!({
            "boundary": "1970-01-01T00:00:20Z", "epoch": 1, "newest_epoch": 1, "workers": 1,
            "keys": 2, "state_bytes": 3, "objects": 2, "object_bytes": bytes,
            "checkpoints": ["1970-01-01T00:00:10Z", "1970-01-01T00:00:20Z"],
            "partitions": [{
                "source": "requests", "partition": "requests.csv", "offset": 2000,
                "watermark": "1970-01-01T00:00:20Z"
            }],
        }),
        json
    );
    let text = state(&url, &["stat"]).out;
    for part in ["keys         2, 3 bytes", "partition    requests.csv of requests: offset 2000, watermark"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

#[test]
fn a_damaged_checkpoint_is_named_and_the_one_before_it_is_read() {
    let (_folder, url, objects) = checkpointed();
    let path = format!("{url}/1/{}", objects[1].name);
    let mut bytes = fs::read(&path).expect("it is there");
    bytes[12] ^= 1;
    fs::write(&path, bytes).expect("it is ours");
    let said = state(&url, &["stat", "--json"]);
    assert_eq!(Some(0), said.code);
    assert!(said.out.contains(r#""boundary":"1970-01-01T00:00:10Z""#), "{}", said.out);
    assert!(said.err.contains(&objects[1].name) && said.err.contains("is damaged"), "{}", said.err);
}

#[test]
fn a_store_that_is_not_there_is_not_made_and_an_empty_one_is_told() {
    let folder = TempDir::new().expect("there is room for it");
    let url = folder.path().join("state").display().to_string();
    let said = state(&url, &["ls"]);
    let expected = format!("store \"{url}\": No such file or directory (os error 2)\n");
    assert_eq!((Some(1), expected), (said.code, said.err));
    assert!(!folder.path().join("state").exists());
    fs::create_dir(&url).expect("there is room for it");
    let said = state(&url, &["ls", "--as-of", "2024-01-01T00:00:00Z"]);
    let expected = format!("store \"{url}\" has no checkpoint as of 2024-01-01T00:00:00Z\n");
    assert_eq!((Some(2), expected), (said.code, said.err));
}

/// Two detections over windows, with incidents, of series that follow a file.
const FOLLOWING: &str = r#"
name = "shown"
[[source]]
name = "requests"
connector = "file"
options = { path = "{}/in.csv", follow = true }
format = "csv"
time = { field = "t", unit = "s" }
key = ["site", "host"]
value = "v"
[[step]]
operator = "window"
params = { every = "10s", aggregate = "mean" }
[[detect]]
name = "slow"
detector = "ewma-z"
params = { warmup = 2 }
threshold = 3
[[detect]]
name = "high"
detector = "static"
params = { max = 90 }
threshold = 1
[alerts]
group_by = ["site"]
[[sink]]
stream = "incidents"
connector = "file"
options = { path = "{}/out.jsonl" }
[checkpoint]
store = "{}/state"
commit = "20ms"
"#;

/// Stops the job once it has told of both alerts of a key.
fn saved() -> (TempDir, String) {
    let (folder, path) = program::pipeline(FOLLOWING);
    let value = |t: u64| if t > 180 { 100 } else { t % 7 };
    let lines: String = (0..=200).step_by(5).map(|t| format!("{t},eu,a,{}\n", value(t))).collect();
    fs::write(folder.path().join("in.csv"), format!("t,site,host,v\n{lines}")).expect("it can be written");
    let mut run = program::start(&["run", &path, "-q"]);
    let begun = Instant::now();
    while program::read(&folder, "out.jsonl").lines().count() < 2 {
        assert!(begun.elapsed() < Duration::from_secs(20), "there are no incidents");
        std::thread::sleep(Duration::from_millis(20));
    }
    let said = tidewatch(["savepoint", "--stop", &path]);
    assert_eq!(Some(0), said.code, "{}", said.err);
    assert_eq!(Some(130), program::end(&mut run, Duration::from_secs(20)));
    (folder, path)
}

#[test]
fn who_knows_the_pipeline_is_told_what_a_state_means() {
    let (folder, path) = saved();
    let show = |key: &str, more: &[&str]| {
        let said = tidewatch([&["state", "show", key, "--pipeline", &path], more].concat());
        assert_eq!(Some(0), said.code, "{}", said.err);
        said.out
    };
    let shown = show("eu/a", &[]);
    for part in [
        "\nwindow {\"cells\":[{\"Summary\":{\"count\":0,\"value\":0.0}}],\"filled\":0,\"pane\":20,",
        "\nslow: ewma-z {\"mean\":9.966815149627337,\"records\":20,\"variance\":539.3407352744874}\n",
        "\nslow: threshold true\n",
        "\nslow: episodes {\"open\":{\"alert\":{\"anomalies\":4,",
        "\nhigh: static null\n",
    ] {
        assert!(shown.contains(part), "{part} is not in\n{shown}");
    }
    let json: Value = serde_json::from_str(&show("eu/a", &["--json"])).expect("it is JSON");
    let parts = json["parts"].as_array().expect("they are several");
    let names: Vec<_> = parts
        .iter()
        .map(|part| (part["detection"].as_str(), part["logic"].as_str().unwrap_or_default()))
        .collect();
    let of = |detection| move |logic| (Some(detection), logic);
    let expected = [
        vec![(None, "window")],
        ["ewma-z", "threshold", "episodes"].map(of("slow")).to_vec(),
        ["static", "threshold", "episodes"].map(of("high")).to_vec(),
    ];
    assert_eq!(expected.concat(), names);
    // As the streams write it.
    let incidents = program::read(&folder, "out.jsonl");
    let alert = parts[3]["state"]["open"]["alert"]["id"].as_str().expect("it is text");
    assert!(incidents.contains(&format!("\"first_alert\":\"{alert}\"")), "{alert} is not in {incidents}");
    let incident = show("incident:eu", &[]);
    assert!(incident.contains("\nincidents {\"alerts\":{") && incident.contains(alert), "{incident}");
}

#[test]
fn a_state_of_another_pipeline_is_not_taken_for_what_it_is_not() {
    let (folder, path) = saved();
    let text = fs::read_to_string(&path).expect("it is there");
    let show = |text: &str| {
        fs::write(&path, text).expect("it can be written");
        tidewatch(["state", "show", "eu/a", "--pipeline", &path])
    };
    let said = show(&text.replace("threshold = 3", "threshold = 4"));
    let store = folder.path().join("state").display().to_string();
    let expected = format!("the checkpoint in store \"{store}\" is of another pipeline than {path}: ");
    assert!(said.err.starts_with(&expected), "{}", said.err);
    assert_eq!(Some(2), said.code);
    let (without, _) = text.split_once("[checkpoint]").expect("it has one");
    let said = show(without);
    let expected = "the pipeline has no [checkpoint], and so no store: name one with --store\n";
    assert_eq!((Some(2), expected), (said.code, &*said.err));
    let said = tidewatch(["state", "show", "eu/a"]);
    assert_eq!(Some(2), said.code);
    assert!(said.err.contains("--store <URL>"), "{}", said.err);
}
