//! A real Kafka broker: Apache Kafka 4.1.0 in KRaft mode, one node, on free ports of the loopback interface.
//!
//! It ends with the process that started it, also when that is killed: a guard waits for the end of a pipe. Benches
//! include this file by its path.

#![allow(dead_code, reason = "not every program that includes it uses all of it")]

#[path = "broker/clients.rs"]
mod clients;
#[path = "broker/install.rs"]
mod install;
#[path = "broker/settings.rs"]
mod settings;
#[cfg(test)]
#[path = "broker/tests.rs"]
mod tests;
#[cfg(feature = "kafka-tls")]
#[path = "broker/tls.rs"]
pub(crate) mod tls;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};
use std::{env, fs};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

#[allow(unused_imports, reason = "not every program that includes it uses all of it")]
pub(crate) use clients::{Acknowledged, Received, Sender, Sent};
#[allow(unused_imports, reason = "not every program that includes it uses all of it")]
pub(crate) use install::{libraries, skip};
#[allow(unused_imports, reason = "not every program that includes it uses all of it")]
pub(crate) use settings::PASSWORD;
use settings::{free_port, settings, Further, Ports};

/// How long anything may take that a broker does in seconds on a machine without other work.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

const NO_BROKER: &str = "no Kafka broker can be started here";

/// A broker and its data, which are gone when it is dropped.
pub(crate) struct Broker {
    /// Where it listens, as clients need it.
    pub(crate) address: String,
    /// Where it listens for clients that say who they are: `admin`, with [`PASSWORD`].
    pub(crate) guarded_address: String,
    folder: PathBuf,
    guard: Child,
    /// Its end ends the broker.
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    pid: u32,
}

/// The broker that the tests of this process share; `None`, said loudly, if there can be none.
pub(crate) fn shared() -> Option<&'static Broker> {
    static SHARED: OnceLock<Broker> = OnceLock::new();
    if let Err(why) = install::class_path() {
        install::skip(NO_BROKER, why);
        return None;
    }
    Some(SHARED.get_or_init(|| Broker::start().expect("nothing that it needs is missing")))
}

impl Broker {
    /// Starts one with empty topics; `None`, said loudly, if there can be none.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with(|_| Further::default())
    }

    /// The same with what `further` says, which may keep files in the broker's folder.
    fn start_with(further: impl FnOnce(&Path) -> Further) -> Option<Self> {
        let class_path = match install::class_path() {
            Ok(class_path) => class_path,
            Err(why) => {
                install::skip(NO_BROKER, why);
                return None;
            }
        };
        let folder =
            tempfile::Builder::new().prefix("tidewatch-broker-").tempdir().expect("there is room for it");
        // The guard removes it, also when this process can do nothing any more.
        let folder = folder.keep();
        let ports = Ports { clients: free_port(), guarded: free_port(), controller: free_port() };
        let file = folder.join("server.properties").display().to_string();
        let further = further(&folder);
        fs::write(&file, settings(&ports, &folder, &further)).expect("it can be written");
        let java = |class: &str| {
            let mut command = vec!["java".to_owned(), "-Xmx512m".to_owned(), "-XX:+UseSerialGC".to_owned()];
            command.push("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn".to_owned());
            // Starts faster, but never gets really fast.
            command.extend(cfg!(debug_assertions).then(|| "-XX:TieredStopAtLevel=1".to_owned()));
            command.extend(["-cp".to_owned(), class_path.clone(), class.to_owned()]);
            command
        };
        let format = java("kafka.tools.StorageTool");
        let formatted = Command::new(&format[0])
            .args(&format[1..])
            .args(["format", "-t", "dGlkZXdhdGNoLXRlc3RzIQ", "-c", &file])
            .args(further.users.iter().flat_map(|user| ["--add-scram", user]))
            .output()
            .expect("there is java");
        assert!(formatted.status.success(), "{}", String::from_utf8_lossy(&formatted.stderr));
        let mut guard = Command::new("sh")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/broker/guard.sh"))
            .arg(&folder)
            .args(java("kafka.Kafka"))
            .arg(&file)
            // What a terminal sends to this process is not for the guard, which has work to do after it.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("there is sh");
        let (orders, answers) = (guard.stdin.take(), guard.stdout.take().expect("it is piped"));
        let mut broker = Self {
            address: format!("127.0.0.1:{}", ports.clients),
            guarded_address: format!("127.0.0.1:{}", ports.guarded),
            folder,
            guard,
            orders,
            answers: BufReader::new(answers),
            pid: 0,
        };
        broker.restart();
        Some(broker)
    }

    /// Starts it on the data and ports that it had before it was killed; returns when it serves clients.
    pub(crate) fn restart(&mut self) {
        let orders = self.orders.as_mut().expect("it is not dropped");
        writeln!(orders, "start").expect("the guard listens");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("the guard answers");
        self.pid = answer.trim().parse().expect("the guard says a number");
        self.await_service();
    }

    fn await_service(&self) {
        let client: BaseConsumer = self.client().create().expect("the settings are right");
        let start = Instant::now();
        loop {
            // Broken connections are to be expected until it is up.
            match client.fetch_metadata(None, Duration::from_secs(1)) {
                Ok(metadata) if metadata.brokers().len() == 1 => return,
                _ => assert!(start.elapsed() < PATIENCE, "the broker does not start: {}", self.log()),
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// The settings of any client of it.
    pub(crate) fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.address);
        // Clients find it soon after it was away, and say nothing of it.
        config.set("reconnect.backoff.ms", "10").set("reconnect.backoff.max.ms", "200").set("log_level", "0");
        config
    }

    /// The number of its process.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Stops it as a machine does that hangs: its connections stay open, and nobody answers.
    pub(crate) fn stop(&self) {
        self.signal("STOP");
    }

    /// Lets it go on after [`Broker::stop`].
    pub(crate) fn resume(&self) {
        self.signal("CONT");
    }

    /// Kills it, and returns when it is gone.
    pub(crate) fn kill(&self) {
        self.signal("KILL");
        let start = Instant::now();
        while TcpStream::connect(&self.address).is_ok() {
            assert!(start.elapsed() < PATIENCE, "it still listens");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.pid.to_string()]).status();
        assert!(status.expect("there is kill").success(), "SIG{name} does not reach the broker");
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        drop(self.orders.take());
        let _ = self.guard.wait();
    }
}
