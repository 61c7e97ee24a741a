//! What parameters take.

use std::fmt;

/// What a parameter takes.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A finite number in a range.
    Number(Range),
    /// A whole number from the first to the second bound, both included.
    Integer(i64, i64),
    /// A length of time, as in `5s`.
    Span,
    /// Records, from the first to the second number, or a length of time that is not zero.
    Lapse(i64, i64),
    /// A number of bytes, as in `64MiB`.
    Size,
    /// `true` or `false`.
    Flag,
    /// Any text.
    Text,
    /// One or several texts.
    Texts,
    /// Texts, numbers and truth values by names that the owner does not know beforehand; all kept as texts.
    Table,
    /// One of these words.
    Choice(&'static [&'static str]),
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(range) => range.fmt(f),
            Self::Integer(from, i64::MAX) => write!(f, "a whole number of at least {from}"),
            Self::Integer(from, to) => write!(f, "a whole number in [{from}, {to}]"),
            Self::Lapse(from, to) => {
                write!(f, "a whole number of records in [{from}, {to}], or a length of time, as in \"5m\"")
            }
            Self::Span => f.write_str("a length of time, as in \"5s\""),
            Self::Size => f.write_str("a number of bytes, as in \"64MiB\""),
            Self::Flag => f.write_str("true or false"),
            Self::Text => f.write_str("a text"),
            Self::Texts => f.write_str("a text or a list of texts"),
            Self::Table => f.write_str("a table"),
            Self::Choice(words) => {
                let quoted: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
                write!(f, "one of {}", quoted.join(", "))
            }
        }
    }
}

/// A range of numbers; a bound is included unless said otherwise.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    /// The lower bound.
    pub from: f64,
    /// The upper bound.
    pub to: f64,
    /// Whether the lower bound itself is refused.
    pub open: bool,
}

impl Range {
    /// Every finite number.
    pub const ANY: Self = Self { from: f64::NEG_INFINITY, to: f64::INFINITY, open: false };
    /// Zero and above.
    pub const NON_NEGATIVE: Self = Self { from: 0.0, to: f64::INFINITY, open: false };
    /// Above zero.
    pub const POSITIVE: Self = Self { from: 0.0, to: f64::INFINITY, open: true };
    /// Above zero, at most one.
    pub const FRACTION: Self = Self { from: 0.0, to: 1.0, open: true };

    pub(super) fn holds(&self, value: f64) -> bool {
        let above = if self.open { value > self.from } else { value >= self.from };
        value.is_finite() && above && value <= self.to
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.from.is_finite(), self.to.is_finite()) {
            (false, false) => f.write_str("a number"),
            (true, false) if self.open => write!(f, "a number above {}", self.from),
            (true, false) => write!(f, "a number of at least {}", self.from),
            (false, true) => write!(f, "a number of at most {}", self.to),
            (true, true) => {
                write!(f, "a number in {}{}, {}]", if self.open { '(' } else { '[' }, self.from, self.to)
            }
        }
    }
}
