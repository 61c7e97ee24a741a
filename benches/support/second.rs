//! A second process of a bench, which is the same program.

use std::env;
use std::io::{BufRead, BufReader, Lines};
use std::net::TcpListener;
use std::process::{Child, ChildStdout, Command, Stdio};

use tidewatch::cluster::Cluster;
use tidewatch::mesh::{Member, Secret};

/// The environment variable that tells the second process what to do.
const PART: &str = "TIDEWATCH_BENCH_PART";

/// The second process, which says first at which address it listens.
pub(crate) struct Second {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Second {
    /// What this process is to do, if it is the second one.
    pub(crate) fn part() -> Option<String> {
        env::var(PART).ok()
    }

    /// What starts this program again, to do something.
    pub(crate) fn command(part: &str) -> Command {
        let mut command = Command::new(env::current_exe().expect("it runs"));
        command.env(PART, part);
        command
    }

    /// Starts it; returns its address, too.
    pub(crate) fn start(part: &str) -> (Self, String) {
        let mut command = Self::command(part);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let mut second = Self { child, lines };
        let address = second.line();
        (second, address)
    }

    /// The next line that it says.
    pub(crate) fn line(&mut self) -> String {
        self.lines.next().expect("it says more").expect("it can be read")
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) {
        assert!(self.child.wait().expect("it ends").success());
    }
}

/// Listens, and says where.
pub(crate) fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a port");
    let address = listener.local_addr().expect("it listens").to_string();
    println!("{address}");
    (listener, address)
}

/// The first process of two, of which the other one listens at `address`.
pub(crate) fn first(workers: u16, address: String) -> Cluster {
    Cluster::process(workers, Member::new(0, vec!["127.0.0.1".to_owned(), address], Secret::NONE))
}

/// The second process, which listens.
pub(crate) fn second(workers: u16, (listener, address): (TcpListener, String)) -> Cluster {
    let member = Member::new(1, vec!["127.0.0.1".to_owned(), address], Secret::NONE);
    Cluster::process(workers, member.listening(listener))
}
