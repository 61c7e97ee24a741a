//! Writes the blocks of a recording to its file.

use std::fs::File;
use std::io::{self, ErrorKind, Write};

use super::bytes::Wrong;
use super::frame::{self, Head, Kind, Located, HEAD};
use super::parts::{exists, Part};
use crate::Error;

/// A file whose blocks are whole up to the last one, whenever its program ends.
pub(super) struct Writer {
    path: String,
    part: Part,
    file: File,
    position: u64,
    blocks: Vec<Located>,
}

impl Writer {
    /// Creates the file; one that is there already is left alone.
    pub(super) fn create(path: &str, part: Part) -> Result<Self, Error> {
        let file = File::create_new(path).map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => exists(path),
            _ => Error::io(path)(error),
        })?;
        Ok(Self { path: path.to_owned(), part, file, position: 0, blocks: Vec::new() })
    }

    /// Begins the file, now that the run is known that it is of; does nothing if it has begun.
    pub(super) fn begin(&mut self, run: u64) -> Result<(), Error> {
        match self.position {
            0 => self.put(&frame::preamble(self.part, run)),
            _ => Ok(()),
        }
    }

    /// Appends a block to a file that has begun.
    pub(super) fn write(&mut self, head: Head, body: &[u8]) -> Result<(), Error> {
        let number = self.blocks.len() as u64 + 1;
        self.put(&[&head.to_bytes(), body].concat())?;
        let position = self.position - (HEAD + body.len()) as u64;
        self.blocks.push(Located { number, position, head });
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes).map_err(Error::io(&self.path))?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    /// Appends the index and closes the file; returns its length.
    pub(super) fn finish(mut self) -> Result<u64, Error> {
        let position = self.position;
        let body = frame::index(&self.blocks);
        let head = Head::new(Kind::Index, 0, &body).map_err(|wrong| self.invalid(wrong))?;
        self.put(&[&head.to_bytes()[..], &body, &frame::trailer(position)].concat())?;
        self.file.sync_all().map_err(Error::io(&self.path))?;
        Ok(self.position)
    }

    pub(super) fn invalid(&self, wrong: Wrong) -> Error {
        Error::io(&self.path)(io::Error::new(ErrorKind::InvalidInput, wrong))
    }
}
