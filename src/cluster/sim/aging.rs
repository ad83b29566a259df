//! A cluster that gets older: its blocks leave the control state for manifests (decision 15).

use std::time::Duration;

use super::board::Crash;
use super::scenarios::play;
use super::script::{HOUR, MINUTE, hold};
use super::world::World;
use crate::cluster::manifests::Manifests;
use crate::cluster::peer::Method;
use crate::store::Engine;

impl World {
    /// Whether manifests list all blocks.
    fn has_moved_all(&self) -> bool {
        let state = self.newest_state().unwrap();
        let mut partitions = state.partitions.values();
        partitions.all(|partition| partition.recent.is_empty())
    }

    /// Three nodes that have sealed some blocks.
    async fn with_blocks(seed: u64) -> Self {
        let mut world = Self::founded(seed, 3).await;
        let some = world.samples(0..24, MINUTE);
        world.write_until_taken(0, &some).await;
        world.pass(250);
        let sealed = |world: &Self| world.blocks() > 3;
        world.until("blocks", 10 * MINUTE, sealed).await;
        world.run(MINUTE).await;
        world
    }

    /// Whether every manifest lies on every node's disk, running or not.
    fn all_have_manifests(&self) -> bool {
        let state = self.newest_state().unwrap();
        let mut histories = state.partitions.values().filter_map(|p| p.history);
        histories.all(|history| {
            let mut boards = self.boards.iter();
            boards.all(|board| {
                let engine = std::sync::Arc::clone(&board.engine) as std::sync::Arc<dyn Engine>;
                let kept = Manifests::new(engine).get(history.digest);
                kept.unwrap().is_some()
            })
        })
    }
}

/// Days later the blocks are listed by manifests. One member sleeps meanwhile, one loses its disk:
/// each has the manifest before it says that it has the catalog, and nothing is lost.
#[test]
fn older_blocks_leave_the_state_while_a_member_sleeps() {
    play(
        "aging::older_blocks_leave_the_state_while_a_member_sleeps",
        |seed| async move {
            let mut world = World::with_blocks(seed).await;
            world.crash(2, Crash::PowerCut);
            world.pass(5 * 24 * 60);
            let is_moved = |world: &World| world.blocks() > 3 && world.has_moved_all();
            world.until("manifests", 20 * MINUTE, is_moved).await;
            world.check();
            world.start(2);
            world
                .until("all are up", 10 * MINUTE, World::all_are_up)
                .await;
            world
                .until("it has them", 10 * MINUTE, World::all_have_manifests)
                .await;
            world.check();
            world.crash(0, Crash::PowerCut);
            world.run(Duration::from_secs(15)).await;
            world.boards[0].wipe();
            world.start(0);
            world
                .until("it is moved in", 30 * MINUTE, World::is_settled)
                .await;
            world
                .until("it has them", 10 * MINUTE, World::all_have_manifests)
                .await;
            world.crash(1, Crash::Kill);
            world.run(MINUTE).await;
            let late = world.samples(0..12, 130 * HOUR);
            world.write_until_taken(0, &late).await;
            assert!(world.read(0).await && world.read(2).await);
            world.finish().await;
        },
    );
}

/// No member gets a manifest from another. Would catch a state that names one which only its maker
/// keeps: without it, and with its maker's disk, a partition's history would be gone.
#[test]
fn no_manifest_is_named_that_a_majority_does_not_keep() {
    play(
        "aging::no_manifest_is_named_that_a_majority_does_not_keep",
        |seed| async move {
            let mut world = World::with_blocks(seed).await;
            world.weather.hold(vec![hold(Method::Manifest, None, None)]);
            world.pass(5 * 24 * 60);
            world.run(20 * MINUTE).await;
            let state = world.newest_state().unwrap();
            let mut partitions = state.partitions.values();
            assert!(partitions.all(|partition| partition.history.is_none()));
            world.weather.hold(Vec::new());
            world
                .until("manifests", 20 * MINUTE, World::has_moved_all)
                .await;
            world
                .until("all have them", 10 * MINUTE, World::all_have_manifests)
                .await;
            world.finish().await;
        },
    );
}
