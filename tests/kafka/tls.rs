//! Topics of a broker that encrypts, and asks who is there.

use std::process::Command;

use super::*;
use crate::broker::tls::{secured, Secured, USER};
use crate::broker::PASSWORD;
use crate::cluster::processes::{start, Ended, Observed};
use crate::harness::program::PROGRAM;
use crate::readme::{self, blocks, complete};

/// A job over a topic, which writes to one that is named after it.
const JOB: &str = r#"
name = "JOB"
[[source]]
name = "requests"
connector = "kafka"
options = { brokers = "BROKERS", topics = "JOB", stop_at = "${STOP_AT:-never}", librdkafka = SECURITY }
format = "json"
time = { field = "t", unit = "ms" }
key = ["k"]
value = "v"
lateness = "50ms"
[[detect]]
name = "high"
detector = "static"
params = { max = 90 }
threshold = 1
[[sink]]
stream = "verdicts"
connector = "kafka"
options = { brokers = "BROKERS", topic = "JOB-verdicts", create = { partitions = 2 }, librdkafka = SECURITY }
[[sink]]
stream = "late"
connector = "kafka"
options = { brokers = "BROKERS", topic = "JOB-late", create = { partitions = 1 }, librdkafka = SECURITY }
[checkpoint]
store = "{}/state"
every = "100ms"
commit = "20ms"
"#;

/// The same with what one must say to be let in.
fn job(secured: &Secured, name: &str) -> (TempDir, String) {
    let authority = secured.authority();
    let security = format!(
        "{{ \"security.protocol\" = \"sasl_ssl\", \"sasl.mechanism\" = \"SCRAM-SHA-256\", \"sasl.username\" = \"{USER}\", \
         \"sasl.password\" = \"${{KAFKA_PASSWORD}}\", \"ssl.ca.location\" = \"{authority}\" }}"
    );
    let text = JOB.replace("JOB", name).replace("BROKERS", &secured.address());
    pipeline(&text.replace("SECURITY", &security))
}

fn started(path: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Observed {
    let environment = environment.iter().copied();
    let folder = Path::new(path).parent().expect("it is in one");
    start(Command::new(PROGRAM).args(["run", path]).args(arguments).envs(environment).current_dir(folder))
}

/// The payloads of a topic, in no order.
fn payloads(broker: &Broker, topic: &str) -> Vec<String> {
    let mut payloads: Vec<_> = broker.committed(topic).iter().map(|one| one.text().to_owned()).collect();
    payloads.sort();
    payloads
}

#[test]
fn what_is_read_and_committed_over_tls_is_there_once_whatever_kills_the_run() {
    let Some(secured) = secured() else { return };
    let broker = &secured.broker;
    // The same records give the same whether anybody listens or not.
    let all: Vec<_> = (0..2).map(|partition| records(partition, 600)).collect();
    let fill = |topic: &str, from: usize, to: usize| {
        (0..2).for_each(|partition| broker.send(topic, sent(partition, &all[partition as usize][from..to])));
    };
    broker.topic("open", 2, &[]);
    fill("open", 0, 600);
    let (folder, path) = over(broker, "open", "[\"k\"]", "");
    run(&path, &["-q"]);
    broker.topic("secured", 2, &[]);
    let (_folder, path) = job(secured, "secured");
    let committed = || broker.ends("secured-verdicts").iter().sum::<i64>();
    for (life, cluster) in (0..).zip(["-w2", "-n2", "-w1"]) {
        let before = if life == 0 { 0 } else { committed() };
        fill("secured", life * 200, (life + 1) * 200);
        let mut run = started(&path, &[cluster], &[("KAFKA_PASSWORD", PASSWORD)]);
        eventually("some are committed", || run.err(), || committed() > before + 50);
        run.kill();
    }
    let ended =
        started(&path, &["-w2", "-q"], &[("KAFKA_PASSWORD", PASSWORD), ("STOP_AT", "end")]).end(PATIENCE);
    assert_eq!(Some(0), ended.code, "{}", ended.err);
    for (stream, file) in [("verdicts", "out.jsonl"), ("late", "late.jsonl")] {
        let expected = read(&folder, file);
        assert!(!expected.is_empty(), "{file}");
        let found = payloads(broker, &format!("secured-{stream}")).join("\n");
        assert_eq!(sorted(&expected.replace("open/", "secured/")), found, "{stream}");
    }
}

fn sorted(lines: &str) -> String {
    let mut lines: Vec<_> = lines.lines().collect();
    lines.sort_unstable();
    lines.join("\n")
}

/// What one must say to be let in, as the README shows it of a source.
fn of_readme() -> String {
    let blocks = blocks(&readme::read("README.md"), "toml");
    let (_, shown) = blocks.into_iter().find(|(_, block)| block.contains("sasl_ssl")).expect("there is one");
    shown
}

/// A few records for a sink to which the same is said.
fn to_sink(source: &str) -> String {
    let (_, security) = source.split_once("[source.options.librdkafka]").expect("it has one");
    let generator = "[[source]]\nname = \"few\"\nconnector = \"generator\"\noptions = { records = 10 }";
    let options = "[sink.options]\nbrokers = \"${KAFKA}\"\ntopic = \"requests\"";
    let sink = format!("[[sink]]\nstream = \"verdicts\"\nconnector = \"kafka\"\n{options}");
    format!("{generator}\n{sink}\n[sink.options.librdkafka]{security}")
}

/// A way to be wrong: what is changed in the pipeline, where the broker is, by whom its certificate must be signed, and what is
/// said then.
struct Wrong<'a> {
    change: (&'a str, &'a str),
    address: &'a str,
    authority: &'a str,
    said: &'a [&'a str],
}

impl Wrong<'_> {
    fn refuse(&self, part: &str, password: &str) {
        let (from, to) = self.change;
        assert!(part.contains(from), "{from}");
        let (_folder, path) = pipeline(&complete(&part.replace(from, to)));
        let environment =
            [("KAFKA", self.address), ("KAFKA_CA", self.authority), ("KAFKA_PASSWORD", password)];
        let begun = Instant::now();
        let Ended { code, out, err } = started(&path, &["-vv"], &environment).end(PATIENCE);
        let took = begun.elapsed();
        eprintln!("{to:?} at {}, after {took:?}: {}", self.address, err.lines().last().unwrap_or_default());
        // As users are promised ten seconds, on a machine without other work.
        assert!(took < Duration::from_secs(20), "{took:?}: {err}");
        let last = err.lines().last().unwrap_or_default();
        assert_eq!(Some(1), code, "{err}");
        assert!(last.starts_with(&format!("kafka at {}: ", self.address)), "{last}");
        self.said.iter().for_each(|part| assert!(last.contains(part), "{part:?} is not in {last}"));
        assert!(!out.contains(password) && !err.contains(password), "it tells the password: {out}{err}");
    }
}

#[test]
fn whoever_cannot_be_let_in_or_trusted_is_told_why_and_the_password_is_told_to_nobody() {
    let Some(secured) = secured() else { return };
    let (address, authority, stranger) = (&*secured.address(), &*secured.authority(), &*secured.stranger());
    let (open, guarded) = (&*secured.broker.address, &*secured.broker.guarded_address);
    let by_name = &*format!("localhost:{}", secured.port);
    let same = ("\"sasl_ssl\"", "\"sasl_ssl\"");
    let right = Wrong { change: same, address, authority, said: &[] };
    let untrusted: &[&str] = &["certificate", "ssl.ca.location", "names another host"];
    let talked_otherwise: &[&str] = &["is `security.protocol` that of the broker's listener?"];
    let cases = [
        Wrong { said: &["the broker refuses this client: ", "Authentication failed"], ..right },
        Wrong {
            change: ("\"tidewatch\"", "\"nobody\""),
            said: &["the broker refuses this client: ", "Authentication failed"],
            ..right
        },
        Wrong { change: ("SCRAM-SHA-256", "PLAIN"), said: &["SASL mechanism"], ..right },
        Wrong { authority: stranger, said: untrusted, ..right },
        Wrong {
            change: (same.0, "\"sasl_ssl\"\n\"broker.address.family\" = \"v4\""),
            address: by_name,
            said: untrusted,
            ..right
        },
        Wrong { change: (same.0, "\"plaintext\""), said: talked_otherwise, ..right },
        Wrong { change: (same.0, "\"sasl_plaintext\""), said: talked_otherwise, ..right },
        Wrong { address: open, said: talked_otherwise, ..right },
        Wrong { change: (same.0, "\"plaintext\""), address: guarded, said: talked_otherwise, ..right },
    ];
    let source = of_readme();
    let sink = to_sink(&source);
    thread::scope(|scope| {
        for (wrong, part) in cases.iter().flat_map(|wrong| [(wrong, &source), (wrong, &sink)]) {
            scope.spawn(move || wrong.refuse(part, "wide-open"));
        }
    });
}

#[test]
fn the_pipeline_of_the_readme_is_let_in() {
    let Some(secured) = secured() else { return };
    secured.broker.topic("requests", 1, &[]);
    secured.broker.send("requests", sent(0, &[r#"{"ts":1,"service":"a","latency_ms":2}"#.to_owned()]));
    // Whatever librdkafka has to say, it is not the password.
    let source = of_readme().replace("\"sasl.mechanism\"", "debug = \"all\"\n\"sasl.mechanism\"");
    for part in [source.replace("topics = ", "stop_at = \"end\"\ntopics = "), to_sink(&source)] {
        let (_folder, path) = pipeline(&complete(&part));
        let (address, authority) = (secured.address(), secured.authority());
        let environment = [("KAFKA", &*address), ("KAFKA_CA", &authority), ("KAFKA_PASSWORD", PASSWORD)];
        let Ended { code, out, err } = started(&path, &["-vv"], &environment).end(PATIENCE);
        assert_eq!(Some(0), code, "{err}");
        assert!(err.contains("SCRAM-SHA-256"), "{err}");
        assert!(!out.contains(PASSWORD) && !err.contains(PASSWORD), "it tells the password: {out}{err}");
    }
}

#[test]
fn whom_the_system_trusts_counts_where_nobody_else_is_named() {
    let Some(secured) = secured() else { return };
    let source = of_readme();
    let own = source.lines().find(|line| line.starts_with("\"ssl.ca.location\"")).expect("there is one");
    let source = source.replace(own, "debug = \"security\"");
    for part in [to_sink(&source), source] {
        let (_folder, path) = pipeline(&complete(&part));
        let environment = [("KAFKA", &*secured.address()), ("KAFKA_PASSWORD", PASSWORD)];
        let Ended { code, err, .. } = started(&path, &["-vv"], &environment).end(PATIENCE);
        assert_eq!(Some(1), code, "nobody there trusts it: {err}");
        assert!(err.contains("CACERTS") && err.contains("names another host"), "{err}");
    }
}
