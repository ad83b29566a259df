//! What the head promises, through its door: everything appended comes back, from memory, after a
//! replay, across cuts; and nothing else does.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::model::*;
use crate::runtime::{Clock, ManualClock};
use crate::source::{LabelPairs, Selection};
use crate::store::log::faulty::FaultyDisk;
use crate::store::log::{Mark, WriteLogSettings};

fn clock() -> Arc<dyn Clock> {
    Arc::new(ManualClock::at(TimestampMs(1_700_000_000_000)))
}

fn open(disk: &FaultyDisk, marks: &[Mark]) -> Head {
    let settings = HeadSettings::default();
    let log = WriteLogSettings {
        segment_size: crate::runtime::ByteSize(1),
        ..WriteLogSettings::default()
    };
    Head::open(settings, &log, Arc::new(disk.clone()), marks, clock()).unwrap()
}

fn tenant() -> TenantId {
    TenantId::anonymous()
}

fn labels(name: &str, instance: &str) -> LabelSet {
    LabelSet::from_pairs(&[("__name__", name), ("job", "j"), ("instance", instance)]).unwrap()
}

fn all() -> Selection {
    Selection {
        tenant: tenant(),
        matchers: Vec::new(),
        range: TimeRange::ALL,
    }
}

/// All series and their samples.
fn content(head: &Head) -> Vec<(LabelSet, Samples)> {
    let view = head.view();
    let mut found: Vec<_> = view
        .select(&all())
        .into_iter()
        .map(|series| {
            let mut samples = Samples::default();
            view.read(&series, TimeRange::ALL, &mut samples);
            (series.labels, samples)
        })
        .filter(|(_, samples)| !samples.is_empty())
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

fn float(head: &Head, set: &LabelSet, at: i64, value: f64) -> u64 {
    let series = head.register(&tenant(), set).unwrap();
    let appended = head
        .append(&AppendBatch {
            floats: &[FloatSample {
                series,
                at: TimestampMs(at),
                value,
            }],
            ..AppendBatch::default()
        })
        .unwrap();
    assert!(appended.stale_floats.is_empty());
    appended.position
}

fn samples(list: &[(i64, f64)]) -> Samples {
    let mut samples = Samples::default();
    for (at, value) in list {
        samples.push(TimestampMs(*at), Value::Float(*value), TimestampMs(0));
    }
    samples
}

fn histogram(count: u64) -> Value {
    Value::Histogram(Arc::new(Histogram {
        schema: 0,
        zero_threshold: 0.0,
        sum: 1.0,
        buckets: Buckets::Integer {
            count,
            zero_count: 0,
            positive: vec![i64::try_from(count).unwrap()],
            negative: vec![],
        },
        positive_spans: vec![Span {
            offset: 0,
            length: 1,
        }],
        negative_spans: vec![],
        custom_values: vec![],
        reset_hint: ResetHint::Unknown,
    }))
}

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
    let want = vec![(new.clone(), samples(&[(500, 4.0), (WINDOW_MS, 3.0)]))];
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
    let want = [(labels("come", "1"), samples(&[(1, 1.0)]))];
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

/// Text that LZ4 leaves as it is.
fn noise(seed: u64, len: usize) -> String {
    use crate::runtime::{Chance, SeededChance};
    let chance = SeededChance::new(seed);
    let letter = |_| char::from(b'!' + u8::try_from(chance.below(90)).unwrap());
    (0..len).map(letter).collect()
}

/// Appends metadata of a family that takes so many bytes of the log and a few more; returns how
/// many bytes were written.
fn fill(head: &Head, seed: u64, len: usize) -> usize {
    let before = head.stats().log.written_bytes;
    let metadata = Metadata {
        kind: MetricKind::Gauge,
        help: noise(seed, len),
        unit: String::new(),
    };
    let appended = head
        .append(&AppendBatch {
            metadata: &[(tenant(), "filler".to_owned(), metadata)],
            ..AppendBatch::default()
        })
        .unwrap();
    head.wait_durable(appended.position).unwrap();
    usize::try_from(head.stats().log.written_bytes - before).unwrap()
}

/// Seals what is held of all windows but this one.
fn give_up_all_but(head: &Head, kept: Window, marks: &mut Vec<Mark>) {
    for (arc, window) in head.held().into_keys() {
        if window != kept {
            let cut = head.cut(arc, window).unwrap();
            marks.push(cut.mark());
            head.give_up(cut);
        }
    }
}

/// The smallest segment file.
const SEGMENT: usize = 4096 + 2 * (4 << 20);

#[test]
fn a_definition_at_the_end_of_a_segment_stays_as_long_as_its_samples() {
    let now = 1_700_000_000_000;
    let window = Window(Window::of(TimestampMs(now)).0 - 3);
    let set = labels("m", "a");
    let one_float = |head: &Head| {
        let before = head.stats().log.written_bytes;
        let position = float(head, &set, window.start().0 + 5, 1.0);
        head.wait_durable(position).unwrap();
        usize::try_from(head.stats().log.written_bytes - before).unwrap()
    };
    let both = one_float(&open(&FaultyDisk::default(), &[]));
    let disk = FaultyDisk::default();
    let head = open(&disk, &[]);
    let mut at = 4096;
    let big = 1_000_000;
    let overhead = fill(&head, 0, big) - big;
    at += big + overhead;
    for seed in 1..7 {
        at += fill(&head, seed, big);
    }
    // So that the definition is the last that fits, by one byte.
    let rest = SEGMENT - at - both + 1;
    at += fill(&head, 9, rest / 2 - overhead);
    at += fill(&head, 10, rest - rest / 2 - overhead);
    assert_eq!(at + both, SEGMENT + 1);
    assert_eq!(head.stats().log.segments, 1);
    one_float(&head);
    assert_eq!(
        head.stats().log.segments,
        2,
        "the samples are in the next segment"
    );
    let before = content(&head);
    drop(head);
    // A restart, after which all else in that segment is sealed; then another.
    let head = open(&disk, &[]);
    assert_eq!(content(&head), before);
    let mut marks = Vec::new();
    give_up_all_but(&head, window, &mut marks);
    fill(&head, 11, 10);
    drop(head);
    let head = open(&disk.after_kill(), &marks);
    assert_eq!(content(&head), before);
}

#[test]
fn exemplars_keep_no_segment() {
    let disk = FaultyDisk::default();
    let head = open(&disk, &[]);
    let set = labels("m", "a");
    let now = 1_700_000_000_000;
    let series = head.register(&tenant(), &set).unwrap();
    let exemplar = |at: i64| Exemplar {
        labels: LabelSet::from_pairs(&[("trace_id", "x")]).unwrap(),
        value: 1.0,
        timestamp: TimestampMs(at),
    };
    float(&head, &set, now, 1.0);
    // One in the window of the sample, others in windows that hold no sample at all.
    let exemplars = [0, 5 * WINDOW_MS, 90 * WINDOW_MS].map(|ago| (series, exemplar(now - ago)));
    head.append(&AppendBatch {
        exemplars: &exemplars,
        ..AppendBatch::default()
    })
    .unwrap();
    for seed in 0..9 {
        fill(&head, seed, 1_000_000);
    }
    assert_eq!(head.stats().log.segments, 2);
    let mut marks = Vec::new();
    give_up_all_but(&head, Window(0), &mut marks);
    fill(&head, 20, 10);
    fill(&head, 21, 10);
    assert_eq!(head.stats().log.segments, 1);
    // The same after a restart that found them all.
    let found = |head: &Head| head.view().exemplars(&all()).len();
    assert_eq!(found(&head), 1);
    drop(head);
    let disk = disk.after_kill();
    let head = open(&disk, &marks);
    for seed in 30..39 {
        fill(&head, seed, 1_000_000);
    }
    head.append(&AppendBatch {
        exemplars: &[(
            head.register(&tenant(), &set).unwrap(),
            exemplar(now - 7 * WINDOW_MS),
        )],
        ..AppendBatch::default()
    })
    .unwrap();
    fill(&head, 40, 10);
    drop(head);
    let head = open(&disk, &marks);
    assert_eq!(found(&head), 1);
    give_up_all_but(&head, Window(0), &mut marks);
    fill(&head, 41, 10);
    fill(&head, 42, 10);
    assert_eq!(head.stats().log.segments, 1);
}
