//! A series of remote-write 2.0 is the same whether it is read by itself or by what distinguishes it
//! from the one before.

use std::cell::Cell;

use proptest::prelude::*;
use prost::Message as _;

use super::super::remote_write_v2::{Outline, V2, outline};
use super::super::spelling::{Spelling as _, Walked};
use super::test_messages::{ExemplarV2, MetadataV2, RequestV2, SampleV2, TimeSeriesV2};
use super::test_rig::NOW;
use crate::ingest::series_key::SeriesKeys;
use crate::runtime::SeededChance;

const SYMBOLS: u32 = 300;

/// References near each other in length, some beyond the table.
fn reference() -> impl Strategy<Value = u32> {
    prop_oneof![0..128u32, 128..SYMBOLS, SYMBOLS - 1..SYMBOLS + 2]
}

fn metadata() -> impl Strategy<Value = Option<MetadataV2>> {
    let some = (0..3i32, reference()).prop_map(|(kind, help_ref)| MetadataV2 {
        kind,
        help_ref,
        unit_ref: 0,
    });
    prop_oneof![Just(None), some.prop_map(Some)]
}

/// What one series has that the one before has not.
#[derive(Clone, Debug)]
enum Change {
    References(Vec<(usize, u32)>),
    Longer(Vec<u32>),
    Shorter,
    Metadata(Option<MetadataV2>),
    Sample(SampleV2),
    SecondSample,
    Exemplar,
}

fn change() -> impl Strategy<Value = Change> {
    let value = prop_oneof![Just(0.0), any::<f64>()];
    let time = prop_oneof![Just(NOW), Just(0), Just(-1), any::<i64>()];
    let start = prop_oneof![4 => Just(0), 1 => Just(NOW)];
    let sample = (value, time, start).prop_map(|(value, timestamp, start_timestamp)| SampleV2 {
        value,
        timestamp,
        start_timestamp,
    });
    prop_oneof![
        6 => prop::collection::vec((0..70usize, reference()), 0..4).prop_map(Change::References),
        1 => prop::collection::vec(reference(), 1..60).prop_map(Change::Longer),
        1 => Just(Change::Shorter),
        2 => metadata().prop_map(Change::Metadata),
        2 => sample.prop_map(Change::Sample),
        1 => Just(Change::SecondSample),
        1 => Just(Change::Exemplar),
    ]
}

fn apply(series: &mut TimeSeriesV2, change: Change) {
    match change {
        Change::References(changes) => {
            for (place, reference) in changes {
                if let Some(at) = series.labels_refs.get_mut(place) {
                    *at = reference;
                }
            }
        }
        Change::Longer(more) => series.labels_refs.extend(more),
        Change::Shorter => series.labels_refs.truncate(24),
        Change::Metadata(metadata) => series.metadata = metadata,
        Change::Sample(sample) => series.samples = vec![sample],
        Change::SecondSample => series.samples.extend(series.samples.first().copied()),
        Change::Exemplar => series.exemplars = vec![ExemplarV2::default()],
    }
}

fn spelling<'a, 'k>(keys: &'k SeriesKeys, body: &'a [u8], outline: &'k Outline) -> V2<'a, 'k> {
    V2 {
        keys,
        tenant: 7,
        body,
        symbols: &outline.symbols,
        metadata_salt: 1,
        buckets_max: 100,
        last: Cell::default(),
    }
}

proptest! {
    #[test]
    fn a_series_is_the_same_whatever_came_before_it(
        first in prop::collection::vec(reference(), 24..25),
        changes in prop::collection::vec(change(), 1..60),
        bytes in prop::collection::vec((0usize..1 << 14, any::<u8>()), 0..4),
    ) {
        let mut series = TimeSeriesV2 {
            labels_refs: first,
            samples: vec![SampleV2 { value: 1.5, timestamp: NOW, start_timestamp: 0 }],
            ..TimeSeriesV2::default()
        };
        let symbol = |n: u32| if n == 0 { Vec::new() } else { n.to_string().into_bytes() };
        let mut request = RequestV2 {
            symbols: (0..SYMBOLS).map(symbol).collect(),
            ..RequestV2::default()
        };
        for change in changes {
            apply(&mut series, change);
            request.timeseries.push(series.clone());
            // What a series had beyond labels, a sample and metadata is its own.
            series.exemplars.clear();
            series.samples.truncate(1);
        }
        let mut body = request.encode_to_vec();
        let keys = SeriesKeys::draw(&SeededChance::new(1));
        let mut found = Outline::default();
        prop_assert!(matches!(outline(&body, 1 << 20, &keys, &mut found), Ok(Ok(()))));
        // Some bytes inside of series are others.
        let places = found.series.clone();
        let start = places.first().map_or(0, |place| place.0 as usize);
        for (at, byte) in bytes {
            if let Some(place) = body.get_mut(start + at) {
                *place = byte;
            }
        }
        let together = spelling(&keys, &body, &found);
        for (start, end) in places {
            let series = &body[start as usize..end as usize];
            let alone = spelling(&keys, &body, &found).walk_fully(series);
            let mut walked = Walked::default();
            let walked = together.walk(series, &mut walked).map(|()| walked);
            prop_assert_eq!(format!("{walked:?}"), format!("{alone:?}"));
        }
    }
}
