//! What a window remembers, and how windows close.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::aggregate::Cell;
use super::{Gap, Window};
use crate::{EventTime, Record, Span};

/// What [`Window`] remembers of one key: the pane in progress, and for sliding windows the panes before.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WindowState {
    /// The pane in progress, which is also the window that closes next.
    pane: i64,
    progress: Progress,
    /// How many empty windows in a row became something.
    filled: u32,
    /// One cell for each value field.
    cells: Box<[Cell]>,
    /// Boxed, so that a tumbling window pays 8 bytes for what it lacks.
    past: Option<Box<Past>>,
}

/// How far a key has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Progress {
    /// It has had no record.
    #[default]
    New,
    /// The pane in progress has had none.
    Empty,
    /// The pane in progress has had one.
    Filled,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Past {
    /// The earlier panes that hold a record and belong to the window that closes next, in order.
    panes: VecDeque<(i64, Box<[Cell]>)>,
    /// What the last window emitted, for [`Gap::Hold`].
    held: Vec<f64>,
}

impl WindowState {
    /// Whether the window that closes next holds a record; it then covers every pane that does.
    pub(super) fn holds_records(&self) -> bool {
        self.progress == Progress::Filled || self.past.as_ref().is_some_and(|past| !past.panes.is_empty())
    }

    pub(super) fn memory(&self) -> usize {
        let cells = |cells: &[Cell]| size_of_val(cells) + cells.iter().map(Cell::heap).sum::<usize>();
        let past = self.past.as_ref().map_or(0, |past| {
            let panes = past.panes.iter().map(|(_, pane)| size_of::<(i64, Box<[Cell]>)>() + cells(pane));
            size_of::<Past>() + panes.sum::<usize>() + size_of_val(&past.held[..])
        });
        size_of::<Self>() + cells(&self.cells) + past
    }
}

impl Window {
    /// The window that closes next; `None` if nothing would come of it.
    #[inline]
    pub(super) fn open(&self, state: &WindowState) -> Option<i64> {
        let gaps = self.gap != Gap::Skip && state.progress != Progress::New && state.filled < self.fill;
        (gaps || state.holds_records()).then_some(state.pane)
    }

    /// Adds a record to pane `pane`.
    #[inline]
    pub(super) fn add(&self, state: &mut WindowState, pane: i64, values: &[f64]) {
        if state.progress == Progress::New {
            state.cells = self.empty_cells(values.len());
        }
        // Timers have closed every window before, so an open one ends with this very pane.
        debug_assert!(self.open(state).is_none_or(|open| open == pane), "{pane} is not {}", state.pane);
        state.pane = pane;
        state.progress = Progress::Filled;
        state.filled = 0;
        for (cell, value) in state.cells.iter_mut().zip(values) {
            cell.add(self.aggregate, *value);
        }
    }

    /// Emits the window that closes next, or what its emptiness becomes, and goes on to the one after it.
    pub(super) fn close(&self, state: &mut WindowState, out: &mut impl FnMut(EventTime, Record)) {
        // 1. What becomes of the window.
        let values = if state.holds_records() {
            Some((0..state.cells.len()).map(|field| self.result(state, field)).collect())
        } else {
            state.filled = state.filled.saturating_add(1);
            match self.gap {
                Gap::Skip => None,
                Gap::Zero => Some(vec![0.0; state.cells.len()]),
                Gap::Hold => state.past.as_ref().map(|past| past.held.clone()),
                Gap::Alert => Some(vec![f64::NAN; state.cells.len()]),
            }
        };
        // 2. Emit it. An end that cannot be represented is reached at the end of all input alone.
        let time = self.last_instant(state.pane);
        let time = time.unwrap_or(EventTime::MAX.saturating_sub(Span::from_micros(1)));
        if let Some(values) = values {
            if self.gap == Gap::Hold {
                state.past.get_or_insert_default().held.clone_from(&values);
            }
            out(time, Record { time, values });
        }
        // 3. Start the next pane, and forget those that no later window covers.
        if self.panes > 1 {
            let past = state.past.get_or_insert_default();
            if state.progress == Progress::Filled {
                let cells = self.empty_cells(state.cells.len());
                past.panes.push_back((state.pane, std::mem::replace(&mut state.cells, cells)));
            }
            // Past the last pane of all there is no window.
            let next = state.pane.checked_add(1);
            let first = next.map_or(i64::MAX, |next| next.saturating_sub(self.panes - 1));
            while past.panes.front().is_some_and(|(pane, _)| next.is_none() || *pane < first) {
                past.panes.pop_front();
            }
        } else {
            state.cells.iter_mut().for_each(Cell::clear);
        }
        state.progress = Progress::Empty;
        state.pane = state.pane.saturating_add(1);
    }

    fn result(&self, state: &WindowState, field: usize) -> f64 {
        let past =
            state.past.iter().flat_map(|past| past.panes.iter().filter_map(|(_, pane)| pane.get(field)));
        self.aggregate.over(past.chain(&state.cells[field..=field]), self.size().seconds())
    }

    fn empty_cells(&self, fields: usize) -> Box<[Cell]> {
        (0..fields).map(|_| Cell::new(self.aggregate)).collect()
    }
}
