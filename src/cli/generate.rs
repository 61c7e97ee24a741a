//! `tidewatch generate`.

use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use clap::{Arg, ArgMatches, Command};
use tidewatch_connectors::generator::{Generator, Profile, PARAMETERS};
use tidewatch_connectors::stdio::STDOUT;
use tidewatch_connectors::Control;
use tidewatch_dataflows::params::{Given, Literal, Parameter, Params, Presence};

use super::Voice;
use crate::cluster::{interrupt_on_signals, Cluster};
use crate::Error;

/// Writes synthetic records, with labelled anomalies: the same for the same seed.
#[derive(clap::Args)]
pub(super) struct Generate {
    /// Where to write; standard output if not given. A name ending in .jsonl means JSON lines
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write the label of each record in a further column: 1 for an anomaly
    #[arg(long)]
    labels: bool,
    #[command(flatten)]
    profile: Declared,
}

/// One option for each declared parameter of the generator.
struct Declared(Vec<(String, Given)>);

fn option(parameter: &Parameter) -> Arg {
    let option = Arg::new(parameter.name).long(parameter.name).value_name("VALUE").help(parameter.doc);
    match parameter.presence {
        Presence::Required => option.required(true),
        Presence::Optional => option,
        Presence::Default(Literal::Text(text)) => option.default_value(text),
        Presence::Default(literal) => option.default_value(Given::from(literal).to_string()),
    }
}

impl clap::Args for Declared {
    fn augment_args(command: Command) -> Command {
        command.args(PARAMETERS.iter().map(option))
    }
    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for Declared {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = PARAMETERS.iter().filter_map(|parameter| {
            let text = matches.get_one::<String>(parameter.name)?;
            Some((parameter.name.to_owned(), Given::Text(text.clone())))
        });
        Ok(Self(given.collect()))
    }
    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Generate {
    pub(super) fn execute(&self, voice: Voice) -> Result<(), Error> {
        let params = Params::check(PARAMETERS, self.profile.0.clone())?;
        let generator = Generator::new(Profile::from_params(&params)?)?;
        let is_json = |path: &Path| path.extension().is_some_and(|extension| extension == "jsonl");
        let json = voice.json || self.out.as_deref().is_some_and(is_json);
        let what = self.out.as_ref().map_or(STDOUT.to_owned(), |path| path.display().to_string());
        let control = Control::default();
        interrupt_on_signals(&control, &Cluster::threads(1))?;
        let write = || -> io::Result<()> {
            let out: Box<dyn Write> = match &self.out {
                Some(path) => Box::new(File::create(path)?),
                None => Box::new(io::stdout().lock()),
            };
            let mut out =
                Lines { out: BufWriter::with_capacity(1 << 16, out), control: &control, whole: true };
            let written = match json {
                true => generator.write_json(&mut out, self.labels),
                false => generator.write_csv(&mut out, self.labels),
            };
            out.flush().and(written)
        };
        match write() {
            Ok(()) => Ok(()),
            Err(error) if error.kind() != ErrorKind::BrokenPipe && control.interrupted() => {
                Err(Error::Interrupted)
            }
            Err(source) => Err(Error::Io { what, source }),
        }
    }
}

/// Writes until an interruption, and then to the end of the line.
struct Lines<'a, W> {
    out: W,
    control: &'a Control,
    /// Whether nothing or a whole line was written last.
    whole: bool,
}

impl<W: Write> Write for Lines<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.whole && self.control.interrupted() {
            return Err(io::Error::other("interrupted"));
        }
        let written = self.out.write(bytes)?;
        if written > 0 {
            self.whole = bytes[written - 1] == b'\n';
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
