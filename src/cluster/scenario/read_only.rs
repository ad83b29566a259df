//! A node that only looks at another cluster's bucket: it shows what is there, follows it, and
//! changes nothing.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use prometheus_client::registry::Registry;

use super::bucket::{HOUR, entries, files, upload_all, world, write};
use super::sweep::{hours, sweep};
use super::world::*;
use super::world_of;
use crate::cluster::member::LocalMember;
use crate::cluster::{Error, ReadOnlyNode};
use crate::model::*;
use crate::runtime::{CancelToken, SeededChance};
use crate::source::{Selection, Source};

/// Another node, on a directory of its own, that looks at the bucket of a world.
fn look_at(world: &World, bucket: &Path, name: &str) -> Result<ReadOnlyNode, Error> {
    let mut settings = world.settings.clone();
    settings.data_dir = world.path().join(name);
    settings.archive.local.path = Some(bucket.to_owned());
    let chance = std::sync::Arc::new(SeededChance::new(9));
    let around = world_of(world.clock.clone(), chance);
    ReadOnlyNode::open_idle(&settings, &around, &mut Registry::default())
}

fn selection(owner: u64) -> Selection {
    Selection {
        tenant: tenant(owner),
        matchers: Vec::new(),
        range: TimeRange::ALL,
    }
}

/// A list that is asked of a source.
type Ask = fn(&dyn Source, &Selection) -> Vec<String>;

/// What it answers is what the cluster answers.
fn check(node: &ReadOnlyNode, world: &World) {
    let (source, store) = (node.source(), world.member().store());
    let mut samples = 0;
    for owner in 0..2 {
        let selection = selection(owner);
        let got = drain(source.select(&selection, &context()).unwrap().as_mut());
        assert_eq!(
            got,
            world.read(&selection.tenant, Vec::new(), selection.range)
        );
        samples += got.values().map(Samples::len).sum::<usize>();
        let asked: [Ask; 3] = [
            |of, what| of.label_names(what, 0, &context()).unwrap(),
            |of, what| of.label_values("number", what, 0, &context()).unwrap(),
            |of, what| {
                let series = of.series(what, 0, &context()).unwrap();
                series.iter().map(ToString::to_string).collect()
            },
        ];
        for ask in asked {
            let got = ask(source.as_ref(), &selection);
            assert_eq!(got, ask(store.as_ref(), &selection));
        }
        let metadata = |of: &dyn Source| of.metadata(&tenant(owner), None, &context()).unwrap();
        assert_eq!(metadata(source.as_ref()), metadata(store.as_ref()));
    }
    assert!(samples > 0);
}

/// Every byte of the bucket, and when it was written.
fn bytes_of(bucket: &Path) -> Vec<(PathBuf, SystemTime, Vec<u8>)> {
    let each = files(bucket).into_iter().map(|path| {
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        let bytes = fs::read(&path).unwrap();
        (path, modified, bytes)
    });
    each.collect()
}

fn ids(node: &ReadOnlyNode) -> Vec<BlockId> {
    let mut ids: Vec<BlockId> = node.blocks().into_iter().map(|(_, one)| one.id).collect();
    ids.sort_unstable();
    ids
}

/// The same of the cluster.
fn own_ids(world: &World) -> Vec<BlockId> {
    let mut ids: Vec<BlockId> = entries(world).into_iter().map(|(_, one)| one.id).collect();
    ids.sort_unstable();
    ids
}

/// Would catch a block that is not shown, one that stays when it was merged, an answer that differs
/// from the cluster's, and anything that is written to the bucket.
#[test]
fn a_read_only_node_follows_the_bucket_and_changes_nothing() {
    let bucket = tempfile::tempdir().unwrap();
    let mut world = world(70, bucket.path());
    world.open();
    // Old enough to be merged as soon as it is there.
    world.clock.advance(hours(40));
    write(&mut world);
    world.append_metadata(&tenant(1), "metric_1", "one");
    world.flush();
    upload_all(&world);
    let before = bytes_of(bucket.path());
    let node = look_at(&world, bucket.path(), "look").unwrap();
    check(&node, &world);
    let status = node.status();
    assert_eq!(status.trouble, Vec::<String>::new());
    assert_eq!(status.blocks, world.member().store().block_totals().0);
    assert_eq!(
        status.cluster,
        world.member().control_state().cluster.unwrap().to_string()
    );
    assert!(node.look());
    assert!(node.status().read.0 > 0);
    assert_eq!(bytes_of(bucket.path()), before, "nothing was written");
    // Sealed and uploaded since, and no catalog names it yet: a pack's directory does.
    let catalogs = catalogs(bucket.path());
    world.floats(3, &[(START - HOUR, 7.0), (START - 30 * HOUR, 8.0)]);
    world.flush();
    upload_all(&world);
    let hidden = tempfile::tempdir().unwrap();
    let newer = newer_catalogs(bucket.path(), &catalogs);
    for (nth, path) in newer.iter().enumerate() {
        fs::rename(path, hidden.path().join(nth.to_string())).unwrap();
    }
    let blocks = ids(&node).len();
    assert!(node.look());
    assert!(ids(&node).len() > blocks);
    check(&node, &world);
    for (nth, path) in newer.iter().enumerate() {
        fs::rename(hidden.path().join(nth.to_string()), path).unwrap();
    }
    // Merged: what was replaced goes, and a read that has begun goes on.
    let (old, one) = (ids(&node), selection(1));
    let source = node.source();
    let mut begun = source.select(&one, &context()).unwrap();
    assert!(world.merge() > 0);
    upload_all(&world);
    assert!(node.look());
    assert!(ids(&node).len() < old.len());
    // Also what was uploaded just before it was merged.
    assert_eq!(ids(&node), own_ids(&world));
    check(&node, &world);
    let read = drain(begun.as_mut());
    assert_eq!(read, world.read(&one.tenant, Vec::new(), one.range));
    drop((begun, source));
    // A day later the cluster removes what it replaced: nobody here misses it.
    for _ in 0..80 {
        world.clock.advance(Duration::from_secs(1800));
        assert_eq!(sweep(&world), None);
    }
    let before = bytes_of(bucket.path());
    assert!(node.look());
    drop(node);
    fs::remove_dir_all(world.path().join("look/cache")).unwrap();
    let node = look_at(&world, bucket.path(), "look").unwrap();
    check(&node, &world);
    assert_eq!(bytes_of(bucket.path()), before, "nothing was written");
}

pub(super) fn newer_catalogs(bucket: &Path, than: &[PathBuf]) -> Vec<PathBuf> {
    let mut all = catalogs(bucket);
    all.retain(|path| !than.contains(path));
    all
}

pub(super) fn catalogs(bucket: &Path) -> Vec<PathBuf> {
    let mut all = files(bucket);
    all.retain(|path| path.to_string_lossy().contains("/catalog/"));
    all
}

/// Would catch a block that is left out as replaced although what replaced it is lost.
#[test]
fn what_was_replaced_is_shown_when_what_replaced_it_is_lost() {
    let bucket = tempfile::tempdir().unwrap();
    let mut world = world(73, bucket.path());
    world.open();
    world.clock.advance(hours(40));
    write(&mut world);
    world.flush();
    upload_all(&world);
    world.floats(3, &[(START - HOUR, 7.0), (START - 30 * HOUR, 8.0)]);
    world.flush();
    upload_all(&world);
    let (before, inputs) = (files(bucket.path()), own_ids(&world));
    assert!(world.merge() > 0);
    upload_all(&world);
    let node = look_at(&world, bucket.path(), "look").unwrap();
    assert_eq!(ids(&node), own_ids(&world));
    // What was merged is lost, and so are the copies that named what it was merged from.
    let is = |path: &PathBuf, what: &str| path.to_string_lossy().contains(what);
    let mut lost = files(bucket.path());
    lost.retain(|path| match before.contains(path) {
        true => is(path, "/catalog/"),
        false => is(path, "/blocks/") || is(path, "/packs/"),
    });
    assert!(lost.iter().any(|path| !is(path, "/catalog/")));
    lost.iter().for_each(|path| fs::remove_file(path).unwrap());
    assert!(node.look());
    let trouble = node.status().trouble.join("\n");
    assert!(trouble.contains("is lost"), "{trouble}");
    assert!(ids(&node).iter().all(|id| inputs.contains(id)));
    check(&node, &world);
}

/// Blocks with objects of their own that no catalog names say themselves what they are; what is
/// damaged is named, and the rest is shown.
#[test]
fn blocks_that_no_catalog_names_are_shown_and_damage_is_said() {
    let bucket = tempfile::tempdir().unwrap();
    let mut world = world(71, bucket.path());
    world.open();
    write(&mut world);
    world.flush();
    upload_all(&world);
    // As a cluster with larger blocks puts them: each alone.
    let cluster = world.member().control_state().cluster.unwrap().to_string();
    let below = bucket.path().join(&cluster);
    let mut objects = Vec::new();
    for pack in files(&below.join("packs")) {
        let bytes = fs::read(&pack).unwrap();
        let directory = super::bucket::directory_of(&bytes).unwrap();
        for block in &directory.blocks {
            let name = crate::archive::block_name(directory.cluster, block.arc, &block.entry);
            let from = usize::try_from(block.offset).unwrap();
            let len = usize::try_from(block.entry.size).unwrap();
            let path = bucket.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &bytes[from..from + len]).unwrap();
            objects.push(path);
        }
        fs::remove_file(&pack).unwrap();
    }
    fs::remove_dir_all(below.join("catalog")).unwrap();
    let node = look_at(&world, bucket.path(), "look").unwrap();
    assert_eq!(node.status().trouble, Vec::<String>::new());
    assert_eq!(ids(&node).len(), objects.len());
    check(&node, &world);
    drop(node);
    let victim = &objects[objects.len() / 2];
    let mut bytes = fs::read(victim).unwrap();
    if let Some(last) = bytes.last_mut() {
        *last ^= 1;
    }
    fs::write(victim, bytes).unwrap();
    let node = look_at(&world, bucket.path(), "again").unwrap();
    let trouble = node.status().trouble.join("\n");
    assert!(trouble.contains("is left out"), "{trouble}");
    assert_eq!(ids(&node).len(), objects.len() - 1);
}

/// What is not there, is another's, or comes from a newer version is said before anything is served.
#[test]
fn what_cannot_be_looked_at_is_said() {
    let bucket = tempfile::tempdir().unwrap();
    let mut world = world(72, bucket.path());
    world.open();
    let refused = |bucket: &Path, name: &str| {
        let refused = look_at(&world, bucket, name).unwrap_err();
        refused.to_string()
    };
    let error = refused(bucket.path(), "look");
    assert!(error.contains("holds no cluster"), "{error}");
    let error = refused(&bucket.path().join("away"), "look");
    assert!(error.contains("does not exist"), "{error}");
    let mut looked = world.settings.clone();
    looked.archive.main.kind = crate::archive::ArchiveKind::None;
    std::mem::swap(&mut world.settings, &mut looked);
    let error = look_at(&world, bucket.path(), "look")
        .unwrap_err()
        .to_string();
    assert!(error.contains("archive.kind"), "{error}");
    std::mem::swap(&mut world.settings, &mut looked);
    write(&mut world);
    world.flush();
    upload_all(&world);
    let node = look_at(&world, bucket.path(), "look").unwrap();
    let error = look_at(&world, bucket.path(), "look")
        .unwrap_err()
        .to_string();
    assert!(error.contains("in use"), "{error}");
    // The bucket goes away, and comes back as that of a newer version.
    let path = bucket.path().join("cluster.json");
    let record = fs::read_to_string(&path).unwrap();
    fs::remove_file(&path).unwrap();
    assert!(!node.look());
    let trouble = node.status().trouble.join("\n");
    assert!(
        trouble.contains("grows old") && trouble.contains("holds no cluster"),
        "{trouble}"
    );
    check(&node, &world);
    fs::write(&path, record.replace("\"format\": 1", "\"format\": 2")).unwrap();
    assert!(!node.look());
    let error = look_at(&world, bucket.path(), "newer")
        .unwrap_err()
        .to_string();
    assert!(error.contains("newer"), "{error}");
    fs::write(&path, record).unwrap();
    assert!(node.look());
    assert_eq!(node.status().trouble, Vec::<String>::new());
    // Catalogs of a newer version, all of them.
    for path in catalogs(bucket.path()) {
        let mut bytes = fs::read(&path).unwrap();
        bytes[8] = 3;
        let len = bytes.len() - 32;
        let digest = blake3::hash(&bytes[..len]);
        bytes[len..].copy_from_slice(digest.as_bytes());
        fs::write(&path, bytes).unwrap();
    }
    let error = look_at(&world, bucket.path(), "newer")
        .unwrap_err()
        .to_string();
    assert!(error.contains("format 3"), "{error}");
    assert!(!node.look());
    check(&node, &world);
}

/// The numbers of the series that a source shows.
fn shown(source: &dyn Source) -> BTreeSet<u64> {
    let select = |owner| source.select(&selection(owner), &context()).unwrap();
    let all = (0..2).flat_map(|owner| drain(select(owner).as_mut()).into_keys());
    all.map(|labels| labels.get("number").unwrap().parse().unwrap())
        .collect()
}

/// Would catch a deleted series that is shown because its blocks are not rewritten yet, one that is shown
/// again between the end of the delete and the next copy of the catalog, and one that was undone or written
/// anew and stays hidden.
#[test]
fn what_is_deleted_is_hidden_before_it_is_rewritten_and_after() {
    let bucket = tempfile::tempdir().unwrap();
    let mut world = world(74, bucket.path());
    world.open();
    for number in 0..4 {
        let samples: Vec<(i64, f64)> = (1..20).map(|i| (START - i * HOUR, 1.0)).collect();
        world.floats(number, &samples);
    }
    world.flush();
    upload_all(&world);
    let node = look_at(&world, bucket.path(), "look").unwrap();
    let source = node.source();
    let check = |world: &World, want: &[u64]| {
        assert!(node.look());
        assert_eq!(node.status().trouble, Vec::<String>::new());
        assert_eq!(shown(source.as_ref()), want.iter().copied().collect());
        assert_eq!(
            shown(world.member().source().as_ref()),
            shown(source.as_ref())
        );
    };
    check(&world, &[0, 1, 2, 3]);
    // A block that is as new as a copy of the catalog may have missed it.
    world.clock.advance(hours(1));
    let deletes = world.member().deletes();
    let delete = |number: u64| {
        let (owner, labels) = series(number);
        let name = labels.metric_name().unwrap();
        let matcher = Matcher::new("__name__", MatchOp::Equal, name).unwrap();
        let row = deletes.delete(&owner, vec![matcher], TimeRange::ALL);
        row.unwrap().unwrap()
    };
    // Nothing in the bucket changes but the list of deletes.
    let undone = delete(1);
    delete(0);
    super::bucket::round(&world);
    check(&world, &[2, 3]);
    let names = |of: &dyn Source| of.label_values("number", &selection(0), 0, &context());
    assert_eq!(names(source.as_ref()).unwrap(), ["2"]);
    deletes.undo(&tenant(1), &undone.id).unwrap();
    deletes.clean(&tenant(0)).unwrap();
    for _ in 0..2 {
        world.merge();
        deletes.pass(&CancelToken::new());
    }
    assert_eq!(world.member().cluster_status().deletes, []);
    // It has ended, and the newest copies of the catalog still name its blocks.
    for _ in 0..20 {
        super::bucket::round(&world);
        world.clock.advance(Duration::from_secs(61));
    }
    assert!(node.look());
    assert!(!shown(source.as_ref()).contains(&0));
    // Copies of the catalog that are newer say that it is over, and what was undone is shown.
    world.clock.advance(hours(1));
    for number in 1..4 {
        world.floats(number, &[(START + 1000, 5.0)]);
    }
    world.flush();
    upload_all(&world);
    check(&world, &[1, 2, 3]);
    // Written anew, for times of which nothing is hidden any more.
    world.floats(0, &[(START - HOUR, 5.0)]);
    world.flush();
    upload_all(&world);
    check(&world, &[0, 1, 2, 3]);
}

/// The directory of a node of a cluster is not to be looked from.
#[test]
fn a_nodes_own_directory_is_refused() {
    let bucket = tempfile::tempdir().unwrap();
    let mut world = world(73, bucket.path());
    world.open();
    write(&mut world);
    world.flush();
    upload_all(&world);
    let mut settings = world.settings.clone();
    settings.data_dir = world.path().join("own");
    settings.archive.main.kind = crate::archive::ArchiveKind::None;
    let chance = std::sync::Arc::new(SeededChance::new(9));
    let around = world_of(world.clock.clone(), chance);
    let member = LocalMember::open(&settings, &around, &mut Registry::default()).unwrap();
    member.close().unwrap();
    drop(member);
    let error = look_at(&world, bucket.path(), "own")
        .unwrap_err()
        .to_string();
    assert!(error.contains("one of its own"), "{error}");
    // A start that is called off ends.
    let cancelled = CancelToken::new();
    cancelled.cancel();
    let around = crate::cluster::World {
        cancel: cancelled,
        ..around
    };
    settings = world.settings.clone();
    settings.data_dir = world.path().join("off");
    assert!(ReadOnlyNode::open_idle(&settings, &around, &mut Registry::default()).is_err());
}
