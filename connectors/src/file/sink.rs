//! Writes lines to a file.

use std::fs::{File, Metadata};
use std::io::{BufWriter, Write};

use tidewatch_dataflows::EventTime;

use crate::{Error, Message, Sink};

/// Writes each message as a line of one file, which is emptied first.
#[derive(Debug)]
pub struct FileSink {
    path: String,
    file: BufWriter<File>,
}

impl FileSink {
    /// Creates or empties the file at `path`.
    ///
    /// # Errors
    ///
    /// [`Error`] if it cannot be created, as when its directory does not exist, or is neither a file nor a device.
    pub fn create(path: impl Into<String>) -> Result<Self, Error> {
        let path = path.into();
        // A pipe without a reader would block the worker for ever.
        if std::fs::metadata(&path).is_ok_and(|found| !found.is_file() && !is_device(&found)) {
            let reason = "is neither a regular file nor a device; connector \"stdout\" writes to a pipe";
            return Err(Error::Configuration(format!("{path} {reason}")));
        }
        let file = File::create(&path).map_err(Error::io(&path))?;
        Ok(Self { path, file: BufWriter::with_capacity(64 * 1024, file) })
    }
}

/// Whether it is one that takes bytes as they come, as a terminal and `/dev/null` do.
#[cfg(unix)]
fn is_device(file: &Metadata) -> bool {
    use std::os::unix::fs::FileTypeExt;
    file.file_type().is_char_device()
}

#[cfg(not(unix))]
fn is_device(_: &Metadata) -> bool {
    false
}

impl Sink for FileSink {
    fn write(&mut self, messages: &[Message<'_>], frontier: Option<EventTime>) -> Result<(), Error> {
        if messages.is_empty() && frontier.is_some() {
            return Ok(());
        }
        let written = messages.iter().try_for_each(|message| {
            self.file.write_all(message.payload)?;
            self.file.write_all(b"\n")
        });
        written.and_then(|()| self.file.flush()).map_err(Error::io(&self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_in_the_file_when_the_call_returns() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out.jsonl");
        std::fs::write(&path, "old").unwrap();
        let mut sink = FileSink::create(path.to_str().unwrap()).unwrap();
        let message = |payload| Message::new(EventTime::MIN, payload);
        sink.write(&[message(b"a"), message(b"b")], Some(EventTime::from_micros(1))).unwrap();
        assert_eq!("a\nb\n", std::fs::read_to_string(&path).unwrap());
        sink.write(&[message(b"c")], None).unwrap();
        assert_eq!("a\nb\nc\n", std::fs::read_to_string(&path).unwrap());
    }

    #[cfg(unix)]
    #[test]
    fn what_is_neither_a_file_nor_a_device_is_refused_and_blocks_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for path in [directory.path(), &pipe] {
            let error = FileSink::create(path.to_str().unwrap()).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{} is neither a regular file", path.display())), "{error}");
        }
        FileSink::create("/dev/null").unwrap();
    }

    #[test]
    fn a_missing_directory_is_an_error_that_names_the_file() {
        let error = FileSink::create("/nowhere/out.csv").unwrap_err().to_string();
        assert!(error.starts_with("/nowhere/out.csv: "), "{error}");
    }
}
