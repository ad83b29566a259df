//! Who counts for a write or a read.

use std::time::Duration;

use super::super::board::Crash;
use super::super::script::{MINUTE, between, deaf, hold};
use super::super::world::World;
use super::{HIDDEN, weigh};
use crate::cluster::peer::{Hold, Method};
use crate::runtime::Rule;

impl World {
    /// Four nodes, of which the last is emptied and hears nothing of it: the others are the members
    /// of everything, and it goes on in the ring from before.
    async fn with_a_stale_one(seed: u64) -> Self {
        let mut world = Self::founded(seed, 4).await;
        let some = world.samples(0..24, MINUTE);
        world.write_until_taken(0, &some).await;
        let stale = world.incarnation(3);
        if world.leader() == Some(3) {
            // Who leads cannot be deaf.
            world.crash(3, Crash::Kill);
            world.run(Duration::from_secs(10)).await;
            world.start(3);
            world.until_settled().await;
        }
        world.drain(3, true).await;
        world.weather.hold(deaf(stale));
        let is_gone = |world: &Self| {
            let state = world.newest_state().unwrap();
            state.partitions.values().all(|partition| {
                let mut members = partition.members.iter();
                partition.moving.is_none() && !members.any(|m| m.incarnation == stale)
            })
        };
        world.until("it is moved away", 20 * MINUTE, is_gone).await;
        world
    }

    /// Everything that was acknowledged is seen by whoever answers, now and in the end.
    pub(super) async fn look(&mut self, readers: &[usize]) {
        for _ in 0..4 {
            for reader in readers {
                self.read(*reader).await;
            }
            self.check();
            self.run(Duration::from_secs(1)).await;
        }
    }
}

/// A coordinator with an old ring writes to one member of the new set.
#[test]
fn writes_are_of_one_epoch() {
    weigh(
        ("quorums", "writes_are_of_one_epoch"),
        Rule::WritesAreOfOneEpoch,
        HIDDEN,
        |seed| async move {
            let mut world = World::with_a_stale_one(seed).await;
            for reached in 0..3 {
                for other in (0..3).filter(|other| *other != reached) {
                    world.cut(3, other, true);
                }
                for series in 0..24 {
                    let one = world.samples(series..series + 1, MINUTE);
                    world.spawn_write(3, &one);
                }
                world.run(Duration::from_secs(15)).await;
                world.isolate(reached, true);
                let readers: Vec<usize> = (0..3).filter(|other| *other != reached).collect();
                world.look(&readers).await;
                world.heal();
                world.run(Duration::from_secs(10)).await;
            }
            world.finish().await;
        },
    );
}

/// A reader with an old ring asks a member that lacks what the others have.
#[test]
fn reads_are_of_one_epoch() {
    weigh(
        ("quorums", "reads_are_of_one_epoch"),
        Rule::ReadsAreOfOneEpoch,
        HIDDEN,
        |seed| async move {
            let mut world = World::with_a_stale_one(seed).await;
            let stale = world.incarnation(3);
            for lacking in 0..3 {
                let who = world.incarnation(lacking);
                let mut holds = deaf(stale);
                holds.push(Hold {
                    to: Some(who),
                    ..hold(Method::Append, None, None)
                });
                world.weather.hold(holds);
                let some = world.samples(0..24, MINUTE);
                world.write_until_taken((lacking + 1) % 3, &some).await;
                // Partitions of which it was no member need two of the others.
                for other in (0..3).filter(|other| *other != lacking) {
                    world.cut(3, other, true);
                    for _ in 0..4 {
                        world.spawn_read(3);
                        world.run(Duration::from_secs(5)).await;
                    }
                    world.cut(3, other, false);
                }
                world.heal();
            }
            world.finish().await;
        },
    );
}

/// Of two members one is cut off and still believes in a ring of two, while the other goes on with
/// a third.
#[test]
fn reads_need_a_majority() {
    weigh(
        ("quorums", "reads_need_a_majority"),
        Rule::ReadsNeedAMajority,
        HIDDEN,
        |seed| async move {
            let mut world = World::founded(seed, 2).await;
            let some = world.samples(0..24, MINUTE);
            world.write_until_taken(0, &some).await;
            let at = world.add_board();
            world.start(at);
            world
                .until("all are up", 5 * MINUTE, World::all_are_up)
                .await;
            let (first, second) = (world.incarnation(0), world.incarnation(1));
            let leads = |world: &World| {
                let up = world.up(0);
                up.member.control().leader() == Some(first)
            };
            if leads(&world) {
                let deaf_one = deaf(second);
                world.weather.hold(deaf_one);
            }
            world.run(MINUTE).await;
            world.isolate(1, true);
            for _ in 0..20 {
                let some = world.samples(0..24, MINUTE);
                world.write(0, &some).await;
                world.spawn_read(1);
                world.run(Duration::from_secs(2)).await;
            }
            world.heal();
            world.finish().await;
        },
    );
}

/// During a move a coordinator and the one who leaves take a write that neither the other who stays
/// nor the newcomer hears of.
#[test]
fn changes_are_joint() {
    weigh(
        ("quorums", "changes_are_joint"),
        Rule::ChangesAreJoint,
        HIDDEN,
        |seed| async move {
            let mut world = World::founded(seed, 4).await;
            let place = world.places().swap_remove(0);
            let [stays, other, leaves] = place.members[..] else {
                panic!("{place:?}")
            };
            let joins = place.others[0];
            let early = world.samples_of(&place.series, 2 * MINUTE);
            world.write_until_taken(stays, &early).await;
            // The leader prepares nothing by itself.
            world.weather.hold(vec![hold(Method::Move, None, None)]);
            world.drain(leaves, true).await;
            world.begin_move(place.arc, joins, leaves).await;
            // Meanwhile the newcomer gathers.
            world.run(Duration::from_secs(10)).await;
            let [other, joins] = [other, joins].map(|at| world.incarnation(at));
            let unheard = [other, joins].map(|to| between(Method::Append, (None, Some(to)), None));
            let mut holds = unheard.to_vec();
            holds.push(hold(Method::Move, None, None));
            world.weather.hold(holds);
            let late = world.samples_of(&place.series, MINUTE);
            world.spawn_write(stays, &late);
            world.run(Duration::from_secs(15)).await;
            world.weather.hold(unheard.to_vec());
            world
                .perhaps(MINUTE, |world| world.partition(place.arc).moving.is_none())
                .await;
            world.isolate(stays, true);
            let readers = [place.members[1], place.others[0]];
            world.look(&readers).await;
            world.heal();
            world.drain(leaves, false).await;
            world.finish().await;
        },
    );
}

/// Of two members of a reader's quorum one knows a sample only from a block that the other, from
/// whom the reader would rather take data, has not applied.
#[test]
fn readers_take_the_highest_version() {
    weigh(
        ("quorums", "readers_take_the_highest_version"),
        Rule::ReadersTakeTheHighestVersion,
        HIDDEN,
        |seed| async move {
            let mut world = World::founded(seed, 3).await;
            world.isolate(2, true);
            let some = world.samples(0..24, MINUTE);
            world.write_until_taken(0, &some).await;
            world.pass(250);
            world
                .until("blocks", 5 * MINUTE, |world| {
                    let gave_up = |at: usize| world.up(at).member.store().held().is_empty();
                    world.blocks() > 3 && gave_up(0) && gave_up(1)
                })
                .await;
            // It hears of the blocks, and cannot get them.
            let late = world.incarnation(2);
            world.weather.hold(vec![
                between(Method::Append, (None, Some(late)), None),
                hold(Method::FetchBlock, Some(late), None),
            ]);
            world.isolate(2, false);
            world.run(Duration::from_secs(5)).await;
            world.isolate(0, true);
            world.look(&[2, 1]).await;
            world.heal();
            world.finish().await;
        },
    );
}
