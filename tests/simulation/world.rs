//! A world: partitions, a store and a sink that outlive the lives of the job.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidewatch_connectors::control::Rule;
use tidewatch_connectors::ingest::Pace;
use tidewatch_connectors::memory::MemoryShards;
use tidewatch_connectors::{Progress, Shard};
use tidewatch_dataflows::mutes::Edition;
use tidewatch_dataflows::EventTime;

use super::life::Setting;
use super::random::Random;
use super::sink::wrong;
use super::source::Partition;
use super::store::Stored;
use super::tally::Tally;
use super::turns::Turns;

/// What is written, in the order of the pipeline's tables.
pub(super) const STREAMS: [&str; 6] = ["verdicts", "late", "dead_letters", "alerts", "muted", "incidents"];

/// What a seed makes.
pub(super) struct World {
    pub(super) turns: Arc<Turns>,
    pub(super) partitions: Vec<Partition>,
    pub(super) mutes: Mutes,
    pub(super) stored: Stored,
    pub(super) sink: MemoryShards,
    pub(super) shards: u32,
    pub(super) tally: Arc<Tally>,
    /// What was found to be wrong.
    pub(super) wrongs: Mutex<Vec<String>>,
    /// A rule that no life of it obeys.
    pub(super) broken: Option<Rule>,
    traces: bool,
}

impl World {
    pub(super) fn new(
        random: Random,
        partitions: Vec<Partition>,
        mutes: Mutes,
        shards: u32,
        tally: &Arc<Tally>,
        broken: Option<Rule>,
        traces: bool,
    ) -> Arc<Self> {
        Arc::new(Self {
            turns: Turns::new(random),
            partitions,
            mutes,
            stored: Stored::default(),
            sink: MemoryShards::new(shards),
            shards,
            tally: tally.clone(),
            wrongs: Mutex::default(),
            broken,
            traces,
        })
    }

    /// Says what happens, if somebody wants to know.
    pub(super) fn trace(&self, what: impl FnOnce() -> String) {
        if self.traces {
            eprintln!("{:>9?} {}", self.turns.now(), what());
        }
    }

    /// Whether its lives obey a rule.
    pub(super) fn obeys(&self, rule: Rule) -> bool {
        self.broken != Some(rule)
    }

    /// Takes note of something that must not be.
    pub(super) fn blame(&self, wrong: String) {
        self.trace(|| format!("WRONG: {wrong}"));
        self.wrongs.lock().expect("nobody panics").push(wrong);
    }

    /// Whether something must not be.
    pub(super) fn is_wrong(&self) -> bool {
        !self.wrongs.lock().expect("nobody panics").is_empty()
    }

    /// Looks at a commit.
    pub(super) fn sink_is_right(&self, shard: Shard, before: Progress, kept: usize, now: Progress) {
        if let Some(wrong) = wrong(&self.sink, shard, before, kept, now) {
            self.blame(wrong);
        }
    }
}

/// How long records may be behind, in milliseconds.
const LATENESS: u64 = 40;

/// Partitions whose records are out of order, partly late, partly no records at all, and at times do not come.
pub(super) fn partitions(random: &mut Random) -> Vec<Partition> {
    let count = [2, 2, 3, 4][random.below(4) as usize];
    (0..count)
        .map(|index| {
            let joins = index > 0 && random.once_in(2);
            let born = if joins { random.millis(1, 1_500) } else { Duration::ZERO };
            let mut comes = born + random.millis(0, 60);
            let mut time = 1_000_000 + comes.as_millis() as u64;
            let mut records = Vec::new();
            for _ in 0..random.between(4, 20) {
                let step = random.below(70);
                time += step;
                comes += Duration::from_millis(step);
                if random.once_in(8) {
                    let gap = random.between(60, 500);
                    comes += Duration::from_millis(gap);
                    // It was silent, or is only slow.
                    time += if random.once_in(2) { gap } else { 0 };
                }
                records.push((comes, record(random, time)));
            }
            let ends = comes + random.millis(0, 400);
            Partition { name: format!("p{index}"), born, records, ends, decisions: Vec::new() }
        })
        .collect()
}

fn record(random: &mut Random, time: u64) -> String {
    let behind = match random.below(12) {
        0 => return "no record".to_owned(),
        1 => random.between(LATENESS, 300),
        2..6 => random.below(LATENESS),
        _ => 0,
    };
    let key = random.below(6);
    format!("{},k{key},{},g{}", time - behind, random.below(12), key % 2)
}

/// What a list of mutes says.
#[derive(Clone, Debug)]
pub(super) enum Mutes {
    /// Each text with when it is written.
    Written(Vec<(Duration, String)>),
    /// What a run took up, for one that goes by its journal.
    Taken(Vec<Edition<String>>),
}

impl Mutes {
    /// A list that changes now and then, at times to nothing that makes sense.
    pub(super) fn of(random: &mut Random) -> Self {
        let mut written = vec![(Duration::ZERO, list(random))];
        let mut now = 0;
        for _ in 0..random.below(4) {
            now += random.between(1, 600);
            if random.once_in(4) {
                written.push((Duration::from_millis(now), "from,to\nsoon,\n".to_owned()));
                now += random.between(1, 200);
            }
            written.push((Duration::from_millis(now), list(random)));
        }
        Self::Written(written)
    }

    /// What it says at a time.
    pub(super) fn at(&self, now: Duration) -> String {
        match self {
            Self::Written(texts) => {
                let newest = texts.iter().rfind(|(written, _)| *written <= now);
                newest.map(|(_, text)| text.clone()).unwrap_or_default()
            }
            Self::Taken(_) => String::new(),
        }
    }
}

fn list(random: &mut Random) -> String {
    let mut text = "from,to,2,4,reason\n".to_owned();
    for number in 0..random.below(4) {
        let from = random.between(999_900, 1_001_500);
        let time = |millis| EventTime::from_millis(millis as i64).expect("it can be represented").to_string();
        let to = if random.once_in(4) { String::new() } else { time(from + random.between(1, 600)) };
        let from = if random.once_in(4) { String::new() } else { time(from) };
        let key = if random.once_in(2) { format!("k{}", random.below(6)) } else { String::new() };
        let group = if random.once_in(2) { format!("g{}", random.below(2)) } else { String::new() };
        text += &format!("{from},{to},{key},{group},{number}\n");
    }
    text
}

/// What the pipeline of a world is like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pipeline {
    pub(super) windows: bool,
    /// After how many milliseconds a partition is silent.
    pub(super) idle: Option<u64>,
}

/// How a life of a world is set up, on which only the way to the output depends.
pub(super) fn setting(random: &mut Random, pipeline: Pipeline) -> Setting {
    let every = [30, 200, 800][random.below(3) as usize];
    let commit = [20, 80, 500][random.below(3) as usize];
    let (every, commit) = (random.between(20, every), random.between(1, commit));
    let reread = random.between(10, 100);
    let Pipeline { windows, idle } = pipeline;
    let idle = idle.map(|idle| format!("idle = \"{idle}ms\"")).unwrap_or_default();
    let window = "[[step]]\noperator = \"window\"\nparams = { every = \"100ms\", aggregate = \"mean\" }\n";
    let mut pipeline = format!(
        r#"
name = "simulated"
[checkpoint]
store = "memory:"
every = "{every}ms"
commit = "{commit}ms"
[[source]]
name = "s"
connector = "simulated"
format = {{ kind = "csv", header = false }}
time = {{ field = "1", unit = "ms" }}
key = ["2", "4"]
values = ["3"]
lateness = "{LATENESS}ms"
{idle}
{}
[[detect]]
name = "far"
detector = "ewma-z"
params = {{ alpha = 0.3, warmup = 2 }}
threshold = 1
close_after = 2
rearm = 1.2
[mutes]
path = "mutes"
every = "{reread}ms"
[alerts]
group_by = "4"
gap = "60ms"
"#,
        if windows { window } else { "" }
    );
    for stream in STREAMS {
        pipeline += &format!(
            "[[sink]]\nstream = \"{stream}\"\nconnector = \"simulated\"\noptions = {{ to = \"all\" }}\n"
        );
    }
    let shuffle = random.once_in(2).then(|| random.below(1_000));
    let pace = Pace { batch: random.between(1, 8) as usize, shuffle, ..Pace::default() };
    let fails = None;
    Setting { workers: [1, 1, 2, 2, 3][random.below(5) as usize], pipeline, pace, fails }
}
