//! Merging on one node: nothing changes for whoever reads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::world::{START, World, context, drain, series};
use crate::cluster::control::DAY_MS;
use crate::cluster::merging::{Merges, Pace};
use crate::model::{LabelSet, Level, Samples, TimeRange, WINDOW_MS};
use crate::runtime::{CancelToken, Clock};
use crate::source::{Selection, Source};
use crate::store::RetentionSettings;

/// The first moment of sixteen days that are merged together.
pub(super) const FIRST: i64 = (START.div_euclid(16 * DAY_MS) + 1) * 16 * DAY_MS;

/// The steps of merging at which a process can die; all of them have to come up.
pub(super) const MERGING: [&str; 6] = [
    "applied",
    "commit merge",
    "ingested",
    "merge",
    "merge committed",
    "merged",
];

impl World {
    /// Merges what is due, as often as anything is.
    pub(super) fn merge(&self) -> usize {
        let mut merged = 0;
        loop {
            let pass = self.member().merger().pass(Pace::Fast, &CancelToken::new());
            assert_eq!((pass.failed, pass.outdated), (0, 0));
            if pass == Merges::default() {
                return merged;
            }
            merged += pass.merged;
        }
    }

    /// Lets the process die at the n-th step of merging. `None`: it lived.
    pub(super) fn die_while_merging(&mut self, step: i64) -> Option<&'static str> {
        self.die_while(step, |member| {
            member.merger().pass(Pace::Fast, &CancelToken::new());
        })
    }
}

/// A world in which a day has been sealed window by window, with late rounds: repeats, winners
/// and losers among them.
fn a_day(seed: u64) -> World {
    let mut world = World::new(seed);
    write_day(&mut world, 0);
    world.clock.advance(Duration::from_secs(30 * 3600));
    world
}

pub(super) fn write_day(world: &mut World, day: i64) {
    let at = FIRST + day * DAY_MS;
    let now = world.clock.now().0;
    let ahead = u64::try_from((at - now).max(0)).unwrap();
    world.clock.advance(Duration::from_millis(ahead));
    for window in 0..12 {
        let start = at + window * WINDOW_MS;
        for number in 0..5 {
            let samples: Vec<_> = (0..12)
                .map(|row| {
                    (
                        start + row * 15_000,
                        (row / 4 + i64::try_from(number).unwrap()) as f64,
                    )
                })
                .collect();
            world.floats(number, &samples);
        }
        world.clock.advance(Duration::from_secs(7200));
        if window % 6 == 5 {
            world.flush();
        }
    }
    world.floats(1, &[(at, 0.0), (at + 1, 5.0), (at + 15_000, 99.0)]);
    world.floats(3, &[(at + 5, 1.0)]);
    world.flush();
}

fn levels(world: &World) -> Vec<u8> {
    let blocks = world.member().store().blocks();
    let levels: BTreeSet<Level> = blocks.iter().map(|(_, entry)| entry.level).collect();
    levels.into_iter().map(|level| level.0).collect()
}

/// The files of the engine and those that are staged.
fn files(world: &World) -> (usize, usize) {
    let count = |path: &std::path::Path| std::fs::read_dir(path).unwrap().count();
    let staged = world.path().join("node").join("staged");
    (count(&world.path().join("blocks")), count(&staged))
}

/// Would catch a merge that loses, doubles or changes a sample, one that leaves its inputs, and one
/// that does not end.
#[test]
fn a_day_becomes_one_block_of_each_partition_and_many_days_one() {
    let mut world = a_day(21);
    let store = world.member().store();
    let (before, bytes_before) = store.block_totals();
    let version = |world: &World| -> u64 {
        let state = world.member().control_state();
        state.partitions.values().map(|p| p.version).sum()
    };
    let versions = version(&world);
    let merged = world.merge();
    assert!(merged > 0);
    world.check_all();
    assert_eq!(levels(&world), [1]);
    let (after, bytes) = store.block_totals();
    assert_eq!(version(&world), versions + merged as u64, "a version each");
    assert!(after <= 16 && before > 40, "{after} of {before} blocks");
    assert!(bytes * 2 < bytes_before, "{bytes} of {bytes_before} bytes");
    store.drop_retired().unwrap();
    assert_eq!(files(&world), (usize::try_from(after).unwrap(), 0));
    drop(store);
    assert_eq!(world.merge(), 0);
    for day in 1..16 {
        write_day(&mut world, day);
        world.merge();
    }
    world.clock.advance(Duration::from_secs(10 * 86_400));
    world.merge();
    world.check_all();
    assert_eq!(levels(&world), [2]);
    assert_eq!(world.merge(), 0);
    let store = world.member().store();
    let blocks = store.blocks();
    for (_, entry) in &blocks {
        assert_eq!(entry.range.start.0, FIRST);
        assert_eq!(entry.range.end.0, FIRST + 16 * DAY_MS - 1);
    }
    drop((store, blocks));
    world.open();
    world.check_all();
}

/// The n-th step fails, for n = 1, 2, 3 and on, until all merges live.
#[test]
fn a_crash_at_any_step_of_a_merge_loses_nothing() {
    let mut died_at = BTreeSet::new();
    for step in 1.. {
        let mut world = a_day(22);
        let died = world.die_while_merging(step);
        world.check_all();
        // What came meanwhile is not touched by the merge that goes on.
        world.floats(1, &[(FIRST + 3, 7.0), (FIRST + 15_000, 100.0)]);
        world.check_all();
        world.merge();
        world.check_all();
        world.flush();
        world.check_all();
        world.open();
        world.check_all();
        let (blocks, _) = world.member().store().block_totals();
        assert_eq!(files(&world), (usize::try_from(blocks).unwrap(), 0));
        match died {
            // All partitions go the same way: the first two are enough.
            Some(step) if !died_at.insert(step) && died_at.len() > 5 => break,
            Some(_) => {}
            None => break,
        }
    }
    assert_eq!(died_at, MERGING.into());
}

/// Would catch a merge whose inputs go for a file that nobody has looked at.
#[test]
fn a_merge_that_reads_back_otherwise_leaves_its_inputs() {
    let world = a_day(24);
    // Then the day is old enough to be dense.
    world.clock.advance(Duration::from_hours(48));
    let (before, bytes) = world.member().store().block_totals();
    world.member().store().faults.tamper_next();
    let pass = world
        .member()
        .merger()
        .pass(Pace::Fast, &CancelToken::new());
    assert!(!world.member().store().faults.tampers(), "it was read back");
    assert_eq!(pass.failed, 1);
    world.check_all();
    assert_eq!((levels(&world), files(&world).1), (vec![0, 1], 0));
    // It is tried again after a pause.
    world.clock.advance(Duration::from_secs(7200));
    world.merge();
    assert_eq!(levels(&world), [1]);
    let (after, now) = world.member().store().block_totals();
    assert!(after < before && now < bytes);
    world.check_all();
}

fn everything() -> Selection {
    Selection {
        tenant: series(1).0,
        matchers: Vec::new(),
        range: TimeRange::ALL,
    }
}

/// Would catch a swap that shows inputs and output together, or neither: readers read all the time
/// while blocks are merged, and one holds a view from before over everything.
#[test]
fn readers_see_every_sample_once_while_blocks_are_merged() {
    let world = a_day(23);
    let store = world.member().store();
    let want: BTreeMap<LabelSet, Samples> =
        drain(store.select(&everything(), &context()).unwrap().as_mut());
    let mut pinned = store.select(&everything(), &context()).unwrap();
    let (before, _) = store.block_totals();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut reads = 0;
                    while !over.load(Ordering::Relaxed) || reads == 0 {
                        let mut stream = store.select(&everything(), &context()).unwrap();
                        assert!(drain(stream.as_mut()) == want, "a read differs");
                        reads += 1;
                    }
                })
            })
            .collect();
        world.merge();
        over.store(true, Ordering::Relaxed);
        readers
            .into_iter()
            .for_each(|reader| reader.join().unwrap());
    });
    let (after, _) = store.block_totals();
    assert!(after < before);
    store.drop_retired().unwrap();
    let (files_before, _) = files(&world);
    assert!(
        files_before > usize::try_from(after).unwrap(),
        "files of the view are kept"
    );
    assert!(drain(pinned.as_mut()) == want, "a view from before differs");
    drop(pinned);
    store.drop_retired().unwrap();
    assert_eq!(files(&world).0, usize::try_from(after).unwrap());
}

/// A block that comes while others are merged is no input; one that goes makes the merge begin
/// anew, and nothing of it stays.
#[test]
fn what_changes_meanwhile_is_respected() {
    let mut world = a_day(24);
    world.clock.advance(Duration::from_secs(86_400));
    world.floats(2, &[(FIRST + 7, 3.0), (FIRST + 15_000, 50.0)]);
    // What is in the head is not given up for a block that does not hold it.
    world.merge();
    world.check_all();
    assert_eq!(world.held(), 2);
    world.flush();
    world.check_all();
    assert_eq!(levels(&world), [0, 1]);
    // Retention takes what was to be merged.
    let mut world = a_day(25);
    world.clock.advance(Duration::from_secs(10 * 86_400));
    world.retain(RetentionSettings {
        total: Some(Duration::from_secs(5 * 86_400)),
        ..RetentionSettings::default()
    });
    let pass = world
        .member()
        .merger()
        .pass(Pace::Fast, &CancelToken::new());
    assert_eq!((pass.merged, pass.failed), (0, 0));
    world.check_all();
}

/// Samples that have expired are left out when their block is merged with younger ones, and a
/// merged block goes when all of it is old.
#[test]
fn what_has_expired_is_left_out() {
    let mut world = World::new(26);
    for day in 0..8 {
        write_day(&mut world, day);
    }
    world.clock.advance(Duration::from_secs(13 * 86_400));
    let horizon = FIRST + 5 * DAY_MS + DAY_MS / 2;
    let total = world.clock.now().0 - horizon;
    let total = Duration::from_millis(u64::try_from(total).unwrap());
    world.retain(RetentionSettings {
        total: Some(total),
        ..RetentionSettings::default()
    });
    world.merge();
    world.check_all();
    let store = world.member().store();
    let blocks = store.blocks();
    assert!(
        blocks
            .iter()
            .all(|(_, e)| e.range.end.0 > horizon && e.level > Level(0))
    );
    let got = drain(store.select(&everything(), &context()).unwrap().as_mut());
    let first = got.values().map(|samples| samples.timestamps[0]).min();
    assert!(first.unwrap() >= horizon - 600_000, "{first:?}");
    drop(store);
    world.clock.advance(Duration::from_secs(40 * 86_400));
    world.retain(RetentionSettings {
        total: Some(total),
        ..RetentionSettings::default()
    });
    assert_eq!(world.member().store().block_totals().0, 0);
}
