//! Packs of which little is needed any more: what is left in them is rewritten, so that they go; with a
//! delete whatever shares an object with what is deleted.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::bucket::{HOUR, check_bucket, directory_of, entries, packs, upload_all, world};
use super::restore::restore;
use super::sweep::{hours, named, sweep, there};
use super::world::*;
use crate::archive::{BucketFault, PackDirectory};
use crate::cluster::merging::{Merges, Pace};
use crate::model::*;
use crate::runtime::{CancelToken, Clock};

/// A pack of one window's blocks, of which some days later those of so many partitions are merged away.
struct Shared {
    world: World,
    pack: PathBuf,
    directory: PackDirectory,
    /// One series in each of its partitions, in the order of these.
    series: Vec<u64>,
}

fn arcs(world: &World) -> BTreeSet<RingArc> {
    entries(world).into_iter().map(|(arc, _)| arc).collect()
}

fn shared(seed: u64, bucket: &Path, partitions: usize, merged: usize) -> Shared {
    let mut world = world(seed, bucket);
    world.open();
    let day = START - START.rem_euclid(24 * HOUR);
    let (mut series, mut next) = (Vec::new(), 0);
    while series.len() < partitions {
        let before = arcs(&world).len();
        world.floats(next, &[(day + HOUR, 1.0)]);
        world.flush();
        if arcs(&world).len() > before {
            series.push(next);
        }
        next += 1;
    }
    // Blocks of other windows of the day, with which those of the first are merged.
    for number in series.iter().take(merged) {
        world.floats(*number, &[(day + 3 * HOUR, 2.0)]);
    }
    world.flush();
    upload_all(&world);
    let all = packs(bucket).into_iter();
    let mut all = all.map(|(path, bytes)| (path, directory_of(&bytes).unwrap()));
    let first = Window::of(TimestampMs(day + HOUR)).range();
    let (pack, directory) = all.find(|(_, one)| one.range == first).unwrap();
    Shared {
        world,
        pack,
        directory,
        series,
    }
}

impl Shared {
    fn live(&self) -> usize {
        let named = named(&self.world);
        let blocks = self.directory.named();
        blocks.filter(|block| named.contains(&block.digest)).count()
    }

    /// As the worker does, until nothing is to do.
    fn merge(&self) -> usize {
        self.world.merge()
    }

    fn sweep_for_days(&self, days: u64) {
        for _ in 0..4 * days {
            self.world.clock.advance(hours(6));
            assert_eq!(sweep(&self.world), None);
        }
    }
}

/// Would catch a pack that stays for ever for the sake of one of its blocks, one that is rewritten while the
/// merges of its day are still to come, and a sample that is lost on the way.
#[test]
fn what_is_left_of_a_mostly_dead_pack_leaves_it() {
    let bucket = tempfile::tempdir().unwrap();
    let mut shared = shared(300, bucket.path(), 6, 4);
    assert_eq!(shared.directory.blocks.len(), 6);
    shared.world.clock.advance(hours(40));
    assert_eq!(shared.merge(), 4, "the merges of the day and nothing else");
    upload_all(&shared.world);
    assert_eq!(shared.live(), 2);
    shared.world.clock.advance(hours(7));
    assert_eq!(shared.merge(), 0, "others may be merged yet");
    shared.sweep_for_days(2);
    assert!(shared.pack.exists());
    assert_eq!(shared.merge(), 2, "those that are left");
    assert_eq!(shared.merge(), 0, "once is enough");
    assert_eq!(shared.live(), 0);
    upload_all(&shared.world);
    check_bucket(&shared.world, bucket.path());
    shared.sweep_for_days(2);
    assert!(!shared.pack.exists());
    assert_eq!(there(bucket.path()), named(&shared.world));
    shared.world.check_all();
    let mut next = world(301, bucket.path());
    let passed = shared.world.clock.now().0 - START;
    next.clock
        .advance(Duration::from_millis(u64::try_from(passed).unwrap()));
    let restored = restore(&next, usize::MAX).unwrap();
    assert_eq!(restored.complaints, Vec::<String>::new());
    next.model = std::mem::take(&mut shared.world.model);
    next.open();
    next.check_all();
}

/// Would catch bytes that are written again and again for little.
#[test]
fn a_pack_of_which_half_is_needed_stays() {
    let bucket = tempfile::tempdir().unwrap();
    let shared = shared(302, bucket.path(), 6, 2);
    shared.world.clock.advance(hours(40));
    assert_eq!(shared.merge(), 2);
    upload_all(&shared.world);
    for _ in 0..4 {
        shared.sweep_for_days(2);
        assert_eq!(shared.merge(), 0);
    }
    assert!(shared.pack.exists());
    assert_eq!(shared.live(), 4);
    check_bucket(&shared.world, bucket.path());
}

/// Deletes one series of all that are written, for good.
fn delete(world: &World, number: u64) {
    let (owner, labels) = series(number);
    let is_it = Matcher::new("number", MatchOp::Equal, labels.get("number").unwrap());
    let deletes = world.member().deletes();
    let row = deletes.delete(&owner, vec![is_it.unwrap()], TimeRange::ALL);
    row.unwrap().unwrap();
    deletes.clean(&owner).unwrap();
}

fn deletes_stand(world: &World) -> bool {
    world.member().deletes().pass(&CancelToken::new());
    !world.member().control_state().tombstones.is_empty()
}

/// Would catch a deleted series that stays in the bucket because others share its object, and a delete that is
/// said to be over while it does.
#[test]
fn what_is_deleted_leaves_the_bucket_with_all_that_shares_its_object() {
    let bucket = tempfile::tempdir().unwrap();
    let mut shared = shared(303, bucket.path(), 6, 0);
    let number = shared.series[3];
    delete(&shared.world, number);
    // While the bucket is away nobody can say what else lies there.
    let away = Arc::new(AtomicBool::new(true));
    let is_away = Arc::clone(&away);
    let objects = shared.world.member().upkeep().uploader().bucket();
    objects.faults.set(Some(Box::new(move |_, _: &str| {
        is_away.load(Ordering::Relaxed).then_some(BucketFault::Fail)
    })));
    let merger = shared.world.member().merger();
    let pass = || merger.pass(Pace::Fast, &CancelToken::new());
    assert_eq!(pass().merged, 1, "the block that holds it");
    assert_eq!(pass(), Merges::default());
    assert!(deletes_stand(&shared.world), "its pack is still needed");
    away.store(false, Ordering::Relaxed);
    assert!(deletes_stand(&shared.world));
    assert_eq!(shared.live(), 5);
    assert_eq!(shared.merge(), 5);
    assert!(!deletes_stand(&shared.world));
    let gone = shared.directory.named().map(|block| block.digest);
    let gone: BTreeSet<Digest> = gone.collect();
    upload_all(&shared.world);
    shared.sweep_for_days(2);
    assert!(there(bucket.path()).is_disjoint(&gone));
    assert!(!shared.pack.exists());
    assert_eq!(there(bucket.path()), named(&shared.world));
    shared.world.model.samples.remove(&series(number));
    shared.world.check_all();
    // Nothing is left to do for it.
    assert_eq!(shared.merge(), 0);
}

/// The directory of the pack is damaged, and its blocks are not. Would catch a delete that stands for ever.
#[test]
fn a_damaged_directory_holds_no_delete_up() {
    let bucket = tempfile::tempdir().unwrap();
    let shared = shared(304, bucket.path(), 3, 0);
    let mut bytes = std::fs::read(&shared.pack).unwrap();
    let len = bytes.len();
    bytes[len - 50] ^= 1;
    std::fs::write(&shared.pack, &bytes).unwrap();
    delete(&shared.world, shared.series[0]);
    assert_eq!(shared.merge(), 1);
    assert!(!deletes_stand(&shared.world));
}
