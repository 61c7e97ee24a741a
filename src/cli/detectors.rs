//! `tidewatch detectors`.

use serde_json::json;
use tidewatch_dataflows::detectors::DetectorInfo;
use tidewatch_dataflows::logic::Selection;
use tidewatch_dataflows::params::{Given, Kind, Parameter, Params, Presence};
use tidewatch_dataflows::Catalogue;

use super::Voice;
use crate::registry::Registry;
use crate::Error;

/// Lists the detectors, or describes one: parameters, ranges, defaults, cost, state size, source.
#[derive(clap::Args)]
pub(super) struct Detectors {
    /// The detector to describe.
    name: Option<String>,
}

impl Detectors {
    pub(super) fn execute(&self, registry: &Registry, voice: Voice) -> Result<(), Error> {
        let describe = |info| match voice.json {
            true => describe_json(info),
            false => describe(info, &registry.detectors),
        };
        match &self.name {
            Some(name) => match registry.detectors.get(name) {
                Some(info) => super::say(&describe(info)),
                None => Err(Error::unknown_of("detector", name, registry.detectors.names())),
            },
            None if voice.json => registry.detectors.iter().try_for_each(|info| super::say(&describe(info))),
            None => {
                let width = registry.detectors.names().map(str::len).max().unwrap_or(0);
                for info in registry.detectors.iter() {
                    super::say(&format!("{:width$}  {}", info.name, info.summary))?;
                }
                super::say("\n`tidewatch detectors NAME` tells what one takes and gives")
            }
        }
    }
}

fn default_of(parameter: &Parameter) -> String {
    match parameter.presence {
        Presence::Required => "required".to_owned(),
        Presence::Optional => "optional".to_owned(),
        Presence::Default(literal) => format!("default {literal}"),
    }
}

fn describe(info: &DetectorInfo, detectors: &Catalogue<DetectorInfo>) -> String {
    let mut text = format!("{}: {}\n\n", info.name, info.summary);
    text += &format!("score   {}\n", info.score);
    if let Some(threshold) = info.threshold {
        text += &format!("        an anomaly from {threshold} on, unless `threshold` says otherwise\n");
    }
    if info.cool_down > 0 {
        text += &format!(
            "        above those of {} records before, unless `cool_down` says otherwise\n",
            info.cool_down
        );
    }
    text += &format!("cost    {} per record\n", info.cost);
    text += &format!("state   {} bytes per key\n", info.state);
    text += &format!("source  {}\n", info.source);
    if !info.parameters.is_empty() {
        text += "\nparameters\n";
    }
    for parameter in &info.parameters {
        text += &format!("  {}: {}, {}\n", parameter.name, parameter.kind, default_of(parameter));
        text += &format!("      {}\n", parameter.doc);
    }
    text +=
        &format!("\nin a pipeline file\n  [[detect]]\n  name = \"mine\"\n  detector = \"{}\"\n", info.name);
    let needed = needed(info, detectors);
    if !needed.is_empty() {
        let given: Vec<_> = needed.iter().map(|(name, given)| format!("{name} = {given}")).collect();
        text += &format!("  params = {{ {} }}\n", given.join(", "));
    }
    match info.threshold {
        Some(_) => text.truncate(text.trim_end().len()),
        None => text += "  threshold = …",
    }
    text
}

/// Parameters with which the detector can be made, as few as it asks for.
fn needed(info: &DetectorInfo, detectors: &Catalogue<DetectorInfo>) -> Vec<(String, Given)> {
    let sampled = |parameter: &Parameter| (parameter.name.to_owned(), sample(&parameter.kind));
    let mut given: Vec<_> =
        info.parameters.iter().filter(|parameter| parameter.is_required()).map(sampled).collect();
    for _ in &info.parameters {
        let selection = Selection { name: "mine".into(), values: vec![(0, "value".into())] };
        let made = Params::check(&info.parameters, given.clone())
            .and_then(|params| (info.construct)(&params, selection, detectors).map(|_| ()));
        // Some ask for one of several that may be left out.
        let Err(error) = made else { break };
        let asked = info.parameters.iter().find(|parameter| parameter.name == error.name());
        match asked.filter(|parameter| given.iter().all(|(name, _)| name != parameter.name)) {
            Some(parameter) => given.push(sampled(parameter)),
            None => break,
        }
    }
    given
}

/// A value that a parameter of this kind takes.
fn sample(kind: &Kind) -> Given {
    match kind {
        Kind::Number(range) if range.from.is_finite() && range.to.is_finite() => {
            Given::Number((range.from + range.to) / 2.0)
        }
        Kind::Number(range) if range.from.is_finite() => Given::Number(range.from + 1.0),
        Kind::Number(range) => Given::Number(range.to.min(1.0)),
        Kind::Integer(from, to) => Given::Integer((*from).max(1).min(*to)),
        Kind::Span | Kind::Lapse(..) => Given::Text("5m".to_owned()),
        Kind::Size => Given::Text("64MiB".to_owned()),
        Kind::Flag => Given::Flag(true),
        Kind::Text | Kind::Texts | Kind::Table => Given::Text("…".to_owned()),
        Kind::Choice(words) => Given::Text(words.first().copied().unwrap_or_default().to_owned()),
    }
}

/// The default as a value, or null.
fn default_json(parameter: &Parameter) -> serde_json::Value {
    match parameter.presence {
        Presence::Required | Presence::Optional => serde_json::Value::Null,
        Presence::Default(literal) => json!(literal),
    }
}

fn describe_json(info: &DetectorInfo) -> String {
    let parameters: Vec<_> = info
        .parameters
        .iter()
        .map(|parameter| {
            json!({
                "name": parameter.name,
                "takes": parameter.kind.to_string(),
                "required": parameter.is_required(),
                "default": default_json(parameter),
                "doc": parameter.doc,
            })
        })
        .collect();
    json!({
        "name": info.name,
        "summary": info.summary,
        "score": info.score,
        "threshold": info.threshold,
        "cool_down": info.cool_down,
        "cost": info.cost,
        "state_bytes": info.state,
        "source": info.source,
        "parameters": parameters,
    })
    .to_string()
}
