//! Windows spelled in code: `window::sliding("5m", "1m").max()`.

use super::{Aggregate, Gap, Window};
use crate::Span;

/// How windows lie in time; an aggregate makes it a [`Window`].
#[derive(Clone, Copy, Debug)]
pub struct Windows {
    size: Span,
    every: Span,
}

/// Windows of length `every`, one after another, aligned to multiples of it since 1970.
///
/// # Panics
///
/// Panics if `every` is not positive. Use [`Window::new`] for a span from outside.
pub fn tumbling(every: impl Into<Span>) -> Windows {
    let every = every.into();
    sliding(every, every)
}

/// Windows of length `size`, of which one ends at each multiple of `every` since 1970.
///
/// # Panics
///
/// Panics if `every` is not positive, or `size` is not a positive multiple of it or more than 100,000 times as long. Use
/// [`Window::new`] for spans from outside.
pub fn sliding(size: impl Into<Span>, every: impl Into<Span>) -> Windows {
    let windows = Windows { size: size.into(), every: every.into() };
    windows.aggregate(Aggregate::Count);
    windows
}

impl Windows {
    /// Keeps `aggregate` of each window.
    ///
    /// # Panics
    ///
    /// Panics if a quantile is not in `[0, 1]`. Use [`Window::new`] for a number from outside.
    pub fn aggregate(self, aggregate: Aggregate) -> Window {
        match Window::new(self.size, self.every, aggregate, Gap::Skip) {
            Ok(window) => window,
            Err(error) => panic!("{error}"),
        }
    }

    /// Keeps the mean of each window.
    pub fn mean(self) -> Window {
        self.aggregate(Aggregate::Mean)
    }

    /// Keeps the sum of each window.
    pub fn sum(self) -> Window {
        self.aggregate(Aggregate::Sum)
    }

    /// Keeps the least value of each window.
    pub fn min(self) -> Window {
        self.aggregate(Aggregate::Min)
    }

    /// Keeps the greatest value of each window.
    pub fn max(self) -> Window {
        self.aggregate(Aggregate::Max)
    }

    /// Keeps the last value of each window.
    pub fn last(self) -> Window {
        self.aggregate(Aggregate::Last)
    }

    /// Keeps the number of values of each window.
    pub fn count(self) -> Window {
        self.aggregate(Aggregate::Count)
    }

    /// Keeps the number of values per second of each window.
    pub fn rate(self) -> Window {
        self.aggregate(Aggregate::Rate)
    }

    /// Keeps a quantile of each window, in `[0, 1]`, and all values of the window until then.
    ///
    /// # Panics
    ///
    /// Panics if `quantile` is not in `[0, 1]`.
    pub fn quantile(self, quantile: f64) -> Window {
        self.aggregate(Aggregate::Quantile(quantile))
    }
}
