//! Copies of blocks that are damaged or missing, on disk and in the bucket, are found and replaced,
//! and nothing is dropped before its replacement is there.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::bucket::{HOUR, check_bucket, entries, files, packs, upload_all, world};
use super::world::*;
use crate::archive::BucketFault;
use crate::cluster::{
    ScrubStatus, Verified, VerifyOrder, VerifyReport, VerifyStage, VerifyStanding,
};
use crate::runtime::{CancelToken, Clock};

fn few(world: &mut World) {
    for number in 0..4 {
        let samples = [
            (START - 9 * HOUR, 3.0),
            (START - 5 * HOUR, 1.0),
            (START - HOUR, 2.0),
        ];
        world.floats(number, &samples);
    }
    world.flush();
}

/// Turns of the scrub until a whole round is over.
fn scrub(world: &World) {
    for _ in 0..60 {
        world.clock.advance(Duration::from_secs(4 * 3600));
        let upkeep = world.member().upkeep();
        upkeep.scrubber().round(&CancelToken::new());
        world.member().store().finish_replacing().unwrap();
    }
}

/// Everything is verified, as somebody has ordered.
fn verify(world: &World) -> (VerifyReport, Verified) {
    let verification = world.member().verification();
    let bytes_per_second = 0;
    drop(verification.everywhere(Some(VerifyOrder::Begin { bytes_per_second })));
    let verifier = world.member().upkeep().verifier();
    verifier.round(&CancelToken::new());
    let all = verification.everywhere(None);
    assert!(all.over);
    match &all.nodes[0].standing {
        VerifyStanding::Has(report) => (report.clone(), all),
        other => panic!("{other:?}"),
    }
}

/// Found, healed, and what is left: on disk, then in the bucket.
fn counts(world: &World) -> Vec<(u64, u64, usize)> {
    let sides: Vec<ScrubStatus> = world.member().cluster_status().scrub;
    let of = |side: &ScrubStatus| (side.found, side.healed, side.unhealed.len());
    sides.iter().map(of).collect()
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn local(world: &World) -> Vec<PathBuf> {
    files(&world.path().join("blocks"))
}

fn objects(bucket: &Path) -> Vec<PathBuf> {
    packs(bucket).into_iter().map(|(path, _)| path).collect()
}

/// Each file here and each object there is what the catalog says.
fn check_whole(world: &World, bucket: &Path) {
    check_bucket(world, bucket);
    let store = world.member().store();
    for (_, entry) in entries(world) {
        let bytes = store.read_file(entry.id, 0, 1 << 20).unwrap().unwrap();
        assert_eq!(blake3::hash(&bytes).as_bytes(), &entry.digest.0);
    }
    assert_eq!(local(world).len(), entries(world).len());
}

/// Would catch damage that a round does not see, a copy that is not replaced, and one that is
/// replaced by something else.
#[test]
fn damage_here_is_healed_from_the_bucket_and_there_from_here() {
    let bucket = tempfile::tempdir().unwrap();
    let mut world = world(51, bucket.path());
    world.open();
    few(&mut world);
    upload_all(&world);
    scrub(&world);
    assert_eq!(counts(&world), [(0, 0, 0), (0, 0, 0)]);
    let (here, there) = (local(&world), objects(bucket.path()));
    assert_eq!((here.len(), there.len()), (12, 3), "a pack of each window");
    let damaged = fs::read(&here[1]).unwrap();
    for path in here.iter().take(2) {
        flip(path);
    }
    scrub(&world);
    assert_eq!(counts(&world), [(2, 2, 0), (0, 0, 0)]);
    check_whole(&world, bucket.path());
    world.check_all();
    let aside = files(&world.path().join("node").join("damaged"));
    assert_eq!(aside.len(), 2);
    assert!(aside.iter().all(|path| fs::read(path).unwrap() != damaged));
    // In the bucket: one flipped, one cut, one gone.
    flip(&there[0]);
    fs::write(&there[1], "x").unwrap();
    fs::remove_file(&there[2]).unwrap();
    scrub(&world);
    assert_eq!(counts(&world), [(2, 2, 0), (3, 3, 0)]);
    check_whole(&world, bucket.path());
    // What was replaced is the engine's own after a restart too.
    world.open();
    world.check_all();
    scrub(&world);
    assert_eq!(counts(&world), [(0, 0, 0), (0, 0, 0)]);
    check_whole(&world, bucket.path());
}

/// The last copy is never dropped, however bad: it is said, and healed when a good one comes.
#[test]
fn what_nobody_has_whole_is_said_and_kept() {
    let bucket = tempfile::tempdir().unwrap();
    let mut world = world(52, bucket.path());
    world.open();
    few(&mut world);
    upload_all(&world);
    let here = local(&world);
    let file = here.first().unwrap();
    let content = fs::read(file).unwrap();
    let lies_at = |bytes: &[u8]| {
        let mut windows = bytes.windows(content.len());
        windows.position(|window| window == content)
    };
    let there = packs(bucket.path());
    let found = there
        .iter()
        .find_map(|(path, bytes)| Some((path, bytes, lies_at(bytes)?)));
    let (object, good, at) = found.unwrap();
    flip(file);
    let mut damaged = good.clone();
    damaged[at + content.len() / 2] ^= 1;
    fs::write(object, damaged).unwrap();
    let bad = fs::read(file).unwrap();
    scrub(&world);
    assert_eq!(counts(&world), [(1, 0, 1), (1, 0, 1)]);
    let trouble = world.member().cluster_status().trouble.join("\n");
    assert!(trouble.contains("could not be replaced"), "{trouble}");
    assert_eq!(fs::read(file).unwrap(), bad);
    assert!(object.exists());
    // Somebody finds a good one.
    fs::write(object, good).unwrap();
    scrub(&world);
    assert_eq!(counts(&world)[0], (1, 1, 0));
    check_whole(&world, bucket.path());
    world.check_all();
}

/// A node that is alone and has no bucket can only say so.
#[test]
fn without_a_bucket_damage_is_said_and_nothing_is_touched() {
    let mut world = World::new(53);
    few(&mut world);
    let file = local(&world).remove(0);
    flip(&file);
    let bad = fs::read(&file).unwrap();
    scrub(&world);
    assert_eq!(counts(&world), [(1, 0, 1)]);
    assert_eq!(fs::read(&file).unwrap(), bad);
}

/// Would catch a file that is dropped before its replacement can be found again.
#[test]
fn a_crash_while_a_file_is_replaced_loses_nothing() {
    let bucket = tempfile::tempdir().unwrap();
    for step in 1.. {
        let bucket = bucket.path().join(step.to_string());
        fs::create_dir(&bucket).unwrap();
        let mut world = world(54, &bucket);
        world.open();
        few(&mut world);
        upload_all(&world);
        flip(&local(&world)[0]);
        let clock = world.clock.clone();
        let died = world.die_while(step, |member| {
            for _ in 0..60 {
                clock.advance(Duration::from_secs(4 * 3600));
                let _ = member.store().finish_replacing();
                member.upkeep().scrubber().round(&CancelToken::new());
            }
        });
        world.check_all();
        scrub(&world);
        world.check_all();
        check_whole(&world, &bucket);
        if died.is_none() {
            assert!(step > 1, "nothing was replaced");
            return;
        }
    }
}

/// A round that is interrupted goes on where it was.
#[test]
fn a_restart_does_not_begin_the_round_anew() {
    let bucket = tempfile::tempdir().unwrap();
    let mut world = world(55, bucket.path());
    world.open();
    few(&mut world);
    let began = world.clock.now().0;
    for _ in 0..10 {
        world.clock.advance(Duration::from_secs(8 * 3600));
        world
            .member()
            .upkeep()
            .scrubber()
            .round(&CancelToken::new());
    }
    let before = world.member().cluster_status().scrub;
    assert!(before[0].bytes > 0);
    world.open();
    let after = world.member().cluster_status().scrub;
    assert_eq!(after[0], before[0]);
    assert!(after[0].began_ms <= began);
}

/// Would catch a copy that verification does not read, damage that it does not name, and damage that
/// nobody heals although it was named.
#[test]
fn verification_names_every_bad_copy_and_has_it_healed() {
    let bucket = tempfile::tempdir().unwrap();
    let mut world = world(56, bucket.path());
    world.open();
    few(&mut world);
    let (report, all) = verify(&world);
    assert_eq!(report.stage, VerifyStage::Done);
    assert_eq!((report.blocks, report.objects, report.waiting), (12, 0, 12));
    assert!(report.faults.is_empty() && all.unseen.is_empty());
    upload_all(&world);
    let (report, all) = verify(&world);
    assert_eq!((report.blocks, report.objects, report.waiting), (12, 12, 0));
    assert_eq!(report.bytes, report.bytes_all);
    assert!(report.faults.is_empty() && all.unseen.is_empty());
    let (here, there) = (local(&world), objects(bucket.path()));
    let content = fs::read(&here[4]).unwrap();
    let digest = *blake3::hash(&content).as_bytes();
    // Its copy in the bucket stays: somebody must have a good one.
    let has_it = |path: &&PathBuf| {
        let bytes = fs::read(path).unwrap();
        let mut windows = bytes.windows(content.len());
        windows.any(|window| window == content)
    };
    let other = there.iter().find(|path| !has_it(path)).unwrap();
    let of_file = entries(&world).into_iter();
    let of_file = of_file.filter(|(_, entry)| entry.digest.0 == digest);
    let of_file: Vec<_> = of_file
        .map(|(arc, entry)| (arc, Some((entry.id, entry.range)), false))
        .collect();
    flip(&here[4]);
    fs::remove_file(other).unwrap();
    let (report, all) = verify(&world);
    assert!(all.unseen.is_empty());
    let faults = report.faults.iter();
    let faults: Vec<_> = faults
        .map(|fault| (fault.arc, fault.block, fault.in_bucket))
        .collect();
    let (gone, bad): (Vec<_>, Vec<_>) = faults.into_iter().partition(|(.., there)| *there);
    assert_eq!(bad, of_file);
    assert_eq!(
        (gone.len(), report.faults_all),
        (4, 5),
        "all blocks of the pack"
    );
    // Not in a week: in the next turn.
    let scrubber = world.member().upkeep().scrubber();
    scrubber.round(&CancelToken::new());
    world.member().store().finish_replacing().unwrap();
    assert_eq!(counts(&world)[0], (1, 1, 0));
    assert_eq!(counts(&world)[1].2, 0);
    check_whole(&world, bucket.path());
    let (report, _) = verify(&world);
    assert_eq!(
        (report.blocks, report.objects, report.faults_all),
        (12, 12, 0)
    );
    world.check_all();
}

/// Would catch a proof without the bucket, and an order that nobody can end.
#[test]
fn what_could_not_be_looked_at_is_not_proven() {
    let bucket = tempfile::tempdir().unwrap();
    let mut world = world(57, bucket.path());
    world.open();
    few(&mut world);
    upload_all(&world);
    let reads = world.member().upkeep().uploader().bucket();
    reads
        .faults
        .set(Some(Box::new(|_, _: &str| Some(BucketFault::Fail))));
    let (report, all) = verify(&world);
    assert_eq!(
        (report.blocks, report.objects, report.faults_all),
        (12, 0, 1)
    );
    assert!(report.faults[0].problem.contains("could not be looked at"));
    assert!(all.unseen[0].contains("objects of partitions"), "{all:?}");
    reads.faults.set(None);
    let verification = world.member().verification();
    let bytes_per_second = 1;
    drop(verification.everywhere(Some(VerifyOrder::Begin { bytes_per_second })));
    let all = verification.everywhere(Some(VerifyOrder::CallOff));
    world
        .member()
        .upkeep()
        .verifier()
        .round(&CancelToken::new());
    assert_eq!(verification.everywhere(None), all);
    let VerifyStanding::Has(report) = &all.nodes[0].standing else {
        panic!("{all:?}");
    };
    assert_eq!((report.stage, report.blocks), (VerifyStage::CalledOff, 0));
}
