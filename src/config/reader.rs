//! What all parts of reading a file share: its text, the environment, and the mistakes found so far.

use std::cell::RefCell;
use std::ops::Range;
use std::string::FromUtf8Error;

use super::expand::Environment;
use crate::error::{ConfigError, Error};
use crate::registry::Registry;

/// Says that a mistake has been reported; only [`Reader::fault`] makes one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reported(());

/// A value, or the knowledge that why there is none has been reported.
pub(super) type Checked<T> = Result<T, Reported>;

/// Reads one file and collects its mistakes, so that a user sees them all at once.
pub(super) struct Reader<'a> {
    /// The file, as it was named.
    pub(super) file: &'a str,
    pub(super) text: &'a str,
    pub(super) environment: Environment<'a>,
    pub(super) registry: &'a Registry,
    faults: RefCell<Vec<(usize, String)>>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        file: &'a str,
        text: &'a str,
        environment: Environment<'a>,
        registry: &'a Registry,
    ) -> Self {
        Self { file, text, environment, registry, faults: RefCell::default() }
    }

    /// Reports a mistake at this byte of the file.
    pub(super) fn fault(&self, at: usize, message: impl Into<String>) -> Reported {
        self.faults.borrow_mut().push((at, message.into()));
        Reported(())
    }

    /// What the file says there; empty if the place is not in the file.
    pub(super) fn written(&self, at: Range<usize>) -> &'a str {
        self.text.get(at).unwrap_or("")
    }

    /// The result, if nothing was reported, else every mistake in the order of the file.
    pub(super) fn finish<T>(self, result: Checked<T>) -> Result<T, Error> {
        let mut faults = self.faults.into_inner();
        faults.sort_by_key(|(at, _)| *at);
        match result {
            Ok(value) if faults.is_empty() => Ok(value),
            _ => Err(Error::Config(
                faults
                    .into_iter()
                    .map(|(at, message)| {
                        let (line, column) = place(self.text, at);
                        ConfigError { file: self.file.to_owned(), line, column, message }
                    })
                    .collect(),
            )),
        }
    }
}

/// The mistake of a file that is not text.
pub(super) fn not_text(file: &str, error: &FromUtf8Error) -> Error {
    let good = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
    let good = String::from_utf8_lossy(good);
    let (line, column) = place(&good, good.len());
    let message = "a pipeline file is UTF-8, which this is not from here on".to_owned();
    Error::Config(vec![ConfigError { file: file.to_owned(), line, column, message }])
}

/// Line and column of a byte, both counted from one, the column in characters.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at.min(text.len())).unwrap_or(text);
    let line = before.rfind('\n').map_or(0, |end| end + 1);
    (before.matches('\n').count() + 1, before[line..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_not_bytes() {
        let text = "é = 1\nöö = 2\n";
        assert_eq!((1, 1), place(text, 0));
        assert_eq!((2, 4), place(text, text.rfind('=').unwrap()));
        assert_eq!((3, 1), place(text, text.len()));
    }
}
