//! The records as a function of partition and index.

use std::f64::consts::TAU;

use tidewatch_dataflows::record::KeyText;
use tidewatch_dataflows::{EventTime, Key};

use super::Profile;

/// How many phases of a season are told apart.
const PHASES: usize = 4096;

/// What a late record is behind more than the least that makes it late, in microseconds, at most.
const LATE_BY: u64 = 1_000_000;

/// The standard deviation of the sum of four uniform 16-bit numbers.
const FOUR_UNIFORM: f64 = 37_837.227_264_713_96;

/// What makes an injected anomaly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnomalyKind {
    /// The value is too high.
    Spike,
    /// The value is too low.
    Dip,
}

impl AnomalyKind {
    /// The name in label files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Spike => "spike",
            Self::Dip => "dip",
        }
    }
}

/// A generated record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Generated {
    pub(super) time: EventTime,
    pub(super) value: f64,
    pub(super) anomaly: Option<AnomalyKind>,
}

/// A key with what tells its values from those of others.
#[derive(Debug)]
struct Series {
    key: KeyText,
    level: f64,
    phase: usize,
}

/// The record of index i in partition p is number n = i · partitions + p of all. Its nominal time is
/// start + n / rate and its key is number n mod keys, so that every key is observed at a steady rate.
///
/// # Disorder
///
/// Let d be the disorder, g = partitions / rate the gap between neighbours of one partition, and a(i) nominal.
///
/// * A record that is not late has a(i) − d ≤ t(i) ≤ a(i). All before it are at most at a(i), so it is behind none by
///   more than d.
/// * A late record has t(i) < a(i) − g − 2d, and the one before it is not late: that one is at least at
///   a(i) − g − d, which is more than d ahead.
///
/// To keep late records apart, one is late if it is drawn and the one before is not: with q the share of the drawn,
/// q (1 − q) is the share of the late.
#[derive(Debug)]
pub(super) struct Sequence {
    profile: Profile,
    series: Vec<Series>,
    sine: Vec<f64>,
    micros_per_record: f64,
    phases_per_micro: f64,
    noise: f64,
    /// One more than the disorder, in microseconds.
    jitter: u64,
    /// What a late record is behind its nominal time at least, in microseconds.
    late_by: i64,
    /// A record is drawn to be late if a uniform 32-bit number is below.
    drawn_below: u64,
    /// Of the records that are not late, one is anomalous if another is below.
    anomalous_below: u64,
}

impl Sequence {
    pub(super) fn new(profile: Profile) -> Self {
        let micros_per_record = 1e6 / profile.rate;
        let disorder = profile.disorder.micros();
        let gap = (micros_per_record * f64::from(profile.partitions)).ceil() as i64;
        let drawn = (1.0 - (1.0 - 4.0 * profile.late).sqrt()) / 2.0;
        let anomalous = (profile.anomalies / (1.0 - profile.late)).min(1.0);
        let below = |share: f64| (share * 4_294_967_296.0).round() as u64;
        let series = (0..profile.keys).map(|number| {
            let random = mix(mix(profile.seed) ^ u64::from(number));
            Series {
                key: Key::new(&format!("key-{number:06}")).into(),
                level: 50.0 + unit(random) * 100.0,
                phase: (random as usize) % PHASES,
            }
        });
        Self {
            series: series.collect(),
            sine: (0..PHASES)
                .map(|phase| libm::sin(TAU * phase as f64 / PHASES as f64) * profile.amplitude)
                .collect(),
            micros_per_record,
            phases_per_micro: PHASES as f64 / profile.season.micros() as f64,
            noise: profile.noise / FOUR_UNIFORM,
            jitter: disorder.unsigned_abs().saturating_add(1),
            // One for the rounding of nominal times, one to be behind by more.
            late_by: disorder.saturating_mul(2).saturating_add(gap).saturating_add(2),
            drawn_below: below(drawn),
            anomalous_below: below(anomalous),
            profile,
        }
    }

    pub(super) fn profile(&self) -> &Profile {
        &self.profile
    }

    /// The number of records in a partition.
    pub(super) fn len(&self, partition: u32) -> u64 {
        let partitions = u64::from(self.profile.partitions);
        self.profile.records.saturating_sub(partition.into()).div_ceil(partitions)
    }

    /// The number of a record's key.
    pub(super) fn key_of(&self, partition: u32, index: u64) -> usize {
        let number = u128::from(index) * u128::from(self.profile.partitions) + u128::from(partition);
        (number % self.series.len() as u128) as usize
    }

    pub(super) fn key(&self, number: usize) -> &KeyText {
        &self.series[number].key
    }

    /// The record at `index`; `key` is its [`Sequence::key_of`].
    #[inline]
    pub(super) fn at(&self, partition: u32, index: u64, key: usize) -> Generated {
        let random = self.random(partition, index);
        let (time, late) = self.time(partition, index, random);
        let series = &self.series[key];
        let since = time.micros().wrapping_sub(self.profile.start.micros());
        let phase = (since as f64 * self.phases_per_micro) as i64 as usize;
        let season = self.sine[phase.wrapping_add(series.phase) % PHASES];
        let uniforms = (random & 0xffff) + (random >> 16 & 0xffff) + (random >> 32 & 0xffff) + (random >> 48);
        let noise = (uniforms as f64 - 131_070.0) * self.noise;
        let value = series.level + season + noise;
        let anomaly = self.anomaly(random, late);
        let value = match anomaly {
            None => value,
            Some(AnomalyKind::Spike) => value + self.profile.magnitude,
            Some(AnomalyKind::Dip) => value - self.profile.magnitude,
        };
        Generated { time, value, anomaly }
    }

    /// What makes the record anomalous, if it is: cheaper than all of it.
    pub(super) fn anomaly_at(&self, partition: u32, index: u64) -> Option<AnomalyKind> {
        let random = self.random(partition, index);
        self.anomaly(random, self.is_late(partition, index, random))
    }

    #[cfg(test)]
    pub(super) fn is_late_at(&self, partition: u32, index: u64) -> bool {
        self.is_late(partition, index, self.random(partition, index))
    }

    #[inline]
    fn time(&self, partition: u32, index: u64, random: u64) -> (EventTime, bool) {
        let number = index as f64 * f64::from(self.profile.partitions) + f64::from(partition);
        let late = self.is_late(partition, index, random);
        let uniform = mix(random ^ 0x6a09_e667_f3bc_c908);
        let behind = match late {
            false => below(uniform, self.jitter) as i64,
            true => self.late_by.saturating_add(below(uniform, LATE_BY) as i64),
        };
        let after_start = ((number * self.micros_per_record) as i64).saturating_sub(behind);
        (EventTime::from_micros(self.profile.start.micros().saturating_add(after_start)), late)
    }

    #[inline]
    fn is_late(&self, partition: u32, index: u64, random: u64) -> bool {
        let drawn = |random| mix(random ^ 0xbb67_ae85_84ca_a73b) >> 32 < self.drawn_below;
        self.drawn_below != 0 && index != 0 && drawn(random) && !drawn(self.random(partition, index - 1))
    }

    #[inline]
    fn anomaly(&self, random: u64, late: bool) -> Option<AnomalyKind> {
        let random = mix(random ^ 0x3c6e_f372_fe94_f82b);
        match random >> 32 < self.anomalous_below && !late {
            false => None,
            true if random & 1 == 0 => Some(AnomalyKind::Spike),
            true => Some(AnomalyKind::Dip),
        }
    }

    /// What all that is random in a record follows from.
    #[inline]
    fn random(&self, partition: u32, index: u64) -> u64 {
        let stream = mix(self.profile.seed ^ (u64::from(partition) << 32 | 0x5851_f42d));
        // Steele, Lea and Flood (2014), Fast splittable pseudorandom number generators: SplitMix64.
        mix(stream.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }
}

/// The finalizer of SplitMix64.
#[inline]
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// A uniform number below `bound` from uniform bits.
#[inline]
fn below(bits: u64, bound: u64) -> u64 {
    ((u128::from(bits) * u128::from(bound)) >> 64) as u64
}

/// A uniform number in `[0, 1)` from uniform bits.
fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1u64 << 53) as f64
}
