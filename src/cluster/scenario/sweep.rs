//! What the sweeper removes from the bucket, and what it never does.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::bucket::{HOUR, check_bucket, directory_of, entries, files, upload_all, world, write};
use super::restore::restore;
use super::world::*;
use crate::archive::{BucketFault, ClusterRecord, Named, Traffic, block_name, parse_name};
use crate::model::*;
use crate::runtime::{CancelToken, Clock};
use crate::store::RetentionSettings;

pub(super) fn hours(number: u64) -> Duration {
    Duration::from_secs(number * 3600)
}

/// As the worker does, once.
pub(super) fn sweep(world: &World) -> Option<String> {
    let sweeper = world.member().upkeep().sweeper();
    sweeper.round(&CancelToken::new());
    sweeper.trouble()
}

/// Half an hour later, again and again for so long.
fn sweep_for(world: &World, time: Duration) {
    let step = Duration::from_secs(1800);
    for _ in 0..time.as_secs() / step.as_secs() {
        world.clock.advance(step);
        assert_eq!(sweep(world), None);
    }
}

/// The digests of the blocks that lie there.
pub(super) fn there(bucket: &Path) -> BTreeSet<Digest> {
    let blocks_of = |path: PathBuf| {
        let name = path.strip_prefix(bucket).unwrap().to_str().unwrap();
        match parse_name(name) {
            Some(Named::Block(block)) => vec![block.digest],
            Some(Named::Pack(_)) => {
                let directory = directory_of(&fs::read(&path).unwrap()).unwrap();
                directory.named().map(|block| block.digest).collect()
            }
            _ => vec![],
        }
    };
    files(bucket).into_iter().flat_map(blocks_of).collect()
}

pub(super) fn named(world: &World) -> BTreeSet<Digest> {
    let entries = entries(world).into_iter();
    entries.map(|(_, entry)| entry.digest).collect()
}

/// A node whose sealed blocks are in the bucket, and have been merged since; what was merged is
/// there too.
pub(super) fn merged(seed: u64, bucket: &Path) -> World {
    merged_of(seed, bucket, write)
}

fn merged_of(seed: u64, bucket: &Path, write: impl Fn(&mut World)) -> World {
    let mut world = world(seed, bucket);
    world.open();
    write(&mut world);
    world.flush();
    upload_all(&world);
    world.clock.advance(hours(40));
    assert!(world.merge() > 0);
    upload_all(&world);
    world
}

/// Would catch an input that goes before its delay, one that stays for ever, and a live block that
/// goes; a restore from what is left gives every sample.
#[test]
fn what_was_merged_or_has_expired_goes_after_a_day_and_nothing_else() {
    let bucket = tempfile::tempdir().unwrap();
    let mut world = merged(31, bucket.path());
    let all = there(bucket.path());
    assert!(all.len() > named(&world).len() + 10);
    assert_eq!(sweep(&world), None);
    sweep_for(&world, hours(23));
    assert_eq!(there(bucket.path()), all, "a day has not passed");
    // The list survives a change of the leader.
    world.open();
    sweep_for(&world, hours(8));
    assert_eq!(there(bucket.path()), named(&world));
    check_bucket(&world, bucket.path());
    // What has expired goes like it.
    world.retain(RetentionSettings {
        total: Some(hours(60)),
        ..RetentionSettings::default()
    });
    upload_all(&world);
    let left = named(&world);
    assert!(left.len() < there(bucket.path()).len());
    sweep_for(&world, hours(40));
    assert_eq!(there(bucket.path()), left);
    world.check_all();
    let mut next = super::bucket::world(32, bucket.path());
    next.clock.advance(Duration::from_millis(
        u64::try_from(world.clock.now().0 - START).unwrap(),
    ));
    let restored = restore(&next, usize::MAX).unwrap();
    assert_eq!(restored.complaints, Vec::<String>::new());
    next.model = std::mem::take(&mut world.model);
    next.open();
    next.check_all();
    // The old one sweeps no more: whatever it thinks of the bucket, it is another's.
    let before = files(bucket.path());
    world.clock.advance(hours(300));
    assert_eq!(sweep(&world), None);
    assert_eq!(files(bucket.path()), before);
}

/// Objects that Cairn did not make, of another cluster, of names almost right; blocks that a
/// sealer that slept may still commit. Would catch a sweeper that believes a prefix.
#[test]
fn what_is_not_its_own_or_may_come_stays_for_ever() {
    let bucket = tempfile::tempdir().unwrap();
    let world = merged(33, bucket.path());
    let cluster = world.member().control_state().cluster.unwrap().0;
    let (arc, entry) = entries(&world).remove(0);
    let strange = |number: u8| BlockEntry {
        digest: Digest([number; 32]),
        ..entry.clone()
    };
    let coming = BlockEntry {
        range: Window::of(TimestampMs(START + 10 * HOUR)).range(),
        level: Level(0),
        round: 1,
        ..strange(1)
    };
    let own = block_name(cluster, arc, &coming);
    let stay = [
        own.clone(),
        block_name(cluster + 1, arc, &strange(2)),
        format!("{own}.bak"),
        format!("{cluster:032x}/blocks/notes.txt"),
        format!("{cluster:032x}/packs/{}", Digest([3; 32])),
        format!("{cluster:032x}/manifests/{arc}/{}", Digest([4; 32])),
        "holiday.jpg".to_owned(),
    ];
    let goes = block_name(cluster, arc, &strange(5));
    for name in stay.iter().chain([&goes]) {
        let path = bucket.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "x").unwrap();
        let file = fs::File::options().write(true).open(&path).unwrap();
        let since = Duration::from_millis(u64::try_from(START).unwrap());
        file.set_modified(std::time::UNIX_EPOCH + since).unwrap();
    }
    assert_eq!(sweep(&world), None);
    sweep_for(&world, hours(100));
    for name in &stay {
        assert!(bucket.path().join(name).exists(), "{name}");
    }
    assert!(!bucket.path().join(&goes).exists(), "a leftover of its own");
    check_bucket(&world, bucket.path());
}

/// An input whose outputs are not in the bucket, or not in the newest copy of the catalog there, is
/// what a restore would need.
#[test]
fn an_input_stays_until_a_restore_does_without_it() {
    let bucket = tempfile::tempdir().unwrap();
    let mut world = world(34, bucket.path());
    world.open();
    write(&mut world);
    world.flush();
    upload_all(&world);
    world.clock.advance(hours(40));
    assert!(world.merge() > 0);
    let before = there(bucket.path());
    // Nothing is uploaded for days.
    assert_eq!(sweep(&world), None);
    sweep_for(&world, hours(80));
    assert_eq!(there(bucket.path()), before);
    // The outputs are, but copies of the catalog are lost or damaged.
    upload_all(&world);
    let cluster = world.member().control_state().cluster.unwrap().0;
    let catalogs = files(&bucket.path().join(format!("{cluster:032x}/catalog")));
    for (number, path) in catalogs.iter().enumerate() {
        let mut bytes = fs::read(path).unwrap();
        if number % 2 == 0 {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(path, bytes).unwrap();
        } else {
            fs::remove_file(path).unwrap();
        }
    }
    let before = there(bucket.path());
    sweep_for(&world, hours(80));
    assert_eq!(there(bucket.path()), before);
    world.open();
    upload_all(&world);
    sweep_for(&world, hours(8));
    assert_eq!(there(bucket.path()), named(&world));
}

/// A clock that is wrong, here or there; a mark of a restore; a bucket that was exchanged.
#[test]
fn nothing_goes_while_a_clock_is_wrong_or_the_bucket_is_anothers() {
    const YEAR: i64 = 365 * 24 * HOUR;
    let bucket = tempfile::tempdir().unwrap();
    let world = merged(35, bucket.path());
    assert_eq!(sweep(&world), None);
    let before = there(bucket.path());
    let archive = world.member().upkeep().uploader().bucket();
    for ahead in [YEAR, -YEAR, HOUR, -HOUR] {
        archive.faults.set_ahead_ms(ahead);
        world.clock.advance(hours(30));
        let trouble = sweep(&world).unwrap();
        assert!(trouble.contains("clocks"), "{trouble}");
        assert_eq!(there(bucket.path()), before);
    }
    archive.faults.set_ahead_ms(0);
    let record = bucket.path().join("cluster.json");
    let own = fs::read(&record).unwrap();
    let cluster = world.member().control_state().cluster.unwrap().0;
    let restored = ClusterRecord {
        cluster: 99,
        ancestors: vec![cluster],
    };
    let other = ClusterRecord {
        cluster: 99,
        ancestors: Vec::new(),
    };
    for bytes in [Some(restored.encode()), Some(other.encode()), None] {
        match bytes {
            Some(bytes) => fs::write(&record, bytes).unwrap(),
            None => fs::remove_file(&record).unwrap(),
        }
        world.clock.advance(hours(30));
        sweep(&world);
        assert_eq!(there(bucket.path()), before);
    }
    fs::write(&record, own).unwrap();
    sweep_for(&world, hours(8));
    assert_eq!(there(bucket.path()), named(&world));
}

/// Every request fails once, and the mark of a restore appears before any batch. Would catch a
/// failure after which a live block is gone, or nothing is removed any more.
#[test]
fn whichever_request_fails_only_leftovers_go() {
    for nth in 1.. {
        let bucket = tempfile::tempdir().unwrap();
        let world = merged_of(36, bucket.path(), |world| {
            world.floats(1, &[(START - 5 * HOUR, 1.0), (START - HOUR, 2.0)]);
            world.floats(1, &[(START - 9 * HOUR, 1.0)]);
        });
        let met = Arc::new(AtomicUsize::new(0));
        let meet = met.clone();
        let archive = world.member().upkeep().uploader().bucket();
        archive
            .faults
            .set(Some(Box::new(move |_: Traffic, _: &str| {
                (meet.fetch_add(1, Ordering::Relaxed) + 1 == nth).then_some(BucketFault::Fail)
            })));
        assert!(there(bucket.path()).len() > named(&world).len());
        for _ in 0..20 {
            world.clock.advance(hours(3));
            sweep(&world);
            assert!(named(&world).is_subset(&there(bucket.path())));
        }
        assert_eq!(there(bucket.path()), named(&world), "request {nth}");
        if met.load(Ordering::Relaxed) < nth || nth > 12 {
            assert!(nth > 10, "few requests were made: {nth}");
            return;
        }
    }
}

/// The list of leftovers is no authority: damaged or forged, it makes nobody remove what is needed.
#[test]
fn a_forged_list_removes_nothing_that_is_needed() {
    let bucket = tempfile::tempdir().unwrap();
    let world = merged(38, bucket.path());
    assert_eq!(sweep(&world), None);
    let cluster = world.member().control_state().cluster.unwrap().0;
    let list = bucket.path().join(format!("{cluster:032x}/leftovers.json"));
    let all = entries(&world).into_iter().map(|(arc, entry)| {
        let name = block_name(cluster, arc, &entry);
        format!("{{\"name\":\"{name}\",\"since\":0,\"size\":1}}")
    });
    let all: Vec<String> = all.collect();
    let forged = format!("{{\"format\":1,\"leftovers\":[{}]}}", all.join(","));
    for text in [forged.as_str(), "", "null", "{\"format\":9}"] {
        fs::write(&list, text).unwrap();
        sweep_for(&world, hours(12));
        assert!(named(&world).is_subset(&there(bucket.path())));
    }
    sweep_for(&world, hours(40));
    assert_eq!(there(bucket.path()), named(&world));
}

/// A cluster that was restored removes what lies below its ancestor's name, once it has been for a
/// week and nothing refers to it. Would catch an object that is still needed, one that came after the
/// restore, and anything that goes within the week.
#[test]
fn an_heir_removes_what_its_ancestor_left_and_nobody_needs() {
    let bucket = tempfile::tempdir().unwrap();
    let mut world = world(39, bucket.path());
    world.open();
    write(&mut world);
    world.flush();
    upload_all(&world);
    let ancestor = world.member().control_state().cluster.unwrap().0;
    let mut next = super::bucket::world(40, bucket.path());
    next.clock.advance(hours(1));
    let restored = restore(&next, usize::MAX).unwrap();
    assert_eq!(restored.complaints, Vec::<String>::new());
    next.model = std::mem::take(&mut world.model);
    next.open();
    // An old node that had not heard of it puts something afterwards.
    let (arc, entry) = entries(&next).remove(0);
    let late = BlockEntry {
        digest: Digest([7; 32]),
        ..entry
    };
    let late = bucket.path().join(block_name(ancestor, arc, &late));
    fs::create_dir_all(late.parent().unwrap()).unwrap();
    fs::write(&late, "x").unwrap();
    let file = fs::File::options().write(true).open(&late).unwrap();
    let since = Duration::from_millis(u64::try_from(next.clock.now().0 + HOUR).unwrap());
    file.set_modified(std::time::UNIX_EPOCH + since).unwrap();
    let before = inherited(bucket.path(), ancestor);
    assert!(before.len() > 3);
    next.clock.advance(hours(40));
    assert!(next.merge() > 0);
    upload_all(&next);
    let needed = needed_of(&next, bucket.path(), ancestor);
    // Five days: what is its own may go, the ancestor's not.
    assert_eq!(sweep(&next), None);
    sweep_for(&next, hours(80));
    assert_eq!(inherited(bucket.path(), ancestor), before);
    sweep_for(&next, hours(100));
    let mut left = needed;
    left.insert(late);
    assert_eq!(inherited(bucket.path(), ancestor), left);
    next.check_all();
    // And what is left is enough for another.
    let mut heir = super::bucket::world(41, bucket.path());
    let ahead = u64::try_from(next.clock.now().0 - START).unwrap();
    heir.clock.advance(Duration::from_millis(ahead));
    restore(&heir, usize::MAX).unwrap();
    heir.model = std::mem::take(&mut next.model);
    heir.open();
    heir.check_all();
}

/// The objects with blocks below a cluster's name.
fn inherited(bucket: &Path, cluster: u128) -> BTreeSet<PathBuf> {
    let below = bucket.join(format!("{cluster:032x}"));
    let folders = ["blocks", "packs"].map(|folder| below.join(folder));
    let there = folders.iter().filter(|folder| folder.exists());
    there.flat_map(|folder| files(folder)).collect()
}

/// Those of them in which the catalog has something.
fn needed_of(world: &World, bucket: &Path, cluster: u128) -> BTreeSet<PathBuf> {
    let named = named(world);
    let all = inherited(bucket, cluster).into_iter();
    all.filter(|path| {
        let name = path.strip_prefix(bucket).unwrap().to_str().unwrap();
        match parse_name(name) {
            Some(Named::Block(block)) => named.contains(&block.digest),
            Some(Named::Pack(_)) => {
                let directory = directory_of(&fs::read(path).unwrap()).unwrap();
                directory.named().any(|block| named.contains(&block.digest))
            }
            _ => false,
        }
    })
    .collect()
}
