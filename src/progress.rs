//! What a run tells while it goes and when it is over.

use std::io::IsTerminal;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use indicatif::{HumanCount, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use tidewatch_connectors::{Control, Totals};
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
            Some(_) => "{elapsed_precise} {bar:30} {percent:>3}%  {msg}",
            None => "{elapsed_precise} {spinner}  {msg}",
        };
        bar.set_style(ProgressStyle::with_template(template).expect("the template is right"));
        if quiet || !std::io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        Self { bar, control: control.clone(), size }
    }

    /// Shows where the run is now.
    pub fn tick(&self) {
        let Totals { records, position, .. } = self.control.totals();
        let rate = records as f64 / self.control.elapsed().as_secs_f64().max(1e-3);
        let reached = self.control.watermark().filter(|time| *time > EventTime::MIN);
        let reached = reached.map_or_else(|| "-".to_owned(), |time| time.to_string());
        self.bar.set_message(format!(
            "{} records, {}/s, event time {reached}",
            HumanCount(records),
            HumanCount(rate as u64)
        ));
        match self.size {
            Some(size) => self.bar.set_position(position.min(size)),
            None => self.bar.tick(),
        }
    }

    /// Shows the run until it returns.
    pub fn during<T>(self, run: impl FnOnce() -> T) -> T {
        if self.bar.is_hidden() {
            return run();
        }
        let (done, wait) = std::sync::mpsc::channel::<()>();
        let watch = std::thread::spawn(move || {
            while wait.recv_timeout(Duration::from_millis(200)) == Err(RecvTimeoutError::Timeout) {
                self.tick();
            }
            self.bar.finish_and_clear();
        });
        let result = run();
        drop(done);
        // The bar is for show: a run does not fail with it.
        drop(watch.join());
        result
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
        let span = match self.totals.span {
            Some((from, to)) => format!("{from} to {to}"),
            None => "no records".to_owned(),
        };
        let mut text = format!(
            "{} records: {} scored, {} late, {} malformed\n{} anomalies in {} keys\n{span}\n{} records/s in {}",
            count(self.totals.records),
            count(self.totals.scored),
            count(self.totals.late),
            count(self.totals.malformed),
            count(self.totals.anomalies),
            count(self.totals.keys),
            count(self.records_per_second() as u64),
            HumanDuration(self.elapsed),
        );
        if self.totals.evicted > 0 {
            text += &format!("\n{} keys lost their state to [limits]", count(self.totals.evicted));
        }
        if self.interrupted {
            let waiting = self.totals.records - self.totals.scored - self.totals.late - self.totals.malformed;
            text += &format!("\ninterrupted: {} records were not final yet", count(waiting));
        }
        text
    }
}
