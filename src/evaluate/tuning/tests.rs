use proptest::prelude::*;

use super::super::cross_validated;
use super::super::tests::{gain_slow, series, windows};
use super::*;

const THRESHOLDS: [f64; 7] = [f64::INFINITY, 1.0, 0.8, 0.6, 0.4, 0.2, 0.0];

/// What each half of each split chooses, of all configurations and thresholds, each gain from the rules of the benchmark.
fn chosen_slow(configurations: &[Vec<Series>], splits: usize, seed: u64) -> Vec<Chosen> {
    let mut chosen = Vec::new();
    for (first, second) in halves(configurations[0].len(), splits, seed) {
        let of = |configuration: usize, half: &[usize]| -> Vec<Series> {
            half.iter().map(|key| configurations[configuration][*key].clone()).collect()
        };
        let windows = |half: &[usize]| of(0, half).iter().map(|series| series.windows.len()).sum::<usize>();
        if windows(&first) == 0 || windows(&second) == 0 {
            continue;
        }
        for (tuned, held_out) in [(&first, &second), (&second, &first)] {
            let mut best: Option<Chosen> = None;
            for configuration in 0..configurations.len() {
                for threshold in THRESHOLDS {
                    let gain = gain_slow(&of(configuration, tuned), PROFILE, threshold);
                    if best.is_none_or(|best| gain > best.gain + ROUNDING) {
                        let elsewhere = gain_slow(&of(configuration, held_out), PROFILE, threshold);
                        let score = 100.0 * elsewhere / (2.0 * windows(held_out) as f64);
                        best = Some(Chosen { configuration, threshold, gain, score });
                    }
                }
            }
            chosen.extend(best);
        }
    }
    chosen
}

/// Configurations that say something of the same keys, with scores that are often the same.
fn some_configurations() -> impl Strategy<Value = Vec<Vec<Series>>> {
    let windows_of = prop::collection::vec((0usize..12, 1usize..8), 0..3);
    let keys = prop::collection::vec((1usize..30, windows_of), 2..6);
    (keys, 1usize..5).prop_flat_map(|(keys, count)| {
        let score = prop_oneof![3 => Just(0u8), 2 => 0u8..6];
        let scores = prop::collection::vec(score.prop_map(|score| f64::from(score) / 5.0), 30);
        let scores = prop::collection::vec(prop::collection::vec(scores, keys.len()), count);
        scores.prop_map(move |scores| {
            let series = |((number, (rows, steps)), scores): ((usize, &(usize, Vec<_>)), &Vec<f64>)| Series {
                key: number.to_string(),
                ..series(&scores[..*rows], &windows(*rows, steps))
            };
            scores.iter().map(|scores| keys.iter().enumerate().zip(scores).map(series).collect()).collect()
        })
    })
}

fn tuned(configurations: &[Vec<Series>], splits: usize, seed: u64) -> Tuning {
    let mut tuning = Tuning::new(&configurations[0], splits, seed);
    configurations.iter().for_each(|series| tuning.offer(series));
    tuning
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn halves_choose_what_is_best_of_all(configurations in some_configurations(), seed in 0u64..100) {
        let tuning = tuned(&configurations, 4, seed);
        let (found, slow): (Vec<_>, _) = (tuning.chosen().collect(), chosen_slow(&configurations, 4, seed));
        prop_assert_eq!(slow.len(), found.len());
        for (slow, found) in slow.iter().zip(&found) {
            prop_assert_eq!((slow.configuration, slow.threshold), (found.configuration, found.threshold));
            prop_assert!((slow.gain - found.gain).abs() < ROUNDING, "{:?} but {:?}", slow, found);
            prop_assert!((slow.score - found.score).abs() < ROUNDING, "{:?} but {:?}", slow, found);
        }
        prop_assert_eq!(found.len(), tuning.counts().iter().map(|(_, count)| count).sum::<usize>());
        for (series, score) in configurations.iter().zip(tuning.scores()) {
            let expected = Nab::best(series, PROFILE).score;
            prop_assert!(expected == *score || (expected.is_nan() && score.is_nan()));
        }
    }

    /// Then only the threshold is chosen.
    #[test]
    fn one_configuration_is_cross_validated_as_ever(configurations in some_configurations(), seed in 0u64..100) {
        let tuning = tuned(&configurations[..1], 5, seed);
        // Of each split the half that is tuned on comes first.
        let scores: Vec<_> = tuning.chosen().step_by(2).map(|chosen| chosen.score).collect();
        let expected = cross_validated(&configurations[0], PROFILE, 5, seed);
        prop_assert_eq!(expected.map(|spread| spread.count), Some(scores.len()).filter(|count| *count > 0));
        let near = |mean: f64| expected.is_some_and(|spread| (spread.mean - mean).abs() < 1e-6);
        prop_assert!(Spread::of(scores).is_none_or(|found| near(found.mean)), "{:?}", expected);
    }

    /// Whatever is learned on one half hangs on none of the other.
    #[test]
    fn what_the_other_half_says_changes_no_choice(configurations in some_configurations(), seed in 0u64..100) {
        let (first, _) = halves(configurations[0].len(), 1, seed).next().expect("there is one");
        let other = configurations.iter().map(|series| {
            let silent = |(key, series): (usize, &Series)| {
                let mut series = series.clone();
                if !first.contains(&key) {
                    series.rows.iter_mut().for_each(|row| row.score = 1.0 - row.score);
                }
                series
            };
            series.iter().enumerate().map(silent).collect()
        });
        let choice = |configurations: &[Vec<Series>]| {
            let chosen = tuned(configurations, 1, seed).chosen().next();
            chosen.map(|chosen| (chosen.configuration, chosen.threshold))
        };
        prop_assert_eq!(choice(&configurations), choice(&other.collect::<Vec<_>>()));
    }
}

/// As of a detection that speaks only of what is silent.
#[test]
fn a_key_of_which_only_a_later_configuration_speaks_is_in_one_half() {
    let key = |key: &str, scores: &[f64], windows: &[(usize, usize)]| Series {
        key: key.to_owned(),
        ..series(scores, &super::super::tests::windows(scores.len(), windows))
    };
    let silent = [f64::NEG_INFINITY; 20];
    let labelled = [key("a", &silent, &[(10, 5)]), key("b", &silent, &[(10, 5)])];
    let loud = [labelled.to_vec(), vec![key("c", &[0.5; 20], &[])]].concat();
    let mut tuning = tuned(&[labelled.to_vec(), loud.clone()], 3, 1);
    assert_eq!((3, 2), tuning.extent());
    assert!(tuning.chosen().all(|chosen| (chosen.configuration, chosen.score) == (0, 0.0)));
    // Good in both halves, but for the key in one of them.
    let mut good = loud;
    good[0].rows[10].score = 0.5;
    good[1].rows[10].score = 0.5;
    tuning.offer(&good);
    let alarms = -0.11 * 17.0;
    for pair in tuning.chosen().collect::<Vec<_>>().chunks(2) {
        let mut gains: Vec<_> =
            pair.iter().filter(|chosen| chosen.configuration == 2).map(|chosen| chosen.gain).collect();
        gains.sort_by(f64::total_cmp);
        assert_eq!((2, 2.0), (gains.len(), gains[1]));
        assert!((gains[0] - 2.0 - alarms).abs() < 1e-9, "{gains:?}");
    }
}
