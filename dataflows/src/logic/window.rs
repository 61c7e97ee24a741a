//! Windows: records into records, one for each window of event time.
//!
//! With `k = size / every`, window `w` covers `[(w + 1 - k) every, (w + 1) every)`, counted from 1970: one window ends
//! at each multiple of `every`. Time is cut into *panes* of length `every`, so that pane `p` belongs to the windows
//! `p` to `p + k - 1`, and a record is added to its pane alone (Li, Maier, Tufte, Papadimos and Tucker 2005, *No pane,
//! no gain*). A tumbling window is one pane.

mod aggregate;
mod builder;
mod state;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use super::Logic;
use crate::params::{Kind, Literal, ParamError, Parameter, Params, Range};
use crate::pipelines::OperatorInfo;
use crate::state::{restore_versioned, save_versioned, StateError};
use crate::{EventTime, Key, Record, Span};

pub use aggregate::Aggregate;
pub use builder::{sliding, tumbling, Windows};
pub use state::WindowState;

/// Changes whenever a state of an earlier build would be read wrongly, or would give another result.
const VERSION: u32 = 2;
/// How many windows may lie over one instant: what a record costs when they close, and the panes that a key may keep.
const MOST_PANES: i64 = 100_000;
/// How many empty windows in a row become something, unless said otherwise.
const FILL: u32 = 10_000;

/// What an empty window between or after windows with records becomes. Before the first record there are no windows,
/// nor are there in a silence once [`Window::fill`] empty ones were filled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gap {
    /// Nothing.
    #[default]
    Skip,
    /// A record with 0 in each field.
    Zero,
    /// A record with the values of the window before.
    Hold,
    /// A record whose fields are all missing (NaN): a detector gives it no score, and [`Silence`](super::Silence) does
    /// not count it as a record.
    Alert,
}

/// Replaces the records of each window by one record: an aggregate for each value field, in the same order.
///
/// It is timed at the window's last instant, `end - 1 µs`, and emitted when every record up to there has been seen.
/// Missing values (NaN) are left out; a field without any present value is missing too, but its count and rate are 0.
/// A sum, or the sum for a mean, that is beyond what a number can hold makes the field missing.
/// The number of fields is that of the key's first record.
///
/// A record costs O(1); a closing window costs O(1) per field and pane that holds a record, a quantile O(n log n).
/// State is one number and one count per field and pane that holds a record, or all values of the window for a
/// quantile. With a policy other than [`Gap::Skip`] a key that was seen emits a record for each empty window too, but for
/// no more than [`Window::fill`] in a row: then it is silent until its next record, whose window is again its first.
/// So a jump in time costs a bounded number of windows. At the end of all input only windows that hold a record are
/// emitted.
///
/// # Examples
///
/// ```
/// use tidewatch_dataflows::logic::window::{self, Gap};
///
/// let means = window::tumbling("1m").mean();
/// let p99 = window::sliding("5m", "1m").quantile(0.99).on_gap(Gap::Alert);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Length of a pane in microseconds, above 0.
    every: i64,
    /// Panes per window, above 0.
    panes: i64,
    aggregate: Aggregate,
    gap: Gap,
    /// How many empty windows in a row the gap policy applies to.
    fill: u32,
}

impl Window {
    /// How a pipeline file spells a window.
    pub const PARAMETERS: [Parameter; 6] = [
        Parameter::required("every", Kind::Span, "the time from one window's end to the next one's"),
        Parameter::optional(
            "size",
            Kind::Span,
            "the length of a window, a multiple of \"every\" and by default equal",
        ),
        Parameter::with_default(
            "aggregate",
            Kind::Choice(&["mean", "sum", "min", "max", "last", "count", "rate", "quantile"]),
            Literal::Text("mean"),
            "what a window's values become",
        ),
        Self::QUANTILE,
        Parameter::with_default(
            "missing",
            Kind::Choice(&["skip", "zero", "hold", "alert"]),
            Literal::Text("skip"),
            "what an empty window becomes",
        ),
        Parameter::with_default(
            "fill",
            Kind::Integer(1, 1_000_000),
            Literal::Integer(FILL as i64),
            "how many empty windows in a row \"missing\" applies to; further ones are skipped",
        ),
    ];
    const QUANTILE: Parameter = Parameter::optional(
        "quantile",
        Kind::Number(Range { from: 0.0, to: 1.0, open: false }),
        "which quantile, if that is the aggregate; 0.5 is the median",
    );

    /// Windows of length `size`, of which one ends at each multiple of `every`.
    ///
    /// # Errors
    ///
    /// [`ParamError`] if `every` is not positive, `size` is not a positive multiple of it or more than 100,000 times as
    /// long, or a quantile is not in `[0, 1]`.
    pub fn new(size: Span, every: Span, aggregate: Aggregate, gap: Gap) -> Result<Self, ParamError> {
        if let Aggregate::Quantile(quantile) = aggregate {
            Self::QUANTILE.number(quantile)?;
        }
        if every <= Span::ZERO {
            return Err(ParamError::Conflict { name: "every", reason: "must be longer than nothing".into() });
        }
        if size <= Span::ZERO || size.micros() % every.micros() != 0 {
            let reason = format!("is {size}, which must be a multiple of \"every\", {every}");
            return Err(ParamError::Conflict { name: "size", reason });
        }
        let panes = size.micros() / every.micros();
        if panes > MOST_PANES {
            let reason = format!("is {size}, which must be at most {MOST_PANES} times \"every\", {every}");
            return Err(ParamError::Conflict { name: "size", reason });
        }
        Ok(Self { every: every.micros(), panes, aggregate, gap, fill: FILL })
    }

    pub(super) fn info() -> OperatorInfo {
        OperatorInfo {
            name: "window",
            parameters: Self::PARAMETERS.to_vec(),
            construct: Arc::new(|params| Ok(Self::from_params(params)?.erased())),
        }
    }

    /// Reads a window as declared in [`Window::PARAMETERS`].
    ///
    /// # Errors
    ///
    /// As [`Window::new`], and if `quantile` is given without being the aggregate, or the other way round.
    pub fn from_params(params: &Params) -> Result<Self, ParamError> {
        let every = params.value("every");
        let gap = match params.value("missing") {
            "zero" => Gap::Zero,
            "hold" => Gap::Hold,
            "alert" => Gap::Alert,
            _ => Gap::Skip,
        };
        let aggregate = match (params.value("aggregate"), params.optional("quantile")) {
            ("quantile", Some(quantile)) => Aggregate::Quantile(quantile),
            ("quantile", None) => {
                return Err(ParamError::Missing { name: "quantile", doc: Self::QUANTILE.doc });
            }
            (aggregate, Some(_)) => {
                let reason = format!("is given, but the aggregate is \"{aggregate}\"");
                return Err(ParamError::Conflict { name: "quantile", reason });
            }
            ("sum", None) => Aggregate::Sum,
            ("min", None) => Aggregate::Min,
            ("max", None) => Aggregate::Max,
            ("last", None) => Aggregate::Last,
            ("count", None) => Aggregate::Count,
            ("rate", None) => Aggregate::Rate,
            _ => Aggregate::Mean,
        };
        let size = params.optional("size").unwrap_or(every);
        Ok(Self::new(size, every, aggregate, gap)?.fill(params.value("fill")))
    }

    /// Sets what an empty window becomes; it is skipped unless said otherwise.
    pub fn on_gap(self, gap: Gap) -> Self {
        Self { gap, ..self }
    }

    /// Sets how many empty windows in a row become something: 10,000 unless said otherwise. The ones after them are
    /// skipped up to the key's next record, as with [`Gap::Skip`].
    pub fn fill(self, windows: u32) -> Self {
        Self { fill: windows, ..self }
    }

    /// The length of a window.
    pub fn size(&self) -> Span {
        Span::from_micros(self.every * self.panes)
    }

    /// The pane in which `time` lies.
    fn pane(&self, time: EventTime) -> i64 {
        time.micros().div_euclid(self.every)
    }

    /// The last instant of window `window`; `None` if its end cannot be represented.
    fn last_instant(&self, window: i64) -> Option<EventTime> {
        let end = window.checked_add(1)?.checked_mul(self.every)?;
        Some(EventTime::from_micros(end - 1))
    }
}

impl Logic for Window {
    type In = Record;
    type Out = Record;
    type State = WindowState;

    fn start(&self, _key: &Key) -> WindowState {
        WindowState::default()
    }

    #[inline]
    fn on_record(
        &self,
        state: &mut WindowState,
        time: EventTime,
        input: &Record,
        _out: &mut impl FnMut(EventTime, Record),
    ) {
        debug_assert!(
            self.deadline(state).is_none_or(|due| due >= time),
            "a window that ended before {time} is closed by its timer"
        );
        self.add(state, self.pane(time), &input.values);
    }

    #[inline]
    fn deadline(&self, state: &WindowState) -> Option<EventTime> {
        self.open(state).and_then(|window| self.last_instant(window))
    }

    /// Closes one window: the next one is due later, so that a long silence is many timers and not one long call.
    fn on_time(&self, state: &mut WindowState, time: EventTime, out: &mut impl FnMut(EventTime, Record)) {
        if self.deadline(state).is_some_and(|due| due <= time) {
            self.close(state, out);
        }
    }

    /// Closes at most as many windows as lie over one instant.
    fn on_end(&self, state: &mut WindowState, _end: EventTime, out: &mut impl FnMut(EventTime, Record)) {
        while state.holds_records() {
            self.close(state, out);
        }
    }

    fn memory(&self, state: &WindowState) -> usize {
        state.memory()
    }

    fn copy(&self, state: &WindowState) -> WindowState {
        state.clone()
    }

    fn save(&self, state: &WindowState, out: &mut Vec<u8>) {
        save_versioned(VERSION, state, out);
    }

    fn restore(&self, bytes: &mut &[u8]) -> Result<WindowState, StateError> {
        restore_versioned("window", VERSION, bytes)
    }
}
