//! What a pipeline has said on a stream, as JSON lines, read again.

use std::io::BufRead;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use tidewatch_connectors::format::TimeFormat;
use tidewatch_dataflows::EventTime;

use crate::Error;

/// Gives each line to `take`; `path` names them, as `what` they are.
///
/// # Errors
///
/// [`Error::Usage`] if they cannot be read or, with the number of the line, if `take` refuses one.
pub(crate) fn each(
    what: &'static str,
    path: &str,
    lines: impl BufRead,
    mut take: impl FnMut(&str) -> Result<(), String>,
) -> Result<(), Error> {
    for (number, line) in (1u64..).zip(lines.lines()) {
        let line = line.map_err(Error::unreadable(what, path))?;
        take(&line).map_err(|reason| Error::Usage(format!("{path}:{number}: {reason}")))?;
    }
    Ok(())
}

/// A time as formats write it: plain microseconds outside the years that RFC 3339 can say.
pub(crate) fn time(text: &str) -> Result<EventTime, String> {
    if let Some(Ok(micros)) = text.strip_suffix("us").map(str::parse) {
        return Ok(EventTime::from_micros(micros));
    }
    let format = TimeFormat::Rfc3339;
    format.parse(text).map_err(|refusal| format.explain(refusal))
}

/// The values of a key's parts, in their order.
pub(crate) struct Parts(pub(crate) Vec<String>);

impl<'de> Deserialize<'de> for Parts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Parts;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("the parts of a key, by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parts, A::Error> {
                let mut parts = Vec::new();
                while let Some((_, part)) = map.next_entry::<String, String>()? {
                    parts.push(part);
                }
                Ok(Parts(parts))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_read_as_it_is_written() {
        for micros in [0, 1, -62_167_219_200_000_001, -62_167_219_200_000_000, 253_402_300_799_999_999] {
            let written = EventTime::from_micros(micros);
            assert_eq!(Ok(written), time(&written.to_string()), "{written}");
        }
        assert!(time("5s").is_err() && time("us").is_err());
    }

    #[test]
    fn a_line_that_is_refused_is_named_and_ends_it() {
        let mut taken = Vec::new();
        let result = each("file of words", "w.txt", &b"a\nb\nc\n"[..], |line| {
            taken.push(line.to_owned());
            if line == "b" {
                Err("is no a".to_owned())
            } else {
                Ok(())
            }
        });
        assert_eq!("w.txt:2: is no a", result.expect_err("the second is refused").to_string());
        assert_eq!(["a", "b"], *taken);
    }
}
