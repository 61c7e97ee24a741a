//! Writing and reading objects of state, without a store; and how long it keeps a worker ([stall](checkpoint/stall.rs)).
//!
//! Shape: 1 million changed keys with 52 bytes of state each, of which 40 are floats that no compression makes smaller; and
//! the same keys as 256 objects of a base and its deltas would leave them: a base of all, and 8 deltas of an eighth. Reason: a
//! checkpoint keeps a thread of its own busy that long, and so does a restart. Unit: keys/s beside a plain loop that
//! appends or reads the same texts and states with their lengths, unsorted, unchecked and uncompressed; bytes per changed
//! key.

#[path = "checkpoint/stall.rs"]
mod stall;
#[allow(dead_code, reason = "each bench uses a part of it")]
mod support;

use std::hint::black_box;

use criterion::{criterion_group, Criterion};
use support::{scaled, Workload};
use tidewatch::checkpoint::{object, Change, Changes, Merged, Object};
use tidewatch::dataflows::record::KeyGroup;
use tidewatch::prelude::*;

/// What EWMA z with a threshold keeps of a key, about: a few counters, and floats.
fn state(seed: u64) -> [u8; 52] {
    let mut state = [0; 52];
    state[..12].copy_from_slice(&[1, 0, 3, 0, 0, 0, 1, 0, 0, 0, 0, 7]);
    let mut word = seed;
    for float in state[12..].chunks_exact_mut(8) {
        word = word.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23).wrapping_add(seed);
        float.copy_from_slice(&word.to_le_bytes());
    }
    state
}

/// Changes of keys from `from` to below `to`, as of a boundary.
fn changed(from: u64, to: u64, boundary: i64) -> Changes {
    let version = EventTime::from_micros(boundary * 5_000_000);
    let mut changes = Changes::new();
    for key in from..to {
        let last = EventTime::from_micros(version.micros() - (key * 7_919 % 5_000_000) as i64);
        changes.push(Change {
            key: &format!("host-{key:07}\u{1f}cpu"),
            version,
            last,
            state: Some(&state(key)),
        });
    }
    changes
}

fn encoded(changes: &Changes) -> Vec<u8> {
    let boundary = changes.iter().map(|change| change.version).max().expect("there are changes");
    object::encode(boundary, changes).expect("there is memory")
}

fn plain_encoded(changes: &Changes) -> Vec<u8> {
    let mut out = Vec::new();
    for change in changes.iter() {
        for bytes in [change.key.as_bytes(), change.state.unwrap_or_default()] {
            out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
            out.extend_from_slice(bytes);
        }
    }
    out
}

/// Reads each key, and returns how many there are.
fn read(objects: &[Object]) -> u64 {
    let mut keys = 0;
    for group in KeyGroup::all() {
        let sources = objects.iter().map(|object| object.group(group).expect("it is intact")).collect();
        for change in Merged::of(sources).live() {
            black_box(change);
            keys += 1;
        }
    }
    keys
}

fn plain_read(mut bytes: &[u8]) -> u64 {
    let mut keys = 0;
    while !bytes.is_empty() {
        for _ in 0..2 {
            let (length, rest) = bytes.split_first_chunk().expect("a length");
            let (text, rest) = rest.split_at(u32::from_le_bytes(*length) as usize);
            black_box(text.to_vec());
            bytes = rest;
        }
        keys += 1;
    }
    keys
}

fn checkpoint(criterion: &mut Criterion) {
    let keys = scaled(1_000_000);
    let changes = changed(0, keys, 1);
    let mut workload = Workload::new("checkpoint-write", keys);
    workload.measure(
        criterion,
        &mut [
            ("object", &mut || {
                black_box(encoded(&changes));
                keys
            }),
            ("plain", &mut || {
                black_box(plain_encoded(&changes));
                keys
            }),
        ],
    );
    let (bytes, plain) = (encoded(&changes), plain_encoded(&changes));
    println!(
        "checkpoint: {:.1} bytes per changed key, {:.1} in a plain loop",
        bytes.len() as f64 / keys as f64,
        plain.len() as f64 / keys as f64
    );

    let open = |bytes: Vec<u8>| Object::open("bench", bytes).expect("it is intact");
    let whole = [open(bytes)];
    let mut parts = whole.to_vec();
    parts.extend(
        (0..8).map(|part| open(encoded(&changed(part * keys / 8, (part + 1) * keys / 8, 2 + part as i64)))),
    );
    let mut workload = Workload::new("checkpoint-read", keys);
    workload.measure(
        criterion,
        &mut [
            ("object", &mut || read(&whole)),
            ("base-and-8-deltas", &mut || read(&parts)),
            ("plain", &mut || plain_read(&plain)),
        ],
    );
}

criterion_group!(benches, checkpoint);

fn main() {
    benches();
    stall::stall();
    Criterion::default().configure_from_args().final_summary();
}
