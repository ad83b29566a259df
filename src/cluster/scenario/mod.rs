//! Scenarios over the real store: whatever happens in whatever order, every read agrees with a
//! model bit for bit. A failure names its seed; `CAIRN_SEED=n cargo test scenario` repeats it.

mod around;
mod bucket;
mod contents;
mod deletes;
mod downsampling;
mod history;
mod merging;
mod pack_rules;
mod packs;
mod read_only;
mod repacking;
mod restore;
mod restored_deletes;
mod scrub;
mod sealed_days;
mod splitting;
mod startup;
mod sweep;
mod sweep_rules;
mod tenants;
mod three;
mod tiers;
mod world;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use around::world_of;
use prometheus_client::registry::Registry;
use world::{Key, START, World, context, drain, series, tenant};

use crate::cluster::control::{Command, DAY_MS, SealCommit};
use crate::cluster::member::LocalMember;
use crate::cluster::opening::MemberSettings;
use crate::codec::page::Density;
use crate::model::{
    Buckets, Epoch, FOUNDING_DEPTH, Histogram, MatchOp, Matcher, RingArc, Samples, Span, TimeRange,
    TimestampMs, Value, Window, fingerprint,
};
use crate::runtime::{
    Budget, BudgetLimits, ByteSize, CancelToken, Clock, ManualClock, SeededChance,
};
use crate::source::{ReadContext, Selection, Source};
use crate::store::{AppendBatch, BuildOrder, Catalog, FloatSample, OtherSample, RetentionSettings};

/// Would catch a sample lost, doubled, hidden or changed by any mixture of what can happen.
#[test]
fn every_read_agrees_with_the_model() {
    for seed in seeds(0..3) {
        println!("seed {seed}");
        let mut world = World::new(seed);
        for _ in 0..80 {
            world.any_step();
        }
        world.check_all();
        world.flush();
        world.check_all();
        world.merge();
        world.check_all();
        world.open();
        world.check_all();
    }
}

/// The n-th step fails, for n = 1, 2, 3 and on, until the whole seal lives: whatever was
/// interrupted, nothing is lost or doubled, and the next start finishes it.
#[test]
fn a_crash_at_any_step_of_a_seal_loses_nothing() {
    let mut died_at = BTreeSet::new();
    for step in 1.. {
        let mut world = World::new(7);
        let now = START;
        // A first block, a second round with repeats, winners and losers, and an old day.
        world.floats(1, &[(now, 1.0), (now + 1000, 5.0), (now + 2000, 3.0)]);
        world.floats(2, &[(now, 4.0)]);
        world.flush();
        world.floats(
            1,
            &[
                (now, 1.0),
                (now + 1000, 6.0),
                (now + 2000, 2.0),
                (now + 3000, 9.0),
            ],
        );
        world.floats(2, &[(now, 4.0)]);
        world.floats(
            3,
            &[(now - 3 * DAY_MS, 1.0), (now - 3 * DAY_MS + 7_200_000, 2.0)],
        );
        world.append_metadata(&tenant(0), "metric_1", "help");
        let died = world.die_while_sealing(step);
        world.check_all();
        world.floats(1, &[(now + 1500, 7.0), (now + 3000, 9.0)]);
        world.check_all();
        world.flush();
        world.check_all();
        world.open();
        world.check_all();
        match died {
            Some(step) => died_at.insert(step),
            None => break,
        };
    }
    let steps = [
        "cut",
        "built",
        "commit",
        "committed",
        "ingested",
        "applied",
        "forgotten",
    ];
    assert_eq!(died_at, BTreeSet::from(steps));
}

fn arc_of(key: &Key) -> RingArc {
    RingArc::of(fingerprint(&key.0, &key.1), FOUNDING_DEPTH)
}

/// The sealer dies after its commit, at any step, and more was appended: what the block lacks stays.
#[test]
fn what_a_block_lacks_stays_in_head_and_log() {
    for step in 0..6 {
        let mut world = World::new(11);
        let key = series(4);
        let arc = arc_of(&key);
        let range = Window::of(TimestampMs(START)).range();
        world.floats(4, &[(START, 1.0), (START + 1000, 2.0)]);
        let store = world.member().store();
        let cut = store.cut(arc, range).unwrap();
        let order = BuildOrder {
            arc,
            range,
            round: 1,
            pages: Density::Quick,
        };
        let entry = store
            .build(&cut, &order, &CancelToken::new())
            .unwrap()
            .unwrap();
        assert_eq!(entry.samples, 2);
        world.floats(4, &[(START, 1.0), (START + 1000, 9.0), (START + 2000, 3.0)]);
        let control = world.member().control();
        let commit = Command::SealCommit(SealCommit {
            arc,
            epoch: Epoch(1),
            range,
            round: 1,
            entry,
        });
        control.propose(&commit).unwrap().into_result().unwrap();
        let state = control.state();
        let partition = state.partition(arc).unwrap();
        let catalog = Catalog {
            version: partition.version,
            blocks: &partition.recent,
        };
        store.faults.die_at(step);
        let applied = store.apply(arc, &catalog, None);
        let died = store.faults.died_at();
        assert_eq!(applied.is_err(), died.is_some(), "{applied:?}");
        drop((cut, store, control));
        if died.is_some() {
            world.crash();
        }
        world.check_all();
        // What stays is the winner of one key and the new one; not what the block has.
        assert_eq!(world.held(), 2, "died at {died:?}");
        world.open();
        world.check_all();
        world.flush();
        world.check_all();
        let state = world.member().control_state();
        assert_eq!(state.partition(arc).unwrap().recent.len(), 2);
    }
}

/// A reader keeps what it has taken: blocks that leave the catalog stay until it is done.
#[test]
fn a_view_outlives_seals_and_retention() {
    let mut world = World::new(3);
    let now = START;
    let old = now - 5 * DAY_MS;
    world.floats(1, &[(old, 1.0), (old + 1000, 2.0)]);
    world.flush();
    world.floats(1, &[(now, 3.0)]);
    let selection = Selection {
        tenant: series(1).0,
        matchers: Vec::new(),
        range: TimeRange::ALL,
    };
    let store = world.member().store();
    let mut stream = store.select(&selection, &context()).unwrap();
    world.flush();
    world.retain(RetentionSettings {
        total: Some(Duration::from_secs(86_400)),
        ..RetentionSettings::default()
    });
    store.drop_retired().unwrap();
    let (blocks, _) = store.block_totals();
    assert_eq!(blocks, 1, "the old block has left the view");
    let files = || {
        std::fs::read_dir(world.path().join("blocks"))
            .unwrap()
            .count()
    };
    assert_eq!(files(), 2, "but its file is there while it is read");
    let got = drain(stream.as_mut());
    assert_eq!(
        got[&series(1).1],
        world.model.expect(&series(1), TimeRange::ALL, true)
    );
    drop(stream);
    store.drop_retired().unwrap();
    assert_eq!(files(), 1);
    drop(store);
    world.check_all();
    let got = world.read(&series(1).0, Vec::new(), TimeRange::ALL);
    assert_eq!(got[&series(1).1].timestamps, [now]);
    // What comes for a time that has expired is never sealed, and goes from the head.
    world.floats(1, &[(old, 1.0)]);
    world.flush();
    let got = world.read(&series(1).0, Vec::new(), TimeRange::ALL);
    assert_eq!(got[&series(1).1].timestamps, [now]);
}

#[test]
fn retention_by_size_lets_the_oldest_go() {
    let mut world = World::new(5);
    for day in (0..6).rev() {
        for number in 0..4 {
            let at = START - day * DAY_MS;
            world.floats(number, &[(at, 1.0), (at + 1000, 2.0)]);
        }
    }
    world.flush();
    let (_, bytes) = world.member().store().block_totals();
    world.retain(RetentionSettings {
        local_size: Some(ByteSize(bytes / 2)),
        ..RetentionSettings::default()
    });
    let (_, left) = world.member().store().block_totals();
    assert!(left <= bytes / 2 && left > bytes / 4, "{left} of {bytes}");
    world.check_all();
    world.open();
    world.check_all();
}

/// A seal of everything, again and again, makes no block when nothing came.
#[test]
fn idle_partitions_cost_nothing_and_repeats_make_no_block() {
    let mut world = World::new(6);
    let samples: Vec<(i64, f64)> = (0..100).map(|i| (START + i * 1000, 1.5)).collect();
    world.floats(1, &samples);
    world.flush();
    let versions = || {
        let state = world.member.as_ref().unwrap().control_state();
        state.partitions.values().map(|p| p.version).sum::<u64>()
    };
    assert_eq!(versions(), 1);
    world.flush();
    world.floats(1, &samples);
    world.flush();
    let state = world.member().control_state();
    assert_eq!(state.partitions.values().map(|p| p.version).sum::<u64>(), 1);
    world.check_all();
}

/// Would catch samples that stay in the head for a year because a clock was a year ahead.
#[test]
fn what_came_under_a_clock_that_was_ahead_grows_old_all_the_same() {
    let mut world = World::new(6);
    world.clock.set(TimestampMs(START + 365 * 24 * 3_600_000));
    world.floats(1, &[(START, 1.5)]);
    let since = |world: &World| world.member().store().held()[0].since.0;
    assert!(since(&world) > START);
    world.clock.set(TimestampMs(START));
    assert_eq!(since(&world), START);
}

/// Matchers, ranges and limits reach head and blocks alike.
#[test]
fn selections_see_head_and_blocks_as_one() {
    let mut world = World::new(8);
    for number in 0..24 {
        world.floats(number, &[(START, 1.0)]);
    }
    world.flush();
    for number in 12..36 {
        world.floats(number, &[(START + 60_000, 2.0)]);
    }
    let metric = |name: &str| vec![Matcher::new("__name__", MatchOp::Equal, name).unwrap()];
    let owner = tenant(1);
    let got = world.read(&owner, metric("metric_1"), TimeRange::ALL);
    let numbers: Vec<&str> = got
        .keys()
        .filter_map(|labels| labels.get("number"))
        .collect();
    assert_eq!(numbers.len(), 3, "{numbers:?}");
    let late = TimeRange::new(TimestampMs(START + 1), TimestampMs::MAX);
    let got = world.read(&owner, metric("metric_1"), late);
    let numbers: Vec<&str> = got
        .keys()
        .filter_map(|labels| labels.get("number"))
        .collect();
    assert_eq!(numbers, ["15", "29"]);
    let tight = ReadContext {
        cancel: CancelToken::new(),
        budget: Budget::new(BudgetLimits {
            memory_bytes: 1 << 20,
            samples: 3,
        }),
        partial: None,
        coarsest: Default::default(),
    };
    let selection = Selection {
        tenant: owner,
        matchers: Vec::new(),
        range: TimeRange::ALL,
    };
    let store = world.member().store();
    let mut stream = store.select(&selection, &tight).unwrap();
    let error = stream.next(&mut Samples::default()).unwrap_err();
    assert!(error.to_string().contains("too many samples"), "{error}");
    let called_off = context();
    called_off.cancel.cancel();
    assert!(store.select(&selection, &called_off).is_err());
}

fn seeds(default: std::ops::Range<u64>) -> Vec<u64> {
    match std::env::var("CAIRN_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => default.collect(),
    }
}

/// The whole member on RocksDB, with its worker: what `cairn serve` opens. Would catch a part that
/// only works on the test engine, and a close that loses what was acknowledged.
#[tokio::test]
async fn a_member_on_rocksdb_comes_back_with_everything() {
    let root = tempfile::tempdir().unwrap();
    let settings = MemberSettings {
        data_dir: root.path().join("data"),
        ..MemberSettings::default()
    };
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(TimestampMs(START)));
    let open = |seed| {
        let mut registry = Registry::default();
        let world = world_of(Arc::clone(&clock), Arc::new(SeededChance::new(seed)));
        LocalMember::open(&settings, &world, &mut registry)
    };
    let key = series(1);
    let mut written = Vec::new();
    for round in 0..4 {
        let member = open(round).unwrap();
        assert_eq!(member.refusing(), None);
        let in_use = open(99).err().unwrap().to_string();
        assert!(in_use.contains("in use"), "{in_use}");
        let writer = member.writer();
        let id = writer.register(&key.0, &key.1).unwrap();
        let at = START + i64::try_from(round).unwrap() * 1000;
        let floats = [FloatSample {
            series: id,
            at: TimestampMs(at),
            value: 1.0,
        }];
        let pending = writer.append(&AppendBatch {
            floats: &floats,
            ..AppendBatch::default()
        });
        pending.unwrap().wait().await.unwrap();
        written.push(at);
        if round % 2 == 0 {
            assert_eq!(member.flush().unwrap().sealed, 1);
        }
        let selection = Selection {
            tenant: key.0.clone(),
            matchers: Vec::new(),
            range: TimeRange::ALL,
        };
        let store = member.store();
        let mut stream = store.select(&selection, &context()).unwrap();
        let got = drain(stream.as_mut());
        assert_eq!(got[&key.1].timestamps, written);
        drop(stream);
        if round != 1 {
            member.close().unwrap();
            let refused = writer.append(&AppendBatch::default()).unwrap_err();
            assert!(refused.to_string().contains("stopping"), "{refused}");
        }
        drop((store, writer, member));
    }
}

/// A step after the commit fails, and the process lives on: the next pass applies what was
/// committed, and seals nothing twice.
#[test]
fn a_seal_that_fails_after_its_commit_is_finished_not_repeated() {
    for step in 1..8 {
        let mut world = World::new(11);
        world.floats(1, &[(START, 1.0), (START + 1000, 2.0)]);
        let faults = &world.member().store().faults;
        let store = world.member().store();
        faults.die_at(step);
        let _ = world.member().flush();
        store.faults.die_at(0);
        world.floats(1, &[(START + 2000, 3.0)]);
        world.flush();
        let sealed: u64 = store.blocks().iter().map(|(_, entry)| entry.samples).sum();
        assert_eq!(sealed, 3, "step {step}");
        world.check_all();
    }
}

/// Writes stop when sealing does not keep up, and go on when it has.
#[test]
fn memory_is_bounded_by_refusing_writes() {
    let mut world = World::new(12);
    world.settings.head_bytes_max = 256 << 10;
    world.open();
    let member = world.member.take().unwrap();
    let store = member.store();
    let mut watch = member.watch();
    watch.once();
    member.open_gate();
    assert_eq!(member.refusing(), None);
    let (owner, labels) = series(1);
    let id = store.register(&owner, &labels).unwrap();
    // Some of it histograms, which live in buffers of their own.
    for round in 0..40i64 {
        let others: Vec<_> = (0..50)
            .map(|at| OtherSample {
                series: id,
                at: TimestampMs(START + (round * 50 + at) * 1000),
                value: Value::Histogram(Arc::new(wide_histogram())),
                start: TimestampMs(0),
            })
            .collect();
        let batch = AppendBatch {
            others: &others,
            ..AppendBatch::default()
        };
        store.append(&batch).unwrap();
    }
    assert!(store.memory_excess() > 0);
    watch.once();
    let reason = member.refusing().unwrap();
    assert!(reason.contains("memory_limit"), "{reason}");
    member.flush().unwrap();
    watch.once();
    assert_eq!(member.refusing(), None);
}

fn wide_histogram() -> Histogram {
    Histogram {
        buckets: Buckets::Float {
            count: 64.0,
            zero_count: 0.0,
            positive: vec![1.5; 64],
            negative: Vec::new(),
        },
        positive_spans: vec![Span {
            offset: 0,
            length: 64,
        }],
        ..world::histogram(1)
    }
}

/// Times at the very edges of what 64 bits can say are sealed like others.
#[test]
fn the_first_and_last_times_of_all_can_be_sealed() {
    let mut world = World::new(13);
    let ends = [i64::MIN, i64::MIN + 1, i64::MAX - 1, i64::MAX];
    let steps = (1..40).map(|hours| i64::MIN + hours * 3_600_000);
    let samples: Vec<_> = ends.into_iter().chain(steps).map(|at| (at, 1.0)).collect();
    for number in 0..6 {
        world.floats(number, &samples);
    }
    world.flush();
    world.check_all();
    world.open();
    world.check_all();
}
