//! Majorities, nodes that are away and come back, links cut one way, duplicates.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::rig::*;
use crate::cluster::write::{Refusing, WriteSettings};
use crate::model::*;
use crate::store::{AppendBatch, OtherSample};

#[tokio::test(flavor = "multi_thread")]
async fn all_members_get_everything_and_a_majority_is_enough() {
    let world = World::new(3, 3);
    for round in 0..3 {
        world.write(1, &samples(0..200, round)).await.unwrap();
    }
    for node in 1..=3 {
        world.until_held(node, 600).await;
    }
    assert_eq!(world.held(1), world.held(2));
    assert_eq!(world.held(1), world.held(3));
    world.isolate(3, true);
    for round in 3..6 {
        let began = Instant::now();
        world.write(1, &samples(0..200, round)).await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(8), "nobody waits");
    }
    world.until_held(2, 1200).await;
    world.isolate(2, true);
    let told = reason(world.write(1, &samples(0..200, 6)).await);
    assert!(told.contains("8 of 8 partitions"), "{told}");
    for node in [2, 3] {
        assert!(told.contains(&incarnation(node).to_string()), "{told}");
    }
    assert!(told.contains("try again"), "{told}");
    // The others are back: writes are taken, and what they missed comes with hints.
    world.isolate(2, false);
    world.isolate(3, false);
    world.write_until_taken(1, &samples(0..200, 7)).await;
    world.until_held(3, 1400).await;
    let acknowledged = |(key, _): &((u32, i64), f64)| key.1 != NOW + 6 * 15_000;
    let of = |node| {
        world
            .held(node)
            .into_iter()
            .filter(acknowledged)
            .collect::<Vec<_>>()
    };
    world.until_held(2, 1400).await;
    assert_eq!(of(1), of(3));
    assert_eq!(of(1), of(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_need_both_and_one_needs_nobody() {
    let mut world = World::new(2, 1);
    world.write(1, &samples(0..10, 0)).await.unwrap();
    assert!(world.held(2).is_empty());
    world.ring(2, &[1, 2], None);
    world.tell_all();
    // The ids of the single node mean nothing now, and are registered again.
    world.write(1, &samples(0..10, 1)).await.unwrap();
    assert_eq!(world.held(2).len(), 10);
    world.cut(1, 2, true);
    assert!(!reason(world.write(1, &samples(0..10, 2)).await).is_empty());
    world.ring(3, &[1], None);
    world.tell_all();
    world.write(1, &samples(0..10, 3)).await.unwrap();
    assert_eq!(world.held(1).len(), 40);
}

/// The coordinator replicates nothing itself: it has labels only until the streams do.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_no_member_coordinates_all_the_same() {
    let world = World::new(4, 3);
    for round in 0..3 {
        world.write(4, &samples(0..100, round)).await.unwrap();
    }
    for node in 1..=3 {
        world.until_held(node, 300).await;
    }
    assert!(world.held(4).is_empty());
    // Streams that are opened again want definitions that it has no more.
    for node in 1..=3 {
        world.restart_network(node);
        world.back(node);
    }
    let coordinator = &world.nodes[&4].writer;
    coordinator.forget_labels();
    let mut result = world.write(4, &samples(0..100, 3)).await;
    if result.is_err() {
        // The sender's retry finds the streams open, and is told to define the series.
        result = world.write(4, &samples(0..100, 3)).await;
    }
    result.unwrap();
    for node in 1..=3 {
        world.until_held(node, 400).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicates_and_every_coordinator_make_one_sample() {
    let world = World::new(3, 3);
    for node in [1, 2, 3, 1] {
        world.write(node, &samples(0..50, 0)).await.unwrap();
    }
    for node in 1..=3 {
        world.until_held(node, 50).await;
        assert_eq!(world.held(node), world.held(1));
        assert_eq!(world.held(node).len(), 50);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_cut_one_way_hurts_only_that_way() {
    let world = World::new(3, 3);
    world.write(1, &samples(0..20, 0)).await.unwrap();
    world.cut(1, 2, true);
    world.write(1, &samples(0..20, 1)).await.unwrap();
    world.write(2, &samples(0..20, 2)).await.unwrap();
    world.until_held(1, 60).await;
    world.cut(1, 3, true);
    assert!(world.write(1, &samples(0..20, 3)).await.is_err());
    world.write_until_taken(2, &samples(0..20, 4)).await;
    world.cut(1, 2, false);
    world.cut(1, 3, false);
    world.until_held(2, 80).await;
    world.until_held(3, 80).await;
}

/// Would catch batches that go each by itself to a member that has not answered the one before,
/// one that is never sent, and answers that are taken for those of another batch.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_while_a_member_has_not_answered_goes_to_it_as_one_request() {
    // The stream must not be given up for its silence, however slow the machine.
    let settings = WriteSettings {
        answer_patience: Duration::from_secs(600),
        ..settings()
    };
    let world = World::with(3, 3, settings);
    let appends = |node: u128| world.nodes[&node].replica.appends.load(Ordering::SeqCst);
    world.write(1, &samples(0..50, 0)).await.unwrap();
    world.until_held(3, 50).await;
    let stuck = world.nodes[&3].replica.stuck.write().await;
    let before = appends(3);
    for round in 1..20 {
        // Of other series each, so that each batch has partitions and definitions of its own.
        let few = u32::try_from(round).unwrap() * 7;
        world.write(1, &samples(few..few + 5, round)).await.unwrap();
    }
    drop(stuck);
    world.until_held(3, 50 + 19 * 5).await;
    assert_eq!(world.held(1), world.held(3));
    // The first, and all others; or all of them, behind the one that was there before.
    assert!(appends(3) - before <= 2, "{}", appends(3) - before);
}

/// Would catch a large batch that waits for others, so that a member that answers slowly is sent
/// less than it could take.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_large_waits_for_no_answer() {
    let settings = WriteSettings {
        answer_patience: Duration::from_secs(600),
        ..settings()
    };
    let world = World::with(3, 3, settings);
    world.write(1, &samples(0..50, 0)).await.unwrap();
    world.until_held(3, 50).await;
    let stuck = world.nodes[&3].replica.stuck.write().await;
    for round in 1..4 {
        world.write(1, &samples(0..9000, round)).await.unwrap();
    }
    world.until_held(3, 50 + 3 * 9000).await;
    drop(stuck);
    assert_eq!(world.held(1), world.held(3));
}

/// Would catch a member whose stuck disk holds up the others, or whose queue grows for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_stands_still_does_not_hold_up_the_others() {
    let settings = WriteSettings {
        peer_bytes_max: 200_000,
        ..settings()
    };
    let world = World::with(3, 3, settings);
    world.write(1, &samples(0..500, 0)).await.unwrap();
    let stuck = world.nodes[&3].replica.stuck.write().await;
    for round in 1..60 {
        let began = Instant::now();
        world.write(1, &samples(0..500, round)).await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(8), "{round}");
    }
    drop(stuck);
    world.until_held(2, 60 * 500).await;
    world.until_held(3, 60 * 500).await;
    assert_eq!(world.held(2), world.held(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_here_and_coordinates_for_others() {
    let world = World::new(3, 3);
    let refuse = |node: u128, why, reason: Option<&str>| {
        let gate = &world.nodes[&node].gate;
        gate.refuse(why, reason.map(str::to_owned));
    };
    refuse(1, Refusing::Disk, Some("full"));
    world.write(1, &samples(0..20, 0)).await.unwrap();
    assert!(world.held(1).is_empty());
    refuse(2, Refusing::Memory, Some("too much"));
    let told = reason(world.write(1, &samples(0..20, 1)).await);
    assert!(
        told.contains("full disk") && told.contains("no memory"),
        "{told}"
    );
    refuse(2, Refusing::Memory, None);
    refuse(1, Refusing::Disk, None);
    refuse(1, Refusing::Clock, Some("the clock says 1970"));
    let told = reason(world.write(1, &samples(0..20, 2)).await);
    assert_eq!(told, "the clock says 1970");
    refuse(1, Refusing::Clock, None);
    world.write(1, &samples(0..20, 3)).await.unwrap();
}

/// Would catch samples that vanish because the replica's head had let their series go.
#[tokio::test(flavor = "multi_thread")]
async fn series_that_replicas_have_forgotten_are_defined_again() {
    let world = World::new(3, 3);
    world.write(1, &samples(0..20, 0)).await.unwrap();
    *world.nodes[&2].replica.forgets.lock() = 1;
    *world.nodes[&3].replica.forgets.lock() = 1;
    world.write(1, &samples(0..20, 1)).await.unwrap();
    // Here it is told to whoever writes, and everything is registered anew.
    *world.nodes[&1].replica.forgets.lock() = 1;
    world.write(1, &samples(0..20, 2)).await.unwrap();
    for node in 1..=3 {
        world.until_held(node, 60).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn histograms_metadata_and_exemplars_reach_every_member() {
    let world = World::new(3, 3);
    let node = &world.nodes[&1];
    let series = node.id(1);
    let sample = OtherSample {
        series,
        at: TimestampMs(NOW),
        value: Value::Float(3.5),
        start: TimestampMs(NOW - 1000),
    };
    let exemplar = Exemplar {
        labels: LabelSet::from_pairs(&[("trace_id", "x")]).unwrap(),
        value: 1.0,
        timestamp: TimestampMs(NOW),
    };
    let metadata = Metadata {
        kind: MetricKind::Counter,
        help: "helps".to_owned(),
        unit: String::new(),
    };
    let families = [(TenantId::anonymous(), "metric_1".to_owned(), metadata)];
    let batch = AppendBatch {
        others: &[sample],
        exemplars: &[(series, exemplar)],
        metadata: &families,
        ..AppendBatch::default()
    };
    node.writer.append(&batch).unwrap().wait().await.unwrap();
    for number in 1..=3 {
        world.until_held(number, 1).await;
        let held = world.nodes[&number].replica.store.held();
        assert_eq!(held.iter().map(|h| h.samples).sum::<u64>(), 1);
        assert_eq!(world.families(number), ["metric_1"]);
        assert_eq!(world.exemplars(number), 1);
    }
    let _ = Arc::strong_count(&node.replica);
}
