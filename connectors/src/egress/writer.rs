//! What comes to a sink, encoded and handed over.

use tidewatch_dataflows::{Addressed, Describe, EventTime};

use super::batch::Batch;
use super::Output;
use crate::format::Encoder;
use crate::{Control, Error, Progress, Sink};

/// A sink with its encoder.
pub(super) struct Writer {
    sink: Box<dyn Sink>,
    encoder: Box<dyn Encoder>,
    wrote_preamble: bool,
    batch: Batch,
    /// The frontier up to which everything was written.
    frontier: EventTime,
}

impl Writer {
    /// Opens the sink, unless the run has failed: a run whose sources cannot be opened empties no file.
    pub(super) fn new(output: Output, control: &Control) -> Option<Self> {
        if control.failed() {
            return None;
        }
        match (output.open)() {
            Ok(sink) => Some(Self {
                sink,
                encoder: output.encoder,
                wrote_preamble: false,
                batch: Batch::default(),
                frontier: EventTime::MIN,
            }),
            Err(error) => {
                control.fail(error);
                None
            }
        }
    }

    /// Writes events in the order given, some at a time, and says how far that is all.
    pub(super) fn write<'a, E: Describe + Addressed + 'a>(
        &mut self,
        events: impl Iterator<Item = (EventTime, &'a E)>,
        frontier: Progress,
    ) -> Result<(), Error> {
        let (wants_payloads, wants_keys) = (self.sink.wants_payloads(), self.sink.wants_keys());
        for (time, event) in events {
            if !wants_payloads {
                self.batch.push_empty(time);
            } else {
                if !std::mem::replace(&mut self.wrote_preamble, true) {
                    self.batch.push_preamble(time, event, &mut *self.encoder);
                }
                match wants_keys {
                    true => self.batch.push_with_key(time, event, &mut *self.encoder),
                    false => self.batch.push(time, event, &mut *self.encoder),
                }
            }
            if self.batch.is_full() {
                self.hand_over(Some(self.frontier))?;
            }
        }
        match frontier {
            Progress::Below(limit) => {
                self.frontier = limit;
                self.hand_over(Some(limit))
            }
            Progress::End => self.hand_over(None),
        }
    }

    /// Gives the sink what is encoded, and a frontier below which that is all.
    fn hand_over(&mut self, frontier: Option<EventTime>) -> Result<(), Error> {
        let Self { sink, batch, .. } = self;
        batch.give(0..batch.len(), |messages| sink.write(messages, frontier))?;
        batch.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tidewatch_dataflows::Fields;

    use super::*;
    use crate::blackhole::Blackhole;
    use crate::egress::batch::MESSAGES;
    use crate::{Message, Schema};

    struct Number(usize);

    impl Describe for Number {
        fn describe(&self, fields: &mut dyn Fields) {
            fields.integer("number", Some(self.0 as u64));
        }
    }

    impl Addressed for Number {
        fn message_key(&self) -> Option<&[u8]> {
            Some(b"number")
        }
        fn headers(&self, each: &mut dyn FnMut(&'static str, &[u8])) {
            each("even", if self.0.is_multiple_of(2) { b"yes" } else { b"no" });
        }
    }

    /// How many messages there were, their bytes, and the frontier.
    type Call = (usize, Vec<u8>, Option<EventTime>);

    /// Keeps what it is called with.
    #[derive(Clone, Default)]
    struct Calls(Arc<Mutex<Vec<Call>>>);

    impl Sink for Calls {
        fn write(&mut self, messages: &[Message<'_>], frontier: Option<EventTime>) -> Result<(), Error> {
            let bytes = messages.iter().flat_map(|message| [message.payload, b"\n"].concat()).collect();
            self.0.lock().expect("nobody panics").push((messages.len(), bytes, frontier));
            Ok(())
        }
    }

    #[test]
    fn many_events_are_handed_over_some_at_a_time_and_the_frontier_moves_with_the_last() {
        let (calls, at) = (Calls::default(), EventTime::from_micros);
        let mut writer =
            Writer::new(Output::json(calls.clone(), Schema::new(["k"], ["v"])), &Control::default())
                .expect("nothing has failed");
        let numbers: Vec<Number> = (0..2 * MESSAGES + 5).map(Number).collect();
        let events = || numbers.iter().map(|number| (at(3), number));
        writer.write(events(), Progress::Below(at(4))).expect("it takes them");
        writer.write(events().take(1), Progress::End).expect("it takes it");
        let calls = calls.0.lock().expect("nobody panics");
        let shape: Vec<_> = calls.iter().map(|(messages, _, frontier)| (*messages, *frontier)).collect();
        let (start, whole) = (Some(EventTime::MIN), MESSAGES);
        assert_eq!(vec![(whole, start), (whole, start), (5, Some(at(4))), (1, None)], shape);
        let bytes = calls.iter().flat_map(|(_, bytes, _)| bytes.clone()).collect();
        let lines = String::from_utf8(bytes).expect("it is text");
        let expected = (0..numbers.len()).chain([0]).map(|number| format!("{{\"number\":{number}}}\n"));
        assert_eq!(expected.collect::<String>(), lines);
    }

    /// Looks at keys and headers, or does not.
    struct Looks(bool, Arc<Mutex<Vec<String>>>);

    impl Sink for Looks {
        fn write(&mut self, messages: &[Message<'_>], _: Option<EventTime>) -> Result<(), Error> {
            let seen = messages.iter().map(|message| format!("{:?} {:?}", message.key, message.headers));
            self.1.lock().expect("nobody panics").extend(seen);
            Ok(())
        }
        fn wants_keys(&self) -> bool {
            self.0
        }
    }

    #[test]
    fn keys_and_headers_are_for_sinks_that_want_them() {
        let looks = |wants| {
            let seen = Arc::new(Mutex::new(Vec::new()));
            let output = Output::json(Looks(wants, seen.clone()), Schema::new(["k"], ["v"]));
            let mut writer = Writer::new(output, &Control::default()).expect("nothing has failed");
            let number = Number(1);
            writer.write([(EventTime::MIN, &number)].into_iter(), Progress::End).expect("it takes it");
            let seen = seen.lock().expect("nobody panics").concat();
            seen
        };
        assert_eq!("None []", looks(false));
        let header = crate::Header { name: "even", value: b"no" };
        assert_eq!(format!("{:?} {:?}", Some(b"number"), [header]), looks(true));
    }

    #[test]
    fn a_sink_that_wants_no_payloads_is_told_of_every_message() {
        let blackhole = Blackhole::default();
        let output = Output::json(blackhole.clone(), Schema::new(["k"], ["v"]));
        let mut writer = Writer::new(output, &Control::default()).expect("nothing has failed");
        let numbers = [Number(1), Number(2)];
        writer
            .write(numbers.iter().map(|number| (EventTime::MIN, number)), Progress::End)
            .expect("it takes them");
        assert_eq!(2, blackhole.count());
    }
}
