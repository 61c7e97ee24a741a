//! How a run stops, and how it waits.

use std::process::{Command, Stdio};

use tidewatch_connectors::{Intake, Message, Reader, Sink, Source, Status};
use tidewatch_dataflows::Offset;
use timely::scheduling::SyncActivator;

use super::*;

const SOON: Duration = Duration::from_secs(1);

#[test]
fn an_interruption_writes_what_is_final_and_nothing_else() {
    for workers in WORKERS {
        // Between two milliseconds, which capabilities do not tell apart.
        let record = |p: i64, n: i64| MemoryRecord::raw(format!("{},k,{}", n * 1_000_500, 10 * p + n));
        let memory = Memory::new((0..3).map(|p| (format!("p{p}"), vec![record(p, 0), record(p, 1)]))).live();
        let input = input(&memory).lateness(Span::ZERO);
        let (streams, control) = (Streams::default(), Control::default());
        let run = {
            let (streams, control) = (streams.clone(), control.clone());
            thread::spawn(move || streams.run(&[input], workers, &control))
        };
        // Nothing is final before every worker has begun.
        wait("the first are final", || !text(&streams.scored).is_empty());
        (2..10).for_each(|n| (0..3).for_each(|p| memory.push(&format!("p{p}"), record(p, n))));
        wait("all are read", || control.counts().records.get() == 30);
        let start = Instant::now();
        control.interrupt();
        assert_eq!(Outcome::Interrupted, run.join().unwrap().unwrap(), "{workers} workers");
        assert!(start.elapsed() < SOON, "{workers} workers: {:?}", start.elapsed());
        let scored = text(&streams.scored);
        let values: Vec<_> = scored.lines().map(|line| field(line, "value0").as_f64().unwrap()).collect();
        let records = values.iter().filter(|value| **value >= 0.0);
        assert_eq!(27, records.clone().count(), "{workers} workers: {scored}");
        assert!(records.clone().all(|value| value % 10.0 < 9.0), "{workers} workers: {scored}");
    }
}

#[test]
fn an_interruption_before_the_first_record_is_one_too() {
    for workers in WORKERS {
        let memory = Memory::new([("p0", vec![record(0, "a", 1)])]).live();
        let (streams, control) = (Streams::default(), Control::default());
        control.interrupt();
        let start = Instant::now();
        assert_eq!(Outcome::Interrupted, streams.run(&[input(&memory)], workers, &control).unwrap());
        assert!(start.elapsed() < SOON, "{workers} workers: {:?}", start.elapsed());
        assert_eq!(["", "", ""].map(str::to_owned), streams.texts());
    }
}

/// A sink that takes nothing.
struct Full;

impl Sink for Full {
    fn write(&mut self, _: &[Message<'_>], _: Option<EventTime>) -> Result<(), tidewatch_connectors::Error> {
        Err(tidewatch_connectors::Error::Configuration("the disk is full".to_owned()))
    }
}

#[test]
fn a_sink_that_fails_ends_the_run_with_its_error() {
    for workers in WORKERS {
        let records = || (0..100).map(|n| record(n * 1000, "a", n)).collect();
        let memory = Memory::new([("p0", records()), ("p1", records())]).live();
        let input = input(&memory);
        let start = Instant::now();
        let result = cluster::run(Cluster::threads(workers), &Control::default(), move |worker| {
            worker.dataflow(|scope| {
                let ingested = input.ingest(scope);
                ingested.records.keyed(Echo).egress(Output::json(Full, input.schema().clone()));
            });
            Ok(())
        });
        assert_eq!("the disk is full", result.unwrap_err().to_string(), "{workers} workers");
        assert!(start.elapsed() < SOON, "{workers} workers: {:?}", start.elapsed());
    }
}

/// A source whose partition "bad" breaks after a record, if there is such a partition, and that has none otherwise.
struct Torn(&'static [&'static str]);

impl Source for Torn {
    fn kind(&self) -> &'static str {
        "torn"
    }
    fn partitions(&self) -> Result<Vec<String>, tidewatch_connectors::Error> {
        match self.0 {
            [] => Err(torn("nothing there")),
            names => Ok(names.iter().map(|name| (*name).to_owned()).collect()),
        }
    }
    fn open(
        &self,
        partition: &str,
        from: Option<Offset>,
        waker: SyncActivator,
    ) -> Result<Box<dyn Reader>, tidewatch_connectors::Error> {
        match partition {
            "bad" => Ok(Box::new(Tear(false))),
            "shut" => Err(torn("cannot be opened")),
            name => Memory::new([(name, vec![])]).live().open(name, from, waker),
        }
    }
}

struct Tear(bool);

impl Reader for Tear {
    fn read(&mut self, intake: &mut dyn Intake) -> Result<Status, tidewatch_connectors::Error> {
        if self.0 {
            return Err(torn("torn"));
        }
        self.0 = true;
        let key = tidewatch_dataflows::Key::new("a").into();
        let _ = intake.row(Offset(0), EventTime::from_micros(0), &key, &[1.0]);
        Ok(Status::More)
    }
}

fn torn(why: &str) -> tidewatch_connectors::Error {
    tidewatch_connectors::Error::Configuration(why.to_owned())
}

#[test]
fn a_source_that_fails_ends_the_run_with_its_error() {
    for workers in WORKERS {
        for (names, error) in [
            (&["p0", "bad", "p1"][..], "torn"),
            (&["p0", "shut", "p1"][..], "cannot be opened"),
            (&[], "nothing there"),
        ] {
            let schema = tidewatch_connectors::Schema::new(["key"], ["value"]);
            let input = Input::of_rows(Torn(names), schema);
            let start = Instant::now();
            let result = Streams::default().run(&[input], workers, &Control::default());
            assert_eq!(error, result.unwrap_err().to_string(), "{workers} workers");
            assert!(start.elapsed() < SOON, "{workers} workers: {:?}", start.elapsed());
        }
    }
}

#[test]
fn a_build_that_fails_on_one_worker_ends_the_run() {
    let memory = Memory::new([("p0", vec![record(0, "a", 1)]), ("p1", vec![record(0, "a", 1)])]).live();
    let start = Instant::now();
    let result = cluster::run(Cluster::threads(2), &Control::default(), move |worker| {
        if worker.index() == 1 {
            return Err(Error::Usage("no".to_owned()));
        }
        let input = input(&memory);
        worker.dataflow(|scope| {
            let ingested = input.ingest(scope);
            ingested.records.keyed(Echo).egress(Output::json(MemorySink::default(), input.schema().clone()));
        });
        Ok(())
    });
    assert_eq!("no", result.unwrap_err().to_string());
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
}

/// Clock ticks of 10 ms that a process has run.
#[cfg(target_os = "linux")]
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after_name = stat.rsplit(") ").next().unwrap();
    after_name.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum()
}

#[test]
#[cfg(target_os = "linux")]
fn waiting_costs_no_time_of_the_processor() {
    let directory = tempfile::tempdir().unwrap();
    let pipeline = directory.path().join("p.toml");
    let source = "[[source]]\nname = \"in\"\nconnector = \"stdio\"\nformat = \"csv\"\n\
        time = { field = \"ts\", unit = \"s\" }\nkey = [\"host\"]\nvalues = [\"load\"]\nidle = \"100ms\"\n";
    let detect = "[[detect]]\nname = \"d\"\ndetector = \"ewma-z\"\nvalue = \"load\"\nthreshold = 4\n";
    std::fs::write(&pipeline, format!("name = \"waiting\"\n\n{source}\n{detect}")).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_tidewatch"))
        .args(["run", "-w", "2", "--quiet"])
        .arg(&pipeline)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The least of three: a process that has just started, or shares its processor, is not waiting yet.
    let window = || {
        let before = ticks(child.id());
        thread::sleep(Duration::from_secs(1));
        ticks(child.id()) - before
    };
    let used = (0..3).map(|_| window()).min().unwrap();
    drop(child.stdin.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(used <= 2, "{used} of 100 ticks");
}

#[test]
fn records_with_another_number_of_values_end_the_run() {
    let row = |values: &[f64]| MemoryRecord::row(EventTime::from_micros(0), "k", values);
    for values in [&[][..], &[1.0, 2.0]] {
        for workers in WORKERS {
            let memory = Memory::new([("p0", vec![row(&[1.0]), row(values)])]);
            let input = Input::of_rows(memory, tidewatch_connectors::Schema::new(["k"], ["v"])).named("m");
            let error =
                Streams::default().run(&[input], workers, &Control::default()).unwrap_err().to_string();
            let expected = "source \"m\": partition \"p0\" has records with another number of values than the 1 of the schema";
            assert_eq!(expected, error, "{workers} workers");
        }
    }
}

#[test]
fn two_sources_of_a_dataflow_cannot_have_one_name() {
    let memory = || Memory::new([("p0", vec![record(0, "a", 1)])]);
    for workers in WORKERS {
        let run = |names: [&str; 2]| {
            let streams = Streams::default();
            let inputs = names.map(|name| input(&memory()).named(name));
            streams.run(&inputs, workers, &Control::default()).map(|_| streams.texts())
        };
        assert!(run(["m", "n"]).unwrap()[0].contains("\"value0\":1.0"));
        let expected = "two sources of a dataflow are called \"m\": call one something else, with .named(…)";
        assert_eq!(expected, run(["m", "m"]).unwrap_err().to_string(), "{workers} workers");
    }
}
