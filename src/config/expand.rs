//! Environment variables in texts.

use std::borrow::Cow;

/// What `${VAR}` stands for.
pub(super) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A text after expansion.
#[derive(Debug, PartialEq)]
pub(super) struct Expanded<'a> {
    pub(super) text: Cow<'a, str>,
    /// Whether some of it came from the environment, so that it must not be shown.
    pub(super) secret: bool,
}

/// Why a text cannot be expanded.
#[derive(Debug, PartialEq)]
pub(super) struct Unexpanded {
    /// What stands at the place of the mistake.
    pub(super) at: String,
    pub(super) message: String,
}

/// Replaces `${VAR}` by the variable, `${VAR:-default}` by the default if the variable is unset or empty, and `$$` by
/// `$`. A `$` before anything else is itself.
pub(super) fn expand<'a>(written: &'a str, environment: Environment<'_>) -> Result<Expanded<'a>, Unexpanded> {
    if !written.contains('$') {
        return Ok(Expanded { text: written.into(), secret: false });
    }
    let (mut text, mut secret, mut rest) = (String::new(), false, written);
    while let Some(dollar) = rest.find('$') {
        text.push_str(&rest[..dollar]);
        let from = &rest[dollar..];
        if let Some(inside) = from.strip_prefix("${") {
            let Some((inside, after)) = inside.split_once('}') else {
                return Err(Unexpanded { at: from.to_owned(), message: "\"${\" has no \"}\"".to_owned() });
            };
            let (value, from_environment) = variable(inside, environment)?;
            text.push_str(&value);
            secret |= from_environment;
            rest = after;
        } else {
            text.push('$');
            rest = from.strip_prefix("$$").unwrap_or(&from[1..]);
        }
    }
    text.push_str(rest);
    Ok(Expanded { text: text.into(), secret })
}

fn variable<'a>(inside: &'a str, environment: Environment<'_>) -> Result<(Cow<'a, str>, bool), Unexpanded> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let wrong = |message| Unexpanded { at: format!("${{{inside}}}"), message };
    let starts = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    if !starts || !name.chars().all(|char| char.is_ascii_alphanumeric() || char == '_') {
        return Err(wrong(format!(
            "{name:?} cannot name an environment variable; write \"${{NAME}}\" or \"${{NAME:-default}}\", and \"$$\" for \"$\""
        )));
    }
    match (environment(name), default) {
        (Some(value), None) => Ok((value.into(), true)),
        (Some(value), Some(_)) if !value.is_empty() => Ok((value.into(), true)),
        (_, Some(default)) => Ok((default.into(), false)),
        (None, None) => Err(wrong(format!(
            "environment variable {name} is not set; set it, or give a default as in \"${{{name}:-default}}\""
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(name: &str) -> Option<String> {
        match name {
            "A" => Some("alpha".to_owned()),
            "EMPTY" => Some(String::new()),
            "MONEY" => Some("${A}".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn variables_defaults_and_dollars_expand_once() {
        for (written, text, secret) in [
            ("plain", "plain", false),
            ("${A}", "alpha", true),
            ("<${A}${A}>", "<alphaalpha>", true),
            ("${B:-}", "", false),
            ("${B:-b:-c}", "b:-c", false),
            ("${A:-b}", "alpha", true),
            ("${EMPTY:-b}", "b", false),
            ("${EMPTY}", "", true),
            ("$${A}", "${A}", false),
            ("${MONEY}", "${A}", true),
            ("5$ or $", "5$ or $", false),
            ("é$$é", "é$é", false),
        ] {
            assert_eq!(
                Ok(Expanded { text: text.into(), secret }),
                expand(written, &environment),
                "{written}"
            );
        }
    }

    #[test]
    fn what_cannot_be_expanded_is_refused() {
        for written in ["${B}", "${", "${A", "${}", "${1A}", "${A B}", "x${:-y}"] {
            assert!(expand(written, &environment).is_err(), "{written}");
        }
    }
}
