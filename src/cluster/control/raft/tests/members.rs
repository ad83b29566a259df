//! Nodes that stay away or are given up, and a group that goes on without its majority.

use std::sync::Arc;

use super::super::{rebuild, why_aside};
use super::rig::{Way, harmless, is_same, runtime, three};
use crate::cluster::control::Control;
use crate::cluster::control::command::{Command, Outcome};
use crate::cluster::control::state::Liveness;
use crate::model::Incarnation;
use crate::store::Engine;

#[test]
fn a_voter_that_stays_away_gives_its_place_to_another() {
    runtime().block_on(async {
        let mut world = three(Way::Record).await;
        world.board.show(&[1, 2, 3, 4]);
        world.start(4).await;
        world.joined().await;
        world
            .until("a learner", |world| {
                world.control(4).state().members.len() == 4
            })
            .await;
        assert_eq!(world.control(4).voters().len(), 3);
        let leader = world.leader().unwrap();
        world.kill(leader).await;
        let lost = Incarnation(leader);
        world
            .until("another voter", |world| {
                let voters = world.control(4).voters();
                voters.contains(&Incarnation(4)) && !voters.contains(&lost)
            })
            .await;
        // Its disk is replaced; the name comes back and the old one is given up.
        world.disks.remove(&leader);
        world.board.show(&[1, 2, 3, 4, 40 + leader]);
        world.names.insert(40 + leader, format!("node-{leader}"));
        world.start(40 + leader).await;
        world.joined().await;
        world
            .until("the old one is gone", |world| {
                let control = world.control(4);
                let gone = control.state().members[&lost].liveness == Liveness::Gone;
                let metrics = control.raft.metrics().borrow().clone();
                let nodes = metrics.membership_config.nodes().count();
                gone && nodes == 4
            })
            .await;
    });
}

#[test]
fn who_was_given_up_must_set_its_directory_aside() {
    runtime().block_on(async {
        let mut world = three(Way::Record).await;
        let node = world
            .nodes
            .keys()
            .copied()
            .find(|n| world.leader() != Some(*n))
            .unwrap();
        world.kill(node).await;
        let leader = world.leader().unwrap();
        let gone = Command::NodeGone(Incarnation(node));
        world.control(leader).propose_soon(&gone).await.unwrap();
        let error = world.open(node).await.unwrap_err();
        assert!(
            error.to_string().contains("sets the data directory aside"),
            "{error}"
        );
        let aside = why_aside(world.disks[&node].as_ref()).unwrap();
        assert!(aside.is_some(), "so that the start after this one does it");
    });
}

/// Would catch a survivor that cannot go on, one that does not follow it, and an old voter that is
/// listened to afterwards.
#[test]
fn a_group_without_a_majority_goes_on_from_a_survivor_and_the_others_follow() {
    runtime().block_on(async {
        let mut world = three(Way::Record).await;
        world.board.show(&[1, 2, 3, 4]);
        world.start(4).await;
        world.joined().await;
        world.until("equal states", is_same).await;
        for lost in [1, 2] {
            world.kill(lost).await;
        }
        let disk: Arc<dyn Engine> = world.disks[&3].clone();
        let me = Incarnation(3);
        let names = |numbers: &[u32]| -> Vec<String> {
            numbers
                .iter()
                .map(|number| format!("node-{number}"))
                .collect()
        };
        world.kill(3).await;
        let looked = rebuild(&disk, me, &[], false).unwrap();
        assert_eq!(looked.voters, names(&[1, 2, 3]));
        assert!(!looked.done && looked.last.1 > 0);
        for (wrong, why) in [
            (&[1][..], "a majority"),
            (&[1, 2, 3], "goes on"),
            (&[9], "no node"),
        ] {
            let error = rebuild(&disk, me, &names(wrong), true).unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
        }
        let rebuilt = rebuild(&disk, me, &names(&[1, 2]), true).unwrap();
        assert!(rebuilt.done && rebuilt.generation == 1, "{rebuilt:?}");
        world.start(3).await;
        world.joined().await;
        world
            .until("the other follows", |world| {
                world.leader() == Some(3)
                    && is_same(world)
                    && world.control(4).state().generation == 1
            })
            .await;
        let done = world.control(4).propose_soon(&harmless()).await;
        assert_eq!(done.unwrap(), Outcome::Applied);
        for lost in [1, 2] {
            let error = world.open(lost).await.unwrap_err();
            assert!(error.to_string().contains("is gone"), "{error}");
        }
    });
}
