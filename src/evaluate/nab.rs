//! The score of the Numenta Anomaly Benchmark.

use super::Series;

/// What is worth how much.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Profile {
    /// What the benchmark calls it.
    pub name: &'static str,
    /// What the earliest alarm in a window is worth.
    pub hit: f64,
    /// What an alarm far from every window costs.
    pub false_alarm: f64,
    /// What a window without an alarm costs.
    pub miss: f64,
}

impl Profile {
    /// The three profiles of the benchmark.
    pub const ALL: [Self; 3] = [
        Self { name: "standard", hit: 1.0, false_alarm: 0.11, miss: 1.0 },
        Self { name: "reward_low_fp", hit: 1.0, false_alarm: 0.22, miss: 1.0 },
        Self { name: "reward_low_fn", hit: 1.0, false_alarm: 0.11, miss: 2.0 },
    ];
    /// The one that counts where there is one figure.
    pub const STANDARD: Self = Self::ALL[0];
}

/// What an alarm at a row is worth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Worth {
    score: f64,
    /// As a share of [`Profile::hit`] in a window, above 0; of [`Profile::false_alarm`] outside, below 0.
    share: f64,
    /// The window, by its number among all.
    window: Option<usize>,
}

/// How well alarms agree with labels, as the Numenta Anomaly Benchmark (version 1.1) says.
///
/// From Lavin and Ahmad 2015, *Evaluating Real-Time Anomaly Detection Algorithms: the Numenta Anomaly Benchmark*, section
/// III, and Ahmad et al. 2017, *Unsupervised real-time anomaly detection for streaming data*. With
/// `σ(y) = 2 / (1 + e^{5y}) - 1`, an alarm at the `i`-th of the `w` rows of a window is worth `σ(-(w - i) / w) / σ(-1)`, counted
/// from `i = 0`, of which each window's best alarm counts; outside, an alarm costs `|σ(y)|`, where `y` is its distance from the
/// end of the window before it in widths of that window, and all of it beyond 3 widths or where there is none. A window
/// without an alarm costs a miss. The first 15 % of the rows of a key, at most 750, are not looked at. All of it is
/// scaled so that 0 is no alarm at all, and 100 an alarm at the start of each window and nowhere else.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Nab {
    /// At most 100; below 0 if alarms cost more than they are worth; no number without windows.
    pub score: f64,
    /// What alarms are worth, beyond no alarm at all: at most the worth of a hit and a miss for each window.
    pub gain: f64,
    /// The score from which a row was an alarm; infinite if nothing was.
    pub threshold: f64,
    /// How many windows had no alarm.
    pub missed: usize,
    /// How many windows there are.
    pub windows: usize,
    /// How many alarms were outside windows.
    pub outside: usize,
}

fn sigma(y: f64) -> f64 {
    if y > 3.0 {
        -1.0
    } else {
        2.0 / (1.0 + (5.0 * y).exp()) - 1.0
    }
}

/// What an alarm at each row that is looked at is worth, and how many windows the series have: with rows, and without.
fn worths<'a>(series: impl IntoIterator<Item = &'a Series>) -> (Vec<Worth>, [usize; 2]) {
    let (mut worths, mut windows, mut unseen) = (Vec::new(), 0, 0);
    for series in series {
        let length = series.rows.len();
        let probation = ((0.15 * length as f64) as usize).min(750);
        for (at, row) in series.rows.iter().enumerate().skip(probation) {
            let window = series.window_of(at);
            let share = match window {
                Some(window) => {
                    let rows = &series.windows[window];
                    sigma(-((rows.end - at) as f64) / rows.len() as f64) / sigma(-1.0)
                }
                None => {
                    match series.windows[..series.windows.partition_point(|window| window.end <= at)].last() {
                        Some(before) => sigma((at + 1 - before.end) as f64 / (before.len() as f64 - 1.0)),
                        None => -1.0,
                    }
                }
            };
            let window = window.map(|window| windows + window);
            worths.push(Worth { score: row.score, share, window });
        }
        windows += series.windows.len();
        unseen += series.unseen;
    }
    // Those of one score keep their order, so that sums are the same each time.
    worths.sort_by(|a, b| b.score.total_cmp(&a.score));
    (worths, [windows, unseen])
}

impl Nab {
    /// At the threshold that gives the highest score, of all that there are.
    pub fn best<'a>(series: impl IntoIterator<Item = &'a Series>, profile: Profile) -> Self {
        let (worths, windows) = worths(series);
        let none = Tally::of(&worths, windows, profile);
        let mut best = none.clone();
        none.sweep(&worths, profile, |tally| {
            if tally.total > best.total {
                best = tally.clone();
            }
        });
        best.score(profile)
    }

    /// With each row as an alarm whose score is at least `threshold`.
    pub fn at<'a>(series: impl IntoIterator<Item = &'a Series>, profile: Profile, threshold: f64) -> Self {
        let (worths, windows) = worths(series);
        let mut tally = Tally::of(&worths, windows, profile);
        worths
            .iter()
            .take_while(|worth| worth.score >= threshold)
            .for_each(|alarm| tally.add(alarm, profile));
        Tally { threshold, ..tally }.score(profile)
    }
}

/// What alarms of a key gain with each threshold ([`Nab::gain`]): the highest threshold of each gain that differs from the one
/// above it, in falling order; the first is without any alarm.
pub(super) fn gains(series: &Series, profile: Profile) -> Vec<(f64, f64)> {
    let (worths, windows) = worths([series]);
    let none = Tally::of(&worths, windows, profile);
    let mut total = none.total;
    let mut gains = vec![(none.threshold, none.score(profile).gain)];
    none.sweep(&worths, profile, |tally| {
        if tally.total != total {
            total = tally.total;
            gains.push((tally.threshold, tally.score(profile).gain));
        }
    });
    gains
}

/// What alarms so far are worth.
#[derive(Clone)]
struct Tally {
    total: f64,
    threshold: f64,
    /// The worth of each window's best alarm.
    found: Vec<Option<f64>>,
    /// How many windows can be found at all: the others lie in rows that are not looked at.
    open: usize,
    outside: usize,
}

impl Tally {
    fn of(worths: &[Worth], [windows, unseen]: [usize; 2], profile: Profile) -> Self {
        let mut is_open = vec![false; windows];
        worths.iter().filter_map(|worth| worth.window).for_each(|window| is_open[window] = true);
        let open = is_open.iter().filter(|open| **open).count() + unseen;
        let total = -profile.miss * open as f64;
        Self { total, threshold: f64::INFINITY, found: vec![None; windows + unseen], open, outside: 0 }
    }

    /// Shows what alarms are worth from each score on, from the highest one down.
    fn sweep(mut self, worths: &[Worth], profile: Profile, mut each: impl FnMut(&Self)) {
        let scored = worths.partition_point(|worth| worth.score > f64::NEG_INFINITY);
        for alarms in worths[..scored].chunk_by(|a, b| a.score == b.score) {
            alarms.iter().for_each(|alarm| self.add(alarm, profile));
            self.threshold = alarms[0].score;
            each(&self);
        }
    }

    fn add(&mut self, alarm: &Worth, profile: Profile) {
        let Some(window) = alarm.window else {
            self.total += profile.false_alarm * alarm.share;
            self.outside += 1;
            return;
        };
        let (before, worth) = (self.found[window].unwrap_or(-profile.miss), profile.hit * alarm.share);
        if worth > before {
            self.total += worth - before;
            self.found[window] = Some(worth);
        }
    }

    fn score(&self, profile: Profile) -> Nab {
        let windows = self.found.len();
        let none = -profile.miss * windows as f64;
        let perfect = profile.hit * windows as f64;
        let gain = self.total - none;
        Nab {
            score: 100.0 * gain / (perfect - none),
            gain,
            threshold: self.threshold,
            missed: self.open - self.found.iter().flatten().count(),
            windows,
            outside: self.outside,
        }
    }
}
