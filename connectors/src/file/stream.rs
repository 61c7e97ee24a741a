//! The decompressed bytes of a file.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;

use crate::format::lines::BLOCK;
use crate::Error;

/// A byte that UTF-8 never has.
const NO_TEXT: u8 = 0xff;

/// What has happened to the file below a decompressor.
#[derive(Debug, Default)]
struct Tally {
    /// Bytes read from disk.
    read: Cell<u64>,
    /// Whether reading from disk has failed.
    failed: Cell<bool>,
}

struct Tallied {
    file: File,
    tally: Rc<Tally>,
}

impl Read for Tallied {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let result = self.file.read(buffer);
        match &result {
            Ok(read) => self.tally.read.set(self.tally.read.get() + *read as u64),
            Err(error) => self.tally.failed.set(error.kind() != io::ErrorKind::Interrupted),
        }
        result
    }
}

/// The decompressed bytes of a file, with the number of bytes that were read for them.
pub(super) struct Stream {
    bytes: Box<dyn Read>,
    tally: Rc<Tally>,
    /// Whether bytes that come before a damage must be looked for in the buffer.
    gzip: bool,
    /// The damage behind the bytes that were read last.
    damage: Option<io::Error>,
}

impl Stream {
    /// Opens the file at `path`; its extension says whether it is compressed.
    pub(super) fn open(path: &str) -> Result<Self, Error> {
        let file = File::open(path).map_err(Error::io(path))?;
        // Reading anything else, such as a pipe, could block the worker.
        if !file.metadata().map_err(Error::io(path))?.is_file() {
            return Err(Error::Configuration(format!("{path} is not a regular file")));
        }
        let tally = Rc::new(Tally::default());
        let tallied = Tallied { file, tally: Rc::clone(&tally) };
        let bytes: Box<dyn Read> = match compression(path) {
            None => Box::new(tallied),
            Some(Compression::Gzip) => {
                Box::new(MultiGzDecoder::new(BufReader::with_capacity(BLOCK, tallied)))
            }
            Some(Compression::Zstd) => {
                let compressed = BufReader::with_capacity(BLOCK, tallied);
                Box::new(zstd::Decoder::with_buffer(compressed).map_err(Error::io(path))?)
            }
        };
        let gzip = matches!(compression(path), Some(Compression::Gzip));
        Ok(Self { bytes, tally, gzip, damage: None })
    }

    /// Bytes read from disk.
    pub(super) fn position(&self) -> u64 {
        self.tally.read.get()
    }

    /// Whether reading from disk has failed; if not, an error means that the compressed bytes are damaged.
    pub(super) fn failed(&self) -> bool {
        self.tally.failed.get()
    }
}

impl Read for Stream {
    /// A gzip decoder that meets a damage has already written what comes before it, but does not say how much. The buffer
    /// is filled with a byte that no text has, so that it can be seen. If the decoder wrote nothing, nothing is found.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(damage) = self.damage.take() {
            return Err(damage);
        }
        if self.gzip {
            buffer.fill(NO_TEXT);
        }
        self.bytes.read(buffer).or_else(|error| {
            let written = buffer.iter().rposition(|byte| *byte != NO_TEXT).map_or(0, |last| last + 1);
            if !self.gzip || self.failed() || error.kind() == io::ErrorKind::Interrupted || written == 0 {
                return Err(error);
            }
            self.damage = Some(error);
            Ok(written)
        })
    }
}

enum Compression {
    Gzip,
    Zstd,
}

fn compression(path: &str) -> Option<Compression> {
    match path.rsplit_once('.')?.1 {
        "gz" => Some(Compression::Gzip),
        "zst" => Some(Compression::Zstd),
        _ => None,
    }
}

/// Whether the file at `path` is compressed, by its extension.
pub(super) fn is_compressed(path: &str) -> bool {
    compression(path).is_some()
}
