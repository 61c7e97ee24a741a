//! A checkpoint as an arrangement, read through a cursor.

use std::collections::BTreeMap;
use std::rc::Rc;

use differential_dataflow::difference::Semigroup;
use differential_dataflow::trace::cursor::cursor_list;
use differential_dataflow::trace::{Builder, Cursor, Description, Span, Trace, TraceReader};
use tidewatch_dataflows::record::KeyGroup;
use tidewatch_dataflows::state::{States, StatesBuilder, Version};
use tidewatch_dataflows::{EventTime, Key};
use timely::dataflow::operators::generic::OperatorInfo;
use timely::progress::{Antichain, Timestamp};

use super::Checkpoint;
use crate::Error;

/// An update of [`States`].
type Update = ((Key, ()), EventTime, Version);

impl Checkpoint {
    /// What the checkpoint keeps, as a trace: a batch for each boundary up to which an object says what changed.
    ///
    /// # Errors
    ///
    /// As [`group`](Self::group).
    pub fn states(&self) -> Result<States, Error> {
        let mut batches: BTreeMap<EventTime, Vec<Update>> =
            self.objects.iter().map(|(_, object)| (object.boundary(), Vec::new())).collect();
        for (groups, object) in &self.objects {
            for group in KeyGroup::all().filter(|group| groups.contains(*group)) {
                for change in object.group(group)?.iter() {
                    let version = Version::new(change.version, change.last, change.state);
                    // A merged object has versions of the boundaries before its own, too.
                    let batch = batches.range_mut(change.version..).next();
                    let (_, batch) = batch.expect("no version is later than the object's boundary");
                    batch.push(((Key::new(change.key), ()), change.version, version));
                }
            }
        }
        let mut states = States::new(OperatorInfo::new(0, 0, [].into()), None, None);
        let mut lower = Antichain::from_elem(EventTime::minimum());
        for (boundary, mut updates) in batches {
            updates.sort_unstable();
            let mut builder = StatesBuilder::default();
            builder.push(&mut updates);
            let upper = Antichain::from_elem(EventTime::from_micros(boundary.micros().saturating_add(1)));
            let since = Antichain::from_elem(EventTime::minimum());
            let description = Description::new(lower, upper.clone(), since);
            states.insert(Span::new(description, builder.done().map(Rc::new)));
            lower = upper;
        }
        Ok(states)
    }
}

/// Calls `each` with every key that has a state as of `time`, in the order of keys, and with its version.
///
/// # Errors
///
/// The first one of `each`, after which it is not called again.
pub fn as_of(
    states: &mut States,
    time: EventTime,
    mut each: impl FnMut(&Key, &Version) -> Result<(), Error>,
) -> Result<(), Error> {
    let batches =
        states.batches_through(Antichain::new().borrow()).expect("nothing of the trace was compacted");
    let (mut cursor, storage) = cursor_list(batches);
    while let Some(key) = cursor.get_key(&storage) {
        let mut newest: Option<Version> = None;
        while cursor.val_valid(&storage) {
            cursor.map_times(&storage, |boundary, version| {
                if *boundary <= time {
                    match &mut newest {
                        Some(newest) => newest.plus_equals(version),
                        None => newest = Some(version.clone()),
                    }
                }
            });
            cursor.step_val(&storage);
        }
        if let Some(version) = newest.filter(|version| version.state.is_some()) {
            each(key, &version)?;
        }
        cursor.step_key(&storage);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
