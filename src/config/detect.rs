//! `[[detect]]`.

use tidewatch_dataflows::logic::{Calibrate, CoolDown, DeadBand, Episodes, Rebaseline, Selection, Threshold};
use tidewatch_dataflows::params::Parameter;
use tidewatch_dataflows::pipelines::Rules;
use tidewatch_dataflows::Lapse;

use super::item::{Item, Text};
use super::near::list;
use super::params::Owner;
use super::reader::{Checked, Reader};
use super::spec::DetectSpec;
use super::table::Table;

/// As many records without an anomaly close an alert at least, where nobody says.
const QUIET: u32 = 10;

const CLEAR: Parameter = Parameter { name: "clear", ..Threshold::THRESHOLD };

/// Reads a detection; `values` are the names of the pipeline's values, if the sources have told them.
pub(super) fn read(
    reader: &Reader<'_>,
    mut table: Table<'_>,
    values: Checked<&[Text]>,
) -> (Checked<Text>, Checked<DetectSpec>) {
    let name = table.require("name", "what to call the detection").and_then(|item| item.text());
    let spec = detection(reader, table, name.as_ref().ok(), values);
    (name, spec)
}

fn detection(
    reader: &Reader<'_>,
    mut table: Table<'_>,
    name: Option<&Text>,
    values: Checked<&[Text]>,
) -> Checked<DetectSpec> {
    let at = table.at();
    let detector = table.require("detector", "what scores the records, as in \"ewma-z\"");
    let params = table.take("params");
    let chosen = chosen(reader, &mut table);
    let dead_band = dead_band(&mut table);
    let calibrate = records(&mut table, &Calibrate::CALIBRATE);
    let cool_down = lapse(&mut table, &CoolDown::LAPSE);
    let rebaseline_after = records(&mut table, &Rebaseline::<()>::AFTER);
    let close_after = lapse(&mut table, &Episodes::CLOSE_AFTER);
    let rearm = number(&mut table, &Episodes::REARM);
    let critical = number(&mut table, &Episodes::CRITICAL);
    let threshold = table.take(Threshold::THRESHOLD.name);
    let clear = table.take(CLEAR.name);
    let finished = table.finish();

    let info = detector.and_then(|item| item.lookup("detector", &reader.registry.detectors));
    let usual = info.as_ref().ok().and_then(|(info, _)| info.threshold);
    let is_calibrated = matches!(calibrate, Ok(Some(_)));
    let threshold = match (threshold, usual) {
        (Some(item), _) => read_threshold(&item, is_calibrated),
        (None, Some(usual)) if !is_calibrated => Ok(usual),
        // A detector that is not known has been reported.
        (None, _) => info.and_then(|_| {
            let Parameter { name, doc, .. } = Threshold::THRESHOLD;
            Err(reader.fault(at, format!("missing \"{name}\" in [[detect]]: {doc}")))
        }),
    };
    let clear = clear.map_or(threshold, |item| read_clear(&item, threshold));
    let given = info.and_then(|(info, written)| {
        let name = format!("detector {written:?}");
        Owner { name, word: "parameter", declared: &info.parameters }.read(reader, params, at)
    });
    let several = info.map(|(info, _)| info.multivariate).unwrap_or(true);
    let values = chosen.and_then(|chosen| select(reader, chosen, values?, several, at));

    let ((info, _), given, values) = (info?, given?, values?);
    let named = name.map_or("", |name| name.text.as_str());
    let selection = Selection {
        name: named.into(),
        values: values.iter().map(|(index, name)| (*index, name.as_str().into())).collect(),
    };
    // Some conditions join several parameters, and only the detector knows them.
    (info.construct)(&given.params, selection, &reader.registry.detectors)
        .map_err(|error| given.conflict(reader, &error))?;
    finished?;
    let cool_down = cool_down?.unwrap_or(Lapse::Records(info.cool_down));
    // What goes on is told no more often than the cool-down says; so a pause between is no end.
    let usually = match cool_down {
        Lapse::Records(records) => Lapse::Records(records.max(QUIET)),
        longer => longer,
    };
    Ok(DetectSpec {
        name: named.to_owned(),
        detector: info.name.to_owned(),
        params: given.params,
        values: values.into_iter().map(|(index, _)| index).collect(),
        rules: Rules {
            dead_band: dead_band?,
            calibrate: calibrate?,
            rebaseline_after: rebaseline_after?,
            cool_down,
            threshold: threshold?,
            clear: clear?,
            close_after: close_after?.unwrap_or(usually),
            rearm: rearm?.unwrap_or(Episodes::TWICE),
            critical: critical?,
        },
    })
}

/// How long something goes on, if it is given.
fn lapse(table: &mut Table<'_>, parameter: &Parameter) -> Checked<Option<Lapse>> {
    let Some(item) = table.take(parameter.name) else { return Ok(None) };
    let (_, value) = item.check(parameter)?;
    Ok(Some(Lapse::try_from(&value).expect("it was checked")))
}

/// A number, if it is given.
fn number(table: &mut Table<'_>, parameter: &Parameter) -> Checked<Option<f64>> {
    table.take(parameter.name).map(|item| item.number(parameter)).transpose()
}

/// A number of records, if it is given.
fn records(table: &mut Table<'_>, parameter: &Parameter) -> Checked<Option<u32>> {
    let Some(item) = table.take(parameter.name) else { return Ok(None) };
    let (_, value) = item.check(parameter)?;
    Ok(Some(u32::try_from(&value).expect("it was checked")))
}

fn dead_band(table: &mut Table<'_>) -> Checked<Option<DeadBand>> {
    let (absolute, fraction) = (number(table, &DeadBand::ABSOLUTE), number(table, &DeadBand::FRACTION));
    Ok(match (absolute?, fraction?) {
        (None, None) => None,
        (absolute, fraction) => {
            let band = DeadBand::new(absolute.unwrap_or(0.0), fraction.unwrap_or(0.0));
            Some(band.expect("both were checked"))
        }
    })
}

fn read_threshold(item: &Item<'_>, is_calibrated: bool) -> Checked<f64> {
    let threshold = item.number(&Threshold::THRESHOLD)?;
    if is_calibrated && threshold > 1.0 {
        return Err(item.fault("\"threshold\" must not be above 1, which no calibrated score exceeds"));
    }
    Ok(threshold)
}

fn read_clear(item: &Item<'_>, threshold: Checked<f64>) -> Checked<f64> {
    let clear = item.number(&CLEAR)?;
    if clear <= threshold? {
        return Ok(clear);
    }
    Err(item.fault("\"clear\" must not be above \"threshold\""))
}

/// The names of the values to read; `None` if nobody chose.
fn chosen(reader: &Reader<'_>, table: &mut Table<'_>) -> Checked<Option<Vec<Text>>> {
    match (table.take("value"), table.take("values")) {
        (Some(_), Some(second)) => {
            Err(reader.fault(second.key_at(), "\"value\" and \"values\" say the same; give one of them"))
        }
        (Some(one), None) => Ok(Some(vec![one.text()?])),
        (None, Some(many)) => match many.texts()? {
            none if none.is_empty() => Err(many.fault("\"values\" is empty")),
            some => Ok(Some(some)),
        },
        (None, None) => Ok(None),
    }
}

fn select(
    reader: &Reader<'_>,
    chosen: Option<Vec<Text>>,
    values: &[Text],
    several: bool,
    at: usize,
) -> Checked<Vec<(usize, String)>> {
    let names = || values.iter().map(|value| value.written.as_str());
    let Some(chosen) = chosen else {
        if values.len() > 1 && !several {
            let message =
                format!("missing \"value\" in [[detect]]: which of the values {} it reads", list(names()));
            return Err(reader.fault(at, message));
        }
        return Ok(values.iter().map(|value| value.text.clone()).enumerate().collect());
    };
    if let ([_, second, ..], false) = (&chosen[..], several) {
        return Err(reader
            .fault(second.at, "the detector reads one value; give another [[detect]] for each further one"));
    }
    let mut selected: Vec<(usize, String)> = Vec::new();
    for name in chosen {
        match values.iter().position(|value| value.text == name.text) {
            Some(index) if selected.iter().any(|(other, _)| *other == index) => {
                return Err(reader.fault(name.at, format!("value {:?} is chosen twice", name.written)));
            }
            Some(index) => selected.push((index, name.text)),
            None => {
                let advice = name.advice(names());
                return Err(
                    reader.fault(name.at, format!("no source has a value {:?}{advice}", name.written))
                );
            }
        }
    }
    Ok(selected)
}
