//! What holds for every detector that is built in.

use proptest::prelude::*;

use super::{built_in, DetectorInfo};
use crate::logic::drive::Drive;
use crate::logic::{AnyState, DynLogic, Logic, Selection, Verdict};
use crate::params::{Given, Kind, Parameter, Params};
use crate::{EventTime, Record};

/// The detector with default parameters; what has none gets a value that makes it speak.
fn construct(info: &DetectorInfo) -> DynLogic<Record, Verdict> {
    let needed = |parameter: &&Parameter| parameter.is_required() || info.name == "static";
    let required = info.parameters.iter().filter(needed);
    let given = required.map(|parameter| match parameter.kind {
        Kind::Span => (parameter.name.to_owned(), Given::Text("100ms".to_owned())),
        _ => (parameter.name.to_owned(), Given::Number(1.0)),
    });
    let params = Params::check(&info.parameters, given).unwrap();
    let selection = Selection { name: info.name.into(), values: vec![(0, "value".into())] };
    (info.construct)(&params, selection, &built_in()).unwrap()
}

fn series() -> impl Strategy<Value = Vec<Record>> {
    let extreme = prop::sample::select(vec![f64::MAX, f64::MIN, 1e200, -1e308, f64::MIN_POSITIVE, -0.0]);
    let any = prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL | prop::num::f64::ZERO;
    let value = prop_oneof![
        8 => -10.0..10.0, 2 => Just(1.0), 1 => -1e9..1e9, 1 => Just(f64::NAN), 1 => extreme, 1 => any,
    ];
    let record = (prop_oneof![Just(0i64), 0i64..300_000], value);
    prop::collection::vec(record, 0..150).prop_map(|steps| {
        let mut now = -1_000_000;
        let mut record = |(after, value): (i64, f64)| {
            now += after;
            Record::new(EventTime::from_micros(now), [value])
        };
        steps.into_iter().map(&mut record).collect()
    })
}

/// What the detector says of the records, with a snapshot taken and restored before those at `snapshots`.
fn verdicts(info: &DetectorInfo, records: &[Record], snapshots: &[usize]) -> Vec<(EventTime, Verdict)> {
    let logic = construct(info);
    let mut drive = Drive::start(&logic);
    for (at, record) in records.iter().enumerate() {
        if snapshots.contains(&at) {
            drive.snapshot();
        }
        drive.record(record.time, record);
    }
    drive.emitted
}

proptest! {
    #[test]
    fn removing_later_records_never_changes_earlier_verdicts(
        records in series(), cut in any::<prop::sample::Index>(),
    ) {
        let prefix = &records[..cut.index(records.len() + 1)];
        for info in built_in().iter() {
            let (all, early) = (verdicts(info, &records, &[]), verdicts(info, prefix, &[]));
            prop_assert_eq!(&all[..early.len()], &early[..], "{}", info.name);
        }
    }

    #[test]
    fn snapshot_and_restore_at_any_record_changes_nothing(
        records in series(), snapshots in prop::collection::vec(0usize..150, 1..4),
    ) {
        for info in built_in().iter() {
            let (without, with) = (verdicts(info, &records, &[]), verdicts(info, &records, &snapshots));
            prop_assert_eq!(without, with, "{} at {:?}", info.name, snapshots);
        }
    }

    #[test]
    fn scores_are_numbers_of_at_least_zero(records in series()) {
        for info in built_in().iter() {
            let most = if info.name == "windowed-gaussian" { 1.0 } else { f64::MAX };
            for (time, verdict) in verdicts(info, &records, &[]) {
                let score = verdict.score.unwrap_or(0.0);
                prop_assert!((0.0..=most).contains(&score), "{} scores {} at {}", info.name, score, time);
                let others = [verdict.value, verdict.expected, verdict.lower, verdict.upper];
                let finite = others.into_iter().flatten().all(f64::is_finite);
                prop_assert!(finite, "{} says {:?} at {}", info.name, verdict, time);
            }
        }
    }

    #[test]
    fn no_finite_values_blind_a_detector_for_what_lies_beyond_them(
        records in series(), sign in prop::sample::select(vec![1.0, -1.0]),
    ) {
        let mut records = records;
        records.iter_mut().for_each(|record| record.values[0] = record.values[0].clamp(-1e307, 1e307));
        let mut now = records.last().map_or(EventTime::MIN, |record| record.time);
        for value in [1.0; 60].into_iter().chain([1.7e308]) {
            now = now.saturating_add(crate::Span::from_millis(10));
            records.push(Record::new(now, [sign * value]));
        }
        let as_can_be = [
            "adwin",
            "auto",
            "cusum",
            "discord",
            "hampel",
            "holt-winters",
            "page-hinkley",
            "quantile-bands",
            "rate-of-change",
            "seasonal",
            "welford-z",
        ];
        let at_least =
            [("entropy-novelty", 1.0), ("ewma-z", 4.0), ("running-range", 0.1), ("static", 1.0), ("windowed-gaussian", 0.9999)];
        for (name, score) in at_least.into_iter().chain(as_can_be.map(|name| (name, 1e9))) {
            let all = verdicts(built_in().get(name).unwrap(), &records, &[]);
            let (_, last) = all.last().unwrap();
            prop_assert!(last.score.is_some_and(|found| found >= score), "{} says {:?}", name, last);
        }
    }
}

#[test]
fn a_state_begins_with_as_many_bytes_as_its_description_says() {
    for info in built_in().iter() {
        let logic = construct(info);
        let memory = logic.memory(&logic.start(&crate::Key::new("key")));
        let declared = info.state.split(' ').next().and_then(|bytes| bytes.parse().ok());
        assert_eq!(declared, Some(memory - size_of::<AnyState>()), "{}: {}", info.name, info.state);
    }
}

#[test]
fn every_detector_scores_some_record() {
    let record = |at: i64| Record::new(EventTime::from_micros(at * 1_000_000), [(at % 7) as f64]);
    let records: Vec<Record> = (0..100).map(record).collect();
    for info in built_in().iter() {
        let scored = verdicts(info, &records, &[]).iter().any(|(_, verdict)| verdict.score.is_some());
        assert!(scored, "{} never scores", info.name);
    }
}
