//! Rows per second between two processes, by the container in which they travel.
//!
//! Shape: rows of 24 bytes (time, key, value), 1024 at a time, on one worker → timely's exchange by key → summed on the one worker
//! of another process, over a bare socket on the loopback interface; no more than 1 M rows under way. Containers: the `RowBatch` of
//! tidewatch, rows in bincode as timely writes a `Vec`, columns of the crate columnar, rows in abomonation. Reason: is
//! `RowBatch` as fast as what it was chosen over? Unit: rows per second, and the ratio to `RowBatch`.
//!
//! ```sh
//! cargo bench --manifest-path benches/exchange/Cargo.toml
//! ```
//!
//! The only place in the project with unsafe code, and the only one that depends on abomonation, which has a security
//! advisory (RUSTSEC-2021-0120).

mod column;
mod forms;
mod rows;

use std::env;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use timely::communication::allocator::zero_copy::initialize::initialize_networking_from_sockets;
use timely::communication::allocator::{AllocatorBuilder, ProcessBuilder};
use timely::communication::Hooks;
use timely::container::{CapacityContainerBuilder, NoopBuilder};
use timely::dataflow::operators::{Operator, Probe};
use timely::dataflow::{InputHandle, ProbeHandle};
use timely::execute::execute_from;
use timely::worker::Worker;
use timely::WorkerConfig;

use forms::{Abomonated, Bincoded, Columns, Form, RowBatches, Sum};
use rows::BATCH;

/// The environment variable that tells the second process what to do: the number of rows and of rounds.
const PART: &str = "TIDEWATCH_BENCH_EXCHANGE";
/// Rows between two steps of the frontier, and how many such steps the sender may be ahead.
const EPOCH: u64 = 256 * BATCH;
const AHEAD: u64 = 4;

/// What to measure.
#[derive(Clone, Copy)]
struct Plan {
    rows: u64,
    rounds: usize,
}

/// A container in a round: how long it took, and what this process has received.
struct Measured {
    form: &'static str,
    time: Duration,
    sum: Sum,
}

/// Sends `rows` rows from worker 0 to worker 1.
fn exchange<F: Form>(worker: &mut Worker, rows: u64) -> Measured {
    let (probe, mut input) =
        (ProbeHandle::new(), InputHandle::<u64, NoopBuilder<F::Container>>::new_with_builder());
    let sum = std::rc::Rc::new(std::cell::Cell::new(Sum::default()));
    let total = sum.clone();
    worker.dataflow(|scope| {
        input
            .to_stream(scope)
            .unary::<CapacityContainerBuilder<Vec<()>>, _, _, _>(F::pact(), "Sum", move |_, _| {
                move |input, _| {
                    input.for_each(|_, container| total.set(total.get() + F::sum(container)));
                }
            })
            .probe_with(&probe);
    });
    let start = Instant::now();
    let mut container = F::Container::default();
    let mut sent = 0;
    for epoch in 1..=rows.div_ceil(EPOCH) {
        let end = rows.min(epoch * EPOCH);
        while worker.index() == 0 && sent < end {
            let next = end.min(sent + BATCH);
            F::fill(&mut container, sent..next);
            input.send_batch(&mut container);
            sent = next;
        }
        input.advance_to(epoch);
        worker.step();
        while probe.less_than(&epoch.saturating_sub(AHEAD)) {
            worker.step_or_park(None);
        }
    }
    drop(input);
    while !probe.done() {
        worker.step_or_park(None);
    }
    Measured { form: F::NAME, time: start.elapsed(), sum: sum.get() }
}

/// Runs process `me` of two.
fn run(me: usize, socket: TcpStream, plan: Plan) -> Vec<Measured> {
    socket.set_nodelay(true).expect("it is open");
    let mut sockets = [None, None];
    sockets[1 - me] = Some(socket);
    let hooks = Hooks::default();
    let inside = ProcessBuilder::new_typed_vector(1, hooks.refill.clone(), hooks.spill.clone());
    let (builders, threads) =
        initialize_networking_from_sockets(inside, sockets.into(), me, 1, hooks).expect("it connects");
    let builders = builders.into_iter().map(AllocatorBuilder::Tcp).collect();
    let workers = execute_from(builders, Box::new(threads), WorkerConfig::default(), move |worker| {
        // Round by round, so that a drift of the machine's speed meets all of them.
        let round = |_| {
            [
                exchange::<RowBatches>(worker, plan.rows),
                exchange::<Bincoded>(worker, plan.rows),
                exchange::<Columns>(worker, plan.rows),
                exchange::<Abomonated>(worker, plan.rows),
            ]
        };
        (0..plan.rounds).flat_map(round).collect()
    });
    let mut workers = workers.expect("it starts").join().into_iter();
    workers.next().expect("there is one worker").expect("it does not panic")
}

/// The second process: listens, receives, and says what it has received.
fn receive(plan: &str) {
    let (rows, rounds) = plan.split_once(' ').expect("two numbers");
    let plan = Plan { rows: rows.parse().expect("a number"), rounds: rounds.parse().expect("a number") };
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a port");
    println!("{}", listener.local_addr().expect("it listens"));
    let (socket, _) = listener.accept().expect("the first connects");
    for Measured { form, sum, .. } in run(1, socket, plan) {
        println!("{form}: {sum:?}");
    }
}

fn main() {
    if let Ok(plan) = env::var(PART) {
        return receive(&plan);
    }
    let is_test = env::args().any(|argument| argument == "--test");
    // The first round warms up.
    let plan =
        if is_test { Plan { rows: 100_000, rounds: 2 } } else { Plan { rows: 16_000_000, rounds: 14 } };
    let mut command = Command::new(env::current_exe().expect("it runs"));
    command.env(PART, format!("{} {}", plan.rows, plan.rounds)).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut second = command.spawn().expect("it starts");
    let mut lines = BufReader::new(second.stdout.take().expect("it is piped")).lines();
    let mut line = || lines.next().expect("it says more").expect("it can be read");
    let socket = TcpStream::connect(line()).expect("the second listens");
    let measured = run(0, socket, plan);
    let expected = Sum::of((0..plan.rows).map(rows::row));
    for Measured { form, sum, .. } in &measured {
        assert_eq!(&Sum::default(), sum, "{form}: all rows go to the other process");
        assert_eq!(format!("{form}: {expected:?}"), line(), "all rows arrive as they were sent");
    }
    assert!(second.wait().expect("it ends").success());
    report(plan, &measured);
}

/// Prints medians, and ratios round by round.
fn report(plan: Plan, measured: &[Measured]) {
    let forms = measured.len() / plan.rounds;
    let times = |form: usize| {
        measured.iter().skip(forms + form).step_by(forms).map(|measured| measured.time.as_secs_f64())
    };
    println!("{} rows of 24 bytes between two processes, {} rounds", plan.rows, plan.rounds - 1);
    println!("{:<12} {:>10}   {:<10} {:<14}", "container", "M rows/s", "/ RowBatch", "from – to");
    for (form, Measured { form: name, .. }) in measured.iter().take(forms).enumerate() {
        let rates = sorted(times(form).map(|time| plan.rows as f64 / time / 1e6));
        let ratios = sorted(times(form).zip(times(0)).map(|(time, base)| base / time));
        let median = |sorted: &[f64]| sorted[sorted.len() / 2];
        let (low, high) = (ratios[0], ratios[ratios.len() - 1]);
        println!("{name:<12} {:>10.1}   {:<10.2} {low:.2} – {high:.2}", median(&rates), median(&ratios));
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}
