//! What may enter the catalog, and what is given up for it.

use std::time::Duration;

use super::super::board::Crash;
use super::super::script::{MINUTE, between, hold, only};
use super::super::world::World;
use super::{LOST, NOWHERE, weigh, weigh_at};
use crate::cluster::peer::{Hold, Method};
use crate::runtime::Rule;

/// What comes between cut and commit is given up with the rest.
#[test]
fn who_acknowledges_keeps() {
    weigh(
        ("seals", "who_acknowledges_keeps"),
        Rule::WhoAcknowledgesKeeps,
        LOST,
        |seed| async move {
            let mut world = World::founded(seed, 3).await;
            let place = world.places().swap_remove(0);
            let (arc, through) = (place.arc, place.members[1]);
            let early = world.samples_of(&place.series, Duration::ZERO);
            world.write_until_taken(through, &early).await;
            // One seals, and is slow.
            let others = place.members[1..].iter().map(|at| world.incarnation(*at));
            let mute = |at| only(hold(Method::Cut, Some(at), None), false);
            let mut holds: Vec<Hold> = others.map(mute).collect();
            holds.push(hold(Method::Stage, None, Some(Duration::from_secs(5))));
            world.weather.hold(holds);
            world.pass(250);
            for number in 0..40u32 {
                let before = 249 * MINUTE - number * Duration::from_secs(10);
                let late = world.samples_of(&place.series, before);
                world.write_until_taken(through, &late).await;
                world.run(Duration::from_secs(1)).await;
                world.check();
                if world.blocks_of(arc) > 0 {
                    break;
                }
            }
            world.run(Duration::from_secs(5)).await;
            world.check();
            world.finish().await;
        },
    );
}

/// Nobody but the sealer gets its block, and the sealer's disk is lost.
#[test]
fn blocks_are_staged() {
    weigh(
        ("seals", "blocks_are_staged"),
        Rule::BlocksAreStaged,
        NOWHERE,
        |seed| async move {
            let mut world = World::founded(seed, 3).await;
            let some = world.samples(0..24, MINUTE);
            world.write_until_taken(0, &some).await;
            world.weather.hold(vec![
                hold(Method::Stage, None, None),
                hold(Method::FetchBlock, None, None),
            ]);
            world.pass(250);
            world.perhaps(3 * MINUTE, |world| world.blocks() > 0).await;
            let state = world.newest_state().unwrap();
            let block = state
                .partitions
                .values()
                .find_map(|p| p.recent.keys().next());
            let sealer = block.map_or(0, |block| {
                let mut boards = world.boards.iter();
                boards.position(|board| board.has_file(*block)).unwrap()
            });
            world.crash(sealer, Crash::PowerCut);
            world.boards[sealer].wipe();
            world.check();
            world.weather.hold(Vec::new());
            world.start(sealer);
            world.finish().await;
        },
    );
}

/// As if nothing held it.
const NOW: Option<Duration> = Some(Duration::ZERO);

impl World {
    /// Holds that let a sealer's block reach one other member, whose answer takes long; nobody else
    /// seals. The sealer sleeps meanwhile.
    fn sleep_after_staging(&self, sealer: usize, with: usize) -> Vec<Hold> {
        let [sealer, with] = [sealer, with].map(|at| Some(self.incarnation(at)));
        let long = Some(Duration::from_secs(50));
        vec![
            only(between(Method::Stage, (with, sealer), long), true),
            only(between(Method::Stage, (sealer, with), NOW), false),
            only(between(Method::Stage, (sealer, None), None), false),
            only(between(Method::FetchBlock, (with, sealer), NOW), false),
        ]
    }

    /// Waits until somebody has staged a block.
    async fn until_staged(&mut self, at: usize) {
        self.until("a staged block", MINUTE, |world| {
            world.boards[at].staged() > 0
        })
        .await;
    }
}

/// A sealer sleeps until none of those who have its block are members any more; then their disks
/// go.
#[test]
fn seals_are_of_one_epoch() {
    weigh_at(
        3,
        ("seals", "seals_are_of_one_epoch"),
        Rule::SealsAreOfOneEpoch,
        NOWHERE,
        |seed| async move {
            let mut world = World::founded(seed, 5).await;
            let place = world.places().swap_remove(0);
            let arc = place.arc;
            let [sealer, with, stays] = place.members[..] else {
                panic!("{place:?}")
            };
            let some = world.samples_of(&place.series, MINUTE);
            world.write_until_taken(stays, &some).await;
            let mut holds = world.sleep_after_staging(sealer, with);
            // Nobody else seals, and nobody fetches.
            holds.push(only(hold(Method::Stage, None, None), false));
            holds.push(only(hold(Method::FetchBlock, None, None), false));
            let mut prepared = holds.clone();
            prepared.push(hold(Method::Move, None, None));
            world.weather.hold(prepared);
            world.pass(250);
            world.until_staged(with).await;
            for (leaves, joins) in [sealer, with].into_iter().zip(place.others.clone()) {
                world.drain(leaves, true).await;
                world.begin_move(arc, joins, leaves).await;
                world.run(Duration::from_secs(8)).await;
                world.finish_move(arc).await;
            }
            world.weather.hold(holds);
            let leave = [sealer, with].map(|at| world.incarnation(at));
            let are_gone = |world: &World| {
                let state = world.newest_state().unwrap();
                state.partitions.values().all(|partition| {
                    let mut members = partition.members.iter();
                    let is_of = |who| leave.contains(&who);
                    partition.moving.is_none() && !members.any(|m| is_of(m.incarnation))
                })
            };
            world.until("they are emptied", 20 * MINUTE, are_gone).await;
            world
                .perhaps(MINUTE, |world| world.blocks_of(arc) > 0)
                .await;
            for at in [sealer, with] {
                world.crash(at, Crash::PowerCut);
                world.boards[at].wipe();
            }
            world.check();
            world.weather.hold(Vec::new());
            world.start(sealer);
            world.start(with);
            world.finish().await;
        },
    );
}

/// A sealer sleeps while another seals the same window, and until its own file has been swept away
/// everywhere as one of a seal that never came.
#[test]
fn seals_are_of_one_round() {
    weigh(
        ("seals", "seals_are_of_one_round"),
        Rule::SealsAreOfOneRound,
        NOWHERE,
        |seed| async move {
            let mut world = World::founded(seed, 3).await;
            let place = world.places().swap_remove(0);
            let arc = place.arc;
            let [sealer, with, other] = place.members[..] else {
                panic!("{place:?}")
            };
            // Leftovers are looked for every ten minutes.
            let ready = Duration::from_secs(560);
            world.run(ready.saturating_sub(world.elapsed())).await;
            let some = world.samples_of(&place.series, MINUTE);
            world.write_until_taken(other, &some).await;
            let mut holds = world.sleep_after_staging(sealer, with);
            let mute = |at| only(hold(Method::Cut, Some(at), None), false);
            holds.push(mute(world.incarnation(with)));
            let awake = holds.clone();
            holds.push(mute(world.incarnation(other)));
            world.weather.hold(holds);
            world.pass(250);
            world.until_staged(with).await;
            world.weather.hold(awake);
            world
                .until("another's block", MINUTE, |world| world.blocks_of(arc) > 0)
                .await;
            world.pass(70);
            // The sweep, and the end of the sleep.
            world.run(MINUTE).await;
            world.check();
            world.finish().await;
        },
    );
}
