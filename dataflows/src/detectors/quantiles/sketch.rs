//! Quantiles of many values, from counts of them in buckets that are as wide as the values are large.

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
        Self { log_gamma, smallest, below, middle: 2.0 / (2.0 + excess) }
    }

    #[inline]
    pub(super) fn bucket(&self, value: f64) -> i32 {
        let magnitude = value.abs();
        if magnitude <= self.smallest {
            return 0;
        }
        let bucket = (libm::log(magnitude) / self.log_gamma).ceil() as i32 - self.below;
        if value < 0.0 {
            -bucket
        } else {
            bucket
        }
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

/// A number of each value that was added, by bucket, with three quantiles at hand.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Sketch {
    /// The buckets that are not empty, in order.
    buckets: Vec<i32>,
    counts: Vec<u32>,
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
        self.buckets.len() * (size_of::<i32>() + size_of::<u32>())
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
        let negative = self.buckets.partition_point(|other| *other < 0);
        let positive = self.buckets.partition_point(|other| *other <= 0);
        // A new bucket that would become one with its neighbour at once is not made.
        if bucket < 0 && negative >= limit && at == negative {
            return self.count(negative - 1);
        }
        if bucket > 0 && self.buckets.len() - positive >= limit && at == positive {
            return self.count(positive);
        }
        self.buckets.insert(at, bucket);
        self.counts.insert(at, 1);
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
            Ok(guess) if self.buckets.get(guess) == Some(&bucket) => Ok(guess),
            _ => self.buckets.binary_search(&bucket),
        }
    }

    fn count(&mut self, at: usize) {
        self.counts[at] += 1;
        for mark in &mut self.marks {
            mark.before += u32::from(at < mark.position as usize);
        }
    }

    fn unite(&mut self, from: usize, into: usize) {
        self.counts[into] += self.counts[from];
        self.buckets.remove(from);
        self.counts.remove(from);
        self.restart();
    }

    /// Halves all counts, such that the number of values up to any bucket halves too.
    pub(super) fn halve(&mut self) {
        let mut odd = 0;
        for count in &mut self.counts {
            let sum = *count + odd;
            (*count, odd) = (sum / 2, sum % 2);
        }
        self.total /= 2;
        let mut counts = self.counts.iter();
        self.buckets.retain(|_| counts.next().is_some_and(|count| *count > 0));
        self.counts.retain(|count| *count > 0);
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
                mark.before -= self.counts[mark.position as usize];
            }
            while mark.before + self.counts[mark.position as usize] <= before {
                mark.before += self.counts[mark.position as usize];
                mark.position += 1;
            }
            let bucket = self.buckets[mark.position as usize];
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
        assert_eq!((vec![-3, 0, 5, 6], vec![1, 1, 2, 1], 5), (sketch.buckets, sketch.counts, sketch.total));
    }
}
