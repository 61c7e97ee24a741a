//! What user code was at when it panicked, and what to do about it.

use std::fmt::Write;

use tidewatch_connectors::ingest::Quarantine;
use tidewatch_connectors::{Control, Partition};
use tidewatch_dataflows::underway::{underway, Underway};
use tidewatch_dataflows::{Offset, PartitionId};

/// What describes the sources of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Described {
    /// A pipeline file.
    InFile,
    /// Its code.
    InCode,
}

/// Says what user code on this thread is at, and how to go on without the record, if it is one.
pub(super) fn accuse(described: Described) -> Option<String> {
    let control = Control::current();
    Some(match underway()? {
        Underway::Record { partition, offset, key, time } => {
            let record = format!("{}, key \"{key}\", event time {time}", place(&control, partition, offset));
            format!(
                "this happened at the record at {record}{}",
                advice(&control, partition, offset, described)
            )
        }
        Underway::Payload { partition, offset } => {
            let record = place(&control, partition, offset);
            format!(
                "this happened in decoding the record at {record}{}",
                advice(&control, partition, offset, described)
            )
        }
        Underway::Read { partition, next } => {
            format!("this happened in reading on from {}", place(&control, partition, next))
        }
        Underway::Deadline { key, time } => {
            format!("this happened at a deadline of key \"{key}\", {time}, which no single record causes")
        }
        Underway::End { key } => {
            format!("this happened at the end of key \"{key}\", which no single record causes")
        }
    })
}

fn place(control: &Control, partition: PartitionId, offset: Offset) -> String {
    match control.partition(partition) {
        Some((Partition { source, name, .. }, _)) => {
            format!("offset {offset} of partition \"{name}\" of source \"{source}\"")
        }
        None => format!("offset {offset} of a partition that this process does not know"),
    }
}

/// How to have a record a dead letter, with those that are.
fn advice(control: &Control, partition: PartitionId, offset: Offset, described: Described) -> String {
    let Some((Partition { source, name, .. }, mut quarantine)) = control.partition(partition) else {
        return String::new();
    };
    quarantine.extend([(&*name, offset.0)]);
    match described {
        Described::InFile => format!(
            "\nto have it a dead letter at the next start, write under the [[source]] \"{source}\":\n{}",
            line(&quarantine)
        ),
        Described::InCode => format!(
            "\nto have it a dead letter at the next start, add to the input \"{source}\": .quarantine([({name:?}, {offset})])"
        ),
    }
}

/// The line of a pipeline file.
fn line(quarantine: &Quarantine) -> String {
    let record = |(partition, offset)| format!("{{ partition = {}, offset = {offset} }}", quoted(partition));
    format!("quarantine = [{}]", quarantine.iter().map(record).collect::<Vec<_>>().join(", "))
}

/// A text as a pipeline file writes it.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for char in text.chars() {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            // A variable starts with it.
            '$' => quoted.push_str("$$"),
            char if char.is_control() => {
                // Writing to a text does not fail.
                let _ = write!(quoted, "\\u{:04X}", u32::from(char));
            }
            char => quoted.push(char),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use tidewatch_dataflows::underway::{tell_by, Tell};
    use tidewatch_dataflows::{EventTime, Key};

    use super::*;
    use crate::config;
    use crate::registry::Registry;

    struct Always(Underway);

    impl Tell for Always {
        fn tell(&self) -> Option<Underway> {
            Some(self.0.clone())
        }
    }

    #[test]
    fn whatever_user_code_is_at_is_said_and_advice_given_where_there_is_some() {
        let (partition, offset) = (PartitionId::of("s", "p"), Offset(7));
        let (key, time) = (Key::from_parts(["a", "b"]), EventTime::from_micros(1_000_000));
        for (told, expected) in [
            (
                Underway::Record { partition, offset, key: key.clone(), time },
                "this happened at the record at offset 7 of a partition that this process does not know, key \"a/b\", event time 1970-01-01T00:00:01Z",
            ),
            (
                Underway::Read { partition, next: offset },
                "this happened in reading on from offset 7 of a partition that this process does not know",
            ),
            (
                Underway::Deadline { key: key.clone(), time },
                "this happened at a deadline of key \"a/b\", 1970-01-01T00:00:01Z, which no single record causes",
            ),
            (Underway::End { key }, "this happened at the end of key \"a/b\", which no single record causes"),
        ] {
            let _telling = tell_by(Rc::new(Always(told)));
            assert_eq!(Some(expected.to_owned()), accuse(Described::InFile));
        }
        assert_eq!(None, accuse(Described::InFile));
    }

    #[test]
    fn the_line_means_the_quarantine() {
        let names = ["a.csv", "a \"b\"\\n.csv", "${HOME}/$$x$", "tab\t", "é\u{1F30A}'", "[*]?"];
        let quarantine: Quarantine =
            names.iter().flat_map(|name| [(name, 0), (name, i64::MAX as u64)]).collect();
        let text = format!(
            "name = \"p\"\n[[source]]\nname = \"s\"\nconnector = \"generator\"\n{}\n[[detect]]\nname = \"d\"\ndetector = \"ewma-z\"\nthreshold = 4\n",
            line(&quarantine)
        );
        let file = config::parse("p.toml", &text, &|_| Some("no".to_owned()), &Registry::default());
        assert_eq!(quarantine, file.expect("it is right").sources[0].quarantine);
    }
}
