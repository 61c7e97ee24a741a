//! What a run tells while it goes and when it is over.

use std::io::{IsTerminal, Write};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use indicatif::{HumanCount, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};
use serde_json::{json, Value};
use tidewatch_connectors::{Control, Error, Message, Reached, Sink, Totals};
use tidewatch_dataflows::EventTime;
use tracing::info;

use crate::cluster::Outcome;

/// Shows how a run goes, on a terminal only.
pub struct Progress {
    bar: ProgressBar,
    control: Control,
    size: Option<u64>,
    telling: Telling,
}

/// How a run is told of that goes on, beside the bar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Telling {
    /// Not at all.
    #[default]
    Nothing,
    /// As events.
    Events,
    /// As lines of JSON on standard output.
    Json,
}

/// When a run is told of first, and how often from then on.
const FIRST: Duration = Duration::from_secs(1);
const EVERY: Duration = Duration::from_secs(10);
/// How often the bar moves.
const TICK: Duration = Duration::from_millis(200);

impl Progress {
    /// A bar on standard error, over `size` in the unit of the sources; hidden if `quiet` or not a terminal.
    pub fn new(control: &Control, size: Option<u64>, quiet: bool) -> Self {
        let bar = ProgressBar::new(size.unwrap_or(0));
        let template = match size {
            Some(_) => "{elapsed_precise} {bar:12} {percent:>3}%  {wide_msg}",
            None => "{elapsed_precise} {spinner}  {wide_msg}",
        };
        draw(&bar, template, quiet);
        Self { bar, control: control.clone(), size, telling: Telling::default() }
    }

    /// Tells of the run after a second and then every ten.
    pub fn telling(mut self, telling: Telling) -> Self {
        self.telling = telling;
        self
    }

    /// A sink that writes to the terminal on which the bar is: what it is given appears above the bar.
    pub fn above<S: Sink>(&self, sink: S) -> impl Sink + use<S> {
        Above { bar: self.bar.clone(), sink }
    }

    /// Shows where the run is now.
    pub fn tick(&self) {
        let totals = self.control.totals();
        self.bar.set_message(self.message(&totals));
        match self.size {
            Some(size) => self.bar.set_position(totals.position.min(size)),
            None => self.bar.tick(),
        }
    }

    /// Says where the run is now, and what holds it back.
    fn tell(&self) {
        let (totals, reached) = (self.control.totals(), self.control.reached());
        let records_per_second = self.rate(&totals);
        let at = reached_time(self.control.watermark());
        match self.telling {
            Telling::Nothing => {}
            Telling::Events => {
                let (lag, held_back_by) = (lag(&reached), held_back_by(&reached));
                let held_back_by = held_back_by.unwrap_or_default();
                let records = totals.records;
                info!(records, records_per_second, at, lag, held_back_by, "progress");
            }
            Telling::Json => {
                let progress = json!({
                    "records": totals.records,
                    "records_per_second": records_per_second,
                    "watermark": at,
                    "lag": lag(&reached),
                    "held_back_by": held_back_by(&reached),
                    "partitions": partitions(&reached),
                });
                // Nobody may listen any more; the summary will say so.
                let _ = writeln!(std::io::stdout().lock(), "{}", json!({ "progress": progress }));
            }
        }
    }

    fn rate(&self, totals: &Totals) -> u64 {
        (totals.records as f64 / self.control.elapsed().as_secs_f64().max(1e-3)) as u64
    }

    fn message(&self, totals: &Totals) -> String {
        let at = reached_time(self.control.watermark()).unwrap_or_else(|| "-".to_owned());
        format!("{}, {}/s, at {at}", counted(totals.records, "record"), HumanCount(self.rate(totals)))
    }

    /// Shows the run until it returns.
    pub fn during<T>(&self, run: impl FnOnce() -> T) -> T {
        if self.bar.is_hidden() && self.telling == Telling::Nothing {
            return run();
        }
        let (done, wait) = std::sync::mpsc::channel::<()>();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let (start, mut next) = (Instant::now(), FIRST);
                self.tick();
                while wait.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                    self.tick();
                    if start.elapsed() >= next {
                        next += EVERY;
                        self.tell();
                    }
                }
                self.bar.finish_and_clear();
            });
            let result = run();
            drop(done);
            result
        })
    }
}

/// A bar on standard error over so many things that are done one after the other; hidden if `quiet` or not a terminal, and gone
/// when it is dropped.
pub(crate) fn counting(count: usize, things: &str, quiet: bool) -> ProgressBar {
    let bar = ProgressBar::new(count as u64).with_finish(ProgressFinish::AndClear);
    draw(&bar, &format!("{{elapsed_precise}} {{bar:12}} {{pos}} of {{len}} {things}, {{eta}} left"), quiet);
    bar.tick();
    bar
}

fn draw(bar: &ProgressBar, template: &str, quiet: bool) {
    bar.set_style(ProgressStyle::with_template(template).expect("the template is right"));
    if quiet || !std::io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
}

/// A watermark, if a record has moved it.
fn reached_time(watermark: Option<EventTime>) -> Option<String> {
    watermark.filter(|time| *time > EventTime::MIN).map(|time| time.to_string())
}

/// How many offsets there still are in all partitions of which that is known; `None` if it is of none.
fn lag(reached: &[Reached]) -> Option<u64> {
    reached.iter().filter_map(|reached| reached.lag).reduce(u64::saturating_add)
}

/// What holds the frontier back, as in `requests requests/3`, by the names of source and partition.
fn held_back_by(reached: &[Reached]) -> Option<String> {
    reached.first().map(|Reached { source, partition, .. }| format!("{source} {partition}"))
}

fn partitions(reached: &[Reached]) -> Vec<Value> {
    let partition = |reached: &Reached| {
        json!({
            "source": reached.source,
            "partition": reached.partition,
            "next": reached.next.0,
            "watermark": reached_time(Some(reached.watermark)),
            "lag": reached.lag,
        })
    };
    reached.iter().map(partition).collect()
}

struct Above<S> {
    bar: ProgressBar,
    sink: S,
}

impl<S: Sink> Sink for Above<S> {
    fn write(&mut self, messages: &[Message<'_>], frontier: Option<EventTime>) -> Result<(), Error> {
        if messages.is_empty() {
            return self.sink.write(messages, frontier);
        }
        self.bar.suspend(|| self.sink.write(messages, frontier))
    }
}

/// What a run counted.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// What it counted, over all processes. Each record is scored, late, malformed, or, after an interruption, not final yet.
    pub totals: Totals,
    /// Wall time since the first worker has started, without the wait for other processes.
    pub elapsed: Duration,
    /// Whether the run was interrupted.
    pub interrupted: bool,
    /// How far the partitions had been read that had not ended, the furthest behind first.
    pub reached: Vec<Reached>,
}

impl Summary {
    /// Takes the counts of a run that is over.
    pub fn new(control: &Control, outcome: Outcome) -> Self {
        let (totals, elapsed, reached) = (control.totals(), control.elapsed(), control.reached());
        Self { totals, elapsed, interrupted: outcome == Outcome::Interrupted, reached }
    }

    /// Records per second of wall time.
    pub fn records_per_second(&self) -> f64 {
        self.totals.records as f64 / self.elapsed.as_secs_f64().max(1e-6)
    }

    /// One line of JSON.
    pub fn json(&self) -> String {
        json!({
            "records": self.totals.records,
            "scored": self.totals.scored,
            "late": self.totals.late,
            "malformed": self.totals.malformed,
            "anomalies": self.totals.anomalies,
            "alerts": self.totals.alerts,
            "muted": self.totals.muted,
            "keys": self.totals.keys,
            "evicted": self.totals.evicted,
            "lost": self.totals.lost,
            "from": self.totals.span.map(|(from, _)| from.to_string()),
            "to": self.totals.span.map(|(_, to)| to.to_string()),
            "elapsed_seconds": self.elapsed.as_secs_f64(),
            "records_per_second": self.records_per_second(),
            "interrupted": self.interrupted,
            "lag": lag(&self.reached),
            "held_back_by": held_back_by(&self.reached),
            "partitions": partitions(&self.reached),
        })
        .to_string()
    }

    /// A few lines for people.
    pub fn text(&self) -> String {
        let count = HumanCount;
        let mut text = format!(
            "{}: {} scored, {} late, {} malformed\n{}, {} in {}\n",
            counted(self.totals.records, "record"),
            count(self.totals.scored),
            count(self.totals.late),
            count(self.totals.malformed),
            counted(self.totals.anomalies, "anomaly"),
            counted(self.totals.alerts, "alert"),
            counted(self.totals.keys, "key"),
        );
        if let Some((from, to)) = self.totals.span {
            text += &format!("{from} to {to}\n");
        }
        let rate = counted(self.records_per_second() as u64, "record");
        text += &format!("{rate}/s in {}", lasted(self.elapsed));
        if self.totals.muted > 0 {
            text += &format!("\n{} muted", counted(self.totals.muted, "alert"));
        }
        if self.totals.evicted > 0 {
            text += &format!("\n{} by [limits]", counted(self.totals.evicted, "eviction"));
        }
        if self.totals.lost > 0 {
            let were = if self.totals.lost == 1 { "was" } else { "were" };
            let lost = counted(self.totals.lost, "record");
            text += &format!("\n{lost} {were} lost: gone from their topic before they were read");
        }
        if self.interrupted {
            let waiting = self.totals.records - self.totals.scored - self.totals.late - self.totals.malformed;
            let were = if waiting == 1 { "was" } else { "were" };
            text += &format!("\ninterrupted: {} {were} not final yet", counted(waiting, "record"));
        }
        text
    }
}

/// A number of things, as in "1 key" or "2 anomalies".
pub(crate) fn counted(number: u64, one: &str) -> String {
    let many = match one.strip_suffix('y').filter(|stem| !stem.ends_with('e')) {
        Some(stem) => format!("{stem}ies"),
        None => format!("{one}s"),
    };
    format!("{} {}", HumanCount(number), if number == 1 { one } else { &many })
}

/// A length of wall time: short ones to the millisecond.
fn lasted(elapsed: Duration) -> String {
    match elapsed.as_secs_f64() {
        seconds if seconds < 1.0 => format!("{} ms", elapsed.as_millis().max(1)),
        seconds if seconds < 60.0 => format!("{seconds:.1} s"),
        _ => HumanDuration(elapsed).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_counts_one_record_as_one() {
        let (control, one) = (Control::default(), Totals { records: 1, ..Totals::default() });
        let message = Progress::new(&control, None, true).message(&one);
        assert!(message.starts_with("1 record, "), "{message}");
    }

    #[test]
    fn one_is_one_and_short_runs_take_time() {
        assert_eq!("1 anomaly", counted(1, "anomaly"));
        assert_eq!("0 anomalies", counted(0, "anomaly"));
        assert_eq!("1,000 keys", counted(1_000, "key"));
        assert_eq!("1 eviction", counted(1, "eviction"));
        assert_eq!(
            ["1 ms", "20 ms", "2.5 s", "2 minutes"],
            [0.0, 0.02, 2.5, 120.0].map(|seconds| lasted(Duration::from_secs_f64(seconds)))
        );
    }
}
