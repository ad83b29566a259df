//! Each rule of the sweeper alone (decision 17): where two of them stand one behind the other, the
//! other one holds no more, and this one must keep what is there.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use super::bucket::{entries, files, upload_all, world, write};
use super::sweep::{hours, merged, named, sweep, there};
use super::world::*;
use crate::archive::{
    ArchiveMetrics, CatalogCopy, ClusterRecord, Named, Traffic, block_name, catalog_name,
    parse_name,
};
use crate::cluster::Error;
use crate::cluster::blocks::{Archive, Sweeper, SweeperParts};
use crate::cluster::control::{
    Command, Confirmed, Control, ControlError, ControlState, Manifest, Outcome,
};
use crate::cluster::manifests::Manifests;
use crate::model::*;
use crate::runtime::{CancelToken, Clock, SeededChance};
use crate::store::MemoryEngine;

/// What is said when it is asked for the n-th time in a round who leads: the state that is
/// confirmed, or nothing.
type Word = Box<dyn Fn(usize) -> Option<Arc<ControlState>> + Send + Sync>;

/// A control group that says something else every time it is asked.
struct Fickle {
    inner: Arc<dyn Control>,
    asked: AtomicUsize,
    word: Word,
}

impl Control for Fickle {
    fn propose(&self, command: &Command) -> Result<Outcome, ControlError> {
        self.inner.propose(command)
    }

    fn state(&self) -> Arc<ControlState> {
        self.inner.state()
    }

    fn changed(&self) -> tokio::sync::watch::Receiver<u64> {
        self.inner.changed()
    }

    fn leader(&self) -> Option<Incarnation> {
        self.inner.leader()
    }

    fn is_leader(&self) -> bool {
        true
    }

    fn confirmed(&self) -> Option<Confirmed> {
        let state = (self.word)(self.asked.fetch_add(1, Ordering::Relaxed))?;
        let voters = self.inner.leader().into_iter().collect();
        Some(Confirmed { state, voters })
    }
}

/// Sweeps for days on such a word, where clocks are believed or not; the last trouble.
fn sweep_on(world: &World, clocks_agree: bool, word: Word) -> Option<String> {
    let manifests = Arc::clone(world.member().manifests());
    sweep_with(world, clocks_agree, manifests, word)
}

/// The same of a leader that keeps other manifests.
fn sweep_with(
    world: &World,
    clocks_agree: bool,
    manifests: Arc<Manifests>,
    word: Word,
) -> Option<String> {
    let control = Arc::new(Fickle {
        inner: world.member().control(),
        asked: AtomicUsize::new(0),
        word,
    });
    let clock: Arc<dyn Clock> = world.clock.clone();
    let chance = Arc::new(SeededChance::new(1));
    let runtime = super::world_of(world.clock.clone(), chance.clone()).runtime;
    let metrics = ArchiveMetrics::default();
    let archive = Archive::open(&world.settings.archive, &clock, &runtime, metrics);
    let sweeper = Sweeper::new(SweeperParts {
        archive: archive.unwrap().unwrap(),
        control: control.clone(),
        clock: clock.clone(),
        believed: Arc::new(move |_| match clocks_agree {
            true => Ok(clock.now()),
            false => Err(Error::TooFew("the clocks do not agree".to_owned())),
        }),
        chance,
        manifests,
    });
    for _ in 0..60 {
        world.clock.advance(hours(1));
        control.asked.store(0, Ordering::Relaxed);
        sweeper.round(&CancelToken::new());
    }
    sweeper.trouble()
}

/// All that lies there, with its bytes.
fn content(bucket: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let all = files(bucket).into_iter();
    all.map(|path| (path.clone(), fs::read(&path).unwrap()))
        .collect()
}

/// The same but for the sweeper's list.
fn kept(bucket: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = content(bucket);
    all.retain(|path, _| !path.ends_with("leftovers.json"));
    all
}

/// Would catch a leader that is deposed between its look and its removal, and goes on.
#[test]
fn every_batch_wants_a_confirmed_leader() {
    let bucket = tempfile::tempdir().unwrap();
    let world = merged(41, bucket.path());
    let before = kept(bucket.path());
    let state = world.member().control_state();
    let shown = state.clone();
    sweep_on(
        &world,
        true,
        Box::new(move |nth| (nth == 0).then(|| shown.clone())),
    );
    assert_eq!(kept(bucket.path()), before);
    // With the same word every time it goes.
    sweep_on(&world, true, Box::new(move |_| Some(state.clone())));
    assert!(kept(bucket.path()).len() < before.len());
}

/// Would catch a sweeper that believes what it knew: a node that nobody confirms removes nothing,
/// and one that was shown a state of before removes nothing that the catalog of today names.
#[test]
fn nobody_sweeps_on_a_word_that_is_not_confirmed() {
    let bucket = tempfile::tempdir().unwrap();
    let mut world = world(37, bucket.path());
    world.open();
    write(&mut world);
    world.flush();
    upload_all(&world);
    let old = world.member().control_state();
    world.clock.advance(hours(40));
    assert!(world.merge() > 0);
    upload_all(&world);
    let before = there(bucket.path());
    for word in [None, Some(old)] {
        sweep_on(&world, true, Box::new(move |_| word.clone()));
        let left = there(bucket.path());
        assert!(named(&world).is_subset(&left));
        assert_eq!(left, before);
    }
}

/// Would catch one that was deposed long ago and writes over the list of who leads now.
#[test]
fn who_is_not_confirmed_writes_nothing() {
    let bucket = tempfile::tempdir().unwrap();
    let world = merged(42, bucket.path());
    let before = content(bucket.path());
    let state = world.member().control_state();
    sweep_on(
        &world,
        true,
        Box::new(move |nth| (nth > 0).then(|| state.clone())),
    );
    assert_eq!(content(bucket.path()), before);
}

/// Would catch a leader that takes its own clock's word for a day that has not passed elsewhere.
#[test]
fn nothing_goes_while_the_clocks_of_voters_do_not_agree() {
    let bucket = tempfile::tempdir().unwrap();
    let world = merged(43, bucket.path());
    let before = content(bucket.path());
    let state = world.member().control_state();
    let trouble = sweep_on(&world, false, Box::new(move |_| Some(state.clone())));
    assert!(trouble.unwrap().contains("do not agree"));
    assert_eq!(content(bucket.path()), before);
}

/// Would catch a batch that is removed on the state of the first look.
#[test]
fn every_batch_is_looked_up_in_the_state_that_is_confirmed_for_it() {
    let bucket = tempfile::tempdir().unwrap();
    let mut world = world(44, bucket.path());
    world.open();
    write(&mut world);
    world.flush();
    upload_all(&world);
    let needed = world.member().control_state();
    world.clock.advance(hours(40));
    assert!(world.merge() > 0);
    upload_all(&world);
    let before = kept(bucket.path());
    let merged = world.member().control_state();
    sweep_on(
        &world,
        true,
        Box::new(move |nth| Some(if nth == 0 { &merged } else { &needed }.clone())),
    );
    assert_eq!(kept(bucket.path()), before);
}

/// Would catch a sweeper that writes its list into a bucket that is another's, and one that does not
/// see the mark of a restore that was made while it looked.
#[test]
fn the_mark_of_a_restore_is_looked_for_first_and_before_every_batch() {
    let bucket = tempfile::tempdir().unwrap();
    let world = merged(45, bucket.path());
    let record = bucket.path().join("cluster.json");
    let own = fs::read(&record).unwrap();
    let cluster = world.member().control_state().cluster.unwrap().0;
    let restored = ClusterRecord {
        cluster: 99,
        ancestors: vec![cluster],
    };
    fs::write(&record, restored.encode()).unwrap();
    let before = content(bucket.path());
    for _ in 0..9 {
        world.clock.advance(hours(7));
        sweep(&world);
        assert_eq!(content(bucket.path()), before);
    }
    fs::write(&record, own).unwrap();
    let before = kept(bucket.path());
    world.clock.advance(hours(7));
    assert_eq!(sweep(&world), None);
    world.clock.advance(hours(30));
    let archive = world.member().upkeep().uploader().bucket();
    let at = record.clone();
    archive
        .faults
        .set(Some(Box::new(move |traffic: Traffic, _: &str| {
            if traffic == Traffic::List {
                fs::write(&at, restored.encode()).unwrap();
            }
            None
        })));
    assert_eq!(sweep(&world), None);
    let mut after = kept(bucket.path());
    assert_ne!(after.insert(record.clone(), before[&record].clone()), None);
    assert_eq!(after, before);
}

/// A block of a node's own that nobody names, and that can never be committed.
fn leave(world: &World, bucket: &Path) -> (PathBuf, RingArc, BlockEntry) {
    let (arc, entry) = entries(world).remove(0);
    let entry = BlockEntry {
        id: BlockId(77),
        digest: Digest([5; 32]),
        uploaded: Uploaded::Object,
        ..entry
    };
    let cluster = world.member().control_state().cluster.unwrap().0;
    let path = bucket.join(block_name(cluster, arc, &entry));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "x").unwrap();
    touch(&path, START);
    (path, arc, entry)
}

/// Dates a file as the bucket would.
fn touch(path: &Path, at: i64) {
    let file = fs::File::options().write(true).open(path).unwrap();
    let since = Duration::from_millis(u64::try_from(at).unwrap());
    file.set_modified(UNIX_EPOCH + since).unwrap();
}

/// Sweeps every seven hours, for so many of them.
fn sweep_often(world: &World, times: usize) {
    for _ in 0..times {
        world.clock.advance(hours(7));
        assert_eq!(sweep(world), None);
    }
}

/// Would catch the removal of what somebody is just putting there again.
#[test]
fn what_was_put_again_today_stays_a_day_more() {
    let bucket = tempfile::tempdir().unwrap();
    let world = merged(46, bucket.path());
    let (path, ..) = leave(&world, bucket.path());
    sweep_often(&world, 3);
    touch(&path, world.clock.now().0);
    sweep_often(&world, 3);
    assert!(path.exists(), "it is on the list for 35 hours, but new");
    sweep_often(&world, 2);
    assert!(!path.exists());
}

/// Two leaders have copied the catalog at one version, and one copy names the block. Would catch a
/// sweeper that is content with the other.
#[test]
fn what_any_of_the_newest_copies_names_stays() {
    let bucket = tempfile::tempdir().unwrap();
    let world = merged(47, bucket.path());
    let (path, arc, entry) = leave(&world, bucket.path());
    let newest = files(bucket.path()).into_iter().filter_map(|path| {
        let name = path.strip_prefix(bucket.path()).unwrap().to_str().unwrap();
        match parse_name(name) {
            Some(Named::Catalog {
                arc: of, version, ..
            }) if of == arc => Some((version, path)),
            _ => None,
        }
    });
    let (version, newest) = newest.max().unwrap();
    let mut copy = CatalogCopy::decode(&fs::read(&newest).unwrap()).unwrap();
    copy.entries.push(entry);
    let bytes = copy.encode();
    let digest = Digest(*blake3::hash(&bytes).as_bytes());
    let name = catalog_name(copy.cluster, arc, version, digest);
    let other = bucket.path().join(name);
    fs::write(&other, bytes).unwrap();
    touch(&other, START);
    sweep_often(&world, 9);
    assert!(path.exists());
    fs::remove_file(&other).unwrap();
    sweep_often(&world, 2);
    assert!(!path.exists());
}

/// The leader does not keep a partition's manifest and reads it from the bucket, where it was
/// exchanged for one that names nothing. Would catch a sweeper that believes it: all that is older
/// than some days would go.
#[test]
fn an_exchanged_manifest_says_nothing() {
    let bucket = tempfile::tempdir().unwrap();
    let world = merged(48, bucket.path());
    world.clock.advance(hours(5 * 24));
    world.keep_history();
    upload_all(&world);
    let mut exchanged = Vec::new();
    for path in files(bucket.path()) {
        let name = path.strip_prefix(bucket.path()).unwrap().to_str().unwrap();
        let Some(Named::Manifest { arc, .. }) = parse_name(name) else {
            continue;
        };
        let nothing = Manifest {
            arc,
            blocks: BTreeMap::new(),
        };
        exchanged.push((path.clone(), fs::read(&path).unwrap()));
        fs::write(&path, nothing.encode()).unwrap();
    }
    assert!(!exchanged.is_empty());
    let before = kept(bucket.path());
    let state = world.member().control_state();
    let mut partitions = state.partitions.values();
    assert!(partitions.all(|one| one.recent.is_empty()), "all is older");
    let sweep_elsewhere = || {
        let state = state.clone();
        let engine = Arc::new(MemoryEngine::new(Path::new("unused")));
        let manifests = Arc::new(Manifests::new(engine));
        sweep_with(
            &world,
            true,
            manifests,
            Box::new(move |_| Some(state.clone())),
        )
    };
    sweep_elsewhere();
    assert_eq!(kept(bucket.path()), before);
    for (path, bytes) in exchanged {
        fs::write(path, bytes).unwrap();
    }
    sweep_elsewhere();
    assert!(kept(bucket.path()).len() < before.len());
    assert!(
        entries(&world)
            .iter()
            .all(|(_, entry)| entry.uploaded != Uploaded::None)
    );
}
