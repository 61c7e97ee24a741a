//! Numbers that are too great for the parser, such as `1e400`, which it takes for a mistake in the text.
//!
//! They are rare, so the text is parsed once more, with a text in place of each of them.

use serde::de::IgnoredAny;

use super::walk::Found;

/// What the text of such a number begins with. No text that is already there does: [`mark`] then leaves all as it is.
const MARK: &str = "\0tidewatch ";

/// Whether such a number is why an object could not be parsed.
pub(super) fn is_to_blame(error: &serde_json::Error) -> bool {
    error.is_syntax() && error.to_string().starts_with("number out of range")
}

/// Puts a text in place of each number that is too great.
pub(super) fn mark(text: &[u8]) -> Vec<u8> {
    if memchr::memmem::find(text, b"\\u0000").is_some() {
        return text.to_vec();
    }
    let mut marked = Vec::with_capacity(text.len() + 32);
    let mut rest = text;
    while let Some(first) = rest.first() {
        let length = match first {
            b'"' => length_of_text(rest),
            b'-' | b'0'..=b'9' => length_of_number(rest),
            _ => 1,
        };
        let (token, behind) = rest.split_at(length);
        match infinite(token) {
            Some(word) => marked.extend_from_slice(format!("\"\\u0000{}{word}\"", &MARK[1..]).as_bytes()),
            None => marked.extend_from_slice(token),
        }
        rest = behind;
    }
    marked
}

/// Takes the number back that [`mark`] put a text for.
pub(super) fn unmark(found: &mut Found<'_>) {
    if let Found::Text(text) = found {
        match text.strip_prefix(MARK) {
            Some("inf") => *found = Found::Float(f64::INFINITY),
            Some("-inf") => *found = Found::Float(f64::NEG_INFINITY),
            _ => {}
        }
    }
}

/// Which infinity a number is, if it is written as JSON has it.
fn infinite(token: &[u8]) -> Option<&'static str> {
    let number: f64 = std::str::from_utf8(token).ok()?.parse().ok()?;
    serde_json::from_slice::<IgnoredAny>(token).ok()?;
    match number {
        f64::INFINITY => Some("inf"),
        f64::NEG_INFINITY => Some("-inf"),
        _ => None,
    }
}

/// Up to the quote that ends it, or to the end.
fn length_of_text(text: &[u8]) -> usize {
    let mut at = 1;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    text.len()
}

fn length_of_number(text: &[u8]) -> usize {
    let part = |byte: &&u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
    text.iter().take_while(part).count()
}
