//! The decompressed bytes of a file.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::rc::Rc;

use flate2::bufread::GzDecoder;

use crate::format::lines::BLOCK;
use crate::Error;

/// A byte that UTF-8 never has.
const NO_TEXT: u8 = 0xff;

/// How much of a zstd file is read at once close to a damage.
const STEP: usize = 1024;

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
///
/// A decoder that meets a damage keeps back good bytes before it. So the file is then read once more, up to where it
/// had come and on with care: zstd in small steps, which end at the block with the damage; gzip into a buffer filled
/// with a byte that no text has, which shows what the decoder wrote before it gave up.
pub(super) struct Stream {
    path: String,
    bytes: Box<dyn Read>,
    tally: Rc<Tally>,
    /// How many bytes have been given.
    given: u64,
    second: Option<Second>,
}

/// The second reading.
struct Second {
    /// How many bytes are still to come that have been given.
    left: u64,
    /// What the first reading had read from disk.
    position: u64,
    /// The damage behind the bytes that were read last.
    damage: Option<io::Error>,
}

impl Stream {
    /// Opens the file at `path`; its extension says whether it is compressed.
    pub(super) fn open(path: &str) -> Result<Self, Error> {
        let (bytes, tally) = decode(path)?;
        Ok(Self { path: path.to_owned(), bytes, tally, given: 0, second: None })
    }

    /// Bytes read from disk.
    pub(super) fn position(&self) -> u64 {
        self.second.as_ref().map_or(self.tally.read.get(), |second| second.position)
    }

    /// Whether reading from disk has failed; if not, an error means that the compressed bytes are damaged.
    pub(super) fn failed(&self) -> bool {
        self.tally.failed.get()
    }

    fn read_with_care(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let failed = self.failed();
        let Some(second) = &mut self.second else { return Ok(0) };
        if let Some(damage) = second.damage.take() {
            return Err(damage);
        }
        let gzip = matches!(compression(&self.path), Some(Compression::Gzip));
        let size = if gzip { buffer.len() } else { buffer.len().min(STEP) };
        let buffer = &mut buffer[..size];
        buffer.fill(NO_TEXT);
        let good = match self.bytes.read(buffer) {
            Ok(0) if second.left > 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(0) => return Ok(0),
            Ok(read) => read,
            Err(error) if !gzip || failed || error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Err(damage) => {
                second.damage = Some(damage);
                buffer.iter().rposition(|byte| *byte != NO_TEXT).map_or(0, |last| last + 1)
            }
        };
        let known = usize::try_from(second.left).map_or(good, |left| left.min(good));
        second.left -= known as u64;
        if known == good {
            return Err(io::ErrorKind::Interrupted.into());
        }
        buffer.copy_within(known..good, 0);
        Ok(good - known)
    }
}

/// [`io::ErrorKind::Interrupted`] says, as always, that reading goes on, and lets a worker do something else.
impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.second.is_some() {
            return self.read_with_care(buffer);
        }
        let result = self.bytes.read(buffer);
        match result {
            Ok(read) => self.given += read as u64,
            Err(ref error) if error.kind() == io::ErrorKind::Interrupted || self.failed() => {}
            Err(_) => {
                let position = self.position();
                if let (true, Ok((bytes, tally))) = (is_compressed(&self.path), decode(&self.path)) {
                    (self.bytes, self.tally) = (bytes, tally);
                    self.second = Some(Second { left: self.given, position, damage: None });
                    return Err(io::ErrorKind::Interrupted.into());
                }
            }
        }
        result
    }
}

fn decode(path: &str) -> Result<(Box<dyn Read>, Rc<Tally>), Error> {
    // Reading anything else could block the worker; of a pipe without a writer, even opening does.
    if !std::fs::metadata(path).map_err(Error::io(path))?.is_file() {
        return Err(Error::Configuration(format!("{path} is not a regular file")));
    }
    let file = File::open(path).map_err(Error::io(path))?;
    let tally = Rc::new(Tally::default());
    let tallied = Tallied { file, tally: Rc::clone(&tally) };
    let bytes: Box<dyn Read> = match compression(path) {
        None => Box::new(tallied),
        Some(Compression::Gzip) => Box::new(Gzip::new(BufReader::with_capacity(BLOCK, tallied))),
        Some(Compression::Zstd) => {
            let compressed = BufReader::with_capacity(BLOCK, tallied);
            Box::new(zstd::Decoder::with_buffer(compressed).map_err(Error::io(path))?)
        }
    };
    Ok((bytes, tally))
}

/// The members of a gzip file, one after another. As gzip(1) does, it passes over zeros behind one, with which some
/// media fill their blocks.
struct Gzip<R>(Option<GzDecoder<R>>);

impl<R: BufRead> Gzip<R> {
    fn new(bytes: R) -> Self {
        Self(Some(GzDecoder::new(bytes)))
    }
}

impl<R: BufRead> Read for Gzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.0 {
            let read = member.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            // An error leaves everything as it is: reading can go on here.
            let follows = skip_zeros(member.get_mut())?;
            self.0 = self.0.take().filter(|_| follows).map(|member| GzDecoder::new(member.into_inner()));
        }
        Ok(0)
    }
}

/// Passes over zeros; `false` if nothing follows.
fn skip_zeros(bytes: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let block = bytes.fill_buf()?;
        let (size, zeros) = (block.len(), block.iter().take_while(|byte| **byte == 0).count());
        bytes.consume(zeros);
        if zeros < size || size == 0 {
            return Ok(size > 0);
        }
    }
}

enum Compression {
    Gzip,
    Zstd,
}

fn compression(path: &str) -> Option<Compression> {
    match path.rsplit_once('.')?.1 {
        extension if extension.eq_ignore_ascii_case("gz") => Some(Compression::Gzip),
        extension if extension.eq_ignore_ascii_case("zst") => Some(Compression::Zstd),
        _ => None,
    }
}

/// Whether the file at `path` is compressed, by its extension.
pub(super) fn is_compressed(path: &str) -> bool {
    compression(path).is_some()
}
