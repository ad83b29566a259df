//! Disks that lose power, are set back to an old image, or exist twice.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::super::Ending;
use super::rig::{Way, copy, harmless, is_same, runtime, three, timings};
use crate::cluster::control::command::Outcome;
use crate::cluster::control::{Control, ControlError};
use crate::model::Incarnation;
use crate::store::{Batch, Durability, Engine, MemoryEngine, Space};

#[test]
fn the_power_fails_for_all() {
    runtime().block_on(async {
        let mut world = three(Way::Record).await;
        for _ in 0..20 {
            world.control(1).propose_soon(&harmless()).await.unwrap();
        }
        world.until("equal states", is_same).await;
        let before = world.control(1).state();
        for number in [1, 2, 3] {
            world.kill(number).await;
            world.disks[&number].crash(0);
        }
        for number in [3, 1, 2] {
            world.start(number).await;
        }
        world.joined().await;
        world.until("equal states", is_same).await;
        let after = world.control(2).state();
        assert_eq!(after.cluster, before.cluster);
        assert!(after.applied > before.applied);
        for member in after.members.values() {
            assert_eq!(member.session.starts, 2);
        }
    });
}

#[test]
fn an_old_image_and_a_copy_are_noticed() {
    runtime().block_on(async {
        let mut world = three(Way::Record).await;
        let follower = world
            .nodes
            .keys()
            .copied()
            .find(|n| world.leader() != Some(*n))
            .unwrap();
        let image = copy(&world.disks[&follower]);
        for _ in 0..10 {
            world
                .control(follower)
                .propose_soon(&harmless())
                .await
                .unwrap();
        }
        // The voters are told from time to time how far everybody is.
        tokio::time::sleep(timings().detection * 2).await;
        world.kill(follower).await;
        // The image, started once, has a control log that ends before what the others remember.
        world.disks.insert(follower, copy(&image));
        let error = world.open(follower).await.unwrap_err();
        let behind = matches!(
            error,
            ControlError::RolledBack {
                what: "control log's end",
                ..
            }
        );
        assert!(behind, "{error}");
        // However often it is started.
        for _ in 0..3 {
            let error = world.open(follower).await.unwrap_err();
            assert!(matches!(error, ControlError::RolledBack { .. }), "{error}");
        }
        // Much older: its counter is behind, too.
        let first = Arc::new(MemoryEngine::new(Path::new("unused")));
        for (key, value) in image.scan(Space::Control, b"", None).unwrap() {
            let mut batch = Batch::new();
            batch.put(Space::Control, &key, &value);
            first.write(batch, Durability::Synced).unwrap();
        }
        world.disks.insert(follower, first);
        let error = world.open(follower).await.unwrap_err();
        assert!(matches!(error, ControlError::RolledBack { .. }), "{error}");
    });
}

#[test]
fn the_later_of_two_copies_ends_the_earlier() {
    runtime().block_on(async {
        let mut world = three(Way::Record).await;
        let follower = world
            .nodes
            .keys()
            .copied()
            .find(|n| world.leader() != Some(*n))
            .unwrap();
        let earlier = world.nodes.remove(&follower).unwrap();
        world.disks.insert(follower, copy(&world.disks[&follower]));
        world.start(follower).await;
        world.joined().await;
        let ended = tokio::time::timeout(Duration::from_secs(3), earlier.control.ended()).await;
        assert!(matches!(ended, Ok(Ending::OldSession(_))), "{ended:?}");
    });
}

/// Everybody has lost its memory of the others with the power, and one disk is an old image: that
/// cannot be noticed, and it must not take the leader down with it.
#[test]
fn an_old_image_that_nobody_remembers_catches_up() {
    runtime().block_on(async {
        let mut world = three(Way::Record).await;
        let follower = world
            .nodes
            .keys()
            .copied()
            .find(|n| world.leader() != Some(*n));
        let follower = follower.unwrap();
        let image = copy(&world.disks[&follower]);
        for _ in 0..10 {
            world
                .control(follower)
                .propose_soon(&harmless())
                .await
                .unwrap();
        }
        for number in [1, 2, 3] {
            world.kill(number).await;
        }
        world.disks.insert(follower, image);
        for number in [1, 2, 3] {
            world.start(number).await;
        }
        world.joined().await;
        world.until("equal states", is_same).await;
        // While it runs, too: its log is set back under the leader's eyes.
        let leader = world.leader().unwrap();
        let follower = world.nodes.keys().copied().find(|n| *n != leader).unwrap();
        let image = copy(&world.disks[&follower]);
        for _ in 0..10 {
            world
                .control(leader)
                .propose_soon(&harmless())
                .await
                .unwrap();
        }
        world.kill(follower).await;
        world.disks.insert(follower, image);
        world
            .network
            .cut(Incarnation(follower), Incarnation(leader), true);
        for other in [1, 2, 3] {
            world
                .network
                .cut(Incarnation(follower), Incarnation(other), true);
        }
        world.start(follower).await;
        for other in [1, 2, 3] {
            world
                .network
                .cut(Incarnation(follower), Incarnation(other), false);
        }
        world.joined().await;
        let outcome = world.control(leader).propose_soon(&harmless()).await;
        assert_eq!(outcome.unwrap(), Outcome::Applied);
        world.until("equal states", is_same).await;
    });
}
