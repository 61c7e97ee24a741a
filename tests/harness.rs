//! Attacks on the law that final output depends on the partitions' contents alone (ARCHITECTURE.md, "Laws").
//!
//! `attack(Attack::pipeline(text))` runs the same input with several numbers of workers and processes, batch sizes and interleavings
//! of the partitions, with and without provisional output, live and recorded and replayed, and compares every final stream byte
//! for byte with a run of one worker. What was said provisionally must add up to it.

mod input;
pub(crate) mod program;
mod provisional;
mod snapshotting;
mod subject;
mod tape;

use std::fmt;
use std::sync::Arc;

use tidewatch::registry::Registry;
use tidewatch::Error;
use tidewatch_connectors::ingest::Pace;
use tidewatch_connectors::memory::MemoryRecord;
use tidewatch_connectors::Ingested;
use tidewatch_dataflows::event::{Describe, Ranked};
use tidewatch_dataflows::operators::{Eager, Limits};
use tidewatch_dataflows::{Emission, EventTime, Logic, Record, Span};
use timely::dataflow::StreamVec;
use timely::ExchangeData;

pub(crate) use input::{generated, simultaneous, Partitions};
pub(crate) use provisional::{added_up, alerts};
pub(crate) use snapshotting::Snapshotting;
pub(crate) use subject::on_cluster;
use subject::{Dataflow, OfLogic, Pipeline, Subject};
pub(crate) use tape::Tape;

/// The payloads of each final stream, in order.
pub(crate) type Captured = Vec<(&'static str, Vec<Vec<u8>>)>;

/// What a value must be to leave a dataflow.
pub(crate) trait Output: Describe + Ranked + ExchangeData + Clone {}
impl<O: Describe + Ranked + ExchangeData + Clone> Output for O {}

/// What must not change a result.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) processes: usize,
    /// Of each process.
    pub(crate) workers: u16,
    pub(crate) pace: Pace,
    /// Saves and restores each state after whatever happens to it.
    pub(crate) snapshotting: bool,
    /// Shuffles each partition within the lateness, with this seed.
    pub(crate) arrival: Option<u64>,
    /// Records a run on so many processes and workers of each, and replays it; neither may change anything.
    pub(crate) recorded: Option<(usize, u16)>,
    /// Writes the anomalies alone, as most pipelines do, so that normal verdicts are not even emitted.
    pub(crate) alone: bool,
    /// Says at arrival what is not final yet, within this budget.
    pub(crate) eager: Option<Eager>,
}

impl Setting {
    /// The dictionary is as small as the batches, so that keys are forgotten and named anew.
    const fn new(workers: u16, batch: usize, shuffle: Option<u64>) -> Self {
        Self {
            processes: 1,
            workers,
            pace: Pace { batch, shuffle, dictionary: batch },
            snapshotting: false,
            arrival: None,
            recorded: None,
            alone: false,
            eager: None,
        }
    }

    /// With provisional output, of keys that have at most so many records ahead of the frontier.
    const fn eager(self, records: usize) -> Self {
        Self { eager: Some(Eager { records, state: 1 << 10, memory: 1 << 26 }), ..self }
    }

    const fn on(self, processes: usize) -> Self {
        Self { processes, ..self }
    }

    const fn recorded(self, processes: usize, workers: u16) -> Self {
        Self { recorded: Some((processes, workers)), ..self }
    }
}

const BASELINE: Setting = Setting::new(1, 1024, None);
const SETTINGS: [Setting; 11] = [
    Setting::new(1, 1, Some(11)),
    Setting::new(1, 61, Some(5)),
    Setting::new(2, 1024, None),
    Setting::new(2, 7, Some(1)),
    Setting::new(4, 1024, Some(2)),
    Setting::new(4, 16, None),
    Setting::new(1, 100, Some(6)).on(2),
    Setting::new(2, 1024, None).on(2),
    Setting::new(2, 100, Some(7)).recorded(2, 1),
    Setting::new(1, 13, Some(9)).eager(256),
    Setting::new(2, 100, Some(8)).eager(3),
];

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.processes > 1 {
            write!(f, "-n{} ", self.processes)?;
        }
        write!(f, "-w{} batch {}", self.workers, self.pace.batch)?;
        if let Some(seed) = self.pace.shuffle {
            write!(f, ", interleaving seed {seed}")?;
        }
        if let Some(seed) = self.arrival {
            write!(f, ", arrival seed {seed}")?;
        }
        if let Some((processes, workers)) = self.recorded {
            write!(f, ", recorded at -n{processes} -w{workers}")?;
        }
        if let Some(eager) = self.eager {
            write!(f, ", eager to {} records", eager.records)?;
        }
        if self.alone {
            f.write_str(", anomalies alone")?;
        }
        f.write_str(if self.snapshotting { ", snapshotting" } else { "" })
    }
}

/// The input of an attack that does not come with the pipeline.
#[derive(Clone, Default)]
pub(crate) struct Feed {
    pub(crate) partitions: Partitions,
    pub(crate) header: Option<String>,
    pub(crate) lateness: Span,
    pub(crate) tape: Tape,
}

/// What is attacked, with which input, and how.
#[derive(Clone)]
pub(crate) struct Attack {
    subject: Arc<dyn Subject>,
    feed: Feed,
    shuffled: bool,
    snapshotting: bool,
}

impl Attack {
    fn of(subject: impl Subject + 'static) -> Self {
        Self { subject: Arc::new(subject), feed: Feed::default(), shuffled: false, snapshotting: false }
    }

    /// A pipeline file; its connector `memory` gives what [`Attack::records`] says.
    pub(crate) fn pipeline(text: &str) -> Self {
        Self::pipeline_with(Registry::default(), text)
    }

    /// A pipeline file that names what a registry has.
    pub(crate) fn pipeline_with(registry: Registry, text: &str) -> Self {
        Self::of(Pipeline::new(text, registry))
    }

    /// A logic, on its own.
    pub(crate) fn logic<L: Logic<In = Record, Out: Output>>(
        make: impl Fn() -> L + Send + Sync + 'static,
    ) -> Self {
        Self::logic_within(Limits::default(), make)
    }

    /// A logic within limits.
    pub(crate) fn logic_within<L: Logic<In = Record, Out: Output>>(
        limits: Limits,
        make: impl Fn() -> L + Send + Sync + 'static,
    ) -> Self {
        Self::of(OfLogic { make: Arc::new(make), limits })
    }

    /// Any dataflow over the records.
    pub(crate) fn dataflow<O: Output>(
        build: impl for<'s> Fn(Ingested<'s>) -> StreamVec<'s, EventTime, Emission<O>> + Send + Sync + 'static,
    ) -> Self {
        Self::of(Dataflow(Arc::new(build)))
    }

    /// The records of each partition.
    pub(crate) fn records(mut self, partitions: Partitions) -> Self {
        self.feed.partitions = partitions;
        self
    }

    /// The header line of each partition.
    pub(crate) fn header(mut self, line: &str) -> Self {
        self.feed.header = Some(line.to_owned());
        self
    }

    /// How late records may be; a pipeline says so itself.
    pub(crate) fn lateness(mut self, lateness: Span) -> Self {
        self.feed.lateness = lateness;
        self
    }

    /// Also shuffles the records of each partition within `lateness`: the same must come, but for
    /// evictions if a partition has two records of one time.
    ///
    /// No record may be late, and no key may have two records of one time in a partition.
    pub(crate) fn shuffled(mut self, lateness: Span) -> Self {
        self.feed.lateness = lateness;
        self.shuffled = true;
        self
    }

    /// Also saves and restores the state of a key after each record and timer: the same bytes must come.
    pub(crate) fn snapshotting(mut self) -> Self {
        self.snapshotting = true;
        self
    }

    /// Runs what is attacked once.
    pub(crate) fn run(&self, setting: Setting) -> Result<Captured, Error> {
        let mut feed = self.feed.clone();
        if let Some(seed) = setting.arrival {
            feed.partitions = input::shuffled(&feed.partitions, feed.lateness, seed);
        }
        let Some((processes, workers)) = setting.recorded else {
            return self.subject.run(&feed, &setting);
        };
        let folder = tempfile::tempdir().expect("there is room for it");
        let path = folder.path().join("attack.tide").display().to_string();
        feed.tape = Tape::record(&path, processes);
        let live = self.subject.run(&feed, &Setting { processes, workers, ..setting })?;
        feed.tape = feed.tape.rewind(&path)?;
        let replayed = self.subject.run(&feed, &setting)?;
        // The caller compares the other one.
        for ((stream, live), (_, replayed)) in live.iter().zip(&replayed) {
            let Difference { message, .. } = *Difference::between(stream, setting, live, replayed);
            assert!(
                live == replayed,
                "{stream} was recorded otherwise than replayed at {setting}: {message}"
            );
        }
        Ok(replayed)
    }

    /// Runs the attack.
    pub(crate) fn check(&self) -> Result<Report, Box<Difference>> {
        let run = |setting| self.run(setting).map_err(|error| Difference::failed(setting, &error));
        let expected = run(BASELINE)?;
        let mut settings = SETTINGS.to_vec();
        if expected.iter().any(|(name, _)| *name == "anomalies") {
            let alone = |setting| Setting { alone: true, ..setting };
            settings.push(alone(Setting::new(2, 30, Some(4))));
            settings.push(alone(Setting::new(4, 7, Some(3)).eager(256)));
        }
        if self.snapshotting {
            settings.extend(
                [1, 4].map(|workers| Setting { snapshotting: true, ..Setting::new(workers, 50, Some(3)) }),
            );
        }
        if self.shuffled {
            let late = expected.iter().any(|(name, lines)| *name == "late" && !lines.is_empty());
            assert!(
                !late && input::ties(&self.feed.partitions).is_none(),
                "shuffled needs no late records, no ties"
            );
            settings.extend(
                [1, 2].map(|seed| Setting { arrival: Some(seed), ..Setting::new(2, 64, Some(seed)) }),
            );
            settings.push(Setting { arrival: Some(3), ..Setting::new(2, 20, Some(3)).eager(256) });
        }
        let simultaneous = self.shuffled && input::simultaneous(&self.feed.partitions);
        for setting in settings {
            let found = run(setting)?;
            for (stream, expected) in &expected {
                let Some((_, found)) = found.iter().find(|(found, _)| found == stream) else {
                    assert!(setting.alone, "{stream} is missing at {setting}");
                    continue;
                };
                // Which of two keys is evicted by records of one time and partition is decided by their offsets.
                if setting.arrival.is_some() && *stream == "evictions" && simultaneous {
                    continue;
                }
                if expected != found {
                    return Err(Difference::between(stream, setting, expected, found));
                }
            }
            if let Some((stream, revisions)) = found.iter().find(|(stream, _)| *stream == "provisional") {
                let said = added_up(revisions).map_err(|why| Difference::contradiction(setting, why))?;
                let about = expected.iter().find(|(stream, _)| ["anomalies", "emitted"].contains(stream));
                let mut is_final = about.map(|(_, lines)| lines.clone()).unwrap_or_default();
                is_final.sort_unstable();
                if said != is_final {
                    return Err(Difference::between(stream, setting, &is_final, &said));
                }
            }
            let raised = [("provisional_alerts", "alerts"), ("provisional_incidents", "incidents")];
            for (stream, told) in raised {
                let Some((_, raised)) = found.iter().find(|(name, _)| *name == stream) else { continue };
                let said =
                    provisional::alerts(raised).map_err(|why| Difference::contradiction(setting, why))?;
                let is_final = expected.iter().find(|(name, _)| *name == told);
                let is_final = provisional::last_stages(is_final.map_or(&[], |(_, alerts)| alerts));
                if said != is_final {
                    return Err(Difference::between(stream, setting, &is_final, &said));
                }
            }
        }
        let report = Report(expected);
        assert!(report.0.iter().any(|(_, lines)| !lines.is_empty()), "the attack has no output to compare");
        Ok(report)
    }
}

/// Runs an attack, and fails the test with the first difference.
pub(crate) fn attack(attack: Attack) -> Report {
    match attack.check() {
        Ok(report) => report,
        Err(difference) => panic!("{difference}"),
    }
}

/// What the streams of an attack hold.
#[derive(Debug)]
pub(crate) struct Report(Captured);

impl Report {
    /// The lines of a stream.
    pub(crate) fn lines(&self, stream: &str) -> &[Vec<u8>] {
        self.0.iter().find(|(name, _)| *name == stream).map_or(&[], |(_, lines)| lines)
    }

    /// How many lines a stream has.
    pub(crate) fn count(&self, stream: &str) -> usize {
        self.lines(stream).len()
    }
}

/// Where a run went another way.
#[derive(Debug)]
pub(crate) struct Difference {
    stream: String,
    setting: Setting,
    message: String,
}

impl Difference {
    fn failed(setting: Setting, error: &Error) -> Box<Self> {
        Box::new(Self { stream: "the run itself".to_owned(), setting, message: error.to_string() })
    }

    fn contradiction(setting: Setting, message: String) -> Box<Self> {
        Box::new(Self { stream: "provisional".to_owned(), setting, message })
    }

    fn between(stream: &str, setting: Setting, expected: &[Vec<u8>], found: &[Vec<u8>]) -> Box<Self> {
        let line = expected.iter().zip(found).take_while(|(expected, found)| expected == found).count();
        let show = |lines: &[Vec<u8>]| {
            lines.get(line).map_or("(nothing)".into(), |line| String::from_utf8_lossy(line).into_owned())
        };
        let message = format!(
            "line {} of {} and {}\nexpected {}\nfound    {}",
            line + 1,
            expected.len(),
            found.len(),
            show(expected),
            show(found)
        );
        Box::new(Self { stream: stream.to_owned(), setting, message })
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} differs from {BASELINE} at {}: {}", self.stream, self.setting, self.message)
    }
}

/// Records of rows as `(micros, key, value)`, for short tests.
pub(crate) fn rows(rows: &[(i64, &str, f64)]) -> Vec<MemoryRecord> {
    rows.iter()
        .map(|(time, key, value)| MemoryRecord::row(EventTime::from_micros(*time), key, [*value]))
        .collect()
}
