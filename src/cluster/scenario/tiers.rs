//! Blocks that leave the disk for the bucket: what is read is the same before and after, little
//! more is fetched than is needed, and what the bucket does not give is named.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::bucket::{HOUR, entries, files, upload_all, world, write};
use super::world::*;
use crate::archive::{BucketFault, Traffic};
use crate::cluster::tiering::Tiering;
use crate::model::*;
use crate::runtime::{ByteSize, CancelToken, Clock};
use crate::source::{Moments, Partial, ReadContext, Selection, SeriesStream, Source};
use crate::store::RetentionSettings;

/// Blocks older than an hour leave.
fn soon() -> RetentionSettings {
    RetentionSettings {
        local: Some(Duration::from_secs(3600)),
        ..RetentionSettings::default()
    }
}

fn tiering(world: &World, settings: RetentionSettings) -> Tiering {
    let member = world.member();
    let clock: Arc<dyn Clock> = world.clock.clone();
    let me = member.store().directory().incarnation();
    let manifests = std::sync::Arc::clone(member.manifests());
    Tiering::new(
        member.store(),
        manifests,
        member.control(),
        clock,
        me,
        settings,
    )
}

/// Nothing of the bucket is kept here any more.
fn forget_cache(world: &mut World) {
    let cache = world.path().join("node/cache");
    for file in files(&cache) {
        fs::remove_file(file).unwrap();
    }
    world.open();
}

fn files_here(world: &World) -> usize {
    files(&world.path().join("blocks")).len()
}

/// A node whose blocks have all left for the bucket.
fn all_gone(seed: u64, bucket: &Path) -> World {
    let mut world = world(seed, bucket);
    world.open();
    write(&mut world);
    for _ in 0..30 {
        let samples: Vec<_> = (0..20).map(|_| world.any_sample()).collect();
        world.append(&samples);
    }
    world.append_metadata(&tenant(1), "metric_1", "one");
    world.flush();
    upload_all(&world);
    world.clock.advance(Duration::from_secs(86_400));
    tiering(&world, soon()).round(&CancelToken::new());
    world
}

/// Would catch history that is lost when its local copy goes, and a block that goes before the
/// bucket has it.
#[test]
fn what_has_left_for_the_bucket_is_read_as_before() {
    let bucket = tempfile::tempdir().unwrap();
    let mut world = world(60, bucket.path());
    world.open();
    write(&mut world);
    world.append_metadata(&tenant(1), "metric_1", "one");
    world.flush();
    world.clock.advance(Duration::from_secs(86_400));
    let all = files_here(&world);
    assert!(all > 20);
    // Nothing is in the bucket yet.
    tiering(&world, soon()).round(&CancelToken::new());
    assert_eq!(files_here(&world), all);
    upload_all(&world);
    tiering(&world, RetentionSettings::default()).round(&CancelToken::new());
    assert_eq!(files_here(&world), all, "no bound is set");
    tiering(&world, soon()).round(&CancelToken::new());
    assert_eq!(files_here(&world), 0);
    let (blocks, _) = world.member().store().block_totals();
    assert_eq!(
        usize::try_from(blocks).unwrap(),
        all,
        "they are still applied"
    );
    world.check_all();
    // Also after a start, and a crash.
    world.open();
    world.check_all();
    world.crash();
    world.check_all();
    // Late samples of windows whose blocks are elsewhere, some of them repeated.
    write(&mut world);
    world.floats(1, &[(START - 7 * HOUR, 5.0), (START - 31 * HOUR, 6.0)]);
    world.flush();
    world.check_all();
    upload_all(&world);
    tiering(&world, soon()).round(&CancelToken::new());
    world.check_all();
    assert_eq!(files_here(&world), 0);
}

/// Where `local_size` bounds the disk, the oldest leave, and with a bucket nothing is deleted.
#[test]
fn a_small_disk_loses_nothing() {
    let bucket = tempfile::tempdir().unwrap();
    let mut world = all_gone(61, bucket.path());
    for hour in 0..30 {
        world.floats(
            hour,
            &[(
                START + 86_400_000 - 15_000 - i64::try_from(hour).unwrap() * HOUR,
                1.0,
            )],
        );
    }
    world.flush();
    upload_all(&world);
    let (_, bytes) = world.member().store().block_totals();
    let (_, elsewhere) = world.member().store().elsewhere_totals();
    let small = RetentionSettings {
        local_size: Some(ByteSize((bytes - elsewhere) / 2)),
        ..RetentionSettings::default()
    };
    let before = entries(&world).len();
    world.retain(small.clone());
    assert_eq!(
        entries(&world).len(),
        before,
        "nothing has left the catalog"
    );
    let here = files_here(&world);
    tiering(&world, small).round(&CancelToken::new());
    assert!(files_here(&world) < here && files_here(&world) > 0);
    world.check_all();
}

/// Would catch a series of which the newest is read, that turns out to hold histograms, and that
/// cannot be read again as a whole.
#[test]
fn the_newest_samples_are_read_elsewhere_as_here() {
    let bucket = tempfile::tempdir().unwrap();
    let mut world = all_gone(68, bucket.path());
    forget_cache(&mut world);
    let moments = Moments {
        first: TimestampMs::MAX,
        step_ms: 1,
        count: 1,
    };
    let (mut mixed, mut plain) = (0, 0);
    for owner in 0..2 {
        let selection = selection(owner, Vec::new());
        let store = world.member().store();
        let newest = store.select_newest(&selection, moments, &context());
        let newest = drain(newest.unwrap().as_mut());
        let all = world.read(&selection.tenant, Vec::new(), selection.range);
        assert!(newest.keys().eq(all.keys()));
        for (labels, samples) in all {
            let found = &newest[&labels];
            if samples.histograms.is_empty() {
                plain += 1;
                assert_eq!(found.timestamps.last(), samples.timestamps.last());
            } else {
                mixed += 1;
                assert_eq!(*found, samples);
            }
        }
    }
    assert!(mixed > 0 && plain > 0, "{mixed} {plain}");
}

/// A reader that holds a file keeps it; one that comes later reads the bucket.
#[test]
fn a_read_under_way_ends_as_it_began() {
    let bucket = tempfile::tempdir().unwrap();
    let mut world = world(62, bucket.path());
    world.open();
    write(&mut world);
    world.flush();
    upload_all(&world);
    world.clock.advance(Duration::from_secs(86_400));
    let selection = selection(1, Vec::new());
    let store = world.member().store();
    let mut stream = store.select(&selection, &context()).unwrap();
    let here = files_here(&world);
    tiering(&world, soon()).round(&CancelToken::new());
    assert_eq!(files_here(&world), here);
    let got = drain(stream.as_mut());
    let want = world.read(&tenant(1), Vec::new(), TimeRange::ALL);
    assert_eq!(got.len(), want.len());
    drop(stream);
    store.drop_retired().unwrap();
    assert_eq!(files_here(&world), 0);
}

fn selection(owner: u64, matchers: Vec<Matcher>) -> Selection {
    Selection {
        tenant: tenant(owner),
        matchers,
        range: TimeRange::ALL,
    }
}

fn away(world: &World, away: bool) {
    let fail = |operation, _: &str| (operation == Traffic::Get).then_some(BucketFault::Fail);
    let bucket = world.member().upkeep().uploader().bucket();
    bucket
        .faults
        .set(if away { Some(Box::new(fail)) } else { None });
    // Whoever was told that it is away asks again later.
    world.clock.advance(Duration::from_secs(60));
}

/// Without the bucket: what is here is answered, what is not is named, and is there again when the
/// bucket is.
#[test]
fn a_bucket_that_is_away_is_named() {
    let bucket = tempfile::tempdir().unwrap();
    let mut world = all_gone(63, bucket.path());
    let now = world.clock.now().0;
    world.floats(1, &[(now, 4.0)]);
    // What was opened when it left would be in the cache: all of a small block.
    forget_cache(&mut world);
    away(&world, true);
    let store = world.member().store();
    let read = |context: &ReadContext, range: TimeRange| {
        let mut selection = selection(1, Vec::new());
        selection.range = range;
        let mut stream = store.select(&selection, context)?;
        let (mut samples, mut all) = (Samples::default(), BTreeMap::new());
        while let Some(labels) = stream.next(&mut samples)? {
            all.insert(labels, samples.clone());
        }
        Ok::<_, crate::source::SourceError>(all)
    };
    let error = read(&context(), TimeRange::ALL).unwrap_err().to_string();
    assert!(error.contains("only in the bucket"), "{error}");
    assert!(error.contains("a test says so"), "{error}");
    let recent = TimeRange::new(TimestampMs(now), TimestampMs(now));
    assert_eq!(read(&context(), recent).unwrap().len(), 1);
    let partial = ReadContext {
        partial: Some(Partial::default()),
        ..context()
    };
    let some = read(&partial, TimeRange::ALL).unwrap();
    assert_eq!(some[&series(1).1].len(), 1, "what is in the head");
    let noted = partial.partial.unwrap().noted();
    assert!(
        !noted.is_empty() && noted[0].contains("only in the bucket"),
        "{noted:?}"
    );
    away(&world, false);
    world.check_all();
    // What was read is in the cache.
    away(&world, true);
    world.check_all();
}

/// Would catch a block of which nothing stays here that says which series it has: each query would ask the bucket for
/// each block.
#[test]
fn what_a_block_has_is_known_here_after_it_left() {
    let bucket = tempfile::tempdir().unwrap();
    let mut world = world(65, bucket.path());
    world.open();
    // More than what is read of an object to open it.
    for number in 0..12 {
        let values = (0..4000).map(|at| (START - 5 * HOUR + at * 1000, (at as f64).sin()));
        world.floats(number, &values.collect::<Vec<_>>());
    }
    world.flush();
    upload_all(&world);
    world.clock.advance(Duration::from_secs(86_400));
    tiering(&world, soon()).round(&CancelToken::new());
    assert_eq!(files_here(&world), 0);
    for start in [false, true] {
        if start {
            world.open();
        }
        away(&world, true);
        let store = world.member().store();
        let named = |name: &str| vec![Matcher::new("__name__", MatchOp::Equal, name).unwrap()];
        let read = |name: &str| {
            let mut stream = store.select(&selection(1, named(name)), &context())?;
            stream.next(&mut Samples::default())
        };
        assert_eq!(read("nobody_has_it").unwrap(), None);
        let numbers = store.label_values("number", &selection(1, Vec::new()), 0, &context());
        assert!(!numbers.unwrap().is_empty());
        let (_, labels) = series(1);
        let error = read(labels.metric_name().unwrap()).unwrap_err().to_string();
        assert!(error.contains("only in the bucket"), "{error}");
        away(&world, false);
    }
    world.check_all();
}

/// What a partial answer says that it lacks, all of it an object's; a whole answer is refused then,
/// and nothing is invented.
fn lacks(world: &World, owner: u64, object: &str) -> usize {
    let store = world.member().store();
    let partial = ReadContext {
        partial: Some(Partial::default()),
        ..context()
    };
    let asked = selection(owner, Vec::new());
    let mut stream = store.select(&asked, &partial).unwrap();
    let was_written = |key: &Key, samples: &Samples| {
        let mut samples = samples.iter();
        samples.all(|(at, value, start)| world.model.was_written(key, at.0, &value, start.0))
    };
    for (labels, samples) in drain(stream.as_mut()) {
        assert!(was_written(&(tenant(owner), labels), &samples));
    }
    drop(stream);
    let noted = partial.partial.unwrap().noted();
    assert!(noted.iter().all(|text| text.contains(object)), "{noted:?}");
    let drained = |mut stream: Box<dyn SeriesStream>| {
        while stream.next(&mut Samples::default())?.is_some() {}
        Ok(())
    };
    let whole = store.select(&asked, &context()).and_then(drained);
    assert_eq!(whole.is_err(), !noted.is_empty());
    noted.len()
}

/// Damaged objects are named and cost nothing else; nothing that nobody wrote is ever read.
#[test]
fn a_damaged_object_is_named_by_who_reads_it() {
    let bucket = tempfile::tempdir().unwrap();
    let mut world = all_gone(64, bucket.path());
    let blocks: Vec<_> = files(bucket.path())
        .into_iter()
        .filter(|path| path.to_str().unwrap().contains("/packs/"))
        .collect();
    for (number, path) in blocks.iter().enumerate().step_by(blocks.len() / 6) {
        let good = fs::read(path).unwrap();
        for damage in 0..3 {
            let mut bad = good.clone();
            match damage {
                0 => bad.truncate(good.len() / 2),
                1 => bad[good.len() / 3] ^= 0x10,
                _ => bad[good.len() - 100 - number] ^= 0x10,
            }
            fs::write(path, bad).unwrap();
            forget_cache(&mut world);
            let name = path.file_name().unwrap().to_str().unwrap();
            let named: usize = (0..2).map(|owner| lacks(&world, owner, name)).sum();
            // A flipped bit may lie in what nobody reads.
            assert!(named > 0 || damage > 0);
            fs::write(path, &good).unwrap();
            world.check_all();
        }
    }
}
