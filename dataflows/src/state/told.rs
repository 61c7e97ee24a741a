//! What is in a saved state, told while it is read.
//!
//! Bytes say nothing of themselves: only the logic that wrote them can read them. So whoever wants to know has it read them, and
//! [`restore`](super::restore) tells of each part, with its names, what it gave.

use std::cell::RefCell;

use serde::Serialize;
use serde_json::Value;

use super::StateError;
use crate::Name;

/// What one logic keeps of a key.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Part {
    /// The detection that it belongs to; `None` before all detections.
    pub detection: Option<Name>,
    /// Whose it is: `window`, the name of a detector, `episodes`, and so on.
    pub logic: String,
    /// The version of what it is like, if the logic has versions.
    pub version: Option<u32>,
    /// What it is; times are in microseconds since 1970.
    pub state: Value,
}

#[derive(Default)]
struct Telling {
    detection: Option<Name>,
    parts: Vec<Part>,
}

thread_local! {
    static TELLING: RefCell<Option<Telling>> = const { RefCell::new(None) };
}

/// Takes note of a part, if anybody wants to know.
pub(super) fn tell<S: Serialize>(logic: &str, version: Option<u32>, state: &S) {
    TELLING.with_borrow_mut(|telling| {
        let Some(Telling { detection, parts }) = telling else { return };
        let state = serde_json::to_value(state)
            .unwrap_or_else(|error| format!("it cannot be told as JSON: {error}").into());
        parts.push(Part { detection: *detection, logic: logic.to_owned(), version, state });
    });
}

/// Has `read` read what belongs to a detection.
pub(crate) fn within<T>(detection: Name, read: impl FnOnce() -> T) -> T {
    let set = |detection| {
        TELLING.with_borrow_mut(|telling| {
            telling.as_mut().and_then(|telling| std::mem::replace(&mut telling.detection, detection))
        })
    };
    let outer = set(Some(detection));
    let read = read();
    set(outer);
    read
}

/// The parts of a state that `read` reads from the bytes.
pub(crate) fn parts<S>(
    mut bytes: &[u8],
    read: impl FnOnce(&mut &[u8]) -> Result<S, StateError>,
) -> Result<Vec<Part>, StateError> {
    let outer = TELLING.replace(Some(Telling::default()));
    let result = read(&mut bytes);
    let told = TELLING.replace(outer).unwrap_or_default();
    result?;
    match bytes.len() {
        0 => Ok(told.parts),
        left => Err(StateError::Left { bytes: left }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::save;
    use super::*;
    use crate::detectors::EwmaZ;
    use crate::logic::{above, window, Every, Logic};
    use crate::Key;

    fn saved<L: Logic>(logic: &L) -> Vec<u8> {
        let mut bytes = Vec::new();
        logic.save(&logic.start(&Key::new("k")), &mut bytes);
        bytes
    }

    #[test]
    fn each_part_is_told_once_with_whose_it_is_and_with_its_detection() {
        let detection = || EwmaZ::new(0.1).unwrap().then(above(3.0));
        let detections = Every::named([(Name::of("one"), detection()), (Name::of("two"), detection())]);
        let logic = window::tumbling("1s").mean().then(detections);
        let told = logic.describe(&saved(&logic)).unwrap();
        let names: Vec<_> =
            told.iter().map(|part| (part.detection.as_deref(), &*part.logic, part.version)).collect();
        let [one, two] = ["one", "two"].map(Some);
        let expected = vec![
            (None, "window", Some(2)),
            (one, "ewma-z", Some(2)),
            (one, "threshold", None),
            (two, "ewma-z", Some(2)),
            (two, "threshold", None),
        ];
        assert_eq!(expected, names);
        assert_eq!(Value::Bool(false), told[2].state);
        assert_eq!(Some(&Value::from(0)), told[1].state.get("records"));
        assert!(TELLING.with_borrow(Option::is_none), "nobody wants to know any more");
    }

    #[test]
    fn bytes_of_another_logic_are_refused() {
        let (logic, other) = (EwmaZ::new(0.1).unwrap(), window::tumbling("1s").mean());
        let mut more = saved(&logic);
        save(&7u8, &mut more);
        assert_eq!(
            "bytes are left behind what a state is here: 1",
            logic.describe(&more).unwrap_err().to_string()
        );
        assert!(matches!(logic.describe(&[]), Err(StateError::Malformed { .. })));
        assert!(other.describe(&saved(&logic)).is_err());
        assert!(TELLING.with_borrow(Option::is_none), "nobody wants to know any more");
    }
}
