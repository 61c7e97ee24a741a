//! A source with all that its records mean.

use std::sync::Arc;
use std::time::Duration;

use tidewatch_dataflows::flow::PARTITIONS;
use tidewatch_dataflows::Span;
use xxhash_rust::xxh3::xxh3_64;

use super::resume::{Resume, Resumed};
use super::turns::Pace;
use super::Quarantine;
use crate::format::Format;
use crate::journal::Unkept;
use crate::{Control, Decision, Error, Journal, Partition, Schema, Source};

/// How many bytes of records may wait for event time unless said otherwise.
const AHEAD: usize = 512 << 20;

/// A source with all that its records mean; ingested into as many dataflows as one likes.
#[derive(Clone)]
pub struct Input {
    pub(super) source: Arc<dyn Source>,
    pub(super) format: Option<Arc<dyn Format>>,
    pub(super) schema: Schema,
    pub(super) name: Arc<str>,
    pub(super) lateness: Span,
    pub(super) max_future: Option<Span>,
    pub(super) idle: Option<Duration>,
    pub(super) quarantine: Quarantine,
    pub(super) journal: Arc<dyn Journal>,
    pub(super) pace: Pace,
    pub(super) ahead: usize,
    pub(super) resume: Resumed,
}

impl Input {
    /// A source whose records need no decoding; their key parts and values have the names of `schema`.
    pub fn of_rows(source: impl Source + 'static, schema: Schema) -> Self {
        Self::new(Arc::new(source), None, schema)
    }

    /// A source whose payloads `format` decodes.
    pub fn of_payloads(source: impl Source + 'static, format: impl Format + 'static) -> Self {
        let schema = format.schema();
        Self::new(Arc::new(source), Some(Arc::new(format)), schema)
    }

    /// A source chosen at run time; without a format, its records need no decoding.
    pub fn new(source: Arc<dyn Source>, format: Option<Arc<dyn Format>>, schema: Schema) -> Self {
        Self {
            name: source.kind().into(),
            source,
            format,
            schema,
            lateness: Span::ZERO,
            max_future: None,
            idle: None,
            quarantine: Quarantine::default(),
            journal: Arc::new(Unkept::default()),
            pace: Pace::default(),
            ahead: AHEAD,
            resume: None,
        }
    }

    /// The name of the source; part of the identity of its partitions.
    pub fn named(mut self, name: &str) -> Self {
        self.name = name.into();
        self
    }

    /// How far behind the newest record of its partition a record may be: the watermark stays this far behind.
    pub fn lateness(mut self, lateness: impl Into<Span>) -> Self {
        self.lateness = lateness.into();
        self
    }

    /// How far ahead of the time at which it was appended a record may be; beyond it, it is malformed.
    pub fn max_future(mut self, max_future: impl Into<Span>) -> Self {
        self.max_future = Some(max_future.into());
        self
    }

    /// After how much wall time without a record a partition no longer holds event time back.
    pub fn idle(mut self, idle: Duration) -> Self {
        self.idle = Some(idle);
        self
    }

    /// Sets further records aside, by partition and offset: each is malformed, and nothing decodes or scores it.
    pub fn quarantine<S: AsRef<str>>(mut self, records: impl IntoIterator<Item = (S, u64)>) -> Self {
        self.quarantine.extend(records);
        self
    }

    /// Where decisions about idle partitions are kept, and the earlier ones taken from; nowhere unless this is called. A journal
    /// is of one ingest at a time: a second one would mix its decisions with those of the first.
    pub fn journal(mut self, journal: Arc<dyn Journal>) -> Self {
        self.journal = journal;
        self
    }

    /// How much is read at a time, and from where next.
    pub fn pace(mut self, pace: Pace) -> Self {
        self.pace = pace;
        self
    }

    /// How many bytes of records may wait for event time, at all workers together: 16 and 8 for each value of a record on its
    /// way to keyed state, and as many of late and malformed ones on their way to sinks. From half of it on, only what holds event
    /// time back is read; more ends the run with an error.
    pub fn ahead(mut self, bytes: usize) -> Self {
        self.ahead = bytes;
        self
    }

    /// Goes on where an earlier run stood, with the partitions that it had; where this one stands can then be asked
    /// ([`Control::positions`]).
    pub fn resume(mut self, resume: Arc<Resume>) -> Self {
        self.resume = Some(resume);
        self
    }

    /// The names of key parts and values.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// The source.
    pub fn source(&self) -> &Arc<dyn Source> {
        &self.source
    }

    /// The name of the source.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What decodes the source's payloads; none if its records need no decoding.
    pub fn format(&self) -> Option<&Arc<dyn Format>> {
        self.format.as_ref()
    }

    /// The records that are set aside.
    pub fn quarantined(&self) -> &Quarantine {
        &self.quarantine
    }

    /// The same input with its source and journal behind others, as something that watches them.
    pub(crate) fn behind(mut self, wrap: impl FnOnce(&Self) -> (Arc<dyn Source>, Arc<dyn Journal>)) -> Self {
        (self.source, self.journal) = wrap(&self);
        self
    }

    /// The same input from a recording of its source, which has all decisions.
    pub(crate) fn replaying(mut self, source: Arc<dyn Source>) -> Self {
        (self.source, self.journal, self.idle) = (source, Arc::new(Unkept::default()), None);
        self
    }

    /// Where its decisions are kept.
    pub(crate) fn keeper(&self) -> &Arc<dyn Journal> {
        &self.journal
    }

    /// The decisions of earlier runs on a partition.
    pub(super) fn decisions(&self, partition: &Partition) -> Result<Vec<Decision>, Error> {
        let mut decisions = self.source.decisions(&partition.name)?;
        decisions.extend(self.journal.decisions(partition.id));
        Ok(decisions)
    }

    /// The partitions that worker `index` of `peers` owns, in order of their names.
    pub(super) fn partitions(
        &self,
        index: usize,
        peers: usize,
        ingest: usize,
    ) -> Result<Vec<Partition>, Error> {
        let mut names = match &self.resume {
            // What there is besides, the run has not decided about.
            Some(resume) => resume.partitions(&self.name),
            None => self.source.partitions()?,
        };
        names.sort_unstable();
        names.dedup();
        let is_local = self.source.is_local();
        let control = Control::current();
        control.know(ingest, &self.name, &names, &self.quarantine);
        bounded(&self.name, names.len(), control.partitions())?;
        if !is_local {
            control.list(ingest, &self.name, &names);
        }
        if index == 0 {
            for partition in self.quarantine.beyond(&names) {
                tracing::warn!(
                    source = &*self.name,
                    partition,
                    "quarantine is of a partition that is not there"
                );
            }
        }
        names.retain(|name| index == if is_local { 0 } else { owner(name, peers) });
        Ok(names.iter().map(|name| Partition::new(&self.name, name)).collect())
    }
}

/// Refuses more partitions than keyed state can tell apart: `all` with the `found` ones of `source`.
fn bounded(source: &str, found: usize, all: usize) -> Result<(), Error> {
    match all > PARTITIONS {
        true => Err(Error::Configuration(format!(
            "source \"{source}\" has {found} partitions, and all sources together {all}, where no more than {PARTITIONS} may be: \
             read some of them in another run"
        ))),
        false => Ok(()),
    }
}

/// The worker that owns the partition of this name.
///
/// It depends on the name alone, so workers that list partitions at different moments agree. The last number in the
/// name spreads numbered partitions evenly.
fn owner(name: &str, peers: usize) -> usize {
    let is_digit = |byte: &u8| byte.is_ascii_digit();
    let bytes = name.as_bytes();
    let end = bytes.iter().rposition(is_digit).map_or(0, |last| last + 1);
    let start = bytes[..end].iter().rposition(|byte| !is_digit(byte)).map_or(0, |before| before + 1);
    let number = name[start..end]
        .bytes()
        .fold(0, |number: u64, digit| number.wrapping_mul(10).wrapping_add(u64::from(digit - b'0')));
    let rest = if start == 0 && end == bytes.len() { 0 } else { xxh3_64(&bytes[..start]) };
    (rest.wrapping_add(number) % peers as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_decision_is_kept_that_nobody_asked_for() {
        let input = Input::of_rows(crate::memory::Memory::default(), Schema::new(["k"], ["v"])).named("m");
        let partition = Partition::new("m", "p");
        let watermark = tidewatch_dataflows::EventTime::MIN;
        let decision =
            Decision { partition: partition.id, offset: tidewatch_dataflows::Offset(1), watermark };
        let kept = |input: &Input| {
            input.keeper().append(decision).unwrap();
            input.decisions(&partition).unwrap()
        };
        assert_eq!(Vec::<Decision>::new(), kept(&input));
        let journal = Arc::new(crate::MemoryJournal::default());
        assert_eq!(vec![decision], kept(&input.journal(journal)));
    }

    #[test]
    fn more_partitions_than_keyed_state_can_tell_apart_are_refused() {
        assert!(bounded("logs", 7, 1 << 21).is_ok());
        let error = bounded("logs", 7, (1 << 21) + 1).unwrap_err().to_string();
        assert!(
            error.starts_with("source \"logs\" has 7 partitions, and all sources together 2097153,"),
            "{error}"
        );
    }

    #[test]
    fn numbered_partitions_are_spread_evenly() {
        for names in
            [["0", "1", "2", "3"], ["a/0", "a/1", "a/2", "a/3"], ["p1.csv", "p2.csv", "p3.csv", "p4.csv"]]
        {
            for peers in [1, 2, 4] {
                let mut owned = vec![0; peers];
                names.iter().for_each(|name| owned[owner(name, peers)] += 1);
                assert_eq!(vec![4 / peers; peers], owned, "{names:?}");
            }
        }
    }
}
