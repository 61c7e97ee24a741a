//! What cannot be, and how that is said.

use super::*;

fn refused(sink: &TransactionalKafka) -> String {
    let start = Instant::now();
    let error = match sink.open(Shard(0)) {
        Ok(_) => panic!("it opens"),
        Err(error) => error.to_string(),
    };
    // As users are promised ten seconds, on a machine without other work.
    assert!(start.elapsed() < Duration::from_secs(20), "{error}");
    error
}

#[test]
fn a_topic_that_is_not_there_is_named_unless_it_is_to_be_made() {
    let Some(broker) = broker::shared() else { return };
    let with = |create| {
        TransactionalKafka::new("missing", 1, brokers(broker), [Topic { create, ..topic("missing") }])
    };
    assert_eq!(
        format!(
            "kafka at {}: there is no topic \"missing\": make it, or let tidewatch do so with the option \
             `create = {{ partitions = 3 }}`",
            broker.address
        ),
        refused(&with(None))
    );
    let create = Create { partitions: Some(5), replication: Some(3), retention: Some(Span::from_secs(3600)) };
    let error = refused(&with(Some(create)));
    assert!(error.contains("topic \"missing\" cannot be made: "), "{error}");
    with(Some(Create { replication: None, ..create })).open(Shard(0)).unwrap();
    let made = broker.settings_of("missing");
    assert_eq!("3600000", made["retention.ms"]);
    let kept = broker.settings_of("missing-progress");
    assert_eq!("compact", kept["cleanup.policy"]);
    let consumer = broker.consumer("missing");
    assert_eq!(5, consumer.assignment().unwrap().count());
}

#[test]
fn progress_is_not_kept_where_it_would_be_deleted() {
    let Some(broker) = broker::shared() else { return };
    broker.topic("deleted-progress", 1, &[("cleanup.policy", "delete")]);
    let error = refused(&sink(broker, "deleted", &["deleted"]));
    assert!(error.contains("topic \"deleted-progress\" would lose how far output is complete"), "{error}");
}

#[test]
fn brokers_that_cannot_be_reached_are_named_in_time() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let brokers = Brokers::new(port.to_string(), [("client.id", "x")]).unwrap();
    let sink = TransactionalKafka::new("nobody", 1, brokers, [topic("nobody")]);
    // Its shards ask together, not one after the other.
    let errors: Vec<_> = thread::scope(|scope| {
        let shards: Vec<_> = (0..sink.shards()).map(|_| scope.spawn(|| refused(&sink))).collect();
        shards.into_iter().map(|shard| shard.join().expect("it is in time")).collect()
    });
    for error in errors {
        assert!(
            error.starts_with(&format!("kafka at {port}: topic \"nobody\" cannot be found: ")),
            "{error}"
        );
        assert!(error.contains("Connect to"), "{error}");
    }
}

#[test]
fn a_message_that_is_too_large_is_named_with_its_size() {
    let Some(broker) = broker::shared() else { return };
    broker.topic("small", 1, &[("max.message.bytes", "1000")]);
    let sink = sink(broker, "small", &["small"]);
    let large = "x".repeat(2000);
    let (mut writer, _) = open(&sink, 1);
    let error = writer.write(0, &[message("k", &large)]).and_then(|()| writer.commit(below(1))).unwrap_err();
    let expected = "topic \"small\" does not take a message of 2001 bytes: message size too large: raise `max.message.bytes`";
    assert!(error.to_string().starts_with(expected), "{error}");
    drop(writer);
    let (mut writer, _) = open(&sink, 2);
    let larger = "x".repeat(2_000_000);
    let error = writer.write(0, &[message("k", &larger)]).unwrap_err();
    assert!(error.to_string().contains("a message of 2000001 bytes"), "{error}");
    assert!(broker.committed("small").is_empty());
}

#[test]
fn a_job_cannot_go_on_with_another_number_of_shards() {
    let Some(broker) = broker::shared() else { return };
    let sink = || sink(broker, "resharded", &["resharded"]);
    open(&sink(), 1);
    for (shards, epoch) in [(2, 2), (1, 3)] {
        let fenced = sink().sharded(shards).open(Shard(0)).unwrap().fence(Epoch(epoch));
        match shards {
            1 => assert_eq!(Progress::START, fenced.unwrap()),
            _ => {
                let error = fenced.unwrap_err().to_string();
                assert!(error.contains("with shards = 1, and cannot go on with 2: set it back"), "{error}");
            }
        }
    }
}
