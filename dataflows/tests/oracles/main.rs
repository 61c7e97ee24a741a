//! `oracle_*`: detectors agree with implementations that others keep, whose results `tests/oracles/regenerate` writes.

mod adwin;
mod cusum;
mod discord;
mod entropy_novelty;
mod hampel;
mod holt_winters;
mod moments;
mod nab;
mod page_hinkley;
mod quantile_bands;
mod seasonal;

use std::collections::BTreeMap;
use std::path::Path;

/// One row of an oracle's results, by column.
struct Row(BTreeMap<String, String>);

impl Row {
    /// The number in a column.
    fn number(&self, column: &str) -> f64 {
        self.optional(column).unwrap_or_else(|| panic!("column {column} is empty"))
    }

    /// The text in a column.
    fn text(&self, column: &str) -> &str {
        self.0.get(column).unwrap_or_else(|| panic!("there is no column {column}"))
    }

    /// The number in a column, if there is one.
    fn optional(&self, column: &str) -> Option<f64> {
        let text = self.text(column);
        (!text.is_empty())
            .then(|| text.parse().unwrap_or_else(|_| panic!("{column} is not a number: {text:?}")))
    }
}

/// The rows of `tests/oracles/NAME.csv`, without its comments.
fn results(name: &str) -> Vec<Row> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/oracles/{name}.csv"));
    let mut reader = csv::ReaderBuilder::new()
        .comment(Some(b'#'))
        .from_path(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let rows: Vec<_> = reader.deserialize().map(|row| Row(row.unwrap())).collect();
    assert!(!rows.is_empty(), "{} is empty", path.display());
    rows
}

/// Asserts that two numbers differ by no more than a share of the greater one, or of 1 where both are smaller.
fn assert_close(expected: Option<f64>, found: Option<f64>, tolerance: f64, at: &str) {
    let close = match (expected, found) {
        (Some(expected), Some(found)) => {
            (expected - found).abs() <= tolerance * expected.abs().max(found.abs()).max(1.0)
        }
        (expected, found) => expected == found,
    };
    assert!(close, "{at}: expected {expected:?}, found {found:?}");
}
