//! What a run tells while it goes and when it is over.

use std::io::IsTerminal;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use indicatif::{HumanCount, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use tidewatch_connectors::Control;
use tidewatch_dataflows::EventTime;

use crate::cluster::Outcome;

/// Shows how a run goes, on a terminal only.
pub struct Progress {
    bar: ProgressBar,
    control: Control,
    size: Option<u64>,
    start: Instant,
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
        Self { bar, control: control.clone(), size, start: Instant::now() }
    }

    /// Shows where the run is now.
    pub fn tick(&self) {
        let counts = self.control.counts();
        let records = counts.records.get();
        let rate = records as f64 / self.start.elapsed().as_secs_f64().max(1e-3);
        let reached = self.control.watermark().filter(|time| *time > EventTime::MIN);
        let reached = reached.map_or_else(|| "-".to_owned(), |time| time.to_string());
        self.bar.set_message(format!(
            "{} records, {}/s, event time {reached}",
            HumanCount(records),
            HumanCount(rate as u64)
        ));
        match self.size {
            Some(size) => self.bar.set_position(counts.position.get().min(size)),
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
    /// Records read; each is scored, late, malformed, or, after an interruption, not final yet.
    pub records: u64,
    /// Records that the frontier has passed and the pipeline has seen.
    pub scored: u64,
    /// Records behind the watermark.
    pub late: u64,
    /// Payloads that are not records.
    pub malformed: u64,
    /// Anomalous verdicts.
    pub anomalies: u64,
    /// Keys with state.
    pub keys: u64,
    /// Keys that a limit evicted.
    pub evicted: u64,
    /// The earliest and the latest event time.
    pub span: Option<(EventTime, EventTime)>,
    /// Wall time.
    pub elapsed: Duration,
    /// Whether the run was interrupted.
    pub interrupted: bool,
}

impl Summary {
    /// Takes the counts of a run.
    pub fn new(control: &Control, outcome: Outcome, elapsed: Duration) -> Self {
        let (counts, tally) = (control.counts(), control.tally());
        Self {
            records: counts.records.get(),
            scored: tally.scored.get(),
            late: counts.late.get(),
            malformed: counts.malformed.get(),
            anomalies: tally.anomalies.get(),
            keys: tally.keys.get(),
            evicted: tally.evicted.get(),
            span: counts.span(),
            elapsed,
            interrupted: outcome == Outcome::Interrupted,
        }
    }

    /// Records per second of wall time.
    pub fn records_per_second(&self) -> f64 {
        self.records as f64 / self.elapsed.as_secs_f64().max(1e-6)
    }

    /// One line of JSON.
    pub fn json(&self) -> String {
        json!({
            "records": self.records,
            "scored": self.scored,
            "late": self.late,
            "malformed": self.malformed,
            "anomalies": self.anomalies,
            "keys": self.keys,
            "evicted": self.evicted,
            "from": self.span.map(|(from, _)| from.to_string()),
            "to": self.span.map(|(_, to)| to.to_string()),
            "elapsed_seconds": self.elapsed.as_secs_f64(),
            "records_per_second": self.records_per_second(),
            "interrupted": self.interrupted,
        })
        .to_string()
    }

    /// A few lines for people.
    pub fn text(&self) -> String {
        let count = HumanCount;
        let span = match self.span {
            Some((from, to)) => format!("{from} to {to}"),
            None => "no records".to_owned(),
        };
        let mut text = format!(
            "{} records: {} scored, {} late, {} malformed\n{} anomalies in {} keys\n{span}\n{} records/s in {}",
            count(self.records),
            count(self.scored),
            count(self.late),
            count(self.malformed),
            count(self.anomalies),
            count(self.keys),
            count(self.records_per_second() as u64),
            HumanDuration(self.elapsed),
        );
        if self.evicted > 0 {
            text += &format!("\n{} keys lost their state to [limits]", count(self.evicted));
        }
        if self.interrupted {
            let waiting = self.records - self.scored - self.late - self.malformed;
            text += &format!("\ninterrupted: {} records were not final yet", count(waiting));
        }
        text
    }
}
