//! Who may join a cluster, and who may not.

use std::io::Read;
use std::net::TcpStream;

use super::*;

const SECRET: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

#[test]
fn whoever_does_not_belong_to_the_cluster_is_refused_and_disturbs_nothing() {
    let (_hosts, hosts, addresses) = hostfile(2);
    let (folder, path) = pipeline(GENERATED);
    let member = |process: &str, secret: &str| {
        let mut command = tidewatch(&["run", &path, "--json", "-n", "2", "-p", process, "-h", &hosts]);
        command.env("TIDEWATCH_SECRET", secret).env("RUST_BACKTRACE", "0");
        start_as_it_is(&mut command)
    };
    let mut second = member("1", SECRET);
    let mut silent = Vec::new();
    until("it listens", || TcpStream::connect(&addresses[1]).map(|socket| silent.push(socket)).is_ok());
    silent.extend((0..20).map(|_| TcpStream::connect(&addresses[1]).expect("it listens")));
    for garbage in [&b"GET / HTTP/1.0\r\n\r\n"[..], &[0; 3000], &[40, 0].repeat(30)] {
        let mut socket = TcpStream::connect(&addresses[1]).expect("it listens");
        // It may hang up in the middle.
        let _ = socket.write_all(garbage);
        assert_eq!(0, socket.read(&mut [0; 10]).unwrap_or(0), "it answers garbage");
    }
    second.await_err("refused a connection peer=127.0.0.1:");
    second.await_err("reason=what it sends is no handshake");
    second.await_err("reason=it has not completed the handshake within 2 s");

    let wrong = SECRET.replace('0', "f");
    let stranger = member("0", &wrong);
    stranger.await_err("it has another secret");
    drop(stranger);
    second.await_err("it has another secret");

    // Silent connections do not hold up the handshakes of others, however many.
    let start_of_silence = Instant::now();
    silent.extend((0..400).map(|_| TcpStream::connect(&addresses[1]).expect("it listens")));
    let mut first = member("0", SECRET);
    let (first, second) = (first.end(SOON), second.end(SOON));
    assert!(start_of_silence.elapsed() < Duration::from_secs(10));
    assert_eq!((Some(0), Some(0), ""), (first.code, second.code, first.err.as_str()), "{second:?}");
    assert_eq!("", second.out);
    let text = format!("{}{}", first.out, second.err);
    assert!(![SECRET, &wrong].iter().any(|secret| text.contains(*secret)), "it shows the secret");
    let summary: Value = serde_json::from_str(&first.out).expect("one JSON object");
    assert_eq!(Some(5000), summary["records"].as_u64());
    let lines = read(&folder, "out.jsonl");
    assert_eq!(0, run(&["run", &path, "-q"]).code.unwrap_or(1));
    assert_eq!(read(&folder, "out.jsonl"), lines);
}

#[test]
fn a_mesh_that_is_up_listens_no_more() {
    let (_folder, mut observed) = endless(&["-n", "2"]);
    let members = observed.members(2);
    let refused = || TcpStream::connect(&members[1].address).map_err(|error| error.kind()).err();
    until("it listens no more", || refused() == Some(std::io::ErrorKind::ConnectionRefused));
    signal(observed.child.id(), "INT");
    assert_eq!(Some(130), observed.end(Duration::from_secs(3)).code);
}

#[test]
fn processes_that_run_something_else_do_not_meet() {
    let (_hosts, hosts, _) = hostfile(2);
    let (_folder, path) = pipeline(GENERATED);
    let (_other_folder, other) = pipeline(&GENERATED.replace("threshold = 4", "threshold = 3"));
    let member = |process: &str, path: &str, workers: &str| {
        start(&mut tidewatch(&["run", path, "-n", "2", "-w", workers, "-p", process, "-h", &hosts]))
    };
    let second = member("1", &path, "1");
    for stranger in [member("0", &other, "1"), member("0", &path, "2")] {
        stranger.await_err("is of another run");
    }
    second.await_err("is of another run");
}

#[test]
fn processes_that_find_other_partitions_end() {
    let (_hosts, hosts, _) = hostfile(2);
    let (_pipeline, path) = pipeline(&STDIN.replace("\"stdio\"", "\"file\"\noptions = { path = \"*.csv\" }"));
    let member = |process: &str, files: &[&str]| {
        let folder = tempfile::tempdir().expect("there is room for it");
        for file in files {
            fs::write(folder.path().join(file), "1,k,1\n").expect("it can be written");
        }
        let mut command = tidewatch(&["run", &path, "-n", "2", "-p", process, "-h", &hosts]);
        (start(command.current_dir(&folder)), folder)
    };
    let ((mut first, _one), (mut second, _two)) = (member("0", &["1.csv", "2.csv"]), member("1", &["1.csv"]));
    for ended in [first.end(SOON), second.end(SOON)] {
        assert_eq!(Some(2), ended.code, "{ended:?}");
        assert!(ended.err.contains("finds other partitions of source \"lines\""), "{ended:?}");
    }
}

#[test]
fn a_mesh_that_leaves_the_machine_needs_a_secret() {
    let folder = tempfile::tempdir().expect("there is room for it");
    let (_pipeline, path) = pipeline(GENERATED);
    let hosts = folder.path().join("hosts").display().to_string();
    for addresses in ["10.1.2.3:2101\n127.0.0.1:2101\n", "127.0.0.1:2101\n0.0.0.0:2101\n"] {
        fs::write(&hosts, addresses).expect("it can be written");
        for process in ["0", "1"] {
            let arguments = ["-n", "2", "-p", process, "-h", &hosts];
            let said = run(&[&["run", &path], &arguments[..]].concat());
            assert_eq!((Some(2), ""), (said.code, said.out.as_str()));
            assert!(said.err.contains("TIDEWATCH_SECRET must hold the secret"), "{}", said.err);
            let own = start(example("cluster_member").args(arguments)).end(SOON);
            assert_eq!(Some(2), own.code);
            assert!(own.err.contains("TIDEWATCH_SECRET must hold the secret"), "{}", own.err);
        }
    }
    let mut command = tidewatch(&["run", &path, "-n", "2", "-p", "0", "-h", &hosts]);
    let said = start_as_it_is(command.env("TIDEWATCH_SECRET", "abc")).end(SOON);
    assert!(said.code == Some(2) && said.err.contains("64 hexadecimal digits"), "{said:?}");
}

#[test]
fn arguments_that_do_not_go_together_are_refused() {
    let (_folder, path) = pipeline(GENERATED);
    let (_hosts, hosts, _) = hostfile(2);
    let missing = "no/such/hosts";
    for (arguments, part) in [
        (&["-n", "2", "-p", "0"][..], "--hostfile"),
        (&["-n", "2", "-h", &hosts], "-h needs -p"),
        (&["-n", "2", "-p", "2", "-h", &hosts], "-p 2 is not below -n 2"),
        (&["-n", "3", "-p", "2", "-h", &hosts], "has 2 addresses, but -n is 3"),
        (&["-n", "2", "-p", "0", "-h", missing], missing),
        (&["-n", "0"], "0"),
    ] {
        let said = run(&[&["run", &path], arguments].concat());
        assert_eq!((Some(2), ""), (said.code, said.out.as_str()), "{arguments:?}: {}", said.err);
        assert!(said.err.contains(part), "{arguments:?}: {}", said.err);
    }
    for help in [
        run(&["run", "-h"]),
        run(&["run", &path, "-h"]),
        start(example("cluster_member").arg("-h")).end(SOON),
    ] {
        assert_eq!((Some(0), ""), (help.code, help.err.as_str()));
        for flag in ["--workers", "--processes", "--process ", "--hostfile", "--help"] {
            assert!(help.out.contains(flag), "{}", help.out);
        }
    }
}
