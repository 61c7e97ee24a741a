//! What comes to a sink, encoded and handed over.

use tidewatch_dataflows::{Describe, EventTime};

use super::{Frontier, Output};
use crate::format::Encoder;
use crate::{Control, Error, Message, Sink};

/// How many messages and bytes a sink is given at a time; the last message may exceed them.
const MESSAGES: usize = 1 << 16;
const BYTES: usize = 4 << 20;

/// A sink with its encoder and their buffers.
pub(super) struct Writer {
    sink: Box<dyn Sink>,
    encoder: Box<dyn Encoder>,
    wrote_header: bool,
    bytes: Vec<u8>,
    /// Of each message its time, and where it ends.
    ends: Vec<(EventTime, usize)>,
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
                wrote_header: false,
                bytes: Vec::new(),
                ends: Vec::new(),
                frontier: EventTime::MIN,
            }),
            Err(error) => {
                control.fail(error);
                None
            }
        }
    }

    /// Writes events in the order given, some at a time.
    pub(super) fn write<'a, E: Describe + 'a>(
        &mut self,
        events: impl Iterator<Item = (EventTime, &'a E)>,
        frontier: Frontier,
    ) -> Result<(), Error> {
        let wants_payloads = self.sink.wants_payloads();
        for (time, event) in events {
            if wants_payloads {
                if !std::mem::replace(&mut self.wrote_header, true)
                    && self.encoder.header(event, &mut self.bytes)
                {
                    self.ends.push((time, self.bytes.len()));
                }
                self.encoder.encode(event, &mut self.bytes);
            }
            self.ends.push((time, self.bytes.len()));
            if self.ends.len() >= MESSAGES || self.bytes.len() >= BYTES {
                self.hand_over(Some(self.frontier))?;
            }
        }
        match frontier {
            Frontier::Stays => self.hand_over(Some(self.frontier)),
            Frontier::Reaches(limit) => {
                self.frontier = limit;
                self.hand_over(Some(limit))
            }
            Frontier::Ends => self.hand_over(None),
        }
    }

    /// Gives the sink what is encoded, and a frontier below which that is all.
    fn hand_over(&mut self, frontier: Option<EventTime>) -> Result<(), Error> {
        let mut start = 0;
        let message = |(time, end): (EventTime, usize)| {
            let payload = &self.bytes[start..end];
            start = end;
            Message { time, payload }
        };
        let messages: Vec<_> = self.ends.drain(..).map(message).collect();
        self.sink.write(&messages, frontier)?;
        self.bytes.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tidewatch_dataflows::Fields;

    use super::*;
    use crate::blackhole::Blackhole;
    use crate::Schema;

    struct Number(usize);

    impl Describe for Number {
        fn describe(&self, fields: &mut dyn Fields) {
            fields.integer("number", Some(self.0 as u64));
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
        writer.write(events(), Frontier::Reaches(at(4))).expect("it takes them");
        writer.write(events().take(1), Frontier::Ends).expect("it takes it");
        let calls = calls.0.lock().expect("nobody panics");
        let shape: Vec<_> = calls.iter().map(|(messages, _, frontier)| (*messages, *frontier)).collect();
        let (start, whole) = (Some(EventTime::MIN), MESSAGES);
        assert_eq!(vec![(whole, start), (whole, start), (5, Some(at(4))), (1, None)], shape);
        let bytes = calls.iter().flat_map(|(_, bytes, _)| bytes.clone()).collect();
        let lines = String::from_utf8(bytes).expect("it is text");
        let expected = (0..numbers.len()).chain([0]).map(|number| format!("{{\"number\":{number}}}\n"));
        assert_eq!(expected.collect::<String>(), lines);
    }

    #[test]
    fn a_sink_that_wants_no_payloads_is_told_of_every_message() {
        let blackhole = Blackhole::default();
        let output = Output::json(blackhole.clone(), Schema::new(["k"], ["v"]));
        let mut writer = Writer::new(output, &Control::default()).expect("nothing has failed");
        let numbers = [Number(1), Number(2)];
        writer
            .write(numbers.iter().map(|number| (EventTime::MIN, number)), Frontier::Ends)
            .expect("it takes them");
        assert_eq!(2, blackhole.count());
    }
}
