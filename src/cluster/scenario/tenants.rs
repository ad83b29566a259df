//! Retention by tenant: what one has outlived goes, from the disk and from the bucket, and what
//! another keeps stays, although they share blocks.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use super::bucket::{HOUR, directory_of, entries, files, upload_all, world};
use super::restore::restore;
use super::sweep::{hours, sweep};
use super::world::*;
use crate::archive::{Named, parse_name};
use crate::cluster::tiering::Tiering;
use crate::model::*;
use crate::runtime::{CancelToken, Clock, RawValue, Setting};
use crate::store::{RetentionSettings, TenantRetentions};

const DAY: i64 = 24 * HOUR;

fn tenants(text: &str) -> TenantRetentions {
    TenantRetentions::read(&RawValue::Text(text.to_owned())).unwrap()
}

/// Forty days of both tenants, by targets that are in the same partitions, and metadata.
fn write(world: &mut World) {
    for number in 0..14 {
        let times = (0..40).map(|step| START - step * DAY - 15_000);
        let samples: Vec<(i64, f64)> = times.map(|at| (at, at as f64)).collect();
        world.floats(number, &samples);
    }
    world.append_metadata(&tenant(0), "metric_0", "of the first");
    world.append_metadata(&tenant(1), "metric_1", "of the second");
}

/// When the first and the last sample of a tenant are.
fn times(world: &World, owner: &TenantId) -> (i64, i64) {
    let all = world.read(owner, Vec::new(), TimeRange::ALL);
    let times = all.values().flat_map(|samples| &samples.timestamps);
    (*times.clone().min().unwrap(), *times.max().unwrap())
}

/// From a time on everything of a tenant is as it was written.
fn check_from(world: &World, owner: &TenantId, from: i64) {
    world.check(owner, TimeRange::new(TimestampMs(from), TimestampMs::MAX));
}

/// The tenants of the blocks that end before a time.
fn tenants_before(world: &World, time: i64) -> BTreeSet<TenantId> {
    let store = world.member().store();
    let old = entries(world).into_iter();
    let old = old.filter(|(_, entry)| entry.range.end.0 < time);
    let tenants = old.map(|(arc, entry)| store.tenants_of_block(arc, entry.id).unwrap().unwrap());
    tenants.flatten().collect()
}

/// Objects with blocks of which the catalog names none.
fn useless(world: &World, bucket: &Path) -> usize {
    let named: BTreeSet<Digest> = entries(world).iter().map(|(_, one)| one.digest).collect();
    let is_useless = |path: &std::path::PathBuf| {
        let name = path.strip_prefix(bucket).unwrap().to_str().unwrap();
        match parse_name(name) {
            Some(Named::Block(block)) => !named.contains(&block.digest),
            Some(Named::Pack(_)) => {
                let directory = directory_of(&fs::read(path).unwrap()).unwrap();
                let mut blocks = directory.named();
                blocks.all(|block| !named.contains(&block.digest))
            }
            _ => false,
        }
    };
    files(bucket).iter().filter(|path| is_useless(path)).count()
}

/// Would catch a tenant that keeps what it has outlived, on the disk or in the bucket, one that loses
/// what it keeps, and a block that is rewritten again and again.
#[test]
fn what_a_tenant_has_outlived_goes_and_anothers_stays() {
    let bucket = tempfile::tempdir().unwrap();
    let mut world = world(70, bucket.path());
    world.open();
    write(&mut world);
    world.flush();
    upload_all(&world);
    world.clock.advance(hours(24 * 7));
    world.merge();
    upload_all(&world);
    world.check_all();
    // The first keeps ten days, all others thirty, and the second more than they.
    world.settings.retention = RetentionSettings {
        total: Some(hours(24 * 30)),
        tenants: tenants("tenant-0=10d,tenant-1=forever"),
        ..RetentionSettings::default()
    };
    world.open();
    assert!(world.merge() > 0);
    let now = world.clock.now().0;
    let (first, second) = (tenant(0), tenant(1));
    check_from(&world, &first, now - 10 * DAY);
    check_from(&world, &second, i64::MIN);
    assert!(
        times(&world, &first).0 >= now - 14 * DAY,
        "at most a part of a block more"
    );
    assert_eq!(times(&world, &second).0, START - 39 * DAY - 15_000);
    assert_eq!(
        tenants_before(&world, now - 14 * DAY),
        BTreeSet::from([second.clone()])
    );
    assert_eq!(world.merge(), 0, "once is enough");
    // Nothing of it goes as a whole: the second has no end.
    world.retain(world.settings.retention.clone());
    check_from(&world, &second, i64::MIN);
    // A day later what nobody needs has left the bucket; a pack stays as long as one block in it is
    // needed.
    upload_all(&world);
    assert!(useless(&world, bucket.path()) > 0);
    for _ in 0..10 {
        world.clock.advance(hours(6));
        assert_eq!(sweep(&world), None);
    }
    assert_eq!(useless(&world, bucket.path()), 0);
    let mut next = super::bucket::world(71, bucket.path());
    next.clock.advance(Duration::from_millis(
        u64::try_from(world.clock.now().0 - START).unwrap(),
    ));
    let restored = restore(&next, usize::MAX).unwrap();
    assert_eq!(restored.complaints, Vec::<String>::new());
    next.model = std::mem::take(&mut world.model);
    next.open();
    check_from(&next, &first, now - 10 * DAY);
    check_from(&next, &second, i64::MIN);
    assert!(times(&next, &first).0 >= now - 14 * DAY);
    assert_eq!(
        tenants_before(&next, now - 14 * DAY),
        BTreeSet::from([second])
    );
}

/// Would catch a block that is rewritten to nothing and stays, and one whose metadata outlives it.
#[test]
fn a_tenant_that_is_alone_in_its_blocks_leaves_none() {
    let mut world = World::new(72);
    let numbers = [0, 2, 4];
    for number in numbers {
        world.floats(number, &[(START - 20 * DAY, 1.0), (START - HOUR, 2.0)]);
    }
    world.append_metadata(&tenant(0), "metric_0", "help");
    world.flush();
    let before = entries(&world).len();
    world.settings.retention.tenants = tenants("tenant-0=10d");
    world.open();
    assert!(world.merge() > 0);
    assert!(entries(&world).len() < before);
    assert_eq!(times(&world, &tenant(0)).0, START - HOUR);
    assert_eq!(tenants_before(&world, START - 10 * DAY), BTreeSet::new());
}

/// Would catch a block that leaves the disk although one of its tenants keeps it here, and one that
/// stays although all let it go.
#[test]
fn a_block_leaves_the_disk_when_all_its_tenants_let_it() {
    let bucket = tempfile::tempdir().unwrap();
    let mut world = world(73, bucket.path());
    world.open();
    // One of the first alone, then some of the first, of the second, and of both.
    world.floats(0, &[(START - 9 * DAY, 1.0)]);
    for number in 0..42 {
        world.floats(number, &[(START - 5 * DAY, 1.0)]);
    }
    world.flush();
    upload_all(&world);
    let retention = |local: Option<u64>, text: &str| RetentionSettings {
        local: local.map(|days| hours(24 * days)),
        tenants: tenants(text),
        ..RetentionSettings::default()
    };
    let here = |world: &World| {
        let blocks = world.member().store().blocks_here();
        let of = |(arc, entry): (RingArc, BlockEntry)| {
            let store = world.member().store();
            let tenants = store.tenants_of_block(arc, entry.id).unwrap().unwrap();
            ((START - entry.range.end.0) / DAY, tenants)
        };
        blocks.into_iter().map(of).collect::<BTreeSet<_>>()
    };
    let look = |world: &World, settings: RetentionSettings| {
        let member = world.member();
        let clock: std::sync::Arc<dyn Clock> = world.clock.clone();
        let me = member.store().directory().incarnation();
        let manifests = std::sync::Arc::clone(member.manifests());
        let tiering = Tiering::new(
            member.store(),
            manifests,
            member.control(),
            clock,
            me,
            settings,
        );
        tiering.round(&CancelToken::new());
        here(world)
    };
    let all = here(&world);
    let of_first = |days: i64| (days, vec![tenant(0)]);
    assert!(all.contains(&of_first(8)), "{all:?}");
    let both = vec![tenant(0), tenant(1)];
    // The first keeps it longer than all others, and the others this long.
    assert_eq!(look(&world, retention(Some(6), "tenant-0=/20d")), all);
    let left = look(&world, retention(Some(1000), "tenant-0=/6d"));
    assert!(!left.contains(&of_first(8)) && left.len() + 1 == all.len());
    // The second is not said to let go of anything.
    let left = look(&world, retention(None, "tenant-0=/2d"));
    assert!(
        left.iter().all(|(_, tenants)| tenants.contains(&tenant(1))),
        "{left:?}"
    );
    assert!(left.iter().any(|(_, tenants)| *tenants == both), "{left:?}");
    let left = look(&world, retention(None, "tenant-0=/2d,tenant-1=/2d"));
    assert!(left.is_empty(), "{left:?}");
    world.check_all();
}
