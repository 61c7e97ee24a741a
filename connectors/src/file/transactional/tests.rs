use std::sync::Mutex;

use proptest::prelude::*;
use tidewatch_dataflows::EventTime;

use super::*;
use crate::lock;
use crate::store::{self, Listed};

/// How many lines there are, each at a time of its own.
const LINES: usize = 9;
const CHAIN: &str = "sinks/out/";

fn line(index: usize) -> String {
    // So long that some lines are in the file before they are committed.
    format!("{index}: {}", "x".repeat(BLOCK / 3))
}

fn expected() -> String {
    (0..LINES).map(|index| line(index) + "\n").collect()
}

/// What a run dies of: of nothing before the step with this number, then of everything.
#[derive(Clone, Default)]
struct Fate(Arc<Mutex<Option<usize>>>);

impl Fate {
    fn in_step(step: usize) -> Self {
        Self(Arc::new(Mutex::new(Some(step))))
    }

    fn step(&self) -> Result<(), Error> {
        match &mut *lock(&self.0) {
            Some(0) => Err(Error::io("crash")(io::Error::other("here"))),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

/// A store whose user may die before and after each thing that it does.
struct Mortal(Arc<dyn Store>, Fate);

impl Mortal {
    fn call<R>(&self, act: impl FnOnce(&dyn Store) -> Result<R, Error>) -> Result<R, Error> {
        self.1.step()?;
        let done = act(&*self.0)?;
        self.1.step()?;
        Ok(done)
    }
}

impl Store for Mortal {
    fn put_new(&self, name: &str, bytes: &[u8]) -> Result<bool, Error> {
        self.call(|store| store.put_new(name, bytes))
    }
    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        self.call(|store| store.get(name))
    }
    fn list(&self, prefix: &str) -> Result<Vec<Listed>, Error> {
        self.call(|store| store.list(prefix))
    }
    fn delete(&self, name: &str) -> Result<(), Error> {
        self.call(|store| store.delete(name))
    }
}

/// A file with the store of its job.
struct Bench {
    directory: tempfile::TempDir,
    store: Arc<dyn Store>,
}

impl Bench {
    fn new() -> Self {
        let bench = Self { directory: tempfile::tempdir().unwrap(), store: store::open("memory:").unwrap() };
        fs::write(bench.path(), "what was there before").unwrap();
        bench
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("out.jsonl")
    }

    fn sink(&self, fate: &Fate) -> TransactionalFile {
        let (store, hook) = (Arc::new(Mortal(Arc::clone(&self.store), fate.clone())), fate.clone());
        TransactionalFile::new(self.path(), store, CHAIN).with_hook(move |_| hook.step())
    }

    /// What the chain says: how many bytes are committed.
    fn committed(&self) -> u64 {
        let (_, entries) = Log::open(Arc::clone(&self.store), CHAIN).unwrap();
        let length = |entry: &store::Entry| match serde_json::from_slice(&entry.body).unwrap() {
            Link::Committed { length, .. } => Some(length),
            Link::Begun => None,
        };
        entries.iter().filter_map(length).next_back().unwrap_or(0)
    }

    /// A reader sees all that is committed, and of what is not, only what will be.
    fn check(&self) {
        let seen = fs::read_to_string(self.path()).unwrap();
        if seen != "what was there before" {
            assert!(expected().starts_with(&seen), "{} bytes, of which the last are others", seen.len());
            assert!(seen.len() as u64 >= self.committed(), "{} bytes of {}", seen.len(), self.committed());
        }
    }

    fn finish(&self, epoch: u64) {
        run(&mut Life::new(self.sink(&Fate::default()), epoch)).unwrap();
        assert!(expected() == fs::read_to_string(self.path()).unwrap(), "epoch {epoch}");
        let names: Vec<_> =
            fs::read_dir(self.directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(vec!["out.jsonl"], names, "nothing else is left");
    }
}

/// A run, which writes what earlier ones have not committed.
struct Life {
    epoch: Epoch,
    shard: Box<dyn ShardWriter>,
    /// Once it is fenced, the next line, and how many of those before it are not committed.
    next: Option<(usize, usize)>,
}

impl Life {
    fn new(sink: TransactionalFile, epoch: u64) -> Self {
        Self { epoch: Epoch(epoch), shard: sink.open(Shard(0)).unwrap(), next: None }
    }

    /// Does the next thing; `false` if there is nothing left.
    fn step(&mut self) -> Result<bool, Error> {
        match self.next {
            None => {
                let next = match self.shard.fence(self.epoch)? {
                    Progress::START => 0,
                    Progress::Below(time) => usize::try_from(time.micros()).unwrap(),
                    Progress::End => LINES + 1,
                };
                assert_eq!(next == 0, self.shard.wants_preamble(0));
                self.next = Some((next, 0));
            }
            Some((next, 0 | 1)) if next < LINES => {
                let time = EventTime::from_micros(next as i64);
                self.shard.write(0, &[Message::new(time, line(next).as_bytes())])?;
                self.next = Some((next + 1, if next % 3 == 2 { 2 } else { 1 }));
            }
            Some((LINES, _)) => {
                self.shard.commit(Progress::End)?;
                self.next = Some((LINES + 1, 0));
            }
            Some((next, _)) if next < LINES => {
                self.shard.commit(Progress::Below(EventTime::from_micros(next as i64)))?;
                self.next = Some((next, 0));
            }
            Some(_) => return Ok(false),
        }
        Ok(true)
    }
}

fn run(life: &mut Life) -> Result<(), Error> {
    while life.step()? {}
    Ok(())
}

#[test]
fn whatever_step_a_run_dies_in_the_next_one_makes_the_same_file() {
    for step in 0.. {
        let bench = Bench::new();
        let died = run(&mut Life::new(bench.sink(&Fate::in_step(step)), 1)).is_err();
        bench.check();
        bench.finish(2);
        if !died {
            assert!(step > 40, "every call of the store is a step, {step} are not all");
            return;
        }
    }
}

#[test]
fn whatever_step_of_going_on_a_run_dies_in_the_next_one_makes_the_same_file() {
    for first in [15, 25, 35] {
        for step in 0.. {
            let bench = Bench::new();
            run(&mut Life::new(bench.sink(&Fate::in_step(first)), 1)).unwrap_err();
            let died = run(&mut Life::new(bench.sink(&Fate::in_step(step)), 2)).is_err();
            bench.check();
            bench.finish(3);
            if !died {
                break;
            }
        }
    }
}

/// In one step of a run's life, the next run begins, and the older one goes on as a zombie.
#[test]
fn a_zombie_that_goes_on_anywhere_changes_nothing() {
    for step in 0.. {
        for lines in [0, 4, usize::MAX] {
            let bench = Arc::new(Bench::new());
            let left = Mutex::new(Some(step));
            let newer = Arc::new(Mutex::new(None));
            let (within, begun) = (Arc::clone(&bench), Arc::clone(&newer));
            let sink =
                TransactionalFile::new(bench.path(), Arc::clone(&bench.store), CHAIN).with_hook(move |_| {
                    let mut left = lock(&left);
                    match &mut *left {
                        Some(0) => {
                            let mut life = Life::new(within.sink(&Fate::default()), 2);
                            for _ in 0..lines.saturating_add(1) {
                                if !life.step()? {
                                    break;
                                }
                            }
                            *lock(&begun) = Some(life);
                            *left = None;
                        }
                        Some(left) => *left -= 1,
                        None => {}
                    }
                    Ok(())
                });
            let zombie = run(&mut Life::new(sink, 1));
            let Some(mut newer) = lock(&newer).take() else { return };
            let error = zombie.unwrap_err();
            assert!(matches!(error, Error::Fenced { epoch: Epoch(2) }), "step {step}: {error}");
            bench.check();
            run(&mut newer).unwrap();
            assert!(expected() == fs::read_to_string(bench.path()).unwrap(), "step {step}");
            bench.finish(3);
        }
    }
}

#[test]
fn committed_bytes_that_are_gone_are_an_error_that_says_what_to_do() {
    let bench = Bench::new();
    run(&mut Life::new(bench.sink(&Fate::default()), 1)).unwrap();
    let length = expected().len();
    let error = |epoch| run(&mut Life::new(bench.sink(&Fate::default()), epoch)).unwrap_err().to_string();
    File::options().write(true).open(bench.path()).unwrap().set_len(10).unwrap();
    let path = bench.path().canonicalize().unwrap().display().to_string();
    let says = |found: &str| {
        format!("{path} is damaged: it {found}, but {length} bytes of it were committed: restore it, or start anew with `--fresh`")
    };
    assert_eq!(says("has 10 bytes"), error(2));
    fs::remove_file(bench.path()).unwrap();
    assert_eq!(says("is gone"), error(3));
    fs::write(bench.path(), expected() + "and what was not committed").unwrap();
    bench.finish(4);
}

#[test]
fn the_chain_stays_short() {
    let bench = Bench::new();
    let mut shard = bench.sink(&Fate::default()).open(Shard(0)).unwrap();
    shard.fence(Epoch(1)).unwrap();
    for time in 1..100 {
        shard.commit(Progress::Below(EventTime::from_micros(time))).unwrap();
    }
    assert!(bench.store.list(CHAIN).unwrap().len() as u64 <= DROP + KEEP + 2);
    let mut shard = bench.sink(&Fate::default()).open(Shard(0)).unwrap();
    assert_eq!(Progress::Below(EventTime::from_micros(99)), shard.fence(Epoch(2)).unwrap());
}

#[test]
fn what_is_no_regular_file_is_refused() {
    let store = store::open("memory:").unwrap();
    let mut shard = TransactionalFile::new("/dev/null", store, CHAIN).open(Shard(0)).unwrap();
    let error = shard.fence(Epoch(1)).unwrap_err().to_string();
    assert_eq!("/dev/null is not a regular file, so nothing can be committed to it", error);
}

#[cfg(unix)]
#[test]
fn a_link_and_permissions_stay_as_they_are() {
    use std::os::unix::fs::PermissionsExt;

    let bench = Bench::new();
    let target = bench.directory.path().join("target");
    fs::rename(bench.path(), &target).unwrap();
    fs::set_permissions(&target, fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::symlink("target", bench.path()).unwrap();
    run(&mut Life::new(bench.sink(&Fate::default()), 1)).unwrap();
    assert!(bench.path().is_symlink());
    assert!(expected() == fs::read_to_string(&target).unwrap());
    assert_eq!(0o640, fs::metadata(&target).unwrap().permissions().mode() & 0o777);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Any number of runs, which begin one after the other, die in any step, or go on as zombies.
    #[test]
    fn any_lives_make_the_same_file(
        lives in prop::collection::vec(0..200_usize, 1..6),
        turns in prop::collection::vec((0..6_usize, 1..6_usize), 0..60),
    ) {
        let bench = Bench::new();
        let (mut fates, mut alive, mut epoch) = (lives.into_iter(), Vec::<Life>::new(), 0);
        for (who, steps) in turns {
            match alive.get_mut(who) {
                Some(life) => {
                    if (0..steps).any(|_| !life.step().unwrap_or(false)) {
                        alive.remove(who);
                    }
                }
                None => if let Some(fate) = fates.next() {
                    epoch += 1;
                    alive.push(Life::new(bench.sink(&Fate::in_step(fate)), epoch));
                }
            }
            bench.check();
        }
        // The zombies outlive the last run.
        let mut last = Life::new(bench.sink(&Fate::default()), epoch + 1);
        last.step().unwrap();
        alive.iter_mut().for_each(|life| while life.step().unwrap_or(false) {});
        run(&mut last).unwrap();
        prop_assert!(expected() == fs::read_to_string(bench.path()).unwrap());
        bench.finish(epoch + 2);
    }
}
