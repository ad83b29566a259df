//! Reads that leave out what is the newest sample at no moment.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::rig::Key;
use super::*;
use crate::source::{Moments, Source};

/// What is seen at each moment: the place of the newest sample at or before it, in full.
fn seen(samples: &Samples, moments: Moments) -> Vec<Option<(TimestampMs, Value, TimestampMs)>> {
    let at = |number: usize| moments.first.0 + moments.step_ms * i64::try_from(number).unwrap();
    (0..moments.count)
        .map(|number| {
            let passed = samples.timestamps.partition_point(|one| *one <= at(number));
            samples.get(passed.checked_sub(1)?)
        })
        .collect()
}

fn same(one: &Samples, other: &Samples, moments: Moments) -> bool {
    let (one, other) = (seen(one, moments), seen(other, moments));
    one.iter().zip(&other).all(|pair| match pair {
        (Some(a), Some(b)) => a.0 == b.0 && settle((&a.1, a.2), (&b.1, b.2)).is_eq(),
        (None, None) => true,
        _ => false,
    })
}

/// Seals what a node holds of a partition and window, if anything. What blocks hold already is given up, as whoever
/// seals does: afterwards the head holds nothing of the window.
pub(super) fn seal(
    node: &Node,
    arc: RingArc,
    window: Window,
    blocks: &mut BTreeMap<BlockId, BlockEntry>,
) {
    let range = window.range();
    let cut = node.store.cut(arc, range).unwrap();
    let order = BuildOrder {
        arc,
        range,
        round: 0,
        pages: Density::Quick,
    };
    let built = node.store.build(&cut, &order, &CancelToken::new());
    let Some(entry) = built.unwrap() else {
        return node.store.forget(cut).unwrap();
    };
    let id = entry.id;
    blocks.insert(id, entry);
    let named = Catalog {
        version: blocks.len() as u64,
        blocks,
    };
    node.store.apply(arc, &named, Some((cut, id))).unwrap();
}

/// Two targets in one block, scraped at other times. Would catch rows that were picked for the one
/// and are read of the other.
#[test]
fn each_target_has_newest_rows_of_its_own() {
    let node = Node::new(8);
    let (one, arc) = (series(0), arc_of(&series(0)));
    let is_beside = |other: &Key| {
        let instance = other.1.get("instance") != one.1.get("instance");
        other.0 == one.0 && instance && arc_of(other) == arc
    };
    let other = (1..).map(series).find(is_beside).unwrap();
    let writes: Vec<Write> = [(&one, 0), (&one, 2000), (&one, 5000), (&one, 9000)]
        .into_iter()
        .chain([(&other, 1000), (&other, 6000)])
        .map(|(key, at)| float(key, at, at as f64))
        .collect();
    node.write(&writes);
    seal(&node, arc, Window(0), &mut BTreeMap::new());
    let moments = Moments {
        first: TimestampMs(3000),
        step_ms: 4000,
        count: 2,
    };
    let range = TimeRange::new(TimestampMs(0), TimestampMs(7000));
    let found = rig::read_with(range, |selection| {
        let context = rig::context();
        node.store
            .select_newest(selection, moments, &context)
            .unwrap()
    });
    assert_eq!(found[&one].timestamps, [2000, 5000]);
    assert_eq!(found[&other].timestamps, [1000, 6000]);
}

/// Would catch floats of the head that are left out although the series has histograms too, in another
/// window and so in another layer.
#[test]
fn floats_beside_histograms_are_all_read() {
    let node = Node::new(13);
    let key = series(0);
    let histogram = Value::Histogram(Arc::new(Histogram::counting(3)));
    let mut writes: Vec<Write> = [1000, 2000, 3000].map(|at| float(&key, at, 1.0)).into();
    writes.push((key.clone(), WINDOW_MS + 1000, histogram, 0));
    node.write(&writes);
    let moments = Moments {
        first: TimestampMs(WINDOW_MS + 2000),
        step_ms: 1,
        count: 1,
    };
    let range = TimeRange::new(TimestampMs(0), moments.first);
    let found = rig::read_with(range, |selection| {
        let context = rig::context();
        let stream = node.store.select_newest(selection, moments, &context);
        stream.unwrap()
    });
    assert_eq!(found[&key].timestamps, [1000, 2000, 3000, WINDOW_MS + 1000]);
}

/// Catches a sample that is left out and would have been looked at: of late ones, conflicts and
/// stale markers, in blocks and the head, and of series that hold histograms, of which all stay.
#[test]
fn what_is_left_out_would_not_have_been_looked_at() {
    // One moment alone is what an instant query asks for, and is found another way.
    let counts = prop_oneof![Just(1), 1usize..40];
    let moments = (-WINDOW_MS..3 * WINDOW_MS, 1i64..2_000_000, counts);
    let start = -WINDOW_MS..3 * WINDOW_MS;
    let strategy = (writes(), writes(), moments, start, 0u8..8);
    proptest!(ProptestConfig::with_cases(48), |((first, second, moments, start, some) in strategy)| {
        let node = Node::new(7);
        node.write(&first);
        let mut catalogs = BTreeMap::new();
        for (number, arc) in RingArc::all(FOUNDING_DEPTH).enumerate() {
            let blocks: &mut BTreeMap<_, _> = catalogs.entry(arc).or_default();
            for window in rig::windows() {
                if (number + usize::try_from(window.0 + 1).unwrap()) % 8 < usize::from(some) {
                    continue;
                }
                seal(&node, arc, window, blocks);
            }
        }
        node.write(&second);
        let moments = Moments { first: TimestampMs(moments.0), step_ms: moments.1, count: moments.2 };
        // The range ends with the last moment, as it does for those who ask so.
        let last = moments.first.0 + moments.step_ms * (i64::try_from(moments.count).unwrap() - 1);
        let range = TimeRange::new(TimestampMs(start.min(last)), TimestampMs(last));
        let all = read_all(&node.store, range);
        let some = rig::read_with(range, |selection| {
            node.store.select_newest(selection, moments, &rig::context()).unwrap()
        });
        for (key, samples) in &all {
            let fewer = some.get(key).cloned().unwrap_or_default();
            prop_assert!(same(samples, &fewer, moments), "{:?}: {:?} of {:?}", key, fewer, samples);
            let in_all = fewer.iter().all(|(at, ..)| samples.timestamps.contains(&at.0));
            prop_assert!(in_all && some.keys().all(|key| all.contains_key(key)));
            if !samples.histograms.is_empty() {
                prop_assert_eq!(&fewer, samples, "{:?}", key);
            }
        }
    });
}
