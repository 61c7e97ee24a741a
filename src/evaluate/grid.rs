//! What is tried of a detection.

use std::fmt;
use std::str::FromStr;

use crate::config::DetectSpec;
use crate::registry::Registry;
use crate::Error;

/// A parameter with the values that are tried of it, as in `fade=5000,10000,20000`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Varied {
    /// The parameter.
    pub name: String,
    /// Its values, as a pipeline file spells them without quotes; at least one, none twice.
    pub values: Vec<String>,
}

impl FromStr for Varied {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, values) = text.split_once('=').unwrap_or_default();
        let values: Vec<_> = values.split(',').map(|value| value.trim().to_owned()).collect();
        if name.is_empty() || values.iter().any(String::is_empty) {
            return Err("a parameter and its values are spelled as in fade=5000,10000,20000".to_owned());
        }
        if let Some((_, again)) = (1..).zip(&values).find(|(at, value)| values[*at..].contains(value)) {
            return Err(format!("{again} is there twice"));
        }
        Ok(Self { name: name.trim().to_owned(), values })
    }
}

/// Configurations: each combination of the values of some parameters, by its number.
#[derive(Clone, Debug)]
pub struct Grid(Vec<Varied>);

/// A value for each of the parameters of a [`Grid`].
#[derive(Clone, Copy)]
pub struct Configuration<'a> {
    grid: &'a Grid,
    number: usize,
}

impl Grid {
    /// So many configurations are tried at most.
    pub const MOST: usize = 10_000;

    /// All combinations; the values of the last parameter differ from one configuration to the next.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] if a parameter is there twice, or if there are more than [`Grid::MOST`] combinations.
    pub fn new(varied: Vec<Varied>) -> Result<Self, Error> {
        for (at, Varied { name, .. }) in (1..).zip(&varied) {
            if varied[at..].iter().any(|other| other.name == *name) {
                return Err(Error::Usage(format!(
                    "--vary {name} is given twice; list all its values in one"
                )));
            }
        }
        let grid = Self(varied);
        match grid.count() {
            count if count > Self::MOST => {
                let most = Self::MOST;
                Err(Error::Usage(format!("--vary gives {count} configurations, more than {most}")))
            }
            _ => Ok(grid),
        }
    }

    /// How many configurations there are.
    pub fn count(&self) -> usize {
        self.0.iter().fold(1, |count, varied| count.saturating_mul(varied.values.len()))
    }

    /// All of them, by their numbers.
    pub fn configurations(&self) -> impl Iterator<Item = Configuration<'_>> {
        (0..self.count()).map(|number| self.configuration(number))
    }

    /// One of them.
    pub fn configuration(&self, number: usize) -> Configuration<'_> {
        Configuration { grid: self, number }
    }

    /// The parameters.
    pub fn varied(&self) -> &[Varied] {
        &self.0
    }
}

impl<'a> Configuration<'a> {
    /// Each parameter with its value, in the order of the parameters.
    pub fn values(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let mut stride = self.grid.count();
        self.grid.0.iter().map(move |Varied { name, values }| {
            stride /= values.len();
            (name.as_str(), values[self.number / stride % values.len()].as_str())
        })
    }

    /// A detection with these values.
    ///
    /// # Errors
    ///
    /// If it has no such parameters, or if they do not take the values.
    pub fn of(self, detect: &DetectSpec, registry: &Registry) -> Result<DetectSpec, Error> {
        self.values().try_fold(detect.clone(), |detect, (name, value)| detect.with(name, value, registry))
    }
}

/// As in `fade=5000 cool_down=50`.
impl fmt::Display for Configuration<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values: Vec<_> = self.values().map(|(name, value)| format!("{name}={value}")).collect();
        f.write_str(&values.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(varied: &[&str]) -> Result<Grid, String> {
        let varied = varied.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
        Grid::new(varied).map_err(|error| error.to_string())
    }

    #[test]
    fn each_combination_is_there_once() {
        let grid = grid(&["a=1,2", "b=5s", "c=x, y,z"]).unwrap();
        let all: Vec<_> = grid.configurations().map(|one| one.to_string()).collect();
        let expected =
            ["a=1 b=5s c=x", "a=1 b=5s c=y", "a=1 b=5s c=z", "a=2 b=5s c=x", "a=2 b=5s c=y", "a=2 b=5s c=z"];
        assert_eq!(
            (6, &expected[..]),
            (grid.count(), &all.iter().map(String::as_str).collect::<Vec<_>>()[..])
        );
    }

    #[test]
    fn what_is_none_is_refused() {
        let many = (0..101).map(|value| value.to_string()).collect::<Vec<_>>().join(",");
        let (a, b) = (format!("a={many}"), format!("b={many}"));
        let spelled = "a parameter and its values are spelled as in fade=5000,10000,20000";
        for (varied, message) in [
            (vec!["a"], spelled),
            (vec!["a="], spelled),
            (vec!["=1"], spelled),
            (vec!["a=1,,2"], spelled),
            (vec!["a=1,2,1"], "1 is there twice"),
            (vec!["a=1", "a=2"], "--vary a is given twice; list all its values in one"),
            (vec![&*a, &*b], "--vary gives 10201 configurations, more than 10000"),
        ] {
            assert_eq!(message, grid(&varied).unwrap_err(), "{varied:?}");
        }
    }
}
