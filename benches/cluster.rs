//! Records per second at several numbers of workers and processes, and what the encryption between processes costs.
//!
//! Shape: the throughput workload with 10 thousand keys and at least as many partitions as cores, at -w 1, 2, 4, … up to the machine's cores, and each of them but
//! the first as two processes with half as many workers: connected by the mesh, and, for comparison, by bare sockets
//! without encryption, frames and heartbeats, which tidewatch does not offer. Reason: a second process must pay. Unit:
//! records per second between the start of the first worker and the end of the run, without the bring-up; the ratios to
//! one worker, and of the mesh to bare sockets.

#[allow(dead_code, reason = "each bench uses a part of it")]
mod support;

use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use criterion::{criterion_group, Criterion};
use support::keyed::{detect, generator, PARTITIONS};
use support::second::{first, listen, second, Second};
use support::{is_wanted, scaled, Timed, Workload};
use tidewatch::cluster::{run, Cluster};
use tidewatch::connectors::generator::Generator;
use tidewatch::connectors::Control;
use tidewatch::prelude::*;
use timely::communication::allocator::zero_copy::initialize::initialize_networking_from_sockets;
use timely::communication::allocator::{AllocatorBuilder, ProcessBuilder};
use timely::communication::Hooks;
use timely::execute::execute_from;
use timely::worker::Worker;
use timely::WorkerConfig;

const KEYS: u32 = 10_000;
const RECORDS: u64 = 8_000_000;

/// What a process has of a run.
#[derive(Clone)]
struct Part {
    generator: Generator,
    anomalies: Arc<AtomicU64>,
    start: Arc<OnceLock<Instant>>,
}

impl Part {
    fn new(records: u64) -> Self {
        Self {
            generator: generator(KEYS, PARTITIONS.max(cores().into()), records),
            anomalies: Arc::default(),
            start: Arc::default(),
        }
    }

    fn build(&self, worker: &mut Worker) -> Result<(), Error> {
        self.start.get_or_init(Instant::now);
        detect(&self.generator, worker, &self.anomalies)
    }

    fn on(&self, cluster: Cluster) {
        let part = self.clone();
        run(cluster, &Control::default(), move |worker| part.build(worker)).expect("the run succeeds");
    }

    /// Runs process `me` of two with nothing but a socket between them.
    fn on_bare_sockets(&self, me: usize, workers: u16, socket: TcpStream) {
        socket.set_nodelay(true).expect("it is open");
        let mut sockets = [None, None];
        sockets[1 - me] = Some(socket);
        let (workers, hooks) = (usize::from(workers), Hooks::default());
        let inside = ProcessBuilder::new_typed_vector(workers, hooks.refill.clone(), hooks.spill.clone());
        let (builders, threads) =
            initialize_networking_from_sockets(inside, sockets.into(), me, workers, hooks)
                .expect("it connects");
        let builders = builders.into_iter().map(AllocatorBuilder::Tcp).collect();
        let (part, control) = (self.clone(), Control::default());
        let installed = control.clone();
        let workers = execute_from(builders, Box::new(threads), WorkerConfig::default(), move |worker| {
            installed.install();
            part.build(worker).expect("it is built");
        });
        drop(workers.expect("they start"));
        assert!(!control.failed(), "the run succeeds");
    }

    /// How many anomalies this process has found, and how long it took.
    fn end(&self) -> (u64, Duration) {
        let start = self.start.get().expect("a worker has started");
        (self.anomalies.load(Ordering::Relaxed), start.elapsed())
    }
}

/// What the second process does.
fn be_second(part: &str) {
    let words: Vec<_> = part.split(' ').collect();
    let [connection, workers, records] = words[..] else { panic!("{part:?} names no part") };
    let workers = workers.parse().expect("a number of workers");
    let (listener, address) = listen();
    let part = Part::new(records.parse().expect("a number of records"));
    match connection {
        "mesh" => part.on(second(workers, (listener, address))),
        _ => part.on_bare_sockets(1, workers, listener.accept().expect("the first connects").0),
    }
    println!("{}", part.end().0);
}

fn cores() -> u16 {
    thread::available_parallelism().map_or(2, |cores| cores.get() as u16).max(2)
}

fn threads(workers: u16, records: u64) -> (u64, Duration) {
    let part = Part::new(records);
    part.on(Cluster::threads(workers));
    part.end()
}

fn processes(connection: &str, workers: u16, records: u64) -> (u64, Duration) {
    let part = Part::new(records);
    let (mut other, address) = Second::start(&format!("{connection} {workers} {records}"));
    match connection {
        "mesh" => part.on(first(workers, address)),
        _ => part.on_bare_sockets(0, workers, TcpStream::connect(address).expect("the second listens")),
    }
    let (anomalies, time) = part.end();
    let others: u64 = other.line().parse().expect("it is a number");
    other.end();
    (anomalies + others, time)
}

fn cluster(criterion: &mut Criterion) {
    let name = "cluster";
    if !is_wanted(name) {
        return;
    }
    let records = scaled(RECORDS * u64::from(cores()).div_ceil(4));
    let sizes: Vec<u16> = (0..16).map(|power| 1 << power).take_while(|workers| *workers <= cores()).collect();
    let mut variants: Vec<Timed<'_>> = Vec::new();
    for workers in &sizes {
        variants.push((format!("-w{workers}"), Box::new(|| threads(*workers, records))));
        if *workers > 1 {
            let half = workers / 2;
            variants.push((format!("-n2 -w{half}"), Box::new(move || processes("mesh", half, records))));
            variants.push((format!("-n2 -w{half} bare"), Box::new(move || processes("bare", half, records))));
        }
    }
    let mut workload = Workload::new(name, records);
    workload.measure_timed(criterion, &mut variants);
    for workers in sizes.iter().skip(1) {
        let (mesh, bare) = (format!("-n2 -w{}", workers / 2), format!("-n2 -w{} bare", workers / 2));
        // More workers must pay, but by how much is known of two alone.
        workload.ratio(&format!("-w{workers}"), "-w1", 1.6);
        workload.ratio(&mesh, "-w1", 1.1);
        workload.ratio(&bare, "-w1", 1.1);
        workload.ratio(&mesh, &bare, 0.9);
    }
}

criterion_group!(benches, cluster);

fn main() {
    if let Some(part) = Second::part() {
        return be_second(&part);
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
}
