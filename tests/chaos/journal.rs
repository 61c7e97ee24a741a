//! All that a job has decided by a clock, for a run that is to decide the same.

use std::path::Path;
use std::sync::Arc;

use tidewatch::checkpoint::{Body, Manifest, LOG};
use tidewatch::connectors::store::{self, within, Entry, Epoch, Log};
use tidewatch::connectors::Store;

/// What the names of the first incarnation of a job begin with.
const FIRST: &str = "1/";

fn log(url: &Path) -> (Log, Vec<Entry>) {
    let store = store::open(&url.display().to_string()).expect("it is there");
    Log::open(within(store, FIRST), LOG).expect("nothing of the log is missing")
}

/// The newest run, and the manifests in the log of a job.
pub(super) fn manifests(store: &Path) -> (Epoch, Vec<Manifest>) {
    let (log, entries) = log(store);
    let manifest = |entry: &Entry| match Body::decode(entry).expect("it is whole") {
        Body::Manifest(manifest) => Some(manifest),
        _ => None,
    };
    (log.highest(), entries.iter().filter_map(manifest).collect())
}

/// All that was ever in the log of a job: what is there, and what was kept when it was dropped.
fn all(store: &Path, kept: &Path) -> Vec<Body> {
    let open = |path: &Path| within(store::open(&path.display().to_string()).expect("it is there"), FIRST);
    let (from, to) = (open(store), open(kept));
    let listed = from.list(LOG).expect("it can be listed");
    // What is before the start of the log, too: whoever was about to drop it may have been killed.
    for entry in listed.iter().filter(|entry| !entry.name.contains("start/")) {
        let bytes = from.get(&entry.name).expect("it can be read").expect("it was just listed");
        to.put_new(&entry.name, &bytes).expect("there is room for it");
    }
    let (_, entries) = log(kept);
    assert_eq!(Some(0), entries.first().map(|first| first.number), "nothing is missing");
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
            Body::Joined(_) | Body::Referred(_) => {}
            _ => continue,
        }
        log.append(epoch, &body.encode()).expect("there is room for it");
    }
    decisions
}
