//! What is in a file of a recording, found by its index or, without one, by going from block to block.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::sync::Mutex;

use tidewatch_dataflows::PartitionId;

use super::bytes::Wrong;
use super::codec::{decode_decisions, Described};
use super::frame::{self, Head, Kind, Located, HEAD, PREAMBLE, TRAILER};
use super::parts::Part;
use crate::{lock, Decision, Error};

/// Where a recording is damaged, and what that costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    path: String,
    /// The first byte of the block that is damaged.
    pub position: u64,
    /// The number of that block in the file, from one.
    pub block: u64,
    what: Wrong,
    lost: String,
}

/// As in `r.tide: damaged at byte 1234, in block 5: what is wrong; what is lost`.
impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, position, block, what, lost } = self;
        write!(f, "{path}: damaged at byte {position}, in block {block}: {what}; {lost}")
    }
}

/// The open file and what it holds.
pub(super) struct Contents {
    pub(super) path: String,
    pub(super) part: Part,
    /// What stands for the run, the same in all its parts.
    pub(super) run: u64,
    file: Mutex<File>,
    length: u64,
    /// The partitions by their numbers.
    pub(super) tracks: BTreeMap<u32, Track>,
    numbers: BTreeMap<PartitionId, u32>,
    damages: Mutex<Vec<Damage>>,
}

/// A partition.
pub(super) struct Track {
    pub(super) described: Described,
    /// Its records.
    pub(super) blocks: Vec<Located>,
    pub(super) decisions: Vec<Decision>,
    /// The damage behind which nothing is read, by its place among all, and how many records are behind it.
    lost: Option<(usize, u64)>,
}

impl Track {
    /// How many records can be read, if no block turns out to be damaged.
    pub(super) fn records(&self) -> u64 {
        self.blocks.iter().map(|block| u64::from(block.head.count)).sum()
    }
}

/// What a damage to the block costs, if its partition is read no further.
fn lost(track: &Track, records: u64, from: u64) -> String {
    let Described { source, name, .. } = &track.described;
    format!("{records} records of {source}/{name} from offset {from} on are lost")
}

impl Contents {
    pub(super) fn open(path: &str) -> Result<Self, Error> {
        let file = File::open(path).map_err(Error::io(path))?;
        let metadata = file.metadata().map_err(Error::io(path))?;
        let mut contents = Self {
            path: path.to_owned(),
            part: Part::WHOLE,
            run: 0,
            file: Mutex::new(file),
            length: metadata.len(),
            tracks: BTreeMap::new(),
            numbers: BTreeMap::new(),
            damages: Mutex::default(),
        };
        let preamble = contents.bytes(0, PREAMBLE);
        let checked = match preamble {
            Ok(bytes) => frame::read_preamble(&bytes),
            Err(Failure::Wrong(_)) => Err("is not a recording".to_owned()),
            Err(Failure::Io(error)) => return Err(Error::io(path)(error)),
        };
        (contents.part, contents.run) =
            checked.map_err(|wrong| Error::Configuration(format!("{path} {wrong}")))?;
        let blocks = match contents.indexed() {
            Ok(blocks) => blocks,
            Err(Failure::Wrong(why)) => contents.scan(&why)?,
            Err(Failure::Io(error)) => return Err(Error::io(path)(error)),
        };
        for block in blocks {
            contents.add(block)?;
        }
        contents.tell_lost();
        Ok(contents)
    }

    /// Bytes of the file.
    fn bytes(&self, position: u64, length: usize) -> Result<Vec<u8>, Failure> {
        // Before anything is allocated for them.
        if position.saturating_add(length as u64) > self.length {
            return Err(Failure::Wrong("the file ends inside the block".to_owned()));
        }
        let mut bytes = vec![0; length];
        let mut file = lock(&self.file);
        file.seek(SeekFrom::Start(position))?;
        match file.read_exact(&mut bytes) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                Err(Failure::Wrong("the file has shrunk".to_owned()))
            }
            result => Ok(result.map(|()| bytes)?),
        }
    }

    /// The body of a block.
    pub(super) fn body(&self, block: &Located) -> Result<Vec<u8>, Failure> {
        let body = self.bytes(block.position + HEAD as u64, block.head.length as usize)?;
        block.head.check(&body)?;
        Ok(body)
    }

    /// The blocks that the index names.
    fn indexed(&self) -> Result<Vec<Located>, Failure> {
        let unclosed = || "the recording was not closed".to_owned();
        let end = self.length.checked_sub(TRAILER as u64).ok_or_else(unclosed)?;
        let position = frame::read_trailer(&self.bytes(end, TRAILER)?).map_err(|_| unclosed())?;
        let head = Head::read(&self.bytes(position, HEAD)?)?;
        let index = Located { number: 0, position, head };
        if head.kind != Kind::Index || index.end() != end {
            return Err(Failure::Wrong("the index is not where the end of the file says".to_owned()));
        }
        let body = self.body(&index)?;
        Ok(frame::read_index(&body, position)?)
    }

    /// The blocks up to the first head that is damaged, or the end of the file; `why` there is no index.
    fn scan(&self, why: &str) -> Result<Vec<Located>, Error> {
        let mut blocks = Vec::new();
        let mut position = PREAMBLE as u64;
        loop {
            let number = blocks.len() as u64 + 1;
            let left = self.length.saturating_sub(position);
            let read = match left {
                0 => Err(Failure::Wrong(format!("{why}, so it is not known whether more should follow"))),
                _ => self.bytes(position, HEAD).and_then(|bytes| Ok(Head::read(&bytes)?)),
            };
            let found = read.and_then(|head| {
                let block = Located { number, position, head };
                match block.end() > self.length {
                    true => Err(Failure::Wrong("the file ends inside the block".to_owned())),
                    false => Ok(block),
                }
            });
            match found {
                Ok(block) if block.head.kind == Kind::Index => {
                    let lost = "all records before it can be read".to_owned();
                    self.tell(position, number, why.to_owned(), lost);
                    return Ok(blocks);
                }
                Ok(block) => {
                    position = block.end();
                    blocks.push(block);
                }
                Err(Failure::Wrong(what)) => {
                    let lost = match left {
                        0 => "all records before it can be read".to_owned(),
                        _ => format!("the {left} bytes from there on are lost"),
                    };
                    self.tell(position, number, what, lost);
                    return Ok(blocks);
                }
                Err(Failure::Io(error)) => return Err(Error::io(&self.path)(error)),
            }
        }
    }

    /// Adds a block to its partition, unless that is damaged before it.
    fn add(&mut self, block: Located) -> Result<(), Error> {
        let Head { kind, partition, count, first, last, .. } = block.head;
        if kind == Kind::Partition {
            let described = self.body(&block).and_then(|body| Ok(Described::decode(&body)?));
            let twice = || Failure::Wrong("its partition was described before".to_owned());
            let described = described.and_then(|described| {
                let known =
                    self.tracks.contains_key(&partition) || self.numbers.contains_key(&described.id());
                (!known).then_some(described).ok_or_else(twice)
            });
            match described {
                Ok(described) => {
                    let track = Track { described, blocks: Vec::new(), decisions: Vec::new(), lost: None };
                    self.numbers.insert(track.described.id(), partition);
                    self.tracks.insert(partition, track);
                }
                Err(Failure::Wrong(what)) => {
                    let lost = format!("all records of partition number {partition} are lost");
                    self.tell(block.position, block.number, what, lost);
                }
                Err(Failure::Io(error)) => return Err(Error::io(&self.path)(error)),
            }
            return Ok(());
        }
        let Some(track) = self.tracks.get(&partition) else {
            let what = "its partition is not known".to_owned();
            self.tell(block.position, block.number, what, format!("its {count} records are lost"));
            return Ok(());
        };
        let id = track.described.id();
        let added = match kind {
            _ if track.lost.is_some() => Ok(Vec::new()),
            Kind::Records => {
                match track.blocks.last().map_or(first <= last, |before| before.head.last < first) {
                    true => Ok(Vec::new()),
                    false => {
                        Err(Failure::Wrong("its offsets come before those of an earlier block".to_owned()))
                    }
                }
            }
            _ => self.body(&block).and_then(|body| Ok(decode_decisions(&body, count, id)?)),
        };
        let what = match added {
            Ok(decisions) => {
                if let Some(track) = self.tracks.get_mut(&partition) {
                    track.decisions.extend(decisions);
                    match (kind, &mut track.lost) {
                        (Kind::Records, None) => track.blocks.push(block),
                        (Kind::Records, Some((_, records))) => *records += u64::from(count),
                        _ => {}
                    }
                }
                return Ok(());
            }
            Err(Failure::Wrong(what)) => what,
            Err(Failure::Io(error)) => return Err(Error::io(&self.path)(error)),
        };
        let damage = self.tell(block.position, block.number, what, String::new());
        if let Some(track) = self.tracks.get_mut(&partition) {
            track.lost = Some((damage, if kind == Kind::Records { count.into() } else { 0 }));
        }
        Ok(())
    }

    /// Completes the damages that end a partition, now that it is known how much follows them.
    fn tell_lost(&self) {
        for track in self.tracks.values() {
            let Some((damage, records)) = track.lost else { continue };
            let from = track.blocks.last().map_or(0, |block| block.head.last.saturating_add(1));
            lock(&self.damages)[damage].lost = lost(track, records, from);
        }
    }

    /// Keeps a damage, and returns its place among all.
    fn tell(&self, position: u64, block: u64, what: Wrong, lost: String) -> usize {
        let mut damages = lock(&self.damages);
        damages.push(Damage { path: self.path.clone(), position, block, what, lost });
        damages.len() - 1
    }

    /// The partition of a source.
    pub(super) fn track(&self, source: &str, partition: &str) -> Option<&Track> {
        self.tracks.get(self.numbers.get(&PartitionId::of(source, partition))?)
    }

    /// Keeps that a block of records is damaged, so that its partition ends before it.
    pub(super) fn tell_block(&self, track: &Track, index: usize, what: Wrong) -> Damage {
        let block = &track.blocks[index];
        let records = track.blocks[index..].iter().map(|block| u64::from(block.head.count)).sum();
        let lost = lost(track, records, block.head.first);
        let at = self.tell(block.position, block.number, what, lost);
        lock(&self.damages)[at].clone()
    }

    pub(super) fn damages(&self) -> Vec<Damage> {
        lock(&self.damages).clone()
    }
}

/// Why something could not be read.
#[derive(Debug)]
pub(super) enum Failure {
    /// It is not what it should be.
    Wrong(Wrong),
    /// The operating system does not give it.
    Io(io::Error),
}

impl From<Wrong> for Failure {
    fn from(wrong: Wrong) -> Self {
        Self::Wrong(wrong)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
