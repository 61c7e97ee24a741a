//! All that a job has decided by a clock, for a run that is to decide the same.

use std::path::Path;
use std::sync::Arc;

use tidewatch::checkpoint::{Body, Manifest, LOG};
use tidewatch::connectors::store::{self, within, Entry, Epoch, Log};
use tidewatch::connectors::{Error, Store};

/// What the names of the first incarnation of a job begin with.
const FIRST: &str = "1/";

fn log(url: &Path) -> Result<Vec<Entry>, Error> {
    Ok(Log::open(within(store::open(&url.display().to_string())?, FIRST), LOG)?.1)
}

/// The manifests in the log of a job, and the run that wrote each.
pub(super) fn manifests(store: &Path) -> Vec<(Epoch, Manifest)> {
    let entries = log(store).expect("the log can be read");
    let manifest = |entry: &Entry| match Body::decode(entry).expect("it is whole") {
        Body::Manifest(manifest) => Some((entry.epoch, manifest)),
        _ => None,
    };
    entries.iter().filter_map(manifest).collect()
}

/// All that was ever in the log of a job: what is there, and what was kept when it was dropped.
fn all(store: &Path, kept: &Path) -> Vec<Body> {
    let mut entries = log(kept).expect("what was kept can be read");
    let dropped = entries.len() as u64;
    entries
        .extend(log(store).expect("the log can be read").into_iter().filter(|entry| entry.number >= dropped));
    let numbers: Vec<_> = entries.iter().map(|entry| entry.number).collect();
    assert_eq!((0..entries.len() as u64).collect::<Vec<_>>(), numbers, "nothing is missing");
    entries.iter().map(|entry| Body::decode(entry).expect("it is whole")).collect()
}

/// Makes a store in which nothing has been done, but all has been decided as in `store`; returns how many decisions there are.
pub(super) fn copy(store: &Path, kept: &Path, to: &Path) -> usize {
    let bodies = all(store, kept);
    let made = store::open(&to.display().to_string()).expect("it can be made");
    made.put_new("incarnations/00000000000000000001", b"").expect("there is room for it");
    let made: Arc<dyn Store> = within(made, FIRST);
    let (mut log, _) = Log::open(made, LOG).expect("it is empty");
    let epoch = log.begin(&bodies[0].encode()).expect("there is room for it");
    let mut decisions = 0;
    for body in &bodies {
        match body {
            Body::Decisions(decided) => decisions += decided.len(),
            Body::Joined(_) => {}
            _ => continue,
        }
        log.append(epoch, &body.encode()).expect("there is room for it");
    }
    decisions
}
