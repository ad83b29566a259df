//! What lies in the bucket is put again without losing what nobody has any more, and says for which
//! partition it was built.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::bucket::{HOUR, check_bucket, directory_of, entries, packs, round, upload_all, world};
use super::restore::restore;
use super::world::*;
use crate::archive::{BucketFault, PackDirectory, Traffic};
use crate::cluster::control::{Command, Outcome, Split};
use crate::model::*;
use crate::runtime::CancelToken;

/// A pack of some partitions' blocks, of which one has been merged and is in no catalog any more.
fn shared(seed: u64, bucket: &Path) -> (World, PathBuf, Vec<u8>) {
    let mut world = world(seed, bucket);
    world.open();
    let day = START - START.rem_euclid(24 * HOUR);
    for number in 0..8 {
        world.floats(number, &[(day + HOUR, 1.0)]);
    }
    world.floats(1, &[(day + 3 * HOUR, 2.0)]);
    world.flush();
    upload_all(&world);
    let (path, bytes) = packs(bucket).remove(0);
    world.clock.advance(Duration::from_secs(40 * 3600));
    assert!(world.merge() > 0);
    upload_all(&world);
    (world, path, bytes)
}

/// Would catch a repair that loses blocks that only the pack has any more, one that believes what is
/// damaged, and a pack without a directory afterwards.
#[test]
fn a_pack_that_is_put_again_keeps_what_it_had() {
    let bucket = tempfile::tempdir().unwrap();
    let (world, path, good) = shared(79, bucket.path());
    let directory = directory_of(&good).unwrap();
    let named: BTreeSet<Digest> = entries(&world).iter().map(|(_, one)| one.digest).collect();
    let is_live = |digest: &Digest| named.contains(digest);
    let blocks = &directory.blocks;
    let live = blocks.iter().find(|block| is_live(&block.entry.digest));
    let live = live.unwrap();
    assert!(blocks.iter().any(|block| !is_live(&block.entry.digest)));
    let put_again = || {
        let (arc, entry) = entries(&world)
            .into_iter()
            .find(|(_, entry)| entry.digest == live.entry.digest)
            .unwrap();
        let uploader = world.member().upkeep().uploader();
        uploader
            .put_again(arc, &entry, &CancelToken::new())
            .unwrap();
        fs::read(&path).unwrap()
    };
    let at = usize::try_from(live.offset).unwrap();
    let mut bad = good.clone();
    bad[at] ^= 1;
    fs::write(&path, &bad).unwrap();
    assert!(put_again() == good, "to the byte");
    // Its directory is damaged: then it names what the catalog does.
    let mut bad = good.clone();
    let in_directory = good.len() - 50;
    bad[in_directory] ^= 1;
    fs::write(&path, &bad).unwrap();
    let again = put_again();
    let left = directory_of(&again).unwrap();
    assert!(left.blocks.iter().all(|block| is_live(&block.entry.digest)));
    check_bucket(&world, bucket.path());
    // It is gone: what the catalog names of it is there again, each where it was.
    fs::remove_file(&path).unwrap();
    assert_eq!(directory_of(&put_again()).unwrap().blocks, left.blocks);
    check_bucket(&world, bucket.path());
}

/// Partitions were split between the seal and the upload, and a restore finds no catalog. Would catch an object
/// that says it belongs to a part and holds what was built for the whole: a restore leaves it out.
#[test]
fn what_was_sealed_for_the_whole_is_uploaded_as_its() {
    let bucket = tempfile::tempdir().unwrap();
    let mut world = world(82, bucket.path());
    world.open();
    // Of one window several blocks, of another one alone: a pack, and an object of its own.
    for number in 0..8 {
        world.floats(number, &[(START - 9 * HOUR, 1.0)]);
    }
    world.floats(1, &[(START - 5 * HOUR, 1.0)]);
    world.flush();
    let arcs: BTreeSet<RingArc> = entries(&world).iter().map(|(arc, _)| *arc).collect();
    for arc in arcs {
        let epoch = world.member().control_state().partition(arc).unwrap().epoch;
        let split = Command::Split(Split { arc, epoch });
        let outcome = world.member().control().propose(&split).unwrap();
        assert_eq!(outcome, Outcome::Applied);
    }
    // A node that is alone divides what it holds when it starts.
    world.open();
    upload_all(&world);
    let cluster = world.member().control_state().cluster.unwrap();
    let below = bucket.path().join(cluster.to_string());
    fs::remove_dir_all(below.join("catalog")).unwrap();
    let mut next = super::bucket::world(83, bucket.path());
    let restored = restore(&next, usize::MAX).unwrap();
    assert_eq!(restored.complaints, Vec::<String>::new());
    next.model = std::mem::take(&mut world.model);
    next.open();
    next.check_all();
}

/// A pack that was put and not recorded, because nothing more came through.
fn unrecorded(seed: u64, bucket: &Path) -> (World, PathBuf, Vec<u8>) {
    let mut world = world(seed, bucket);
    world.open();
    for number in 0..8 {
        world.floats(number, &[(START - 5 * HOUR, 1.0)]);
    }
    world.flush();
    let objects = world.member().upkeep().uploader().bucket();
    let mut was_put = false;
    objects
        .faults
        .set(Some(Box::new(move |traffic, name: &str| {
            was_put |= traffic == Traffic::Put && name.contains("/packs/");
            (was_put && traffic == Traffic::Get).then_some(BucketFault::Fail)
        })));
    round(&world);
    let mut there = packs(bucket);
    assert_eq!(there.len(), 1);
    let recorded = |(_, entry): &(RingArc, BlockEntry)| entry.uploaded != Uploaded::None;
    assert!(!entries(&world).iter().any(recorded));
    let (path, bytes) = there.remove(0);
    (world, path, bytes)
}

/// Another pack of the same length: it is whole, and not the one that its name says.
fn another(bytes: &[u8]) -> Vec<u8> {
    let directory = directory_of(bytes).unwrap();
    let mut blocks = directory.blocks.clone();
    blocks[0].entry.samples += 1;
    let other = PackDirectory {
        blocks,
        ..directory.clone()
    };
    let begins = bytes.len() - directory.encode().len();
    [&bytes[..begins], &other.encode()].concat()
}

/// What an object was, and what its bytes are changed to.
type Spoil = fn(&[u8]) -> Vec<u8>;

fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1;
    bytes
}

/// The object of a pack is there when its uploader comes: put before a crash, or by another member. Would catch one
/// that is believed by its length, one of which the directory alone or the blocks alone are looked at, and one that is put
/// again although it is whole.
#[test]
fn a_pack_that_is_there_is_recorded_only_if_it_is_that_one() {
    let cases: [(&str, Spoil, usize); 7] = [
        ("whole", <[u8]>::to_vec, 0),
        ("the first byte", |bytes| flipped(bytes, 0), 1),
        (
            "the last block",
            |bytes| {
                let directory = directory_of(bytes).unwrap();
                let last = usize::try_from(directory.end_of_blocks()).unwrap() - 1;
                flipped(bytes, last)
            },
            1,
        ),
        ("the directory", |bytes| flipped(bytes, bytes.len() - 50), 1),
        ("its length", |bytes| flipped(bytes, bytes.len() - 1), 1),
        ("another one", another, 1),
        ("cut", |bytes| bytes[..bytes.len() - 1].to_vec(), 1),
    ];
    for (number, (what, spoil, want)) in cases.into_iter().enumerate() {
        let bucket = tempfile::tempdir().unwrap();
        let (world, path, good) = unrecorded(400 + number as u64, bucket.path());
        fs::write(&path, spoil(&good)).unwrap();
        let puts = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&puts);
        let objects = world.member().upkeep().uploader().bucket();
        objects
            .faults
            .set(Some(Box::new(move |traffic, name: &str| {
                let is_put = traffic == Traffic::Put && name.contains("/packs/");
                count.fetch_add(usize::from(is_put), Ordering::Relaxed);
                None
            })));
        upload_all(&world);
        assert_eq!(puts.load(Ordering::Relaxed), want, "{what}");
        assert_eq!(packs(bucket.path()).len(), 1, "{what}");
        assert!(fs::read(&path).unwrap() == good, "{what}");
        check_bucket(&world, bucket.path());
    }
}
