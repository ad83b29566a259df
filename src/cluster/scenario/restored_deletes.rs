//! Deletes outlive the loss of all disks: what the bucket says of them, and what a restore makes of it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::bucket::{HOUR, files, round, upload_all, world};
use super::read_only::{catalogs, newer_catalogs};
use super::restore::{restore, restore_to};
use super::world::*;
use crate::archive::{BucketFault, Named, deletes_name, parse_name};
use crate::cluster::blocks::RestoreExtent;
use crate::cluster::control::DeletesCopy;
use crate::cluster::deletes::DeleteRow;
use crate::model::*;
use crate::runtime::{CancelToken, Clock};
use crate::source::Selection;

/// A node that has uploaded samples of series 0 to 3, of which 0 and 2 are tenant 0's.
fn uploaded(seed: u64, bucket: &Path) -> World {
    let mut world = world(seed, bucket);
    world.open();
    for number in 0..4 {
        let samples: Vec<(i64, f64)> = (1..20).map(|i| (START - i * HOUR, 1.0)).collect();
        world.floats(number, &samples);
    }
    world.flush();
    upload_all(&world);
    world
}

fn delete(world: &World, number: u64) -> DeleteRow {
    let (owner, labels) = series(number);
    let name = labels.metric_name().unwrap();
    let matcher = Matcher::new("__name__", MatchOp::Equal, name).unwrap();
    let deletes = world.member().deletes();
    let row = deletes.delete(&owner, vec![matcher], TimeRange::ALL);
    row.unwrap().unwrap()
}

/// The numbers of the series that are shown.
fn shown(world: &World) -> BTreeSet<u64> {
    let selection = |owner| Selection {
        tenant: tenant(owner),
        matchers: Vec::new(),
        range: TimeRange::ALL,
    };
    let source = world.member().source();
    let select = |owner| source.select(&selection(owner), &context()).unwrap();
    let all = (0..2).flat_map(|owner| drain(select(owner).as_mut()).into_keys());
    all.map(|labels| labels.get("number").unwrap().parse().unwrap())
        .collect()
}

fn removed(world: &World) {
    world.merge();
    world.member().deletes().pass(&CancelToken::new());
}

/// The copies of deletes in a bucket, the oldest first.
fn copies(bucket: &Path) -> Vec<PathBuf> {
    let mut all = files(bucket);
    all.retain(|path| {
        let name = path.strip_prefix(bucket).unwrap().to_str().unwrap();
        matches!(parse_name(name), Some(Named::Deletes(_)))
    });
    all
}

/// A new node that is restored from the bucket, at the time of another.
fn heir(seed: u64, bucket: &Path, extent: RestoreExtent, after: &World) -> (World, Vec<String>) {
    let mut heir = world(seed, bucket);
    let passed = after.clock.now().0 - heir.clock.now().0;
    heir.clock
        .advance(Duration::from_millis(u64::try_from(passed).unwrap()));
    let restored = restore_to(&heir, usize::MAX, extent).unwrap();
    heir.open();
    let rows = heir.member().cluster_status().deletes;
    assert_eq!(restored.deletes, rows.len() as u64);
    (heir, restored.complaints)
}

/// Would catch a deleted series that a restore shows again, one that it hides for ever, a delete that cannot
/// be undone any more or that is never carried out, and a second restore that knows less than the first.
#[test]
fn what_is_deleted_stays_so_when_all_disks_are_lost() {
    for extent in [RestoreExtent::Blocks, RestoreExtent::Catalog] {
        let bucket = tempfile::tempdir().unwrap();
        let world = uploaded(70, bucket.path());
        assert_eq!(copies(bucket.path()), Vec::<PathBuf>::new());
        let mut rows = Vec::new();
        for number in 0..2 {
            rows.push(delete(&world, number));
            world.clock.advance(Duration::from_secs(1));
        }
        round(&world);
        assert_eq!(copies(bucket.path()).len(), 1);
        world.clock.advance(Duration::from_secs(20 * 3600));
        // Twice: the second time from what the first one put there.
        let (first, complaints) = heir(71, bucket.path(), extent, &world);
        assert_eq!(complaints, Vec::<String>::new());
        assert_eq!(shown(&first), BTreeSet::from([2, 3]));
        let (heir, complaints) = heir(72, bucket.path(), extent, &first);
        assert_eq!(complaints, Vec::<String>::new());
        assert_eq!(shown(&heir), BTreeSet::from([2, 3]));
        let status = heir.member().cluster_status().deletes;
        assert_eq!(status, rows, "as they were");
        let (owner, labels) = series(0);
        let refused = heir.member().writer().deleted(&owner).of_series(&labels);
        assert!(refused.range_at(TimestampMs(START - HOUR)).is_some());
        // It may still be undone until its day is over, and goes then.
        let deletes = heir.member().deletes();
        deletes.undo(&tenant(1), &rows[1].id).unwrap();
        assert_eq!(shown(&heir), BTreeSet::from([1, 2, 3]));
        heir.clock.advance(Duration::from_secs(5 * 3600));
        removed(&heir);
        removed(&heir);
        removed(&heir);
        assert_eq!(heir.member().cluster_status().deletes, []);
        assert_eq!(shown(&heir), BTreeSet::from([1, 2, 3]));
        let held = heir.read(&owner, Vec::new(), TimeRange::ALL);
        assert!(!held.contains_key(&labels), "its blocks were rewritten");
        upload_all(&heir);
        let (last, complaints) = self::heir(73, bucket.path(), extent, &heir);
        assert_eq!(complaints, Vec::<String>::new());
        assert_eq!(shown(&last), BTreeSet::from([1, 2, 3]));
        assert_eq!(last.member().cluster_status().deletes, []);
    }
}

/// The newest copies of the catalog still name the blocks from before. Would catch what was removed for good
/// being shown again, and what was written since being hidden without a way back.
#[test]
fn what_had_ended_after_the_catalog_was_copied_is_hidden_and_can_be_undone() {
    let bucket = tempfile::tempdir().unwrap();
    let world = uploaded(80, bucket.path());
    let before = catalogs(bucket.path());
    let row = delete(&world, 0);
    round(&world);
    world.member().deletes().clean(&tenant(0)).unwrap();
    removed(&world);
    removed(&world);
    assert_eq!(world.member().cluster_status().deletes, []);
    for _ in 0..20 {
        round(&world);
        world.clock.advance(Duration::from_secs(61));
    }
    // The newest copies name what the blocks were rewritten to: nothing can be back.
    let (new, complaints) = heir(82, bucket.path(), RestoreExtent::Catalog, &world);
    assert_eq!(complaints, Vec::<String>::new());
    assert_eq!(shown(&new), BTreeSet::from([1, 2, 3]));
    assert_eq!(new.member().cluster_status().deletes, []);
    let newer = newer_catalogs(bucket.path(), &before);
    assert!(!newer.is_empty());
    newer.iter().for_each(|path| fs::remove_file(path).unwrap());
    let (heir, complaints) = heir(81, bucket.path(), RestoreExtent::Catalog, &world);
    assert_eq!(complaints.len(), 1, "{complaints:?}");
    assert!(complaints[0].contains(&row.id), "{complaints:?}");
    assert_eq!(shown(&heir), BTreeSet::from([1, 2, 3]));
    let rows = heir.member().cluster_status().deletes;
    assert_eq!((&rows[0].id, rows[0].begun), (&row.id, false));
    heir.clock.advance(Duration::from_secs(23 * 3600));
    removed(&heir);
    heir.member().deletes().undo(&tenant(0), &row.id).unwrap();
    assert_eq!(shown(&heir), BTreeSet::from([0, 1, 2, 3]));
}

/// As before there were copies of deletes, and as with a version that does not look for them. Would catch tests above
/// that would not see a delete being lost.
#[test]
fn without_a_copy_what_was_deleted_is_shown_again() {
    let bucket = tempfile::tempdir().unwrap();
    let world = uploaded(85, bucket.path());
    delete(&world, 0);
    round(&world);
    assert_eq!(shown(&world), BTreeSet::from([1, 2, 3]));
    let copy = copies(bucket.path()).pop().unwrap();
    fs::remove_dir_all(copy.parent().unwrap()).unwrap();
    let (heir, complaints) = heir(86, bucket.path(), RestoreExtent::Catalog, &world);
    assert_eq!(complaints, Vec::<String>::new());
    assert_eq!(shown(&heir), BTreeSet::from([0, 1, 2, 3]));
}

/// Whichever request fails, the bucket has it in the end; and what changes while another node leads is
/// found there.
#[test]
fn whichever_request_fails_deletes_reach_the_bucket() {
    for nth in 1.. {
        let bucket = tempfile::tempdir().unwrap();
        let mut world = uploaded(90, bucket.path());
        let row = delete(&world, 0);
        let mut left = nth;
        let objects = world.member().upkeep().uploader().bucket();
        objects.faults.set(Some(Box::new(move |_, _: &str| {
            left -= 1;
            (left == 0).then_some(BucketFault::Fail)
        })));
        round(&world);
        let failed = world.member().cluster_status().archive.unwrap();
        upload_all(&world);
        let newest = copies(bucket.path()).pop().unwrap();
        let copy = DeletesCopy::decode(&fs::read(newest).unwrap()).unwrap();
        let ids: Vec<String> = copy.open.keys().map(ToString::to_string).collect();
        assert_eq!(ids, std::slice::from_ref(&row.id));
        // A node that starts again knows what it has put there, and puts it no second time.
        let before = files(bucket.path());
        world.open();
        upload_all(&world);
        assert_eq!(files(bucket.path()), before);
        world.member().deletes().undo(&tenant(0), &row.id).unwrap();
        upload_all(&world);
        let newest = copies(bucket.path()).pop().unwrap();
        let copy = DeletesCopy::decode(&fs::read(newest).unwrap()).unwrap();
        assert_eq!((copy.open.len(), copy.ended.len()), (0, 1));
        if failed.trouble.is_none() {
            assert!(nth > 2, "{nth}");
            return;
        }
    }
}

/// Puts a copy as a later version would write it.
fn put_newer(world: &World, bucket: &Path, mut copy: Vec<u8>) {
    copy[8] = 2;
    let cluster = world.member().control_state().cluster.unwrap().0;
    let digest = Digest(*blake3::hash(&copy).as_bytes());
    let name = deletes_name(cluster, (7, 7), digest);
    fs::write(bucket.join(name), &copy).unwrap();
}

/// Would catch uploads that stop for good because an older version leads, which cannot follow the copy of a newer
/// one.
#[test]
fn blocks_do_not_wait_for_deletes_that_cannot_be_put() {
    let bucket = tempfile::tempdir().unwrap();
    let mut world = uploaded(110, bucket.path());
    delete(&world, 0);
    round(&world);
    let newest = copies(bucket.path()).pop().unwrap();
    put_newer(&world, bucket.path(), fs::read(newest).unwrap());
    world.open();
    let samples: Vec<(i64, f64)> = (1..20).map(|i| (START - i * HOUR - 1, 2.0)).collect();
    world.floats(3, &samples);
    world.flush();
    for _ in 0..20 {
        round(&world);
        world.clock.advance(Duration::from_secs(61));
    }
    let archive = world.member().cluster_status().archive.unwrap();
    assert_eq!(archive.waiting_blocks, 0);
    let trouble = archive.trouble.unwrap();
    assert!(trouble.contains("newer version"), "{trouble}");
}

/// Would catch a restore that goes on without what a newer version wrote, and a damaged copy that hides the
/// one before it.
#[test]
fn a_copy_that_cannot_be_read_is_not_passed_over_in_silence() {
    let bucket = tempfile::tempdir().unwrap();
    let world = uploaded(100, bucket.path());
    delete(&world, 0);
    round(&world);
    world.member().deletes().clean(&tenant(0)).unwrap();
    round(&world);
    let newest = copies(bucket.path()).pop().unwrap();
    let good = fs::read(&newest).unwrap();
    let mut bad = good.clone();
    bad[good.len() / 2] ^= 1;
    fs::write(&newest, &bad).unwrap();
    let record = fs::read(bucket.path().join("cluster.json")).unwrap();
    let (heir, complaints) = heir(101, bucket.path(), RestoreExtent::Catalog, &world);
    assert!(
        complaints[0].contains("what was deleted last"),
        "{complaints:?}"
    );
    assert_eq!(shown(&heir), BTreeSet::from([1, 2, 3]));
    assert!(!heir.member().cluster_status().deletes[0].begun);
    fs::write(bucket.path().join("cluster.json"), record).unwrap();
    put_newer(&world, bucket.path(), good);
    let next = self::world(102, bucket.path());
    let error = restore(&next, usize::MAX).unwrap_err().to_string();
    assert!(error.contains("newer version"), "{error}");
}
