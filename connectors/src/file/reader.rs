//! Reads one file.

use std::fs::Metadata;
use std::io::{self, ErrorKind};

use tidewatch_dataflows::Offset;
use tracing::debug;

use super::stream::{is_compressed, Stream};
use super::FileSource;
use crate::format::lines::Lines;
use crate::source::{Intake, Reader, Status};
use crate::Error;

/// How many blocks are skipped before the worker gets a turn.
const SKIPPED_AT_ONCE: usize = 256;

/// Reads the lines of a file.
pub(super) struct FileReader {
    path: String,
    stream: Stream,
    lines: Lines,
    /// Which file it was when it was opened, if it is followed.
    followed: Option<Identity>,
}

impl FileReader {
    pub(super) fn open(source: &FileSource, path: &str, from: Offset) -> Result<Self, Error> {
        let stream = Stream::open(path)?;
        let followed = match source.follow && !is_compressed(path) {
            true => Some(identity(&std::fs::metadata(path).map_err(Error::io(path))?)),
            false => None,
        };
        let lines = Lines::new(path, &source.framing, source.max_record, from);
        Ok(Self { path: path.to_owned(), stream, lines, followed })
    }

    /// Checks that what has been read of a followed file is still there.
    fn check(&self, opened: Identity) -> Result<(), Error> {
        let file = std::fs::metadata(&self.path).map_err(Error::io(&self.path))?;
        let what = match () {
            () if file.len() < self.stream.position() => "shrank while it was followed",
            () if identity(&file) != opened => "was replaced while it was followed",
            () if self.lines.behind() => "is shorter than the offset from which to read",
            () => return Ok(()),
        };
        Err(Error::io(&self.path)(io::Error::new(ErrorKind::InvalidData, what)))
    }
}

impl Reader for FileReader {
    fn read(&mut self, intake: &mut dyn Intake) -> Result<Status, Error> {
        let mut skipped = 0;
        loop {
            if self.lines.give(intake)?.is_break() {
                return Ok(Status::More);
            }
            if self.lines.ended() {
                debug!(partition = self.path, bytes = self.stream.position(), "partition ended");
                return Ok(Status::Ended);
            }
            skipped += usize::from(self.lines.behind());
            if skipped > SKIPPED_AT_ONCE {
                return Ok(Status::More);
            }
            match (self.lines.fill(&mut self.stream), self.followed) {
                (Ok(0), Some(opened)) => {
                    self.check(opened)?;
                    return Ok(Status::Pending);
                }
                (Ok(0), None) => self.lines.finish()?,
                (Ok(_), _) => {}
                (Err(error), _) if error.kind() == ErrorKind::Interrupted => skipped += 1,
                (Err(error), _) if self.stream.failed() || !is_compressed(&self.path) => {
                    return Err(Error::io(&self.path)(error));
                }
                (Err(error), _) => {
                    let at = self.lines.read();
                    let reason = format!("compressed data is damaged from byte {at} of the text on: {error}");
                    self.lines.break_off(reason);
                }
            }
        }
    }

    fn position(&self) -> u64 {
        self.stream.position()
    }
}

/// Tells files apart that had the same path at different times, where the system can.
type Identity = (u64, u64);

#[cfg(unix)]
fn identity(file: &Metadata) -> Identity {
    use std::os::unix::fs::MetadataExt;
    (file.dev(), file.ino())
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> Identity {
    (0, 0)
}

#[cfg(test)]
mod tests;
