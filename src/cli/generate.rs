//! `tidewatch generate`.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use tidewatch_connectors::generator::{Generator, Profile};
use tidewatch_dataflows::{EventTime, Span};

use super::Voice;
use crate::Error;

/// Writes synthetic records, with labelled anomalies: the same for the same seed.
///
/// The columns are timestamp (RFC 3339), key, value and, with --labels, label: 1 for an anomaly.
#[derive(clap::Args)]
pub(super) struct Generate {
    /// Where to write; standard output if not given. A name ending in .jsonl means JSON lines.
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Number of records.
    #[arg(long, default_value_t = 100_000)]
    records: u64,
    /// Number of keys.
    #[arg(long, default_value_t = 10)]
    keys: u32,
    /// Records per second of event time.
    #[arg(long, default_value_t = 100.0)]
    rate: f64,
    /// What the random numbers start from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Event time of the first record, in RFC 3339.
    #[arg(long, default_value = "2024-01-01T00:00:00Z")]
    start: String,
    /// How long a season is.
    #[arg(long, default_value = "1h")]
    season: Span,
    /// How far the season takes a value from its level.
    #[arg(long, default_value_t = 10.0)]
    amplitude: f64,
    /// Standard deviation of the noise.
    #[arg(long, default_value_t = 1.0)]
    noise: f64,
    /// How far a record lies behind an earlier one at most, unless it is late.
    #[arg(long, default_value = "0s")]
    disorder: Span,
    /// Share of records that are late.
    #[arg(long, default_value_t = 0.0)]
    late: f64,
    /// Share of records that are anomalies.
    #[arg(long, default_value_t = 0.001)]
    anomalies: f64,
    /// How far an anomaly lies off, in standard deviations of the noise.
    #[arg(long, default_value_t = 10.0)]
    magnitude: f64,
    /// Write the label of each record.
    #[arg(long)]
    labels: bool,
}

impl Generate {
    pub(super) fn execute(&self, voice: Voice) -> Result<(), Error> {
        let generator = Generator::new(self.profile()?).map_err(|error| Error::Usage(error.to_string()))?;
        let is_json = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "jsonl");
        let json = voice.json || self.out.as_ref().is_some_and(is_json);
        let what = self.out.as_ref().map_or("standard output".to_owned(), |path| path.display().to_string());
        let write = || -> io::Result<()> {
            let out: Box<dyn Write> = match &self.out {
                Some(path) => Box::new(File::create(path)?),
                None => Box::new(io::stdout().lock()),
            };
            let mut out = BufWriter::with_capacity(1 << 16, out);
            match json {
                true => generator.write_json(&mut out, self.labels)?,
                false => generator.write_csv(&mut out, self.labels)?,
            }
            out.flush()
        };
        write().map_err(|source| Error::Io { what, source })
    }

    fn profile(&self) -> Result<Profile, Error> {
        let micros = EventTime::from_rfc3339(&self.start);
        let start = micros.ok_or_else(|| Error::Usage(format!("--start is not a time: \"{}\"", self.start)))?;
        Ok(Profile {
            seed: self.seed,
            keys: self.keys,
            partitions: 1,
            records: self.records,
            rate: self.rate,
            start,
            season: self.season,
            amplitude: self.amplitude,
            noise: self.noise,
            disorder: self.disorder,
            late: self.late,
            anomalies: self.anomalies,
            magnitude: self.magnitude,
        })
    }
}
