//! What a program adds to the registry, named by pipeline files.

use std::sync::Arc;

use tidewatch::cluster::Cluster;
use tidewatch::config;
use tidewatch::connectors::memory::{Memory, MemoryRecord, MemorySink};
use tidewatch::connectors::Control;
use tidewatch::dataflows::detectors::DetectorInfo;
use tidewatch::dataflows::params::{Kind, ParamError, Parameter, Range};
use tidewatch::dataflows::pipelines::OperatorInfo;
use tidewatch::job::Job;
use tidewatch::prelude::*;
use tidewatch::registry::{Registry, SinkInfo, SourceInfo};

/// Scores the values of a record together by the largest, and attributes the score to it.
struct Largest;

impl Detector for Largest {
    type State = ();

    fn name(&self) -> &'static str {
        "largest"
    }
    fn start(&self, _seed: u64) {}
    fn score(&self, (): &mut (), _: EventTime, values: &[f64]) -> Score {
        let largest = (0..values.len()).max_by(|left, right| values[*left].total_cmp(&values[*right]));
        Score { attribution: largest, ..Score::of(largest.map_or(0.0, |index| values[index])) }
    }
}

/// Emits each record with its values times a factor.
struct Scale(f64);

impl Logic for Scale {
    type In = Record;
    type Out = Record;
    type State = ();

    fn start(&self, _: &Key) {}
    fn on_record(
        &self,
        (): &mut (),
        time: EventTime,
        input: &Record,
        out: &mut impl FnMut(EventTime, Record),
    ) {
        out(time, Record::new(time, input.values.iter().map(|value| value * self.0).collect::<Vec<_>>()));
    }
    fn save(&self, (): &(), _: &mut Vec<u8>) {}
    fn restore(&self, _: &mut &[u8]) -> Result<(), StateError> {
        Ok(())
    }
}

const FACTOR: Parameter = Parameter::required("factor", Kind::Number(Range::POSITIVE), "what to multiply by");
const NAME: Parameter = Parameter::required("topic", Kind::Text, "where to");

/// Everything by a registered name; what is written goes to `sink`.
fn registry(sink: &MemorySink) -> Registry {
    let mut registry = Registry::default();
    registry.detectors.add(DetectorInfo {
        name: "largest",
        summary: "large values",
        score: "the largest value",
        threshold: None,
        cool_down: 0,
        multivariate: true,
        parameters: vec![],
        cost: "O(1)",
        state: "0",
        source: "elementary",
        construct: DetectorInfo::constructor(|_| Ok::<_, ParamError>(Largest)),
    });
    registry.operators.add(OperatorInfo {
        name: "scale",
        parameters: vec![FACTOR],
        construct: Arc::new(|params| Ok(Scale(params.value("factor")).erased())),
    });
    let sink = sink.clone();
    registry.sinks.add(SinkInfo {
        name: "bus",
        parameters: vec![NAME],
        check: |_| Ok(()),
        construct: Arc::new(move |options, _| {
            assert_eq!("alarms", options.value::<&str>("topic"));
            Ok(Box::new(sink.clone()))
        }),
        transactional: None,
    });
    let records =
        ["1,a,1,2", "2,a,30,4", "3,b,5,60", "4,b,7,8"].map(|line| MemoryRecord::raw(line.as_bytes()));
    let memory = Arc::new(Memory::new([("only", records.to_vec())]));
    registry.sources.add(SourceInfo {
        name: "lines",
        parameters: vec![],
        rows: false,
        envelopes: false,
        append_times: false,
        falls_silent: |_| false,
        construct: Arc::new(move |_, _| Ok(memory.clone())),
    });
    registry
}

const PIPELINE: &str = r#"
name = "registered"
[[source]]
name = "lines"
connector = "lines"
format = { kind = "csv", header = false }
time = { field = "1", unit = "s" }
key = ["2"]
values = ["3", "4"]
[[step]]
operator = "scale"
params = { factor = 10 }
[[detect]]
name = "large"
detector = "largest"
threshold = 100
[[sink]]
stream = "anomalies"
connector = "bus"
options = { topic = "alarms" }
"#;

#[test]
fn a_pipeline_file_names_what_a_program_registers() {
    for workers in [1, 2, 4] {
        let sink = MemorySink::default();
        let registry = registry(&sink);
        let file = config::parse("registered.toml", PIPELINE, &|_| None, &registry).expect("it is right");
        let job = Job::new(file, &registry).expect("it fits together");
        let outputs = {
            let job = job.clone();
            Arc::new(move || job.sinks().iter().map(|sink| (sink.stream, job.output(sink))).collect())
        };
        job.run(Cluster::threads(workers), &Control::default(), outputs).expect("it runs");
        let written = String::from_utf8(sink.contents()).expect("JSON is UTF-8");
        let anomaly = |second, key, value, score, attribution| {
            format!(
                "{{\"time\":\"1970-01-01T00:00:0{second}Z\",\"key\":{{\"2\":\"{key}\"}},\"detector\":\"large\",\"value\":{value},\"score\":{score},\"expected\":null,\"lower\":null,\"upper\":null,\"attribution\":\"{attribution}\",\"anomalous\":true}}"
            )
        };
        let expected =
            [anomaly(2, "a", "300.0", "300.0", "3"), anomaly(3, "b", "600.0", "600.0", "4")].join("\n");
        assert_eq!(expected, written, "-w{workers}");
    }
}

#[test]
fn registered_names_and_parameters_are_checked_as_the_built_in_ones() {
    let mut registry = registry(&MemorySink::default());
    let wrong = PIPELINE
        .replace("\"scale\"", "\"scael\"")
        .replace("topic =", "topc =")
        .replace("threshold", "value = \"3\"\nthreshold");
    let error = config::parse("p.toml", &wrong, &|_| None, &registry).expect_err("it is wrong").to_string();
    for part in ["did you mean \"scale\"?", "did you mean \"topic\"?", "missing option \"topic\""] {
        assert!(error.contains(part), "{part}: {error}");
    }
    let info = registry.detectors.get("largest").expect("it is there").clone();
    registry.detectors.add(DetectorInfo { multivariate: false, ..info });
    let error = config::parse("p.toml", PIPELINE, &|_| None, &registry).expect_err("which one?").to_string();
    assert!(error.contains("missing \"value\" in [[detect]]"), "{error}");
}

#[test]
fn a_registered_detector_is_a_member_of_ensembles_if_it_reads_one_value() {
    let mut registry = registry(&MemorySink::default());
    let ensemble = PIPELINE.replace(
        "\"largest\"",
        "\"ensemble\"\nvalue = \"3\"\nparams = { members = { largest = 1_000, ewma-z = 1 } }",
    );
    let error = config::parse("p.toml", &ensemble, &|_| None, &registry).expect_err("two values").to_string();
    assert!(error.contains("\"members.largest\" cannot be a member: it reads several values"), "{error}");
    let info = registry.detectors.get("largest").expect("it is there").clone();
    registry.detectors.add(DetectorInfo { multivariate: false, ..info });
    let file = config::parse("p.toml", &ensemble, &|_| None, &registry).expect("it is right");
    assert!(Job::new(file, &registry).is_ok());
}

#[test]
fn a_connector_may_take_the_place_of_one_that_is_built_in_and_have_options_of_its_own() {
    let mut registry = registry(&MemorySink::default());
    let lines = registry.sources.get("lines").expect("it is there").clone();
    for name in ["file", "recording"] {
        let path = Parameter::required("path", Kind::Integer(0, 9), "which one");
        registry.sources.add(SourceInfo { name, parameters: vec![path], ..lines.clone() });
        let connector = format!("connector = \"{name}\"\noptions = {{ path = 7 }}");
        let text = PIPELINE.replace("connector = \"lines\"", &connector);
        let file = config::parse("p.toml", &text, &|_| None, &registry).expect("it is right");
        assert_eq!(7, file.sources[0].options.value::<i64>("path"));
    }
}
