//! Reference data: a text that may change while a run goes on.
//!
//! **Protocol.** When a text has changed is seen by a clock, so it is a decision that is journaled: each edition is in force from an
//! event time on. An operator on the first worker holds a capability at the frontier of the records. When there is a new edition, that
//! is the time from which on it will be in force (but not below the [floor](crate::ingest::Resume::floor): what an earlier run
//! has committed was found without it; and later than any other edition); the operator stays there until the edition is in the journal, and only then tells all
//! workers. So whoever takes editions as an input knows all that are in force up to the frontier of that input, and a run that
//! goes on, or a replay, takes up the same editions at the same times.

mod watch;

use std::collections::VecDeque;
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::Arc;
use std::time::Duration;

use tidewatch_dataflows::flow::ports::{port, Port};
use tidewatch_dataflows::mutes::Edition;
use tidewatch_dataflows::EventTime;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::Capability;
use timely::dataflow::StreamVec;
use timely::ExchangeData;
use tracing::{info, warn};

use self::watch::Watch;
use crate::control::Rule;
use crate::task::inbox;
use crate::{Control, Error, Journal, Kept};

/// Reads a text as it is now.
pub type Read = dyn Fn() -> Result<String, Error> + Send + Sync;

/// Makes something of a text, or says what is wrong with it, and where. What is empty is no text that is wrong.
pub type Parse<T> = dyn Fn(&str) -> Result<T, String> + Send + Sync;

/// Reference data, and how it becomes known.
#[derive(Clone)]
pub struct Reference<T> {
    /// Where earlier editions are taken from, and new ones kept.
    pub journal: Arc<dyn Journal>,
    /// Where it is read, and how often, at least: never again after the start if that is zero. None if there are no other editions than those of
    /// the journal.
    pub read: Option<(Arc<Read>, Duration)>,
    /// What an edition says.
    pub parse: Arc<Parse<T>>,
    /// No edition that is not in the journal is in force from before that time on.
    pub floor: EventTime,
}

/// An edition with what it says.
type Taken<T> = (String, T);

impl<T: ExchangeData + Clone> Reference<T> {
    /// Tells each worker of all editions, each before anything has passed of the time from which on it is in force. `passed` has the
    /// frontier of the records, and nothing else.
    ///
    /// At the start of a run it is read by the first worker. A text that cannot be read or makes no sense is no edition: where there
    /// is none yet that is an error; later on a warning, and the one before it stays in force. An edition of an earlier run that makes
    /// no sense any more says nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Configuration`] if there is no edition that makes sense, and none can be read.
    pub fn refer<'scope>(
        self,
        passed: StreamVec<'scope, EventTime, ()>,
    ) -> Result<StreamVec<'scope, EventTime, (u64, Edition<T>)>, Error> {
        let scope = passed.scope();
        let mut builder = OperatorBuilder::new("Refer".to_owned(), scope);
        let address = builder.operator_info().address;
        let waker = scope.worker().sync_activator_for(address.to_vec());
        let (port, editions) = port(&mut builder);
        // Connected to no output: what has passed cannot hold back what is told.
        let mut input = builder.new_input_connection(passed, Pipeline, []);
        let is_first = scope.index() == 0;
        let (taken, fresh) = channel();
        let begun = if is_first { self.begin(&taken) } else { Ok((Vec::new(), String::new())) };
        // An operator that was begun must be built.
        let (known, failed) = match begun {
            Ok(known) => (known, None),
            Err(error) => ((Vec::new(), String::new()), Some(error)),
        };
        let (known, last) = known;
        let watched = (is_first && failed.is_none()).then(|| {
            let (watched, ends) = inbox();
            let (read, every) = self.read.clone().filter(|(_, every)| !every.is_zero())?;
            let watch = Watch { read, parse: self.parse.clone(), every, taken, waker: waker.clone(), ends };
            if let Err(error) = Control::current().spawn("reference", watch.after(last)) {
                Control::current().fail(error);
            }
            Some(watched)
        });
        let (journal, peers) = (self.journal, scope.peers() as u64);
        builder.build(move |mut capabilities| {
            let obeys = |rule| Control::current().obeys(rule);
            let is_durable = obeys(Rule::EditionsAreDurable);
            let floor = if obeys(Rule::EditionsAtFloor) { self.floor } else { EventTime::MIN };
            let mut telling = Telling {
                known: known.into(),
                fresh,
                deciding: None,
                journal,
                floor,
                newest: None,
                peers,
                is_durable,
                capability: capabilities.pop().filter(|_| is_first),
                port,
                _watched: watched.flatten(),
            };
            move |frontiers| {
                input.for_each(|_, _: &mut Vec<()>| {});
                let decided = telling.tell(|kept| kept.wake(&waker));
                if let Err(error) = decided {
                    Control::current().fail(error);
                }
                telling.downgrade(frontiers[0].frontier().first().copied());
            }
        });
        failed.map_or(Ok(editions), Err)
    }

    /// The editions that are known, and the text of the newest; has a new one taken up if that is not what is read now.
    fn begin(&self, taken: &Sender<Taken<T>>) -> Result<(Vec<Edition<T>>, String), Error> {
        let wrong = Error::Configuration;
        let (mut newest, mut known) = (None, Vec::new());
        for Edition { from, value: text } in self.journal.editions() {
            let value = match (self.parse)(&text) {
                Ok(value) => {
                    newest = Some(text);
                    value
                }
                // It was of a pipeline whose keys have other parts. Where it was in force, nothing is.
                Err(reason) => {
                    warn!(%from, "an earlier edition of reference data makes no sense any more: {reason}");
                    newest = None;
                    (self.parse)("").map_err(wrong)?
                }
            };
            known.push(Edition { from, value });
        }
        let Some((read, _)) = &self.read else { return Ok((known, String::new())) };
        let text = read().map_err(|error| error.to_string());
        let text = text.and_then(|text| Ok(((self.parse)(&text)?, text)));
        match (text, newest) {
            (Ok((_, text)), Some(newest)) if text == newest => Ok((known, newest)),
            (Ok((value, text)), _) => {
                let _ = taken.send((text.clone(), value));
                Ok((known, text))
            }
            (Err(reason), None) => Err(wrong(reason)),
            (Err(reason), Some(newest)) => {
                warn!("{reason}; what was known last stays in force");
                Ok((known, newest))
            }
        }
    }
}

/// What tells all workers of editions, on the first one.
struct Telling<T: 'static> {
    /// Editions of the journal, until they are told.
    known: VecDeque<Edition<T>>,
    /// What is new.
    fresh: Receiver<Taken<T>>,
    /// An edition that is not in the journal yet.
    deciding: Option<(Edition<T>, Kept)>,
    journal: Arc<dyn Journal>,
    floor: EventTime,
    /// From when on the newest edition is in force that was told.
    newest: Option<EventTime>,
    peers: u64,
    is_durable: bool,
    capability: Option<Capability<EventTime>>,
    port: Port<(u64, Edition<T>)>,
    /// Dropped together with this, which ends who watches.
    _watched: Option<Sender<()>>,
}

impl<T: ExchangeData + Clone> Telling<T> {
    /// Tells of what is known, and has what is new kept; `wake` has the operator activated when something is.
    fn tell(&mut self, wake: impl Fn(&Kept)) -> Result<(), Error> {
        while let Some(edition) = self.known.pop_front() {
            self.announce(edition);
        }
        loop {
            if let Some((edition, _)) = self.deciding.take_if(|(_, kept)| kept.is_kept()) {
                info!(from = %edition.from, "reference data has a new edition");
                self.announce(edition);
            }
            let (Some(capability), None) = (&self.capability, &self.deciding) else { return Ok(()) };
            let Ok((text, value)) = self.fresh.try_recv() else { return Ok(()) };
            let from = self.newest.map_or(EventTime::MIN, EventTime::next_ms);
            let from = from.max(*capability.time()).max(self.floor);
            let kept = self.journal.refer(&Edition { from, value: text })?;
            let kept = if self.is_durable { kept } else { Kept::already() };
            wake(&kept);
            self.deciding = Some((Edition { from, value }, kept));
        }
    }

    fn announce(&mut self, edition: Edition<T>) {
        let Some(capability) = &self.capability else { return };
        self.newest = self.newest.max(Some(edition.from));
        let all = (0..self.peers).map(|worker| (worker, edition.clone()));
        self.port.activate().session(capability).give_iterator(all);
    }

    /// Follows the frontier, but not past what is not in the journal yet.
    fn downgrade(&mut self, frontier: Option<EventTime>) {
        let Some(capability) = &mut self.capability else { return };
        let limit = self.deciding.as_ref().map(|(edition, _)| edition.from);
        match (frontier, limit) {
            (None, None) => self.capability = None,
            (frontier, limit) => {
                let time = frontier.unwrap_or(EventTime::MAX).min(limit.unwrap_or(EventTime::MAX));
                if time > *capability.time() {
                    capability.downgrade(&time);
                }
            }
        }
    }
}
