//! The files of a recording: one, or one of each process of a cluster.

use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use super::contents::{Contents, Damage, Track};
use crate::Error;

/// Which part of a recording a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The number of the process that wrote it.
    pub index: u32,
    /// How many parts there are.
    pub of: u32,
}

impl Part {
    /// A file that is all of a recording.
    pub const WHOLE: Self = Self { index: 0, of: 1 };
    /// How many parts a recording may have.
    pub(super) const MOST: u32 = 1 << 16;

    /// The file of this part of the recording at `path`.
    pub(super) fn file(self, path: &str) -> String {
        if self.of == 1 {
            path.to_owned()
        } else {
            file(path, self.index)
        }
    }

    /// The files of a recording at `path` that has so many parts.
    pub fn files(path: &str, of: u32) -> Vec<String> {
        (0..of).map(|index| Self { index, of }.file(path)).collect()
    }

    /// Checks that there is neither a recording at `path` nor one of the first `of` parts of one.
    ///
    /// # Errors
    ///
    /// [`Error::Configuration`] with the name of the file that is there.
    pub fn check_new(path: &str, of: u32) -> Result<(), Error> {
        let mut files = std::iter::once(path.to_owned()).chain((0..of).map(|index| file(path, index)));
        match files.find(|file| Path::new(file).symlink_metadata().is_ok()) {
            Some(file) => Err(exists(&file)),
            None => Ok(()),
        }
    }
}

pub(super) fn exists(path: &str) -> Error {
    Error::Configuration(format!("{path} exists, and a recording never overwrites a file"))
}

fn file(path: &str, index: u32) -> String {
    format!("{path}.{index}")
}

/// The lowest number of a part of the recording at `path` that is there.
fn first(path: &str) -> Option<u32> {
    let name = Path::new(path).file_name()?.to_str()?;
    let folder = Path::new(path).parent().filter(|folder| *folder != Path::new(""));
    let entries = folder.map_or_else(|| PathBuf::from("."), Path::to_owned).read_dir().ok()?;
    let number = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.ok()?.file_name();
        let number: u32 = entry.to_str()?.strip_prefix(name)?.strip_prefix('.')?.parse().ok()?;
        // Not for `+1` or `01`.
        (entry.to_str()? == file(name, number)).then_some(number)
    };
    entries.filter_map(number).min()
}

/// All files of a recording.
pub(super) struct Parts {
    /// What the recording is called; the path of its file, if it has one.
    pub(super) path: String,
    files: Vec<Contents>,
}

impl Parts {
    /// Opens the file at `path`, or else the parts beside it.
    pub(super) fn open(path: &str) -> Result<Self, Error> {
        let wrong = |message| Err(Error::Configuration(message));
        let Some(found) = (if Path::new(path).exists() { None } else { first(path) }) else {
            let contents = Contents::open(path)?;
            let Part { index, of, .. } = contents.part;
            if of > 1 {
                let whole =
                    path.strip_suffix(&format!(".{index}")).unwrap_or("FILE, if the parts are FILE.N");
                return wrong(format!(
                    "{path} is one of {of} parts of a recording: name them all as {whole}"
                ));
            }
            return Ok(Self { path: path.to_owned(), files: vec![contents] });
        };
        let mut known = Some(Contents::open(&file(path, found))?);
        let (of, run) = known.as_ref().map_or((1, 0), |known| (known.part.of, known.run));
        let names: Vec<_> = (0..of).map(|index| file(path, index)).collect();
        let missing: Vec<_> = names.iter().filter(|name| !Path::new(name).exists()).cloned().collect();
        if !missing.is_empty() {
            let are = if missing.len() == 1 { "is" } else { "are" };
            let missing = missing.join(", ");
            return wrong(format!("{path} has {of} parts, of which {missing} {are} missing"));
        }
        let open = |(index, name): (u32, &String)| match known.take_if(|_| index == found) {
            Some(known) => Ok(known),
            None => Contents::open(name),
        };
        let files = (0..).zip(&names).map(open).collect::<Result<Vec<_>, _>>()?;
        for (index, contents) in (0..).zip(&files) {
            if (contents.part, contents.run) != (Part { index, of }, run) {
                let (name, other) = (&contents.path, file(path, found));
                return wrong(format!("{name} is not the part of its number that belongs to {other}"));
            }
        }
        let parts = Self { path: path.to_owned(), files };
        for (contents, track) in parts.all() {
            let (source, name) = (&track.described.source, &track.described.name);
            if let Some((other, _)) =
                parts.track(source, name).filter(|(known, _)| known.path != contents.path)
            {
                let files = format!("{} and {}", other.path, contents.path);
                return wrong(format!("{files} both have partition \"{name}\" of source \"{source}\""));
            }
        }
        Ok(parts)
    }

    pub(super) fn files(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|contents| contents.path.as_str())
    }

    /// The partitions of all files, each with the file that it is in.
    pub(super) fn all(&self) -> impl Iterator<Item = (&Contents, &Track)> {
        self.files.iter().flat_map(|contents| contents.tracks.values().map(move |track| (contents, track)))
    }

    /// A partition of a source, with the file that it is in.
    pub(super) fn track(&self, source: &str, partition: &str) -> Option<(&Contents, &Track)> {
        self.files.iter().find_map(|contents| Some((contents, contents.track(source, partition)?)))
    }

    pub(super) fn damages(&self) -> Vec<Damage> {
        self.files.iter().flat_map(Contents::damages).collect()
    }

    /// A hash of which partitions there are, and of how each begins.
    pub(super) fn hash(&self) -> u64 {
        let mut begins: Vec<_> = self
            .all()
            .map(|(_, track)| (track.described.id(), track.blocks.first().map(|block| block.head.to_bytes())))
            .collect();
        begins.sort_unstable();
        let mut hash = Xxh3::new();
        begins.iter().for_each(|begin| hash.update(format!("{begin:?}").as_bytes()));
        hash.digest()
    }
}
