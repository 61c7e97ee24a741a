//! The records of one partition, one by one: which are in time, late, malformed, or known already.

use std::cell::Cell;
use std::collections::VecDeque;
use std::ops::ControlFlow;

use tidewatch_dataflows::record::{Dictionary, KeyText, RowBatch};
use tidewatch_dataflows::{EventTime, Key, KeyId, Offset, Span, Watermark};

use super::position::decoding;
use super::quarantine::spelled;
use super::rejected::RAW_BYTES;
use super::{Cause, Input, Rejected};
use crate::control::Rule;
use crate::format::{Decoder, Row};
use crate::source::{Decoded, Raw};
use crate::{Control, Decision, Error, Intake, Partition};

/// What holds for every partition of a source.
pub(super) struct Rules {
    pub(super) width: usize,
    /// What numbers the keys of the partitions that one worker reads.
    pub(super) dictionary: u32,
    max_future: Option<Span>,
    /// Whether a record is late or not before it is asked whether it is in the state already.
    late_first: bool,
    pub(super) control: Control,
}

impl Rules {
    pub(super) fn new(input: &Input, dictionary: u32, control: Control) -> Self {
        let late_first = control.obeys(Rule::LateFirst);
        Self {
            width: input.schema.values.len(),
            dictionary,
            max_future: input.max_future,
            late_first,
            control,
        }
    }
}

/// As much of a record as is kept, cut between characters.
fn beginning(payload: &[u8]) -> &[u8] {
    let is_inside = |at: &usize| payload.get(*at).is_some_and(|byte| byte & 0xc0 == 0x80);
    let end = payload.len().min(RAW_BYTES);
    // No character has more than four bytes; what has such a one is not text.
    let cut = (end.saturating_sub(3)..=end).rev().find(|at| !is_inside(at));
    &payload[..cut.unwrap_or(end)]
}

/// Takes the records of one partition: classifies each one and puts it where it belongs.
pub(super) struct Taking<'a> {
    pub(super) rules: &'a Rules,
    pub(super) partition: &'a Partition,
    pub(super) decoder: Option<&'a mut (dyn Decoder + 'static)>,
    pub(super) watermark: &'a mut Watermark,
    pub(super) decisions: &'a mut VecDeque<Decision>,
    pub(super) next: &'a Cell<Offset>,
    pub(super) row: &'a mut Row,
    pub(super) dictionary: &'a mut Dictionary,
    pub(super) batch: &'a mut RowBatch,
    pub(super) rejected: &'a mut Vec<Rejected>,
    pub(super) left: usize,
    /// What is earlier is in keyed state, and what became of it committed.
    pub(super) below: EventTime,
    /// How many records were earlier.
    pub(super) known: usize,
    pub(super) earliest: EventTime,
}

impl Taking<'_> {
    /// Goes on to the record at this offset.
    #[inline]
    fn reach(&mut self, offset: Offset) {
        self.decide(offset);
        self.next.set(Offset(offset.0 + 1));
    }

    /// Takes the decisions that apply from this offset on.
    #[inline]
    pub(super) fn decide(&mut self, offset: Offset) {
        while self.decisions.front().is_some_and(|decision| decision.offset <= offset) {
            let decision = self.decisions.pop_front().expect("it was just seen");
            self.watermark.force(decision.watermark);
        }
    }

    #[inline]
    fn more(&mut self) -> ControlFlow<()> {
        self.left -= 1;
        if self.left == 0 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    /// Passes by a record that is known already.
    fn pass(&mut self) -> ControlFlow<()> {
        self.known += 1;
        self.more()
    }

    /// Whether a record of this time is in time; moves the watermark past it.
    #[inline]
    fn admit(&mut self, time: EventTime) -> bool {
        self.earliest = self.earliest.min(time);
        self.watermark.admit(time)
    }

    fn reject(
        &mut self,
        cause: Cause,
        watermark: EventTime,
        raw: Raw<'_>,
        time: Option<EventTime>,
        reason: String,
    ) {
        if watermark < self.below {
            self.known += 1;
            return;
        }
        self.rejected.push(Rejected {
            time: watermark,
            cause,
            source: self.partition.source.clone(),
            partition: self.partition.name.clone(),
            offset: raw.offset,
            line: raw.line,
            event_time: time,
            reason,
            raw: beginning(raw.payload).to_vec(),
            raw_bytes: raw.payload.len() as u64,
        });
    }

    fn reject_late(&mut self, watermark: EventTime, raw: Raw<'_>, time: EventTime) {
        if !self.rules.late_first && time < self.below {
            self.known += 1;
            return;
        }
        let reason = format!("late: its event time is before the watermark, {watermark}");
        self.reject(Cause::Late, watermark, raw, Some(time), reason);
    }

    /// Decodes a record, or says what is wrong with it and its event time, if that could be read.
    fn decode(&mut self, raw: Raw<'_>) -> Result<(), (String, Option<EventTime>)> {
        let Some(decoder) = &mut self.decoder else {
            return Err(("the source gives payloads, but has no format".to_owned(), None));
        };
        decoding(raw.offset, || decoder.decode_in(raw.envelope, raw.payload, self.row))
            .map_err(|reason| (reason, None))?;
        match self.future(self.row.time, raw.appended) {
            Some(reason) => Err((reason, Some(self.row.time))),
            None => Ok(()),
        }
    }

    /// Why a record is dated too far in the future, if it is.
    #[inline]
    fn future(&self, time: EventTime, appended: Option<EventTime>) -> Option<String> {
        let (max, appended) = self.rules.max_future.zip(appended)?;
        let is_future = time > appended.saturating_add(max);
        is_future
            .then(|| format!("in the future: {time} is more than {max} after it was appended, {appended}"))
    }
}

impl Intake for Taking<'_> {
    fn header(&mut self, line: &[u8]) -> Result<(), Error> {
        let Some(decoder) = &mut self.decoder else { return Ok(()) };
        let name = &self.partition.name;
        decoder.header(line).map_err(|reason| Error::Configuration(format!("{name}:1: {reason}")))
    }

    fn raw(&mut self, raw: Raw<'_>) -> ControlFlow<()> {
        self.reach(raw.offset);
        let watermark = self.watermark.time();
        if let Err((reason, time)) = self.decode(raw) {
            self.reject(Cause::Malformed, watermark, raw, time, reason);
            return self.more();
        }
        let time = self.row.time;
        if !self.admit(time) {
            self.reject_late(watermark, raw, time);
            return self.more();
        }
        if time < self.below {
            return self.pass();
        }
        let text = &self.row.key;
        let key = self.dictionary.number(KeyId::of(text), || Key::new(text), self.batch);
        self.batch.push(time, key, raw.offset, &self.row.values);
        self.more()
    }

    fn row(&mut self, offset: Offset, time: EventTime, key: &KeyText, values: &[f64]) -> ControlFlow<()> {
        self.reach(offset);
        let watermark = self.watermark.time();
        if !self.admit(time) {
            let payload = spelled(key, values);
            let raw = Raw::new(offset, payload.as_bytes());
            self.reject_late(watermark, raw, time);
            return self.more();
        }
        if time < self.below {
            return self.pass();
        }
        let key = self.dictionary.number(key.id, || key.key.clone(), self.batch);
        self.batch.push(time, key, offset, values);
        self.more()
    }

    fn decoded(&mut self, record: Decoded<'_>) -> ControlFlow<()> {
        self.reach(record.offset);
        let (watermark, time) = (self.watermark.time(), record.time);
        if let Some(reason) = self.future(time, record.appended) {
            record.with_raw(|raw| self.reject(Cause::Malformed, watermark, raw, Some(time), reason));
            return self.more();
        }
        if !self.admit(time) {
            record.with_raw(|raw| self.reject_late(watermark, raw, time));
            return self.more();
        }
        if time < self.below {
            return self.pass();
        }
        let key = self.dictionary.number(record.id, || Key::new(record.key), self.batch);
        self.batch.push(time, key, record.offset, record.values);
        self.more()
    }

    fn damaged(&mut self, raw: Raw<'_>, reason: String) -> ControlFlow<()> {
        self.reach(raw.offset);
        self.reject(Cause::Malformed, self.watermark.time(), raw, None, reason);
        self.more()
    }
}
