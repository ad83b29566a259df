//! Who leads, who believes it and who must not; what is proposed to whom.

#![allow(
    clippy::disallowed_methods,
    reason = "bounds on how long a real group takes need the real clock"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::RaftControl;
use super::rig::{Way, World, harmless, is_same, runtime, three};
use crate::cluster::control::command::{Command, Outcome, Refusal};
use crate::cluster::control::state::Liveness;
use crate::cluster::control::{Control, ControlError};
use crate::model::Incarnation;
use crate::store::{Engine, Space};

#[test]
fn a_leader_that_leaves_hands_over() {
    runtime().block_on(async {
        let mut world = three(Way::Record).await;
        let leader = world.leader().unwrap();
        let term = |world: &World| {
            world
                .controls()
                .next()
                .unwrap()
                .raft
                .metrics()
                .borrow()
                .current_term
        };
        let before = term(&world);
        let node = world.nodes.remove(&leader).unwrap();
        let began = Instant::now();
        node.control.close().await;
        assert!(
            began.elapsed() < Duration::from_secs(8),
            "{:?}",
            began.elapsed()
        );
        world.network.disconnect(Incarnation(leader));
        world
            .until("another leader", |world| world.leader().is_some())
            .await;
        assert!(term(&world) > before);
        let outcome = world
            .controls()
            .next()
            .unwrap()
            .propose_soon(&harmless())
            .await;
        assert_eq!(outcome.unwrap(), Outcome::Applied);
    });
}

/// Would catch a leader that goes on deciding alone: for a while it believes that it leads.
#[test]
fn a_leader_that_is_cut_off_is_not_confirmed() {
    runtime().block_on(async {
        let world = three(Way::Record).await;
        let confirmed = |world: &World, number: u128| {
            let control = Arc::clone(world.control(number));
            tokio::task::spawn_blocking(move || control.confirmed())
        };
        let leader = world.leader().unwrap();
        let applied = world.control(leader).propose_soon(&harmless()).await;
        assert_eq!(applied.unwrap(), Outcome::Applied);
        let asked = confirmed(&world, leader).await.unwrap();
        let asked = asked.expect("a majority follows it");
        assert_eq!(asked.voters.len(), 3);
        assert_eq!(asked.state, world.control(leader).state());
        for other in [1, 2, 3].into_iter().filter(|other| *other != leader) {
            assert!(confirmed(&world, other).await.unwrap().is_none());
            world
                .network
                .cut(Incarnation(leader), Incarnation(other), true);
            world
                .network
                .cut(Incarnation(other), Incarnation(leader), true);
        }
        assert!(confirmed(&world, leader).await.unwrap().is_none());
    });
}

#[test]
fn any_node_proposes_and_learns_what_it_did() {
    runtime().block_on(async {
        let world = three(Way::Nobody).await;
        for control in world.controls() {
            let refused = Command::FeatureLevel(99);
            let outcome = control.propose_soon(&refused).await.unwrap();
            assert!(
                matches!(outcome, Outcome::Refused(Refusal::BadLevel { .. })),
                "{outcome:?}"
            );
            let before = control.state().applied;
            assert_eq!(
                control.propose_soon(&harmless()).await.unwrap(),
                Outcome::Applied
            );
            assert!(
                control.state().applied > before,
                "applied here when it returns"
            );
            assert_eq!(*control.changed().borrow(), control.state().applied);
        }
        // The blocking way, as threads use it.
        let control = Arc::clone(world.control(2));
        let outcome = tokio::task::spawn_blocking(move || control.propose(&harmless()));
        assert_eq!(outcome.await.unwrap().unwrap(), Outcome::Applied);
    });
}

#[test]
fn the_leader_dies_and_comes_back() {
    runtime().block_on(async {
        let mut world = three(Way::Record).await;
        let leader = world.leader().unwrap();
        world.kill(leader).await;
        world.disks[&leader].crash(0);
        let other = *world.nodes.keys().next().unwrap();
        // More than the log keeps: the leader comes back to a snapshot.
        let control = Arc::clone(world.control(other));
        for _ in 0..600 {
            control.propose_soon(&harmless()).await.unwrap();
        }
        world
            .until("the member is down", |world| {
                let state = world.control(other).state();
                state.members[&Incarnation(leader)].liveness == Liveness::Down
            })
            .await;
        let purged = |control: &RaftControl| {
            let metrics = control.raft.metrics().borrow().clone();
            metrics.purged.map_or(0, |purged| purged.index)
        };
        world
            .until("the log is short", |world| {
                world.controls().any(|c| purged(c) > 100)
            })
            .await;
        world.start(leader).await;
        world.joined().await;
        world.until("equal states", is_same).await;
        let state = world.control(leader).state();
        assert_eq!(state.members[&Incarnation(leader)].liveness, Liveness::Live);
        assert!(state.applied > 600);
    });
}

#[test]
fn a_minority_commits_nothing() {
    runtime().block_on(async {
        let mut world = three(Way::Record).await;
        let leader = world.leader().unwrap();
        let before = world.control(leader).state();
        let others: Vec<u128> = world
            .nodes
            .keys()
            .copied()
            .filter(|n| *n != leader)
            .collect();
        for other in &others {
            world.kill(*other).await;
        }
        let error = world
            .control(leader)
            .propose_soon(&harmless())
            .await
            .unwrap_err();
        assert!(matches!(error, ControlError::Unconfirmed { .. }), "{error}");
        assert_eq!(world.control(leader).state(), before);
        for other in others {
            world.start(other).await;
        }
        world.joined().await;
        let outcome = world.control(leader).propose_soon(&harmless()).await;
        assert_eq!(outcome.unwrap(), Outcome::Applied);
    });
}

#[test]
fn a_leader_that_hears_nobody_is_replaced_and_follows() {
    runtime().block_on(async {
        let world = three(Way::Record).await;
        let leader = world.leader().unwrap();
        let others: Vec<u128> = world
            .nodes
            .keys()
            .copied()
            .filter(|n| *n != leader)
            .collect();
        // It reaches nobody; they reach it.
        for other in &others {
            world
                .network
                .cut(Incarnation(leader), Incarnation(*other), true);
        }
        world
            .until("another leads", |world| {
                world.leader().is_some_and(|it| it != leader)
            })
            .await;
        let outcome = world.control(others[0]).propose_soon(&harmless()).await;
        assert_eq!(outcome.unwrap(), Outcome::Applied);
        world
            .until("it follows", |world| {
                !world.control(leader).is_leader() && is_same(world)
            })
            .await;
        for other in &others {
            world
                .network
                .cut(Incarnation(leader), Incarnation(*other), false);
        }
        let outcome = world.control(leader).propose_soon(&harmless()).await;
        assert_eq!(outcome.unwrap(), Outcome::Applied);
    });
}

#[test]
fn an_idle_group_writes_nothing() {
    runtime().block_on(async {
        let mut world = World::new(Way::List(Vec::new()));
        world.start(1).await;
        world.joined().await;
        let content = |world: &World| {
            let disk = &world.disks[&1];
            (
                disk.unsynced(),
                disk.scan(Space::Control, b"", None).unwrap(),
            )
        };
        tokio::time::sleep(Duration::from_millis(100)).await;
        let before = content(&world);
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert_eq!(content(&world), before);
    });
}

/// A follower that can speak but not hear must not unseat the leader again and again.
#[test]
fn a_follower_that_hears_nothing_does_not_disturb_the_others() {
    runtime().block_on(async {
        let world = three(Way::Record).await;
        let leader = world.leader().unwrap();
        let deaf = world.nodes.keys().copied().find(|n| *n != leader).unwrap();
        for other in [1, 2, 3] {
            world
                .network
                .cut(Incarnation(other), Incarnation(deaf), true);
        }
        let term = |number| world.control(number).raft.metrics().borrow().current_term;
        let before = term(leader);
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert_eq!((world.leader(), term(leader)), (Some(leader), before));
        for other in [1, 2, 3] {
            world
                .network
                .cut(Incarnation(other), Incarnation(deaf), false);
        }
        let outcome = world.control(deaf).propose_soon(&harmless()).await;
        assert_eq!(outcome.unwrap(), Outcome::Applied);
    });
}

/// Would catch a survivor that goes on answering as the group's leader: whoever asks it what is
/// lost would be told "nothing".
#[test]
fn a_leader_that_is_left_alone_names_nobody() {
    runtime().block_on(async {
        let world = three(Way::Record).await;
        let leader = world.leader().unwrap();
        assert_eq!(world.control(leader).leader(), Some(Incarnation(leader)));
        for other in world.nodes.keys().copied().filter(|n| *n != leader) {
            for (from, to) in [(leader, other), (other, leader)] {
                world.network.cut(Incarnation(from), Incarnation(to), true);
            }
        }
        world
            .until("it knows", |world| {
                world.control(leader).leader().is_none() && !world.control(leader).is_leader()
            })
            .await;
    });
}
