//! How far a figure would move with other keys of the same sort.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{Nab, Profile, Series};

/// Where a figure lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The mean.
    pub mean: f64,
    /// The standard deviation.
    pub deviation: f64,
    /// Below it are 2.5 %.
    pub lower: f64,
    /// Above it are 2.5 %.
    pub upper: f64,
    /// How many figures there were.
    pub count: usize,
}

impl Spread {
    /// That of some figures; `None` if there is none.
    pub fn of(mut figures: Vec<f64>) -> Option<Self> {
        figures.sort_by(f64::total_cmp);
        let count = figures.len();
        let last = count.checked_sub(1)?;
        let mean = figures.iter().sum::<f64>() / count as f64;
        let squares = figures.iter().map(|figure| (figure - mean) * (figure - mean)).sum::<f64>();
        let deviation = (squares / last.max(1) as f64).sqrt();
        let quantile = |share: f64| figures[(share * last as f64).round() as usize];
        Some(Self { mean, deviation, lower: quantile(0.025), upper: quantile(0.975), count })
    }
}

/// Numbers that depend on a seed alone.
struct Random {
    seed: u64,
    drawn: u64,
}

impl Random {
    /// A number below `count`, which is not 0.
    fn below(&mut self, count: usize) -> usize {
        self.drawn += 1;
        (xxh3_64_with_seed(&self.drawn.to_le_bytes(), self.seed) % count as u64) as usize
    }

    /// The numbers below `count`, in any order.
    fn order(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<_> = (0..count).collect();
        (1..count).rev().for_each(|at| order.swap(at, self.below(at + 1)));
        order
    }
}

/// What a figure of all keys is with keys drawn anew, as many and with repetition: the bootstrap (Efron 1979, *Bootstrap
/// methods: another look at the jackknife*). A draw without a figure counts for nothing.
pub fn resampled<T>(
    keys: &[T],
    samples: usize,
    seed: u64,
    figure: impl Fn(&[&T]) -> Option<f64>,
) -> Option<Spread> {
    let mut random = Random { seed, drawn: 0 };
    let mut sample = || {
        let drawn: Vec<_> = keys.iter().map(|_| &keys[random.below(keys.len())]).collect();
        figure(&drawn)
    };
    Spread::of((0..samples).filter_map(|_| sample()).collect())
}

/// So many ways to split keys into two random halves; of each the keys of the first one and of the second one, by their numbers.
pub(super) fn halves(
    keys: usize,
    splits: usize,
    seed: u64,
) -> impl Iterator<Item = (Vec<usize>, Vec<usize>)> {
    let mut random = Random { seed, drawn: 0 };
    (0..splits).map(move |_| {
        let mut first = random.order(keys);
        let second = first.split_off(keys / 2);
        (first, second)
    })
}

/// The score of the benchmark on a random half of the keys, at the threshold that is best on the other half; over so many
/// halves. One without windows counts for nothing.
pub fn cross_validated(series: &[Series], profile: Profile, splits: usize, seed: u64) -> Option<Spread> {
    let has_windows =
        |half: &[usize]| half.iter().any(|key| series[*key].windows.len() + series[*key].unseen > 0);
    let of = |half: &[usize]| half.iter().map(|key| &series[*key]).collect::<Vec<_>>();
    let scores = halves(series.len(), splits, seed).filter_map(|(tuned, held_out)| {
        if !has_windows(&tuned) || !has_windows(&held_out) {
            return None;
        }
        let threshold = Nab::best(of(&tuned), profile).threshold;
        Some(Nab::at(of(&held_out), profile, threshold).score)
    });
    Spread::of(scores.collect())
}
