//! Packs: the blocks of a window in one object, whatever goes wrong while it is made, and as long as
//! one of them is needed.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::bucket::{
    HOUR, check_bucket, directory_of, entries, is_whole, packs, round, upload_all, world, write,
};
use super::restore::restore;
use super::world::*;
use crate::archive::{BucketFault, Named, Traffic, parse_name};
use crate::model::*;
use crate::runtime::{CancelToken, Clock};
use crate::store::RetentionSettings;

/// A day and some hours of samples, as they come: sealed when it is time, uploaded when it is time.
fn live_through(world: &mut World, hours: i64) {
    for step in 0..hours * 12 {
        world.clock.advance(Duration::from_secs(300));
        if step % 3 == 0 {
            let now = world.clock.now().0;
            for number in 0..30 {
                world.floats(number, &[(now - 1000, 1.0)]);
            }
        }
        world.pass();
        round(world);
        if step % 6 == 0 {
            world.merge();
            world.member().historian().pass(&CancelToken::new());
            world.member().upkeep().sweeper().round(&CancelToken::new());
        }
    }
}

/// Would catch a window in several objects, a block that waits for no reason, and one that nobody
/// uploads.
#[test]
fn a_window_becomes_one_pack() {
    let bucket = tempfile::tempdir().unwrap();
    let mut world = world(71, bucket.path());
    world.open();
    live_through(&mut world, 12);
    let there = packs(bucket.path());
    let windows: BTreeSet<TimestampMs> = there
        .iter()
        .map(|(_, bytes)| directory_of(bytes).unwrap().range.end)
        .collect();
    assert_eq!(windows.len(), there.len(), "one pack of each window");
    assert!(there.len() >= 4, "{}", there.len());
    for (path, bytes) in &there {
        let blocks = directory_of(bytes).unwrap().blocks.len();
        assert!(blocks >= 8, "{blocks} in {}", path.display());
    }
    // What waits is what has been sealed of the last window.
    let now = world.clock.now().0;
    for (_, entry) in entries(&world) {
        let old = entry.range.end.0 < now - 3 * HOUR;
        assert!(!old || entry.uploaded != Uploaded::None, "{entry:?}");
    }
    // Whoever wants everything there now gets it.
    let waits = world
        .member()
        .cluster_status()
        .archive
        .unwrap()
        .waiting_blocks;
    assert!(waits > 0);
    let _ = world.member().order_flush();
    round(&world);
    let waits = world
        .member()
        .cluster_status()
        .archive
        .unwrap()
        .waiting_blocks;
    assert_eq!(waits, 0);
    upload_all(&world);
    check_bucket(&world, bucket.path());
    world.check_all();
}

/// From the n-th request on nothing comes through, and the process dies; for n = 1, 2, 3 and on.
/// Would catch a block that is recorded in a pack that is not there, or not there where it says.
#[test]
fn a_crash_at_any_request_of_a_pack_loses_nothing() {
    for nth in 1.. {
        let bucket = tempfile::tempdir().unwrap();
        let mut world = world(72, bucket.path());
        world.open();
        for number in 0..6 {
            world.floats(number, &[(START - 5 * HOUR, 1.0), (START - 3 * HOUR, 2.0)]);
        }
        world.flush();
        let met = Arc::new(AtomicUsize::new(0));
        let meet = Arc::clone(&met);
        let faulty = world.member().upkeep().uploader().bucket();
        faulty.faults.set(Some(Box::new(move |_, _: &str| {
            let late = meet.fetch_add(1, Ordering::Relaxed) + 1 >= nth;
            late.then_some(BucketFault::Fail)
        })));
        round(&world);
        for (_, entry) in entries(&world) {
            assert!(entry.uploaded == Uploaded::None || is_whole(&entry, bucket.path()));
        }
        // More is sealed meanwhile, so that the next pack may be another one.
        world.open();
        world.floats(20, &[(START - 5 * HOUR, 1.0)]);
        world.flush();
        upload_all(&world);
        check_bucket(&world, bucket.path());
        world.check_all();
        let mut next = super::bucket::world(73, bucket.path());
        let restored = restore(&next, usize::MAX).unwrap();
        assert_eq!(restored.complaints, Vec::<String>::new());
        next.model = std::mem::take(&mut world.model);
        next.open();
        next.check_all();
        if met.load(Ordering::Relaxed) < nth {
            assert!(nth > 8, "few requests were made: {nth}");
            return;
        }
    }
}

/// The files of a node die while their blocks are put: one that is damaged is left out, the others
/// go. Would catch a damaged file that holds up its window.
#[test]
fn a_damaged_file_does_not_hold_up_its_pack() {
    let bucket = tempfile::tempdir().unwrap();
    let mut world = world(74, bucket.path());
    world.open();
    for number in 0..6 {
        world.floats(number, &[(START - 5 * HOUR, 1.0)]);
    }
    world.flush();
    let store = world.member().store();
    let file = super::bucket::files(&world.path().join("blocks")).remove(2);
    let mut bytes = fs::read(&file).unwrap();
    bytes[100] ^= 1;
    fs::write(&file, bytes).unwrap();
    drop(store);
    for _ in 0..4 {
        round(&world);
    }
    let left = entries(&world);
    let left: Vec<_> = left
        .iter()
        .filter(|(_, entry)| entry.uploaded == Uploaded::None)
        .collect();
    assert_eq!(left.len(), 1);
    assert_eq!(packs(bucket.path()).len(), 1);
    assert!(!is_whole(&left[0].1, bucket.path()));
}

/// A pack of which one block is replaced stays for the other; with the last one it goes. Would catch
/// a sweeper that looks at one block of a pack.
#[test]
fn a_pack_lives_as_long_as_one_of_its_blocks() {
    let bucket = tempfile::tempdir().unwrap();
    let mut world = world(75, bucket.path());
    world.open();
    let day = START - START.rem_euclid(24 * HOUR);
    // Two series of different partitions in one window; one of them in the next window too.
    let arcs = |world: &World| {
        let arcs = entries(world).into_iter().map(|(arc, _)| arc);
        arcs.collect::<BTreeSet<RingArc>>().len()
    };
    world.floats(1, &[(day + HOUR, 1.0)]);
    world.flush();
    let mut other = 2;
    while arcs(&world) < 2 {
        world.floats(other, &[(day + HOUR, 1.0)]);
        world.flush();
        other += 1;
    }
    world.floats(1, &[(day + 3 * HOUR, 2.0)]);
    world.flush();
    upload_all(&world);
    let shared = packs(bucket.path());
    assert_eq!(shared.len(), 1);
    world.clock.advance(Duration::from_secs(40 * 3600));
    assert!(world.merge() > 0);
    upload_all(&world);
    let digests = |world: &World| {
        let entries = entries(world).into_iter();
        entries
            .map(|(_, entry)| entry.digest)
            .collect::<BTreeSet<_>>()
    };
    let directory = directory_of(&shared[0].1).unwrap();
    let live = |world: &World| {
        let named = digests(world);
        let blocks = directory.named();
        blocks.filter(|block| named.contains(&block.digest)).count()
    };
    let sweep = |world: &World| {
        for _ in 0..120 {
            world.clock.advance(Duration::from_secs(1800));
            let sweeper = world.member().upkeep().sweeper();
            sweeper.round(&CancelToken::new());
            assert_eq!(sweeper.trouble(), None);
        }
    };
    assert!(live(&world) > 0 && live(&world) < directory.blocks.len());
    sweep(&world);
    assert!(shared[0].0.exists(), "one of its blocks is in the catalog");
    check_bucket(&world, bucket.path());
    world.check_all();
    world.retain(RetentionSettings {
        total: Some(Duration::from_secs(3600)),
        ..RetentionSettings::default()
    });
    upload_all(&world);
    assert_eq!(live(&world), 0);
    sweep(&world);
    assert!(!shared[0].0.exists());
}

/// A pack that nobody has recorded, with blocks that the catalog names: its uploader slept. One whose
/// directory is damaged, and one that says it is another's, stay too.
#[test]
fn a_pack_that_may_be_recorded_later_stays() {
    let bucket = tempfile::tempdir().unwrap();
    let mut world = world(76, bucket.path());
    world.open();
    write(&mut world);
    world.flush();
    upload_all(&world);
    // Each pack under another name: as if the blocks had been packed twice.
    let mut copies = Vec::new();
    for (number, (path, bytes)) in packs(bucket.path()).into_iter().take(3).enumerate() {
        let mut bytes = bytes;
        let len = bytes.len();
        match number {
            1 => bytes[len - 50] ^= 1,
            2 => bytes.truncate(10),
            _ => {}
        }
        let name = format!("{:064x}", number + 1);
        let copy = path.with_file_name(name);
        fs::write(&copy, bytes).unwrap();
        let file = fs::File::options().write(true).open(&copy).unwrap();
        let since = Duration::from_millis(u64::try_from(START).unwrap());
        file.set_modified(std::time::UNIX_EPOCH + since).unwrap();
        copies.push(copy);
    }
    for _ in 0..200 {
        world.clock.advance(Duration::from_secs(1800));
        let sweeper = world.member().upkeep().sweeper();
        sweeper.round(&CancelToken::new());
        assert_eq!(sweeper.trouble(), None);
    }
    assert!(copies.iter().all(|copy| copy.exists()));
    check_bucket(&world, bucket.path());
    // Merged away, the blocks of the first are needed no more, wherever they lie.
    assert!(world.merge() > 0);
    upload_all(&world);
    for _ in 0..120 {
        world.clock.advance(Duration::from_secs(1800));
        world.member().upkeep().sweeper().round(&CancelToken::new());
    }
    let stays = copies.iter().map(|copy| copy.exists());
    assert_eq!(stays.collect::<Vec<_>>(), [false, true, true]);
}

/// What a node asks of its bucket in a day, sealing, merging and moving old entries as it does. The
/// figures stand in `docs/performance.md`.
#[test]
fn a_day_of_a_small_node_is_some_hundred_objects() {
    let bucket = tempfile::tempdir().unwrap();
    let mut world = world(77, bucket.path());
    world.open();
    // The first days are not like those after them: nothing is merged or old yet.
    if std::env::var_os("CAIRN_LONG").is_some() {
        live_through(&mut world, 24 * 4);
    }
    let requests = Arc::new(parking_lot::Mutex::new([[0usize; 5]; 4]));
    let note = Arc::clone(&requests);
    let faulty = world.member().upkeep().uploader().bucket();
    faulty.faults.set(Some(Box::new(move |traffic, name: &str| {
        let kind = match parse_name(name) {
            Some(Named::Pack(_)) => 0,
            Some(Named::Block(_)) => 1,
            Some(Named::Catalog { .. }) => 2,
            Some(Named::Manifest { .. }) => 3,
            _ => 4,
        };
        note.lock()[traffic as usize][kind] += 1;
        None
    })));
    live_through(&mut world, 24);
    println!("a day: of packs, blocks alone, catalogs, manifests and others");
    let requests = *requests.lock();
    let [[packs, blocks, catalogs, manifests, others], ..] = requests;
    for traffic in [Traffic::Put, Traffic::Get, Traffic::List, Traffic::Delete] {
        let of = requests[traffic as usize];
        println!("{traffic:?}: {of:?}, together {}", of.iter().sum::<usize>());
    }
    let others = manifests + others;
    // On the first day the first window is open for a while.
    assert!((11..=12).contains(&packs), "{packs}");
    let objects = packs + blocks + catalogs + others;
    assert!(
        objects < 250 - 5 * 12,
        "six boards have five packs more of each window: {objects}"
    );
}
