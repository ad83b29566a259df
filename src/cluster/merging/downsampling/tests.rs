//! The plan on its own.

use super::*;
use crate::cluster::control::DAY_MS;
use crate::model::{Epoch, FOUNDING_DEPTH, Level};
use crate::runtime::{RawValue, Setting};

const FIVE: Resolution = Resolution::FiveMinutes;
const HOUR: Resolution = Resolution::Hour;

fn block(id: u128, days: std::ops::Range<i64>, resolution: Resolution) -> BlockEntry {
    let end = TimestampMs(days.end * DAY_MS - 1);
    let range = TimeRange::new(TimestampMs(days.start * DAY_MS), end);
    BlockEntry {
        level: Level(1).at(resolution),
        ..BlockEntry::of(id, range)
    }
}

/// What is due on a day, as the inputs of each job with its resolution; `planned` are merged anyway.
fn check(blocks: &[BlockEntry], planned: &[&[u128]], day: i64, want: &[(&[u128], Resolution)]) {
    check_beside(&[], blocks, planned, day, want);
}

/// The same while some times have something that is deleted and may come back.
fn check_beside(
    undone: &[TimeRange],
    blocks: &[BlockEntry],
    planned: &[&[u128]],
    day: i64,
    want: &[(&[u128], Resolution)],
) {
    let mut partition = Partition::new(Epoch(1), Vec::new());
    partition.recent = blocks.iter().map(|one| (one.id, one.clone())).collect();
    let listed = Listed::of(&partition, None);
    let arc = RingArc::all(FOUNDING_DEPTH).next().unwrap();
    let policy = DownsamplePolicy::read(&RawValue::Text("30d:5m,365d:1h".to_owned())).unwrap();
    let planned = planned.iter().map(|inputs| {
        let named = |one: &&BlockEntry| inputs.contains(&one.id.0);
        let inputs: Vec<&BlockEntry> = blocks.iter().filter(named).collect();
        let mut job = rewrite(arc, &partition, inputs[0], Vec::new());
        job.order.inputs = inputs.iter().map(|one| one.id).collect();
        job.order.range.end = inputs.iter().map(|one| one.range.end).max().unwrap();
        job
    });
    let now = TimestampMs(day * DAY_MS);
    let planned = planned.collect();
    let due = Due {
        arc,
        partition: &partition,
        listed: &listed,
        policy: &policy,
        now,
        undone,
    };
    let due = due.jobs(planned);
    let got: Vec<(Vec<u128>, Resolution)> = due
        .iter()
        .map(|job| {
            (
                job.order.inputs.iter().map(|id| id.0).collect(),
                job.order.resolution,
            )
        })
        .collect();
    let want: Vec<(Vec<u128>, Resolution)> = want
        .iter()
        .map(|(inputs, resolution)| (inputs.to_vec(), *resolution))
        .collect();
    assert_eq!(got, want);
}

#[test]
fn a_block_is_rewritten_when_all_of_it_is_old_enough() {
    let raw = [block(1, 0..16, Resolution::Raw)];
    check(&raw, &[], 45, &[]);
    check(&raw, &[], 47, &[(&[1], FIVE)]);
    check(&raw, &[], 400, &[(&[1], HOUR)]);
    let five = [block(1, 0..16, FIVE)];
    check(&five, &[], 47, &[]);
    check(&five, &[], 400, &[(&[1], HOUR)]);
    check(&[block(1, 0..16, HOUR)], &[], 400, &[]);
}

/// Would catch late samples that are folded beside what stands for them already.
#[test]
fn what_overlaps_becomes_coarser_together_or_waits() {
    let both = [
        block(1, 0..16, Resolution::Raw),
        block(2, 3..4, Resolution::Raw),
    ];
    check(&both, &[], 47, &[(&[1, 2], FIVE)]);
    let late = [block(1, 0..16, FIVE), block(2, 3..4, Resolution::Raw)];
    check(&late, &[], 47, &[]);
    check(&late, &[&[1, 2]], 47, &[(&[1, 2], FIVE)]);
    check(&late, &[], 400, &[(&[1, 2], HOUR)]);
    // A younger neighbour has nothing to do with it.
    let next = [
        block(1, 0..16, Resolution::Raw),
        block(2, 16..32, Resolution::Raw),
    ];
    check(&next, &[], 50, &[(&[1], FIVE)]);
}

#[test]
fn what_is_merged_anyway_is_brought_to_its_age() {
    let days = [
        block(1, 0..1, Resolution::Raw),
        block(2, 1..2, Resolution::Raw),
    ];
    check(&days, &[&[1, 2]], 10, &[(&[1, 2], Resolution::Raw)]);
    check(&days, &[&[1, 2]], 40, &[(&[1, 2], FIVE)]);
    // One is old enough and the other is not: they wait for one another.
    let mixed = [block(1, 0..1, FIVE), block(2, 1..2, Resolution::Raw)];
    check(&mixed, &[&[1, 2]], 31, &[]);
    check(&mixed, &[&[1, 2]], 40, &[(&[1, 2], FIVE)]);
    // What is coarser than its age asks for stays so.
    let coarse = [block(1, 0..1, HOUR), block(2, 1..2, HOUR)];
    check(&coarse, &[&[1, 2]], 40, &[(&[1, 2], HOUR)]);
}

/// Would catch samples that are folded although others of the same times are not among them: these would be taken
/// for what was counted.
#[test]
fn what_is_merged_without_all_that_overlaps_it_stays_as_it_is() {
    let raw = [1, 2, 3].map(|id| block(id, 0..1, Resolution::Raw));
    check(&raw, &[&[1, 2]], 40, &[(&[1, 2], Resolution::Raw)]);
    check(&raw, &[&[1, 2, 3]], 40, &[(&[1, 2, 3], FIVE)]);
    let five = [
        block(1, 0..1, FIVE),
        block(2, 0..1, Resolution::Raw),
        block(3, 0..1, Resolution::Raw),
    ];
    check(&five, &[&[2, 3]], 40, &[(&[2, 3], Resolution::Raw)]);
    check(&five, &[&[1, 2]], 40, &[]);
    check(&five, &[&[1, 2, 3]], 40, &[(&[1, 2, 3], FIVE)]);
}

/// Would catch deleted samples that are counted for ever, or cannot come back.
#[test]
fn what_is_deleted_and_may_come_back_is_not_folded() {
    let raw = [
        block(1, 0..1, Resolution::Raw),
        block(2, 1..2, Resolution::Raw),
        block(3, 2..3, Resolution::Raw),
    ];
    let undone = [TimeRange::new(
        TimestampMs(DAY_MS + 5),
        TimestampMs(DAY_MS + 6),
    )];
    check_beside(&undone, &raw, &[], 40, &[(&[1], FIVE), (&[3], FIVE)]);
    let merged = [(&[1, 2][..], Resolution::Raw), (&[3][..], FIVE)];
    check_beside(&undone, &raw, &[&[1, 2]], 40, &merged);
}
