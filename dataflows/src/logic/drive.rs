//! Plays the operator for one key: tests of a logic say what arrives, and read what it emits.

use crate::{EventTime, Key, Logic};

/// One key's state with what was emitted so far.
pub(crate) struct Drive<'a, L: Logic> {
    logic: &'a L,
    state: L::State,
    pub(crate) emitted: Vec<(EventTime, L::Out)>,
}

impl<'a, L: Logic> Drive<'a, L> {
    pub(crate) fn start(logic: &'a L) -> Self {
        Self { logic, state: logic.start(&Key::new("key")), emitted: Vec::new() }
    }

    /// Moves the frontier: every record before `frontier` has been seen.
    pub(crate) fn frontier(&mut self, frontier: EventTime) {
        while let Some(due) = self.logic.deadline(&self.state).filter(|due| *due < frontier) {
            let emitted = &mut self.emitted;
            self.logic.on_time(&mut self.state, due, &mut |time, out| emit(emitted, due, time, out));
            let next = self.logic.deadline(&self.state);
            assert!(next.is_none_or(|next| next > due), "the deadline stays at {next:?} after {due}");
        }
    }

    pub(crate) fn record(&mut self, time: EventTime, record: &L::In) {
        self.frontier(time);
        let emitted = &mut self.emitted;
        self.logic.on_record(&mut self.state, time, record, &mut |at, out| emit(emitted, time, at, out));
    }

    pub(crate) fn end(&mut self, end: EventTime) {
        let emitted = &mut self.emitted;
        self.logic.on_end(&mut self.state, end, &mut |at, out| emit(emitted, end, at, out));
    }

    /// Saves the state and restores it from the bytes, which it returns.
    pub(crate) fn snapshot(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.logic.save(&self.state, &mut bytes);
        bytes.push(b'!');
        let mut rest = &bytes[..];
        let memory = self.logic.memory(&self.state);
        self.state = self.logic.restore(&mut rest).expect("it was just saved");
        assert_eq!(b"!", rest, "restore reads what save wrote and no more");
        assert_eq!(memory, self.memory(), "a restored state weighs the same");
        bytes.pop();
        bytes
    }

    pub(crate) fn memory(&self) -> usize {
        self.logic.memory(&self.state)
    }
}

fn emit<O>(emitted: &mut Vec<(EventTime, O)>, cause: EventTime, time: EventTime, out: O) {
    assert!(cause <= time && time < EventTime::MAX, "{time} is emitted at {cause}");
    assert!(emitted.last().is_none_or(|(last, _)| *last <= time), "{time} is emitted out of order");
    emitted.push((time, out));
}
