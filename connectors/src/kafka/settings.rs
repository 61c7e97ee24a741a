//! How a client of Kafka is set up.

use std::fmt;

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaConfRes;

use crate::Error;

/// What is set unless somebody says otherwise (librdkafka, CONFIGURATION.md).
const DEFAULTS: [(&str, &str); 8] = [
    ("isolation.level", "read_committed"),
    // Its default of a second leaves a fast reader waiting most of the time.
    ("fetch.queue.backoff.ms", "2"),
    ("fetch.wait.max.ms", "100"),
    // Of each partition.
    ("queued.max.messages.kbytes", "1024"),
    // A broker that hangs is noticed, and one that is back is found.
    ("socket.timeout.ms", "10000"),
    ("socket.connection.setup.timeout.ms", "5000"),
    ("reconnect.backoff.ms", "50"),
    ("reconnect.backoff.max.ms", "1000"),
];

/// What every client is told where it can encrypt: the OpenSSL that is built along looks for no authorities where systems keep
/// those that they trust.
pub(super) const TRUSTED: &[(&str, &str)] = match cfg!(feature = "kafka-tls") {
    true => &[("ssl.ca.location", "probe")],
    false => &[],
};

/// What the source needs to be as it is, or says itself.
const OWN: [(&str, &str); 7] = [
    // Unless it tells a group how far it is read.
    ("group.id", "tidewatch"),
    // What is gone must not be skipped silently.
    ("auto.offset.reset", "error"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("enable.partition.eof", "true"),
    ("allow.auto.create.topics", "false"),
    ("statistics.interval.ms", "1000"),
];

/// Where the brokers are, and the settings of the client that talks to them.
#[derive(Clone)]
pub struct Settings {
    config: ClientConfig,
    pub(super) brokers: String,
    /// Whether records of transactions are held back until they are committed.
    pub(super) is_committed: bool,
}

/// Without the settings, of which some may be secret.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("brokers", &self.brokers).finish_non_exhaustive()
    }
}

impl Settings {
    /// For `brokers`, as in `"one:9092,two:9092"`, with further settings of librdkafka.
    ///
    /// # Errors
    ///
    /// [`Error::Configuration`] if librdkafka does not know a setting or its value, or if it is one that the source sets.
    pub fn new<'a>(
        brokers: &str,
        further: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, Error> {
        let mut config = ClientConfig::new();
        config.set_log_level(RDKafkaLogLevel::Info);
        for (name, value) in DEFAULTS.iter().chain(TRUSTED).chain(&OWN).copied() {
            config.set(name, value);
        }
        config.set("bootstrap.servers", brokers);
        for (name, value) in further {
            let own = OWN.iter().map(|(name, _)| *name);
            if own.chain(["bootstrap.servers", "metadata.broker.list"]).any(|own| own == name) {
                let reason = format!("librdkafka: the source sets \"{name}\" itself");
                return Err(Error::Configuration(reason));
            }
            config.set(name, value);
        }
        config.create_native_config().map_err(refused)?;
        let is_committed = config.get("isolation.level") == Some("read_committed");
        Ok(Self { config, brokers: brokers.to_owned(), is_committed })
    }

    pub(super) fn config(&self) -> &ClientConfig {
        &self.config
    }
}

/// What the library has against the settings, without what they are: that may be a secret.
pub(super) fn refused(error: KafkaError) -> Error {
    let (name, told, reason) = match error {
        KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_INVALID, told, name, _) => {
            let reason = format!("\"{name}\" does not take this value");
            (Some(name), told, reason)
        }
        KafkaError::ClientConfig(_, told, name, _) => (Some(name), told.clone(), told),
        KafkaError::ClientCreation(told) => (None, told.clone(), told),
        error => (None, String::new(), error.to_string()),
    };
    let is = |words: &[&str]| words.iter().any(|word| told.contains(word));
    if !cfg!(feature = "kafka-tls")
        && is(&["at build time", "this build", "recompile"])
        && is(&["SSL", "openssl"])
    {
        let what =
            name.map_or("this way to say who one is".to_owned(), |name| format!("\"{name}\" as it is set"));
        return Error::Unbuilt { what: format!("librdkafka: {what}"), feature: "kafka-tls" };
    }
    Error::Configuration(format!("librdkafka: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_checked_and_never_shown() {
        let settings = Settings::new("a:1", [("fetch.min.bytes", "7"), ("sasl.password", "secret")]).unwrap();
        assert_eq!(Some("7"), settings.config().get("fetch.min.bytes"));
        assert_eq!("Settings { brokers: \"a:1\", .. }", format!("{settings:?}"));
        for (name, value, reason) in [
            ("fetch.mim.bytes", "1", "librdkafka: No such configuration property: \"fetch.mim.bytes\""),
            ("auto.offset.reset", "latest", "librdkafka: the source sets \"auto.offset.reset\" itself"),
            ("fetch.min.bytes", "secret", "librdkafka: \"fetch.min.bytes\" does not take this value"),
            ("bootstrap.servers", "b:1", "librdkafka: the source sets \"bootstrap.servers\" itself"),
        ] {
            assert_eq!(reason, Settings::new("a:1", [(name, value)]).unwrap_err().to_string());
        }
    }

    #[test]
    #[cfg(not(feature = "kafka-tls"))]
    fn what_cannot_be_done_here_names_the_feature_and_no_value() {
        for (name, value, what) in [
            ("security.protocol", "sasl_ssl", "\"security.protocol\" as it is set"),
            ("ssl.ca.location", "secret", "\"ssl.ca.location\" as it is set"),
        ] {
            let said = Settings::new("a:1", [(name, value)]).unwrap_err().to_string();
            let feature = "needs the feature \"kafka-tls\", without which this program was built";
            assert_eq!(format!("librdkafka: {what} {feature}"), said);
        }
        let settings = [("security.protocol", "sasl_plaintext"), ("sasl.mechanism", "SCRAM-SHA-256")];
        let settings = Settings::new("a:1", settings).unwrap();
        let created: Result<rdkafka::consumer::BaseConsumer, _> = settings.config().create();
        let said = refused(created.err().expect("it cannot do it")).to_string();
        assert!(said.contains("this way to say who one is needs the feature \"kafka-tls\""), "{said}");
    }

    #[test]
    fn only_what_is_committed_is_read_unless_somebody_says_otherwise() {
        let committed = |further| Settings::new("a:1", further).unwrap().is_committed;
        assert!(committed(vec![]));
        assert!(!committed(vec![("isolation.level", "read_uncommitted")]));
    }
}
