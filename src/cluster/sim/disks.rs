//! Scenarios of disks (the replication protocol's sections 3 and 12): lost, copied, set back, asked too
//! late.

use std::time::Duration;

use super::board::Crash;
use super::scenarios::play;
use super::script::{HOUR, MINUTE, between};
use super::world::World;
use crate::cluster::peer::Method;
use crate::store::SyncMode;

impl World {
    /// A write that all but one node take.
    async fn write_without(&mut self, lacking: usize, through: usize) {
        let lacking = self.incarnation(lacking);
        self.weather
            .hold(vec![between(Method::Append, (None, Some(lacking)), None)]);
        let some = self.samples(0..24, MINUTE);
        self.write_until_taken(through, &some).await;
    }
}

/// There is no bucket that has the block: whoever sealed it loses its disk as soon as the catalog
/// names it.
#[test]
fn a_commit_with_the_bucket_away_and_then_the_sealers_disk_gone() {
    play(
        "disks::a_commit_with_the_bucket_away_and_then_the_sealers_disk_gone",
        |seed| async move {
            let mut world = World::founded(seed, 3).await;
            for round in 0..3 {
                let some = world.samples(0..24, MINUTE);
                world.write_until_taken(round, &some).await;
                let before = world.newest_state().unwrap();
                let known = |id| {
                    let mut known = before.partitions.values();
                    known.any(|partition| partition.recent.contains_key(&id))
                };
                world.pass(250);
                let sealer = |world: &World| {
                    let state = world.newest_state().unwrap();
                    let mut partitions = state.partitions.values();
                    let sealed = partitions.find(|p| p.recent.keys().any(|id| !known(*id)))?;
                    let sealer = sealed.members.first()?.incarnation;
                    (0..3).find(|at| world.incarnation(*at) == sealer)
                };
                world
                    .until("a block", 5 * MINUTE, |world| sealer(world).is_some())
                    .await;
                let sealer = sealer(&world).unwrap();
                world.crash(sealer, Crash::PowerCut);
                world.boards[sealer].wipe();
                world.check();
                world.start(sealer);
                world
                    .until("it has its share", 10 * MINUTE, World::is_settled)
                    .await;
                world.check();
            }
            world.finish().await;
        },
    );
}

/// A disk is wiped under the same name, while another member lacks what it had: the new one counts
/// for nothing before it has gathered.
#[test]
fn a_wiped_disk_under_the_same_name() {
    play(
        "disks::a_wiped_disk_under_the_same_name",
        |seed| async move {
            let mut world = World::founded(seed, 3).await;
            for wiped in 0..3 {
                let (lacking, whole) = ((wiped + 1) % 3, (wiped + 2) % 3);
                world.write_without(lacking, whole).await;
                world.crash(wiped, Crash::PowerCut);
                world.boards[wiped].wipe();
                world.start(wiped);
                for _ in 0..20 {
                    world.run(Duration::from_secs(1)).await;
                    world.check();
                    world.spawn_read(lacking);
                }
                world
                    .until("it has its share", 10 * MINUTE, World::is_settled)
                    .await;
                world.weather.hold(Vec::new());
                world.run(Duration::from_secs(20)).await;
            }
            world.finish().await;
        },
    );
}

/// A disk and a copy of it are started at the same time, with the same counter; one of
/// the two has to end.
#[test]
fn two_copies_of_one_image() {
    play("disks::two_copies_of_one_image", |seed| async move {
        let mut world = World::founded(seed, 3).await;
        world.crash(2, Crash::Kill);
        let image = world.boards[2].image();
        let copy = world.add_board();
        world.boards[copy].restore(&image);
        let both = [2, copy];
        for at in both {
            world.start(at);
        }
        world.run(Duration::from_secs(20)).await;
        let up = |world: &World| both.map(|at| world.boards[at].is_up());
        let through = if world.boards[2].is_up() { 2 } else { copy };
        world.write_without(0, through).await;
        world.check();
        assert_ne!(up(&world), [true; 2], "both serve");
        let lost = if up(&world)[0] { copy } else { 2 };
        if world.boards[lost].is_starting {
            world.crash(lost, Crash::Kill);
        }
        world.boards[lost].wipe();
        world.start(lost);
        world.finish().await;
    });
}

/// An old image is started a few times where nobody hears it, so that its counter is ahead of what the
/// others remember: what gives it away is how much of the control log it lacks.
#[test]
fn an_old_image_that_was_started_alone() {
    play(
        "disks::an_old_image_that_was_started_alone",
        |seed| async move {
            let mut world = World::founded(seed, 3).await;
            world.crash(2, Crash::Kill);
            let image = world.boards[2].image();
            world.start(2);
            world.until("it is back", MINUTE, World::all_are_up).await;
            // The others hear how far it is, but not of the write: its log gives nothing away.
            world.run(MINUTE).await;
            world.write_without(0, 1).await;
            world.crash(2, Crash::Kill);
            world.boards[2].restore(&image);
            world.isolate(2, true);
            for _ in 0..4 {
                world.start(2);
                world.run(Duration::from_secs(10)).await;
                world.crash(2, Crash::Kill);
            }
            world.isolate(2, false);
            world.refusals.clear();
            world.start(2);
            world
                .until("it is refused or not", 2 * MINUTE, |world| {
                    !world.boards[2].is_starting
                })
                .await;
            world.check();
            assert!(!world.refusals.is_empty(), "nobody minds");
            world.boards[2].wipe();
            world.start(2);
            world.finish().await;
        },
    );
}

/// A log of samples is replaced by an older copy of itself, in a directory that is otherwise what it
/// was: nothing on the disk says so, only that others remember more.
#[test]
fn a_log_that_was_set_back() {
    play("disks::a_log_that_was_set_back", |seed| async move {
        let mut world = World::founded(seed, 3).await;
        for forgetful in [2, 1] {
            world.crash(forgetful, Crash::Kill);
            let image = world.boards[forgetful].image();
            world.start(forgetful);
            world.until("it is back", MINUTE, World::all_are_up).await;
            world.write_without(0, 3 - forgetful).await;
            // They hear how far it is.
            world.run(Duration::from_secs(20)).await;
            world.crash(forgetful, Crash::Kill);
            world.boards[forgetful].set_log_back(&image);
            world.refusals.clear();
            for _ in 0..2 {
                world.start(forgetful);
                world
                    .until("it is refused or not", 2 * MINUTE, |world| {
                        !world.boards[forgetful].is_starting
                    })
                    .await;
                if world.boards[forgetful].is_up() {
                    break;
                }
            }
            for _ in 0..20 {
                world.run(Duration::from_secs(1)).await;
                world.check();
                world.spawn_read(0);
            }
            assert!(!world.refusals.is_empty(), "nobody minds");
            world
                .until("it is a member again", 10 * MINUTE, World::is_settled)
                .await;
            world.weather.hold(Vec::new());
        }
        world.finish().await;
    });
}

/// Where what is acknowledged is not on the disk yet, a power cut makes another member of a node.
#[test]
fn a_power_cut_before_the_disk_was_asked() {
    play(
        "disks::a_power_cut_before_the_disk_was_asked",
        |seed| async move {
            let mut world = World::new(seed, 3, HOUR);
            for board in &mut world.boards {
                board.sync = SyncMode::Os;
            }
            world.found().await;
            world.until_settled().await;
            for forgetful in [2, 1] {
                world.write_without(0, 3 - forgetful).await;
                world.crash(forgetful, Crash::PowerCut);
                world.start(forgetful);
                for _ in 0..20 {
                    world.run(Duration::from_secs(1)).await;
                    world.check();
                    world.spawn_read(0);
                }
                world
                    .until("it is a member again", 10 * MINUTE, World::is_settled)
                    .await;
                world.weather.hold(Vec::new());
            }
            world.finish().await;
        },
    );
}
