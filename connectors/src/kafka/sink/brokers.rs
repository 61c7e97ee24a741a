//! How the clients of a sink are set up.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};

use crate::kafka::settings::{refused, TRUSTED};
use crate::Error;

/// What every client is told unless the options say otherwise.
const DEFAULTS: [(&str, &str); 3] = [
    // A broker that comes back is found soon.
    ("reconnect.backoff.ms", "50"),
    ("reconnect.backoff.max.ms", "1000"),
    ("socket.connection.setup.timeout.ms", "5000"),
];

/// What producers are told unless the options say otherwise.
const PRODUCER: [(&str, &str); 4] = [
    // Whoever writes has a batch, and waits until it is there.
    ("linger.ms", "0"),
    // A commit waits for what is asked for again, as right after another commit.
    ("retry.backoff.ms", "5"),
    ("retry.backoff.max.ms", "100"),
    // The one of Java.
    ("partitioner", "murmur2_random"),
];

/// What is otherwise for producers whose messages become visible in transactions.
const TRANSACTIONAL: [(&str, &str); 2] = [
    // A commit waits for it. Without, brokers get more requests than batches; with 5, a commit takes 3 ms more.
    ("linger.ms", "2"),
    // Readers wait as long for a transaction whose writer is gone and has no successor.
    ("transaction.timeout.ms", "10000"),
];

/// What makes a producer write nothing twice, and make no topic by chance.
const IDEMPOTENT: [(&str, &str); 2] = [("enable.idempotence", "true"), ("allow.auto.create.topics", "false")];

/// What tidewatch says to clients, and options cannot change.
const FIXED: [&str; 9] = [
    "bootstrap.servers",
    "metadata.broker.list",
    "transactional.id",
    "enable.idempotence",
    "allow.auto.create.topics",
    "group.id",
    "enable.auto.commit",
    "enable.partition.eof",
    "isolation.level",
];

/// Where the brokers are, and what librdkafka is told of how to reach them; clones are the same.
#[derive(Clone)]
pub struct Brokers {
    servers: String,
    options: BTreeMap<String, String>,
}

/// Without the options, which hold passwords.
impl fmt::Debug for Brokers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Brokers").field("servers", &self.servers).finish_non_exhaustive()
    }
}

/// How messages name them.
impl fmt::Display for Brokers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kafka at {}", self.servers)
    }
}

impl Brokers {
    /// Brokers at some of their addresses, as in `a:9092,b:9092`, with
    /// [options of librdkafka](https://github.com/confluentinc/librdkafka/blob/v2.12.1/CONFIGURATION.md) for every client.
    ///
    /// # Errors
    ///
    /// [`Error::Configuration`] if librdkafka has no such option, or it is one that tidewatch sets.
    pub fn new<K: Into<String>, V: Into<String>>(
        servers: impl Into<String>,
        options: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, Error> {
        let options = options.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        let brokers = Self { servers: servers.into(), options };
        if let Some(own) = FIXED.iter().find(|own| brokers.options.contains_key(**own)) {
            return Err(Error::Configuration(format!("librdkafka: tidewatch sets \"{own}\" itself")));
        }
        brokers.transactional("any").create_native_config().map(drop).map_err(refused)?;
        Ok(brokers)
    }

    /// The settings of any client.
    pub(super) fn client(&self, fixed: &[(&str, &str)]) -> ClientConfig {
        self.config(&[], fixed)
    }

    /// The settings of a producer that writes nothing twice.
    pub(super) fn producer(&self) -> ClientConfig {
        self.config(&PRODUCER, &IDEMPOTENT)
    }

    /// The settings of a producer whose messages become visible in transactions.
    pub(super) fn transactional(&self, id: &str) -> ClientConfig {
        let (defaults, id) = ([&PRODUCER[..], &TRANSACTIONAL].concat(), ("transactional.id", id));
        self.config(&defaults, &[&IDEMPOTENT[..], &[id]].concat())
    }

    fn config(&self, defaults: &[(&str, &str)], fixed: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        // That a connection was closed is nothing worse to it.
        config.set_log_level(RDKafkaLogLevel::Info);
        let options = self.options.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let fixed = fixed.iter().copied().chain([("bootstrap.servers", self.servers.as_str())]);
        for (key, value) in
            DEFAULTS.iter().chain(TRUSTED).chain(defaults).copied().chain(options).chain(fixed)
        {
            config.set(key, value);
        }
        config
    }
}

/// How long a transaction of this producer may be open.
pub(super) fn transaction_timeout(config: &ClientConfig) -> Duration {
    let millis = config.get("transaction.timeout.ms").and_then(|text| text.parse().ok());
    Duration::from_millis(millis.expect("it is a number that librdkafka takes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_come_before_defaults_and_never_before_what_tidewatch_sets() {
        let brokers = Brokers::new("a:1", [("linger.ms", "0"), ("client.id", "me")]).unwrap();
        let config = brokers.transactional("id");
        let set = |key| config.get(key);
        assert_eq!(
            (Some("0"), Some("me"), Some("5")),
            (set("linger.ms"), set("client.id"), set("retry.backoff.ms"))
        );
        assert_eq!((Some("a:1"), Some("id")), (set("bootstrap.servers"), set("transactional.id")));
        assert_eq!(Duration::from_secs(10), transaction_timeout(&config));
    }

    #[test]
    fn wrong_options_are_refused_by_name_and_never_shown() {
        for (key, value, reason) in [
            ("transactional.id", "x", "librdkafka: tidewatch sets \"transactional.id\" itself"),
            ("lingre.ms", "secret", "librdkafka: No such configuration property: \"lingre.ms\""),
            ("linger.ms", "secret", "librdkafka: \"linger.ms\" does not take this value"),
        ] {
            assert_eq!(reason, Brokers::new("a:1", [(key, value)]).unwrap_err().to_string());
        }
        let brokers = Brokers::new("a:1", [("sasl.password", "secret")]).unwrap();
        assert_eq!("Brokers { servers: \"a:1\", .. }", format!("{brokers:?}"));
    }
}
