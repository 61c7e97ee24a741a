//! What cannot be read at all.

use std::time::{Duration, Instant};

use super::over;
use crate::broker::{shared, Broker};
use crate::harness::program::{tidewatch, Said};

/// Runs a pipeline over a topic at an address, with further options of the source.
fn refused(broker: &Broker, address: &str, topic: &str, options: &str) -> Said {
    let (_folder, path) = over(broker, topic, "[\"k\"]", options);
    let text = std::fs::read_to_string(&path).expect("it is there").replace(&broker.address, address);
    std::fs::write(&path, text).expect("it can be written");
    let start = Instant::now();
    let said = tidewatch(["run", &path]);
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}: {}", start.elapsed(), said.err);
    assert_eq!(Some(1), said.code, "{}", said.err);
    said
}

#[test]
fn what_cannot_be_read_is_said_soon() {
    let Some(broker) = shared() else { return };
    let address = &*broker.address;
    broker.topic("short", 1, &[]);
    let said = refused(broker, address, "nowhere", "").err;
    assert_eq!(format!("kafka at {address}: topic \"nowhere\" does not exist\n"), said);
    let said = refused(broker, address, "short", "offsets = { \"short/0\" = 7 }").err;
    assert_eq!(
        "short/0: ends at offset 0, before 7, where reading is to go on: the topic was made anew or cut off\n",
        said
    );
    let said = refused(broker, address, "short", "offsets = { \"short/1\" = 0 }").err;
    assert!(said.ends_with("there is no partition \"short/1\", of which an offset is given\n"), "{said}");
    let said = refused(broker, "127.0.0.1:1", "short", "").err;
    assert!(said.starts_with("kafka at 127.0.0.1:1: no broker answers within 8 s: "), "{said}");
    assert!(said.contains("Connection refused"), "{said}");
    // As of a broker that hangs, or that waits for the other side to encrypt.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("there is a port");
    let silent = listener.local_addr().expect("it has one").to_string();
    let said = refused(broker, &silent, "short", "").err;
    assert!(said.starts_with(&format!("kafka at {silent}: no broker answers within 8 s: ")), "{said}");
    assert!(said.contains("timed out") && said.contains("`security.protocol`"), "{said}");
    drop(listener);
    let text = "topics = \"short\"";
    let (_folder, path) = over(broker, "short", "[\"k\"]", "");
    let pipeline =
        std::fs::read_to_string(&path).expect("it is there").replace(text, "pattern = \"no.*such\"");
    std::fs::write(&path, pipeline).expect("it can be written");
    let said = tidewatch(["run", &path]);
    assert_eq!(
        (Some(1), format!("kafka at {address}: no topic matches \"no.*such\"\n")),
        (said.code, said.err)
    );
}

#[test]
fn wrong_credentials_are_said_soon_and_right_ones_are_let_in() {
    let Some(broker) = shared() else { return };
    broker.topic("guarded", 1, &[]);
    let options = |password: &str| {
        format!(
            "librdkafka = {{ \"security.protocol\" = \"sasl_plaintext\", \"sasl.mechanism\" = \"PLAIN\", \
             \"sasl.username\" = \"admin\", \"sasl.password\" = \"{password}\" }}"
        )
    };
    let said = refused(broker, &broker.guarded_address, "guarded", &options("wrong")).err;
    assert!(said.contains("the broker refuses this client: "), "{said}");
    assert!(said.contains("Authentication failed") && !said.contains("wrong"), "{said}");
    let (_folder, path) = over(broker, "guarded", "[\"k\"]", &options(crate::broker::PASSWORD));
    let text = std::fs::read_to_string(&path).expect("it is there");
    std::fs::write(&path, text.replace(&broker.address, &broker.guarded_address)).expect("it can be written");
    super::run(&path, &["-q"]);
}
