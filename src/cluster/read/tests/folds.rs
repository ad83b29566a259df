//! Reads of downsampled blocks: what samples stand for comes with them, and raw samples that another member still holds
//! are not counted beside it.

use super::rig::*;
use crate::model::*;
use crate::source::{Moments, Selection, Source};

const FIVE: Resolution = Resolution::FiveMinutes;

/// Would catch folds that get lost between nodes, and samples that are counted twice because one member is behind.
#[test]
fn folds_come_from_whoever_has_them() {
    let mut nodes = Nodes::new(4, &ring(&[1, 2, 3], 1, None), &quick());
    let labels = series(1);
    let (arc, window) = (arc_of(&labels), Window::of(TimestampMs(START)));
    let from = window.start().0 + 1;
    // No two steps are alike: what compresses well is not worth being downsampled.
    let samples: Vec<(i64, f64)> = (0..400i64)
        .map(|row| (from + row * 15_000, (row * row * 7 % 907) as f64))
        .collect();
    nodes.write(&[1, 2, 3], &labels, &samples);
    let raw = Samples::of_floats(&samples);
    let want = downsample(&raw, FIVE).unwrap();
    // The third knows nothing of it: its head holds all.
    assert!(nodes.seal(1, arc, window, &[1, 2]));
    nodes.downsample(1, arc, FIVE, &[1, 2]);
    for number in 1..=4 {
        let got = read(nodes.node(number).source.as_ref()).unwrap();
        assert_eq!(got[&labels], want, "through node {number}");
    }
    // Now it does, and has nothing left to tell.
    nodes.apply(3, arc);
    let held = nodes.node(3).store.held();
    assert_eq!(held.iter().map(|held| held.samples).sum::<u64>(), 0);
    nodes.away(2);
    let got = read(nodes.node(4).source.as_ref()).unwrap();
    assert_eq!(got[&labels], want);
}

/// Would catch gaps behind the end of a block: what stands for an interval is seen after it, through any node.
#[test]
fn the_newest_reach_back_by_their_interval() {
    let mut nodes = Nodes::new(4, &ring(&[1, 2, 3], 1, None), &quick());
    let labels = series(1);
    let (arc, window) = (arc_of(&labels), Window::of(TimestampMs(START)));
    let last = window.end().0 - 10_000;
    let samples: Vec<(i64, f64)> = (0..400i64)
        .map(|row| (last - (399 - row) * 15_000, row as f64))
        .collect();
    nodes.write(&[1, 2, 3], &labels, &samples);
    assert!(nodes.seal(1, arc, window, &[1, 2, 3]));
    let newest = |nodes: &Nodes, through: usize, after: i64| {
        let at = TimestampMs(last + after);
        let moments = Moments {
            first: at,
            step_ms: 1,
            count: 1,
        };
        let selection = Selection {
            range: TimeRange::new(at.plus_ms(-60_000), at),
            ..everything()
        };
        let source = &nodes.node(through).source;
        let found = source.select_newest(&selection, moments, &context());
        let found = drain(found.unwrap()).unwrap();
        let found = found.get(&labels).map(|samples| samples.timestamps.clone());
        found.unwrap_or_default()
    };
    assert_eq!(newest(&nodes, 4, 59_000), [last]);
    assert!(newest(&nodes, 4, 61_000).is_empty());
    nodes.downsample(1, arc, FIVE, &[1, 2, 3]);
    for through in [1, 4] {
        assert_eq!(newest(&nodes, through, 61_000), [last]);
        assert_eq!(newest(&nodes, through, 359_000), [last]);
        assert!(newest(&nodes, through, 361_000).is_empty());
    }
}

/// Would catch answers that lack, without a word, what stands in the interval behind their range: nothing of it lies in
/// the range itself.
#[test]
fn a_read_within_an_interval_says_that_it_was_downsampled() {
    let mut nodes = Nodes::new(4, &ring(&[1, 2, 3], 1, None), &quick());
    let labels = series(1);
    let (arc, window) = (arc_of(&labels), Window::of(TimestampMs(START)));
    let begins = window.start().0 + 3_600_000;
    let samples: Vec<(i64, f64)> = (1..=200i64)
        .map(|row| (begins + row * 15_000, (row * 7 % 900) as f64))
        .collect();
    nodes.write(&[1, 2, 3], &labels, &samples);
    assert!(nodes.seal(1, arc, window, &[1, 2, 3]));
    let met = |nodes: &Nodes, through: usize, (after, until): (i64, i64)| {
        let selection = Selection {
            range: TimeRange::new(TimestampMs(begins + after), TimestampMs(begins + until)),
            ..everything()
        };
        let context = context();
        let source = &nodes.node(through).source;
        let found = drain(source.select(&selection, &context).unwrap()).unwrap();
        (found.len(), context.coarsest.met())
    };
    let first = (10_000, 50_000);
    assert_eq!(met(&nodes, 4, first), (1, Resolution::Raw));
    nodes.downsample(1, arc, Resolution::Hour, &[1, 2, 3]);
    for through in [1, 4] {
        assert_eq!(met(&nodes, through, first), (0, Resolution::Hour));
        assert_eq!(
            met(&nodes, through, (3_100_000, 3_200_000)),
            (0, Resolution::Hour)
        );
        assert_eq!(met(&nodes, through, (0, 3_200_000)), (1, Resolution::Hour));
        // What stands for an interval is another hour away.
        assert_eq!(
            met(&nodes, through, (-800_000, -700_000)),
            (0, Resolution::Raw)
        );
    }
}
