//! Starts the processes of a cluster on this machine, and ends when they have ended.
//!
//! Each process is a copy of this one with the same arguments. An environment variable tells it its place, another one a
//! secret that is new for each run. The first process keeps standard input. Each other one gets its listening socket in place of it: bound
//! by the supervisor, so that no port can be taken in between.
//!
//! Any death ends all. If the run can go on where it stood, all are started again, after a while that doubles with each
//! time, and not for ever. If all have stopped only to start again, that is no failure: they are started at once.

use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};
use std::{env, fs, io};

use rustix::process::{kill_process, Pid, Signal};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::error::{AGAIN, TAKEN_OVER};
use crate::mesh::{name, Member, Secret, LOST, SECRET};
use crate::Error;

/// The environment variable that tells a supervised process its place.
const PLACE: &str = "TIDEWATCH_PLACE";
/// How long to wait before all processes are started again, the first time.
const PAUSE: Duration = Duration::from_secs(1);
/// How long the others have to end by themselves when one has failed.
const GRACE: Duration = Duration::from_millis(500);

fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
    let what = what.into();
    |source| Error::Io { what, source }
}

/// What a supervisor tells a process of its place.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    index: usize,
    epoch: u64,
    supervisor: u32,
    /// How many times the run was started before.
    life: u32,
    addresses: Vec<String>,
}

impl Place {
    fn spell(&self) -> String {
        let Self { index, epoch, supervisor, life, addresses } = self;
        format!("{index} {epoch} {supervisor} {life} {}", addresses.join(","))
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let index = words.next()?.parse().ok()?;
        let (epoch, supervisor) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let life = words.next()?.parse().ok()?;
        let addresses: Vec<_> = words.next()?.split(',').map(str::to_owned).collect();
        (words.next().is_none() && index < addresses.len()).then_some(Self {
            index,
            epoch,
            supervisor,
            life,
            addresses,
        })
    }
}

/// Whether a supervisor has started this process.
pub(crate) fn is_supervised() -> bool {
    env::var_os(PLACE).is_some()
}

/// Whether a supervisor has started this process in place of one that has failed.
pub(crate) fn is_restarted() -> bool {
    env::var(PLACE).ok().and_then(|text| Place::parse(&text)).is_some_and(|place| place.life > 0)
}

/// The place of this process, if a supervisor has started it.
pub(crate) fn supervised() -> Result<Option<Member>, Error> {
    static ENTERED: AtomicBool = AtomicBool::new(false);
    let Ok(text) = env::var(PLACE) else { return Ok(None) };
    let place = Place::parse(&text).ok_or_else(|| {
        Error::Usage(format!("the environment variable {PLACE} is for processes that -n starts"))
    })?;
    if place.supervisor != std::os::unix::process::parent_id() {
        let reason =
            format!("the environment variable {PLACE} is of a run whose supervisor is gone, or another one");
        return Err(Error::Usage(reason));
    }
    if ENTERED.swap(true, Ordering::AcqRel) {
        let reason = "a process of -n runs once: put all dataflows into one run";
        return Err(Error::Usage(reason.to_owned()));
    }
    let secret = Secret::parse(&env::var(SECRET).unwrap_or_default())?;
    let mut member = Member::new(place.index, place.addresses, secret);
    if place.index > 0 {
        let what = "the listening socket that the supervisor has opened";
        let listener = io::stdin().as_fd().try_clone_to_owned().map_err(io(what))?;
        let nothing = fs::File::open("/dev/null").map_err(io("/dev/null"))?;
        // Nobody listens any more when the member stops listening.
        rustix::stdio::dup2_stdin(nothing).map_err(|error| io(what)(error.into()))?;
        member = member.listening(TcpListener::from(listener));
    }
    member.epoch = place.epoch;
    member.supervisor = Some(place.supervisor);
    Ok(Some(member))
}

enum Event {
    /// In which life which process has ended.
    Ended(u32, usize, ExitStatus),
    Signal(i32),
}

/// Starts so many copies of this process, and ends this one when they have ended. If they fail they are started again, up to
/// `restarts` times.
///
/// # Errors
///
/// If they cannot be started.
pub(crate) fn supervise<T>(processes: u16, restarts: u32) -> Result<T, Error> {
    // Before there is anything to end.
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(io("signal handlers"))?;
    let (sender, events) = channel();
    let to_watch = sender.clone();
    thread::spawn(move || {
        for signal in &mut signals {
            // Without anybody to tell, this process ends.
            let _ = to_watch.send(Event::Signal(signal));
        }
    });
    let mut failures = 0;
    for life in 0.. {
        let mut company = start(processes, life, &sender)?;
        let code = company.watch(&events);
        if code == AGAIN {
            continue;
        }
        if failures >= restarts || !company.may_live_again(code) {
            std::process::exit(code.into());
        }
        let pause = PAUSE * 2_u32.pow(failures.min(5));
        failures += 1;
        crate::log::complain(&format!(
            "starts all processes again in {} s ({failures} of {restarts})",
            pause.as_secs(),
        ));
        if company.rest(pause, &events) {
            std::process::exit(Error::Interrupted.exit_code());
        }
    }
    unreachable!("there is a last life")
}

/// Starts so many processes.
fn start(processes: u16, life: u32, sender: &Sender<Event>) -> Result<Company, Error> {
    let mut addresses = vec!["127.0.0.1".to_owned()];
    let mut inputs = vec![Stdio::inherit()];
    for _ in 1..processes {
        let listener = TcpListener::bind("127.0.0.1:0").map_err(io("listening on 127.0.0.1"))?;
        addresses.push(listener.local_addr().map_err(io("listening on 127.0.0.1"))?.to_string());
        inputs.push(OwnedFd::from(listener).into());
    }
    let mut company = Company::new(addresses, life);
    if let Err(error) = company.start(inputs, sender) {
        company.signal(Signal::KILL);
        return Err(error);
    }
    Ok(company)
}

/// The processes that a supervisor has started.
struct Company {
    life: u32,
    addresses: Vec<String>,
    /// Those that run.
    pids: Vec<Option<Pid>>,
    /// How the others have ended, in this order, without those that the supervisor has killed.
    ended: Vec<(usize, ExitStatus)>,
    /// Since when one has failed.
    failing: Option<Instant>,
    /// Whether a signal has reached the supervisor.
    is_signalled: bool,
}

impl Company {
    fn new(addresses: Vec<String>, life: u32) -> Self {
        Self { life, addresses, pids: Vec::new(), ended: Vec::new(), failing: None, is_signalled: false }
    }

    fn start(&mut self, inputs: Vec<Stdio>, events: &Sender<Event>) -> Result<(), Error> {
        let program = env::current_exe().map_err(io("the path of this program"))?;
        let secret = Secret::random()?.spell();
        let epoch = getrandom::u64().map_err(|error| io("random numbers")(error.into()))?;
        for (index, input) in inputs.into_iter().enumerate() {
            let addresses = self.addresses.clone();
            let (supervisor, life) = (std::process::id(), self.life);
            let place = Place { index, epoch, supervisor, life, addresses };
            let mut command = Command::new(&program);
            command.args(env::args_os().skip(1)).stdin(input);
            let child = command.env(PLACE, place.spell()).env(SECRET, &secret).spawn();
            let child = child.map_err(io(program.display().to_string()))?;
            self.pids.push(Some(Pid::from_child(&child)));
            let events = events.clone();
            thread::spawn(move || await_end(life, index, child, &events));
        }
        Ok(())
    }

    /// Waits for the end of all processes; returns the exit code of the run.
    fn watch(&mut self, events: &Receiver<Event>) -> u8 {
        while self.pids.iter().any(Option::is_some) {
            let patience = self.failing.map_or(Duration::MAX, |since| GRACE.saturating_sub(since.elapsed()));
            match events.recv_timeout(patience) {
                Ok(Event::Ended(life, process, status)) if life == self.life => self.end(process, status),
                Ok(Event::Ended(..)) => {}
                Ok(Event::Signal(_)) if self.is_signalled => {
                    self.signal(Signal::KILL);
                    return 130;
                }
                Ok(Event::Signal(signal)) => {
                    self.is_signalled = true;
                    self.signal(if signal == SIGINT { Signal::INT } else { Signal::TERM });
                }
                Err(_) => {
                    self.signal(Signal::KILL);
                    break;
                }
            }
        }
        self.report()
    }

    fn end(&mut self, process: usize, status: ExitStatus) {
        self.pids[process] = None;
        match status.code() {
            Some(0) => {}
            Some(code) if code == i32::from(AGAIN) => {}
            // The others hear of it from each other, unless they have not met yet.
            Some(130) => self.signal(Signal::TERM),
            _ => drop(self.failing.get_or_insert_with(Instant::now)),
        }
        self.ended.push((process, status));
    }

    /// Whether what has failed can succeed when it is started again: not if it was told to end, if what it was told is
    /// wrong, or if another run has taken its place.
    fn may_live_again(&self, code: u8) -> bool {
        let fenced = i32::from(TAKEN_OVER);
        let was_fenced = self.ended.iter().any(|(_, status)| status.code() == Some(fenced));
        !self.is_signalled && !was_fenced && !matches!(code, 0 | 2 | 130)
    }

    /// Waits so long, and until all processes have ended; `true` if it is told to end.
    fn rest(&mut self, pause: Duration, events: &Receiver<Event>) -> bool {
        let start = Instant::now();
        loop {
            let left = pause.saturating_sub(start.elapsed());
            let all_ended = self.pids.iter().all(Option::is_none);
            if left.is_zero() && all_ended {
                return false;
            }
            match events.recv_timeout(left.max(Duration::from_millis(1))) {
                Ok(Event::Ended(life, process, status)) if life == self.life => self.end(process, status),
                Ok(Event::Signal(_)) => return true,
                _ => {}
            }
        }
    }

    fn signal(&self, signal: Signal) {
        for pid in self.pids.iter().flatten() {
            // One that has just ended needs no signal.
            let _ = kill_process(*pid, signal);
        }
    }

    /// Says what no process has said itself, and returns the exit code of the run.
    fn report(&self) -> u8 {
        // Who is told to end before it listens is ended by the signal itself.
        let by_signal = |status: &ExitStatus| matches!(status.signal(), Some(SIGINT | SIGTERM));
        let by_itself = |status: &ExitStatus| {
            let codes = [0, 130, i32::from(LOST), i32::from(AGAIN)];
            status.code().is_some_and(|code| codes.contains(&code))
        };
        if self.is_signalled && self.ended.iter().all(|(_, status)| by_signal(status) || by_itself(status)) {
            return 130;
        }
        let is_lost = |status: &ExitStatus| status.code() == Some(LOST.into());
        let was_one_lost = self.ended.iter().any(|(_, status)| is_lost(status));
        // The first one that is not a consequence. One that has failed by itself comes before one that has ended well.
        let is_again = |status: &ExitStatus| status.code() == Some(AGAIN.into());
        let is_well = |status: &ExitStatus| matches!(status.code(), Some(0 | 130)) || is_again(status);
        let causes = || self.ended.iter().filter(|(_, status)| !is_lost(status));
        let failed = causes().find(|(_, status)| !is_well(status));
        match failed.or_else(|| causes().next().filter(|_| was_one_lost)) {
            Some((process, status)) => {
                let name = name(*process, &self.addresses);
                match (status.code(), status.signal()) {
                    (Some(code), _) if was_one_lost => {
                        crate::log::complain(&format!(
                            "{name} has left before the end of the run, with exit code {code}"
                        ));
                    }
                    (None, Some(signal)) => {
                        let word = signal_hook::low_level::signal_name(signal).unwrap_or("unknown");
                        crate::log::complain(&format!("{name} was ended by signal {signal} ({word})"));
                    }
                    _ => {}
                }
                status.code().and_then(|code| u8::try_from(code).ok()).filter(|code| *code > 0).unwrap_or(1)
            }
            None if was_one_lost => 1,
            None if self.is_signalled || self.ended.iter().any(|(_, status)| status.code() == Some(130)) => {
                130
            }
            None if self.ended.iter().any(|(_, status)| is_again(status)) => AGAIN,
            None => 0,
        }
    }
}

/// Waits for the end of a process.
fn await_end(life: u32, index: usize, mut child: Child, events: &Sender<Event>) {
    if let Ok(status) = child.wait() {
        // Without anybody to tell, this process ends.
        let _ = events.send(Event::Ended(life, index, status));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_spelled_and_parsed() {
        let addresses = vec!["127.0.0.1".to_owned(), "127.0.0.1:80".to_owned()];
        let place = Place { index: 1, epoch: u64::MAX, supervisor: 7, life: 3, addresses };
        assert_eq!(Some(&place), Place::parse(&place.spell()).as_ref());
        for wrong in ["", "1", "x 1 1 0 a,b", "1 1 1 0 a", "0 1 1 0 a b", "1 1 1 a,b"] {
            assert_eq!(None, Place::parse(wrong), "{wrong}");
        }
    }

    #[test]
    fn the_exit_code_is_that_of_the_cause() {
        let report = |ended: &[i32], is_signalled| {
            let mut company = Company::new(vec!["a".to_owned(); ended.len()], 0);
            company.is_signalled = is_signalled;
            company.ended = ended.iter().map(|raw| ExitStatus::from_raw(*raw)).enumerate().collect();
            company.report()
        };
        let code = |ended: &[i32]| report(ended, false);
        let (lost, killed) = (i32::from(LOST) << 8, 9);
        assert_eq!((0, 130, 130), (code(&[0, 0]), code(&[130 << 8, 0]), code(&[0, 130 << 8])));
        assert_eq!((2, 1, 1), (code(&[2 << 8, 2 << 8]), code(&[lost, killed]), code(&[0, lost])));
        assert_eq!((7, 1), (code(&[lost, 7 << 8, 1 << 8]), code(&[lost, lost])));
        let told = |ended: &[i32]| report(ended, true);
        assert_eq!((130, 130, 1), (told(&[SIGINT, lost]), told(&[0, SIGTERM]), told(&[SIGINT, killed])));
        let again = i32::from(AGAIN) << 8;
        assert_eq!(
            (AGAIN, 130, 1),
            (code(&[again, again]), code(&[again, 130 << 8]), code(&[again, killed]))
        );
    }
}
