use proptest::prelude::*;

use super::*;
use crate::catalogue::Catalogue;
use crate::detectors::{built_in, EntropyNovelty, EwmaZ, RunningRange};
use crate::logic::drive::Drive;
use crate::params::{Given, Params};

/// Scores each record by its value of this number; none if it is missing.
struct Says(usize);

impl Logic for Says {
    type In = Record;
    type Out = Verdict;
    type State = ();

    fn start(&self, _: &Key) {}
    fn on_record(
        &self,
        (): &mut (),
        time: EventTime,
        input: &Record,
        out: &mut impl FnMut(EventTime, Verdict),
    ) {
        let value = input.values[self.0];
        let score = Some(value).filter(|value| value.is_finite());
        out(time, Verdict { expected: Some(self.0 as f64), ..Verdict::of("says".into(), score) });
    }
    fn save(&self, (): &(), _: &mut Vec<u8>) {}
    fn restore(&self, _: &mut &[u8]) -> Result<(), StateError> {
        Ok(())
    }
}

fn second(at: usize) -> EventTime {
    EventTime::from_secs(at as i64).unwrap()
}

fn verdicts<L: Logic<In = Record, Out = Verdict>>(logic: &L, records: &[Vec<f64>]) -> Vec<Verdict> {
    let mut drive = Drive::start(logic);
    for (at, values) in records.iter().enumerate() {
        drive.record(second(at), &Record::new(second(at), values.clone()));
    }
    drive.emitted.into_iter().map(|(_, verdict)| verdict).collect()
}

/// What two that say the values of the records say together.
fn both(weights: [f64; 2], combine: Combine, warmup: u32, records: &[Vec<f64>]) -> Vec<Verdict> {
    let members = weights.into_iter().zip([0, 1]).map(|(weight, at)| (weight, Says(at).erased())).collect();
    verdicts(&Ensemble::of(members, combine, warmup).unwrap(), records)
}

fn three() -> [DynLogic<Record, Verdict>; 3] {
    [
        EwmaZ::new(0.2).unwrap().warmup(5).erased(),
        RunningRange::new(0.05, 9).unwrap().erased(),
        EntropyNovelty::new(3, 6).unwrap().warmup(2).erased(),
    ]
}

/// What members that were run one by one say of a record, each with its tail probability among its earlier scores.
fn say_slow(alone: &[Vec<Verdict>], at: usize, warmup: u32) -> Vec<Option<(f64, Verdict)>> {
    let say = |verdicts: &Vec<Verdict>| {
        let mut calibration = Calibration::default();
        verdicts[..at].iter().filter_map(|verdict| verdict.score).for_each(|score| calibration.learn(score));
        let score = verdicts[at].score.filter(|_| calibration.scores() >= warmup)?;
        Some((calibration.probability(score).max(1e-12), verdicts[at]))
    };
    alone.iter().map(say).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn scores_agree_with_members_that_are_run_and_calibrated_one_by_one(
        values in prop::collection::vec(prop_oneof![12 => -5.0..5.0, 1 => Just(f64::NAN), 1 => -1e3..1e3], 0..220),
        weights in [0.01..10.0, 0.01..10.0, 0.01..10.0], warmup in 1u32..60, is_mean in any::<bool>(),
    ) {
        let records: Vec<_> = values.iter().map(|value| vec![*value]).collect();
        let combine = if is_mean { Combine::Mean } else { Combine::Max };
        let members = weights.into_iter().zip(three()).collect();
        let together = verdicts(&Ensemble::of(members, combine, warmup).unwrap(), &records);
        let alone: Vec<_> = three().iter().map(|logic| verdicts(logic, &records)).collect();
        for (at, found) in together.iter().enumerate() {
            let said = say_slow(&alone, at, warmup);
            let said: Vec<_> = said.into_iter().zip(weights).filter_map(|(said, weight)| Some((said?, weight))).collect();
            let sum: f64 = said.iter().map(|(_, weight)| weight).sum();
            let terms = || said.iter().map(|((probability, _), weight)| (*probability, weight / sum));
            let probability = match combine {
                Combine::Max => terms().map(|(probability, weight)| probability / weight).fold(1.0, f64::min),
                Combine::Mean => {
                    let product: f64 = terms().map(|(probability, weight)| libm::pow(probability, weight)).product();
                    (std::f64::consts::E * product).min(1.0)
                }
            };
            prop_assert_eq!(!said.is_empty(), found.score.is_some(), "at {}", at);
            prop_assert_eq!(Some(values[at]).filter(|value| value.is_finite()), found.value);
            let Some(score) = found.score else { continue };
            prop_assert!((score + libm::log10(probability)).abs() < 1e-9, "{} for {} at {}", score, probability, at);
            let part = |probability: f64, weight: f64| match combine {
                Combine::Max => weight / probability,
                Combine::Mean => -weight * libm::log10(probability),
            };
            let most = said.iter().map(|((probability, _), weight)| part(*probability, *weight)).fold(0.0, f64::max);
            let of_most = said.iter().any(|((probability, verdict), weight)| {
                let band = |verdict: &Verdict| (verdict.expected, verdict.lower, verdict.upper);
                part(*probability, *weight) >= most * (1.0 - 1e-9) && band(verdict) == band(found)
            });
            prop_assert!(of_most, "{:?} is of none that contributed most", found);
        }
    }
}

/// Numbers in (0, 1) that follow from their seed.
fn uniform(seed: u64, count: usize) -> impl Iterator<Item = f64> {
    (0..count as u64).map(move |at| {
        let hash = xxhash_rust::xxh3::xxh3_64_with_seed(&at.to_le_bytes(), seed);
        ((hash >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    })
}

/// Whether members say the same, or have nothing to do with each other.
#[test]
fn a_score_is_at_least_as_rare_as_it_says() {
    for (name, seeds) in [("independent", [0u64, 1]), ("the same", [0, 0])] {
        for combine in [Combine::Max, Combine::Mean] {
            let (keys, count, warmup, mut exceeded) = (20u64, 5_000, 1_000, [0; 3]);
            for key in 0..keys {
                let column = |seed| uniform(2 * key + seed, count).map(|uniform| -libm::log(uniform));
                let records: Vec<_> =
                    column(seeds[0]).zip(column(seeds[1])).map(|(a, b)| vec![a, b]).collect();
                for verdict in both([1.0, 3.0], combine, warmup, &records) {
                    for (exceeded, level) in exceeded.iter_mut().zip([1.0, 2.0, 3.0]) {
                        *exceeded += u32::from(verdict.score.is_some_and(|score| score >= level));
                    }
                }
            }
            for (found, level) in exceeded.into_iter().zip([0.1, 0.01, 0.001]) {
                let ratio = f64::from(found) / (keys as f64 * 4_000.0) / level;
                println!("{name}, {combine:?}: {level} is exceeded {ratio:.2} times as often");
                assert!((0.02..1.25).contains(&ratio), "{name}, {combine:?}: {level} {ratio} times as often");
            }
        }
    }
}

/// Many records without distinction, and one.
fn then(last: [f64; 2]) -> Vec<Vec<f64>> {
    let calm = |seed| uniform(seed, 999).map(|uniform| -libm::log(uniform));
    let calm = calm(1).zip(calm(2)).map(|(a, b)| vec![a, b]);
    calm.chain([last.to_vec()]).collect()
}

fn last(weights: [f64; 2], combine: Combine, values: [f64; 2]) -> (f64, Option<f64>) {
    let verdict = both(weights, combine, 30, &then(values)).pop().unwrap();
    (verdict.score.unwrap(), verdict.expected)
}

#[test]
fn the_greatest_is_what_one_finds_rare_and_the_mean_what_all_do() {
    let (one, all) = ([60.0, 0.5], [60.0, 60.0]);
    let (max, mean) = (last([1.0; 2], Combine::Max, one).0, last([1.0; 2], Combine::Mean, one).0);
    assert!(max > 4.0 && mean < 3.0, "{max} {mean}");
    let (max, mean) = (last([1.0; 2], Combine::Max, all).0, last([1.0; 2], Combine::Mean, all).0);
    assert!(max > 4.0 && mean > 4.0, "{max} {mean}");
}

#[test]
fn a_member_of_ten_times_the_weight_counts_for_ten_times_as_rare() {
    let ((second, _), (first, _)) =
        (last([10.0, 1.0], Combine::Max, [0.5, 60.0]), last([1.0, 10.0], Combine::Max, [0.5, 60.0]));
    assert!((first - second - 1.0).abs() < 1e-9, "{first} and {second}");
    assert_eq!(Some(1.0), last([1.0; 2], Combine::Max, [0.5, 60.0]).1, "of the one that found it rare");
    assert_eq!(Some(0.0), last([1.0; 2], Combine::Mean, [60.0, 0.5]).1);
}

#[test]
fn a_member_has_a_say_once_it_has_had_enough_scores() {
    let missing = f64::NAN;
    let records = uniform(1, 50).enumerate().map(|(at, value)| match at {
        0..=9 => vec![missing, missing],
        10..=29 => vec![value, missing],
        _ => vec![value, value],
    });
    let records: Vec<_> = records.chain([vec![0.5, missing], vec![missing, missing]]).collect();
    let alone = both([1.0, 1.0], Combine::Max, 5, &records[..30]);
    assert_eq!(vec![None; 15], alone[..15].iter().map(|verdict| verdict.score).collect::<Vec<_>>());
    assert!(alone[15..].iter().all(|verdict| verdict.score.is_some()));
    // Among one, its weight is the whole; powers of two divide without rounding.
    let heavy = both([16_384.0, 1.0], Combine::Max, 5, &records);
    let light = both([1.0 / 16_384.0, 1.0], Combine::Max, 5, &records);
    assert_eq!(heavy[..35], light[..35]);
    assert_ne!(heavy[35..50], light[35..50]);
    assert_eq!((heavy[50], heavy[51].score), (light[50], None));
}

fn make(
    given: &[(&str, &str)],
    detectors: &Catalogue<DetectorInfo>,
) -> Result<DynLogic<Record, Verdict>, ParamError> {
    let info = Ensemble::info();
    let members = given.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
    let params = Params::check(&info.parameters, [("members".to_owned(), Given::Table(members))])?;
    let selection = Selection { name: "odd".into(), values: vec![(2, "value".into())] };
    (info.construct)(&params, selection, detectors)
}

#[test]
fn members_of_a_pipeline_file_have_weights_and_parameters_of_their_own() {
    let given = [
        ("running-range", "1"),
        ("fast.detector", "ewma-z"),
        ("fast.alpha", "0.5"),
        ("fast.weight", "3"),
        ("ewma-z.warmup", "7"),
    ];
    let named = make(&given, &built_in()).unwrap();
    let members = vec![
        (1.0, EwmaZ::new(0.05).unwrap().warmup(7).erased()),
        (3.0, EwmaZ::new(0.5).unwrap().erased()),
        (1.0, RunningRange::new(0.05, 30).unwrap().erased()),
    ];
    let made = Ensemble::of(members, Combine::Max, 30).unwrap().named("odd".into());
    let values: Vec<_> = uniform(3, 300).collect();
    let (alone, third): (Vec<_>, Vec<_>) =
        values.iter().map(|value| (vec![*value], vec![f64::NAN, 0.0, *value])).unzip();
    let (expected, found) = (verdicts(&made, &alone), verdicts(&named, &third));
    assert_eq!(expected, found);
    assert!(found[299].score.is_some());
}

#[test]
fn what_a_program_has_added_can_be_a_member() {
    let mut detectors = built_in();
    let mine = DetectorInfo { name: "mine", ..detectors.get("ewma-z").unwrap().clone() };
    detectors.add(mine);
    assert!(make(&[("mine.alpha", "0.5")], &detectors).is_ok());
}

#[test]
fn wrong_members_are_refused() {
    let mut detectors = built_in();
    let several =
        DetectorInfo { name: "several", multivariate: true, ..detectors.get("ewma-z").unwrap().clone() };
    detectors.add(several);
    for (given, message) in [
        (&[][..], "\"members\" names no detector"),
        (&[("emwa-z", "1")], "unknown detector \"emwa-z\" in \"members\""),
        (&[("fast.detector", "emwa-z")], "unknown detector \"emwa-z\" in \"members.fast\""),
        (&[("ewma-z.alhpa", "1")], "unknown parameter \"alhpa\" in \"members.ewma-z\""),
        (&[("ewma-z", "0")], "\"members.ewma-z.weight\" takes a number in (0, 1000000], not 0"),
        (&[("ewma-z", "much")], "\"members.ewma-z.weight\" takes a number in (0, 1000000], not \"much\""),
        (&[("ewma-z.alpha", "2")], "\"members.ewma-z.alpha\" takes a number in (0, 1], not 2"),
        (&[("static", "1")], "\"members.static.min\" or \"max\" is needed: without bounds everything is normal"),
        (&[("no-record", "1")], "\"members.no-record\" lacks \"after\": how long a key may go without a record after its last one"),
        (&[("no-record.after", "5m")], "\"members.no-record\" cannot be a member: it does not score each record as it comes"),
        (&[("several", "1")], "\"members.several\" cannot be a member: it reads several values, and members read one"),
        (&[("ensemble", "1")], "\"members.ensemble\" cannot be a member: an ensemble has no ensembles as members"),
    ] {
        let error = make(given, &detectors).err().map(|error| (error.to_string(), error.name().to_owned()));
        assert_eq!(Some((message.to_owned(), "members".to_owned())), error);
    }
    let refused = |weight, warmup| {
        let members = vec![(weight, Says(0).erased())];
        Ensemble::of(members, Combine::Max, warmup).err().map(|error| error.to_string())
    };
    assert_eq!(Some("\"weight\" takes a number in (0, 1000000], not -1".to_owned()), refused(-1.0, 1));
    assert_eq!(Some("\"warmup\" takes a whole number in [1, 10000], not 0".to_owned()), refused(1.0, 0));
}
