//! What comes long after its time is sealed as a day and dense at once; what comes in time stays quick to read.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use super::world::{START, World, histogram, series};
use crate::cluster::control::DAY_MS;
use crate::cluster::version::{Build, DENSE_FROM};
use crate::codec::page::Density;
use crate::model::{Level, TimestampMs, Value, WINDOW_MS, Window, stale_nan};
use crate::store::{BlockReader, Engine, SstTable};

const SERIES: u64 = 8;
/// Every half minute.
const ROWS_PER_WINDOW: i64 = 240;

/// Begins so many whole days before the world does.
fn day(ago: i64) -> i64 {
    (START.div_euclid(DAY_MS) - ago) * DAY_MS
}

/// Some windows of gauges that nobody can foresee, a histogram and a stale marker among them.
fn write(world: &mut World, from: i64, windows: i64) {
    for number in 0..SERIES {
        let rows = 0..windows * ROWS_PER_WINDOW;
        let samples: Vec<(i64, f64)> = rows.map(|row| sample(number, from, row)).collect();
        world.floats(number, &samples);
    }
    let (key, at) = (series(1), from + 7);
    world.append(&[
        (key.clone(), at, Value::Float(stale_nan()), 0),
        (
            key.clone(),
            at + 1,
            Value::Histogram(Arc::new(histogram(3))),
            0,
        ),
        (key, at + 2, Value::Float(0.1), at - 60_000),
    ]);
}

fn sample(number: u64, from: i64, row: i64) -> (i64, f64) {
    let mixed = (row + 1) * (i64::try_from(number).unwrap() * 2 + 1);
    let mixed = mixed.wrapping_mul(0x5851_f42d_4c95_7f2d);
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0x14c0_57b7_ef76_7815);
    (from + row * 30_000, (mixed >> 32).rem_euclid(1000) as f64)
}

/// Of all files whether they were sealed as a window, and how their pages are; and their bytes.
fn sealed(world: &World) -> (BTreeSet<(bool, &'static str)>, u64) {
    let (mut kinds, mut bytes) = (BTreeSet::new(), 0);
    for file in world.engine.block_files().unwrap() {
        let table = Arc::new(SstTable::open_file(&file.path).unwrap());
        let reader = BlockReader::open(table, file.id).unwrap();
        let properties = reader.properties();
        assert_eq!(properties.level, Level(0));
        let pages = match properties.pages {
            Density::Quick => "quick",
            Density::Dense => "dense",
        };
        kinds.insert((Window::is(properties.range), pages));
        bytes += fs::metadata(&file.path).unwrap().len();
    }
    (kinds, bytes)
}

fn staged(world: &World) -> usize {
    let staged = world.path().join("node").join("staged");
    fs::read_dir(staged).unwrap().count()
}

fn at_level(level: u32, seed: u64) -> World {
    let mut world = World::unopened(seed);
    world.settings.introduction.build.feature_level = level;
    world.open();
    world
}

/// Would catch backfill that takes more of the disk than it needs until a merge meets it, and a value that does not come back.
#[test]
fn a_sealed_day_is_dense_and_all_of_it_comes_back() {
    let mut world = at_level(DENSE_FROM, 81);
    write(&mut world, day(4), 12);
    world.flush();
    assert_eq!(sealed(&world).0, [(false, "dense")].into());
    world.check_all();
    world.crash();
    world.check_all();
    // What comes for the same day again is a day, too: what it repeats is read out of dense pages.
    let again: Vec<(i64, f64)> = (0..40).map(|row| sample(2, day(4), row)).collect();
    world.floats(2, &again);
    let before = sealed(&world);
    world.flush();
    assert_eq!(sealed(&world), before, "it was all there");
    world.floats(2, &[(day(4) + 11, 4.0)]);
    world.flush();
    assert_eq!(sealed(&world).0, [(false, "dense")].into());
    world.check_all();
    world.open();
    world.check_all();
}

/// Would catch days that a node of an older build cannot read, and some that are never dense.
#[test]
fn sealed_days_wait_for_every_node() {
    let mut world = at_level(DENSE_FROM - 1, 82);
    write(&mut world, day(5), 12);
    world.flush();
    let (kinds, quick) = sealed(&world);
    assert_eq!(kinds, [(false, "quick")].into());
    world.check_all();
    world.settings.introduction.build = Build::default();
    world.open();
    write(&mut world, day(3), 12);
    world.flush();
    let (kinds, both) = sealed(&world);
    assert_eq!(kinds, [(false, "quick"), (false, "dense")].into());
    // Most of so small a block is its index.
    let dense = both - quick;
    assert!(dense * 20 < quick * 19, "{dense} of {quick} bytes");
    world.check_all();
}

/// Would catch dashboards of the day that wait for dense pages.
#[test]
fn what_is_new_stays_quick() {
    let mut world = at_level(DENSE_FROM, 83);
    let start = Window::of(TimestampMs(START)).start().0;
    for (from, windows) in [(start - 5 * WINDOW_MS, 3), (start, 1)] {
        write(&mut world, from, windows);
        world.flush();
    }
    assert_eq!(sealed(&world).0, [(true, "quick")].into());
    world.check_all();
    write(&mut world, day(2), 2);
    world.flush();
    let both = [(true, "quick"), (false, "quick")].into();
    assert_eq!(sealed(&world).0, both, "it is no two days over");
    write(&mut world, day(3), 2);
    world.flush();
    let all = [(true, "quick"), (false, "quick"), (false, "dense")].into();
    assert_eq!(sealed(&world).0, all);
    world.check_all();
}

/// Would catch a day that is given up for a block that nobody has looked at, and one that is never sealed because
/// its dense pages are wrong.
#[test]
fn a_day_that_reads_back_otherwise_is_sealed_all_the_same() {
    let mut world = at_level(DENSE_FROM, 84);
    let samples: Vec<(i64, f64)> = (0..500).map(|row| sample(3, day(4), row)).collect();
    world.floats(3, &samples);
    world.member().store().faults.tamper_next();
    world.flush();
    assert!(!world.member().store().faults.tampers(), "it was read back");
    assert_eq!(sealed(&world).0, [(false, "quick")].into());
    assert_eq!(staged(&world), 0);
    world.check_all();
    world.open();
    world.check_all();
    // The next one is none the worse for it.
    world.floats(3, &[sample(3, day(3), 0)]);
    world.flush();
    let both = [(false, "quick"), (false, "dense")].into();
    assert_eq!(sealed(&world).0, both);
    world.check_all();
}
