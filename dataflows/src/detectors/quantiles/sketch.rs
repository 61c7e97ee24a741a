//! Quantiles of many values, from counts of them in buckets that are as wide as the values are large.

use std::f64::consts::LN_2;
use std::hint::black_box;

use serde::{Deserialize, Serialize};

/// The bucket of each value: those of sign and magnitude in `(γ^(k-1), γ^k]`, with `γ = (1 + accuracy) / (1 - accuracy)`.
///
/// Buckets are numbered in the order of their values: the one around 0 is 0, negative values have negative numbers. Each
/// magnitude in a bucket is within `accuracy` times itself of `2γ^k / (γ + 1)` (Masson, Rim and Lee 2019, section 2).
#[derive(Clone, Copy, Debug)]
pub(super) struct Mapping {
    log_gamma: f64,
    /// Magnitudes up to it count as 0.
    smallest: f64,
    /// `1 / log_gamma`.
    per_log: f64,
    /// The `k` of bucket 0, if it had one.
    below: i32,
    /// `2 / (γ + 1)`.
    middle: f64,
}

impl Mapping {
    pub(super) fn new(accuracy: f64) -> Self {
        let excess = 2.0 * accuracy / (1.0 - accuracy);
        let log_gamma = libm::log1p(excess);
        let smallest = f64::MIN_POSITIVE * (1.0 + excess);
        let below = (libm::log(smallest) / log_gamma).ceil() as i32 - 1;
        Self { log_gamma, smallest, per_log: 1.0 / log_gamma, below, middle: 2.0 / (2.0 + excess) }
    }

    #[inline]
    pub(super) fn bucket(&self, value: f64) -> i32 {
        let magnitude = value.abs();
        if magnitude <= self.smallest {
            return 0;
        }
        let place = nearly_log(magnitude) * self.per_log - f64::from(self.below);
        let whole = place as i32;
        let beyond = place - f64::from(whole);
        let bucket = match DOUBT < beyond && beyond < 1.0 - DOUBT {
            true => whole + 1,
            false => self.exactly(magnitude),
        };
        if value < 0.0 {
            -bucket
        } else {
            bucket
        }
    }

    /// The bucket of a magnitude above the smallest.
    #[cold]
    fn exactly(&self, magnitude: f64) -> i32 {
        (libm::log(magnitude) / self.log_gamma).ceil() as i32 - self.below
    }

    /// The lower end of a bucket.
    pub(super) fn lower(&self, bucket: i32) -> f64 {
        0.0 - self.upper(-bucket)
    }

    /// The value that stands for all of a bucket.
    pub(super) fn middle(&self, bucket: i32) -> f64 {
        match bucket {
            0 => 0.0,
            1.. => self.power(bucket) * self.middle,
            _ => -self.power(-bucket) * self.middle,
        }
    }

    /// The upper end of a bucket.
    pub(super) fn upper(&self, bucket: i32) -> f64 {
        match bucket {
            0 => 0.0,
            1.. => self.power(bucket),
            _ => -self.power(-bucket - 1),
        }
    }

    fn power(&self, bucket: i32) -> f64 {
        libm::exp(f64::from(bucket + self.below) * self.log_gamma)
    }
}

/// How near an end of its bucket, as a part of the bucket, a value is not left to [`nearly_log`], which is off by up to a part in a
/// million of the narrowest one.
const DOUBT: f64 = 1e-4;
/// Into how many pieces of the same length `[1, 2)` is cut.
const PIECES: usize = 32;
/// Of the middle of each piece, the inverse and the logarithm.
static MIDDLES: [(f64, f64); PIECES] = {
    let (mut middles, mut piece) = ([(0.0, 0.0); PIECES], 0);
    while piece < PIECES {
        let middle = 1.0 + (piece as f64 + 0.5) / PIECES as f64;
        middles[piece] = (1.0 / middle, log_of_piece(middle));
        piece += 1;
    }
    middles
};

/// The logarithm of a number in `[1, 2)`: `2 artanh ((x - 1) / (x + 1))`, by its series.
const fn log_of_piece(number: f64) -> f64 {
    let root = (number - 1.0) / (number + 1.0);
    let (mut power, mut sum, mut odd) = (root, 0.0, 1);
    while odd < 41 {
        sum += 2.0 * power / odd as f64;
        power *= root * root;
        odd += 2;
    }
    sum
}

/// The logarithm of a positive normal number, but for up to `2e-10`: without a division, unlike the exact one.
///
/// With `m` the middle of the piece in which the significand `s` is, `ln s = ln m + ln (1 + r)` where `r = s / m - 1`, of which at
/// `|r| ≤ 1/64` four terms are enough.
#[inline]
fn nearly_log(number: f64) -> f64 {
    const FRACTION: u32 = f64::MANTISSA_DIGITS - 1;
    let bits = number.to_bits();
    let exponent = (bits >> FRACTION) as i32 - (f64::MAX_EXP - 1);
    let significand = f64::from_bits(bits & ((1 << FRACTION) - 1) | 1.0f64.to_bits());
    let (inverse, log) = MIDDLES[(bits >> (FRACTION - PIECES.ilog2())) as usize % PIECES];
    let r = significand * inverse - 1.0;
    let beyond = r - r * r * (0.5 - r * (1.0 / 3.0 - r * 0.25));
    f64::from(exponent) * LN_2 + (log + beyond)
}

/// A number of each value that was added, by bucket, with three quantiles at hand.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Sketch {
    /// The buckets that are not empty, in order, and how many values are in each.
    buckets: Vec<(i32, u32)>,
    total: u32,
    marks: [Mark; 3],
}

/// A quantile. It moves by few buckets at a time, so it is not searched for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// The bucket that holds it.
    pub(super) bucket: i32,
    /// What is said of that bucket.
    pub(super) value: f64,
    /// Where that bucket is in the sketch, and how many values are before it.
    position: u32,
    before: u32,
}

impl Sketch {
    pub(super) fn total(&self) -> u32 {
        self.total
    }

    pub(super) fn marks(&self) -> &[Mark; 3] {
        &self.marks
    }

    /// The bytes on the heap.
    pub(super) fn heap(&self) -> usize {
        self.buckets.len() * size_of::<(i32, u32)>()
    }

    /// Has the buckets around the marks fetched from memory, while what follows does not hang on them.
    #[inline]
    pub(super) fn fetch(&self) {
        black_box(self.marks.map(|mark| self.buckets.get(mark.position as usize).copied()));
    }

    /// Counts a value of this bucket.
    ///
    /// Of either sign at most `limit` buckets are kept: past it, the two with the least magnitudes become one (Masson, Rim
    /// and Lee 2019, section 2).
    pub(super) fn add(&mut self, bucket: i32, limit: usize) {
        self.total += 1;
        let at = match self.find(bucket) {
            Ok(at) => return self.count(at),
            Err(at) => at,
        };
        let negative = self.buckets.partition_point(|(other, _)| *other < 0);
        let positive = self.buckets.partition_point(|(other, _)| *other <= 0);
        // A new bucket that would become one with its neighbour at once is not made.
        if bucket < 0 && negative >= limit && at == negative {
            return self.count(negative - 1);
        }
        if bucket > 0 && self.buckets.len() - positive >= limit && at == positive {
            return self.count(positive);
        }
        self.buckets.insert(at, (bucket, 1));
        for mark in &mut self.marks {
            let shifted = u32::from(at <= mark.position as usize);
            (mark.position, mark.before) = (mark.position + shifted, mark.before + shifted);
        }
        if bucket < 0 && negative >= limit {
            self.unite(negative, negative - 1);
        } else if bucket > 0 && self.buckets.len() - positive > limit {
            self.unite(positive, positive + 1);
        }
    }

    /// Where a bucket is, or else where it would be.
    fn find(&self, bucket: i32) -> Result<usize, usize> {
        // Around the median there is hardly an empty bucket.
        let [_, median, _] = &self.marks;
        let guess = i64::from(median.position) + i64::from(bucket) - i64::from(median.bucket);
        match usize::try_from(guess) {
            Ok(guess) if self.buckets.get(guess).is_some_and(|(other, _)| *other == bucket) => Ok(guess),
            _ => self.buckets.binary_search_by_key(&bucket, |(other, _)| *other),
        }
    }

    fn count(&mut self, at: usize) {
        self.buckets[at].1 += 1;
        for mark in &mut self.marks {
            mark.before += u32::from(at < mark.position as usize);
        }
    }

    fn unite(&mut self, from: usize, into: usize) {
        self.buckets[into].1 += self.buckets[from].1;
        self.buckets.remove(from);
        self.restart();
    }

    /// Halves all counts, such that the number of values up to any bucket halves too.
    pub(super) fn halve(&mut self) {
        let mut odd = 0;
        for (_, count) in &mut self.buckets {
            let sum = *count + odd;
            (*count, odd) = (sum / 2, sum % 2);
        }
        self.total /= 2;
        self.buckets.retain(|(_, count)| *count > 0);
        self.restart();
    }

    /// Lets quantiles be searched for from the first bucket on.
    fn restart(&mut self) {
        for mark in &mut self.marks {
            (mark.position, mark.before) = (0, 0);
        }
    }

    /// Moves the marks to quantiles: to the buckets of the values that have `⌊q (total - 1)⌋` values before them.
    pub(super) fn settle(&mut self, quantiles: &[f64; 3], values: [impl Fn(i32) -> f64; 3]) {
        let last = f64::from(self.total - 1);
        for ((mark, quantile), value) in self.marks.iter_mut().zip(quantiles).zip(values) {
            let before = (quantile * last) as u32;
            while mark.before > before {
                mark.position -= 1;
                mark.before -= self.buckets[mark.position as usize].1;
            }
            while mark.before + self.buckets[mark.position as usize].1 <= before {
                mark.before += self.buckets[mark.position as usize].1;
                mark.position += 1;
            }
            let (bucket, _) = self.buckets[mark.position as usize];
            if bucket != mark.bucket {
                (mark.bucket, mark.value) = (bucket, value(bucket));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_value_is_within_its_bucket_and_near_its_middle(
            accuracy in 1e-4..0.25, sign in prop::sample::select(vec![1.0, -1.0]), exponent in -690.0..345.0,
        ) {
            let (mapping, value) = (Mapping::new(accuracy), sign * libm::exp(exponent));
            let bucket = mapping.bucket(value);
            let (lower, middle, upper) = (mapping.lower(bucket), mapping.middle(bucket), mapping.upper(bucket));
            // The logarithms of the ends have up to 15 digits before they are raised again.
            let error = value.abs() * 1e-11;
            prop_assert!(lower - error <= value && value <= upper + error, "{} in [{}, {}]", value, lower, upper);
            prop_assert!((value - middle).abs() <= accuracy * value.abs() + error, "{} near {}", value, middle);
            prop_assert_eq!(upper, mapping.lower(bucket + 1));
        }

        #[test]
        fn a_value_is_in_the_bucket_that_the_exact_logarithm_says(
            accuracy in 1e-4..0.25, exponent in -690.0..345.0, ulps in -4i64..=4,
        ) {
            let mapping = Mapping::new(accuracy);
            let value = libm::exp(exponent);
            let end = mapping.upper(mapping.bucket(value));
            let near = f64::from_bits(end.to_bits().wrapping_add_signed(ulps));
            for value in [value, near] {
                prop_assert_eq!(mapping.exactly(value), mapping.bucket(value), "{:e}", value);
                prop_assert_eq!(-mapping.exactly(value), mapping.bucket(-value), "{:e}", -value);
                prop_assert!((libm::log(value) - nearly_log(value)).abs() <= 2e-10, "{:e}", value);
            }
        }
    }

    #[test]
    fn the_smallest_values_are_in_order() {
        let mapping = Mapping::new(0.01);
        assert_eq!([0, 0, 0], [0.0, f64::MIN_POSITIVE, -1e-310].map(|value| mapping.bucket(value)));
        let (smallest, next) = (mapping.bucket(2.3e-308), mapping.bucket(3e-308));
        assert!(0 < smallest && smallest < next, "{smallest} {next}");
        assert_eq!((0.0, 0.0, 0.0), (mapping.lower(0), mapping.middle(0), mapping.upper(0)));
    }

    #[test]
    fn halving_halves_the_numbers_of_values_up_to_each_bucket() {
        let mut sketch = Sketch::default();
        for (bucket, count) in [(-3, 3), (0, 1), (2, 1), (5, 4), (6, 1)] {
            (0..count).for_each(|_| sketch.add(bucket, 10));
        }
        sketch.halve();
        assert_eq!((vec![(-3, 1), (0, 1), (5, 2), (6, 1)], 5), (sketch.buckets, sketch.total));
    }
}
