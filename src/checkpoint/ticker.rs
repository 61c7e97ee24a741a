//! When there is a boundary, and at which event time.
//!
//! A ticker on the first worker holds a capability a little ahead of the frontier, the *horizon*: as far as event time
//! moves in 10 ms of wall time at its present speed. When a checkpoint is due, it announces a boundary at the horizon to every
//! worker. No worker's state passes the horizon, so none passes a boundary that it has not heard of.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tidewatch_connectors::Control;
use tidewatch_dataflows::flow::ports::{port, Port};
use tidewatch_dataflows::operators::keyed::{Announced, Boundary};
use tidewatch_dataflows::{EventTime, Span};
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::Capability;
use timely::dataflow::{Scope, StreamVec};
use tracing::debug;

/// How much wall time the horizon is ahead of the frontier.
const LEAD: Duration = Duration::from_millis(10);
/// How much event time it is ahead at least.
const LEAST: Span = Span::from_millis(64);
/// How often the ticker looks whether a checkpoint is due.
const LOOK: Duration = Duration::from_millis(20);

/// The operator that announces boundaries, to be closed with the frontier that it runs ahead of.
pub(crate) struct Ticker<'scope> {
    /// Until it follows something.
    unbuilt: Option<(OperatorBuilder<'scope, EventTime>, Port<Announced>)>,
    scope: Scope<'scope, EventTime>,
}

/// An operator that was begun must be built, even if there is nothing to follow: then it announces nothing.
impl Drop for Ticker<'_> {
    fn drop(&mut self) {
        if let Some((builder, _)) = self.unbuilt.take() {
            builder.build(|_| |_| {});
        }
    }
}

impl<'scope> Ticker<'scope> {
    /// The operator, and what it announces.
    pub(crate) fn new(scope: Scope<'scope, EventTime>) -> (Self, StreamVec<'scope, EventTime, Announced>) {
        let mut builder = OperatorBuilder::new("Ticker".to_owned(), scope);
        let (port, announced) = port(&mut builder);
        (Self { unbuilt: Some((builder, port)), scope }, announced)
    }

    /// Announces a boundary as often as `every`, ahead of the frontier of `passed`; never before `from`, nor before the one that was
    /// announced last is committed. When the run is interrupted, the last boundary is where all state stands.
    pub(crate) fn follow(
        mut self,
        passed: StreamVec<'scope, EventTime, ()>,
        every: Duration,
        from: Option<EventTime>,
        commits: Rc<Commits>,
    ) {
        let Some((mut builder, mut port)) = self.unbuilt.take() else { return };
        let scope = self.scope;
        let activator = scope.activator_for(builder.operator_info().address);
        let (index, peers) = (scope.index(), scope.peers() as u64);
        // Connected to no output: what has passed cannot hold back what is announced.
        let mut input = builder.new_input_connection(passed, Pipeline, []);
        builder.build(move |mut capabilities| {
            let mut capability = capabilities.pop().filter(|_| index == 0);
            let mut pace = Pace::new(every, from);
            let control = Control::current();
            let mut wakes = control.now();
            move |frontiers| {
                input.for_each(|_, _: &mut Vec<()>| {});
                let Some(held) = &mut capability else { return };
                let Some(frontier) = frontiers[0].frontier().first().copied() else {
                    capability = None;
                    control.saved();
                    return;
                };
                let now = control.now();
                if wakes <= now {
                    wakes = now + LOOK;
                    control.activate_after(&activator, LOOK);
                }
                let may_be_last = control.interrupted() && commits.last.get().is_none();
                if may_be_last && control.drained(peers as usize) {
                    match control.watermark().map(EventTime::floor_ms) {
                        // It was interrupted before it had read again what is in its state already.
                        Some(last) if from.is_some_and(|from| last < from) => {
                            commits.last.set(from);
                            from.into_iter().for_each(|from| control.checkpointed(from));
                            control.saved();
                        }
                        Some(last) if last > EventTime::MIN => {
                            commits.last.set(Some(last));
                            announce(&mut port, held, Boundary::Here, peers);
                        }
                        _ => control.saved(),
                    }
                }
                if frontier == EventTime::MIN {
                    // Some partition has no watermark yet.
                    return;
                }
                let is_free = commits.newest.get() == pace.announced && !control.interrupted();
                let is_asked = control.is_checkpoint_due();
                if let Some(boundary) = pace.look(frontier, *held.time(), is_free, is_asked, now) {
                    announce(&mut port, held, Boundary::At(boundary), peers);
                }
                held.downgrade(&pace.horizon(frontier, *held.time()));
            }
        });
    }
}

/// What is known of the manifests, on the worker that has them written.
#[derive(Debug, Default)]
pub(crate) struct Commits {
    /// The boundary of the newest that is written.
    pub(super) newest: Cell<Option<EventTime>>,
    /// The boundary after which the run ends, once it was announced.
    pub(super) last: Cell<Option<EventTime>>,
}

impl Commits {
    /// A run that goes on from a checkpoint, if there is one.
    pub(crate) fn from(boundary: Option<EventTime>) -> Rc<Self> {
        Rc::new(Self { newest: Cell::new(boundary), last: Cell::new(None) })
    }
}

fn announce(port: &mut Port<Announced>, held: &Capability<EventTime>, boundary: Boundary, peers: u64) {
    debug!(?boundary, "announced a checkpoint");
    let all = (0..peers).map(|worker| (worker, boundary));
    port.activate().session(held).give_iterator(all);
}

/// How fast event time moves, and when the last boundary was announced.
struct Pace {
    every: Duration,
    announced: Option<EventTime>,
    ticked: Option<Instant>,
    /// Frontier and wall clock at the last measurement.
    last: Option<(EventTime, Instant)>,
    /// Event time per wall time, at the last three measurements; a jump of hours spoils one, so their median counts.
    speeds: [f64; 3],
    /// How often in a row a boundary was due when the frontier had passed the horizon already.
    missed: u32,
}

impl Pace {
    fn new(every: Duration, announced: Option<EventTime>) -> Self {
        Self { every, announced, ticked: None, last: None, speeds: [1.0; 3], missed: 0 }
    }

    /// The boundary to announce now, if there is one: the horizon.
    fn look(
        &mut self,
        frontier: EventTime,
        horizon: EventTime,
        is_free: bool,
        is_asked: bool,
        now: Instant,
    ) -> Option<EventTime> {
        self.measure(frontier, now);
        let ticked = *self.ticked.get_or_insert(now);
        let is_due = is_free && (is_asked || now.duration_since(ticked) >= self.every);
        // One that has been passed can no longer be announced.
        let is_ahead = horizon > frontier && self.announced.is_none_or(|announced| announced < horizon);
        // A run that goes on has to catch up with the last boundary first.
        let is_missed = horizon <= frontier && self.announced.is_none_or(|announced| announced <= frontier);
        self.missed = if is_due && is_missed { self.missed + 1 } else { 0 };
        (is_due && is_ahead).then(|| {
            (self.ticked, self.announced) = (Some(now), Some(horizon));
            horizon
        })
    }

    fn measure(&mut self, frontier: EventTime, now: Instant) {
        let Some((before, since)) = self.last else {
            self.last = Some((frontier, now));
            return;
        };
        let passed = now.duration_since(since);
        if passed >= LEAD {
            self.speeds.rotate_left(1);
            self.speeds[2] = frontier.since(before).micros() as f64 / passed.as_micros() as f64;
            self.last = Some((frontier, now));
        }
    }

    /// How far the horizon should be, which is at `horizon` now.
    fn horizon(&self, frontier: EventTime, horizon: EventTime) -> EventTime {
        let mut speeds = self.speeds;
        speeds.sort_unstable_by(f64::total_cmp);
        // A worker whose steps take longer than the lead would pass every horizon before it looks.
        let further = f64::from(1 << self.missed.min(16));
        let lead = Span::from_micros((speeds[1] * further * LEAD.as_micros() as f64) as i64).max(LEAST);
        let half = Span::from_micros(lead.micros() / 2);
        let is_far = frontier.saturating_add(half) < horizon && self.announced != Some(horizon);
        match is_far {
            true => horizon,
            false => frontier.saturating_add(lead).max(horizon).next_ms(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundaries_are_announced_ahead_of_the_frontier_when_due_and_free() {
        let (at, ms) = (|millis| EventTime::from_millis(millis).unwrap(), Duration::from_millis);
        let start = Instant::now();
        let mut pace = Pace::new(ms(100), None);
        let mut horizon = EventTime::MIN;
        let mut announced = Vec::new();
        for now in 0..400 {
            let (frontier, is_free) = (at(now as i64), !(200..350).contains(&now));
            announced
                .extend(pace.look(frontier, horizon, is_free, false, start + ms(now)).map(|at| (now, at)));
            horizon = pace.horizon(frontier, horizon);
            assert!(frontier < horizon, "the horizon is ahead");
            assert!(horizon <= frontier.saturating_add(Span::from_millis(66)), "and not far");
        }
        assert_eq!(vec![100, 350], announced.iter().map(|(now, _)| *now).collect::<Vec<_>>());
        for (now, boundary) in announced {
            assert!(at(now as i64) < boundary && boundary <= at(now as i64 + 66));
        }
    }

    #[test]
    fn steps_that_take_longer_than_the_lead_do_not_put_boundaries_off() {
        let (start, ms) = (Instant::now(), Duration::from_millis);
        let mut pace = Pace::new(ms(50), None);
        let (mut horizon, mut announced) = (EventTime::MIN, None);
        for step in 0..20 {
            // Half an hour of event time in a step of 100 ms, of which the lead is a tenth.
            let frontier = EventTime::from_secs(1800 * step).unwrap();
            announced =
                announced.or(pace.look(frontier, horizon, true, false, start + ms(100 * step as u64)));
            horizon = pace.horizon(frontier, horizon);
        }
        assert!(announced.is_some());
    }

    #[test]
    fn a_run_that_catches_up_announces_the_next_boundary_near_the_last() {
        let (at, ms) = (|millis| EventTime::from_millis(millis).unwrap(), Duration::from_millis);
        let (start, from) = (Instant::now(), at(10_000));
        let mut pace = Pace::new(ms(50), Some(from));
        let (mut horizon, mut announced) = (EventTime::MIN, None);
        for now in 0..11_000 {
            let frontier = at(now as i64);
            announced = announced.or(pace.look(frontier, horizon, true, false, start + ms(now)));
            horizon = pace.horizon(frontier, horizon);
        }
        let announced = announced.unwrap();
        assert!(from < announced && announced < at(10_300), "{announced}");
    }

    #[test]
    fn after_a_jump_of_hours_the_horizon_is_near_again() {
        let (start, ms) = (Instant::now(), Duration::from_millis);
        let mut pace = Pace::new(ms(100), None);
        let mut horizon = EventTime::MIN;
        for now in 0..100 {
            let frontier =
                EventTime::from_millis(now as i64 + if now > 50 { 10_000_000 } else { 0 }).unwrap();
            pace.look(frontier, horizon, true, false, start + ms(now));
            horizon = pace.horizon(frontier, horizon);
            assert!(frontier < horizon && horizon <= frontier.saturating_add(Span::from_secs(1)), "{now}");
        }
    }
}
