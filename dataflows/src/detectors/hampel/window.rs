//! A window of values of which the median is at hand.

use std::num::TryFromIntError;

use serde::{Deserialize, Serialize, Serializer};

/// The upper quartile of the standard normal distribution: its median absolute deviation.
pub(super) const QUARTILE: f64 = 0.674_489_750_196_081_7;
/// `√(π/2)`: the standard deviation of a normal distribution over its mean absolute deviation.
pub(super) const MEAN_DEVIATION: f64 = 1.253_314_137_315_500_3;

/// Up to how many numbers are all looked at rather than searched: several at a time, they are on their way from memory at once, and
/// no branch is foreseen wrongly.
const FEW: usize = 64;

/// The last values, in order of size.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(try_from = "Saved")]
pub(super) struct Window {
    sorted: Vec<f64>,
    /// The slot of each of them. A window has as many slots as values; those that arrive take one after another, in turn.
    slots: Vec<u16>,
    /// The slot of the value that arrived first.
    oldest: u16,
}

/// What of a [`Window`] is saved, the values as they arrived; the rest follows from it.
#[derive(Serialize, Deserialize)]
struct Saved {
    arrived: Vec<f64>,
}

impl TryFrom<Saved> for Window {
    type Error = TryFromIntError;

    fn try_from(Saved { arrived }: Saved) -> Result<Self, TryFromIntError> {
        let mut slots: Vec<_> = (0..u16::try_from(arrived.len())?).collect();
        let value = |slot: &u16| arrived[usize::from(*slot)];
        slots.sort_unstable_by(|one, other| value(one).total_cmp(&value(other)));
        Ok(Self { sorted: slots.iter().map(value).collect(), slots, oldest: 0 })
    }
}

impl Serialize for Window {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Saved { arrived: self.arrived() }.serialize(serializer)
    }
}

/// The same values arrived in the same order, whatever their slots.
impl PartialEq for Window {
    fn eq(&self, other: &Self) -> bool {
        self.sorted == other.sorted && self.arrived() == other.arrived()
    }
}

impl Window {
    /// How many values there are.
    pub(super) fn len(&self) -> usize {
        self.sorted.len()
    }

    /// The bytes on the heap: by length, not capacity, since a restored window must weigh the same.
    pub(super) fn heap(&self) -> usize {
        self.sorted.len() * (size_of::<f64>() + size_of::<u16>())
    }

    /// The values in the order in which they arrived.
    fn arrived(&self) -> Vec<f64> {
        let mut arrived = vec![0.0; self.sorted.len()];
        for (slot, value) in self.slots.iter().zip(&self.sorted) {
            arrived[usize::from(*slot)] = *value;
        }
        arrived.rotate_left(usize::from(self.oldest));
        arrived
    }

    /// How many values are less than `value`, and where the oldest one is.
    pub(super) fn places(&self, value: f64) -> (usize, usize) {
        let rank = how_many(&self.sorted, &self.sorted, |other, _| other < value);
        let mut parts = self.slots.chunks(FEW).enumerate();
        let oldest = parts.find_map(|(part, slots)| Some(part * FEW + find(slots, self.oldest)?));
        (rank, oldest.unwrap_or(0))
    }

    /// Takes in a value, of which the [places](Self::places) are these, in place of the oldest one if there are `window`
    /// already.
    pub(super) fn learn(&mut self, value: f64, (to, from): (usize, usize), window: usize) {
        // No negative zero: equal values must be the same ones, or which of them leaves would show.
        let value = value + 0.0;
        if self.sorted.len() < window {
            self.slots.insert(to, self.slots.len() as u16);
            return self.sorted.insert(to, value);
        }
        replace(&mut self.sorted, from, to, value);
        replace(&mut self.slots, from, to, self.oldest);
        self.oldest = if usize::from(self.oldest) + 1 < self.slots.len() { self.oldest + 1 } else { 0 };
    }

    /// The median of the values, of which there is at least one.
    pub(super) fn median(&self) -> f64 {
        let (half, odd) = (self.sorted.len() / 2, self.sorted.len() % 2 == 1);
        match odd {
            true => self.sorted[half],
            false => (self.sorted[half - 1] + self.sorted[half]) / 2.0,
        }
    }

    /// The median of the distances of the values from `median`.
    ///
    /// The `near` values nearest to the median follow each other in order of size, and the greatest distance among them
    /// is that of their first or last. They begin where the value that follows them is no nearer than the first; where
    /// the one before them would be nearer, they begin too late: a binary search finds it.
    fn median_deviation(&self, median: f64) -> f64 {
        let sorted = &self.sorted[..];
        let near = sorted.len().div_ceil(2);
        let from = how_many(&sorted[..sorted.len() - near], &sorted[near..], |first, after| {
            median - first > after - median
        });
        let nearest = (median - sorted[from]).max(sorted[from + near - 1] - median);
        if sorted.len() % 2 == 1 {
            return nearest;
        }
        let before = from.checked_sub(1).map_or(f64::INFINITY, |before| median - sorted[before]);
        let after = sorted.get(from + near).map_or(f64::INFINITY, |after| after - median);
        (nearest + before.min(after)) / 2.0
    }

    /// What distances from `median` are measured in; 0 if all values are the same.
    pub(super) fn unit(&self, median: f64) -> f64 {
        let deviation = self.median_deviation(median);
        if deviation > 0.0 {
            return deviation / QUARTILE;
        }
        let sum: f64 = self.sorted.iter().map(|value| (value - median).abs()).sum();
        MEAN_DEVIATION * (sum / self.sorted.len() as f64)
    }
}

/// How many pairs of numbers meet a condition that all meet up to some pair, and none from it on.
#[inline]
fn how_many(one: &[f64], other: &[f64], condition: impl Fn(f64, f64) -> bool) -> usize {
    let (mut from, mut to) = (0, one.len().min(other.len()));
    while to - from > FEW {
        let middle = from.midpoint(to);
        if condition(one[middle], other[middle]) {
            from = middle + 1;
        } else {
            to = middle;
        }
    }
    let pairs = one[from..to].iter().zip(&other[from..to]);
    from + pairs.map(|(one, other)| usize::from(condition(*one, *other))).sum::<usize>()
}

/// Where a slot is among a few; all are looked at.
#[inline]
fn find(slots: &[u16], slot: u16) -> Option<usize> {
    let places = slots.iter().zip(0..slots.len() as u16);
    let found = places.map(|(other, place)| (place + 1) & u16::from(*other == slot).wrapping_neg());
    usize::from(found.fold(0, |one, other| one | other)).checked_sub(1)
}

/// Takes the item at `from` out of a sorted slice and puts another one in where `to` is, before what is there.
fn replace<T: Copy>(items: &mut [T], from: usize, to: usize, item: T) {
    if from < to {
        items.copy_within(from + 1..to, from);
        items[to - 1] = item;
    } else {
        items.copy_within(to..from, to + 1);
        items[to] = item;
    }
}
