//! Crashes, zombies, and transactions that take too long.

use std::env;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};

use super::*;

const ADDRESS: &str = "TIDEWATCH_TEST_BROKER";

/// Not a test: what the next one kills.
#[test]
#[ignore = "it waits for its death"]
fn writes_and_does_not_commit() {
    let Ok(address) = env::var(ADDRESS) else { return };
    let options = [("transaction.timeout.ms", "60000")];
    let brokers = Brokers::new(address, options).expect("the options are right");
    let (mut writer, progress) =
        open(&TransactionalKafka::new("killed", 1, brokers, [topic("killed")]).sharded(1), 2);
    assert_eq!(below(1), progress);
    writer.write(0, &[message("k", "2")]).unwrap();
    writer.commit(below(2)).unwrap();
    writer.write(0, &[message("k", "3"), message("k", "4")]).unwrap();
    println!("\nwritten");
    loop {
        thread::park();
    }
}

#[test]
fn what_a_killed_run_has_not_committed_is_written_once_by_the_next() {
    let Some(broker) = broker::shared() else { return };
    let sink = sink(broker, "killed", &["killed"]);
    let (mut writer, _) = open(&sink, 1);
    writer.write(0, &[message("k", "1")]).unwrap();
    writer.commit(below(1)).unwrap();
    let mut killed = Command::new(env::current_exe().expect("the tests are a program"))
        .args(["--exact", "kafka_sink::crash::writes_and_does_not_commit", "--ignored", "--nocapture"])
        .env(ADDRESS, &broker.address)
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut lines = BufReader::new(killed.stdout.take().expect("it is piped")).lines();
    assert!(lines.any(|line| line.expect("it is text") == "written"), "it writes");
    // Two that are committed, with their marks, and two that are not.
    landed(broker, "killed", 6);
    killed.kill().expect("it is ours");
    killed.wait().expect("it is ours");
    assert_eq!(vec!["1", "2"], texts(&broker.committed("killed")));
    let start = Instant::now();
    let (mut writer, progress) = open(&sink, 3);
    eprintln!("took over from a killed run in {:?}", start.elapsed());
    assert_eq!(below(2), progress);
    writer.write(0, &[message("k", "3"), message("k", "4")]).unwrap();
    writer.commit(below(4)).unwrap();
    assert_eq!(vec!["1", "2", "3", "4"], texts(&broker.committed("killed")));
}

#[test]
fn a_run_that_goes_on_after_a_later_one_has_begun_is_fenced_and_adds_nothing() {
    let Some(broker) = broker::shared() else { return };
    let sink = sink(broker, "zombie", &["zombie"]);
    // One has written since its last commit, one has not.
    for (epoch, writes) in [(1, true), (3, false)] {
        let (mut old, _) = open(&sink, epoch);
        old.write(0, &[message("k", "kept")]).unwrap();
        old.commit(below(epoch as i64)).unwrap();
        if writes {
            old.write(0, &[message("k", "undone")]).unwrap();
        }
        let (mut new, progress) = open(&sink, epoch + 1);
        assert_eq!(below(epoch as i64), progress);
        let error = old.write(0, &[message("k", "ghost")]).and_then(|()| old.commit(below(90))).unwrap_err();
        assert!(matches!(error, Error::Fenced { epoch: by } if by == Epoch(epoch + 1)), "{error}");
        new.commit(below(epoch as i64 + 1)).unwrap();
        drop(old);
    }
    assert_eq!(vec!["kept", "kept"], texts(&broker.committed("zombie")));
}

#[test]
fn a_run_that_wakes_up_late_cannot_take_a_shard_back() {
    let Some(broker) = broker::shared() else { return };
    let sink = sink(broker, "woken", &["woken"]);
    let mut late = sink.open(Shard(0)).unwrap();
    let _new = open(&sink, 2);
    let error = late.fence(Epoch(1)).unwrap_err();
    assert!(matches!(error, Error::Fenced { epoch: Epoch(2) }), "{error}");
}

#[test]
fn a_transaction_that_was_open_for_too_long_is_lost_and_a_restart_goes_on() {
    let Some(broker) = broker::shared() else { return };
    broker.topic("slow", 1, &[]);
    let brokers = Brokers::new(&broker.address, [("transaction.timeout.ms", "1000")]).unwrap();
    let sink = TransactionalKafka::new("slow", 1, brokers, [topic("slow")]).sharded(1);
    let (mut writer, _) = open(&sink, 1);
    writer.write(0, &[message("k", "gone")]).unwrap();
    // The broker ends it: the message is there, and the mark that it is undone.
    landed(broker, "slow", 2);
    let error = writer.commit(below(1)).unwrap_err();
    assert!(matches!(error, Error::TransactionLost { .. }), "{error}");
    assert!(error.to_string().contains("open for more than 1 s"), "{error}");
    let (mut writer, progress) = open(&sink, 2);
    assert_eq!(Progress::START, progress);
    writer.write(0, &[message("k", "there")]).unwrap();
    writer.commit(below(1)).unwrap();
    assert_eq!(vec!["there"], texts(&broker.committed("slow")));
}

#[test]
fn progress_is_not_read_before_every_transaction_in_its_partition_has_ended() {
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

    let Some(broker) = broker::shared() else { return };
    let (mut writer, _) = open(&sink(broker, "behind", &["behind"]), 1);
    let other: BaseProducer = broker.client().set("transactional.id", "somebody else").create().unwrap();
    other.init_transactions(PATIENCE).unwrap();
    other.begin_transaction().unwrap();
    other.send(BaseRecord::to("behind-progress").key("other").payload("x")).expect("there is room");
    other.flush(PATIENCE).unwrap();
    // Committed, and not to be read while the other one is open.
    writer.commit(below(5)).unwrap();
    let (done, found) = mpsc::channel();
    let address = broker.address.clone();
    let next = thread::spawn(move || {
        let brokers = Brokers::new(address, [("transaction.timeout.ms", "60000")]).unwrap();
        let sink = TransactionalKafka::new("behind", 1, brokers, [topic("behind")]).sharded(1);
        done.send(open(&sink, 2).1).expect("somebody listens");
    });
    assert_eq!(Err(RecvTimeoutError::Timeout), found.recv_timeout(Duration::from_secs(2)));
    other.abort_transaction(PATIENCE).unwrap();
    assert_eq!(Ok(below(5)), found.recv_timeout(PATIENCE));
    next.join().unwrap();
}
