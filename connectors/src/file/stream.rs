//! The decompressed bytes of a file.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;

use super::lines::BLOCK;
use crate::Error;

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
        Ok(Self { bytes, tally })
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
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.bytes.read(buffer)
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
