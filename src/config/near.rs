//! Guesses what was meant.

/// The longest list of possibilities that a message shows.
const SHOWN: usize = 8;

/// The end of a message on an unknown word: the nearest possible word, or all of them when they are few.
pub(crate) fn advice<'a>(found: &str, possible: impl IntoIterator<Item = &'a str>) -> String {
    let possible: Vec<&str> = possible.into_iter().collect();
    match nearest(found, &possible) {
        Some(word) => format!("; did you mean {word:?}?"),
        None if possible.is_empty() => "; there are none".to_owned(),
        None if possible.len() == 1 => format!("; the only one is {:?}", possible[0]),
        None if possible.len() <= SHOWN => format!("; possible are {}", list(possible)),
        None => String::new(),
    }
}

/// The words in quotes.
pub(super) fn list<S: AsRef<str>>(words: impl IntoIterator<Item = S>) -> String {
    let quoted: Vec<_> = words.into_iter().map(|word| format!("{:?}", word.as_ref())).collect();
    quoted.join(", ")
}

/// The possible word that at most one edit per three characters turns into `found`; of several, the first of the
/// nearest.
pub(super) fn nearest<'a>(found: &str, possible: &[&'a str]) -> Option<&'a str> {
    let found = found.to_lowercase();
    let edits = |word: &str| strsim::osa_distance(&found, &word.to_lowercase());
    let most = (found.chars().count() / 3).clamp(1, 3);
    let words = possible.iter().filter(|word| word.chars().count() > 1);
    words
        .map(|word| (edits(word), *word))
        .filter(|(edits, _)| *edits <= most)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_word_is_suggested_and_a_far_one_is_not() {
        let words = ["ewma-z", "static", "no-record"];
        for (found, nearest) in [
            ("emwa-z", Some("ewma-z")),
            ("EWMA_Z", Some("ewma-z")),
            ("norecord", Some("no-record")),
            ("kafka", None),
        ] {
            assert_eq!(nearest, super::nearest(found, &words), "{found}");
        }
    }

    #[test]
    fn few_possibilities_are_listed_and_many_are_not() {
        assert_eq!("; possible are \"a1\", \"b1\"", advice("something", ["a1", "b1"]));
        assert_eq!("", advice("something", ["a1"; 9]));
    }
}
