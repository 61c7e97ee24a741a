//! Members as a pipeline file spells them.

use std::collections::BTreeMap;

use super::{Ensemble, Weighted, MEMBERS, WEIGHT};
use crate::catalogue::Catalogue;
use crate::detectors::DetectorInfo;
use crate::logic::{DynLogic, Logic, Selection, Verdict};
use crate::params::{Given, ParamError, Params};
use crate::{EventTime, Key, Record};

/// What names the detector of a member that is called otherwise.
const DETECTOR: &str = "detector";

/// Makes the members, in the order of their names, from the entries of a table by their paths: `ewma-z` is a weight, as is
/// `ewma-z.weight`, and `ewma-z.alpha` a parameter.
pub(super) fn read(
    entries: &BTreeMap<String, String>,
    selection: &Selection,
    detectors: &Catalogue<DetectorInfo>,
) -> Result<Vec<Weighted>, ParamError> {
    let mut members: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
    for (path, text) in entries {
        let (member, entry) = path.split_once('.').unwrap_or((path, WEIGHT.name));
        members.entry(member).or_default().insert(entry, text);
    }
    members.into_iter().map(|(name, given)| member(name, given, selection, detectors)).collect()
}

fn member(
    name: &str,
    mut given: BTreeMap<&str, &str>,
    selection: &Selection,
    detectors: &Catalogue<DetectorInfo>,
) -> Result<Weighted, ParamError> {
    let path = format!("{}.{name}", MEMBERS.name);
    let named = given.remove(DETECTOR);
    let detector = named.unwrap_or(name);
    let Some(info) = detectors.get(detector) else {
        return Err(ParamError::UnknownEntry {
            path: if named.is_some() { format!("{path}.{DETECTOR}") } else { path },
            what: DETECTOR,
            found: detector.to_owned(),
            possible: detectors.names().collect(),
        });
    };
    let refuse = |reason: &str| ParamError::Entry { path: path.clone(), reason: reason.to_owned() };
    if info.name == Ensemble::NAME {
        return Err(refuse("cannot be a member: an ensemble has no ensembles as members"));
    }
    if info.multivariate {
        return Err(refuse("cannot be a member: it reads several values, and members read one"));
    }
    let mut declared = vec![WEIGHT];
    declared.extend_from_slice(&info.parameters);
    let given = given.into_iter().map(|(name, text)| (name.to_owned(), Given::Text(text.to_owned())));
    let (params, logic) = Params::check(&declared, given)
        .and_then(|params| {
            (info.construct)(&params, selection.clone(), detectors).map(|logic| (params, logic))
        })
        .map_err(|error| error.within(&path, declared.iter().map(|parameter| parameter.name)))?;
    if !answers(&logic, selection) {
        return Err(refuse("cannot be a member: it does not score each record as it comes"));
    }
    Ok((params.value(WEIGHT.name), logic))
}

/// Whether a logic has one verdict for a key's first record at once, and waits for nothing more.
fn answers(logic: &DynLogic<Record, Verdict>, selection: &Selection) -> bool {
    let width = selection.values.iter().map(|(index, _)| index + 1).max().unwrap_or(1);
    let (mut state, mut verdicts) = (logic.start(&Key::new("")), 0);
    let time = EventTime::from_micros(0);
    logic.on_record(&mut state, time, &Record::new(time, vec![0.0; width]), &mut |_, _| verdicts += 1);
    verdicts == 1 && logic.deadline(&state).is_none()
}
