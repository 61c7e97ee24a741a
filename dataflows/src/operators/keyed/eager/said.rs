//! What was said of one key at times that the frontier has not passed.

use std::ops::Range;

use crate::event::{Change, Ranked, Revision, RevisionId};
use crate::{EventTime, Key};

/// What is compared of the things that are said.
pub(super) struct Meaning<O> {
    same: fn(&O, &O) -> bool,
    series: fn(&O) -> [&str; 2],
}

impl<O: Ranked> Default for Meaning<O> {
    fn default() -> Self {
        Self { same: O::same, series: O::series }
    }
}

/// Where changes to what is said of a key go.
pub(super) struct Voice<'a, O> {
    pub(super) meaning: &'a Meaning<O>,
    pub(super) key: &'a Key,
    pub(super) revisions: &'a mut Vec<Revision<O>>,
}

/// How something that was said stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Status {
    /// Its last record or timer says it, as far as is known.
    Standing,
    /// It is being looked for whether anything still says it.
    Doubted,
    /// It was retracted. What is known of it stays, so that its revisions go on if it is said again.
    Gone,
    /// It is final.
    Confirmed,
}

struct Saying<O> {
    time: EventTime,
    /// The number of the next change.
    revision: u32,
    status: Status,
    value: O,
}

/// In the order of time, series and emission. Of one time and series, what is confirmed comes before what stands, and
/// that before what is gone: both final emissions and steps fill places in the order of emission.
pub(super) struct Said<O>(Vec<Saying<O>>);

impl<O> Default for Said<O> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<O: Clone> Said<O> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// An estimate of its bytes.
    pub(super) fn memory(&self) -> usize {
        size_of_val(&self.0[..])
    }

    /// Says what steps behind all others emit; gives the times of what had no place before.
    pub(super) fn extend<'a>(
        &mut self,
        emitted: impl Iterator<Item = (EventTime, &'a O)>,
        voice: &mut Voice<'_, O>,
    ) -> Vec<EventTime>
    where
        O: 'a,
    {
        let taken = |saying: &Saying<O>| matches!(saying.status, Status::Confirmed | Status::Standing);
        let mut new = Vec::new();
        for (time, value) in emitted {
            if self.put(time, value, taken, voice).1 {
                new.push(time);
            }
        }
        new
    }

    /// Makes final what the logic finally emits next; `true` if nothing had this place before.
    pub(super) fn confirm(&mut self, time: EventTime, value: &O, voice: &mut Voice<'_, O>) -> bool {
        let (at, is_new) = self.put(time, value, |saying| saying.status == Status::Confirmed, voice);
        self.change(at, Status::Confirmed, Change::Confirmed(value.clone()), voice);
        is_new
    }

    /// Gives `value` the first place of its time and series that is not taken.
    fn put(
        &mut self,
        time: EventTime,
        value: &O,
        taken: impl Fn(&Saying<O>) -> bool,
        voice: &mut Voice<'_, O>,
    ) -> (usize, bool) {
        let run = self.run(time, value, voice.meaning);
        let at = run.start + self.0[run.clone()].partition_point(taken);
        let is_new = at == run.end;
        if is_new {
            let saying = Saying { time, revision: 0, status: Status::Gone, value: value.clone() };
            self.0.insert(at, saying);
        }
        let saying = &self.0[at];
        if saying.status == Status::Gone {
            self.change(at, Status::Standing, Change::Provisional(value.clone()), voice);
        } else if (voice.meaning.same)(&saying.value, value) {
            self.0[at].status = Status::Standing;
        } else {
            let change = Change::Revised { was: saying.value.clone(), is: value.clone() };
            self.change(at, Status::Standing, change, voice);
        }
        (at, is_new)
    }

    /// The places of a time and of the series of `value`.
    fn run(&self, time: EventTime, value: &O, meaning: &Meaning<O>) -> Range<usize> {
        let series = (meaning.series)(value);
        let place = |saying: &Saying<O>| (saying.time, (meaning.series)(&saying.value)).cmp(&(time, series));
        let start = self.0.partition_point(|saying| place(saying).is_lt());
        start..start + self.0[start..].partition_point(|saying| place(saying).is_eq())
    }

    /// Says all of `emitted`, in the order of emission, and nothing else but what is final; gives what [`Said::extend`] does.
    pub(super) fn restate<'a>(
        &mut self,
        emitted: impl Iterator<Item = (EventTime, &'a O)>,
        voice: &mut Voice<'_, O>,
    ) -> Vec<EventTime>
    where
        O: 'a,
    {
        for saying in &mut self.0 {
            if saying.status == Status::Standing {
                saying.status = Status::Doubted;
            }
        }
        let new = self.extend(emitted, voice);
        self.retract(self.0.len(), Status::Doubted, voice);
        new
    }

    /// Retracts what no final emission has confirmed before `limit`, and forgets what is before it.
    pub(super) fn pass(&mut self, limit: EventTime, voice: &mut Voice<'_, O>) {
        let passed = self.0.partition_point(|saying| saying.time < limit);
        self.retract(passed, Status::Standing, voice);
        self.0.drain(..passed);
    }

    fn retract(&mut self, end: usize, status: Status, voice: &mut Voice<'_, O>) {
        for at in 0..end {
            if self.0[at].status == status {
                let change = Change::Retracted(self.0[at].value.clone());
                self.change(at, Status::Gone, change, voice);
            }
        }
    }

    fn change(&mut self, at: usize, status: Status, change: Change<O>, voice: &mut Voice<'_, O>) {
        let first = self.run(self.0[at].time, change.value(), voice.meaning).start;
        let saying = &mut self.0[at];
        let (time, revision, series) = (saying.time, saying.revision, (voice.meaning.series)(change.value()));
        let id = RevisionId::of(voice.key, time, series, (at - first) as u64);
        saying.revision += 1;
        saying.status = status;
        saying.value.clone_from(change.value());
        voice.revisions.push(Revision { id, revision, time, key: voice.key.clone(), change });
    }
}
