use std::ops::ControlFlow;

use proptest::prelude::*;
use tidewatch_dataflows::record::KeyText;
use tidewatch_dataflows::Span;

use super::*;
use crate::source::testing::{waker, Collected};
use crate::source::Raw;

fn generator(profile: Profile) -> Generator {
    Generator::new(profile).unwrap()
}

fn read(generator: &Generator, partition: u32, from: u64, every: usize) -> Collected {
    let mut intake = Collected::breaking_every(every);
    let mut reader = generator.open(&partition.to_string(), Some(Offset(from)), waker()).unwrap();
    assert_eq!(Status::Ended, intake.drain(&mut *reader).unwrap());
    intake
}

/// Whether each record of a partition is late under a lateness of the disorder, as ingest decides it.
fn lateness(generator: &Generator, partition: u32) -> Vec<bool> {
    let mut greatest = EventTime::MIN;
    let mut late = Vec::new();
    for (_, time, ..) in read(generator, partition, 0, 0).rows {
        late.push(time < greatest.saturating_sub(generator.profile().disorder));
        greatest = greatest.max(time);
    }
    late
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn a_record_depends_only_on_seed_partition_and_index(
        seed: u32, keys in 1u32..20, partitions in 1u32..6, records in 0u64..80, every in 0usize..4, from in 0u64..40,
    ) {
        let profile = Profile {
            seed: seed.into(), keys, partitions, records, late: 0.1, disorder: Span::from_secs(1), ..Profile::default()
        };
        let one = generator(profile.clone());
        let other = generator(profile);
        let mut count = 0;
        // In any order of the partitions and from any offset.
        for partition in (0..partitions).rev() {
            let whole = read(&one, partition, 0, 0);
            let rest = read(&other, partition, from, every);
            let expected: Vec<_> = whole.rows.iter().filter(|row| row.0 >= from).cloned().collect();
            prop_assert_eq!(expected, rest.rows, "partition {}", partition);
            count += whole.rows.len() as u64;
        }
        prop_assert_eq!(records, count);
    }

    #[test]
    fn only_late_records_exceed_the_disorder(
        seed: u32, partitions in 1u32..6, disorder in 0i64..3_000_000, late in 0.0..0.25f64, rate in 0.5..5000.0f64,
    ) {
        let profile = Profile {
            seed: seed.into(), partitions, disorder: Span::from_micros(disorder), rate, records: 2_000, late,
            ..Profile::default()
        };
        let [some, none] = [profile.clone(), Profile { late: 0.0, ..profile }].map(generator);
        for partition in 0..partitions {
            prop_assert!(!lateness(&none, partition).contains(&true));
            let intended: Vec<_> = (0..some.0.len(partition)).map(|index| some.0.is_late_at(partition, index)).collect();
            prop_assert_eq!(intended, lateness(&some, partition));
        }
    }
}

#[test]
fn shares_are_as_asked() {
    let profile =
        Profile { records: 200_000, partitions: 2, late: 0.05, anomalies: 0.02, ..Profile::default() };
    let generator = generator(Profile { disorder: Span::from_millis(500), ..profile });
    let late: usize =
        (0..2).map(|partition| lateness(&generator, partition).iter().filter(|late| **late).count()).sum();
    // Six standard deviations of a binomial count.
    assert!((9_400..10_600).contains(&late), "{late} of 200000 are late");
    let anomalies: usize = (0..2).map(|partition| generator.labels(partition).count()).sum();
    assert!((3_620..4_380).contains(&anomalies), "{anomalies} of 200000 are anomalous");
}

#[test]
fn labels_are_where_values_differ_from_those_without_anomalies() {
    let profile =
        Profile { records: 20_000, partitions: 3, anomalies: 0.01, late: 0.02, ..Profile::default() };
    let [some, none] = [profile.clone(), Profile { anomalies: 0.0, ..profile }].map(generator);
    for partition in 0..3 {
        let [with, without] = [&some, &none].map(|generator| read(generator, partition, 0, 0).rows);
        let differ: Vec<_> = with.iter().zip(&without).filter(|(with, without)| with != without).collect();
        let labels: Vec<_> = some.labels(partition).collect();
        assert_eq!(differ.len(), labels.len());
        assert!(!labels.is_empty());
        for ((with, without), label) in differ.into_iter().zip(labels) {
            assert_eq!((with.0, with.1, &with.2), (label.offset.0, label.time, &label.key.to_string()));
            let by = if label.kind == AnomalyKind::Spike { 20.0 } else { -20.0 };
            assert_eq!(without.3[0] + by, with.3[0]);
        }
    }
}

#[test]
fn values_have_the_season_and_the_noise_asked_for() {
    let profile = Profile { records: 100_000, keys: 1, anomalies: 0.0, rate: 1.0, ..Profile::default() };
    let spread = |profile: Profile| {
        let rows = read(&generator(profile), 0, 0, 0).rows;
        let mean = rows.iter().map(|row| row.3[0]).sum::<f64>() / rows.len() as f64;
        (rows.iter().map(|row| (row.3[0] - mean) * (row.3[0] - mean)).sum::<f64>() / rows.len() as f64).sqrt()
    };
    let noise = spread(Profile { amplitude: 0.0, noise: 3.0, ..profile.clone() });
    assert!((2.95..3.05).contains(&noise), "{noise}");
    let season = spread(Profile { amplitude: 10.0, noise: 0.0, ..profile });
    assert!((7.0..7.15).contains(&season), "{season} is not 10 / sqrt 2");
}

#[test]
fn text_has_all_records_in_turn_and_the_very_values() {
    let generator = generator(Profile { records: 5, partitions: 2, anomalies: 0.5, ..Profile::default() });
    let mut csv = Vec::new();
    generator.write_csv(&mut csv, true).unwrap();
    let csv = String::from_utf8(csv).unwrap();
    let mut json = Vec::new();
    generator.write_json(&mut json, true).unwrap();
    let json = String::from_utf8(json).unwrap();
    assert_eq!(Some("timestamp,key,value,label"), csv.lines().next());
    let parts = [read(&generator, 0, 0, 0).rows, read(&generator, 1, 0, 0).rows];
    let lines: Vec<_> = csv.lines().skip(1).zip(json.lines()).collect();
    assert_eq!(5, lines.len());
    for (number, (csv, json)) in lines.into_iter().enumerate() {
        let (offset, time, key, values) = &parts[number % 2][number / 2];
        let label = generator.labels(number as u32 % 2).any(|label| label.offset.0 == *offset);
        let label = u8::from(label);
        assert_eq!(format!("{time},{key},{},{label}", values[0]), csv);
        let object: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(
            serde_json::json!({ "timestamp": time.to_string(), "key": key, "value": values[0], "label": label }),
            object
        );
        assert_eq!(Ok(values[0]), csv.split(',').nth(2).unwrap().parse());
    }
}

#[test]
fn what_it_generates_outlives_versions() {
    // Recorded results depend on these: a change here changes every benchmark and test that uses them.
    let profile =
        Profile { records: 4, keys: 2, partitions: 2, late: 0.1, anomalies: 0.5, ..Profile::default() };
    let profile = Profile { disorder: Span::from_secs(1), ..profile };
    let csv = |profile| {
        let mut out = Vec::new();
        generator(profile).write_csv(&mut out, true).unwrap();
        out
    };
    let expected = "timestamp,key,value,label
2023-12-31T23:59:59.581189Z,key-000000,89.51963731054926,0
2023-12-31T23:59:59.863836Z,key-000001,128.3928359317274,1
2023-12-31T23:59:59.12234Z,key-000000,108.83996277150123,1
2023-12-31T23:59:59.528215Z,key-000001,107.6302007682647,0
";
    assert_eq!(expected, String::from_utf8(csv(profile.clone())).unwrap());
    assert_eq!(
        11_252_763_010_184_803_539,
        xxhash_rust::xxh3::xxh3_64(&csv(Profile { records: 10_000, ..profile }))
    );
}

#[test]
fn what_cannot_be_generated_or_opened_is_an_error() {
    let error = Generator::new(Profile { rate: f64::NAN, ..Profile::default() }).unwrap_err().to_string();
    assert_eq!("generator: \"rate\" takes a number above 0, not NaN", error);
    let error = generator(Profile::default()).open("1", None, waker()).err().unwrap().to_string();
    assert_eq!("the generator has no partition \"1\"", error);
}

#[test]
fn extreme_profiles_saturate_instead_of_panicking() {
    let generator = generator(Profile {
        records: u64::MAX,
        partitions: 65_536,
        rate: 1e-300,
        disorder: Span::from_micros(i64::MAX),
        late: 0.25,
        start: EventTime::from_micros(i64::MIN),
        season: Span::from_micros(1),
        magnitude: 1e12,
        ..Profile::default()
    });
    for from in [0, 1, (1 << 48) - 2] {
        let mut reader = generator.open("65535", Some(Offset(from)), waker()).unwrap();
        let mut intake = Collected::breaking_every(1);
        reader.read(&mut intake).unwrap();
    }
}

/// Adds up, so that nothing is optimised away.
struct Sum(f64, u64);

impl Intake for Sum {
    fn header(&mut self, _: &[u8]) -> Result<(), Error> {
        Ok(())
    }
    fn raw(&mut self, _: Raw<'_>) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
    fn row(&mut self, _: Offset, _: EventTime, _: &KeyText, values: &[f64]) -> ControlFlow<()> {
        self.0 += values[0];
        self.1 += 1;
        ControlFlow::Continue(())
    }
    fn damaged(&mut self, _: Raw<'_>, _: String) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

#[test]
#[ignore = "a measurement: run in release mode, one at a time"]
fn cost_per_record() {
    for (keys, late) in [(100, 0.0), (10_000, 0.01), (1_000_000, 0.01)] {
        let records = 20_000_000;
        let generator =
            generator(Profile { records, keys, late, disorder: Span::from_secs(1), ..Profile::default() });
        let mut reader = generator.open("0", None, waker()).unwrap();
        let mut sum = Sum(0.0, 0);
        let start = std::time::Instant::now();
        reader.read(&mut sum).unwrap();
        let elapsed = start.elapsed();
        assert_eq!(records, sum.1);
        eprintln!(
            "{keys} keys, {late} late: {:.1} ns per record",
            elapsed.as_nanos() as f64 / records as f64
        );
    }
}
