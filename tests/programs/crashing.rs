//! `tidewatch` but for its death, for the tests: `CRASH=STEP CRASH_AT=2` ends the process the second time that it comes to the
//! step, as `kill -9` does. With `CRASH`, each step that it comes to is said once on standard error. `KEEP=STORE` keeps what is dropped
//! of the job's log, and `FULL=FILE` has the store be full as long as there is the file.

use std::collections::BTreeMap;
use std::env;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::{abort, ExitCode};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tidewatch::checkpoint::Body;
use tidewatch::connectors::file::TransactionalFile;
use tidewatch::connectors::store::{self, Entry, Epoch, Listed};
use tidewatch::connectors::{Error, Message, Progress, Shard, ShardWriter, Store, TransactionalSink};
use tidewatch::registry::{Registry, SinkContext, SinkInfo, SinkStream, Transactional};

/// How often the process has come to each step.
static COME: Mutex<BTreeMap<String, u64>> = Mutex::new(BTreeMap::new());

/// Comes to a step, and no further if it is the last one.
fn come_to(step: &str) {
    let Ok(last) = env::var("CRASH") else { return };
    let mut come = COME.lock().unwrap_or_else(PoisonError::into_inner);
    let times = come.entry(step.to_owned()).or_default();
    *times += 1;
    if *times == 1 {
        tell(&format!("comes to {step}\n"));
    }
    let limit = env::var("CRASH_AT").ok().and_then(|limit| limit.parse().ok()).unwrap_or(1);
    if step == last && *times == limit {
        tell(&format!("dies at {step}\n"));
        abort();
    }
}

/// Says a line on standard error at once, so that it is one when another process says something, too.
fn tell(line: &str) {
    std::io::stderr().write_all(line.as_bytes()).expect("somebody listens");
}

fn around<T>(step: Option<String>, act: impl FnOnce() -> T) -> T {
    let at = |when| step.iter().for_each(|step| come_to(&format!("{step}, {when}")));
    at("before");
    let done = act();
    at("after");
    done
}

/// A store whose user dies before or after something is written or deleted.
struct Mortal(Arc<dyn Store>);

/// The bytes of an entry of a log before and after its body.
const HEAD: usize = 33;
const CHECKSUM: usize = 8;

/// What an entry of the job's log says.
fn said(bytes: &[u8]) -> &'static str {
    let body = bytes[HEAD..bytes.len() - CHECKSUM].to_vec();
    match Body::decode(&Entry { number: 0, epoch: Epoch(0), body }).expect("it was just encoded") {
        Body::Began(_) => "append the epoch",
        Body::Decisions(_) => "append decisions",
        Body::Joined(_) => "append what joins",
        Body::Manifest(_) => "append a manifest",
        Body::Fenced { .. } => "append what is fenced",
        Body::Resumed(_) => "append the plan",
        Body::Referred(_) => "append an edition",
    }
}

/// With `KEEP`, a store, puts there what is about to be dropped of the job's log.
fn keep(store: &dyn Store, name: &str) -> Result<(), Error> {
    let Ok(folder) = env::var("KEEP") else { return Ok(()) };
    let is_entry = matches!(name.split('/').collect::<Vec<_>>()[..], [_, "log", _]);
    if let Some(bytes) = store.get(name)?.filter(|_| is_entry) {
        // A process that slept may have written, and now deletes, under the number of an entry that is kept already.
        store::open(&folder)?.put_new(name, &bytes)?;
    }
    Ok(())
}

/// With `FULL`, no room is left while there is this file.
fn find_room(store: &dyn Store, name: &str) -> Result<(), Error> {
    match env::var_os("FULL").is_some_and(|path| Path::new(&path).exists()) {
        true => {
            let source = ErrorKind::StorageFull.into();
            Err(Error::Store { operation: "write", object: store.object(name), source })
        }
        false => Ok(()),
    }
}

/// What writing to the store is for.
fn purpose(name: &str, bytes: &[u8]) -> String {
    let merges = thread::current().name() == Some("tidewatch-upkeep");
    let parts: Vec<_> = name.split('/').collect();
    let purpose = match parts[..] {
        ["incarnations", _] => "make an incarnation",
        [_, "log", "start", _] => "mark the start of the log",
        [_, "log", _] => said(bytes),
        [_, "state", ..] if merges => "write a merged object",
        [_, "state", ..] => "write an object",
        [_, "sinks", _, "start", _] => "mark the start of a chain",
        [_, "sinks", ..] => "append a link",
        _ => panic!("nobody knows what {name} is"),
    };
    purpose.to_owned()
}

impl Store for Mortal {
    fn put_new(&self, name: &str, bytes: &[u8]) -> Result<bool, Error> {
        find_room(&*self.0, name)?;
        around(Some(purpose(name, bytes)), || self.0.put_new(name, bytes))
    }
    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        self.0.get(name)
    }
    fn list(&self, prefix: &str) -> Result<Vec<Listed>, Error> {
        self.0.list(prefix)
    }
    fn delete(&self, name: &str) -> Result<(), Error> {
        keep(&*self.0, name)?;
        let part = name.split('/').nth(1);
        let purpose = part.map(|part| format!("delete from {part}"));
        around(purpose, || self.0.delete(name))
    }
    fn object(&self, name: &str) -> String {
        self.0.object(name)
    }
}

/// A sink whose user dies once something is done; before each of its steps it dies by its hook.
struct MortalSink(Arc<dyn TransactionalSink>);

impl TransactionalSink for MortalSink {
    fn shards(&self) -> u32 {
        self.0.shards()
    }
    fn open(&self, shard: Shard) -> Result<Box<dyn ShardWriter>, Error> {
        Ok(Box::new(MortalWriter(self.0.open(shard)?)))
    }
}

struct MortalWriter(Box<dyn ShardWriter>);

impl ShardWriter for MortalWriter {
    fn fence(&mut self, epoch: Epoch) -> Result<Progress, Error> {
        let progress = self.0.fence(epoch)?;
        come_to("fenced");
        Ok(progress)
    }
    fn write(&mut self, stream: usize, messages: &[Message<'_>]) -> Result<(), Error> {
        self.0.write(stream, messages)?;
        come_to("written");
        Ok(())
    }
    fn commit(&mut self, progress: Progress) -> Result<(), Error> {
        self.0.commit(progress)?;
        come_to("committed");
        Ok(())
    }
    fn wants_preamble(&self, stream: usize) -> bool {
        self.0.wants_preamble(stream)
    }
    fn wants_keys(&self) -> bool {
        self.0.wants_keys()
    }
}

fn hook(step: &'static str) -> Result<(), Error> {
    come_to(step);
    Ok(())
}

type Made = Result<Arc<dyn TransactionalSink>, Error>;

fn file(streams: &[SinkStream<'_>], context: &SinkContext) -> Made {
    let path = streams[0].1.value::<&str>("path");
    let sink = TransactionalFile::new(path, context.store.clone(), "").with_hook(hook);
    Ok(Arc::new(MortalSink(Arc::new(sink))))
}

#[cfg(feature = "kafka")]
fn kafka(streams: &[SinkStream<'_>], context: &SinkContext) -> Made {
    use tidewatch::connectors::kafka::TransactionalKafka;

    let sink = TransactionalKafka::from_params(&context.job, context.incarnation, streams)?.with_hook(hook);
    Ok(Arc::new(MortalSink(Arc::new(sink))))
}

fn replace(registry: &mut Registry, name: &str, construct: fn(&[SinkStream<'_>], &SinkContext) -> Made) {
    let info = registry.sinks.get(name).cloned().expect("it is built in");
    let built_in = info.transactional.clone().expect("it can commit");
    let transactional = Transactional { construct: Arc::new(construct), ..built_in };
    registry.sinks.add(SinkInfo { transactional: Some(transactional), ..info });
}

fn main() -> ExitCode {
    let store = Arc::new(|url: &str| Ok(Arc::new(Mortal(store::open(url)?)) as _));
    let mut registry = Registry { store, ..Registry::default() };
    replace(&mut registry, "file", file);
    #[cfg(feature = "kafka")]
    replace(&mut registry, "kafka", kafka);
    tidewatch::cli::main(registry)
}
