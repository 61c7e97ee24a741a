//! What happens in a world, from its first life to its end.

use std::sync::Arc;

use tidewatch::checkpoint::Body;
use tidewatch::cluster::Outcome;
use tidewatch::Error;
use tidewatch_connectors::control::Rule;
use tidewatch_connectors::ingest::Position;
use tidewatch_connectors::{Decision, Error as ConnectorError, Progress, Shard};
use tidewatch_dataflows::{Offset, PartitionId};

use super::damage;
use super::life::{Life, Setting, BOUND, FAILED};
use super::random::Random;
use super::source::Partition;
use super::tally::Tally;
use super::world::{self, Mutes, Pipeline, World, STREAMS};

/// How many lives a world has at most: some for each disturbance, and for each write that fails.
const MANY: usize = 60;

/// What is to happen with a seed.
pub(super) struct History {
    random: Random,
    tally: Arc<Tally>,
    broken: Option<Rule>,
    traces: bool,
}

/// What disturbs a life.
#[derive(Clone, Copy, Debug)]
enum Disturbance {
    /// It dies.
    Crash,
    /// It goes on for a while beside the next one.
    Zombie,
    /// It is asked to stop.
    Interruption,
}

/// The lives of a world.
struct Lives {
    world: Arc<World>,
    random: Random,
    pipeline: Pipeline,
    fails: Option<u64>,
    damages: bool,
    is_damaged: bool,
    lives: Vec<Life>,
    /// Who is to die, after how many turns.
    doomed: Vec<(usize, u64)>,
    /// Who was asked to stop.
    interrupted: Vec<usize>,
    /// What happens to the newest life, after how many turns.
    next: Option<(u64, Disturbance)>,
    disturbances: u64,
}

impl History {
    pub(super) fn of(seed: u64, tally: &Arc<Tally>) -> Self {
        Self { random: Random::of(seed), tally: tally.clone(), broken: None, traces: false }
    }

    /// Nobody obeys this rule.
    pub(super) fn breaking(self, rule: Rule) -> Self {
        Self { broken: Some(rule), ..self }
    }

    /// Tells what happens while it does.
    pub(super) fn tell(self) -> Self {
        Self { traces: true, ..self }
    }

    /// Lets it happen; returns what was wrong.
    pub(super) fn unfold(mut self) -> Vec<String> {
        let shards = self.random.between(1, 3) as u32;
        let pipeline = Pipeline { windows: self.random.once_in(2), idle: Some(self.random.between(40, 200)) };
        let (partitions, mutes) = (world::partitions(&mut self.random), Mutes::of(&mut self.random));
        let random = self.random.branch();
        let world = World::new(random, partitions, mutes, shards, &self.tally, self.broken, self.traces);
        let mut lives = Lives {
            world: world.clone(),
            random: self.random.branch(),
            pipeline,
            fails: self.random.once_in(2).then(|| self.random.between(20, 300)),
            damages: self.random.once_in(2),
            is_damaged: false,
            lives: Vec::new(),
            doomed: Vec::new(),
            interrupted: Vec::new(),
            next: None,
            disturbances: self.random.between(1, 4),
        };
        let has_ended = lives.live();
        self.tally.turns.add(world.turns.taken());
        if has_ended {
            self.tally.worlds.add(1);
            self.compare(&world, pipeline);
        }
        let wrongs = std::mem::take(&mut *world.wrongs.lock().expect("nobody panics"));
        wrongs
    }

    /// Compares what was written with what an undisturbed run over the same journal writes.
    fn compare(&mut self, world: &World, pipeline: Pipeline) {
        let (partitions, mutes) = match journaled(world) {
            Ok(journaled) => journaled,
            Err(wrong) => return world.blame(wrong),
        };
        let (random, tally) = (self.random.branch(), Arc::default());
        let reference = World::new(random, partitions, mutes, world.shards, &tally, None, false);
        let setting = world::setting(&mut self.random, Pipeline { idle: None, ..pipeline });
        let setting = Setting { workers: 1, ..setting };
        if let Err(wrong) = undisturbed(&reference, &setting) {
            return world.blame(wrong);
        }
        for shard in (0..world.shards).map(Shard) {
            if world.sink.commits(shard).last() != Some(&Progress::End) {
                world.blame(format!("shard {shard:?} is not committed to the end"));
            }
            for (stream, name) in STREAMS.iter().enumerate() {
                let [expected, found] = [&reference, world]
                    .map(|world| String::from_utf8_lossy(&world.sink.contents(shard, stream)).into_owned());
                let Tally { verdicts, late, dead_letters, alerts, muted, incidents, .. } = &*world.tally;
                let counts = [verdicts, late, dead_letters, alerts, muted, incidents];
                counts[stream].add(found.lines().count() as u64);
                if expected != found {
                    world.blame(format!(
                        "shard {shard:?} has other {name}:\n{}",
                        difference(&expected, &found)
                    ));
                }
            }
        }
    }
}

/// The first line that differs.
fn difference(expected: &str, found: &str) -> String {
    let (mut left, mut right) = (expected.lines(), found.lines());
    for number in 1.. {
        match (left.next(), right.next()) {
            (None, None) => break,
            (expected, found) if expected != found => {
                return format!("  line {number}\n  expected {expected:?}\n  found    {found:?}")
            }
            _ => {}
        }
    }
    "  nothing but how lines end".to_owned()
}

/// The partitions that were read, with all that was decided about them; and what was taken up of the list of mutes.
fn journaled(world: &World) -> Result<(Vec<Partition>, Mutes), String> {
    let log = world.stored.log()?;
    let (mut partitions, mut editions) = (Vec::<Partition>::new(), Vec::new());
    for (_, body) in &log {
        match body {
            Body::Joined(joined) => join(world, &mut partitions, joined),
            Body::Decisions(decisions) => {
                world.tally.decisions.add(decisions.len() as u64);
                for decision in decisions {
                    let is_of = |partition: &&mut Partition| {
                        PartitionId::of("s", &partition.name) == decision.partition
                    };
                    let of = partitions.iter_mut().find(is_of);
                    of.ok_or("a decision on a partition that has not joined")?.decisions.push(*decision);
                }
            }
            Body::Referred(edition) => editions.push(edition.clone()),
            Body::Manifest(_) => world.tally.manifests.add(1),
            Body::Resumed(plan) => {
                world.tally.resumed.add(u64::from(plan.manifest.is_some()));
                join(world, &mut partitions, &plan.positions);
            }
            _ => {}
        }
    }
    world.tally.editions.add(editions.len().saturating_sub(1) as u64);
    Ok((partitions, Mutes::Taken(editions)))
}

/// Partitions that are read from here from now on, unless they were before.
fn join(world: &World, partitions: &mut Vec<Partition>, joined: &[Position]) {
    let is_first = partitions.is_empty();
    for position in joined {
        if partitions.iter().any(|partition| partition.name == position.name) {
            continue;
        }
        world.tally.joins.add(u64::from(!is_first));
        let partition = world.partitions.iter().find(|partition| partition.name == position.name);
        let mut partition = partition.expect("what joins is there").clone();
        (partition.born, partition.ends) = Default::default();
        partition.records.iter_mut().for_each(|(comes, _)| *comes = Default::default());
        let (id, watermark) = (position.partition(), position.watermark);
        partition.decisions = vec![Decision { partition: id, offset: Offset(0), watermark }];
        partitions.push(partition);
    }
}

/// Runs a job once, from the beginning to the end.
fn undisturbed(world: &Arc<World>, setting: &Setting) -> Result<(), String> {
    let mut life = Life::begin(world, 0, setting);
    world.turns.run(BOUND);
    let has_left = world.turns.have_left(0, true);
    match life.end(world) {
        Some(Ok(Outcome::Done)) if has_left => Ok(()),
        outcome => Err(format!("the undisturbed run ends with {outcome:?}")),
    }
}

impl Lives {
    /// Lives until a life has ended that nobody disturbs; `false` if that never happens.
    fn live(&mut self) -> bool {
        self.begin();
        let mut begun = 0;
        let is_done = loop {
            let events = self.doomed.iter().map(|(_, turn)| *turn).chain(self.next.map(|(turn, _)| turn));
            self.world.turns.run(events.min().unwrap_or(u64::MAX).min(begun + BOUND));
            let taken = self.world.turns.taken();
            let ended = self.end();
            if ended == Some(true) && self.disturbances == 0 {
                break true;
            }
            if ended == Some(true) {
                self.world.tally.afterlives.add(1);
            }
            if self.lives.len() > MANY {
                self.world.blame(format!("{MANY} lives are not enough"));
            }
            if self.world.is_wrong() {
                break false;
            }
            self.doom(taken);
            match self.next.filter(|(turn, _)| *turn <= taken) {
                Some((_, disturbance)) if ended.is_none() => self.disturb(disturbance, taken),
                _ => {}
            }
            let newest = self.lives.last().expect("there is one");
            if newest.has_ended() || newest.wire.is_dead() || self.is_zombie(newest.wire.number) {
                begun = taken;
                self.begin();
            } else if taken >= begun + BOUND {
                self.world.blame(format!("life {} has no end", newest.wire.number));
                break false;
            }
        };
        self.lives.iter().for_each(Life::kill);
        for life in &mut self.lives {
            if let Some(Err(Error::Internal(error))) = life.end(&self.world) {
                self.world.blame(format!("life {}: {error}", life.wire.number));
            }
        }
        is_done
    }

    fn is_zombie(&self, life: usize) -> bool {
        self.doomed.iter().any(|(doomed, _)| *doomed == life) && !self.interrupted.contains(&life)
    }

    fn begin(&mut self) {
        let Self { world, random, .. } = self;
        let mut setting = world::setting(random, self.pipeline);
        let taken = world.turns.taken();
        self.next = None;
        if self.disturbances > 0 {
            self.disturbances -= 1;
            setting.fails = self.fails;
            let longest = [30, 150, 600, 2_000][random.below(4) as usize];
            let disturbance = match random.below(8) {
                0..4 => Disturbance::Crash,
                4..7 => Disturbance::Zombie,
                _ => Disturbance::Interruption,
            };
            self.next = Some((taken + 1 + random.below(longest), disturbance));
        }
        let number = self.lives.len();
        world.tally.lives.add(1);
        // Once: what is damaged again may have been all that was left.
        if self.damages && !self.is_damaged {
            self.is_damaged = damage::damage(world, random);
        }
        world.trace(|| format!("life {number} begins with {} workers", setting.workers));
        self.lives.push(Life::begin(world, number, &setting));
    }

    fn disturb(&mut self, disturbance: Disturbance, taken: u64) {
        self.next = None;
        let Self { world, random, .. } = self;
        let life = self.lives.last().expect("there is one");
        let number = life.wire.number;
        world.trace(|| format!("life {number}: {disturbance:?}"));
        match disturbance {
            Disturbance::Crash => {
                world.tally.crashes.add(1);
                life.kill();
            }
            Disturbance::Zombie => {
                world.tally.zombies.add(1);
                let longest = [50, 500, 2_000][random.below(3) as usize];
                self.doomed.push((number, taken + random.between(1, longest)));
            }
            Disturbance::Interruption => {
                world.tally.interruptions.add(1);
                self.interrupted.push(number);
                life.control.interrupt();
                if random.once_in(3) {
                    self.doomed.push((number, taken + random.between(1, 200)));
                }
            }
        }
    }

    /// Has those die whose time has come.
    fn doom(&mut self, taken: u64) {
        let (dying, doomed) =
            std::mem::take(&mut self.doomed).into_iter().partition(|(_, turn)| *turn <= taken);
        self.doomed = doomed;
        let dying: Vec<(usize, u64)> = dying;
        for (number, _) in dying {
            if !self.lives[number].has_ended() {
                self.world.trace(|| format!("life {number} dies"));
                self.lives[number].kill();
            }
        }
    }

    /// Takes note of lives whose workers have left; for the newest one, whether it had done everything.
    fn end(&mut self) -> Option<bool> {
        let newest = self.lives.len() - 1;
        let mut ended = None;
        for number in 0..self.lives.len() {
            if self.lives[number].has_ended() || !self.world.turns.have_left(number, true) {
                continue;
            }
            let was_dead = self.lives[number].wire.is_dead();
            let Some(outcome) = self.lives[number].end(&self.world) else { continue };
            self.world.trace(|| format!("life {number} ends: {outcome:?}"));
            let is_done = self.judge(number, was_dead, outcome);
            if number == newest {
                ended = Some(is_done);
            }
        }
        ended
    }

    /// Whether a life had done everything; blames it if it should not have ended as it did.
    fn judge(&self, number: usize, was_dead: bool, outcome: Result<Outcome, Error>) -> bool {
        let world = &self.world;
        match outcome {
            Ok(Outcome::Done) if !was_dead => {
                for shard in (0..world.shards).map(Shard) {
                    if world.sink.commits(shard).last() != Some(&Progress::End) {
                        world.blame(format!("life {number} is done, but shard {shard:?} is not"));
                    }
                }
                return true;
            }
            Err(Error::Internal(error)) => world.blame(format!("life {number}: {error}")),
            _ if was_dead => {}
            Ok(_) if self.interrupted.contains(&number) => {}
            Err(Error::Interrupted) if self.interrupted.contains(&number) => {}
            Err(Error::Connector(ConnectorError::Fenced { .. })) => world.tally.fenced.add(1),
            // What was damaged may have been in use.
            Err(Error::Connector(ConnectorError::Damaged { .. })) if self.is_damaged => {}
            // There was no list yet that made sense.
            Err(error) if error.to_string().contains("\"from\" is not a time") => {
                world.tally.senseless.add(1)
            }
            Err(error) if error.to_string().contains(FAILED) => world.tally.failed.add(1),
            other => world.blame(format!("life {number} ends with {other:?}")),
        }
        false
    }
}
