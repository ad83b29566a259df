//! Series: which there are, which are forgotten, and which matchers select.

use std::sync::Arc;

use super::rig::*;
use crate::model::*;
use crate::source::{LabelPairs, Selection};
use crate::store::head::*;
use crate::store::log::WriteLogSettings;
use crate::store::log::faulty::FaultyDisk;

/// Would catch a series that a peer gives and whose definition no record of the log holds: its
/// samples would be acknowledged and gone after a restart.
#[test]
fn labels_that_no_definition_holds_are_refused_whoever_brings_them() {
    let disk = FaultyDisk::default();
    let head = open(&disk, &[]);
    let long = labels("long", &"x".repeat(2 << 20));
    for refused in [
        head.register(&tenant(), &long),
        head.register_unbounded(&tenant(), &long),
    ] {
        assert!(
            matches!(refused, Err(crate::store::Error::Limit { .. })),
            "{refused:?}"
        );
    }
    assert_eq!(head.stats().series, 0);
}

#[test]
fn a_forgotten_series_is_recognised_and_its_place_used_again() {
    let disk = FaultyDisk::default();
    let head = open(&disk, &[]);
    let series = head.register(&tenant(), &labels("gone", "1")).unwrap();
    for _ in 0..3 {
        head.tidy();
    }
    assert_eq!(head.stats().series, 0);
    let append = |series| {
        head.append(&AppendBatch {
            floats: &[FloatSample {
                series,
                at: TimestampMs(1),
                value: 1.0,
            }],
            ..AppendBatch::default()
        })
        .unwrap()
    };
    let other = head.register(&tenant(), &labels("come", "1")).unwrap();
    assert_eq!(append(series).stale_floats, [0]);
    let last = append(other);
    assert!(last.stale_floats.is_empty());
    head.wait_durable(last.position).unwrap();
    let want = [(labels("come", "1"), Samples::of_floats(&[(1, 1.0)]))];
    assert_eq!(content(&head), want);
    drop(head);
    assert_eq!(content(&open(&disk.after_kill(), &[])), want);
}

#[test]
fn forgotten_series_of_several_shards_are_named_in_order() {
    let disk = FaultyDisk::default();
    let head = open(&disk, &[]);
    let floats: Vec<FloatSample> = [3, 0, 2, 1, 0, 3]
        .into_iter()
        .map(|shard| FloatSample {
            series: SeriesId::new(shard, 77, 0),
            at: TimestampMs(1),
            value: 1.0,
        })
        .collect();
    let batch = AppendBatch {
        floats: &floats,
        ..AppendBatch::default()
    };
    let appended = head.append(&batch).unwrap();
    assert_eq!(appended.stale_floats, [0, 1, 2, 3, 4, 5]);
}

#[test]
fn only_new_series_are_refused_at_the_bound() {
    let settings = HeadSettings {
        series_max: 2,
        ..HeadSettings::default()
    };
    let disk = Arc::new(FaultyDisk::default());
    let head = Head::open(settings, &WriteLogSettings::default(), disk, &[], clock()).unwrap();
    float(&head, &labels("a", "1"), 1, 1.0);
    float(&head, &labels("b", "1"), 1, 1.0);
    let error = head.register(&tenant(), &labels("c", "1")).unwrap_err();
    assert!(
        error.to_string().contains("at most 2 is allowed"),
        "{error}"
    );
    float(&head, &labels("a", "1"), 2, 1.0);
    assert_eq!(content(&head).len(), 2);
}

#[test]
fn the_memory_of_labels_is_bounded_and_forgotten_series_make_room() {
    let settings = HeadSettings {
        shards: 1,
        registry_bytes_max: 200_000,
        ..HeadSettings::default()
    };
    let disk = Arc::new(FaultyDisk::default());
    let log = WriteLogSettings::default();
    let head = Head::open(settings, &log, disk.clone(), &[], clock()).unwrap();
    let long = |at: u32| labels("a", &format!("{at:01000}"));
    let mut taken = 0;
    let error = loop {
        match head.register(&tenant(), &long(taken)) {
            Ok(_) if taken == 0 => drop(float(&head, &long(0), 1, 1.0)),
            Ok(_) => {}
            Err(error) => break error.to_string(),
        }
        taken += 1;
    };
    assert!((50..200).contains(&taken), "{taken}");
    assert!(error.contains("raise memory_limit"), "{error}");
    // Those that never got a sample are forgotten, and what comes then finds room; a replay takes
    // what the log has whatever the bound is.
    head.tidy();
    head.tidy();
    assert_eq!(head.stats().series, 1);
    float(&head, &long(taken), 1, 1.0);
    drop(head);
    let settings = HeadSettings {
        registry_bytes_max: 1,
        ..settings
    };
    let disk = Arc::new(disk.after_kill());
    let head = Head::open(settings, &log, disk, &[], clock()).unwrap();
    assert_eq!(content(&head).len(), 2);
    assert!(head.register(&tenant(), &long(1)).is_err());
}

#[test]
fn matchers_select_as_prometheus_does() {
    let disk = FaultyDisk::default();
    let head = open(&disk, &[]);
    for (name, instance) in [("up", "1"), ("up", "2"), ("down", "1")] {
        float(&head, &labels(name, instance), 1, 1.0);
    }
    let extra = LabelSet::from_pairs(&[("__name__", "lonely"), ("x", "y")]).unwrap();
    float(&head, &extra, 1, 1.0);
    let other = TenantId::new("other").unwrap();
    head.register(&other, &labels("up", "9")).unwrap();
    let view = head.view();
    let check = |matchers: &[(&str, MatchOp, &str)], want: usize| {
        let matchers = matchers
            .iter()
            .map(|(name, op, value)| Matcher::new(name, *op, value).unwrap())
            .collect();
        let selection = Selection { matchers, ..all() };
        assert_eq!(view.select(&selection).len(), want, "{selection:?}");
        selection
    };
    use MatchOp::{Equal, NotEqual, NotRegex, Regex};
    check(&[], 4);
    check(&[("__name__", Equal, "up")], 2);
    check(&[("__name__", Equal, "up"), ("instance", NotEqual, "1")], 1);
    check(&[("__name__", Regex, "up|down")], 3);
    check(&[("__name__", Regex, "u.*|lonely")], 3);
    check(&[("x", Equal, "")], 3);
    check(&[("x", NotEqual, "")], 1);
    check(&[("instance", NotRegex, "[12]")], 1);
    check(&[("nothing", Equal, "here")], 0);
    check(&[("nothing", NotEqual, "here")], 4);
    let selection = check(&[("__name__", Equal, "up")], 2);
    let names: Vec<_> = view.label_names(&selection).into_iter().collect();
    assert_eq!(names, ["__name__", "instance", "job"]);
    let values: Vec<_> = view.label_values("__name__", &all()).into_iter().collect();
    assert_eq!(values, ["down", "lonely", "up"]);
    let values: Vec<_> = view
        .label_values("instance", &selection)
        .into_iter()
        .collect();
    assert_eq!(values, ["1", "2"]);
    let mut pairs = LabelPairs::default();
    pairs.series = view.each_pair(&tenant(), |name, value, n| pairs.add(name, value, n));
    let found = crate::store::Cardinality::of(&pairs, 2);
    assert_eq!((found.series, found.label_pairs), (4, 7));
    let top = |entries: &[(&str, u64)]| -> Vec<(String, u64)> {
        entries
            .iter()
            .map(|(name, count)| ((*name).to_owned(), *count))
            .collect()
    };
    assert_eq!(found.series_by_metric, top(&[("up", 2), ("down", 1)]));
    assert_eq!(
        found.values_by_label,
        top(&[("__name__", 3), ("instance", 2)])
    );
    assert_eq!(
        found.bytes_by_label,
        top(&[("__name__", 12), ("instance", 2)])
    );
}
