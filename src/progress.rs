//! What a run tells while it goes and when it is over.

use std::io::IsTerminal;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use indicatif::{HumanCount, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use tidewatch_connectors::{Control, Error, Message, Sink, Totals};
use tidewatch_dataflows::EventTime;

use crate::cluster::Outcome;

/// Shows how a run goes, on a terminal only.
pub struct Progress {
    bar: ProgressBar,
    control: Control,
    size: Option<u64>,
}

impl Progress {
    /// A bar on standard error, over `size` in the unit of the sources; hidden if `quiet` or not a terminal.
    pub fn new(control: &Control, size: Option<u64>, quiet: bool) -> Self {
        let bar = ProgressBar::new(size.unwrap_or(0));
        let template = match size {
            Some(_) => "{elapsed_precise} {bar:12} {percent:>3}%  {wide_msg}",
            None => "{elapsed_precise} {spinner}  {wide_msg}",
        };
        bar.set_style(ProgressStyle::with_template(template).expect("the template is right"));
        if quiet || !std::io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        Self { bar, control: control.clone(), size }
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

    fn message(&self, totals: &Totals) -> String {
        let rate = totals.records as f64 / self.control.elapsed().as_secs_f64().max(1e-3);
        let reached = self.control.watermark().filter(|time| *time > EventTime::MIN);
        let reached = reached.map_or_else(|| "-".to_owned(), |time| time.to_string());
        format!("{}, {}/s, at {reached}", counted(totals.records, "record"), HumanCount(rate as u64))
    }

    /// Shows the run until it returns.
    pub fn during<T>(&self, run: impl FnOnce() -> T) -> T {
        if self.bar.is_hidden() {
            return run();
        }
        let (done, wait) = std::sync::mpsc::channel::<()>();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                self.tick();
                while wait.recv_timeout(Duration::from_millis(200)) == Err(RecvTimeoutError::Timeout) {
                    self.tick();
                }
                self.bar.finish_and_clear();
            });
            let result = run();
            drop(done);
            result
        })
    }
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
}

impl Summary {
    /// Takes the counts of a run.
    pub fn new(totals: Totals, outcome: Outcome, elapsed: Duration) -> Self {
        Self { totals, elapsed, interrupted: outcome == Outcome::Interrupted }
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
            "keys": self.totals.keys,
            "evicted": self.totals.evicted,
            "from": self.totals.span.map(|(from, _)| from.to_string()),
            "to": self.totals.span.map(|(_, to)| to.to_string()),
            "elapsed_seconds": self.elapsed.as_secs_f64(),
            "records_per_second": self.records_per_second(),
            "interrupted": self.interrupted,
        })
        .to_string()
    }

    /// A few lines for people.
    pub fn text(&self) -> String {
        let count = HumanCount;
        let mut text = format!(
            "{}: {} scored, {} late, {} malformed\n{} in {}\n",
            counted(self.totals.records, "record"),
            count(self.totals.scored),
            count(self.totals.late),
            count(self.totals.malformed),
            counted(self.totals.anomalies, "anomaly"),
            counted(self.totals.keys, "key"),
        );
        if let Some((from, to)) = self.totals.span {
            text += &format!("{from} to {to}\n");
        }
        let rate = counted(self.records_per_second() as u64, "record");
        text += &format!("{rate}/s in {}", lasted(self.elapsed));
        if self.totals.evicted > 0 {
            text += &format!("\n{} by [limits]", counted(self.totals.evicted, "eviction"));
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
