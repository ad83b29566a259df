//! A replay takes series after series and not sample after sample: the head must be what it was.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::rig::*;
use crate::model::*;
use crate::store::head::*;
use crate::store::log::faulty::FaultyDisk;

/// What comes at a time of a target: from which of its series, and how many.
#[derive(Clone, Debug)]
struct Scrape {
    /// One, or all that there are.
    target: usize,
    from: usize,
    count: usize,
    /// How long after the one before; before it, where it is negative.
    step_ms: i64,
    value: f64,
    /// More than one where a sender was away and brings all at once.
    times: i64,
}

/// Between the times that are brought at once.
const BETWEEN_MS: i64 = 700;

const TARGETS: usize = 3;

fn scrapes() -> impl Strategy<Value = Vec<Scrape>> {
    let step_ms = prop_oneof![
        6 => Just(15_000i64),
        2 => 0i64..2000,
        1 => -40_000i64..0,
        1 => Just(WINDOW_MS),
    ];
    let value = prop_oneof![Just(1.0f64), (0u32..5).prop_map(f64::from), any::<f64>()];
    let times = prop_oneof![4 => Just(1i64), 1 => 2i64..4];
    let scrape = (0..=TARGETS, 0usize..150, 1usize..150, step_ms, value, times);
    let scrape = scrape.prop_map(|(target, from, count, step_ms, value, times)| Scrape {
        target,
        from,
        count,
        step_ms,
        value,
        times,
    });
    proptest::collection::vec(scrape, 1..40)
}

/// Series of a target. The last one's have neither job nor instance.
fn set_of(target: usize, number: usize) -> LabelSet {
    let name = format!("m{number}");
    match target {
        2 => LabelSet::from_pairs(&[("__name__", name.as_str()), ("of", "none")]).unwrap(),
        _ => labels(&name, &target.to_string()),
    }
}

/// Takes a scrape in, one request for some fifty samples.
fn take(head: &Head, scrape: &Scrape, at: TimestampMs) -> u64 {
    let targets = match scrape.target {
        TARGETS => 0..TARGETS,
        one => one..one + 1,
    };
    let numbers = scrape.from..(scrape.from + scrape.count).min(150);
    let series = targets.flat_map(|target| numbers.clone().map(move |number| (target, number)));
    let each = series.flat_map(|one| (0..scrape.times).map(move |time| (one, time)));
    let floats: Vec<FloatSample> = each
        .map(|((target, number), time)| FloatSample {
            series: head.register(&tenant(), &set_of(target, number)).unwrap(),
            at: at.plus_ms(time * BETWEEN_MS),
            // Some change and some do not.
            value: match number % 3 {
                0 => 7.0,
                _ => scrape.value + number as f64 + time as f64,
            },
        })
        .collect();
    let append = |floats: &[FloatSample]| {
        let batch = AppendBatch {
            floats,
            ..AppendBatch::default()
        };
        let appended = head.append(&batch).unwrap();
        assert!(appended.stale_floats.is_empty());
        appended.position
    };
    floats.chunks(50).map(append).max().unwrap_or(0)
}

/// Would catch samples that came in order and do not lie in chunks again, but with the late ones: of many series, of which
/// one is collected at a time, and of few, of which several are, those of whole blocks among them.
#[test]
fn what_came_in_order_lies_as_it_lay() {
    for count in [150, 16, 5] {
        let disk = FaultyDisk::default();
        let head = open_with(&disk, &[], 2);
        let last = (0..200u32).map(|number| {
            let scrape = Scrape {
                target: [0, 1, 2, 0, TARGETS][number as usize % 5],
                from: 0,
                count,
                step_ms: 0,
                value: f64::from(number % 7),
                times: 1 + i64::from(number % 9 == 8),
            };
            take(&head, &scrape, TimestampMs(i64::from(number) * 5000))
        });
        head.wait_durable(last.last().unwrap()).unwrap();
        let (want, stats) = (content(&head), head.stats());
        drop(head);
        let again = open_with(&disk.after_kill(), &[], 2);
        assert_eq!(content(&again), want);
        // A replay notes no definitions, a bit for each series, in words, nor what steps stand on.
        let before = stats.layer_bytes - stats.steps_bytes;
        let after = again.stats().layer_bytes;
        assert!(
            after.abs_diff(before) < before / 100,
            "{after} bytes, {before} before"
        );
    }
}

/// What says whether samples lie as they lay, and not only whether they are there.
fn lie(head: &Head) -> [u64; 4] {
    let stats = head.stats();
    [stats.series, stats.samples, stats.repeats, stats.chunks]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Would catch samples that change places with those of other series or times or records, that go missing
    /// where buffers fill up, whose place a later series has, that a mark covers or does not, and rows that are
    /// made in another order, so that samples which had a place in chunks come too late.
    #[test]
    fn a_replay_makes_what_was_there(
        scrapes in scrapes(), marked_at in 0usize..40, marked in 0usize..3, shards in 1usize..6,
        restarts in proptest::collection::vec((0usize..40, prop_oneof![3 => Just(4usize), 1 => 1usize..6]), 0..3),
    ) {
        let disk = FaultyDisk::default();
        let mut head = open_with(&disk, &[], 4);
        let (mut now, mut last, mut marks) = (TimestampMs(WINDOW_MS - 100_000), 0, Vec::new());
        for (number, scrape) in scrapes.iter().enumerate() {
            now = now.plus_ms(scrape.step_ms);
            last = last.max(take(&head, scrape, now));
            for (_, shards) in restarts.iter().filter(|(at, _)| *at == number) {
                // From now on numbers mean other series.
                head.wait_durable(last).unwrap();
                drop(head);
                head = open_with(&disk, &marks, *shards);
            }
            if number != marked_at {
                continue;
            }
            // Some arcs are given up, and series that have nothing else give their numbers to others.
            head.wait_durable(last).unwrap();
            for ((arc, window), at) in head.held().into_keys().zip(0usize..) {
                if at % 3 < marked {
                    let cut = head.cut(arc, window).unwrap();
                    marks.push(cut.mark());
                    head.give_up(cut);
                }
            }
            head.tidy();
            head.tidy();
        }
        head.wait_durable(last).unwrap();
        let (want, as_it_lay) = (content(&head), lie(&head));
        let before = head.stats();
        drop(head);
        let same = open_with(&disk.after_kill(), &marks, 4);
        prop_assert_eq!(content(&same), want.clone());
        let after = same.stats();
        prop_assert_eq!((after.windows, after.oldest), (before.windows, before.oldest));
        if marks.is_empty() && restarts.is_empty() {
            prop_assert_eq!(lie(&same), as_it_lay);
            let (after, before) = (after.layer_bytes, before.layer_bytes);
            prop_assert!(after < before + before / 8 + 4096, "{} bytes, {} before", after, before);
        }
        drop(same);
        let others = open_with(&disk.after_kill(), &marks, shards);
        prop_assert_eq!(content(&others), want);
        // What was replayed goes on as if nothing had been.
        let more = Scrape { target: 0, from: 0, count: 150, step_ms: 0, value: 3.0, times: 1 };
        let before: BTreeMap<_, _> = content(&others).into_iter().collect();
        // Behind what was brought at once, and never at a time that is there.
        take(&others, &more, now.plus_ms(3 * BETWEEN_MS + 1));
        for (labels, samples) in content(&others) {
            let had = before.get(&labels).map_or(0, Samples::len);
            let is_of = labels.get("instance") == Some("0");
            prop_assert_eq!(samples.len(), had + usize::from(is_of));
        }
    }
}
