//! The steps that a key's logic took before the frontier, each with a copy of the state after it.

use crate::{EventTime, Key, Logic, PartitionId, Record};

/// What a step emitted.
struct Emitted<O> {
    /// The record or timer that made it.
    cause: EventTime,
    time: EventTime,
    value: O,
}

/// The timers due before a record, then the record.
struct Step<S, O> {
    time: EventTime,
    partition: PartitionId,
    values: Box<[f64]>,
    /// After the step; none before it is taken.
    state: Option<S>,
    emitted: Vec<Emitted<O>>,
    memory: usize,
}

/// Steps in `(time, partition, arrival)` order.
pub(super) struct Steps<S, O> {
    steps: Vec<Step<S, O>>,
    memory: usize,
}

impl<S, O> Default for Steps<S, O> {
    fn default() -> Self {
        Self { steps: Vec::new(), memory: 0 }
    }
}

/// What a step may cost.
#[derive(Clone, Copy)]
pub(super) struct Allowance {
    /// The bytes of a state that is copied.
    pub(super) state: usize,
    /// The timers of one step.
    pub(super) timers: usize,
}

/// A step costs more than it may.
pub(super) struct TooCostly;

impl<S, O> Steps<S, O> {
    pub(super) fn len(&self) -> usize {
        self.steps.len()
    }

    /// An estimate of its bytes.
    pub(super) fn memory(&self) -> usize {
        self.memory
    }

    /// The time of the last record.
    pub(super) fn last(&self) -> Option<EventTime> {
        self.steps.last().map(|step| step.time)
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Makes place for a record; gives its number in the order.
    pub(super) fn insert(&mut self, time: EventTime, partition: PartitionId, values: &[f64]) -> usize {
        let place = (time, partition);
        let at = self.steps.partition_point(|step| (step.time, step.partition) <= place);
        let step =
            Step { time, partition, values: values.into(), state: None, emitted: Vec::new(), memory: 0 };
        self.steps.insert(at, step);
        at
    }

    /// Takes the steps from number `from` on, the first of all from the final state `base`.
    pub(super) fn take<L>(
        &mut self,
        from: usize,
        logic: &L,
        key: &Key,
        base: Option<&S>,
        allowance: Allowance,
    ) -> Result<(), TooCostly>
    where
        L: Logic<In = Record, State = S, Out = O>,
    {
        for at in from..self.steps.len() {
            let (before, rest) = self.steps.split_at_mut(at);
            let before = before.last().map_or(base, |step| step.state.as_ref());
            let step = &mut rest[0];
            self.memory -= step.memory;
            step.memory = 0;
            step.take(logic, key, before, allowance)?;
            self.memory += step.memory;
        }
        Ok(())
    }

    /// What the steps from number `from` on emitted, in the order of emission.
    pub(super) fn emitted(&self, from: usize) -> impl Iterator<Item = (EventTime, &O)> {
        self.steps[from..].iter().flat_map(|step| &step.emitted).map(|emitted| (emitted.time, &emitted.value))
    }

    /// Drops what the final state has seen: every record and timer before `limit`.
    pub(super) fn pass(&mut self, limit: EventTime) {
        let passed = self.steps.partition_point(|step| step.time < limit);
        self.memory -= self.steps.drain(..passed).map(|step| step.memory).sum::<usize>();
        // No other step calls timers that are due before the first record.
        if let Some(first) = self.steps.first_mut() {
            first.emitted.retain(|emitted| emitted.cause >= limit);
        }
    }
}

impl<S, O> Step<S, O> {
    fn take<L>(
        &mut self,
        logic: &L,
        key: &Key,
        before: Option<&S>,
        allowance: Allowance,
    ) -> Result<(), TooCostly>
    where
        L: Logic<In = Record, State = S, Out = O>,
    {
        let Self { time, emitted, .. } = self;
        let time = *time;
        emitted.clear();
        let mut state = match before {
            // A state that starts has no timer before its first record.
            None => logic.start(key),
            Some(state) if logic.memory(state) > allowance.state => return Err(TooCostly),
            Some(state) => {
                let mut state = logic.copy(state);
                let mut timers = 0;
                while let Some(cause) = logic.deadline(&state).filter(|due| *due < time) {
                    if timers == allowance.timers {
                        return Err(TooCostly);
                    }
                    timers += 1;
                    let mut emit = |time, value| emitted.push(Emitted { cause, time, value });
                    logic.on_time(&mut state, cause, &mut emit);
                }
                state
            }
        };
        let record = Record { time, values: self.values.to_vec() };
        let mut emit = |at, value| emitted.push(Emitted { cause: time, time: at, value });
        logic.on_record(&mut state, time, &record, &mut emit);
        self.memory = size_of::<Self>()
            + size_of_val(&self.values[..])
            + size_of_val(&emitted[..])
            + logic.memory(&state);
        self.state = Some(state);
        Ok(())
    }
}
