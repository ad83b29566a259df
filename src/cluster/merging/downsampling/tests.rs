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
    let due = due_in((arc, &partition), &listed, planned, &policy, now);
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
