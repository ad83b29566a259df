//! Rings that change while writes are under way: nothing counts twice, nothing under two epochs.

use std::time::Duration;

use super::rig::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_write_under_an_old_ring_is_sent_again_under_the_new_one() {
    let mut world = World::new(3, 3);
    world.write(1, &samples(0..20, 0)).await.unwrap();
    // A majority is enough for the write; who takes it later would be under the next epoch.
    for node in 1..=3 {
        world.until_held(node, 20).await;
    }
    // The others have moved on; whoever coordinates hears of it later.
    world.ring(2, &[1, 2, 3], None);
    world.tell(2);
    world.tell(3);
    let two = samples(0..20, 1);
    let write = world.write(1, &two);
    let tell = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        world.tell(1);
    };
    let (written, ()) = tokio::join!(write, tell);
    written.unwrap();
    for node in 1..=3 {
        world.until_held(node, 40).await;
    }
    // It never does: no majority under one epoch.
    world.ring(3, &[1, 2, 3], None);
    world.tell(2);
    let mut held = 0;
    for round in 2..5 {
        held += usize::from(world.write(1, &samples(0..20, round)).await.is_ok());
    }
    assert_eq!(held, 3, "two of three are under the old one");
    world.tell(3);
    let told = reason(world.write(1, &samples(0..20, 9)).await);
    assert!(told.contains("is under epoch 3"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_are_behind_are_waited_for_but_not_for_long() {
    let mut world = World::new(3, 3);
    world.ring(2, &[1, 2, 3], None);
    world.tell(1);
    let samples_of = samples(0..20, 0);
    let write = world.write(1, &samples_of);
    let tell = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        world.tell(2);
    };
    let (written, ()) = tokio::join!(write, tell);
    written.unwrap();
    world.ring(3, &[1, 2, 3], None);
    world.tell(1);
    let told = reason(world.write(1, &samples(0..20, 1)).await);
    assert!(told.contains("has not heard"), "{told}");
    world.tell_all();
    world.write(1, &samples(0..20, 2)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn during_a_move_both_sets_must_have_it() {
    let mut world = World::new(4, 3);
    world.write(2, &samples(0..20, 0)).await.unwrap();
    for node in 1..=3 {
        world.until_held(node, 20).await;
    }
    // 4 takes the place of 1.
    world.ring(2, &[1, 2, 3], Some((Some(4), Some(1))));
    world.tell_all();
    world.write(2, &samples(0..20, 1)).await.unwrap();
    world.until_held(4, 20).await;
    // Old: 2, 3. New: 2, 3.
    world.until_held(3, 40).await;
    world.isolate(4, true);
    world.isolate(1, true);
    world.write(2, &samples(0..20, 2)).await.unwrap();
    world.isolate(4, false);
    world.isolate(1, false);
    // Old: 1, 2. New: 2 alone.
    world.isolate(3, true);
    world.isolate(4, true);
    assert!(world.write(2, &samples(0..20, 3)).await.is_err());
    // Old: 2 alone. New: 2, 4.
    world.isolate(4, false);
    world.isolate(1, true);
    let mut told = String::new();
    for _ in 0..20 {
        told = reason(world.write(2, &samples(0..20, 4)).await);
        // It has found node 4 again.
        if !told.contains(&incarnation(4).to_string()) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(told.contains(&incarnation(1).to_string()), "{told}");
    world.isolate(1, false);
    world.isolate(3, false);
    // It has finished: whoever left takes nothing any more.
    world.ring(3, &[4, 2, 3], None);
    world.tell_all();
    let before = world.held(1).len();
    for round in 5..8 {
        world.write_until_taken(1, &samples(0..20, round)).await;
    }
    world.until_held(4, 80).await;
    assert!(
        world.held(1).len() <= before + 40,
        "hints for the old set at most"
    );
}

/// Series of partitions that a node has become a member of must get into its head, though ingest
/// knows their ids already.
#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_becomes_a_member_takes_its_own_copy() {
    let mut world = World::new(3, 2);
    world.write(3, &samples(0..50, 0)).await.unwrap();
    assert!(world.held(3).is_empty());
    world.ring(2, &[1, 2, 3], None);
    world.tell_all();
    world.write(3, &samples(0..50, 1)).await.unwrap();
    assert_eq!(world.held(3).len(), 50);
}

/// The same of all that is no plain float. Would catch one kind of sample that is sent to the others
/// only.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_member_takes_its_own_copy_of_every_kind() {
    let mut world = World::new(3, 2);
    world.write_others(3, 0..50, 0).await.unwrap();
    assert!(world.held(3).is_empty() && world.exemplars(3) == 0);
    world.ring(2, &[1, 2, 3], None);
    world.tell_all();
    world.write_others(3, 0..50, 1).await.unwrap();
    assert_eq!(world.held(3).len(), 50);
    assert_eq!(world.exemplar_series(3).len(), 50);
}

/// A node that has lost a part of its memory must not speak for what it was before.
#[tokio::test(flavor = "multi_thread")]
async fn a_life_that_is_over_never_counts() {
    let mut world = World::new(3, 3);
    world.write(1, &samples(0..20, 0)).await.unwrap();
    world.until_held(3, 20).await;
    world.new_life(3);
    world.tell_all();
    world.write(1, &samples(0..20, 1)).await.unwrap();
    world.isolate(2, true);
    let told = reason(world.write(1, &samples(0..20, 2)).await);
    assert!(told.contains("8 of 8"), "{told}");
    assert_eq!(world.held(3).len(), 20);
    // It is moved in again: both lives are of one node, and only the new one takes part.
    world.isolate(2, false);
    world.ring(2, &[1, 2, 3], None);
    world.move_to_new_life(3);
    world.tell_all();
    let mut taken = world.write(1, &samples(0..20, 3)).await;
    if taken.is_err() {
        tokio::time::sleep(Duration::from_millis(500)).await;
        taken = world.write(1, &samples(0..20, 3)).await;
    }
    taken.unwrap();
    world.until_held(3, 40).await;
}
