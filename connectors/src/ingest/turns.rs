//! Which partition is read next, and when one that had nothing is asked again.

use std::time::{Duration, Instant};

use tidewatch_dataflows::record::{Dictionary, RowBatch};
use xxhash_rust::xxh3::xxh3_64;

use super::feed::Feed;
use super::gate::Allowance;

/// How much is read at a time, and from where next. Results never depend on it.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Records read from a partition before another one has its turn, for each four workers that share them.
    pub batch: usize,
    /// Partitions take turns in a random order with this seed, instead of lowest watermark first.
    pub shuffle: Option<u64>,
    /// How many keys in use each worker remembers to have named to the workers that hold their state.
    pub dictionary: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Self { batch: RowBatch::CAPACITY, shuffle: None, dictionary: Dictionary::GENERATION }
    }
}

/// When partitions that had nothing are asked again. To ask a followed file is to ask the system, so that thousands of
/// silent ones must not be asked whenever a busy one has been read.
pub(super) struct Asking {
    /// How long to wait before asking again, if the reader does not wake the worker.
    patience: Option<Duration>,
    /// How long to wait at most, so that silence is noticed.
    look: Option<Duration>,
    last: Option<Instant>,
}

impl Asking {
    pub(super) fn new(patience: Option<Duration>, idle: Option<Duration>) -> Self {
        let look = idle.map(|idle| idle / 4);
        Self {
            patience: patience.map(|patience| look.map_or(patience, |look| look.min(patience))),
            look,
            last: None,
        }
    }

    /// Whether it is time; if so, the next time is counted from now.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        let due = match (self.last, self.patience) {
            (Some(last), Some(patience)) => now.saturating_duration_since(last) >= patience,
            _ => true,
        };
        if due {
            self.last = Some(now);
        }
        due
    }

    /// How long the operator may sleep, if nobody wakes it.
    pub(super) fn wait(&self, now: Instant) -> Option<Duration> {
        let wait = self.patience.or(self.look)?;
        let passed = self.last.map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        Some(wait.saturating_sub(passed))
    }
}

/// Whose turn it is to be read.
pub(super) struct Turns {
    pace: Pace,
    records: usize,
    random: u64,
}

impl Turns {
    /// At this pace, with records that `peers` workers share: each should get enough at a time.
    pub(super) fn new(pace: Pace, peers: usize) -> Self {
        Self { pace, records: pace.batch * peers.div_ceil(4), random: pace.shuffle.unwrap_or(0) }
    }

    /// How many records are read in a turn.
    pub(super) fn records(&self) -> usize {
        self.records
    }

    /// The feed to read next, of those that may have something and may be read.
    pub(super) fn next(&mut self, feeds: &[Feed], allowance: Allowance) -> Option<usize> {
        let ready = feeds.iter().enumerate().filter(|(_, feed)| feed.may_be_read(allowance));
        if self.pace.shuffle.is_none() {
            return ready.min_by_key(|(_, feed)| feed.watermark()).map(|(at, _)| at);
        }
        // Knuth (1997), The Art of Computer Programming vol. 2, table 3.3.4/1, line 26.
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let random = self.random;
        ready.max_by_key(|(at, _)| xxh3_64(&(random ^ *at as u64).to_le_bytes())).map(|(at, _)| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_wake_the_worker_is_asked_at_intervals_and_the_rest_at_once() {
        let (start, ms) = (Instant::now(), Duration::from_millis);
        let mut woken = Asking::new(None, None);
        assert!(woken.is_due(start) && woken.is_due(start));
        assert_eq!(None, woken.wait(start));
        let mut asked = Asking::new(Some(ms(100)), None);
        let due = [0, 1, 99, 100, 101, 250].map(|at| asked.is_due(start + ms(at)));
        assert_eq!([true, false, false, true, false, true], due);
        assert_eq!(Some(ms(60)), asked.wait(start + ms(290)));
        // Silence must be noticed in time, and only of who was just asked.
        let mut asked = Asking::new(Some(ms(100)), Some(ms(80)));
        assert_eq!([true, false, true], [0, 19, 20].map(|at| asked.is_due(start + ms(at))));
        let mut woken = Asking::new(None, Some(ms(80)));
        assert!(woken.is_due(start) && woken.is_due(start));
        assert_eq!(Some(ms(20)), woken.wait(start));
    }
}
