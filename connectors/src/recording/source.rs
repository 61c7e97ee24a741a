//! Gives the records of a recording again.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tidewatch_dataflows::{EventTime, KeyId, Offset};
use timely::scheduling::SyncActivator;

use super::codec::Block;
use super::columns::{Texts, APPENDED, DAMAGED, DECODED, HOLES, KIND, LINE, PAYLOAD, ROW};
use super::contents::{Contents, Failure, Track};
use super::holes::{fill, Said};
use super::parts::Parts;
use super::play::Play;
use crate::format::{Decoder, Format, Row};
use crate::ingest::{decoding, Quarantine, Quarantined};
use crate::source::{Decoded, Intake, Raw, Reader, Source, Status};
use crate::{Control, Decision, Error};

/// How often a reader looks whether the time of its next record has come.
const TICK: Duration = Duration::from_millis(10);

/// A source of a recording.
#[derive(Clone)]
pub(super) struct Recorded {
    pub(super) parts: Arc<Parts>,
    /// The name that the source had.
    pub(super) name: Arc<str>,
    /// Decodes payloads, where that was not done when they were recorded.
    pub(super) format: Option<Arc<dyn Format>>,
    /// Rows beside payloads are used if their partition has it.
    pub(super) fingerprint: u64,
    /// How many values a row has that whoever plays it takes; none if no row is taken that was not decoded here.
    pub(super) values: Option<usize>,
    /// What is given without being decoded.
    pub(super) quarantine: Quarantine,
    pub(super) play: Play,
}

impl Recorded {
    pub(super) fn tracks(&self) -> impl Iterator<Item = (&Contents, &Track)> {
        self.parts.all().filter(|(_, track)| track.described.source == self.name)
    }

    /// Whether rows of a partition have as many values as whoever plays it takes.
    fn takes_rows(&self, track: &Track) -> bool {
        self.values == Some(track.described.schema.values.len())
    }

    /// Whether the rows of a partition are what this replay would decode.
    fn trusts(&self, track: &Track) -> bool {
        let described = &track.described;
        let is_decoded_so = self.fingerprint != 0 && self.fingerprint == described.fingerprint;
        self.takes_rows(track) && (described.rows || is_decoded_so)
    }

    fn reader(&self, name: &str, from: Offset) -> Result<RecordedReader, Error> {
        let (_, track) = self.parts.track(&self.name, name).ok_or_else(|| {
            let (path, source) = (&self.parts.path, &self.name);
            Error::Configuration(format!("{path} has no partition \"{name}\" of source \"{source}\""))
        })?;
        Ok(RecordedReader {
            from,
            trusts: self.trusts(track),
            decoder: self.format.as_ref().map(|format| format.decoder(name)),
            quarantined: self.quarantine.of(name),
            header: track.described.header.clone(),
            next: 0,
            is_damaged: false,
            loaded: None,
            row: Row::default(),
            is_played: !self.play.has_start(),
            newest: EventTime::MIN,
            given: 0,
            source: self.clone(),
            name: name.into(),
        })
    }

    /// The event time of the first record of each partition that has one in its first block; the least of them.
    pub(super) fn first_time(&self) -> Option<EventTime> {
        let first = |(contents, track): (&Contents, &Track)| {
            let block = track.blocks.first()?;
            let body = contents.body(block).ok()?;
            let block = Block::decode(&block.head, body, track.described.schema.values.len()).ok()?;
            let mut loaded = Loaded::new(block, track.described.schema.values.len());
            if self.trusts(track) {
                return loaded.block.columns.times.first().copied().map(EventTime::from_micros);
            }
            let mut decoder = self.format.as_ref()?.decoder(&track.described.name);
            if let Some(header) = &track.described.header {
                decoder.header(header).ok()?;
            }
            let mut row = Row::default();
            while let Some(flags) = loaded.block.columns.flags.get(loaded.at).copied() {
                if matches!(flags & KIND, PAYLOAD | DECODED)
                    && decoder.decode(&loaded.payload(flags), &mut row).is_ok()
                {
                    return Some(row.time);
                }
                loaded.advance(flags);
            }
            None
        };
        self.tracks().filter_map(first).min()
    }
}

impl Source for Recorded {
    fn kind(&self) -> &'static str {
        "recording"
    }

    fn partitions(&self) -> Result<Vec<String>, Error> {
        Ok(self.tracks().map(|(_, track)| track.described.name.to_string()).collect())
    }

    fn open(
        &self,
        partition: &str,
        from: Option<Offset>,
        _waker: SyncActivator,
    ) -> Result<Box<dyn Reader>, Error> {
        Ok(Box::new(self.reader(partition, from.unwrap_or_default())?))
    }

    fn decisions(&self, partition: &str) -> Result<Vec<Decision>, Error> {
        let track = self.parts.track(&self.name, partition);
        Ok(track.map(|(_, track)| track.decisions.clone()).unwrap_or_default())
    }

    fn patience(&self) -> Option<Duration> {
        self.play.is_paced().then_some(TICK)
    }

    /// The number of records.
    fn size(&self) -> Option<u64> {
        Some(self.tracks().map(|(_, track)| track.records()).sum())
    }
}

struct RecordedReader {
    source: Recorded,
    name: Arc<str>,
    from: Offset,
    trusts: bool,
    decoder: Option<Box<dyn Decoder>>,
    quarantined: Quarantined,
    /// The header, until it has been given.
    header: Option<Vec<u8>>,
    /// The block to load next.
    next: usize,
    /// Whether the next block is behind a damage.
    is_damaged: bool,
    loaded: Option<Loaded>,
    row: Row,
    /// Whether a record without a time would be played.
    is_played: bool,
    /// The greatest event time that was given.
    newest: EventTime,
    given: u64,
}

/// A block with the place of the next record in each of its columns.
struct Loaded {
    block: Block,
    payloads: OnceCell<Texts>,
    width: usize,
    at: usize,
    line: usize,
    appended: usize,
    row: usize,
    payload: usize,
    reason: usize,
}

impl Loaded {
    fn new(block: Block, width: usize) -> Self {
        let payloads = OnceCell::new();
        Self { block, payloads, width, at: 0, line: 0, appended: 0, row: 0, payload: 0, reason: 0 }
    }

    #[inline]
    fn advance(&mut self, flags: u8) {
        let kind = flags & KIND;
        self.at += 1;
        self.line += usize::from(flags & LINE != 0);
        self.appended += usize::from(flags & APPENDED != 0);
        self.row += usize::from(matches!(kind, DECODED | ROW));
        self.payload += usize::from(kind != ROW);
        self.reason += usize::from(kind == DAMAGED);
    }

    #[inline]
    fn values(&self) -> &[f64] {
        &self.block.columns.values[self.row * self.width..][..self.width]
    }

    /// The payload of the record, whole. What cannot be restored, though its checksum is right, is empty.
    fn payload(&self, flags: u8) -> Cow<'_, [u8]> {
        let payloads = self.payloads.get_or_init(|| self.block.payloads().unwrap_or_default());
        let payload = payloads.get(self.payload).unwrap_or_default();
        if flags & HOLES == 0 || flags & KIND != DECODED {
            return payload.into();
        }
        let key = &self.block.names[self.block.columns.keys[self.row] as usize].key;
        let said =
            Said { time: self.block.columns.times[self.row], key: key.as_str(), values: self.values() };
        fill(payload, said).unwrap_or_default().into()
    }
}

impl RecordedReader {
    /// Loads the next block that has something to play; at a damage, returns the offset behind which nothing is
    /// read, and why.
    fn load(&mut self) -> Result<Option<(Offset, String)>, Error> {
        self.loaded = None;
        let parts = self.source.parts.clone();
        let Some((contents, track)) = parts.track(&self.source.name, &self.name) else { return Ok(None) };
        let width = track.described.schema.values.len();
        while let Some(block) = track.blocks.get(self.next).filter(|_| !self.is_damaged) {
            let index = self.next;
            self.next += 1;
            let (earliest, latest) = (block.head.earliest, block.head.latest);
            let times = [earliest, latest].map(EventTime::from_micros);
            let is_skipped = self.trusts
                && !self.is_played
                && earliest <= latest
                && self.source.play.has_none_of(times[0], times[1]);
            if is_skipped || block.head.last < self.from.0 {
                self.given += u64::from(block.head.count);
                continue;
            }
            let decoded = contents.body(block).and_then(|body| {
                let block = Block::decode(&block.head, body, width)?;
                let is_row = |flags: &u8| flags & KIND == ROW;
                match !self.source.takes_rows(track) && block.columns.flags.iter().any(is_row) {
                    true => Err(Failure::Wrong(format!(
                        "it has rows of {width} values, which the pipeline does not take"
                    ))),
                    false => Ok(block),
                }
            });
            match decoded {
                Ok(block) => {
                    self.loaded = Some(Loaded::new(block, width));
                    return Ok(None);
                }
                Err(Failure::Wrong(what)) => {
                    self.is_damaged = true;
                    let damage = contents.tell_block(track, index, what);
                    Control::current().counts().damages.add(1);
                    tracing::warn!("{damage}");
                    return Ok(Some((Offset(block.head.first), damage.to_string())));
                }
                Err(Failure::Io(error)) => return Err(Error::io(&contents.path)(error)),
            }
        }
        Ok(None)
    }

    /// Gives the records of the block until the intake breaks, their time has not come, or the block ends.
    fn give(&mut self, intake: &mut dyn Intake) -> Status {
        let Some(loaded) = &mut self.loaded else { return Status::Ended };
        let play = &self.source.play;
        while let Some(flags) = loaded.block.columns.flags.get(loaded.at).copied() {
            let kind = flags & KIND;
            let offset = Offset(loaded.block.columns.offsets[loaded.at]);
            let payload = &|| loaded.payload(flags);
            let recorded = kind == ROW || kind == DECODED && self.trusts;
            let row = if recorded {
                let key = &loaded.block.names[loaded.block.columns.keys[loaded.row] as usize];
                Some((loaded.block.columns.times[loaded.row], key.id, key.key.as_str(), loaded.values()))
            } else if self.quarantined.has(offset) {
                None
            } else if let (PAYLOAD | DECODED, Some(decoder)) = (kind, &mut self.decoder) {
                let is_decoded = decoding(offset, || decoder.decode(&payload(), &mut self.row)).is_ok();
                let Row { time, key, values } = &self.row;
                is_decoded.then(|| (time.micros(), KeyId::of(key), &**key, &**values))
            } else {
                None
            };
            let row = row.map(|(time, id, key, values)| (EventTime::from_micros(time), id, key, values));
            if let Some((time, ..)) = row {
                self.is_played = play.has(time);
            }
            if !self.is_played || offset < self.from {
                loaded.advance(flags);
                self.given += 1;
                continue;
            }
            if let Some((time, ..)) = row {
                self.newest = self.newest.max(time);
                if !play.is_due(self.newest) {
                    return Status::Pending;
                }
            }
            let line = (flags & LINE != 0).then(|| loaded.block.columns.lines[loaded.line]);
            let appended = (flags & APPENDED != 0)
                .then(|| EventTime::from_micros(loaded.block.columns.appended[loaded.appended]));
            let raw = |payload| Raw { line, appended, ..Raw::new(offset, payload) };
            let flow = match (kind, row) {
                (ROW, Some((time, _, _, values))) => {
                    let key = &loaded.block.names[loaded.block.columns.keys[loaded.row] as usize];
                    intake.row(offset, time, key, values)
                }
                (DAMAGED, _) => intake.damaged(raw(&payload()), loaded.block.reasons[loaded.reason].clone()),
                (_, Some((time, id, key, values))) => {
                    intake.decoded(Decoded { offset, line, appended, time, id, key, values, payload })
                }
                (_, None) => intake.raw(raw(&payload())),
            };
            loaded.advance(flags);
            self.given += 1;
            if flow.is_break() {
                break;
            }
        }
        // The labels of a block are asked for before the next one is loaded.
        Status::More
    }
}

impl Reader for RecordedReader {
    fn read(&mut self, intake: &mut dyn Intake) -> Result<Status, Error> {
        if let Some(header) = self.header.take() {
            intake.header(&header)?;
            if let Some(decoder) = &mut self.decoder {
                // The intake has accepted it.
                let _ = decoder.header(&header);
            }
        }
        let is_at_end = |loaded: &Loaded| loaded.at == loaded.block.columns.flags.len();
        if self.loaded.as_ref().is_none_or(is_at_end) {
            if let Some((offset, reason)) = self.load()? {
                let damaged = Raw::new(offset, &[]);
                return Ok(match intake.damaged(damaged, reason) {
                    ControlFlow::Break(()) => Status::More,
                    ControlFlow::Continue(()) => Status::Ended,
                });
            }
        }
        Ok(self.give(intake))
    }

    fn position(&self) -> u64 {
        self.given
    }

    fn label(&self, offset: Offset) -> Option<String> {
        let block = &self.loaded.as_ref()?.block;
        let index = block.columns.offsets.binary_search(&offset.0).ok()?;
        let at = block.columns.labels.binary_search_by_key(&index, |(index, _)| *index).ok()?;
        Some(block.columns.labels[at].1.clone())
    }
}
