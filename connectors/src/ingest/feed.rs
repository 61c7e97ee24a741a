//! One partition on its way into a dataflow.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use tidewatch_dataflows::record::{Dictionary, Origin, RowBatch};
use tidewatch_dataflows::underway::tell_by;
use tidewatch_dataflows::{EventTime, Watermark};
use timely::dataflow::operators::Capability;
use timely::scheduling::SyncActivator;

use super::gate::Allowance;
use super::position::Position;
use super::quarantine::Sieve;
use super::resume::{Marks, Positions};
use super::taking::{Rules, Taking};
use super::{Cause, Input, Quarantined, Rejected};
use crate::control::{Rule, Stand};
use crate::format::{Decoder, Row};
use crate::{Control, Decision, Error, Journal, Kept, Partition, Reader, Status};

type Held = Capability<EventTime>;

/// A partition, its reader, and the capabilities that it holds at its watermark.
pub(super) struct Feed {
    partition: Partition,
    reader: Box<dyn Reader>,
    decoder: Option<Box<dyn Decoder>>,
    quarantined: Quarantined,
    watermark: Watermark,
    /// Decisions of an earlier run, to be taken again at their offsets.
    decisions: VecDeque<Decision>,
    /// A watermark that holds once it is kept that it does.
    decided: Option<(EventTime, Kept)>,
    /// Whether it is not read meanwhile.
    waits: bool,
    /// What is earlier is in keyed state already.
    below: EventTime,
    /// From where it is read again, for whoever wants to know.
    marks: Option<Rc<RefCell<Marks>>>,
    capabilities: Option<(Held, Held)>,
    /// The least offset that the next record can have, for whoever asks.
    place: Rc<Position>,
    /// Where it says how far it has come.
    stand: Arc<Stand>,
    status: Status,
    position: u64,
    /// Since when there has been no record.
    pub(super) quiet_since: Instant,
    row: Row,
}

impl Feed {
    pub(super) fn open(
        input: &Input,
        partition: Partition,
        waker: SyncActivator,
        positions: Option<&Positions>,
    ) -> Result<Self, Error> {
        let (resume, control) = (input.resume.as_ref(), Control::current());
        let position = resume.and_then(|resume| resume.position(&partition));
        let watermark = position.map_or(Watermark::new(input.lateness), |position| {
            Watermark::resumed(input.lateness, position.watermark, position.newest)
        });
        let from = position.map(|position| position.offset);
        let reader = input.source.open(&partition.name, from, waker)?;
        let offset = from.unwrap_or_else(|| reader.start());
        Ok(Self {
            reader,
            decided: None,
            waits: true,
            below: resume
                .filter(|_| control.obeys(Rule::NothingBeforeBoundary))
                .map_or(EventTime::MIN, |resume| resume.boundary),
            marks: positions.map(|positions| positions.add(&partition, offset, watermark)),
            decoder: input.format.as_ref().map(|format| format.decoder(&partition.name)),
            quarantined: input.quarantine.of(&partition.name),
            watermark,
            decisions: match control.obeys(Rule::DecisionsApplyAgain) {
                true => input.decisions(&partition)?.into(),
                false => VecDeque::new(),
            },
            place: Rc::new(Position::new(partition.id, offset)),
            stand: control.stand(&partition),
            partition,
            capabilities: None,
            status: Status::More,
            position: 0,
            quiet_since: control.now(),
            row: Row::default(),
        })
    }

    pub(super) fn hold(&mut self, capabilities: Option<(Held, Held)>) {
        self.capabilities = capabilities;
    }

    pub(super) fn capabilities(&self) -> Option<(&Held, &Held)> {
        self.capabilities.as_ref().map(|(rows, rejected)| (rows, rejected))
    }

    /// The watermark before the next record.
    pub(super) fn watermark(&self) -> EventTime {
        self.watermark.time()
    }

    /// The greatest event time seen; [`EventTime::MIN`] before the first record.
    pub(super) fn newest(&self) -> EventTime {
        self.watermark.newest()
    }

    /// Whether an earlier run has decided about records that are still to come; this one then decides nothing.
    pub(super) fn is_replaying(&self) -> bool {
        !self.decisions.is_empty()
    }

    /// Whether reading may give something at once.
    pub(super) fn is_ready(&self) -> bool {
        self.status == Status::More
    }

    /// Whether reading may give something at once, and is allowed.
    pub(super) fn may_be_read(&self, allowance: Allowance) -> bool {
        self.is_ready()
            && (self.decided.is_none() || !self.waits)
            && match allowance {
                Allowance::Everything => true,
                Allowance::Holders { frontier, .. } => self.watermark().floor_ms() <= frontier,
                Allowance::Nothing => false,
            }
    }

    /// Takes note that a partition with records is not read: its silence says nothing.
    pub(super) fn excuse(&mut self, now: Instant) {
        if self.is_ready() {
            self.quiet_since = now;
        }
    }

    /// Why nothing more can be read: `over.0` bytes wait for this partition, where `over.1` may.
    pub(super) fn holds_too_much(&self, over: (u64, u64)) -> Error {
        let (source_name, partition) = (self.partition.source.to_string(), self.partition.name.to_string());
        let (watermark, (bytes, limit)) = (self.watermark(), over);
        Error::Ahead { source_name, partition, watermark, bytes, limit }
    }

    /// Lets a partition that had nothing be asked again.
    pub(super) fn retry(&mut self) {
        if self.status == Status::Pending {
            self.status = Status::More;
        }
    }

    /// Reads up to `records` records into an empty batch, and returns how many.
    pub(super) fn read(
        &mut self,
        rules: &Rules,
        records: usize,
        dictionary: &mut Dictionary,
        batch: &mut RowBatch,
        rejected: &mut Vec<Rejected>,
    ) -> Result<u64, Error> {
        let origin = Origin { partition: self.partition.id, dictionary: rules.dictionary };
        batch.reset(origin, rules.width, self.place.next.get());
        if let Some(marks) = &self.marks {
            marks.borrow_mut().stand(self.place.next.get(), self.watermark);
        }
        let mut taking = Taking {
            rules,
            partition: &self.partition,
            decoder: self.decoder.as_deref_mut(),
            watermark: &mut self.watermark,
            decisions: &mut self.decisions,
            next: &self.place.next,
            row: &mut self.row,
            dictionary,
            batch,
            rejected,
            left: records.max(1),
            below: self.below,
            known: 0,
            earliest: EventTime::MAX,
        };
        let telling = tell_by(self.place.clone());
        self.status = match self.quarantined.is_empty() {
            true => self.reader.read(&mut taking)?,
            false => {
                let quarantined = &self.quarantined;
                self.reader.read(&mut Sieve { inner: &mut taking, quarantined })?
            }
        };
        drop(telling);
        let logical = taking.watermark.time().max(taking.watermark.newest());
        if self.status != Status::More {
            // They applied when the earlier run stood here, before any record came.
            taking.decide(taking.next.get());
        }
        let (read, known, earliest) = (records.max(1) - taking.left, taking.known, taking.earliest);
        if let Some(marks) = self.marks.as_ref().filter(|_| read > 0) {
            marks.borrow_mut().see(logical);
        }
        let taken = (read - known) as u64;
        if !batch.is_whole(read - known - rejected.len()) {
            let (Partition { source, name, .. }, width) = (&self.partition, rules.width);
            return Err(Error::Configuration(format!(
                "source \"{source}\": partition \"{name}\" has records with another number of values than the {width} of the schema"
            )));
        }
        let counts = rules.control.counts();
        if read > 0 {
            self.quiet_since = rules.control.now();
        }
        if taken > 0 {
            counts.records.add(taken);
            let late = rejected.iter().filter(|rejected| rejected.cause == Cause::Late).count() as u64;
            counts.late.add(late);
            counts.malformed.add(rejected.len() as u64 - late);
            counts.saw(earliest, self.watermark.newest());
        }
        let position = self.reader.position();
        counts.position.add(position - self.position);
        self.position = position;
        Ok(read as u64)
    }

    /// Decides to move the watermark up to `time`. It moves once the journal has kept that; until then nothing is read.
    pub(super) fn force(
        &mut self,
        time: EventTime,
        journal: &dyn Journal,
        waker: &SyncActivator,
    ) -> Result<(), Error> {
        if time > self.watermark.time() && self.decided.is_none() {
            let (partition, offset) = (self.partition.id, self.place.next.get());
            let kept = journal.append(Decision { partition, offset, watermark: time })?;
            kept.wake(waker);
            let control = Control::current();
            if !control.obeys(Rule::DecisionsAreDurable) {
                kept.keep();
            }
            self.waits = control.obeys(Rule::RecordsWaitForDecisions);
            self.decided = Some((time, kept));
            self.conclude();
        }
        Ok(())
    }

    /// Moves the watermark up as decided, if that is kept.
    pub(super) fn conclude(&mut self) {
        if let Some((time, _)) = self.decided.take_if(|(_, kept)| kept.is_kept()) {
            self.watermark.force(time);
            if let Some(marks) = &self.marks {
                marks.borrow_mut().stand(self.place.next.get(), self.watermark);
            }
            self.settle();
        }
    }

    /// Brings the capabilities to the watermark; drops them and returns `true` at the end of the partition.
    pub(super) fn settle(&mut self) -> bool {
        self.stand.tell(self.place.next.get(), self.watermark.time(), self.reader.lag());
        if self.status == Status::Ended {
            self.stand.end();
            self.capabilities = None;
        } else if let Some((rows, rejected)) = &mut self.capabilities {
            let watermark = self.watermark.time().floor_ms();
            if watermark > *rows.time() {
                rows.downgrade(&watermark);
                rejected.downgrade(&watermark);
            }
        }
        self.status == Status::Ended
    }
}
