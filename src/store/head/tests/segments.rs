//! Which segments of the log the head keeps.

use super::rig::*;
use crate::model::*;
use crate::store::head::*;
use crate::store::log::Mark;
use crate::store::log::faulty::FaultyDisk;

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

/// Appends more than a segment has room for.
fn fill_segment(head: &Head) {
    for seed in 0..9 {
        fill(head, seed, 1_000_000);
    }
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

/// Would catch a replay that does not say which segments are needed, also of series that another number of shards has
/// moved, and of those that are taken together.
#[test]
fn a_segment_stays_after_a_restart_as_long_as_its_samples() {
    let window = Window(Window::of(TimestampMs(1_700_000_000_000)).0 - 3);
    let few: Vec<LabelSet> = ["a", "b", "c", "d"].map(|at| labels("m", at)).to_vec();
    let many: Vec<LabelSet> = (0..40).map(|m| labels(&format!("m{m}"), "a")).collect();
    for (series, shards) in [(&few, 4), (&few, 3), (&many, 4)] {
        let disk = FaultyDisk::default();
        let head = open(&disk, &[]);
        // The definitions are in the segment before that of the samples.
        for set in series {
            float(&head, set, window.start().0 + 5, 1.0);
        }
        fill_segment(&head);
        assert_eq!(head.stats().log.segments, 2);
        let at = TimestampMs(window.start().0 + 6);
        let of_set = |set: &LabelSet| FloatSample {
            series: head.register(&tenant(), set).unwrap(),
            at,
            value: 2.0,
        };
        let floats: Vec<FloatSample> = series.iter().map(of_set).collect();
        let batch = AppendBatch {
            floats: &floats,
            ..AppendBatch::default()
        };
        head.wait_durable(head.append(&batch).unwrap().position)
            .unwrap();
        fill_segment(&head);
        assert_eq!(head.stats().log.segments, 3);
        let before = content(&head);
        drop(head);
        let head = open_with(&disk, &[], shards);
        let mut marks = Vec::new();
        give_up_all_but(&head, window, &mut marks);
        fill(&head, 11, 10);
        assert_eq!(head.stats().log.segments, 3);
        assert_eq!(content(&head), before);
        drop(head);
        assert_eq!(
            content(&open_with(&disk.after_kill(), &marks, shards)),
            before
        );
    }
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
