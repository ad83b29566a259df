//! Reads of the newest samples at some moments, over members that hold different things.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::MINUTE;
use super::rig::*;
use crate::model::*;
use crate::runtime::{Chance, SeededChance};
use crate::source::{Moments, Source};
use crate::store::{AppendBatch, OtherSample};

/// Writes a histogram of a series to some nodes.
fn write_histogram(nodes: &Nodes, to: &[usize], labels: &LabelSet, at: i64) {
    let histogram = Histogram {
        schema: 1,
        zero_threshold: 0.001,
        sum: 3.5,
        buckets: Buckets::Integer {
            count: 2,
            zero_count: 0,
            positive: vec![2],
            negative: Vec::new(),
        },
        positive_spans: vec![Span {
            offset: 0,
            length: 1,
        }],
        negative_spans: Vec::new(),
        custom_values: Vec::new(),
        reset_hint: ResetHint::Unknown,
    };
    for number in to {
        let store = &nodes.node(*number).store;
        let other = OtherSample {
            series: store.register(&tenant(), labels).unwrap(),
            at: TimestampMs(at),
            value: Value::Histogram(Arc::new(histogram.clone())),
            start: TimestampMs(0),
        };
        let batch = AppendBatch {
            others: &[other],
            ..AppendBatch::default()
        };
        store.append(&batch).unwrap();
    }
}

/// Those of a series that a reader of the moments looks at: of one with histograms all.
fn looked_at(samples: &Samples, moments: Moments) -> Vec<(i64, Option<u64>)> {
    let bits = |value| match value {
        Value::Float(value) => Some(value.to_bits()),
        Value::Histogram(_) => None,
    };
    let all = samples.iter().map(|(at, value, _)| (at.0, bits(value)));
    let all: Vec<_> = all.collect();
    if !samples.histograms.is_empty() {
        return all;
    }
    let mut picked = Vec::new();
    moments.newest(&samples.timestamps, &mut picked);
    picked.iter().map(|at| all[*at as usize]).collect()
}

/// Random majorities have each sample; some of it is sealed and applied by some. Would catch a
/// newest sample that only another head has, and one of a series with histograms that is left out.
#[test]
fn the_newest_samples_are_those_of_everybody() {
    for seed in 0..6 {
        println!("seed {seed}");
        let chance = SeededChance::new(seed);
        let mut nodes = Nodes::new(4, &ring(&[1, 2, 3], 1, None), &quick());
        for step in 0..24 {
            for _ in 0..chance.below(30) {
                let labels = series(chance.below(8));
                let at = START + i64::try_from(chance.below(300)).unwrap() * MINUTE;
                let to: &[usize] = [&[1, 2][..], &[2, 3], &[1, 3], &[1, 2, 3]][below(&chance, 4)];
                match chance.below(40) {
                    0 => write_histogram(&nodes, to, &labels, at + 1),
                    _ => nodes.write(to, &labels, &[(at, 1.0 + (at / MINUTE % 97) as f64)]),
                }
            }
            let arc = arc_of(&series(chance.below(8)));
            let window = Window(Window::of(TimestampMs(START)).0 + chance.below(3) as i64);
            match chance.below(4) {
                0 => drop(nodes.seal(1 + below(&chance, 3), arc, window, &[1, 2])),
                1 => nodes.apply(1 + below(&chance, 3), arc),
                _ => {}
            }
            if step % 4 != 3 {
                continue;
            }
            let moments = Moments {
                first: TimestampMs(START + i64::try_from(chance.below(300)).unwrap() * MINUTE),
                step_ms: (1 + i64::try_from(chance.below(50)).unwrap()) * MINUTE,
                count: 1 + below(&chance, 4),
            };
            for number in 1..=4 {
                let source = nodes.node(number).source.as_ref();
                let whole = read(source).unwrap();
                let newest = source.select_newest(&everything(), moments, &context());
                let newest = drain(newest.unwrap()).unwrap();
                let of = |contents: &Contents| -> BTreeMap<LabelSet, _> {
                    let each = contents
                        .iter()
                        .map(|(l, s)| (l.clone(), looked_at(s, moments)));
                    each.filter(|(_, samples)| !samples.is_empty()).collect()
                };
                assert_eq!(of(&newest), of(&whole), "seed {seed} through {number}");
            }
        }
    }
}

/// How many samples of a series come through a node for a reader of the end.
fn coming(nodes: &Nodes, through: usize, labels: &LabelSet) -> usize {
    let moments = Moments {
        first: TimestampMs(START + 100 * MINUTE),
        step_ms: 1,
        count: 1,
    };
    let source = nodes.node(through).source.as_ref();
    let newest = source.select_newest(&everything(), moments, &context());
    let newest = drain(newest.unwrap()).unwrap();
    newest.get(labels).map_or(0, Samples::len)
}

/// Would catch a member that sends, or a node that reads of its own, what nobody looks at; and what
/// is left out though a histogram in another head says something about it.
#[test]
fn others_are_left_out_unless_another_head_has_histograms() {
    let mut nodes = Nodes::new(4, &ring(&[1, 2, 3], 1, None), &quick());
    let labels = series(1);
    for minute in 0..50 {
        nodes.write(&[1, 2, 3], &labels, &[(START + minute * MINUTE, 1.0)]);
    }
    let through_all = |nodes: &Nodes| [1, 4].map(|number| coming(nodes, number, &labels));
    assert_eq!(through_all(&nodes), [1, 1]);
    let window = Window::of(TimestampMs(START));
    assert!(nodes.seal(1, arc_of(&labels), window, &[1, 2, 3]));
    assert_eq!(through_all(&nodes), [1, 1]);
    write_histogram(&nodes, &[2, 3], &labels, START + 20 * MINUTE + 1);
    assert_eq!(through_all(&nodes), [51, 51]);
}
