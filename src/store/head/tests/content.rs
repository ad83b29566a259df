//! What was appended comes back.

use proptest::prelude::*;

use super::rig::*;
use crate::model::*;
use crate::store::head::*;
use crate::store::log::Mark;
use crate::store::log::faulty::FaultyDisk;

#[test]
fn samples_come_back_at_once_and_after_a_replay() {
    let disk = FaultyDisk::default();
    let head = open(&disk, &[]);
    let (a, b) = (labels("up", "1"), labels("up", "2"));
    let mut last = 0;
    for i in 0..1000 {
        last = float(&head, &a, i * 15_000, i as f64 * 0.5);
        float(&head, &b, i * 15_000 + 7, f64::NAN);
    }
    // Late, repeated, other value, other windows, the ends of time.
    for (at, value) in [
        (15_000, 0.5),
        (15_000, 9.0),
        (15_001, 1.0),
        (-5, 1.0),
        (i64::MIN, 2.0),
        (i64::MAX, 3.0),
    ] {
        last = float(&head, &a, at, value);
    }
    head.wait_durable(last).unwrap();
    let before = content(&head);
    assert_eq!(before.len(), 2);
    assert_eq!(before[0].1.len(), 1004);
    assert_eq!(before[0].1.timestamps[0], i64::MIN);
    let fifteen = before[0].1.timestamps.binary_search(&15_000).unwrap();
    assert_eq!(before[0].1.values[fifteen], 9.0);
    drop(head);
    let again = open(&disk.after_kill(), &[]);
    assert_eq!(content(&again), before);
}

#[test]
fn histograms_starts_metadata_and_exemplars_come_back() {
    let disk = FaultyDisk::default();
    let head = open(&disk, &[]);
    let series = head.register(&tenant(), &labels("h", "1")).unwrap();
    let other = |at, value, start| OtherSample {
        series,
        at: TimestampMs(at),
        value,
        start: TimestampMs(start),
    };
    let metadata = Metadata {
        kind: MetricKind::Histogram,
        help: "what".to_owned(),
        unit: "s".to_owned(),
    };
    let exemplar = Exemplar {
        labels: LabelSet::from_pairs(&[("trace_id", "abc")]).unwrap(),
        value: 0.5,
        timestamp: TimestampMs(3),
    };
    let appended = head
        .append(&AppendBatch {
            floats: &[],
            others: &[
                other(2, histogram(3), 0),
                other(1, Value::Float(4.0), -7),
                other(1, histogram(4), 1),
            ],
            metadata: &[(tenant(), "h".to_owned(), metadata.clone())],
            exemplars: &[(series, exemplar.clone()), (series, exemplar.clone())],
        })
        .unwrap();
    head.wait_durable(appended.position).unwrap();
    let check = |head: &Head| {
        let found = content(head);
        let mut want = Samples::default();
        want.push(TimestampMs(1), histogram(4), TimestampMs(1));
        want.push(TimestampMs(2), histogram(3), TimestampMs(0));
        assert_eq!(found, [(labels("h", "1"), want)]);
        let view = head.view();
        assert_eq!(
            view.metadata(&tenant(), Some("h"))["h"],
            vec![metadata.clone()]
        );
        assert_eq!(view.metadata(&tenant(), Some("x")).len(), 0);
        assert_eq!(
            view.exemplars(&all()),
            [(labels("h", "1"), vec![exemplar.clone()])]
        );
    };
    check(&head);
    drop(head);
    check(&open(&disk.after_kill(), &[]));
}

#[test]
fn a_cut_is_frozen_and_what_is_given_up_stays_readable_in_old_views_only() {
    let disk = FaultyDisk::default();
    let head = open(&disk, &[]);
    let (old, new) = (labels("up", "1"), labels("up", "2"));
    for i in 0..10 {
        float(&head, &old, i * 1000, 1.0);
        float(&head, &new, i * 1000, 2.0);
    }
    float(&head, &new, WINDOW_MS, 3.0);
    let view = head.view();
    let mut cuts = Vec::new();
    for (arc, window) in head.held().into_keys() {
        if window == Window(0) {
            cuts.push(head.cut(arc, window).unwrap());
        }
    }
    // Comes after the cut, so it is not in it.
    let last = float(&head, &new, 500, 4.0);
    head.wait_durable(last).unwrap();
    let mut in_cuts = Samples::default();
    let mut count = 0;
    for cut in &cuts {
        for series in cut.series() {
            in_cuts.clear();
            cut.read(series, &mut in_cuts);
            count += in_cuts.len();
        }
    }
    assert_eq!(count, 20);
    let marks: Vec<Mark> = cuts.iter().map(Cut::mark).collect();
    for cut in cuts {
        head.give_up(cut);
    }
    let want = vec![(
        new.clone(),
        Samples::of_floats(&[(500, 4.0), (WINDOW_MS, 3.0)]),
    )];
    assert_eq!(content(&head), want);
    // The view before it all still has everything it pinned.
    let mut seen = 0;
    for series in view.select(&all()) {
        let mut found = Samples::default();
        view.read(
            &series,
            TimeRange::new(TimestampMs(0), TimestampMs(9999)),
            &mut found,
        );
        seen += found.len();
    }
    assert_eq!(seen, 20);
    drop(view);
    head.tidy();
    head.tidy();
    assert_eq!(head.stats().series, 1);
    drop(head);
    // Replay leaves out what the marks cover, and only that.
    assert_eq!(content(&open(&disk.after_kill(), &marks)), want);
    // Without the marks everything is head again.
    assert_eq!(content(&open(&disk.after_kill(), &[])).len(), 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Against the obvious store: a map per series. Floats, starts and histograms in any order,
    /// cuts given up or not, replays between.
    #[test]
    fn whatever_is_appended_comes_back(
        steps in proptest::collection::vec(
            (0u8..5, 0i64..40, 0u8..12, prop_oneof![Just(1.0f64), Just(2.5), any::<f64>()]), 1..200),
        cut_at in 0usize..200,
    ) {
        let disk = FaultyDisk::default();
        let mut head = open(&disk, &[]);
        let mut model: std::collections::BTreeMap<LabelSet, Samples> = Default::default();
        let mut given_up: std::collections::BTreeMap<LabelSet, Samples> = Default::default();
        let mut marks = Vec::new();
        let mut last = 0;
        for (number, (who, step, kind, value)) in steps.into_iter().enumerate() {
            let set = labels(&format!("m{who}"), &format!("{}", who % 2));
            let at = TimestampMs(step * 400_000 - 1_000_000 + number as i64 / 10 * 15_000);
            let series = head.register(&tenant(), &set).unwrap();
            let (value, start) = match kind {
                10 => (histogram(step.unsigned_abs()), 0),
                11 => (Value::Float(value), 5),
                _ => (Value::Float(value), 0),
            };
            let mut one = Samples::default();
            one.push(at, value.clone(), TimestampMs(start));
            model.entry(set).or_default().merge(&one);
            let appended = match (value, start) {
                (Value::Float(value), 0) => head.append(&AppendBatch {
                    floats: &[FloatSample { series, at, value }], ..AppendBatch::default() }),
                (value, start) => head.append(&AppendBatch {
                    others: &[OtherSample { series, at, value, start: TimestampMs(start) }],
                    ..AppendBatch::default() }),
            }.unwrap();
            prop_assert!(appended.stale_floats.is_empty());
            last = last.max(appended.position);
            if number == cut_at {
                for (arc, window) in head.held().into_keys() {
                    let cut = head.cut(arc, window).unwrap();
                    for series in cut.series() {
                        let mut samples = Samples::default();
                        cut.read(series, &mut samples);
                        given_up.entry(series.labels.clone()).or_default().merge(&samples);
                    }
                    head.wait_durable(last).unwrap();
                    marks.push(cut.mark());
                    head.give_up(cut);
                }
                prop_assert!(content(&head).is_empty());
            }
            if number % 50 == 49 {
                head.wait_durable(last).unwrap();
                drop(head);
                head = open(&disk, &marks);
            }
        }
        head.wait_durable(last).unwrap();
        let check = |head: &Head| {
            let mut whole = given_up.clone();
            for (labels, samples) in content(head) {
                whole.entry(labels).or_default().merge(&samples);
            }
            assert_eq!(whole, model);
        };
        check(&head);
        drop(head);
        check(&open(&disk.after_kill(), &marks));
    }
}
