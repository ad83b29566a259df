//! Downsampling on one node: blocks become smaller as they grow old, and what their samples come to stays. And which
//! formats wait for the last node.

use std::collections::BTreeSet;
use std::time::Duration;

use super::merging::{FIRST, MERGING};
use super::world::{Key, World, context, drain, series};
use crate::cluster::control::DAY_MS;
use crate::cluster::version::{Build, DENSE_FROM, DOWNSAMPLED_FROM};
use crate::model::*;
use crate::runtime::{Clock, RawValue, Setting};
use crate::source::{Moments, Selection};
use crate::store::DownsamplePolicy;

const SERIES: u64 = 3;
const DAY: Duration = Duration::from_secs(86_400);

fn downsampling(text: &str, seed: u64) -> World {
    let mut world = unopened(text, seed);
    world.open();
    world
}

fn unopened(text: &str, seed: u64) -> World {
    let mut world = World::unopened(seed);
    let policy = DownsamplePolicy::read(&RawValue::Text(text.to_owned()));
    world.settings.retention.downsample = policy.unwrap();
    world
}

/// A day of a counter that begins anew, of a gauge and of something that stands still, a sample every half minute.
fn write(world: &mut World, day: i64) {
    let at = FIRST + day * DAY_MS;
    let ahead = (at - world.clock.now().0).max(0);
    world
        .clock
        .advance(Duration::from_millis(u64::try_from(ahead).unwrap()));
    for window in 0..12 {
        let start = at + window * WINDOW_MS;
        for number in 0..SERIES {
            let samples: Vec<(i64, f64)> = (0..240)
                .map(|row| sample(number, start + row * 30_000))
                .collect();
            world.floats(number, &samples);
        }
        world.clock.advance(Duration::from_secs(7200));
        if window % 6 == 5 {
            world.flush();
        }
    }
}

fn sample(number: u64, at: i64) -> (i64, f64) {
    let row = at.div_euclid(30_000);
    // What nobody can foresee, so that it takes room.
    let mixed = row.wrapping_mul(0x5851_f42d_4c95_7f2d);
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0x14c0_57b7_ef76_7815);
    let noise = (mixed ^ (mixed >> 32)).rem_euclid(1000);
    let value = match number {
        0 => row.rem_euclid(1700) * 1000 + noise,
        1 => noise,
        _ => 7,
    };
    (at, value as f64)
}

fn raw(world: &World, key: &Key) -> Samples {
    world.model.expect(key, TimeRange::ALL, true)
}

fn folded(samples: &Samples, to: Resolution) -> Samples {
    downsample(samples, to).unwrap_or_else(|| samples.clone())
}

/// What is read is what was written, or stands for it: folded to the end it is the same.
fn check(world: &World) {
    for number in 0..SERIES {
        let key = series(number);
        let raw = raw(world, &key);
        let got = world.read(&key.0, Vec::new(), TimeRange::ALL);
        let got = got.get(&key.1).expect("the series is there");
        for (at, value, start) in got.iter() {
            assert!(world.model.was_written(&key, at.0, &value, start.0));
        }
        assert_eq!(weight(got), weight(&raw), "series {number}");
        assert_eq!(
            folded(got, Resolution::Hour),
            folded(&raw, Resolution::Hour)
        );
    }
}

/// The resolutions of all blocks, and their bytes.
fn blocks(world: &World) -> (BTreeSet<Resolution>, u64) {
    let blocks = world.member().store().blocks();
    let all = blocks.iter().map(|(_, entry)| entry.level.resolution());
    (
        all.collect(),
        blocks.iter().map(|(_, entry)| entry.size).sum(),
    )
}

fn shown(world: &World) -> usize {
    (0..SERIES)
        .map(|number| {
            let key = series(number);
            let got = world.read(&key.0, Vec::new(), TimeRange::ALL);
            got.get(&key.1).map_or(0, Samples::len)
        })
        .sum()
}

/// Would catch blocks that stay as they are, or are rewritten too early or again and again, and one that loses what
/// its samples come to.
#[test]
fn blocks_become_coarser_with_their_age() {
    let mut world = downsampling("3d:5m,10d:1h", 61);
    write(&mut world, 0);
    world.clock.advance(Duration::from_secs(30 * 3600));
    world.merge();
    world.check_all();
    let (resolutions, bytes) = blocks(&world);
    assert_eq!(resolutions, [Resolution::Raw].into());
    let before = shown(&world);
    let mut last = bytes;
    for (days, resolution, part) in [(2, Resolution::FiveMinutes, 4), (8, Resolution::Hour, 20)] {
        world.clock.advance(DAY * days);
        assert!(world.merge() > 0);
        check(&world);
        let (resolutions, bytes) = blocks(&world);
        assert_eq!(resolutions, [resolution].into());
        assert!(bytes < last, "{bytes} of {last} bytes");
        assert!(
            shown(&world) * part < before,
            "{} of {before}",
            shown(&world)
        );
        last = bytes;
        assert_eq!(world.merge(), 0, "once is enough");
        world.open();
        check(&world);
    }
}

/// Without the setting nothing of it happens; what is downsampled stays so when the setting goes.
#[test]
fn nothing_is_downsampled_that_nobody_asked_for() {
    let mut world = World::new(62);
    write(&mut world, 0);
    world.clock.advance(DAY * 40);
    world.merge();
    world.check_all();
    assert_eq!(blocks(&world).0, [Resolution::Raw].into());
    let mut world = downsampling("3d:5m", 63);
    write(&mut world, 0);
    world.clock.advance(DAY * 5);
    world.merge();
    world.settings.retention.downsample = DownsamplePolicy::default();
    world.open();
    write(&mut world, 5);
    world.clock.advance(DAY * 40);
    world.merge();
    check(&world);
    let both = [Resolution::Raw, Resolution::FiveMinutes].into();
    assert_eq!(
        blocks(&world).0,
        both,
        "they are not merged with one another"
    );
}

/// Would catch blocks that a node of an older build cannot read, and a policy that is forgotten until all are of this one.
#[test]
fn nothing_is_downsampled_before_every_node_can_read_it() {
    let mut world = unopened("3d:5m", 68);
    let this = Build::default();
    world.settings.introduction.build.feature_level = DOWNSAMPLED_FROM - 1;
    world.open();
    write(&mut world, 0);
    world.clock.advance(DAY * 40);
    assert!(world.merge() > 0);
    world.check_all();
    let level = |world: &World| world.member().control_state().feature_level;
    assert_eq!(level(&world), DOWNSAMPLED_FROM - 1);
    assert_eq!(blocks(&world).0, [Resolution::Raw].into());
    world.settings.introduction.build = this.clone();
    world.open();
    assert_eq!(level(&world), this.feature_level);
    assert!(world.merge() > 0);
    check(&world);
    assert_eq!(blocks(&world).0, [Resolution::FiveMinutes].into());
    // What is folded now is nothing for the older build.
    world.settings.introduction.build.feature_level = DOWNSAMPLED_FROM - 1;
    let refused = world.try_open().unwrap_err().to_string();
    let used = format!("feature level {}", this.feature_level);
    assert!(refused.contains(&used), "{refused}");
    world.settings.introduction.build = this;
    world.open();
    check(&world);
}

/// Would catch dense pages that a node of an older build cannot read, and some that are never written.
#[test]
fn merged_pages_wait_for_every_node() {
    let mut world = World::unopened(29);
    let this = Build::default();
    world.settings.introduction.build.feature_level = DENSE_FROM - 1;
    world.open();
    let merged_day = |world: &mut World, day: i64| {
        write(world, day);
        world.clock.advance(Duration::from_secs(30 * 3600));
        assert!(world.merge() > 0);
        world.check_all();
        let of = FIRST + day * DAY_MS..FIRST + (day + 1) * DAY_MS;
        let blocks = world.member().store().blocks();
        let sizes = blocks
            .iter()
            .filter(|(_, one)| of.contains(&one.range.start.0));
        sizes.map(|(_, entry)| entry.size).sum::<u64>()
    };
    let quick = merged_day(&mut world, 0);
    world.settings.introduction.build = this;
    world.open();
    let dense = merged_day(&mut world, 1);
    // Most of so small a block is its index.
    assert!(dense * 20 < quick * 19, "{dense} of {quick} bytes");
    world.open();
    world.check_all();
}

/// A member that was away, or an import that is made again, brings back what was folded: it changes nothing. What is new
/// is kept.
#[test]
fn what_comes_back_late_is_not_counted_again() {
    let mut world = downsampling("3d:5m", 64);
    write(&mut world, 0);
    world.clock.advance(DAY * 5);
    world.merge();
    check(&world);
    let (count, _) = world.member().store().block_totals();
    for number in 0..SERIES {
        let again: Vec<(i64, f64)> = (0..240)
            .map(|row| sample(number, FIRST + row * 30_000))
            .collect();
        world.floats(number, &again);
    }
    check(&world);
    world.flush();
    check(&world);
    assert_eq!(
        world.member().store().block_totals().0,
        count,
        "it was all there"
    );
    // Between the last sample of the day and the end of its interval.
    let late = FIRST + DAY_MS - 1000;
    for number in 0..SERIES {
        let (_, value) = sample(number, FIRST + DAY_MS - 30_000);
        world.floats(number, &[(late, value)]);
    }
    check(&world);
    world.flush();
    check(&world);
    assert!(
        blocks(&world).0.contains(&Resolution::Raw),
        "late blocks wait"
    );
    // Enough of them become one, and it is no coarser than what it meets.
    for more in 0..12 {
        for number in 0..SERIES {
            let (_, value) = sample(number, FIRST + DAY_MS - 30_000);
            world.floats(number, &[(late + more, value)]);
        }
        world.flush();
        check(&world);
    }
    world.clock.advance(DAY * 30);
    world.merge();
    check(&world);
    world.open();
    check(&world);
}

/// Would catch deleted samples that are counted for ever in what stands for their interval, and those that come back where
/// a kept sample is seen from afar.
#[test]
fn what_is_deleted_is_not_folded() {
    let mut world = downsampling("3d:5m", 66);
    write(&mut world, 0);
    world.clock.advance(Duration::from_secs(30 * 3600));
    world.merge();
    let (owner, labels) = series(1);
    let name = labels.metric_name().unwrap();
    let deletion = Deletion {
        tenant: owner.clone(),
        matchers: vec![Matcher::new("__name__", MatchOp::Equal, name).unwrap()],
        range: TimeRange::new(
            TimestampMs(FIRST + 3_600_000 + 40_000),
            TimestampMs(FIRST + 3_600_000 + 200_000),
        ),
    };
    let deletes = world.member().deletes();
    let row = deletes.delete(&owner, deletion.matchers.clone(), deletion.range);
    assert!(row.unwrap().is_some());
    world.clock.advance(DAY * 4);
    world.merge();
    let raw_only = [Resolution::Raw].into();
    assert_eq!(blocks(&world).0, raw_only, "it may be taken back");
    world.member().deletes().clean(&owner).unwrap();
    world.merge();
    assert_eq!(blocks(&world).0, [Resolution::FiveMinutes].into());
    for number in 0..SERIES {
        let key = series(number);
        let mut left = raw(&world, &key);
        let before = left.len();
        deletion.apply(&key.1, &mut left);
        assert_eq!(left.len() < before, deletion.matches(&key.1));
        let got = world.read(&key.0, Vec::new(), TimeRange::ALL);
        assert_eq!(got[&key.1], folded(&left, Resolution::FiveMinutes));
    }
}

/// Would catch a deleted sample that is seen beyond its time, where the delete's range ends before what is asked for, and
/// gaps between kept samples while something of the series is deleted.
#[test]
fn what_is_deleted_is_not_seen_from_afar() {
    let mut world = downsampling("3d:1h", 67);
    write(&mut world, 0);
    world.clock.advance(DAY * 5);
    world.merge();
    assert_eq!(blocks(&world).0, [Resolution::Hour].into());
    let (owner, labels) = series(1);
    let name = labels.metric_name().unwrap();
    let matchers = vec![Matcher::new("__name__", MatchOp::Equal, name).unwrap()];
    let newest = |world: &World, at: i64| {
        let selection = Selection {
            tenant: owner.clone(),
            matchers: matchers.clone(),
            range: TimeRange::new(TimestampMs(at - 300_000), TimestampMs(at)),
        };
        let moments = Moments {
            first: TimestampMs(at),
            step_ms: 1,
            count: 1,
        };
        let source = world.member().source();
        let found = source.select_newest(&selection, moments, &context());
        let found = drain(found.unwrap().as_mut());
        found
            .get(&labels)
            .and_then(|samples| samples.timestamps.last().copied())
    };
    let (first, second) = (FIRST + 2 * 3_600_000, FIRST + 3 * 3_600_000);
    let far = 1_800_000;
    assert_eq!(newest(&world, first + far), Some(first));
    let range = TimeRange::new(TimestampMs(first - 1000), TimestampMs(first + 1000));
    let deletes = world.member().deletes();
    assert!(
        deletes
            .delete(&owner, matchers.clone(), range)
            .unwrap()
            .is_some()
    );
    assert_ne!(newest(&world, first + far), Some(first));
    assert_eq!(newest(&world, second + far), Some(second));
    let range = TimeRange::new(TimestampMs(second + far), TimestampMs(second + far + 1));
    assert!(
        deletes
            .delete(&owner, matchers.clone(), range)
            .unwrap()
            .is_some()
    );
    assert_eq!(
        newest(&world, second + far),
        Some(second),
        "of its own interval nothing is gone"
    );
}

/// The n-th step fails, for n = 1, 2, 3 and on, until all live.
#[test]
fn a_crash_at_any_step_of_downsampling_loses_nothing() {
    let mut died_at = BTreeSet::new();
    for step in 1.. {
        let mut world = downsampling("3d:5m", 65);
        write(&mut world, 0);
        world.clock.advance(Duration::from_secs(30 * 3600));
        world.merge();
        world.clock.advance(DAY * 3);
        let died = world.die_while_merging(step);
        check(&world);
        world.merge();
        check(&world);
        assert_eq!(blocks(&world).0, [Resolution::FiveMinutes].into());
        world.open();
        check(&world);
        match died {
            Some(step) if !died_at.insert(step) && died_at.len() > 5 => break,
            Some(_) => {}
            None => break,
        }
    }
    assert_eq!(died_at, MERGING.into());
}
