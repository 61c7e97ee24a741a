//! The list of mutes as people write it: maintenance windows, and keys that are muted.
//!
//! A CSV file whose header names its columns: `from` and `to`, times in RFC 3339; `detector`, the name of a detection; `reason`; and any
//! parts of a key by their names. A cell that is empty, or a column that is not there, leaves open what it could say: since ever, until it
//! is taken out of the list, all detections, any key. Lines that begin with `#` are comments.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};

use csv::{ReaderBuilder, StringRecord, Trim};
use tidewatch_connectors::format::TimeFormat;
use tidewatch_connectors::Error;
use tidewatch_dataflows::mutes::Mute;
use tidewatch_dataflows::EventTime;

/// How long a list may be, in bytes: each checkpoint keeps what is in force.
pub const LIMIT: u64 = 256 << 10;

/// Reads the text of a list.
///
/// # Errors
///
/// [`Error::Io`] if the file cannot be read, is no regular file or no text, or is longer than [`LIMIT`].
pub fn read(path: &str) -> Result<String, Error> {
    let io = |error| Error::io(format!("the list of mutes {path}"))(error);
    let mut text = String::new();
    // To open a pipe would wait for whoever writes to it.
    if !fs::metadata(path).map_err(io)?.is_file() {
        return Err(io(io::Error::new(ErrorKind::InvalidInput, "it is no regular file")));
    }
    File::open(path).and_then(|file| file.take(LIMIT + 1).read_to_string(&mut text)).map_err(io)?;
    if text.len() as u64 > LIMIT {
        let reason = format!("it is longer than {} KiB, which is the limit", LIMIT >> 10);
        return Err(io(io::Error::new(ErrorKind::FileTooLarge, reason)));
    }
    Ok(text)
}

/// What a column says.
#[derive(Clone, Copy)]
enum Column {
    From,
    To,
    Detector,
    Reason,
    /// A part of the key, by its place.
    Part(usize),
}

/// What the text of the list at `path` says; keys have parts of these names, and there are these detections.
///
/// # Examples
///
/// ```
/// use tidewatch::mutes::parse;
///
/// let text = "from,to,host,reason\n2024-01-01T02:00:00Z,2024-01-01T04:00:00Z,web-1,new kernel\n";
/// let mutes = parse("mutes.csv", text, &["service", "host"], &["slow"]).unwrap();
/// assert_eq!(mutes[0].key, [None, Some("web-1".into())]);
///
/// let error = parse("mutes.csv", "from,to\nyesterday,\n", &["host"], &["slow"]).unwrap_err();
/// assert_eq!(error, "mutes.csv:2:1: \"from\" is not a time in RFC 3339: \"yesterday\"");
/// ```
///
/// # Errors
///
/// What is wrong with the first line that is, with file, line and field.
pub fn parse(path: &str, text: &str, parts: &[&str], detectors: &[&str]) -> Result<Vec<Mute>, String> {
    let builder = || {
        let mut builder = ReaderBuilder::new();
        builder.trim(Trim::All).comment(Some(b'#')).has_headers(false).flexible(true);
        builder
    };
    let mut reader = builder().from_reader(text.as_bytes());
    let (mut columns, mut mutes) = (Vec::new(), Vec::new());
    for record in reader.records() {
        let record = record.map_err(|error| format!("{path}: {error}"))?;
        let line = record.position().map_or(0, csv::Position::line);
        let wrong = |field: usize, what: String| format!("{path}:{line}:{}: {what}", field + 1);
        if columns.is_empty() {
            columns = header(&record, parts).map_err(|(field, what)| wrong(field, what))?;
        } else {
            let mute = mute(&record, &columns, parts.len(), detectors);
            mutes.push(mute.map_err(|(field, what)| wrong(field, what))?);
        }
    }
    Ok(mutes)
}

/// What is wrong with a field, by its place.
type Wrong = (usize, String);

fn header(record: &StringRecord, parts: &[&str]) -> Result<Vec<Column>, Wrong> {
    let mut seen = Vec::new();
    let column = |(at, name)| {
        if seen.contains(&name) {
            return Err((at, format!("two columns are called \"{name}\"")));
        }
        seen.push(name);
        match (name, parts.iter().position(|part| *part == name)) {
            ("from", _) => Ok(Column::From),
            ("to", _) => Ok(Column::To),
            ("detector", _) => Ok(Column::Detector),
            ("reason", _) => Ok(Column::Reason),
            (_, Some(part)) => Ok(Column::Part(part)),
            (_, None) => {
                let known = ["from", "to", "detector", "reason"].iter().chain(parts).copied();
                let advice = crate::config::advice(name, known);
                Err((at, format!("unknown column \"{name}\"{advice}")))
            }
        }
    };
    record.iter().enumerate().map(column).collect()
}

fn mute(record: &StringRecord, columns: &[Column], parts: usize, detectors: &[&str]) -> Result<Mute, Wrong> {
    if record.len() != columns.len() {
        return Err((
            record.len().min(columns.len()),
            format!("it has {} fields, but the header {}", record.len(), columns.len()),
        ));
    }
    let mut mute = Mute {
        key: vec![None; parts],
        detector: None,
        from: EventTime::MIN,
        to: EventTime::MAX,
        reason: "".into(),
    };
    for (at, (field, column)) in record.iter().zip(columns).enumerate() {
        let time = |name| {
            let format = TimeFormat::Rfc3339;
            let refused = |refusal| (at, format!("\"{name}\" {}: \"{field}\"", format.explain(refusal)));
            format.parse(field).map_err(refused)
        };
        match column {
            Column::Reason => mute.reason = field.into(),
            _ if field.is_empty() => {}
            Column::From => mute.from = time("from")?,
            Column::To => mute.to = time("to")?,
            Column::Part(part) => mute.key[*part] = Some(field.into()),
            Column::Detector if detectors.contains(&field) => mute.detector = Some(field.into()),
            Column::Detector => {
                let advice = crate::config::advice(field, detectors.iter().copied());
                return Err((at, format!("no detection is called \"{field}\"{advice}")));
            }
        }
    }
    match mute.to <= mute.from {
        true => Err((0, "it ends before it begins: \"to\" must be later than \"from\"".to_owned())),
        false => Ok(mute),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> String {
        parse("m.csv", text, &["service", "host"], &["slow", "far"]).unwrap_err()
    }

    #[test]
    fn what_a_list_leaves_open_holds_for_all() {
        let text =
            "# planned\nhost,reason,detector,to\nweb-1,,,\n,\"rain, snow\",slow,2024-01-01T00:00:00Z\n";
        let mutes = parse("m.csv", text, &["service", "host"], &["slow"]).unwrap();
        let end = TimeFormat::Rfc3339.parse("2024-01-01T00:00:00Z").unwrap();
        let expected = [
            Mute {
                key: vec![None, Some("web-1".into())],
                detector: None,
                from: EventTime::MIN,
                to: EventTime::MAX,
                reason: "".into(),
            },
            Mute {
                key: vec![None, None],
                detector: Some("slow".into()),
                from: EventTime::MIN,
                to: end,
                reason: "rain, snow".into(),
            },
        ];
        assert_eq!(mutes, expected);
        assert_eq!(Ok(vec![]), parse("m.csv", "", &["host"], &[]));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        assert_eq!("m.csv:1:2: unknown column \"hots\"; did you mean \"host\"?", wrong("from,hots\n"));
        assert_eq!("m.csv:1:3: two columns are called \"to\"", wrong("from,to,to\n"));
        assert_eq!("m.csv:2:2: it has 1 fields, but the header 2", wrong("from,to\n2024-01-01T00:00:00Z\n"));
        assert_eq!(
            "m.csv:3:1: no detection is called \"slwo\"; did you mean \"slow\"?",
            wrong("detector\nfar\nslwo\n")
        );
        let late = "from,to\n2024-01-02T00:00:00Z,2024-01-01T00:00:00Z\n";
        assert_eq!("m.csv:2:1: it ends before it begins: \"to\" must be later than \"from\"", wrong(late));
    }
}
