//! From a source to a stream of records.
//!
//! One operator owns, for every source, what event time needs: a capability per partition, its watermark, lateness,
//! future-dated and idle partitions (ARCHITECTURE.md, "Laws"). A reader and a decoder only say what a record is.
//!
//! A partition is owned by the worker that its name gives, whatever partitions there are besides; those of a local
//! source by the first worker.

mod feed;
mod gate;
mod idle;
mod rejected;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidewatch_dataflows::operators::credits::{Credits, Told};
use tidewatch_dataflows::operators::Records;
use tidewatch_dataflows::record::{Dictionary, RowBatch};
use tidewatch_dataflows::{EventTime, Span};
use timely::container::{CapacityContainerBuilder, NoopBuilder};
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::vec::Filter;
use timely::dataflow::operators::{CapabilitySet, Concat};
use timely::dataflow::{Scope, StreamVec};
use timely::progress::operate::FrontierInterest;
use xxhash_rust::xxh3::xxh3_64;

use crate::format::Format;
use crate::{Control, Decision, Error, Journal, MemoryJournal, Partition, Schema, Source};

use feed::{Feed, Rules};
use gate::{Allowance, Gate};
use idle::{Standing, Standings};
pub use rejected::{Cause, Rejected};

/// A source with all that its records mean; ingested into as many dataflows as one likes.
#[derive(Clone)]
pub struct Input {
    source: Arc<dyn Source>,
    format: Option<Arc<dyn Format>>,
    schema: Schema,
    name: Arc<str>,
    lateness: Span,
    max_future: Option<Span>,
    idle: Option<Duration>,
    journal: Arc<dyn Journal>,
    pace: Pace,
}

/// How much is read at a time, and from where next. Results never depend on it.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Records read from a partition before another one has its turn.
    pub batch: usize,
    /// Partitions take turns in a random order with this seed, instead of lowest watermark first.
    pub shuffle: Option<u64>,
    /// How many keys in use each worker remembers to have named to the workers that hold their state.
    pub dictionary: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Self { batch: RowBatch::CAPACITY, shuffle: None, dictionary: Dictionary::GENERATION }
    }
}

/// The streams of an ingested source.
pub struct Ingested<'scope> {
    /// Records in time, on their way to keyed state.
    pub records: Records<'scope>,
    /// Records behind their partition's watermark, under the watermark.
    pub late: StreamVec<'scope, EventTime, Rejected>,
    /// What is not a record that the format knows, or is dated in the future, under the watermark.
    pub malformed: StreamVec<'scope, EventTime, Rejected>,
}

impl Ingested<'_> {
    /// The streams of both sources, which have the same schema.
    pub fn concat(self, other: Self) -> Self {
        Self {
            records: self.records.concat(other.records),
            late: self.late.concat(other.late),
            malformed: self.malformed.concat(other.malformed),
        }
    }
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
            journal: Arc::new(MemoryJournal::default()),
            pace: Pace::default(),
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

    /// Where decisions about idle partitions are kept, and the earlier ones taken from.
    pub fn journal(mut self, journal: Arc<dyn Journal>) -> Self {
        self.journal = journal;
        self
    }

    /// How much is read at a time, and from where next.
    pub fn pace(mut self, pace: Pace) -> Self {
        self.pace = pace;
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

    /// The same input with its source and journal behind others, as something that watches them.
    pub(crate) fn behind(mut self, wrap: impl FnOnce(&Self) -> (Arc<dyn Source>, Arc<dyn Journal>)) -> Self {
        (self.source, self.journal) = wrap(&self);
        self
    }

    /// The same input from a recording of its source, which has all decisions.
    pub(crate) fn replaying(mut self, source: Arc<dyn Source>) -> Self {
        (self.source, self.journal, self.idle) = (source, Arc::new(MemoryJournal::default()), None);
        self
    }

    /// Where its decisions are kept.
    pub(crate) fn keeper(&self) -> &Arc<dyn Journal> {
        &self.journal
    }

    /// The decisions of earlier runs on a partition.
    fn decisions(&self, partition: &Partition) -> Result<Vec<Decision>, Error> {
        let mut decisions = self.source.decisions(&partition.name)?;
        decisions.extend(self.journal.decisions(partition.id));
        Ok(decisions)
    }

    /// The partitions that worker `index` of `peers` owns, in order of their names.
    fn partitions(&self, index: usize, peers: usize, ingest: usize) -> Result<Vec<Partition>, Error> {
        let mut names = self.source.partitions()?;
        names.sort_unstable();
        names.dedup();
        let is_local = self.source.is_local();
        if !is_local {
            Control::current().list(ingest, &self.name, &names);
        }
        names.retain(|name| index == if is_local { 0 } else { owner(name, peers) });
        Ok(names.iter().map(|name| Partition::new(&self.name, name)).collect())
    }

    /// Reads the source into a dataflow, each worker the partitions that it owns.
    ///
    /// A source that cannot be read ends the run with its error.
    pub fn ingest<'scope>(&self, scope: Scope<'scope, EventTime>) -> Ingested<'scope> {
        let (index, peers) = (scope.index(), scope.peers());
        let control = Control::current();
        let ingest = Control::next_ingest();
        let mut builder = OperatorBuilder::new("Ingest".to_owned(), scope);
        let address = builder.operator_info().address;
        // One for each ingest operator of each worker.
        let dictionary = (builder.operator_info().global_id * peers + index) as u32;
        let activator = scope.activator_for(address.clone());
        let waker = || scope.worker().sync_activator_for(address.to_vec());

        let (rows_output, rows) = builder.new_output();
        let (rejected_output, rejected) = builder.new_output();
        let (ends_output, ends) = builder.new_output();
        let (standings_output, standings) = builder.new_output();
        let mut rows_output = OutputBuilder::<_, NoopBuilder<RowBatch>>::from(rows_output);
        let mut rejected_output =
            OutputBuilder::<_, CapacityContainerBuilder<Vec<Rejected>>>::from(rejected_output);
        let mut ends_output =
            OutputBuilder::<_, CapacityContainerBuilder<Vec<(u64, EventTime)>>>::from(ends_output);
        let mut standings_output =
            OutputBuilder::<_, CapacityContainerBuilder<Vec<Standing>>>::from(standings_output);
        // What other workers say of their partitions; connected to no output, so that it cannot hold time back.
        let to_worker = Exchange::new(|standing: &Standing| standing.to);
        let mut standings_input = builder.new_input_connection(standings, to_worker, []);
        builder.set_notify_for(0, FrontierInterest::Never);
        // Neither can what the consumers say.
        let (credits, told, consumers) = Credits::line(scope);
        let mut told_input = builder.new_input_connection(told, Pipeline, []);
        builder.set_notify_for(1, FrontierInterest::Never);
        let mut gate = Gate::new(dictionary, self.schema.values.len(), consumers);

        let open = |partition| Feed::open(self, partition, waker());
        let opened: Result<Vec<Feed>, Error> = self
            .partitions(index, peers, ingest)
            .and_then(|partitions| partitions.into_iter().map(open).collect());
        let mut feeds = opened.unwrap_or_else(|error| {
            control.fail(error);
            Vec::new()
        });
        let rules = Rules::new(self, dictionary, control.clone());
        let (idle, journal) = (self.idle, self.journal.clone());
        let mut asking = Asking::new(self.source.patience(), idle);
        let mut turns = Turns::new(self.pace);

        // An interruption may come before the first turn.
        control.hold(index, ingest, Some(EventTime::MIN));
        builder.build(move |mut capabilities| {
            capabilities.truncate(3);
            let mut ends_at = capabilities.pop();
            let (rejected_at, rows_at) = (capabilities.pop(), capabilities.pop());
            for feed in &mut feeds {
                feed.hold(rows_at.clone().zip(rejected_at.clone()));
            }
            drop((rows_at, rejected_at));
            let mut dictionary = Dictionary::with_generation(turns.pace.dictionary);
            let mut standings = Standings::new(index, peers);
            let mut batch = RowBatch::default();
            let mut rejections = Vec::new();
            let mut end = EventTime::MIN;

            move |_frontiers| {
                standings_input
                    .for_each(|_, heard| heard.drain(..).for_each(|standing| standings.hear(standing)));
                told_input
                    .for_each(|_, told: &mut Vec<Told>| told.drain(..).for_each(|told| gate.hear(told)));
                if control.interrupted() || control.failed() {
                    return;
                }

                // Read where the watermark is lowest, so that the frontier moves; a few turns, then others work.
                let asked = asking.is_due(Instant::now());
                if asked {
                    feeds.iter_mut().for_each(Feed::retry);
                }
                let mut turns_left = 4;
                let mut allowance = gate.allows(turns.pace.batch);
                while let Some(at) = turns.next(&feeds, allowance).filter(|_| turns_left > 0) {
                    let feed = &mut feeds[at];
                    if let Allowance::Holders { over: Some(over), .. } = allowance {
                        return control.fail(feed.holds_too_much(over));
                    }
                    match feed.read(&rules, turns.pace.batch, &mut dictionary, &mut batch, &mut rejections) {
                        // A partition that had nothing costs no turn, but one on a long skip does.
                        Ok(0) if !feed.is_ready() => {}
                        Ok(_) => turns_left -= 1,
                        Err(error) => return control.fail(error),
                    }
                    let Some((rows_at, rejected_at)) = feed.capabilities() else { continue };
                    if !batch.is_empty() {
                        gate.send(batch.len());
                        rows_output.activate().session_with_builder(rows_at).give_container(&mut batch);
                        batch = RowBatch::default();
                    }
                    rejected_output.activate().session(rejected_at).give_iterator(rejections.drain(..));
                    if feed.settle() {
                        end = end.max(feed.watermark());
                        standings.outlive(feed);
                        feeds.swap_remove(at);
                    }
                    allowance = gate.allows(turns.pace.batch);
                }
                // Who is not asked is not silent.
                feeds.iter_mut().filter(|feed| !feed.may_be_read(allowance)).for_each(Feed::excuse);

                // A partition that has been silent for long must not hold the others back; it was asked just now.
                if let Some(idle) = idle.filter(|_| asked) {
                    standings.look(&mut feeds, Instant::now(), idle);
                    if let Err(error) = standings.decide(&mut feeds, journal.as_ref()) {
                        return control.fail(error);
                    }
                    let mut output = standings_output.activate();
                    output.session(&CapabilitySet::new()).give_iterator(standings.tell());
                }

                control.hold(index, ingest, feeds.iter().map(|feed| feed.watermark().floor_ms()).min());
                if feeds.is_empty() {
                    if let Some(ends_at) = ends_at.take() {
                        let all = (0..peers as u64).map(|worker| (worker, end));
                        ends_output.activate().session(&ends_at).give_iterator(all);
                    }
                } else if feeds.iter().any(|feed| feed.may_be_read(allowance)) {
                    activator.activate();
                } else if let Some(wait) = asking.wait(Instant::now()) {
                    activator.activate_after(wait);
                }
            }
        });

        let tally = Control::current().tally().clone();
        Ingested {
            records: Records { rows, ends, width: self.schema.values.len(), tally, credits },
            late: rejected.clone().filter(|rejected| rejected.cause == Cause::Late),
            malformed: rejected.filter(|rejected| rejected.cause == Cause::Malformed),
        }
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

/// When partitions that had nothing are asked again. To ask a followed file is to ask the system, so that thousands of
/// silent ones must not be asked whenever a busy one has been read.
struct Asking {
    /// How long to wait before asking again, if the reader does not wake the worker.
    patience: Option<Duration>,
    /// How long to wait at most, so that silence is noticed.
    look: Option<Duration>,
    last: Option<Instant>,
}

impl Asking {
    fn new(patience: Option<Duration>, idle: Option<Duration>) -> Self {
        let look = idle.map(|idle| idle / 4);
        Self {
            patience: patience.map(|patience| look.map_or(patience, |look| look.min(patience))),
            look,
            last: None,
        }
    }

    /// Whether it is time; if so, the next time is counted from now.
    fn is_due(&mut self, now: Instant) -> bool {
        let due = match (self.last, self.patience) {
            (Some(last), Some(patience)) => now.saturating_duration_since(last) >= patience,
            _ => true,
        };
        if due {
            self.last = Some(now);
        }
        due
    }

    /// How long the operator may sleep, if nobody wakes it.
    fn wait(&self, now: Instant) -> Option<Duration> {
        let wait = self.patience.or(self.look)?;
        let passed = self.last.map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        Some(wait.saturating_sub(passed))
    }
}

/// Whose turn it is to be read.
struct Turns {
    pace: Pace,
    random: u64,
}

impl Turns {
    fn new(pace: Pace) -> Self {
        Self { pace, random: pace.shuffle.unwrap_or(0) }
    }

    /// The feed to read next, of those that may have something and may be read.
    fn next(&mut self, feeds: &[Feed], allowance: Allowance) -> Option<usize> {
        let ready = feeds.iter().enumerate().filter(|(_, feed)| feed.may_be_read(allowance));
        if self.pace.shuffle.is_none() {
            return ready.min_by_key(|(_, feed)| feed.watermark()).map(|(at, _)| at);
        }
        // Knuth (1997), The Art of Computer Programming vol. 2, table 3.3.4/1, line 26.
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let random = self.random;
        ready.max_by_key(|(at, _)| xxh3_64(&(random ^ *at as u64).to_le_bytes())).map(|(at, _)| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_wake_the_worker_is_asked_at_intervals_and_the_rest_at_once() {
        let (start, ms) = (Instant::now(), Duration::from_millis);
        let mut woken = Asking::new(None, None);
        assert!(woken.is_due(start) && woken.is_due(start));
        assert_eq!(None, woken.wait(start));
        let mut asked = Asking::new(Some(ms(100)), None);
        let due = [0, 1, 99, 100, 101, 250].map(|at| asked.is_due(start + ms(at)));
        assert_eq!([true, false, false, true, false, true], due);
        assert_eq!(Some(ms(60)), asked.wait(start + ms(290)));
        // Silence must be noticed in time, and only of who was just asked.
        let mut asked = Asking::new(Some(ms(100)), Some(ms(80)));
        assert_eq!([true, false, true], [0, 19, 20].map(|at| asked.is_due(start + ms(at))));
        let mut woken = Asking::new(None, Some(ms(80)));
        assert!(woken.is_due(start) && woken.is_due(start));
        assert_eq!(Some(ms(20)), woken.wait(start));
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
