//! What is usual at an hour of the day, and of the week.

use serde::{Deserialize, Serialize};

use crate::EventTime;

const DAY: usize = 24;
const WEEK: usize = 7 * DAY;
const HOUR_MICROS: i64 = 3_600_000_000;
/// How much of the way to a new value a mean moves.
const ALPHA: f64 = 0.1;

/// The mean of each hour of the week, and of each hour of the day; no number before its first value.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Slots(Vec<f64>);

impl Slots {
    /// The nearer of a value's two means, if both have had a value before; learns it.
    pub(super) fn expect(&mut self, time: EventTime, value: f64) -> Option<f64> {
        self.0.resize(WEEK + DAY, f64::NAN);
        let hours = time.micros().div_euclid(HOUR_MICROS);
        let of_week = hours.rem_euclid(WEEK as i64) as usize;
        let of_day = WEEK + hours.rem_euclid(DAY as i64) as usize;
        let [week, day] = [of_week, of_day].map(|slot| {
            let mean = self.0[slot];
            self.0[slot] = if mean.is_nan() { value } else { mean + ALPHA * (value - mean) };
            mean
        });
        match (week.is_nan(), (value - day).abs() < (value - week).abs()) {
            (true, _) => None,
            (false, true) => Some(day),
            (false, false) => Some(week),
        }
    }

    /// The bytes on the heap.
    pub(super) fn heap(&self) -> usize {
        self.0.len() * size_of::<f64>()
    }
}

/// Bit for bit: what has no number yet is equal to itself.
impl PartialEq for Slots {
    fn eq(&self, other: &Self) -> bool {
        let bits = |slots: &Self| slots.0.iter().map(|mean| mean.to_bits()).collect::<Vec<_>>();
        bits(self) == bits(other)
    }
}
