//! What the next records of the log stand on is the same for who writes and who reads them, whatever happens between: else a
//! replay gives other values, and nothing says so.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::rig::*;
use crate::model::*;
use crate::store::head::*;
use crate::store::log::faulty::FaultyDisk;

/// Windows that are written in turn: more than have steps at a time.
const WINDOWS: i64 = 6;
const SERIES: usize = 12;

#[derive(Clone, Debug)]
enum Act {
    /// So many series from one on get a value, at a time of a window.
    Floats(i64, std::ops::Range<usize>, f64),
    /// A sample with a start timestamp.
    Other(i64, usize),
    Exemplar(i64, usize),
    /// One of what is held is cut, and stays.
    Cut(usize),
    /// A cut is given up; those that are left are not.
    GiveUp(usize),
    Tidy,
    /// An arc is divided.
    Divide(u32),
    Restart(usize),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let value = prop_oneof![
        3 => (0u32..6).prop_map(|n| f64::from(n) * 0.25),
        1 => any::<u64>().prop_map(f64::from_bits),
    ];
    let of = (0..WINDOWS, 0..SERIES, 1..SERIES);
    let of = of.prop_map(|(window, from, count)| (window, from..(from + count).min(SERIES)));
    let act = prop_oneof![
        12 => (of, value).prop_map(|((window, of), value)| Act::Floats(window, of, value)),
        1 => (0..WINDOWS, 0..SERIES).prop_map(|(window, one)| Act::Other(window, one)),
        2 => (0..WINDOWS, 0..SERIES).prop_map(|(window, one)| Act::Exemplar(window, one)),
        4 => (0usize..40).prop_map(Act::Cut),
        3 => (0usize..4).prop_map(Act::GiveUp),
        1 => Just(Act::Tidy),
        1 => any::<u32>().prop_map(Act::Divide),
        1 => (1usize..4).prop_map(Act::Restart),
    ];
    proptest::collection::vec(act, 1..60)
}

fn id(head: &Head, number: usize) -> SeriesId {
    let set = labels(&format!("m{number}"), &(number % 3).to_string());
    head.register(&tenant(), &set).unwrap()
}

/// A sample bit for bit: its time, value and start.
type Sample = (i64, Vec<u8>, i64);

fn bits(head: &Head) -> Vec<(LabelSet, Vec<Sample>)> {
    let canonical = |value: &Value| {
        let mut bytes = Vec::new();
        value.canonical(&mut bytes);
        bytes
    };
    let of = |samples: Samples| {
        let all = samples.iter();
        all.map(|(at, value, start)| (at.0, canonical(&value), start.0))
            .collect()
    };
    let all = content(head).into_iter();
    all.map(|(labels, samples)| (labels, of(samples))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Would catch a definition that begins steps anew on one side alone, a window whose steps go on after it was made again or
    /// stopped having any, and samples behind a cut that stand on those before it.
    #[test]
    fn a_replay_reads_what_was_written_whatever_happened_between(acts in acts()) {
        let mut disk = FaultyDisk::default();
        let mut head = open_with(&disk, &[], 2);
        let (mut marks, mut cuts, mut last, mut now) = (Vec::new(), Vec::new(), 0, 0);
        for act in acts {
            now += 1000;
            let at = |window: i64| TimestampMs(window * WINDOW_MS + now);
            let appended = match act {
                Act::Floats(window, of, value) => {
                    let one = |number| FloatSample { series: id(&head, number), at: at(window), value: value + number as f64 };
                    let floats: Vec<FloatSample> = of.map(one).collect();
                    head.append(&AppendBatch { floats: &floats, ..AppendBatch::default() })
                }
                Act::Other(window, one) => {
                    let start = at(window).plus_ms(-1);
                    let other = OtherSample { series: id(&head, one), at: at(window), value: Value::Float(1.5), start };
                    head.append(&AppendBatch { others: &[other], ..AppendBatch::default() })
                }
                Act::Exemplar(window, one) => {
                    let labels = LabelSet::from_pairs(&[("trace_id", "abc")]).unwrap();
                    let exemplar = Exemplar { labels, value: 0.25, timestamp: at(window) };
                    head.append(&AppendBatch { exemplars: &[(id(&head, one), exemplar)], ..AppendBatch::default() })
                }
                Act::Cut(which) => {
                    let held: Vec<_> = head.held().into_keys().collect();
                    if let Some((arc, window)) = held.get(which % held.len().max(1)) {
                        cuts.push(head.cut(*arc, *window).unwrap());
                    }
                    continue;
                }
                Act::GiveUp(which) => {
                    if which < cuts.len() {
                        head.wait_durable(last).unwrap();
                        let cut: Cut = cuts.remove(which);
                        marks.push(cut.mark());
                        head.give_up(cut);
                    }
                    continue;
                }
                Act::Tidy => {
                    head.tidy();
                    continue;
                }
                Act::Divide(prefix) => {
                    // What is cut of an arc is given up or begun again before it is divided.
                    cuts.clear();
                    let arc = RingArc::of(Fingerprint(u128::from(prefix) << 96), 6);
                    head.refine(&BTreeSet::from([arc]));
                    continue;
                }
                Act::Restart(shards) => {
                    head.wait_durable(last).unwrap();
                    cuts.clear();
                    drop(head);
                    disk = disk.after_kill();
                    head = open_with(&disk, &marks, shards);
                    continue;
                }
            };
            last = last.max(appended.unwrap().position);
        }
        head.wait_durable(last).unwrap();
        let want = bits(&head);
        drop((head, cuts));
        for shards in [2, 3] {
            let again = open_with(&disk.after_kill(), &marks, shards);
            prop_assert_eq!(bits(&again), want.clone());
        }
    }
}
