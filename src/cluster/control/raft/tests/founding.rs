//! How a group comes to be, and that there is only one.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::super::decision;
use super::rig::{Way, World, harmless, is_same, runtime, votes_alone};
use crate::cluster::control::command::{ClusterId, Outcome};
use crate::cluster::control::{Control, Introduction};
use crate::model::Incarnation;
use crate::runtime::{Chance, SeededChance};
use crate::store::{Engine, MemoryEngine};

#[test]
fn one_node_is_a_cluster_and_stays_one() {
    runtime().block_on(async {
        let mut world = World::new(Way::List(Vec::new()));
        world.start(1).await;
        world.joined().await;
        let state = world.control(1).state();
        assert_eq!(state.members.len(), 1);
        assert_eq!(state.partitions.len(), 16);
        world.kill(1).await;
        world.start(1).await;
        assert_eq!(
            world.control(1).state(),
            state,
            "read from disk, before anything is said"
        );
        world.joined().await;
        let again = world.control(1).state();
        assert_eq!(again.cluster, state.cluster);
        assert_eq!(again.members[&Incarnation(1)].session.starts, 2);
    });
}

#[test]
fn three_nodes_that_race_found_one_cluster() {
    for way in [
        Way::Record,
        Way::Nobody,
        Way::List(vec!["1".to_owned(), "2".to_owned(), "3".to_owned()]),
    ] {
        runtime().block_on(async {
            let mut world = World::new(way);
            world.board.show(&[1, 2, 3]);
            for number in [2, 3, 1] {
                world.start(number).await;
            }
            world.joined().await;
            world
                .until("equal states", |world| {
                    is_same(world) && world.control(1).state().members.len() == 3
                })
                .await;
            for control in world.controls() {
                assert_eq!(control.voters().len(), 3);
                assert_eq!(
                    control.cluster().borrow().unwrap(),
                    control.state().cluster.unwrap()
                );
            }
        });
    }
}

#[test]
fn start_order_and_number_do_not_matter() {
    runtime().block_on(async {
        let mut world = World::new(Way::Record);
        world.settings.bootstrap_expect = 5;
        for number in [4, 2, 5] {
            world.start(number).await;
        }
        world.board.show(&[4, 2, 5]);
        tokio::time::sleep(Duration::from_millis(150)).await;
        let trouble = world.control(2).trouble().unwrap();
        assert!(trouble.contains("3 of 5 nodes"), "{trouble}");
        assert!(trouble.contains("node-4"), "{trouble}");
        for number in [1, 6, 3] {
            world.start(number).await;
        }
        world.board.show(&[1, 2, 3, 4, 5, 6]);
        world.joined().await;
        world
            .until("six members, five voters", |world| {
                let leader = world.leader().map(|leader| world.control(leader));
                leader.is_some_and(|leader| {
                    leader.voters().len() == 5 && leader.state().members.len() == 6
                })
            })
            .await;
        world.until("equal states", is_same).await;
        let state = world.control(6).state();
        let ring = state.partitions.values().next().unwrap();
        assert_eq!(ring.members.len(), 3, "founded with the replication factor");
    });
}

#[test]
fn a_single_node_becomes_three() {
    runtime().block_on(async {
        // A directory that an older version wrote.
        let mut world = World::new(Way::Record);
        let disk = Arc::new(MemoryEngine::new(Path::new("unused")));
        let engine: Arc<dyn Engine> = disk.clone();
        let local = crate::cluster::control::LocalControl::open(Arc::clone(&engine)).unwrap();
        let session = crate::cluster::control::join_or_found(
            &local,
            engine.as_ref(),
            Incarnation(7),
            &Introduction::default(),
            &SeededChance::new(9),
        )
        .unwrap();
        for _ in 0..300 {
            local.propose(&harmless()).unwrap();
        }
        let before = local.state();
        drop(local);
        world.disks.insert(7, disk);
        world.start(7).await;
        assert_eq!(world.control(7).state(), before);
        world.joined().await;
        let state = world.control(7).state();
        assert_eq!(state.cluster, before.cluster);
        assert_eq!(
            state.members[&Incarnation(7)].session.starts,
            session.starts + 1
        );
        world.board.show(&[7, 8, 9]);
        for number in [8, 9] {
            world.start(number).await;
        }
        world.joined().await;
        world
            .until("three voters everywhere", |world| {
                world.controls().all(|control| votes_alone(control, 3)) && is_same(world)
            })
            .await;
        assert_eq!(world.control(9).state().cluster, before.cluster);
        // And the first can go.
        world.kill(7).await;
        let outcome = world.control(8).propose_soon(&harmless()).await;
        assert_eq!(outcome.unwrap(), Outcome::Applied);
    });
}

/// Nodes start at odd times, are killed in the midst of founding, lose power, are seen late. There
/// is one cluster in the end, and its id is the first that anybody ever had.
#[test]
fn founding_survives_whatever_happens_meanwhile() {
    for (seed, way) in [
        (1, Way::Record),
        (2, Way::Nobody),
        (
            3,
            Way::List(vec!["1".to_owned(), "2".to_owned(), "3".to_owned()]),
        ),
        (4, Way::Nobody),
        (5, Way::Record),
    ] {
        runtime().block_on(async {
            let chance = SeededChance::new(seed);
            let mut world = World::new(way);
            for _ in 0..8 {
                let number = u128::from(chance.below(3)) + 1;
                if world.nodes.contains_key(&number) {
                    world.kill(number).await;
                    world.disks[&number].crash(0);
                } else {
                    world.start(number).await;
                }
                let seen: Vec<u128> = (1..=3).filter(|_| chance.below(4) > 0).collect();
                world.board.show(&seen);
                tokio::time::sleep(Duration::from_millis(chance.below(120))).await;
            }
            world.board.show(&[1, 2, 3]);
            for number in 1..=3 {
                if !world.nodes.contains_key(&number) {
                    world.start(number).await;
                }
            }
            world.joined().await;
            world
                .until("equal states", |world| {
                    is_same(world) && world.control(1).state().members.len() == 3
                })
                .await;
            assert_eq!(world.control(1).voters().len(), 3);
        });
    }
}

#[test]
fn a_decider_that_loses_its_disk_is_replaced() {
    runtime().block_on(async {
        let mut world = World::new(Way::Nobody);
        // The third never comes while the first lives: the first has agreed with itself only.
        world.board.show(&[1, 2, 3]);
        world.settings.bootstrap_expect = 2;
        world.start(2).await;
        let decision = decision::Decision {
            cluster: ClusterId(77),
            founders: [1u128, 2]
                .map(|number| decision::Founder {
                    incarnation: Incarnation(number),
                    name: format!("node-{number}"),
                    zone: String::new(),
                    addresses: vec![if number == 1 { "3" } else { "2" }.to_owned()],
                })
                .to_vec(),
            decider: Some(Incarnation(1)),
        };
        world.control(2).agree_to(&decision).unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        let other = decision::Decision {
            cluster: ClusterId(78),
            decider: Some(Incarnation(3)),
            ..decision
        };
        assert!(
            world.control(2).agree_to(&other).is_err(),
            "one agreement at a time"
        );
        // At the first one's address another incarnation answers.
        world.start(3).await;
        world.joined().await;
        let state = world.control(3).state();
        assert_ne!(state.cluster, Some(ClusterId(77)));
        assert_eq!(state.cluster, world.control(2).state().cluster);
    });
}
