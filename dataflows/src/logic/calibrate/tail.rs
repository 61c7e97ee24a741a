//! Counts of scores, and the tail that follows from them.

use serde::{Deserialize, Serialize};

/// How many scores fell into which bucket. Buckets are sixteenths of an octave: all scores whose bits begin alike.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Counts {
    /// Numbers of buckets in ascending order, each with a count above 0; at most [`BUCKETS`].
    buckets: Vec<(u16, u32)>,
    total: u32,
}

/// Past it, the two lowest buckets become one.
const BUCKETS: usize = 64;
/// The exponent and four bits of the fraction are left.
const SHIFT: u32 = f64::MANTISSA_DIGITS - 1 - 4;

/// All higher scores count as this one, so that no distance between two of them overflows.
const HIGHEST: f64 = 1e100;

/// The bucket of a score, which is at least 0.
fn bucket(score: f64) -> u16 {
    // Minus zero is no less than zero.
    (score.abs().min(HIGHEST).to_bits() >> SHIFT) as u16
}

/// The lower end of a bucket.
fn lower(bucket: u16) -> f64 {
    f64::from_bits(u64::from(bucket) << SHIFT)
}

/// The upper end of a bucket.
fn upper(bucket: u16) -> f64 {
    lower(bucket + 1)
}

impl Counts {
    pub(super) fn total(&self) -> u32 {
        self.total
    }

    /// The bytes on the heap.
    pub(super) fn heap(&self) -> usize {
        self.buckets.len() * size_of::<(u16, u32)>()
    }

    pub(super) fn add(&mut self, score: f64) {
        self.total += 1;
        let bucket = bucket(score);
        let at = self.buckets.partition_point(|(other, _)| *other < bucket);
        match self.buckets.get_mut(at) {
            Some((found, count)) if *found == bucket => *count += 1,
            _ => self.buckets.insert(at, (bucket, 1)),
        }
        if self.buckets.len() > BUCKETS {
            let (_, lowest) = self.buckets.remove(0);
            self.buckets[0].1 += lowest;
        }
    }

    /// How many scores were in the bucket of this one, or above.
    pub(super) fn at_least(&self, score: f64) -> u32 {
        let bucket = bucket(score);
        // All are looked at: they are on their way from memory at once, and `add` is next; where to stop would not be foreseen.
        self.buckets.iter().map(|(other, count)| if *other >= bucket { *count } else { 0 }).sum()
    }

    /// Halves all counts, such that the number of scores from any bucket on halves too.
    pub(super) fn halve(&mut self) {
        let mut odd = 0;
        for (_, count) in self.buckets.iter_mut().rev() {
            let sum = *count + odd;
            (*count, odd) = (sum / 2, sum % 2);
        }
        self.buckets.retain(|(_, count)| *count > 0);
        self.total /= 2;
    }

    /// The score of which `count` scores lie below, among those of the buckets from `first` on; within a bucket they are
    /// spread evenly.
    fn quantile(&self, first: usize, count: f64) -> f64 {
        let mut left = count;
        for (bucket, within) in &self.buckets[first..] {
            let within = f64::from(*within);
            if left <= within {
                let (lower, upper) = (lower(*bucket), upper(*bucket));
                return lower + (upper - lower) * left / within;
            }
            left -= within;
        }
        f64::MAX
    }
}

/// What is to be expected beyond a score that few exceed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Tail {
    /// Where it begins; infinite if nothing is known of it.
    from: f64,
    /// How many scores are in it.
    number: u32,
    scale: f64,
    /// At least 0, so that the tail has no end; 0 is an exponential distribution.
    shape: f64,
}

impl Default for Tail {
    fn default() -> Self {
        Self { from: f64::INFINITY, number: 0, scale: 1.0, shape: 0.0 }
    }
}

/// Which share of scores may be in the tail.
const SHARE: f64 = 0.05;
/// How many scores say something of it.
const ENOUGH: u32 = 8;

impl Tail {
    /// That of the scores so far.
    ///
    /// With the median `m` and the upper quartile `q` of what exceeds the begin of the tail, the shape is
    /// `ξ = ln((q - m) / m) / ln 2` and the scale `ξ m / (2^ξ - 1)` (Pickands 1975, *Statistical inference using extreme order
    /// statistics*, section 3), the shape within `[0, 1]`: a tail is never taken for lighter than an exponential one.
    pub(super) fn of(counts: &Counts) -> Self {
        let most = (SHARE * f64::from(counts.total)) as u32;
        let (mut number, mut first) = (0, counts.buckets.len());
        while let Some((_, count)) = first.checked_sub(1).map(|before| counts.buckets[before]) {
            if number + count > most {
                break;
            }
            (number, first) = (number + count, first - 1);
        }
        if number < ENOUGH || first == 0 {
            return Self::default();
        }
        let from = upper(counts.buckets[first - 1].0);
        let excess = |share: f64| counts.quantile(first, share * f64::from(number)) - from;
        let (median, quartile) = (excess(0.5), excess(0.75));
        // Both are above 0, unless scores are so near to 0 that nothing lies between them.
        if median.min(quartile - median) <= 0.0 {
            return Self::default();
        }
        let shape = (libm::log((quartile - median) / median) / std::f64::consts::LN_2).clamp(0.0, 1.0);
        let scale = match shape {
            0.0 => median / std::f64::consts::LN_2,
            shape => shape * median / (libm::exp2(shape) - 1.0),
        };
        Self { from, number, scale, shape }
    }

    /// The probability of a score that is at least this one, among `total` scores; `None` before the tail.
    pub(super) fn probability(&self, score: f64, total: u32) -> Option<f64> {
        let excess = score.min(HIGHEST) - self.from;
        (excess >= 0.0).then(|| {
            let survivors = match self.shape {
                0.0 => libm::exp(-excess / self.scale),
                shape => libm::pow(1.0 + shape * excess / self.scale, -1.0 / shape),
            };
            f64::from(self.number) / f64::from(total + 1) * survivors
        })
    }
}
