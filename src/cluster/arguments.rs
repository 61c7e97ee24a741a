//! The size of a cluster on the command line, and the place of this process in it.

use std::fs;
use std::net::ToSocketAddrs;
use std::path::{Path, PathBuf};

use clap::builder::RangedU64ValueParser;

use super::Cluster;
use crate::mesh::{Member, Secret, SECRET};
use crate::{supervisor, Error};

/// What a command line says of the cluster that it runs on.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Worker threads of each process; results are the same at any number.
    #[arg(short = 'w', long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    workers: u16,
    /// Processes; without -p, all of them are started and supervised on this machine.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1, value_parser = RangedU64ValueParser::<u16>::new().range(1..=1024))]
    processes: u16,
    /// Which of the processes this one is, from 0; the others are started elsewhere, with the same -w and -n.
    ///
    /// Unless all addresses are of this machine, the environment variable TIDEWATCH_SECRET must hold the same 64 hexadecimal
    /// digits for each of them. Process 0 writes what the sinks get, and reads standard input.
    #[arg(short = 'p', long, value_name = "INDEX", requires = "hostfile")]
    process: Option<u16>,
    /// A file whose line i is the address HOST:PORT of process i; without a file: help.
    #[arg(short = 'h', long, value_name = "FILE", num_args = 0..=1)]
    hostfile: Option<Option<PathBuf>>,
    /// Print help.
    #[arg(long, action = clap::ArgAction::Help, display_order = 903)]
    help: Option<bool>,
}

impl Arguments {
    /// Whether they ask for help, with `-h` alone.
    pub fn asks_for_help(&self) -> bool {
        self.hostfile == Some(None)
    }

    /// Why `command` lacks what it `needs`: without that, it takes only `-h` with a file.
    pub(crate) fn lack(&self, command: &str, needs: &str) -> Error {
        let path = self.hostfile.iter().flatten().next().map(|path| path.display().to_string());
        let took = path.map(|path| format!(": -h took {path} as the hostfile; for help: {command} --help"));
        Error::Usage(format!("{command} needs {needs}{}", took.unwrap_or_default()))
    }

    /// How many processes they ask for.
    pub fn processes(&self) -> u16 {
        self.processes
    }

    /// Whether this process is to start the others, and to run nothing itself.
    pub fn starts_processes(&self) -> bool {
        self.processes > 1
            && self.process.is_none()
            && self.hostfile.is_none()
            && !supervisor::is_supervised()
    }

    /// This process's place in the cluster. A process that is to start the others never returns from here: it ends
    /// when they have ended.
    ///
    /// `job` is what runs on it: no process joins a cluster that runs something else.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] if the arguments, the hostfile and the secret do not go together.
    pub fn enter(&self, job: &str) -> Result<Cluster, Error> {
        self.enter_again(job, 0)
    }

    /// As [`Arguments::enter`]; processes that fail are started again, up to `restarts` times.
    ///
    /// # Errors
    ///
    /// As [`Arguments::enter`].
    pub fn enter_again(&self, job: &str, restarts: u32) -> Result<Cluster, Error> {
        let member = match (self.process, &self.hostfile) {
            (None, Some(_)) => {
                return Err(Error::Usage("-h needs -p, the number of this process".to_owned()))
            }
            (None, None) if self.processes == 1 => None,
            (None, None) => match supervisor::supervised()? {
                Some(member) => Some(member),
                None => supervisor::supervise(self.processes, restarts)?,
            },
            (Some(process), Some(Some(path))) => self.spanning(process, path)?,
            (Some(_), _) => return Err(Error::Usage("-p needs a hostfile (-h)".to_owned())),
        };
        let member = member.map(|member| Member { job: job.to_owned(), ..member });
        Ok(Cluster { workers: self.workers, member })
    }

    fn spanning(&self, process: u16, path: &Path) -> Result<Option<Member>, Error> {
        if process >= self.processes {
            return Err(Error::Usage(format!("-p {process} is not below -n {}", self.processes)));
        }
        let text = fs::read_to_string(path).map_err(Error::unreadable("hostfile", path.display()))?;
        let addresses = addresses(&text, self.processes.into(), path)?;
        if self.processes == 1 {
            return Ok(None);
        }
        let abroad = addresses.iter().find(|address| !is_loopback(address));
        let secret = match (std::env::var_os(SECRET), abroad) {
            (Some(text), _) => Secret::parse(&text.to_string_lossy())?,
            (None, None) => Secret::NONE,
            (None, Some(address)) => {
                let wanted = format!("the environment variable {SECRET} must hold the secret of the cluster");
                return Err(Error::Usage(format!("{address} is not on this machine, so {wanted}")));
            }
        };
        Ok(Some(Member::new(process.into(), addresses, secret)))
    }
}

/// The first `count` addresses of a hostfile. Empty lines at its end count for nothing.
fn addresses(text: &str, count: usize, path: &Path) -> Result<Vec<String>, Error> {
    let lines: Vec<&str> = text.trim_end().lines().map(str::trim).collect();
    if lines.len() < count {
        let path = path.display();
        return Err(Error::Usage(format!("{path} has {} addresses, but -n is {count}", lines.len())));
    }
    let check = |(line, number): (&&str, usize)| {
        let port = line.rsplit_once(':').and_then(|(host, port)| (!host.is_empty()).then_some(port));
        if port.is_none_or(|port| port.parse::<u16>().is_err()) {
            let path = path.display();
            return Err(Error::Usage(format!("{path}:{number}: \"{line}\" is no address HOST:PORT")));
        }
        Ok((*line).to_owned())
    };
    lines.iter().take(count).zip(1..).map(check).collect()
}

/// Whether nobody but this machine can connect to an address. One that cannot be resolved might be anywhere.
fn is_loopback(address: &str) -> bool {
    let Ok(mut resolved) = address.to_socket_addrs() else { return false };
    resolved.all(|address| address.ip().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostfiles_are_read_line_by_line() {
        let read =
            |text: &str, count| addresses(text, count, Path::new("hosts")).map_err(|error| error.to_string());
        assert_eq!(Ok(vec!["a:1".to_owned(), "[::1]:2".to_owned()]), read("a:1\n [::1]:2\r\nc:3\n\n", 2));
        assert_eq!(Err("hosts has 1 addresses, but -n is 2".to_owned()), read("a:1\n\n", 2));
        for wrong in ["b", "", ":1", "b:x", "b:70000"] {
            let expected = format!("hosts:2: \"{wrong}\" is no address HOST:PORT");
            assert_eq!(Err(expected), read(&format!("a:1\n{wrong}\nc:2"), 3));
        }
    }

    #[test]
    fn what_is_not_this_machine_is_told_from_what_is() {
        assert!(["127.0.0.1:1", "127.1.2.3:1", "[::1]:1", "localhost:1"].iter().all(|at| is_loopback(at)));
        assert!(!["10.0.0.1:1", "0.0.0.0:1", "[::]:1", "nowhere.invalid:1"].iter().any(|at| is_loopback(at)));
    }
}
