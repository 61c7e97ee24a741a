use std::collections::BTreeMap;

use proptest::prelude::*;
use tidewatch_dataflows::KeyId;

use super::*;
use crate::checkpoint::Change;

type Kept = BTreeMap<String, (i64, i64, Option<Vec<u8>>)>;

fn kept() -> impl Strategy<Value = Kept> {
    let time = prop_oneof![any::<i64>(), -5_000..5_000i64];
    let state = prop::option::of(prop::collection::vec(any::<u8>(), 0..20));
    prop::collection::btree_map("[a-c\u{e4}\u{1f}]{0,4}", (time.clone(), time, state), 0..60)
}

fn encoded(boundary: i64, kept: &Kept) -> Vec<u8> {
    let mut changes = Changes::new();
    for (key, (version, last, state)) in kept {
        let (version, last) = (EventTime::from_micros(*version), EventTime::from_micros(*last));
        changes.push(Change { key, version, last, state: state.as_deref() });
    }
    encode(EventTime::from_micros(boundary), &changes).unwrap()
}

proptest! {
    #[test]
    fn what_is_written_is_read(boundary in any::<i64>(), kept in kept()) {
        let object = Object::open("object", encoded(boundary, &kept)).unwrap();
        object.verify().unwrap();
        prop_assert_eq!(boundary, object.boundary().micros());
        prop_assert_eq!(kept.len() as u64, object.keys() + object.evicted());
        let mut read = Kept::new();
        for group in KeyGroup::all() {
            let changes = object.group(group).unwrap();
            prop_assert_eq!(object.groups().contains(group), !changes.is_empty());
            let order = |change: Change<'_>| (KeyId::of(change.key).hash(), change.key.to_owned());
            prop_assert!(changes.iter().map(order).is_sorted());
            for change in changes.iter() {
                prop_assert_eq!(group, KeyId::of(change.key).group());
                let state = change.state.map(<[u8]>::to_vec);
                read.insert(change.key.to_owned(), (change.version.micros(), change.last.micros(), state));
            }
        }
        prop_assert_eq!(kept, read);
    }

    #[test]
    fn no_columns_make_it_panic(bytes in prop::collection::vec(0..6u8, 0..40), plain in any::<u64>()) {
        let _ = columns::decode(&bytes, bytes.len() as u64, EventTime::from_micros(0));
        let _ = columns::decode(&bytes, plain, EventTime::from_micros(0));
    }
}

#[test]
fn every_flipped_bit_and_every_cut_is_found_and_names_the_object() {
    let state = Some(vec![7; 200]);
    let kept: Kept = (0..8).map(|key| (format!("key {key}"), (5, 4, state.clone()))).collect();
    let bytes = encoded(9, &kept);
    let damage = |bytes: Vec<u8>| {
        let checked = Object::open("\"state/1\"", bytes).and_then(|object| object.verify());
        checked.expect_err("damage").to_string()
    };
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            let said = damage(flipped);
            assert!(said.starts_with("\"state/1\" is damaged: "), "bit {bit} of byte {at}: {said}");
        }
        damage(bytes[..at].to_vec());
    }
}

#[test]
fn reading_a_damaged_section_says_which() {
    let kept: Kept = [("a".to_owned(), (5, 4, None))].into();
    let mut bytes = encoded(9, &kept);
    bytes[HEAD] ^= 1;
    let object = Object::open("\"state/1\"", bytes).unwrap();
    let group = KeyId::of("a").group();
    let said = object.group(group).expect_err("damage").to_string();
    assert_eq!(
        format!("\"state/1\" is damaged: key group {}: its checksum does not hold", group.index()),
        said
    );
    assert!(object.group(KeyId::of("b").group()).unwrap().is_empty(), "another group is read all the same");
}
