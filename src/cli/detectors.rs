//! `tidewatch detectors`.

use serde_json::json;
use tidewatch_dataflows::detectors::DetectorInfo;
use tidewatch_dataflows::params::{Default, Parameter};

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
        let describe = if voice.json { describe_json } else { describe };
        match &self.name {
            Some(name) => match registry.detectors.get(name) {
                Some(info) => super::say(&describe(info)),
                None => {
                    Err(Error::unknown_of("detector", name, registry.detectors.iter().map(|info| info.name)))
                }
            },
            None if voice.json => registry.detectors.iter().try_for_each(|info| super::say(&describe(info))),
            None => {
                let width = registry.detectors.iter().map(|info| info.name.len()).max().unwrap_or(0);
                for info in registry.detectors.iter() {
                    super::say(&format!("{:width$}  {}", info.name, info.summary))?;
                }
                super::say("\n`tidewatch detectors NAME` tells what one takes and gives")
            }
        }
    }
}

fn default_of(parameter: &Parameter) -> String {
    match parameter.default {
        Default::Required => "required".to_owned(),
        Default::Absent => "optional".to_owned(),
        Default::Number(value) => format!("default {value}"),
        Default::Integer(value) => format!("default {value}"),
        Default::Text(value) => format!("default \"{value}\""),
        Default::Flag(value) => format!("default {value}"),
    }
}

fn describe(info: &DetectorInfo) -> String {
    let mut text = format!("{}: {}\n\n", info.name, info.summary);
    text += &format!("score   {}\n", info.score);
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
    text += &format!(
        "\nin a pipeline file\n  [[detect]]\n  name = \"mine\"\n  detector = \"{}\"\n  threshold = …",
        info.name
    );
    text
}

fn describe_json(info: &DetectorInfo) -> String {
    let parameters: Vec<_> = info
        .parameters
        .iter()
        .map(|parameter| {
            json!({
                "name": parameter.name,
                "takes": parameter.kind.to_string(),
                "default": default_of(parameter),
                "doc": parameter.doc,
            })
        })
        .collect();
    json!({
        "name": info.name,
        "summary": info.summary,
        "score": info.score,
        "cost": info.cost,
        "state_bytes": info.state,
        "source": info.source,
        "parameters": parameters,
    })
    .to_string()
}
