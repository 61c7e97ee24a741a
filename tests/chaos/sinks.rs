//! Where jobs write to, and what is committed there.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::feed::LAST;
use crate::broker::Broker;
use crate::cluster::processes::{Ended, Observed, SOON};
use crate::harness::program::{interrupt, read};
use crate::kafka_sink::pipeline::by_key;

pub(super) const STREAMS: [&str; 4] = ["anomalies", "verdicts", "late", "dead_letters"];

/// A line of a file, or a message with its key.
pub(super) type Line = (Option<Vec<u8>>, String);

/// Where a job writes to.
#[derive(Clone, Copy)]
pub(super) enum Sinks<'a> {
    Files,
    Kafka(&'a Broker),
}

impl Sinks<'_> {
    /// Makes the topics of a job.
    pub(super) fn prepare(self, name: &str) {
        if let Self::Kafka(broker) = self {
            STREAMS.iter().for_each(|stream| broker.topic(&format!("{name}-{stream}"), 2, &[]));
        }
    }

    /// The tables of a pipeline file.
    pub(super) fn tables(self, folder: &Path, name: &str) -> String {
        let table = |stream| {
            match self {
            Self::Files => {
                let path = folder.join(format!("{name}-{stream}")).display().to_string();
                format!("[[sink]]\nstream = \"{stream}\"\nconnector = \"file\"\noptions = {{ path = {path:?} }}\n")
            }
            Self::Kafka(Broker { address, .. }) => format!(
                "[[sink]]\nstream = \"{stream}\"\nconnector = \"kafka\"\noptions = {{ brokers = \"{address}\", topic = \
                 \"{name}-{stream}\", shards = 2 }}\n"
            ),
        }
        };
        STREAMS.iter().map(table).collect()
    }

    /// What is committed of each stream: of a file its lines, of a topic its messages in the order of each key.
    pub(super) fn committed(self, folder: &TempDir, name: &str) -> Vec<Vec<Line>> {
        let of_stream = |stream| match self {
            Self::Files => {
                let text = read(folder, &format!("{name}-{stream}"));
                text.lines().map(|line| (None, line.to_owned())).collect()
            }
            Self::Kafka(broker) => by_key(&broker.committed(&format!("{name}-{stream}"))),
        };
        STREAMS.map(of_stream).to_vec()
    }

    /// Waits until a job has committed what comes last, and stops it.
    pub(super) fn finish(self, run: &mut Observed, folder: &TempDir, name: &str) -> Ended {
        let start = Instant::now();
        let is_last = |(_, line): &Line| line.contains(LAST);
        while !self.committed(folder, name)[1].iter().any(is_last) {
            let alive = run.child.try_wait().expect("it is ours").is_none();
            assert!(alive && start.elapsed() < 3 * SOON, "{name} comes to no end: {}", run.err());
            thread::sleep(Duration::from_millis(100));
        }
        interrupt(&run.child);
        run.end(3 * SOON)
    }
}

/// Compares what is committed of each stream.
pub(super) fn assert_same(expected: &[Vec<Line>], found: &[Vec<Line>], told: &str) {
    for ((stream, expected), found) in STREAMS.iter().zip(expected).zip(found) {
        let (counts, differs) =
            ((expected.len(), found.len()), expected.iter().zip(found).find(|(a, b)| a != b));
        assert!(expected == found, "{stream} has {counts:?} lines, and differs at {differs:?}: {told}");
    }
}
