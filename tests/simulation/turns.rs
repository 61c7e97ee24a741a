//! Whose turn it is, and what time it is then.
//!
//! Of all threads of all lives of a world one runs at a time. At the end of its turn it draws who is next, so that everything
//! that happens follows from the seed. Between turns time goes on by a little, by chance.

use std::cell::Cell;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tidewatch_connectors::control::Scheduler;

use super::random::Random;

/// How many turns a thread may be passed over in a row because it is slow.
const SLOW: [u64; 3] = [40, 120, 600];

/// The turns of a world.
#[derive(Debug)]
pub(super) struct Turns {
    base: Instant,
    state: Mutex<State>,
    /// Wakes whoever drives the world.
    driver: Condvar,
}

#[derive(Debug)]
struct State {
    random: Random,
    now: Duration,
    threads: Vec<Thread>,
    /// Whose turn it is; nobody's if it is the driver's.
    turn: Option<usize>,
    /// How many there were.
    taken: u64,
    /// After how many the driver wants to be asked.
    until: u64,
}

#[derive(Debug)]
struct Thread {
    life: usize,
    is_worker: bool,
    wakes: Arc<Condvar>,
    /// When it has something to do, if nobody gives it anything before.
    due: Duration,
    /// Until which turn it is slow.
    slow: u64,
    has_left: bool,
    has_panicked: bool,
}

thread_local! {
    /// Which thread of its world this one is.
    static SELF: Cell<Option<usize>> = const { Cell::new(None) };
}

impl Turns {
    pub(super) fn new(random: Random) -> Arc<Self> {
        let (threads, turn) = (Vec::new(), None);
        let state = State { random, now: Duration::ZERO, threads, turn, taken: 0, until: 0 };
        Arc::new(Self { base: Instant::now(), state: Mutex::new(state), driver: Condvar::new() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long the world has been there.
    pub(super) fn now(&self) -> Duration {
        self.state().now
    }

    /// How many turns there were.
    pub(super) fn taken(&self) -> u64 {
        self.state().taken
    }

    /// Draws something, at the turn of the thread that asks.
    pub(super) fn draw<T>(&self, draw: impl FnOnce(&mut Random) -> T) -> T {
        draw(&mut self.state().random)
    }

    /// Whether the thread that asks takes turns.
    pub(super) fn takes_part() -> bool {
        SELF.get().is_some()
    }

    /// Waits until a life has announced so many workers.
    pub(super) fn await_workers(&self, life: usize, workers: usize) {
        let of_life = |state: &mut State| {
            state.threads.iter().filter(|thread| thread.life == life && thread.is_worker).count() < workers
        };
        drop(self.driver.wait_while(self.state(), of_life).unwrap_or_else(PoisonError::into_inner));
    }

    /// Has threads take turns until `until` were taken, or a life has no workers any more, or nobody is left.
    pub(super) fn run(&self, until: u64) {
        let mut state = self.state();
        state.until = until;
        state.turn = state.draw_next();
        if let Some(next) = state.turn {
            state.threads[next].wakes.notify_one();
        }
        let is_running = |state: &mut State| state.turn.is_some();
        drop(self.driver.wait_while(state, is_running).unwrap_or_else(PoisonError::into_inner));
    }

    /// Whether all workers, or all threads, of a life have left.
    pub(super) fn have_left(&self, life: usize, only_workers: bool) -> bool {
        let state = self.state();
        let mut of_life = state.threads.iter().filter(|thread| thread.life == life);
        of_life.all(|thread| thread.has_left || (only_workers && !thread.is_worker))
    }

    /// Whether a thread of a life has panicked.
    pub(super) fn has_panicked(&self, life: usize) -> bool {
        self.state().threads.iter().any(|thread| thread.life == life && thread.has_panicked)
    }

    /// Gives the turn to somebody else, and waits for the next one of thread `own`, unless that has left.
    fn pass<'a>(&'a self, mut state: MutexGuard<'a, State>, own: usize, asks_driver: bool) {
        let has_left = state.threads[own].has_left;
        state.taken += 1;
        state.pass_time();
        let next = if asks_driver || state.taken >= state.until { None } else { state.draw_next() };
        state.turn = next;
        if next == Some(own) {
            return;
        }
        let own_wakes = state.threads[own].wakes.clone();
        match next {
            Some(next) => state.threads[next].wakes.notify_one(),
            None => self.driver.notify_all(),
        }
        if !has_left {
            let waits = |state: &mut State| state.turn != Some(own);
            drop(own_wakes.wait_while(state, waits).unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Ends the turn of the thread that calls this.
    pub(super) fn pause(&self, limit: Duration) {
        let Some(own) = SELF.get() else { return };
        let mut state = self.state();
        state.threads[own].due = state.now.saturating_add(limit);
        self.pass(state, own, false);
    }
}

impl State {
    /// Time goes on: not at all, a little, or by so much that somebody falls silent.
    fn pass_time(&mut self) {
        let micros = match self.random.below(64) {
            0..44 => 0,
            44..60 => self.random.below(4_000),
            60..63 => self.random.below(30_000),
            _ => self.random.below(240_000),
        };
        self.now += Duration::from_micros(micros);
    }

    /// Who is next; nobody if all have left.
    fn draw_next(&mut self) -> Option<usize> {
        let (taken, now) = (self.taken, self.now);
        if self.random.once_in(100) && !self.threads.is_empty() {
            let slow = self.random.below(self.threads.len() as u64) as usize;
            let longest = SLOW[self.random.below(3) as usize];
            self.threads[slow].slow = taken + self.random.below(longest);
        }
        let weight = |thread: &Thread| match thread {
            Thread { has_left: true, .. } => 0,
            Thread { slow, .. } if *slow > taken => 0,
            Thread { is_worker: true, .. } => 6,
            Thread { due, .. } if *due <= now => 6,
            _ => 1,
        };
        let all: u64 = self.threads.iter().map(weight).sum();
        if all == 0 {
            // All that are left are slow.
            return self.threads.iter().position(|thread| !thread.has_left);
        }
        let mut drawn = self.random.below(all);
        self.threads.iter().position(|thread| match drawn.checked_sub(weight(thread)) {
            Some(left) => {
                drawn = left;
                false
            }
            None => true,
        })
    }
}

/// The turns of one life's threads.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) turns: Arc<Turns>,
    pub(super) life: usize,
}

impl Scheduler for Seat {
    fn now(&self) -> Instant {
        self.turns.base + self.turns.now()
    }

    fn announce(&self, name: &str) -> usize {
        let mut state = self.turns.state();
        let (due, is_worker) = (state.now, name.starts_with("worker "));
        let wakes = Arc::new(Condvar::new());
        state.threads.push(Thread {
            life: self.life,
            is_worker,
            wakes,
            due,
            slow: 0,
            has_left: false,
            has_panicked: false,
        });
        let number = state.threads.len() - 1;
        drop(state);
        self.turns.driver.notify_all();
        number
    }

    fn enter(&self, thread: usize) {
        SELF.set(Some(thread));
        let state = self.turns.state();
        let wakes = state.threads[thread].wakes.clone();
        let waits = |state: &mut State| state.turn != Some(thread);
        drop(wakes.wait_while(state, waits).unwrap_or_else(PoisonError::into_inner));
    }

    fn pause(&self, limit: Duration) {
        self.turns.pause(limit);
    }

    fn leave(&self) {
        let Some(own) = SELF.take() else { return };
        let mut state = self.turns.state();
        state.threads[own].has_left = true;
        state.threads[own].has_panicked = std::thread::panicking();
        let works = |thread: &Thread| thread.life == self.life && thread.is_worker && !thread.has_left;
        let was_last = state.threads[own].is_worker && !state.threads.iter().any(works);
        self.turns.pass(state, own, was_last);
    }
}
