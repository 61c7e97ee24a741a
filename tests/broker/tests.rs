//! The broker is one, and goes with whoever started it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use super::*;

fn sent(payload: &str) -> Sent<'_> {
    Sent { payload: Some(payload.as_bytes()), ..Sent::default() }
}

#[test]
fn what_is_written_is_read_in_order() {
    let Some(broker) = shared() else { return };
    broker.topic("harness", 2, &[]);
    let headers: &[(&str, Option<&[u8]>)] = &[("from", Some(b"a test")), ("nothing", None)];
    let second = Sent { partition: 1, key: Some(b"k"), headers, ..sent("c") };
    broker.send_as(
        "harness",
        &[("compression.type", "zstd")],
        [sent("a"), second, sent("b"), Sent::default()],
    );
    let received = broker.committed("harness");
    let places: Vec<_> = received.iter().map(|one| (one.partition, one.offset, one.text())).collect();
    assert_eq!(vec![(0, 0, "a"), (0, 1, "b"), (0, 2, ""), (1, 0, "c")], places);
    assert_eq!((None, Some(b"k".to_vec())), (received[2].payload.clone(), received[3].key.clone()));
    let headers = vec![("from".to_owned(), Some(b"a test".to_vec())), ("nothing".to_owned(), None)];
    assert_eq!(headers, received[3].headers);
}

#[test]
fn a_killed_broker_has_its_records_when_it_is_started_again() {
    let Some(mut broker) = Broker::start() else { return };
    broker.topic("kept", 1, &[]);
    broker.send("kept", [sent("a"), sent("b")]);
    let address = broker.address.clone();
    broker.kill();
    broker.restart();
    assert_eq!(address, broker.address);
    broker.stop();
    broker.resume();
    broker.send("kept", [sent("c")]);
    broker.delete_records("kept", 0, 1);
    let texts: Vec<_> = broker.committed("kept").iter().map(|one| one.text().to_owned()).collect();
    assert_eq!(vec!["b", "c"], texts);
}

/// Not a test: what the next one kills.
#[test]
#[ignore = "it waits for its death"]
fn holds_a_broker() {
    let Some(broker) = Broker::start() else { return };
    println!("\nholds {} {}", broker.address, broker.folder.display());
    loop {
        thread::park();
    }
}

#[test]
fn no_broker_survives_whoever_started_it() {
    if shared().is_none() {
        return;
    }
    let mut holder = Command::new(env::current_exe().expect("the tests are a program"))
        .args(["--exact", "broker::tests::holds_a_broker", "--ignored", "--nocapture"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut lines = BufReader::new(holder.stdout.take().expect("it is piped")).lines();
    let said = lines.find_map(|line| line.expect("it is text").strip_prefix("holds ").map(str::to_owned));
    let said = said.expect("it starts a broker");
    let (address, folder) = said.split_once(' ').expect("it says both");
    assert!(TcpStream::connect(address).is_ok());
    holder.kill().expect("it is ours");
    holder.wait().expect("it is ours");
    let start = Instant::now();
    while TcpStream::connect(address).is_ok() || Path::new(folder).exists() {
        assert!(start.elapsed() < PATIENCE, "{address} or {folder} is left");
        thread::sleep(Duration::from_millis(5));
    }
}
