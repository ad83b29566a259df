//! A node and its bucket: what is sealed reaches it, whatever goes wrong on the way, and what is
//! in it is what the catalog says.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::world::*;
use crate::archive::{
    ArchiveKind, BucketFault, CatalogCopy, ClusterRecord, Named, PackDirectory, Traffic,
    block_place, parse_name,
};
use crate::cluster::manifests::listed;
use crate::model::*;
use crate::runtime::CancelToken;

pub(super) const HOUR: i64 = 3_600_000;

/// A node that has not been started yet, and has a directory as its bucket.
pub(super) fn world(seed: u64, bucket: &Path) -> World {
    let mut world = World::unopened(seed);
    world.settings.archive.main.kind = ArchiveKind::Local;
    world.settings.archive.local.path = Some(bucket.to_owned());
    world
}

/// Samples of some windows of the last two days.
pub(super) fn write(world: &mut World) {
    for number in 0..12 {
        let samples: Vec<(i64, f64)> = (0..20)
            .map(|step| (START - step * 2 * HOUR - 15_000, f64::from(number)))
            .collect();
        world.floats(u64::try_from(number).unwrap(), &samples);
    }
}

pub(super) fn round(world: &World) {
    world
        .member()
        .upkeep()
        .uploader()
        .round(&CancelToken::new());
}

/// Rounds until nothing waits; the clock goes on, so that no pause is endless.
pub(super) fn upload_all(world: &World) {
    // Somebody waits for it: copies of the catalog, too.
    let _ = world.member().order_flush();
    for _ in 0..200 {
        round(world);
        let status = world.member().cluster_status().archive.unwrap();
        let waits = status.waiting_blocks + status.waiting_catalogs;
        if waits == 0 && status.trouble.is_none() {
            return;
        }
        world.clock.advance(Duration::from_secs(61));
    }
    panic!("{:?}", world.member().cluster_status().archive);
}

pub(super) fn files(below: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

pub(super) fn entries(world: &World) -> Vec<(RingArc, BlockEntry)> {
    let state = world.member().control_state();
    let of = |(arc, partition): (&RingArc, &std::sync::Arc<crate::cluster::Partition>)| {
        let listed = listed(world.member().manifests(), *arc, partition).unwrap();
        let entries = listed.blocks().values().cloned();
        entries.map(|entry| (*arc, entry)).collect::<Vec<_>>()
    };
    state.partitions.iter().flat_map(of).collect()
}

/// Every block that the catalog calls uploaded is in the bucket to the byte, and the newest copy of
/// each catalog names all of them.
pub(super) fn check_bucket(world: &World, bucket: &Path) {
    let state = world.member().control_state();
    let cluster = state.cluster.unwrap().0;
    for (arc, entry) in entries(world) {
        if entry.uploaded == Uploaded::None {
            continue;
        }
        let (name, from) = block_place(cluster, arc, &entry);
        let bytes = fs::read(bucket.join(name)).unwrap();
        let from = usize::try_from(from).unwrap();
        let bytes = &bytes[from..][..usize::try_from(entry.size).unwrap()];
        assert_eq!(blake3::hash(bytes).as_bytes(), &entry.digest.0);
    }
    let mut named = BTreeSet::new();
    for (arc, partition) in &state.partitions {
        let below = bucket.join(format!("{cluster:032x}/catalog/{arc}"));
        if partition.recent.is_empty() {
            assert!(!below.exists());
            continue;
        }
        let newest = files(&below);
        let copies = newest.iter().map(|path| {
            let copy = CatalogCopy::decode(&fs::read(path).unwrap()).unwrap();
            assert_eq!((copy.cluster, copy.arc), (cluster, *arc));
            (copy.version, copy.entries)
        });
        let best = copies.max_by_key(|(version, entries)| (*version, entries.len()));
        let (version, entries) = best.unwrap();
        assert_eq!(version, partition.version);
        named.extend(entries.into_iter().map(|entry| entry.id));
    }
    let want: BTreeSet<BlockId> = entries(world).iter().map(|(_, entry)| entry.id).collect();
    assert_eq!(named, want);
}

/// Would catch an upload of other bytes than the catalog's, a name that says something else, and a
/// copy of the catalog that misses a block.
#[test]
fn sealed_blocks_reach_the_bucket_and_the_catalog_says_so() {
    let bucket = tempfile::tempdir().unwrap();
    let mut world = world(1, bucket.path());
    world.open();
    write(&mut world);
    world.flush();
    let blocks = entries(&world);
    assert!(blocks.len() > 20);
    let status = world.member().cluster_status().archive.unwrap();
    assert_eq!(status.waiting_blocks, blocks.len() as u64);
    upload_all(&world);
    let mut uploaded = entries(&world);
    assert!(uploaded.iter().all(|(_, e)| e.uploaded != Uploaded::None));
    let ranges: BTreeSet<TimestampMs> = blocks.iter().map(|(_, e)| e.range.end).collect();
    // One that ends a batch may be in two.
    assert!(packs(bucket.path()).len() <= ranges.len() + 1);
    uploaded
        .iter_mut()
        .for_each(|(_, entry)| entry.uploaded = Uploaded::None);
    assert_eq!(uploaded, blocks, "nothing but `uploaded` has changed");
    check_bucket(&world, bucket.path());
    // Nothing is put twice, and nothing lies there that is not ours.
    let before = files(bucket.path());
    for path in &before {
        let name = path.strip_prefix(bucket.path()).unwrap().to_str().unwrap();
        assert!(parse_name(name).is_some(), "{name}");
    }
    world.open();
    world.clock.advance(Duration::from_secs(3600));
    upload_all(&world);
    assert_eq!(files(bucket.path()), before);
    // Late samples become blocks of further rounds.
    write(&mut world);
    world.floats(1, &[(START - 7 * HOUR, 5.0), (START - 3 * HOUR, 6.0)]);
    world.flush();
    upload_all(&world);
    check_bucket(&world, bucket.path());
    world.check_all();
}

/// The n-th request fails, for n = 1, 2, 3 and on until none does. Would catch a failure that ends
/// uploads for good, or something recorded that is not there.
#[test]
fn whichever_request_fails_everything_is_uploaded_in_the_end() {
    for nth in 1.. {
        let bucket = tempfile::tempdir().unwrap();
        let mut world = world(2, bucket.path());
        world.open();
        world.floats(1, &[(START - 5 * HOUR, 1.0), (START - HOUR, 2.0)]);
        world.floats(2, &[(START - 5 * HOUR, 1.0)]);
        world.flush();
        let (met, hit) = fail_nth(&world, nth, BucketFault::Fail);
        upload_all(&world);
        check_bucket(&world, bucket.path());
        if met.load(std::sync::atomic::Ordering::Relaxed) < nth {
            assert!(nth > 10, "few requests were made: {nth}");
            return;
        }
        assert!(hit.load(std::sync::atomic::Ordering::Relaxed));
    }
}

type Count = std::sync::Arc<std::sync::atomic::AtomicUsize>;
type Flag = std::sync::Arc<std::sync::atomic::AtomicBool>;

/// Lets one request of all meet a fault; faults of putting meet the n-th put.
fn fail_nth(world: &World, nth: usize, fault: BucketFault) -> (Count, Flag) {
    use std::sync::atomic::Ordering::Relaxed;
    let (met, hit) = (Count::default(), Flag::default());
    let (meet, strike) = (met.clone(), hit.clone());
    let bucket = world.member().upkeep().uploader().bucket();
    bucket.faults.set(Some(Box::new(move |operation, _: &str| {
        if fault != BucketFault::Fail && operation != Traffic::Put {
            return None;
        }
        let strikes = meet.fetch_add(1, Relaxed) + 1 == nth;
        strikes.then(|| {
            strike.store(true, Relaxed);
            fault
        })
    })));
    (met, hit)
}

/// The bucket says yes and keeps nothing, half, or something else. Would catch an upload that is
/// recorded without having been read back.
#[test]
fn a_bucket_that_lies_is_found_out() {
    for fault in [BucketFault::Lose, BucketFault::Cut, BucketFault::Flip] {
        for nth in 1..8 {
            let bucket = tempfile::tempdir().unwrap();
            let mut world = world(3, bucket.path());
            world.open();
            world.floats(1, &[(START - 5 * HOUR, 1.0), (START - HOUR, 2.0)]);
            world.floats(2, &[(START - 5 * HOUR, 1.0)]);
            world.flush();
            let (_, hit) = fail_nth(&world, nth, fault);
            for _ in 0..3 {
                round(&world);
                for (_, entry) in entries(&world) {
                    assert!(entry.uploaded == Uploaded::None || is_whole(&entry, bucket.path()));
                }
            }
            if !hit.load(std::sync::atomic::Ordering::Relaxed) {
                continue;
            }
            if nth == 1 {
                // The record itself: somebody has to look at it.
                let status = world.member().cluster_status();
                assert!(!status.trouble.is_empty(), "{fault:?}");
                fs::remove_file(bucket.path().join("cluster.json")).ok();
            }
            upload_all(&world);
            check_bucket(&world, bucket.path());
        }
    }
}

/// The packs that lie there, each with its bytes.
pub(super) fn packs(bucket: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let is_pack = |path: &PathBuf| {
        let name = path.strip_prefix(bucket).unwrap().to_str().unwrap();
        matches!(parse_name(name), Some(Named::Pack(_)))
    };
    let packs = files(bucket).into_iter().filter(is_pack);
    packs
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

/// What the directory of a pack says.
pub(super) fn directory_of(bytes: &[u8]) -> Result<PackDirectory, String> {
    let len: [u8; 4] = bytes[bytes.len() - 4..].try_into().unwrap();
    let len = usize::try_from(u32::from_be_bytes(len)).unwrap() + 4;
    let begins = bytes.len().checked_sub(len).ok_or("it is cut short")?;
    PackDirectory::decode(&bytes[begins..], begins as u64)
}

pub(super) fn is_whole(entry: &BlockEntry, bucket: &Path) -> bool {
    let holds = |path: &PathBuf| {
        let name = path.strip_prefix(bucket).unwrap().to_str().unwrap();
        let bytes = fs::read(path).unwrap();
        let from = match (parse_name(name), entry.uploaded) {
            (Some(Named::Block(block)), _) if block.digest == entry.digest => 0,
            (Some(Named::Pack(named)), Uploaded::Pack { pack, offset }) if named.digest == pack => {
                usize::try_from(offset).unwrap()
            }
            _ => return false,
        };
        let size = usize::try_from(entry.size).unwrap();
        let bytes = bytes.get(from..from + size).unwrap_or_default();
        blake3::hash(bytes).as_bytes() == &entry.digest.0
    };
    files(bucket).iter().any(holds)
}

/// Would catch a second cluster in one bucket, and uploads into an unmounted directory.
#[test]
fn a_bucket_of_somebody_else_is_left_alone() {
    let bucket = tempfile::tempdir().unwrap();
    let mut first = world(4, bucket.path());
    first.open();
    write(&mut first);
    first.flush();
    upload_all(&first);
    let before = files(bucket.path());
    // An empty node does not found over it, and says what to do.
    let mut second = world(5, bucket.path());
    let error = second.try_open().unwrap_err().to_string();
    assert!(error.contains("cairn restore"), "{error}");
    // One with a cluster of its own does not put anything there.
    second.settings.archive.main.kind = ArchiveKind::None;
    second.open();
    write(&mut second);
    second.flush();
    second.settings.archive.main.kind = ArchiveKind::Local;
    second.open();
    round(&second);
    let trouble = second.member().cluster_status().trouble.join("\n");
    assert!(trouble.contains("another cluster"), "{trouble}");
    assert_eq!(files(bucket.path()), before);
    // The first is not mounted any more: nothing is put beside the mount.
    let elsewhere = bucket.path().with_extension("elsewhere");
    fs::rename(bucket.path(), &elsewhere).unwrap();
    first.floats(1, &[(START - 100 * HOUR, 1.0)]);
    first.flush();
    first.clock.advance(Duration::from_secs(3600));
    round(&first);
    let trouble = first.member().cluster_status().trouble.join("\n");
    assert!(trouble.contains("mount"), "{trouble}");
    fs::create_dir(bucket.path()).unwrap();
    first.clock.advance(Duration::from_secs(3600));
    round(&first);
    let trouble = first.member().cluster_status().trouble.join("\n");
    assert!(trouble.contains("no cluster.json"), "{trouble}");
    assert!(files(bucket.path()).is_empty());
    fs::remove_dir(bucket.path()).unwrap();
    fs::rename(&elsewhere, bucket.path()).unwrap();
    first.clock.advance(Duration::from_secs(3600));
    upload_all(&first);
    check_bucket(&first, bucket.path());
    let record = fs::read(bucket.path().join("cluster.json")).unwrap();
    let cluster = first.member().control_state().cluster.unwrap().0;
    assert_eq!(ClusterRecord::decode(&record).unwrap().cluster, cluster);
}

/// A local file that was damaged before it was uploaded never gets there; others do.
#[test]
fn a_damaged_file_is_not_uploaded() {
    let bucket = tempfile::tempdir().unwrap();
    let mut world = world(6, bucket.path());
    world.open();
    write(&mut world);
    world.flush();
    let file = files(&world.path().join("blocks")).remove(3);
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, bytes).unwrap();
    round(&world);
    for _ in 0..4 {
        round(&world);
    }
    let left: Vec<_> = entries(&world)
        .into_iter()
        .filter(|(_, entry)| entry.uploaded == Uploaded::None)
        .collect();
    assert_eq!(left.len(), 1);
    assert!(!is_whole(&left[0].1, bucket.path()));
}
