//! A window of values as an exponential histogram.

use std::iter::repeat_n;

use serde::{Deserialize, Serialize};

/// Sizes of buckets: 1, 2, 4, …
const ROWS: usize = 32;

/// Sum, and sum of squared distances from the mean, of values that follow each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Bucket {
    pub(super) total: f64,
    pub(super) squares: f64,
}

impl Bucket {
    /// One bucket for two, of `n` and `m` values: Chan, Golub and LeVeque (1979), *Updating formulae and a pairwise
    /// algorithm for computing sample variances*, equation 2.1.
    fn merge(self, n: f64, other: Self, m: f64) -> Self {
        let distance = self.total / n - other.total / m;
        let squares = self.squares + other.squares + n * m / (n + m) * distance * distance;
        Self { total: self.total + other.total, squares }
    }
}

/// The newest values, in buckets that are the larger the older their values are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Window {
    /// The oldest first.
    pub(super) buckets: Vec<Bucket>,
    /// How many buckets of each size there are, the smallest first; the smallest hold the newest values.
    rows: [u8; ROWS],
    /// All buckets as one.
    pub(super) all: Bucket,
    /// The number of values.
    pub(super) width: u64,
}

impl Window {
    /// The buckets, newest first, with the number of values in each.
    pub(super) fn sized(&self) -> impl Iterator<Item = (Bucket, f64)> + '_ {
        let row = |row: usize| repeat_n((1u64 << row) as f64, usize::from(self.rows[row]));
        self.buckets.iter().rev().copied().zip((0..ROWS).flat_map(row))
    }

    /// Adds a value; keeps no more than `max_buckets` of a size.
    #[inline]
    pub(super) fn push(&mut self, value: f64, max_buckets: u8) {
        let newest = Bucket { total: value, squares: 0.0 };
        self.all = if self.width == 0 { newest } else { self.all.merge(self.width as f64, newest, 1.0) };
        self.width += 1;
        self.buckets.push(newest);
        self.rows[0] += 1;
        // The two oldest of a row that has one too many become one, which is then the newest of the next row.
        let (mut row, mut first) = (0, self.buckets.len() - usize::from(self.rows[0]));
        while self.rows[row] > max_buckets {
            if row + 1 == ROWS {
                return self.drop_oldest();
            }
            let size = (1u64 << row) as f64;
            self.buckets[first] = self.buckets[first].merge(size, self.buckets[first + 1], size);
            self.buckets.remove(first + 1);
            self.rows[row] -= 2;
            row += 1;
            self.rows[row] += 1;
            first = first + 1 - usize::from(self.rows[row]);
        }
    }

    /// Drops the oldest bucket. What is left is summed up anew: a difference would keep the rounding errors of what goes.
    pub(super) fn drop_oldest(&mut self) {
        let Some(row) = self.rows.iter().rposition(|buckets| *buckets > 0) else { return };
        self.rows[row] -= 1;
        self.buckets.remove(0);
        let merge = |(all, n): (Bucket, f64), (bucket, m)| match n {
            0.0 => (bucket, m),
            _ => (all.merge(n, bucket, m), n + m),
        };
        let (all, width) = self.sized().fold((Bucket::default(), 0.0), merge);
        (self.all, self.width) = (all, width as u64);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_bucket_sums_up_its_values(
            values in prop::collection::vec(prop_oneof![-10.0..10.0, 1e9..1e10], 1..300),
            max_buckets in 1u8..8, drops in prop::collection::vec(prop::bool::weighted(0.02), 300),
        ) {
            let mut window = Window::default();
            for (at, (value, drop)) in values.iter().zip(drops).enumerate() {
                window.push(*value, max_buckets);
                if drop {
                    window.drop_oldest();
                }
                prop_assert!(window.rows.iter().all(|buckets| *buckets <= max_buckets));
                let (mut end, mut sizes) = (at + 1, Vec::new());
                let all = (window.all, window.width as f64);
                for (bucket, size) in window.sized().chain((window.width > 0).then_some(all)) {
                    // The last of them is the window itself.
                    let whole = sizes.len() == window.buckets.len();
                    let from = if whole { end } else { end - size as usize };
                    let values = if whole { &values[from..=at] } else { &values[from..end] };
                    let mean = values.iter().sum::<f64>() / size;
                    let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
                    prop_assert_eq!(size as usize, values.len());
                    prop_assert!((bucket.total / size - mean).abs() <= 1e-9 * mean.abs().max(1.0));
                    prop_assert!((bucket.squares - squares).abs() <= 1e-9 * squares.max(1.0));
                    if !whole {
                        end = from;
                        sizes.push(size);
                    }
                }
                prop_assert!(sizes.is_sorted(), "{:?}", sizes);
            }
        }
    }

    #[test]
    fn what_was_dropped_leaves_no_rounding_errors() {
        let mut window = Window::default();
        (0..64).for_each(|at| window.push(1e15 + f64::from(at), 5));
        (0..100).for_each(|at| window.push(f64::from(at % 2), 5));
        while window.width > 100 {
            window.drop_oldest();
        }
        let (width, ones) =
            (window.width as f64, (0..window.width).filter(|back| back % 2 == 0).count() as f64);
        assert_eq!(ones, window.all.total);
        assert!((window.all.squares - ones * (width - ones) / width).abs() < 1e-9, "{:?}", window.all);
    }
}
