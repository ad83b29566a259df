//! The plan, on its own and played forward.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::cluster::control::MemberId;
use crate::model::{Epoch, FOUNDING_DEPTH, Level, Window};

const HOUR: i64 = 60 * 60 * 1000;
const MIB: u64 = 1 << 20;

fn limits() -> Limits {
    Limits {
        grace: Duration::from_secs(600),
        retention: None,
    }
}

fn entry(id: u128, range: TimeRange, level: u8, size: u64) -> BlockEntry {
    BlockEntry {
        level: Level(level),
        size,
        samples: size,
        content_sum: u128::from(size),
        ..BlockEntry::of(id, range)
    }
}

fn unsigned(number: i64) -> u128 {
    u128::try_from(number).unwrap()
}

fn day(number: i64) -> TimeRange {
    utc_day(TimestampMs(number * DAY_MS))
}

fn days(first: i64, count: i64) -> TimeRange {
    TimeRange::new(day(first).start, day(first + count - 1).end)
}

fn windows_of(number: i64, size: u64) -> Vec<BlockEntry> {
    (0..12)
        .map(|at| {
            let window = Window(number * 12 + at);
            entry(unsigned(number * 100 + at), window.range(), 0, size)
        })
        .collect()
}

fn arc(number: usize) -> RingArc {
    RingArc::all(FOUNDING_DEPTH).nth(number).unwrap()
}

fn partition(blocks: &[BlockEntry]) -> Partition {
    let mut partition = Partition::new(Epoch(1), Vec::new());
    let entries = blocks.iter().map(|entry| (entry.id, entry.clone()));
    partition.recent = entries.collect();
    partition
}

fn jobs(blocks: &[BlockEntry], number: usize, limits: &Limits, now: i64) -> Vec<Job> {
    let partition = partition(blocks);
    let listed = Listed::of(&partition, None);
    due_in(arc(number), &partition, &listed, limits, TimestampMs(now))
}

/// The ranges of the jobs, with how many blocks go into each.
fn check(blocks: &[BlockEntry], now: i64, want: &[(TimeRange, usize)]) {
    let got: Vec<(TimeRange, usize)> = jobs(blocks, 0, &limits(), now)
        .iter()
        .map(|job| (job.order.range, job.order.inputs.len()))
        .collect();
    assert_eq!(got, want);
}

#[test]
fn a_day_is_merged_when_it_is_over_and_every_arc_at_its_own_time() {
    let blocks = windows_of(20, MIB);
    let end = day(20).end.0;
    let due = end + 600_000 + DAY_WAIT_MS;
    check(&blocks, due, &[]);
    check(&blocks, due + 1, &[(day(20), 12)]);
    for hours in [0, 5, 10, 20] {
        let now = due + 1 + hours * HOUR;
        let arcs = (0..16).filter(|number| !jobs(&blocks, *number, &limits(), now).is_empty());
        let want = (usize::try_from(hours).unwrap() * 16 / 20 + 1).min(16);
        assert_eq!(arcs.count(), want, "after {hours} hours");
    }
}

#[test]
fn one_block_is_left_alone_and_so_is_one_that_outgrew_what_came_late() {
    let later = day(21).end.0;
    check(&[entry(1, day(20), 0, MIB)], later, &[]);
    let mut blocks = vec![entry(1, day(20), 1, 100 * MIB)];
    for late in 0..7 {
        blocks.push(entry(10 + late, day(20), 0, 1000));
        check(&blocks, later, &[]);
    }
    // Enough small ones for one of their own, but not for writing the large one again.
    blocks.push(entry(17, day(20), 0, 1000));
    check(&blocks, later, &[(day(20), 8)]);
    blocks.push(entry(18, day(20), 0, 30 * MIB));
    check(&blocks, later, &[(day(20), 10)]);
    blocks.truncate(1);
    blocks.push(entry(19, day(20), 0, 30 * MIB));
    check(&blocks, later, &[(day(20), 2)]);
}

#[test]
fn many_days_are_merged_when_all_are_over_and_not_in_between() {
    let blocks: Vec<BlockEntry> = (16..32)
        .map(|number| entry(unsigned(number), day(number), 1, MIB))
        .collect();
    for number in 17..33 {
        check(&blocks, day(number).end.0, &[]);
    }
    let due = day(31).end.0 + 600_000 + DAYS_WAIT_MS;
    check(&blocks, due, &[]);
    check(&blocks, due + 1, &[(days(16, 16), 16)]);
    // A year that comes at once is merged at once, not a day at a time first.
    let mut all = Vec::new();
    for number in 16..32 {
        all.extend(windows_of(number, 1000));
    }
    check(
        &all[..64],
        due + 1,
        &[(days(16, 6).intersect(days(16, 16)), 64)]
            .map(|(range, n)| (TimeRange::new(range.start, Window(16 * 12 + 63).end()), n)),
    );
}

#[test]
fn what_would_be_too_large_is_merged_in_parts() {
    let of = |size: u64| -> Vec<BlockEntry> {
        (16..32)
            .map(|number| entry(unsigned(number), day(number), 1, size * MIB))
            .collect()
    };
    let now = day(60).start.0;
    check(&of(16), now, &[(days(16, 16), 16)]);
    check(&of(17), now, &[(days(16, 8), 8), (days(24, 8), 8)]);
    let pairs: Vec<_> = (8..16).map(|pair| (days(pair * 2, 2), 2)).collect();
    check(&of(100), now, &pairs);
    check(&of(129), now, &[]);
    // A day of 300 MiB, and two late blocks of it.
    let part = |first: i64, windows: i64| {
        let start = Window(16 * 12 + first).start();
        TimeRange::new(start, Window(16 * 12 + first + windows - 1).end())
    };
    let mut day_of_many = windows_of(16, 25 * MIB);
    day_of_many.push(entry(1, day(16), 0, MIB));
    day_of_many.push(entry(2, day(16), 0, MIB));
    let thirds = [
        (part(0, 4), 4),
        (part(4, 4), 4),
        (part(8, 4), 4),
        (day(16), 2),
    ];
    check(&day_of_many, now, &thirds);
    let halves: Vec<_> = (0..6).map(|at| (part(at * 2, 2), 2)).collect();
    check(&windows_of(16, 70 * MIB), now, &halves);
}

#[test]
fn short_retention_keeps_blocks_short() {
    let with = |days: u64| Limits {
        retention: Some(Duration::from_secs(days * 86_400)),
        ..limits()
    };
    let lengths = [1, 15, 16, 31, 32, 64, 127, 128, 730].map(|days| with(days).days_max());
    assert_eq!(lengths, [1, 1, 2, 2, 4, 8, 8, 16, 16]);
    let blocks: Vec<BlockEntry> = (16..20)
        .map(|number| entry(unsigned(number), day(number), 1, MIB))
        .collect();
    let now = day(60).start.0;
    let got = jobs(&blocks, 0, &with(30), now);
    let got: Vec<TimeRange> = got.iter().map(|job| job.order.range).collect();
    assert_eq!(got, [days(16, 2), days(18, 2)]);
    // What has expired is no input.
    let mut partition = partition(&blocks);
    partition.expired_before = day(18).start;
    let listed = Listed::of(&partition, None);
    let got = due_in(arc(0), &partition, &listed, &with(30), TimestampMs(now));
    assert_eq!(got.len(), 1);
    assert_eq!(got[0].order.keep_from, day(18).start);
}

#[test]
fn members_take_turns_by_day_and_stand_in_for_each_other() {
    let member = |number| MemberId {
        incarnation: Incarnation(number),
        life: 0,
    };
    let mut state = ControlState::default();
    let mut partition = partition(&[]);
    partition.members = vec![member(1), member(2), member(3)];
    state.partitions.insert(arc(0), Arc::new(partition));
    let job = |number| jobs(&windows_of(number, MIB), 0, &limits(), i64::MAX)[0].clone();
    let turns = |number, hours: u64| {
        let order = job(number).order;
        [1, 2, 3, 4].map(|me| {
            let waited = Duration::from_secs(hours * 3600);
            is_my_turn(&order, &state, Incarnation(me), waited)
        })
    };
    assert_eq!(turns(30, 0), [true, false, false, false]);
    assert_eq!(turns(31, 0), [false, true, false, false]);
    assert_eq!(turns(32, 0), [false, false, true, false]);
    assert_eq!(turns(30, 2), [true, true, false, false]);
    assert_eq!(turns(31, 4), [true, true, true, false]);
}

/// What a merge does to a catalog, with a size that the inputs' index makes smaller.
fn apply(blocks: &mut BTreeMap<BlockId, BlockEntry>, job: &Job, id: u128) -> u64 {
    let inputs: Vec<BlockEntry> = job
        .order
        .inputs
        .iter()
        .map(|id| blocks.remove(id).expect("an input is there once"))
        .collect();
    let bytes: u64 = inputs.iter().map(|entry| entry.size).sum();
    assert_eq!(bytes, job.bytes);
    for input in &inputs {
        assert!(contains(job.order.range, input.range));
        assert!(job.order.level > input.level);
    }
    let mut merged = entry(id, job.order.range, job.order.level.0, bytes - bytes / 5);
    merged.samples = inputs.iter().map(|entry| entry.samples).sum();
    blocks.insert(merged.id, merged);
    bytes
}

proptest! {
    /// Whatever is sealed in whatever order over six weeks, merging comes to an end, keeps its
    /// bounds, loses and doubles nothing, and writes every byte a few times only.
    #[test]
    fn merging_ends_and_keeps_its_bounds(
        seals in proptest::collection::vec(
            (0i64..42, 0i64..14, 1u64..2000, 0i64..10), 1..400,
        ),
        unit in prop_oneof![Just(1u64), Just(1000), Just(40_000)],
        number in 0usize..16,
    ) {
        let mut blocks: BTreeMap<BlockId, BlockEntry> = BTreeMap::new();
        let (mut next, mut sealed, mut written) = (1u128 << 64, 0u64, 0u64);
        let mut by_time: Vec<_> = seals
            .into_iter()
            .map(|(at, window, size, late)| (at + late, at, window, size * unit))
            .collect();
        by_time.sort_unstable();
        let samples = by_time.iter().map(|seal| seal.3).sum::<u64>();
        let mut coming = by_time.into_iter().peekable();
        for today in 0..70 {
            while let Some((_, at, window, size)) = coming.next_if(|seal| seal.0 <= today) {
                next += 1;
                // Of a window, or late for a day.
                let range = match window {
                    0..12 => Window(at * 12 + window).range(),
                    _ => day(at),
                };
                sealed += size;
                blocks.insert(BlockId(next), entry(next, range, 0, size));
            }
            for _ in 0..1000 {
                let all: Vec<BlockEntry> = blocks.values().cloned().collect();
                let due = jobs(&all, number, &limits(), day(today).end.0);
                if due.is_empty() {
                    break;
                }
                for job in &due {
                    prop_assert!(job.bytes <= BYTES_MAX);
                    prop_assert!((2..=INPUTS_MAX).contains(&job.order.inputs.len()));
                    prop_assert!(job.order.range.end.0 < day(today).end.0);
                    let span = job.order.range.end.0 - job.order.range.start.0;
                    prop_assert!(span < DAYS_MAX * DAY_MS);
                    next += 1;
                    written += apply(&mut blocks, job, next);
                }
            }
            let all: Vec<BlockEntry> = blocks.values().cloned().collect();
            prop_assert!(jobs(&all, number, &limits(), day(today).end.0).is_empty());
        }
        prop_assert_eq!(blocks.values().map(|entry| entry.samples).sum::<u64>(), samples);
        prop_assert!(written <= 12 * sealed, "{} of {}", written, sealed);
        // Of sixteen days what is left is one block, or few that differ in size.
        for span in 0..3 {
            let within = blocks.values().filter(|entry| contains(days(span * 16, 16), entry.range));
            let small = within.clone().map(|entry| entry.size).sum::<u64>() <= BYTES_MAX;
            prop_assert!(!small || within.count() <= 24);
        }
    }
}
