use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::Mutex;
use std::thread;

use proptest::prelude::*;

use super::*;
use crate::store::{open, Listed};

fn memory() -> Arc<dyn Store> {
    open("memory:").unwrap()
}

fn bodies(entries: &[Entry]) -> Vec<(u64, u64, &str)> {
    entries
        .iter()
        .map(|entry| (entry.number, entry.epoch.0, std::str::from_utf8(&entry.body).unwrap()))
        .collect()
}

fn read(store: &Arc<dyn Store>) -> Vec<Entry> {
    Log::open(store.clone(), "log/").unwrap().1
}

#[test]
fn entries_are_read_in_the_order_in_which_they_were_appended() {
    let store = memory();
    let (mut log, entries) = Log::open(store.clone(), "log/").unwrap();
    assert_eq!((0, Epoch(0)), (entries.len(), log.highest()));
    assert_eq!(Epoch(1), log.begin(b"began").unwrap());
    assert_eq!(1, log.append(Epoch(1), b"a").unwrap());
    assert_eq!(2, log.append(Epoch(1), b"a").unwrap(), "the same once more");
    assert_eq!(0, log.catch_up().unwrap().len(), "its own");
    assert_eq!(vec![(0, 1, "began"), (1, 1, "a"), (2, 1, "a")], bodies(&read(&store)));
    assert_eq!(0, Log::open(store, "sinks/a/").unwrap().1.len(), "another log");
}

#[test]
fn a_run_is_fenced_by_the_next_one() {
    let store = memory();
    let (mut old, _) = Log::open(store.clone(), "log/").unwrap();
    old.begin(b"old").unwrap();
    let (mut new, entries) = Log::open(store.clone(), "log/").unwrap();
    assert_eq!(vec![(0, 1, "old")], bodies(&entries));
    assert_eq!(1, old.append(Epoch(1), b"not seen yet").unwrap());
    assert_eq!(Epoch(2), new.begin(b"new").unwrap());
    assert_eq!(vec![(1, 1, "not seen yet")], bodies(&new.catch_up().unwrap()));
    let error = old.append(Epoch(1), b"too late").unwrap_err();
    assert!(matches!(error, Error::Fenced { epoch: Epoch(2) }), "{error}");
    assert!(error.to_string().contains("another run of this job has started"), "{error}");
    assert!(matches!(old.drop_below(1, Epoch(1)), Err(Error::Fenced { .. })));
    assert_eq!(vec![(0, 1, "old"), (1, 1, "not seen yet"), (2, 2, "new")], bodies(&read(&store)));
}

#[test]
fn two_runs_that_begin_at_once_have_different_epochs() {
    let store = memory();
    let mut logs: Vec<_> = (0..4).map(|_| Log::open(store.clone(), "log/").unwrap().0).collect();
    let mut epochs: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> =
            logs.iter_mut().map(|log| scope.spawn(|| log.begin(b"began").unwrap())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    epochs.sort();
    assert_eq!(vec![Epoch(1), Epoch(2), Epoch(3), Epoch(4)], epochs);
}

#[test]
fn processes_of_one_run_append_at_once_and_see_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path().to_str().unwrap()).unwrap();
    thread::scope(|scope| {
        for process in 0..4 {
            let (mut log, _) = Log::open(store.clone(), "log/").unwrap();
            scope.spawn(move || {
                for index in 0..10 {
                    log.append(Epoch(1), format!("{process}.{index}").as_bytes()).unwrap();
                }
            });
        }
    });
    let entries = read(&store);
    let numbers: Vec<_> = entries.iter().map(|entry| entry.number).collect();
    assert_eq!((0..40).collect::<Vec<_>>(), numbers);
    for process in 0..4 {
        let expected: Vec<_> = (0..10).map(|index| format!("{process}.{index}")).collect();
        let of_process: Vec<_> = bodies(&entries)
            .into_iter()
            .map(|(_, _, body)| body.to_owned())
            .filter(|body| body.starts_with(&format!("{process}.")))
            .collect();
        assert_eq!(expected, of_process);
    }
}

#[test]
fn a_log_goes_on_after_entries_were_dropped() {
    let store = memory();
    let (mut log, _) = Log::open(store.clone(), "log/").unwrap();
    let (mut behind, _) = Log::open(store.clone(), "log/").unwrap();
    for body in ["a", "b", "c", "d"] {
        log.append(Epoch(1), body.as_bytes()).unwrap();
    }
    assert!(!log.has_dropped().unwrap());
    log.drop_below(2, Epoch(1)).unwrap();
    assert_eq!(vec![(2, 1, "c"), (3, 1, "d")], bodies(&read(&store)));
    assert_eq!(vec![(2, 1, "c"), (3, 1, "d")], bodies(&behind.catch_up().unwrap()));
    log.drop_below(100, Epoch(1)).unwrap();
    assert_eq!(vec![(3, 1, "d")], bodies(&read(&store)), "the last one stays");
    assert!(log.has_dropped().unwrap());
    assert_eq!(2, store.list("log/").unwrap().len(), "and its mark");
    assert_eq!(4, behind.append(Epoch(1), b"e").unwrap());
}

#[test]
fn a_number_that_was_freed_by_dropping_is_not_used_again() {
    let store = memory();
    let (mut asleep, _) = Log::open(store.clone(), "log/").unwrap();
    asleep.begin(b"old").unwrap();
    let (mut log, _) = Log::open(store.clone(), "log/").unwrap();
    log.begin(b"new").unwrap();
    log.append(Epoch(2), b"a").unwrap();
    log.drop_below(2, Epoch(2)).unwrap();
    assert!(matches!(asleep.append(Epoch(1), b"late"), Err(Error::Fenced { epoch: Epoch(2) })));
    assert_eq!(vec![(2, 2, "a")], bodies(&read(&store)));
    assert_eq!(None, store.get("log/00000000000000000001").unwrap());
}

#[test]
fn damage_names_the_object() {
    let store = memory();
    let (mut log, _) = Log::open(store.clone(), "log/").unwrap();
    for body in ["a", "b", "c"] {
        log.append(Epoch(1), body.as_bytes()).unwrap();
    }
    let name = "log/00000000000000000001";
    let bytes = store.get(name).unwrap().unwrap();
    let damage = || match Log::open(store.clone(), "log/") {
        Err(error @ Error::Damaged { .. }) => error.to_string(),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("not found"),
    };
    store.delete(name).unwrap();
    assert_eq!(format!("\"{name}\" of store \"memory:\" is damaged: it is missing"), damage());
    store.put_new(name, &bytes[1..]).unwrap();
    assert_eq!(format!("\"{name}\" of store \"memory:\" is damaged: its checksum does not hold"), damage());
}

/// A store whose next write may fail, before or after it has landed.
struct Flaky {
    store: Arc<dyn Store>,
    next: AtomicU8,
}

const LANDS: u8 = 1;
const IS_LOST: u8 = 2;

impl Store for Flaky {
    fn put_new(&self, name: &str, bytes: &[u8]) -> Result<bool, Error> {
        let fate = self.next.swap(0, Ordering::Relaxed);
        if fate == IS_LOST {
            return Err(Error::io("lost")(std::io::ErrorKind::TimedOut.into()));
        }
        let written = self.store.put_new(name, bytes)?;
        match fate {
            LANDS => Err(Error::io("landed")(std::io::ErrorKind::TimedOut.into())),
            _ => Ok(written),
        }
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        self.store.get(name)
    }

    fn list(&self, prefix: &str) -> Result<Vec<Listed>, Error> {
        self.store.list(prefix)
    }

    fn delete(&self, name: &str) -> Result<(), Error> {
        self.store.delete(name)
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Append { process: usize, fate: u8 },
    CatchUp { process: usize },
    Drop { process: usize, number: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let process = 0..4usize;
    let step = prop_oneof![
        6 => (process.clone(), prop_oneof![4 => Just(0), 1 => Just(LANDS), 1 => Just(IS_LOST)])
            .prop_map(|(process, fate)| Step::Append { process, fate }),
        1 => process.clone().prop_map(|process| Step::CatchUp { process }),
        1 => (process, 0..12u64).prop_map(|(process, number)| Step::Drop { process, number }),
    ];
    prop::collection::vec(step, 0..60)
}

proptest! {
    /// Two processes of an older run and two of a newer one, whose writes may fail; the newer one begins with an append.
    #[test]
    fn after_the_first_entry_of_a_run_there_is_none_of_an_older_one(steps in steps()) {
        let flaky = Arc::new(Flaky { store: memory(), next: AtomicU8::new(0) });
        let store: Arc<dyn Store> = flaky.clone();
        let mut logs: Vec<_> = (0..4).map(|_| Log::open(store.clone(), "log/").unwrap().0).collect();
        // What was appended for sure: number, epoch, body.
        let known: Mutex<Vec<(u64, u64, String)>> = Mutex::default();
        let (mut dropped, mut fenced) = (0, [false; 4]);
        for (index, step) in steps.iter().enumerate() {
            match *step {
                Step::Append { process, fate } => {
                    let (epoch, body) = (Epoch(1 + process as u64 / 2), format!("{index}"));
                    flaky.next.store(fate, Ordering::Relaxed);
                    let mut appended = logs[process].append(epoch, body.as_bytes());
                    flaky.next.store(0, Ordering::Relaxed);
                    if fate != 0 && !matches!(appended, Err(Error::Fenced { .. })) {
                        // Once more, as whoever got the error does.
                        appended = logs[process].append(epoch, body.as_bytes());
                    }
                    match appended {
                        Ok(number) => {
                            prop_assert!(!fenced[process], "step {} of a fenced process", index);
                            let before = |(other, run, _): &(u64, u64, String)| *other < number && *run <= epoch.0;
                            prop_assert!(known.lock().unwrap().iter().all(before), "step {}", index);
                            known.lock().unwrap().push((number, epoch.0, body));
                        }
                        Err(Error::Fenced { epoch: Epoch(2) }) => fenced[process] = true,
                        Err(error) => panic!("step {index}: {error}"),
                    }
                }
                Step::CatchUp { process } => {
                    logs[process].catch_up().unwrap();
                }
                Step::Drop { process, number } => {
                    match logs[process].drop_below(number, Epoch(1 + process as u64 / 2)) {
                        Ok(()) => dropped = dropped.max(number),
                        Err(error) => prop_assert!(matches!(error, Error::Fenced { .. }), "step {}: {}", index, error),
                    }
                }
            }
        }
        let entries = read(&store);
        let epochs: Vec<_> = entries.iter().map(|entry| entry.epoch).collect();
        prop_assert!(epochs.is_sorted(), "{:?}", epochs);
        let known = known.into_inner().unwrap();
        let kept: Vec<_> = bodies(&entries);
        for (number, epoch, body) in &known {
            let times = kept.iter().filter(|(_, _, kept)| kept == body).count();
            let first = kept.first().map_or(0, |(number, ..)| *number);
            prop_assert!(first <= dropped);
            prop_assert_eq!(usize::from(*number >= first), times, "{} at {}", body, number);
            prop_assert!(*number < first || kept.contains(&(*number, *epoch, body.as_str())));
        }
    }
}
