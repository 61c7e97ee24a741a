//! Editions of reference data in a recording: records of a partition that no source has, one for each. Its append time is that
//! from which on it is in force.

use std::sync::Arc;
use std::time::Instant;

use tidewatch_dataflows::mutes::Edition;
use tidewatch_dataflows::{EventTime, Offset, PartitionId};

use super::codec::{Block, Described};
use super::columns::{APPENDED, KIND, PAYLOAD};
use super::contents::{Contents, Failure, Track};
use super::recorder::Shared;
use super::Recording;
use crate::source::Raw;
use crate::{lock, Error, Schema};

/// What the source of reference data is called in recordings: no source of a pipeline file is called so.
pub(super) const SOURCE: &str = "@reference";
const PARTITION: &str = "mutes";

/// Whether something that was recorded is reference data.
pub(super) fn is_reference(source: &str) -> bool {
    source == SOURCE
}

impl Shared {
    /// Records an edition of reference data.
    pub(super) fn refer(&self, edition: &Edition<String>) -> Result<(), Error> {
        self.begin();
        let pending = match self.pending(PartitionId::of(SOURCE, PARTITION)) {
            Some(pending) => pending,
            None => self.open(Described {
                source: SOURCE.into(),
                name: PARTITION.into(),
                connector: "reference".to_owned(),
                fingerprint: 0,
                rows: false,
                header: None,
                schema: Schema::default(),
            })?,
        };
        let mut pending = lock(&pending);
        let raw = Raw::new(Offset(pending.following()), edition.value.as_bytes());
        pending.gathered.push_payload(Raw { appended: Some(edition.from), ..raw });
        pending.since.get_or_insert_with(Instant::now);
        Ok(())
    }
}

impl Recording {
    /// The editions of reference data that were in force; none if nobody noted any.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if they cannot be read. Those behind a damage are missing, which is among the [damages](Self::damages) then.
    pub fn editions(&self) -> Result<Option<Vec<Edition<String>>>, Error> {
        let mut tracks = self.0.all().filter(|(_, track)| is_reference(&track.described.source)).peekable();
        if tracks.peek().is_none() {
            return Ok(None);
        }
        let mut editions = Vec::new();
        for (contents, track) in tracks {
            for index in 0..track.blocks.len() {
                match read(contents, track, index) {
                    Ok(read) => editions.extend(read),
                    Err(Failure::Io(error)) => return Err(Error::io(&contents.path)(error)),
                    Err(Failure::Wrong(what)) => {
                        contents.tell_block(track, index, what);
                        return Ok(Some(editions));
                    }
                }
            }
        }
        Ok(Some(editions))
    }
}

/// The editions in a block.
fn read(contents: &Contents, track: &Track, index: usize) -> Result<Vec<Edition<String>>, Failure> {
    let block = &track.blocks[index];
    let decoded = Block::decode(&block.head, contents.body(block)?, 0)?;
    let payloads = decoded.payloads()?;
    if decoded.columns.flags.iter().any(|flags| flags & KIND != PAYLOAD || flags & APPENDED == 0) {
        return Err(Failure::Wrong("it is no reference data".to_owned()));
    }
    let texts = payloads.iter().map(|text| String::from_utf8(text.to_vec()));
    let edition = |(from, text): (&i64, Result<String, _>)| {
        let value = text.map_err(|_| Failure::Wrong("its reference data is not UTF-8".to_owned()))?;
        Ok(Edition { from: EventTime::from_micros(*from), value })
    };
    decoded.columns.appended.iter().zip(texts).map(edition).collect()
}

/// The sources of pipeline files among what was recorded, sorted.
pub(super) fn sources<'a>(tracks: impl Iterator<Item = &'a Track>) -> Vec<Arc<str>> {
    let mut names: Vec<_> = tracks.map(|track| track.described.source.clone()).collect();
    names.retain(|name| !is_reference(name));
    names.sort_unstable();
    names.dedup();
    names
}
