use proptest::prelude::*;

use super::*;
use crate::logic::drive::Drive;

fn verdict(score: Option<f64>) -> Verdict {
    Verdict::of("d".into(), score)
}

fn calibrated(warmup: u32, scores: &[f64]) -> Vec<Option<f64>> {
    let logic = Calibrate::new(warmup).unwrap();
    let mut drive = Drive::start(&logic);
    for score in scores {
        drive.record(EventTime::MIN, &verdict(Some(*score)));
    }
    drive.emitted.iter().map(|(_, verdict)| verdict.score).collect()
}

/// Numbers in (0, 1) that follow from their seed.
fn uniform(seed: u64, count: usize) -> impl Iterator<Item = f64> {
    (0..count as u64).map(move |at| {
        let hash = xxhash_rust::xxh3::xxh3_64_with_seed(&at.to_le_bytes(), seed);
        ((hash >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    })
}

fn scores() -> impl Strategy<Value = Vec<f64>> {
    let score = prop_oneof![
        6 => 0.0..10.0, 2 => Just(0.0), 1 => Just(1e9), 1 => 0.0..1e300, 1 => Just(f64::MAX), 1 => Just(-0.0),
        1 => Just(f64::MIN_POSITIVE),
    ];
    prop::collection::vec(score, 0..900)
}

proptest! {
    #[test]
    fn a_higher_score_is_never_calibrated_lower(earlier in scores(), mut asked in scores()) {
        let mut state = Calibration::default();
        earlier.iter().for_each(|score| state.learn(*score));
        asked.sort_by(f64::total_cmp);
        let calibrated: Vec<_> = asked.iter().map(|score| 1.0 - state.probability(*score)).collect();
        prop_assert!(calibrated.iter().all(|score| (0.0..=1.0).contains(score)), "{:?}", calibrated);
        prop_assert!(calibrated.is_sorted(), "{:?} of {:?}", calibrated, asked);
    }

    /// Below the tail, the share of earlier scores of the same sixteenth of an octave or above.
    #[test]
    fn few_scores_are_calibrated_by_counting(earlier in prop::collection::vec(1.0..8.0, 1..150), score in 1.0..8.0) {
        let mut state = Calibration::default();
        earlier.iter().for_each(|score| state.learn(*score));
        let floor = |score: f64| (score.to_bits() >> 48) as f64;
        let at_least = earlier.iter().filter(|other| floor(**other) >= floor(score)).count();
        let expected = 1.0 - (at_least + 1) as f64 / (earlier.len() + 1) as f64;
        prop_assert_eq!(expected, 1.0 - state.probability(score));
    }

    #[test]
    fn snapshot_and_restore_at_any_score_changes_nothing(scores in scores(), snapshot in 0usize..400) {
        let logic = Calibrate::new(20).unwrap();
        let mut drive = Drive::start(&logic);
        for (at, score) in scores.iter().enumerate() {
            if at == snapshot {
                drive.snapshot();
            }
            drive.record(EventTime::MIN, &verdict(Some(*score)));
        }
        let found: Vec<_> = drive.emitted.iter().map(|(_, verdict)| verdict.score).collect();
        prop_assert_eq!(calibrated(20, &scores), found);
    }
}

/// Of scores that follow one distribution, as many exceed a calibrated score as it says.
#[test]
fn a_calibrated_score_is_as_rare_as_it_says() {
    let exponential = |uniform: f64| -libm::log(uniform);
    let pareto = |uniform: f64| libm::pow(uniform, -0.5);
    let normal = |uniform: f64| (-2.0 * libm::log(uniform)).sqrt();
    let distributions = [exponential as fn(f64) -> f64, pareto, normal];
    for (name, distribution) in ["exponential", "Pareto", "Rayleigh"].into_iter().zip(distributions) {
        let mut exceeded = [0; 3];
        let (keys, count) = (40, 5_000);
        for key in 0..keys {
            let scores: Vec<_> = uniform(key, count).map(distribution).collect();
            for score in calibrated(1_000, &scores).into_iter().flatten() {
                for (exceeded, level) in exceeded.iter_mut().zip([0.1, 0.01, 0.001]) {
                    *exceeded += u32::from(score >= 1.0 - level);
                }
            }
        }
        let records = keys as f64 * 4_000.0;
        // Scores are rarer than they say where the tail is lighter than an exponential one.
        let bounds = [(0.8, 1.05), (0.75, 1.3), (0.35, 2.0)];
        for ((found, level), (least, most)) in exceeded.into_iter().zip([0.1, 0.01, 0.001]).zip(bounds) {
            let ratio = f64::from(found) / records / level;
            println!("{name}: {level} is exceeded {ratio:.2} times as often");
            assert!((least..most).contains(&ratio), "{name}: {level} is exceeded {ratio} times as often");
        }
    }
}

/// Spikes far beyond everything must not hide the next one that is merely large.
#[test]
fn a_few_spikes_do_not_blind_it() {
    let mut scores: Vec<_> = uniform(1, 2_000).map(|uniform| -libm::log(uniform)).collect();
    scores.push(25.0);
    let before = calibrated(200, &scores).pop().flatten().unwrap();
    for spike in [300, 700, 1_100, 1_500] {
        scores[spike] = 1e9;
    }
    let after = calibrated(200, &scores).pop().flatten().unwrap();
    assert!(before > 0.99999 && after > 0.9999, "{before} before, {after} after");
}

#[test]
fn until_there_are_enough_scores_there_is_none() {
    let found = calibrated(20, &[1.0; 22]);
    assert_eq!((vec![None; 20], vec![Some(0.0); 2]), (found[..20].to_vec(), found[20..].to_vec()));
    let logic = Calibrate::new(20).unwrap();
    let mut drive = Drive::start(&logic);
    (0..40).for_each(|_| drive.record(EventTime::MIN, &verdict(None)));
    drive.record(EventTime::MIN, &verdict(Some(1.0)));
    assert!(drive.emitted.iter().all(|(_, verdict)| verdict.score.is_none()));
    let refused = Calibrate::new(5).unwrap_err().to_string();
    assert_eq!("\"calibrate\" takes a whole number in [20, 10000], not 5", refused);
}

#[test]
fn memory_is_bounded() {
    let logic = Calibrate::new(20).unwrap();
    let mut drive = Drive::start(&logic);
    for exponent in -300..300 {
        drive.record(EventTime::MIN, &verdict(Some(libm::pow(10.0, f64::from(exponent)))));
    }
    assert!(drive.memory() <= size_of::<Calibration>() + 64 * 8, "{}", drive.memory());
}
