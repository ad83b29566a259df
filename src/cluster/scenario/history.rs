//! The catalog grows with time, the control state does not: older blocks are listed by manifests,
//! and nothing changes for whoever reads, merges, uploads, restores or crashes.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use super::bucket::{entries, files, round, upload_all, world};
use super::merging::write_day;
use super::restore::restore;
use super::world::*;
use crate::archive::{CatalogCopy, Named, parse_name};
use crate::cluster::clocks::DeletionClock;
use crate::cluster::control::MANIFEST_LEVEL;
use crate::cluster::retention::Retention;
use crate::model::*;
use crate::runtime::CancelToken;
use crate::store::{Batch, Durability, Engine, RetentionSettings, Space};

impl World {
    /// Moves what is due to the manifests.
    pub(super) fn keep_history(&self) {
        self.member().historian().pass(&CancelToken::new());
    }

    pub(super) fn retain(&mut self, settings: RetentionSettings) {
        let member = self.member.as_ref().unwrap();
        let clock = DeletionClock::alone(self.clock.clone(), member.incarnation());
        let retention = Retention::new(
            member.store(),
            Arc::clone(member.manifests()),
            member.control(),
            clock,
            settings,
        );
        retention.pass(member.sealer()).unwrap();
        let state = member.control_state();
        let horizons = state.partitions.values().map(|p| p.expired_before.0);
        self.model.horizon = horizons.max().unwrap_or(0).max(self.model.horizon);
    }
}

/// Blocks that the state lists, and those that manifests list.
fn listed(world: &World) -> (usize, u32) {
    let state = world.member().control_state();
    let partitions = state.partitions.values();
    let older = partitions.clone().filter_map(|p| p.history);
    (
        partitions.map(|p| p.recent.len()).sum(),
        older.map(|history| history.blocks).sum(),
    )
}

fn rounds(world: &World) -> usize {
    let state = world.member().control_state();
    state.partitions.values().map(|p| p.rounds.len()).sum()
}

fn days(world: &mut World, days: std::ops::Range<i64>) {
    for day in days {
        write_day(world, day);
        world.merge();
        world.keep_history();
    }
}

/// Would catch a state that grows with time, a block that a sweep takes for nobody's because a
/// manifest lists it, a merge that does not find its inputs, and what has expired but stays.
#[test]
fn the_state_stays_small_whatever_is_kept() {
    let mut world = World::new(31);
    days(&mut world, 0..6);
    let early = (
        world.member().control_state().encode().len(),
        rounds(&world),
    );
    days(&mut world, 6..14);
    let (recent, older) = listed(&world);
    assert!(older > 0, "{recent} blocks in the state");
    let late = (
        world.member().control_state().encode().len(),
        rounds(&world),
    );
    assert!(late.0 <= early.0 * 5 / 4, "{early:?} {late:?}");
    assert!(late.1 <= early.1 * 5 / 4, "{early:?} {late:?}");
    world.check_all();
    let blocks = entries(&world);
    // A start sweeps what nobody names.
    world.open();
    assert_eq!(entries(&world), blocks);
    world.check_all();
    world.crash();
    world.check_all();
    // Sixteen days become one: their blocks come back for it.
    days(&mut world, 14..16);
    world.clock.advance(Duration::from_secs(10 * 86_400));
    assert!(world.merge() > 0);
    let levels: BTreeSet<u8> = entries(&world).iter().map(|(_, e)| e.level.0).collect();
    assert_eq!(levels, BTreeSet::from([2]));
    world.check_all();
    world.clock.advance(Duration::from_secs(2 * 86_400));
    world.keep_history();
    assert_eq!(listed(&world).0, 0);
    world.check_all();
    // What is late is a block of its own day, and old at once; the rounds of that day go on.
    let at = super::merging::FIRST;
    world.floats(2, &[(at + 7, 4.0)]);
    world.flush();
    world.open();
    world.check_all();
    world.clock.advance(Duration::from_secs(20 * 86_400));
    world.retain(RetentionSettings {
        total: Some(Duration::from_secs(25 * 86_400)),
        ..RetentionSettings::default()
    });
    world.check_all();
    assert_eq!(entries(&world), Vec::new());
    assert!(world.member().store().blocks().is_empty());
    world.keep_history();
    assert_eq!(listed(&world), (0, 0));
    world.open();
    world.check_all();
}

/// Would catch anything that is lost or doubled when the node dies on the way.
#[test]
fn a_crash_at_any_step_of_a_move_to_the_manifest_loses_nothing() {
    let mut died_at = BTreeSet::new();
    for step in 1.. {
        let mut world = World::new(32);
        days(&mut world, 0..1);
        world.clock.advance(Duration::from_secs(4 * 86_400));
        let died = world.die_while(step, |member| member.historian().pass(&CancelToken::new()));
        world.check_all();
        world.floats(1, &[(super::merging::FIRST + 9, 7.0)]);
        world.flush();
        world.keep_history();
        world.open();
        world.check_all();
        match died {
            Some(step) => died_at.insert(step),
            None => break,
        };
    }
    for step in ["commit manifest", "manifest committed", "applied"] {
        assert!(died_at.contains(step), "{died_at:?}");
    }
}

/// Would catch a catalog that is taken for whole without its manifest: an empty answer instead of
/// an error with a name.
#[test]
fn a_manifest_that_is_gone_is_named_and_comes_back_from_the_bucket() {
    for has_bucket in [false, true] {
        let bucket = tempfile::tempdir().unwrap();
        let mut world = match has_bucket {
            false => World::unopened(33),
            true => world(33, bucket.path()),
        };
        world.open();
        days(&mut world, 0..2);
        if has_bucket {
            upload_all(&world);
        }
        world.clock.advance(Duration::from_secs(4 * 86_400));
        world.keep_history();
        if has_bucket {
            upload_all(&world);
        }
        assert!(listed(&world).1 > 0);
        let mut batch = Batch::new();
        for (key, _) in world.engine.scan(Space::Meta, b"manifest/", None).unwrap() {
            batch.delete(Space::Meta, &key);
        }
        world.engine.write(batch, Durability::Synced).unwrap();
        world.open();
        world.check_all();
        world.floats(1, &[(super::merging::FIRST + 9, 7.0)]);
        let pass = world.member().flush().unwrap();
        assert_eq!(
            (pass.failed > 0, pass.sealed > 0),
            (!has_bucket, has_bucket)
        );
        world.check_all();
        if !has_bucket {
            let state = world.member().control_state();
            let cancel = CancelToken::new();
            let named = state.partitions.iter().find_map(|(arc, partition)| {
                let digest = partition.history?.digest.to_string();
                let follower = world.member().follower();
                let error = follower.bring_up(&state, *arc, &cancel).err()?;
                Some((error.to_string(), digest))
            });
            let (error, digest) = named.expect("a partition cannot be brought up");
            assert!(error.contains(&digest), "{error}");
        }
    }
}

/// Would catch history that the bucket has and a restore forgets, and one damaged object that takes
/// years with it.
#[test]
fn history_comes_back_from_the_bucket_even_without_its_manifest() {
    for damage in [false, true] {
        let bucket = tempfile::tempdir().unwrap();
        let mut old = world(34, bucket.path());
        old.open();
        for day in 0..4 {
            write_day(&mut old, day);
            old.merge();
            upload_all(&old);
            old.keep_history();
            upload_all(&old);
        }
        let blocks = entries(&old);
        let (recent, older) = listed(&old);
        assert!(recent > 0 && older > 0);
        let objects = files(bucket.path());
        let name = |path: &std::path::Path| {
            let path = path.strip_prefix(bucket.path()).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let manifests = objects
            .iter()
            .filter(|path| matches!(parse_name(&name(path)), Some(Named::Manifest { .. })));
        let manifests: Vec<_> = manifests.collect();
        assert!(!manifests.is_empty());
        if damage {
            for path in &manifests {
                fs::write(path, b"CAIRNMAN").unwrap();
            }
        }
        let mut next = world(35, bucket.path());
        next.clock = old.clock.clone();
        next.clock.advance(Duration::from_secs(4 * 86_400));
        let restored = restore(&next, usize::MAX).unwrap();
        next.model = std::mem::take(&mut old.model);
        next.open();
        next.check_all();
        if damage {
            let complaints = restored.complaints.join("\n");
            // An older copy that is whole, from before its manifest, is taken where there is one.
            assert!(complaints.contains("not whole: "), "{complaints}");
        } else {
            assert_eq!(restored.complaints, Vec::<String>::new());
            // Merged ones that still lie there are taken once more.
            let there = entries(&next);
            assert!(blocks.iter().all(|block| there.contains(block)));
        }
        // And it goes to manifests of its own.
        next.keep_history();
        upload_all(&next);
        let (_, older) = listed(&next);
        assert!(older > 0);
        next.crash();
        next.check_all();
    }
}

/// Would catch a copy of the catalog whose manifest is not there yet, and manifests that pile up.
#[test]
fn every_copy_of_a_catalog_finds_its_manifest() {
    let bucket = tempfile::tempdir().unwrap();
    let mut world = world(36, bucket.path());
    world.open();
    for day in 0..30 {
        write_day(&mut world, day);
        world.flush();
        upload_all(&world);
        world.clock.advance(Duration::from_secs(3600));
        world.keep_history();
        round(&world);
    }
    upload_all(&world);
    let mut manifests = 0;
    for path in files(bucket.path()) {
        let name = path.strip_prefix(bucket.path()).unwrap().to_str().unwrap();
        match parse_name(name) {
            Some(Named::Catalog { arc, cluster, .. }) => {
                let copy = CatalogCopy::decode(&fs::read(&path).unwrap()).unwrap();
                let Some(digest) = copy.history else {
                    continue;
                };
                let manifest = crate::archive::manifest_name(cluster, arc, digest);
                let bytes = fs::read(bucket.path().join(manifest)).unwrap();
                assert_eq!(*blake3::hash(&bytes).as_bytes(), digest.0);
            }
            Some(Named::Manifest { .. }) => manifests += 1,
            _ => {}
        }
    }
    let arcs = world.member().control_state().partitions.len();
    assert!(manifests > 0 && manifests <= arcs * 17, "{manifests}");
}

/// Would catch blocks that are never uploaded because a manifest lists them, and a metric that
/// calls them safe.
#[test]
fn a_bucket_that_comes_later_gets_the_older_blocks_too() {
    let bucket = tempfile::tempdir().unwrap();
    let mut world = World::new(37);
    days(&mut world, 0..3);
    world.clock.advance(Duration::from_secs(4 * 86_400));
    world.keep_history();
    let (recent, older) = listed(&world);
    assert!(recent == 0 && older > 0);
    let blocks = entries(&world).len() as u64;
    let with = super::bucket::world(37, bucket.path());
    world.settings.archive = with.settings.archive.clone();
    world.open();
    assert!(world.member().control_state().feature_level >= MANIFEST_LEVEL);
    let waiting = || {
        let status = world.member().cluster_status();
        status.archive.unwrap().waiting_blocks
    };
    assert_eq!(waiting(), blocks);
    round(&world);
    world.keep_history();
    upload_all(&world);
    assert_eq!(waiting(), 0);
    world.clock.advance(Duration::from_secs(2 * 86_400));
    world.keep_history();
    assert_eq!(listed(&world).0, 0);
    let uploaded = |(_, entry): &(RingArc, BlockEntry)| entry.uploaded != Uploaded::None;
    assert!(entries(&world).iter().all(uploaded));
    world.check_all();
}
