//! What has happened in all worlds together, so that nobody believes in tests in which nothing did.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// A count.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }
}

macro_rules! tally {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// How often what has happened.
        #[derive(Debug, Default)]
        pub(super) struct Tally { $($(#[$doc])* pub(super) $name: Count,)* }

        impl Tally {
            /// Each kind of event with its count.
            pub(super) fn all(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.0.load(Ordering::Relaxed)),)*]
            }
        }
    };
}

tally! {
    /// Worlds that came to their end.
    worlds,
    turns,
    lives,
    /// Lives that were cut off.
    crashes,
    /// Lives that went on beside the next one.
    zombies,
    interruptions,
    /// Lives that ended because of a later one.
    fenced,
    /// Lives that ended because a write had failed.
    failed,
    /// Lives of a job that was done.
    afterlives,
    commits,
    /// Commits that were refused because another life had fenced the shard.
    fenced_commits,
    /// Writes under way when their life died or the connection failed, and those of them that landed.
    lost_writes,
    lost_that_landed,
    /// Writes that landed before their life heard of it, and died.
    unheard,
    deletions,
    /// Objects of checkpoints that were damaged.
    damages,
    decisions,
    /// Lives that began where the first list of mutes made no sense.
    senseless,
    /// Lists of mutes that were taken up after the first one.
    editions,
    /// Partitions that joined after the first life.
    joins,
    manifests,
    /// Runs that went on from a manifest.
    resumed,
    /// Records of each kind that were written.
    verdicts,
    late,
    dead_letters,
    alerts,
    muted,
    incidents,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<_> = self.all().iter().map(|(name, count)| format!("{name} {count}")).collect();
        f.write_str(&all.join(", ").replace('_', " "))
    }
}
