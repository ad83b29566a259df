//! All disks are lost: what the bucket alone gives back, whole, damaged and interrupted.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::bucket::{HOUR, directory_of, entries, files, round, upload_all, world, write};
use super::world::*;
use super::world_of;
use crate::archive::{ArchiveMetrics, BucketFault, Named, parse_name};
use crate::cluster::Error;
use crate::cluster::blocks::{Archive, RestoreExtent, Restored, restore_on};
use crate::cluster::control::{Command, Outcome, Split};
use crate::model::*;
use crate::runtime::{Chance, Clock, SeededChance};
use crate::store::DataDir;

/// `cairn restore` on a node that has not been started; at most so many requests are answered.
pub(super) fn restore(world: &World, answered: usize) -> Result<Restored, Error> {
    restore_to(world, answered, RestoreExtent::Blocks)
}

pub(super) fn restore_to(
    world: &World,
    answered: usize,
    extent: RestoreExtent,
) -> Result<Restored, Error> {
    let chance = Arc::new(SeededChance::new(world.chance.next_u64()));
    let directory = DataDir::open(&world.path().join("node"), chance.as_ref()).unwrap();
    let around = world_of(world.clock.clone(), chance);
    let clock: Arc<dyn Clock> = world.clock.clone();
    let metrics = ArchiveMetrics::default();
    let settings = &world.settings;
    let archive = Archive::open(&settings.archive, &clock, &around.runtime, metrics);
    let archive = archive.unwrap().unwrap();
    let mut left = answered;
    archive
        .bucket()
        .faults
        .set(Some(Box::new(move |_, _: &str| {
            left = left.saturating_sub(1);
            (left == 0).then_some(BucketFault::Fail)
        })));
    let engine = world.engine.clone();
    restore_on(
        engine,
        directory,
        settings,
        &around,
        &archive,
        extent,
        &|_| {},
    )
}

/// A node that has sealed and uploaded everything that was written to it.
fn uploaded(seed: u64, bucket: &Path) -> World {
    let mut world = world(seed, bucket);
    world.open();
    write(&mut world);
    for step in 0..40 {
        let samples: Vec<_> = (0..20).map(|_| world.any_sample()).collect();
        world.append(&samples);
        if step % 16 == 15 {
            world.flush();
        }
    }
    world.append_metadata(&tenant(1), "metric_1", "one");
    world.flush();
    upload_all(&world);
    world
}

/// The disk is lost; a new node is made from the bucket, and again from what that one put there.
/// Would catch a block that a restore forgets, and blocks of an ancestor that are not found again.
#[test]
fn the_bucket_alone_is_enough() {
    let bucket = tempfile::tempdir().unwrap();
    let mut world = uploaded(10, bucket.path());
    for generation in 0..3 {
        let blocks = entries(&world);
        let old = world.member().control_state().cluster.unwrap();
        let mut next = super::bucket::world(11 + generation, bucket.path());
        let restored = restore(&next, usize::MAX).unwrap();
        assert_eq!(restored.complaints, Vec::<String>::new());
        assert_eq!(
            (restored.blocks, restored.adopted),
            (blocks.len() as u64, 0)
        );
        assert_eq!(restored.from, old.to_string());
        // The old node, should it still live, puts nothing there any more.
        world.floats(1, &[(START - 99 * HOUR, 1.0)]);
        world.flush();
        let before = files(bucket.path());
        world.clock.advance(Duration::from_secs(3600));
        round(&world);
        let trouble = world.member().cluster_status().trouble.join("\n");
        assert!(trouble.contains("was restored"), "{trouble}");
        assert_eq!(files(bucket.path()), before);
        next.model = std::mem::take(&mut world.model);
        forget(&mut next.model, START - 99 * HOUR);
        next.open();
        assert_eq!(entries(&next), blocks);
        next.check_all();
        // Life goes on, and reaches the bucket too.
        for _ in 0..10 {
            let samples: Vec<_> = (0..20).map(|_| next.any_sample()).collect();
            next.append(&samples);
        }
        next.flush();
        upload_all(&next);
        next.check_all();
        next.crash();
        next.check_all();
        world = next;
    }
}

/// Without `--all` nothing is fetched: every block is read in the bucket, also those that lie below
/// an ancestor's name, and what is sealed from then on is here. Interrupted, it goes on.
#[test]
fn blocks_may_stay_in_the_bucket() {
    let bucket = tempfile::tempdir().unwrap();
    let mut world = uploaded(50, bucket.path());
    for generation in 0..2 {
        let blocks = entries(&world);
        let mut next = super::bucket::world(51 + generation, bucket.path());
        for answered in [5, 9, 30] {
            drop(restore_to(&next, answered, RestoreExtent::Catalog).unwrap_err());
        }
        let restored = restore_to(&next, usize::MAX, RestoreExtent::Catalog).unwrap();
        assert_eq!(restored.blocks, blocks.len() as u64);
        let here = || files(&next.path().join("blocks")).len();
        assert_eq!(here(), 0);
        next.model = std::mem::take(&mut world.model);
        next.open();
        assert_eq!(entries(&next), blocks);
        next.check_all();
        assert_eq!(files(&next.path().join("blocks")).len(), 0);
        assert_eq!(files(&next.path().join("node/staged")).len(), 0);
        for _ in 0..10 {
            let samples: Vec<_> = (0..20).map(|_| next.any_sample()).collect();
            next.append(&samples);
        }
        next.flush();
        upload_all(&next);
        next.check_all();
        assert!(!files(&next.path().join("blocks")).is_empty());
        next.crash();
        next.check_all();
        world = next;
    }
}

/// Takes back what was written after the last upload.
fn forget(model: &mut Model, at: i64) {
    for samples in model.samples.values_mut() {
        samples.remove(&at);
    }
}

/// Some partitions were split before the disk was lost, some twice, and of some only one part has been
/// sealed or merged since. Would catch a catalog of the whole that is taken for the part's, a
/// part that has none and is restored empty, and blocks of the whole that only one part gets.
#[test]
fn partitions_that_were_split_come_back_as_their_parts() {
    for (catalogs, copied) in [(true, true), (true, false), (false, true)] {
        println!("catalogs: {catalogs}, copied: {copied}");
        let bucket = tempfile::tempdir().unwrap();
        let mut world = uploaded(40, bucket.path());
        for round in 0..3 {
            let state = world.member().control_state();
            let some = state.partitions.iter().enumerate();
            for (_, (arc, partition)) in some.filter(|(at, _)| at % 3 == round) {
                let split = Command::Split(Split {
                    arc: *arc,
                    epoch: partition.epoch,
                });
                let outcome = world.member().control().propose(&split).unwrap();
                assert_eq!(outcome, Outcome::Applied);
            }
            // A node that is alone divides what it holds when it starts.
            world.crash();
            world.check_all();
            if round < 2 {
                for _ in 0..3 {
                    let samples: Vec<_> = (0..4).map(|_| world.any_sample()).collect();
                    world.append(&samples);
                }
                world.flush();
                // Without a catalog only what was sealed is found again.
                if catalogs {
                    world.merge();
                }
                upload_all(&world);
            }
        }
        if copied {
            world.flush();
            upload_all(&world);
        }
        if !catalogs {
            let cluster = world.member().control_state().cluster.unwrap();
            let below = bucket.path().join(cluster.to_string());
            fs::remove_dir_all(below.join("catalog")).unwrap();
        }
        let blocks = entries(&world);
        let mut next = super::bucket::world(41, bucket.path());
        let restored = restore(&next, usize::MAX).unwrap();
        assert_eq!(restored.complaints, Vec::<String>::new());
        next.model = std::mem::take(&mut world.model);
        next.open();
        next.check_all();
        if catalogs && copied {
            // Perhaps with what one part had merged already, and the other still names.
            let found = entries(&next);
            let lost = blocks.iter().filter(|one| !found.contains(one)).count();
            assert_eq!(lost, 0, "of {} entries", blocks.len());
        }
        next.flush();
        next.check_all();
    }
}

/// Every request fails once: the same command goes on where it was, and nothing is begun before
/// everything is here.
#[test]
fn an_interrupted_restore_goes_on() {
    let bucket = tempfile::tempdir().unwrap();
    let mut world = world(20, bucket.path());
    world.open();
    world.floats(1, &[(START - 5 * HOUR, 1.0), (START - HOUR, 2.0)]);
    world.floats(2, &[(START - 5 * HOUR, 1.0)]);
    world.flush();
    upload_all(&world);
    let mut next = super::bucket::world(21, bucket.path());
    let mut tries = 0;
    for answered in 1.. {
        match restore(&next, answered) {
            Ok(_) => break,
            Err(error) => assert!(error.to_string().contains("a test says so"), "{error}"),
        }
        tries += 1;
    }
    assert!(tries > 8, "{tries}");
    next.model = std::mem::take(&mut world.model);
    // A file that is gone all the same is fetched at the start.
    fs::remove_dir_all(next.path().join("node/staged")).unwrap();
    next.open();
    next.check_all();
    next.member = None;
    let again = restore(&next, usize::MAX).unwrap_err().to_string();
    assert!(again.contains("holds a cluster already"), "{again}");
}

/// Without any catalog the blocks say themselves what they are. Would catch a block that is lost
/// because a node died between putting it and recording it.
#[test]
fn blocks_that_no_catalog_names_are_adopted() {
    let bucket = tempfile::tempdir().unwrap();
    let mut world = uploaded(30, bucket.path());
    let blocks = entries(&world).len() as u64;
    let cluster = world.member().control_state().cluster.unwrap();
    let below = bucket.path().join(cluster.to_string());
    fs::remove_dir_all(below.join("catalog")).unwrap();
    for folder in ["blocks", "packs"] {
        fs::create_dir_all(below.join(folder)).unwrap();
        fs::write(below.join(folder).join("readme.txt"), "not ours").unwrap();
    }
    let mut next = super::bucket::world(31, bucket.path());
    let restored = restore(&next, usize::MAX).unwrap();
    assert_eq!((restored.blocks, restored.adopted), (blocks, blocks));
    assert_eq!(restored.complaints, Vec::<String>::new());
    next.model = std::mem::take(&mut world.model);
    next.open();
    next.check_all();
}

/// One object after the other is damaged: what is in it is named as lost, everything else is
/// there, and nothing is served that nobody wrote.
#[test]
fn a_damaged_object_is_named_and_costs_nothing_else() {
    let bucket = tempfile::tempdir().unwrap();
    let mut world = uploaded(40, bucket.path());
    let model = std::mem::take(&mut world.model);
    let whole = entries(&world).len();
    let all = files(bucket.path());
    // Some of all objects.
    for (seed, path) in (100..).zip(all.iter().rev().step_by(all.len() / 7)) {
        let name = path.strip_prefix(bucket.path()).unwrap().to_str().unwrap();
        let good = fs::read(path).unwrap();
        for damage in [BucketFault::Cut, BucketFault::Flip, BucketFault::Lose] {
            match damage {
                BucketFault::Cut => fs::write(path, &good[..good.len() / 2]).unwrap(),
                BucketFault::Lose => fs::remove_file(path).unwrap(),
                _ => {
                    let mut bad = good.clone();
                    bad[good.len() / 3] ^= 0x10;
                    fs::write(path, bad).unwrap();
                }
            }
            let record = fs::read(bucket.path().join("cluster.json")).ok();
            let mut next = super::bucket::world(seed, bucket.path());
            match (parse_name(name), restore(&next, usize::MAX)) {
                (Some(Named::Block(_)), Ok(restored)) => {
                    assert_eq!(restored.complaints.len(), 1, "{:?}", restored.complaints);
                    next.open();
                    assert_eq!(entries(&next).len() + 1, whole);
                    check_nothing_invented(&next, &model);
                }
                // The other blocks of a pack are there, and those whose bytes were not hit.
                (Some(Named::Pack(_)), Ok(restored)) => {
                    assert!(!restored.complaints.is_empty(), "{name} {damage:?}");
                    next.open();
                    let in_pack = directory_of(&good).unwrap().blocks.len();
                    let left = entries(&next).len();
                    assert!(
                        left + in_pack >= whole && (left < whole || damage == BucketFault::Flip)
                    );
                    check_nothing_invented(&next, &model);
                }
                // Its blocks are found without it.
                (Some(Named::Catalog { .. }), Ok(restored)) => {
                    assert_eq!(restored.blocks, whole as u64, "{name} {damage:?}");
                }
                (Some(Named::Record), Err(error)) => {
                    assert!(error.to_string().contains("cluster.json"), "{error}");
                }
                (named, outcome) => panic!("{named:?} {damage:?}: {outcome:?}"),
            }
            fs::write(path, &good).unwrap();
            if let Some(record) = record {
                fs::write(bucket.path().join("cluster.json"), record).unwrap();
            }
        }
    }
}

fn check_nothing_invented(world: &World, model: &Model) {
    for number in 0..2 {
        let got = world.read(&tenant(number), Vec::new(), TimeRange::ALL);
        for (labels, samples) in got {
            let key = (tenant(number), labels);
            for (at, value, start) in samples.iter() {
                assert!(model.was_written(&key, at.0, &value, start.0), "{key:?}");
            }
        }
    }
}

/// Would catch a restored cluster that takes the blocks of its ancestor for damaged when it merges
/// them, and so keeps them as they are for ever.
#[test]
fn a_restored_cluster_merges_what_it_took_over() {
    let bucket = tempfile::tempdir().unwrap();
    let mut world = world(60, bucket.path());
    world.open();
    write(&mut world);
    world.flush();
    upload_all(&world);
    let mut next = super::bucket::world(61, bucket.path());
    restore(&next, usize::MAX).unwrap();
    next.model = std::mem::take(&mut world.model);
    next.open();
    next.clock.advance(Duration::from_secs(40 * 3600));
    let before = entries(&next).len();
    assert!(next.merge() > 0 && entries(&next).len() < before);
    next.check_all();
}
