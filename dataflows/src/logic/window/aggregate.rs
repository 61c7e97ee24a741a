//! What a window's values become.

use serde::{Deserialize, Serialize};

/// What the present values of one field in a window become.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Aggregate {
    /// Their mean: the sum over the number.
    Mean,
    /// Their sum, added in order within a pane, then pane by pane.
    Sum,
    /// The least.
    Min,
    /// The greatest.
    Max,
    /// The last in order of time, partition and offset.
    Last,
    /// How many there are.
    Count,
    /// How many there are per second of the window's length.
    Rate,
    /// The quantile in `[0, 1]`, exactly: linear between the two nearest ranks (Hyndman and Fan 1996, *Sample quantiles
    /// in statistical packages*, definition 7). It keeps all values of the window, 8 bytes each.
    Quantile(f64),
}

/// What a pane remembers of one field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Cell {
    /// How many values there are, and their sum, least, greatest or last.
    Summary { count: u64, value: f64 },
    /// The values themselves, in order of arrival.
    Values(Vec<f64>),
}

impl Cell {
    pub(super) fn new(aggregate: Aggregate) -> Self {
        match aggregate {
            Aggregate::Quantile(_) => Self::Values(Vec::new()),
            _ => Self::Summary { count: 0, value: 0.0 },
        }
    }

    /// Empties the cell, but keeps its memory for the next pane.
    pub(super) fn clear(&mut self) {
        match self {
            Self::Summary { count, value } => (*count, *value) = (0, 0.0),
            Self::Values(values) => values.clear(),
        }
    }

    /// Adds a value, unless it is missing.
    #[inline]
    pub(super) fn add(&mut self, aggregate: Aggregate, added: f64) {
        if added.is_nan() {
            return;
        }
        match self {
            Self::Summary { count, value } => {
                (*count, *value) = combine(aggregate, (*count, *value), (1, added))
            }
            Self::Values(values) => values.push(added),
        }
    }

    /// Bytes on the heap, by length, not capacity: a restored state must weigh the same.
    pub(super) fn heap(&self) -> usize {
        match self {
            Self::Summary { .. } => 0,
            Self::Values(values) => values.len() * size_of::<f64>(),
        }
    }
}

impl Aggregate {
    /// The result over the panes of a window, in order; `seconds` is the window's length. It is missing (NaN) if it is
    /// beyond what a number can hold, as the sum of two values of 1e308.
    pub(super) fn over<'a>(self, panes: impl Iterator<Item = &'a Cell>, seconds: f64) -> f64 {
        let (mut summary, mut all) = ((0, 0.0), Vec::new());
        for pane in panes {
            match pane {
                Cell::Summary { count, value } => summary = combine(self, summary, (*count, *value)),
                Cell::Values(values) => all.extend_from_slice(values),
            }
        }
        let (count, value) = summary;
        let result = match self {
            Self::Quantile(at) => quantile(&mut all, at),
            Self::Count => count as f64,
            Self::Rate => count as f64 / seconds,
            _ if count == 0 => f64::NAN,
            Self::Mean => value / count as f64,
            Self::Sum | Self::Min | Self::Max | Self::Last => value,
        };
        if result.is_finite() {
            result
        } else {
            f64::NAN
        }
    }
}

/// Combines the count and value of an earlier and a later part.
#[inline]
fn combine(aggregate: Aggregate, earlier: (u64, f64), later: (u64, f64)) -> (u64, f64) {
    if earlier.0 == 0 || later.0 == 0 {
        return if later.0 == 0 { earlier } else { later };
    }
    let value = match aggregate {
        Aggregate::Mean | Aggregate::Sum => earlier.1 + later.1,
        Aggregate::Min => earlier.1.min(later.1),
        Aggregate::Max => earlier.1.max(later.1),
        Aggregate::Last => later.1,
        Aggregate::Count | Aggregate::Rate | Aggregate::Quantile(_) => 0.0,
    };
    (earlier.0 + later.0, value)
}

/// The quantile `at` of `values`, which it sorts; NaN if there are none.
fn quantile(values: &mut [f64], at: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let Some(last) = values.len().checked_sub(1) else { return f64::NAN };
    let rank = last as f64 * at;
    let below = rank.floor() as usize;
    match rank - rank.floor() {
        0.0 => values[below],
        fraction => values[below] + fraction * (values[below + 1] - values[below]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_beyond_what_a_number_can_hold_is_missing() {
        use Aggregate::{Count, Max, Mean, Quantile, Sum};
        for (aggregate, expected) in
            [(Sum, f64::NAN), (Mean, f64::NAN), (Max, 1e308), (Count, 2.0), (Quantile(0.5), 1e308)]
        {
            let mut pane = Cell::new(aggregate);
            for value in [1e308, 1e308] {
                pane.add(aggregate, value);
            }
            for panes in [vec![&pane], vec![&pane, &pane]] {
                let expected = if panes.len() > 1 && expected == 2.0 { 4.0 } else { expected };
                let found = aggregate.over(panes.into_iter(), 1.0);
                assert!(found.to_bits() == expected.to_bits(), "{aggregate:?}: {expected} but {found}");
            }
        }
    }

    #[test]
    fn a_quantile_is_linear_between_the_nearest_ranks() {
        // numpy.quantile([15, 20, 35, 40, 50], ...), whose default is definition 7.
        for (at, expected) in [(0.0, 15.0), (0.05, 16.0), (0.4, 29.0), (0.5, 35.0), (0.9, 46.0), (1.0, 50.0)]
        {
            let found = quantile(&mut [35.0, 20.0, 15.0, 50.0, 40.0], at);
            assert!((expected - found).abs() < 1e-12, "{at}: {expected} but {found}");
        }
        assert_eq!(7.0, quantile(&mut [7.0], 0.3));
        assert!(quantile(&mut [], 0.5).is_nan());
    }
}
