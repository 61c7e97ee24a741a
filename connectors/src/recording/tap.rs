//! A source and a journal that are recorded while they are used.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tidewatch_dataflows::mutes::Edition;
use tidewatch_dataflows::record::KeyText;
use tidewatch_dataflows::{EventTime, KeyId, Offset, PartitionId};
use timely::scheduling::SyncActivator;

use super::codec::Described;
use super::recorder::{Pending, Shared};
use super::MAX_SECTION;
use crate::format::{Decoder, Format, Row};
use crate::ingest::{decoding, Quarantine, Quarantined};
use crate::source::{Decoded, Intake, Raw, Reader, Source, Status};
use crate::{lock, Decision, Error, Input, Journal, Kept, Schema};

/// A source whose records are recorded as they are read.
pub(super) struct TapSource {
    shared: Arc<Shared>,
    inner: Arc<dyn Source>,
    format: Option<Arc<dyn Format>>,
    name: Arc<str>,
    schema: Schema,
    quarantine: Quarantine,
    fingerprint: u64,
}

impl TapSource {
    pub(super) fn new(shared: Arc<Shared>, input: &Input, fingerprint: u64) -> Self {
        Self {
            shared,
            inner: input.source().clone(),
            format: input.format().cloned(),
            name: input.name().into(),
            schema: input.schema().clone(),
            quarantine: input.quarantined().clone(),
            fingerprint,
        }
    }
}

impl Source for TapSource {
    fn kind(&self) -> &'static str {
        self.inner.kind()
    }

    fn partitions(&self) -> Result<Vec<String>, Error> {
        self.shared.begin();
        self.inner.partitions()
    }

    fn open(
        &self,
        partition: &str,
        from: Option<Offset>,
        waker: SyncActivator,
    ) -> Result<Box<dyn Reader>, Error> {
        self.shared.begin();
        let inner = self.inner.open(partition, from, waker)?;
        let pending = self.shared.open(Described {
            source: self.name.clone(),
            name: partition.into(),
            connector: self.inner.kind().to_owned(),
            fingerprint: self.fingerprint,
            rows: self.format.is_none(),
            header: None,
            schema: self.schema.clone(),
        })?;
        Ok(Box::new(TapReader {
            shared: self.shared.clone(),
            inner,
            pending,
            decoder: self.format.as_ref().map(|format| format.decoder(partition)),
            quarantined: self.quarantine.of(partition),
            row: Row::default(),
        }))
    }

    fn first(&self, partition: &str) -> Result<Offset, Error> {
        self.inner.first(partition)
    }

    fn joins(&self, partition: &str) -> Result<Offset, Error> {
        self.inner.joins(partition)
    }

    fn grows(&self) -> Option<Duration> {
        self.inner.grows()
    }

    fn close(&self) {
        self.inner.close();
    }

    fn decisions(&self, partition: &str) -> Result<Vec<Decision>, Error> {
        let decisions = self.inner.decisions(partition)?;
        if let Some(pending) = self.shared.pending(PartitionId::of(&self.name, partition)) {
            decisions.iter().for_each(|decision| lock(&pending).decide(*decision));
        }
        Ok(decisions)
    }

    fn is_local(&self) -> bool {
        self.inner.is_local()
    }

    fn patience(&self) -> Option<Duration> {
        self.inner.patience()
    }

    fn size(&self) -> Option<u64> {
        self.inner.size()
    }
}

struct TapReader {
    shared: Arc<Shared>,
    inner: Box<dyn Reader>,
    pending: Arc<Mutex<Pending>>,
    /// Decodes in place of the pipeline, which takes what was decoded.
    decoder: Option<Box<dyn Decoder>>,
    /// What is recorded without being decoded.
    quarantined: Quarantined,
    row: Row,
}

impl Reader for TapReader {
    fn read(&mut self, intake: &mut dyn Intake) -> Result<Status, Error> {
        self.shared.check()?;
        let mut pending = lock(&self.pending);
        pending.limit = self.shared.limit();
        let before = pending.gathered.len();
        let mut tap = TapIntake {
            inner: intake,
            pending: &mut pending,
            decoder: self.decoder.as_deref_mut(),
            quarantined: &self.quarantined,
            row: &mut self.row,
            too_long: None,
        };
        let status = self.inner.read(&mut tap)?;
        if let Some(error) = tap.too_long {
            return Err(error);
        }
        for index in before..pending.gathered.len() {
            if let Some(label) = self.inner.label(Offset(pending.gathered.columns.offsets[index])) {
                pending.gathered.columns.labels.push((index, label));
            }
        }
        if pending.gathered.len() > 0 {
            pending.since.get_or_insert_with(Instant::now);
        }
        if pending.is_full() {
            self.shared.flush(&mut pending)?;
        }
        Ok(status)
    }

    fn start(&self) -> Offset {
        self.inner.start()
    }

    fn lag(&self) -> Option<u64> {
        self.inner.lag()
    }

    fn position(&self) -> u64 {
        self.inner.position()
    }

    fn label(&self, offset: Offset) -> Option<String> {
        self.inner.label(offset)
    }
}

struct TapIntake<'a> {
    inner: &'a mut dyn Intake,
    pending: &'a mut Pending,
    decoder: Option<&'a mut (dyn Decoder + 'static)>,
    quarantined: &'a Quarantined,
    row: &'a mut Row,
    too_long: Option<Error>,
}

impl TapIntake<'_> {
    /// Breaks off if the partition holds as much as it may.
    fn flow(&self, flow: ControlFlow<()>) -> ControlFlow<()> {
        match self.pending.is_full() || self.too_long.is_some() {
            true => ControlFlow::Break(()),
            false => flow,
        }
    }

    /// Refuses what no block can hold.
    fn fits(&mut self, raw: Raw<'_>) -> bool {
        let fits = raw.payload.len() <= MAX_SECTION / 2;
        if !fits {
            let (name, length) = (&self.pending.described.name, raw.payload.len());
            let message = format!("{name}: a record of {length} bytes is too long for a recording");
            self.too_long = Some(Error::Configuration(message));
        }
        fits
    }
}

impl Intake for TapIntake<'_> {
    fn header(&mut self, line: &[u8]) -> Result<(), Error> {
        self.inner.header(line)?;
        if let Some(decoder) = &mut self.decoder {
            // The pipeline has accepted it.
            let _ = decoder.header(line);
        }
        self.pending.described.header = Some(line.to_vec());
        Ok(())
    }

    fn raw(&mut self, raw: Raw<'_>) -> ControlFlow<()> {
        if !self.fits(raw) {
            return ControlFlow::Break(());
        }
        let decoder = self.decoder.as_mut().filter(|_| !self.quarantined.has(raw.offset));
        let decoded = decoder
            .map(|decoder| decoding(raw.offset, || decoder.decode_in(raw.envelope, raw.payload, self.row)));
        let flow = match decoded {
            Some(Ok(())) => {
                let Row { time, key, values } = &*self.row;
                let id = KeyId::of(key);
                self.pending.gathered.push_decoded(raw, *time, id, key, values);
                let Raw { offset, line, appended, payload, .. } = raw;
                let payload = &|| payload.into();
                self.inner.decoded(Decoded { offset, line, appended, time: *time, id, key, values, payload })
            }
            // What came with it is not recorded, and the reason may be there.
            Some(Err(reason)) if raw.envelope.is_some() => {
                self.pending.gathered.push_damaged(raw, &reason);
                self.inner.damaged(raw, reason)
            }
            _ => {
                self.pending.gathered.push_payload(raw);
                self.inner.raw(raw)
            }
        };
        self.flow(flow)
    }

    fn row(&mut self, offset: Offset, time: EventTime, key: &KeyText, values: &[f64]) -> ControlFlow<()> {
        self.pending.gathered.push_row(offset, time, key, values);
        let flow = self.inner.row(offset, time, key, values);
        self.flow(flow)
    }

    fn damaged(&mut self, raw: Raw<'_>, reason: String) -> ControlFlow<()> {
        if !self.fits(raw) {
            return ControlFlow::Break(());
        }
        self.pending.gathered.push_damaged(raw, &reason);
        let flow = self.inner.damaged(raw, reason);
        self.flow(flow)
    }
}

/// A journal of which all is recorded, what is of earlier runs too.
pub(super) struct TapJournal {
    shared: Arc<Shared>,
    inner: Arc<dyn Journal>,
}

impl TapJournal {
    pub(super) fn new(shared: Arc<Shared>, inner: Arc<dyn Journal>) -> Self {
        Self { shared, inner }
    }

    fn note(&self, decision: Decision) {
        if let Some(pending) = self.shared.pending(decision.partition) {
            lock(&pending).decide(decision);
        }
    }
}

impl Journal for TapJournal {
    fn append(&self, decision: Decision) -> Result<Kept, Error> {
        let kept = self.inner.append(decision)?;
        self.note(decision);
        Ok(kept)
    }

    fn decisions(&self, partition: PartitionId) -> Vec<Decision> {
        let decisions = self.inner.decisions(partition);
        decisions.iter().for_each(|decision| self.note(*decision));
        decisions
    }

    fn refer(&self, edition: &Edition<String>) -> Result<Kept, Error> {
        let kept = self.inner.refer(edition)?;
        self.shared.refer(edition)?;
        Ok(kept)
    }

    fn editions(&self) -> Vec<Edition<String>> {
        let editions = self.inner.editions();
        // If nothing can be written, readers hear of it.
        editions.iter().for_each(|edition| drop(self.shared.refer(edition)));
        editions
    }
}
