//! What a running job can be asked for, through a socket in its store.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use tidewatch_connectors::{store, Control, Error as ConnectorError};
use tidewatch_dataflows::EventTime;
use tracing::{info, warn};

use crate::Error;

/// The socket's file; no object is called so.
const NAME: &str = "control";
/// How long a request may take to be said.
const PATIENCE: Duration = Duration::from_secs(5);
/// What is said to have a checkpoint made, and to have the run stop at one.
const CHECKPOINT: &str = "checkpoint";
const SAVEPOINT: &str = "savepoint";

/// Where the socket of a store is, if it can have one.
fn path(url: &str) -> Option<PathBuf> {
    store::directory(url).map(|directory| Path::new(directory).join(NAME))
}

/// Answers requests until the process ends; a store that cannot have a socket gets none.
pub(super) fn answer(url: &str, control: &Control) {
    let Some(path) = path(url) else { return };
    // Whoever left it is gone, or will be: this run holds the store.
    let _ = fs::remove_file(&path);
    let listener = match UnixListener::bind(&path) {
        Ok(listener) => listener,
        Err(error) => {
            warn!(path = %path.display(), "savepoints cannot be asked for: {error}");
            return;
        }
    };
    let control = control.clone();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Whoever has gone needs no answer.
            let _ = converse(stream, &control);
        }
    });
}

fn converse(stream: UnixStream, control: &Control) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut request = String::new();
    BufReader::new(&stream).read_line(&mut request)?;
    info!(request = request.trim(), "was asked");
    let made = match request.trim() {
        CHECKPOINT => control.checkpoint(),
        SAVEPOINT => control.savepoint(),
        other => Err(ConnectorError::Configuration(format!("\"{other}\" is no request"))),
    };
    let answer = match made {
        Ok(Some(boundary)) => format!("saved {}", boundary.micros()),
        Ok(None) => "nothing".to_owned(),
        Err(error) => format!("failed {error}"),
    };
    writeln!(&stream, "{answer}")
}

/// Asks the job that runs with a store for a checkpoint, and with `stop` to stop at it; returns its boundary, or nothing if
/// there is nothing to save.
///
/// # Errors
///
/// [`Error::Usage`] if no job runs there; [`Error::Io`] if it does not answer.
pub fn ask(url: &str, stop: bool) -> Result<Option<EventTime>, Error> {
    let Some(path) = path(url) else {
        return Err(Error::Usage(format!(
            "\"{url}\" is no directory, so a job that runs elsewhere cannot be asked: end it with SIGTERM, which saves too"
        )));
    };
    let failed = |source| Error::Io { what: path.display().to_string(), source };
    let stream = UnixStream::connect(&path)
        .map_err(|error| Error::Usage(format!("no job runs with the store \"{url}\" ({error})")))?;
    writeln!(&stream, "{}", if stop { SAVEPOINT } else { CHECKPOINT }).map_err(failed)?;
    let mut answer = String::new();
    BufReader::new(&stream).read_line(&mut answer).map_err(failed)?;
    match answer.trim().split_once(' ').unwrap_or((answer.trim(), "")) {
        ("saved", micros) => Ok(micros.parse().ok().map(EventTime::from_micros)),
        ("nothing", _) => Ok(None),
        ("failed", why) => Err(Error::Connector(ConnectorError::Configuration(why.to_owned()))),
        _ => Err(Error::Usage(format!("the job with the store \"{url}\" has ended without an answer"))),
    }
}
