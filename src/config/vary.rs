//! A detection with other values of its parameters.

use tidewatch_dataflows::logic::{Calibrate, CoolDown, DeadBand, Rebaseline, Threshold};
use tidewatch_dataflows::params::{Given, ParamError, Parameter, Value};
use tidewatch_dataflows::pipelines::Rules;
use tidewatch_dataflows::Lapse;

use super::{advice, DetectSpec};
use crate::registry::Registry;
use crate::Error;

/// What makes rules differ in a checked value.
type Set = fn(&mut Rules, &Value) -> Result<(), ParamError>;

/// The rules on which scores hang. That of a lapse leaves `close_after` alone, on which none does.
const RULES: [(Parameter, Set); 5] = [
    (DeadBand::ABSOLUTE, |rules, value| {
        let (_, fraction) = width(rules);
        rules.dead_band = Some(DeadBand::new(f64::try_from(value).expect(CHECKED), fraction)?);
        Ok(())
    }),
    (DeadBand::FRACTION, |rules, value| {
        let (absolute, _) = width(rules);
        rules.dead_band = Some(DeadBand::new(absolute, f64::try_from(value).expect(CHECKED))?);
        Ok(())
    }),
    (Calibrate::CALIBRATE, |rules, value| {
        rules.calibrate = Some(u32::try_from(value).expect(CHECKED));
        Ok(())
    }),
    (Rebaseline::<()>::AFTER, |rules, value| {
        rules.rebaseline_after = Some(u32::try_from(value).expect(CHECKED));
        Ok(())
    }),
    (CoolDown::LAPSE, |rules, value| {
        rules.cool_down = Lapse::try_from(value).expect(CHECKED);
        Ok(())
    }),
];

const CHECKED: &str = "it was checked";

fn width(rules: &Rules) -> (f64, f64) {
    rules.dead_band.map_or((0.0, 0.0), |band| band.width())
}

impl DetectSpec {
    /// The same detection with another value of a parameter: of its detector, or of one of the rules on which scores hang
    /// (`dead_band`, `dead_band_fraction`, `calibrate`, `rebaseline_after`, `cool_down`). The value is spelled as in a pipeline file, without quotes.
    ///
    /// That it goes with the others is for whoever makes the detector to say.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] if there is no such parameter, [`Error::Parameter`] if it does not take the value.
    pub fn with(&self, name: &str, value: &str, registry: &Registry) -> Result<Self, Error> {
        let info = registry.detectors.get(&self.detector);
        let info = info.ok_or_else(|| Error::unknown("detector", &self.detector))?;
        let (mut detect, given) = (self.clone(), Given::Text(value.to_owned()));
        if let Some(parameter) = info.parameters.iter().find(|parameter| parameter.name == name) {
            detect.params = detect.params.with(parameter, given)?;
            return Ok(detect);
        }
        let Some((rule, set)) = RULES.iter().find(|(rule, _)| rule.name == name) else {
            return Err(self.unknown(name, info.parameters.iter().map(|parameter| parameter.name)));
        };
        set(&mut detect.rules, &rule.check(given)?)?;
        Ok(detect)
    }

    fn unknown(&self, name: &str, parameters: impl Iterator<Item = &'static str>) -> Error {
        if name == Threshold::THRESHOLD.name {
            let reason =
                "is chosen along with each configuration, of all that there are; vary what scores hang on";
            return Error::Usage(format!("\"{name}\" {reason}"));
        }
        let advice = advice(name, parameters.chain(RULES.iter().map(|(rule, _)| rule.name)));
        Error::Usage(format!(
            "unknown parameter \"{name}\" of detection \"{}\" ({}){advice}",
            self.name, self.detector
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    const FILE: &str = r#"
name = "p"
[[source]]
name = "numbers"
connector = "generator"
[[detect]]
name = "d"
detector = "running-range"
"#;

    fn detect(settings: &str) -> DetectSpec {
        let text = format!("{FILE}threshold = 0.5\n{settings}");
        let file = parse("p.toml", &text, &|_| None, &Registry::default());
        file.unwrap_or_else(|error| panic!("{settings}: {error}")).detects.remove(0)
    }

    #[test]
    fn a_value_is_as_good_as_in_the_file() {
        let registry = Registry::default();
        // What closes an alert would follow from the cool-down.
        let plain = detect("close_after = 10");
        for (name, value, settings) in [
            ("fade", "500", "params = { fade = 500 }"),
            ("cool_down", "25", "cool_down = 25"),
            ("cool_down", "5m", "cool_down = \"5m\""),
            ("calibrate", "100", "calibrate = 100"),
            ("rebaseline_after", "40", "rebaseline_after = 40"),
            ("dead_band", "0.25", "dead_band = 0.25"),
            ("dead_band_fraction", "0.1", "dead_band_fraction = 0.1"),
        ] {
            let expected = detect(&format!("close_after = 10\n{settings}"));
            assert_ne!(plain, expected, "{settings}");
            assert_eq!(expected, plain.with(name, value, &registry).unwrap(), "{name}={value}");
        }
    }

    #[test]
    fn both_dead_bands_can_vary() {
        let registry = Registry::default();
        let both = detect("dead_band = 1\ndead_band_fraction = 0.5");
        let found = detect("dead_band = 7").with("dead_band_fraction", "0.5", &registry);
        assert_eq!(both, found.unwrap().with("dead_band", "1", &registry).unwrap());
    }

    #[test]
    fn what_is_wrong_is_said_with_what_would_be_right() {
        let refused =
            |name, value| detect("").with(name, value, &Registry::default()).unwrap_err().to_string();
        for ((name, value), message) in [
            (("fad", "1"), "unknown parameter \"fad\" of detection \"d\" (running-range); did you mean \"fade\"?"),
            (
                ("threshold", "1"),
                "\"threshold\" is chosen along with each configuration, of all that there are; vary what scores hang on",
            ),
            (("calibrate", "1"), "\"calibrate\" takes a whole number in [20, 10000], not \"1\""),
            (("dead_band", "-1"), "\"dead_band\" takes a number of at least 0, not \"-1\""),
        ] {
            assert_eq!(message, refused(name, value));
        }
    }
}
