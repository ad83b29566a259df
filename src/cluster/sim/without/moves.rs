//! What a move hands on.

use std::time::Duration;

use super::super::apart::run_apart;
use super::super::script::{MINUTE, between, deaf, hold, only};
use super::super::world::World;
use super::{HIDDEN, LOST, weigh, weigh_at};
use crate::cluster::peer::{Hold, Method};
use crate::runtime::Rule;

/// Seeds of chaos that lose disks: this one loses one at the right moment.
const SEED_OF_A_LOST_DISK: u64 = 2;

#[test]
fn newcomers_gather() {
    let noticed = run_apart(
        "cluster::sim::seeds::one",
        SEED_OF_A_LOST_DISK,
        Some(Rule::NewcomersGather),
    );
    let noticed = noticed.expect_err("nothing is noticed");
    assert!(noticed.contains(LOST), "{noticed}");
}

/// Three become two, and one of the two lacks what the two others have.
#[test]
fn stayers_gather() {
    weigh(
        ("moves", "stayers_gather"),
        Rule::StayersGather,
        LOST,
        |seed| async move {
            let mut world = World::founded(seed, 3).await;
            let no_appends = Hold {
                to: Some(world.incarnation(0)),
                ..hold(Method::Append, None, None)
            };
            world.weather.hold(vec![no_appends]);
            let some = world.samples(0..24, MINUTE);
            world.write_until_taken(1, &some).await;
            world.drain(2, true).await;
            world.run(2 * MINUTE).await;
            world.check();
            world.finish().await;
        },
    );
}

/// A newcomer hears of one member only: the one that lacks what the two others acknowledged.
#[test]
fn sources_are_enough() {
    // With others a reader notices it before whoever looks at what is there.
    weigh_at(
        3,
        ("moves", "sources_are_enough"),
        Rule::SourcesAreEnough,
        LOST,
        |seed| async move {
            let mut world = World::founded(seed, 4).await;
            let place = world.places().swap_remove(0);
            let [leaves, stays, lacks] = place.members[..] else {
                panic!("{place:?}")
            };
            let joins = world.incarnation(place.others[0]);
            let unheard = world.incarnation(lacks);
            let mute = [leaves, stays].map(|at| {
                let to = Some(world.incarnation(at));
                between(Method::Cut, (Some(joins), to), None)
            });
            let mut holds = mute.to_vec();
            holds.push(between(Method::Append, (None, Some(unheard)), None));
            world.weather.hold(holds);
            let some = world.samples_of(&place.series, MINUTE);
            world.write_until_taken(leaves, &some).await;
            world.drain(leaves, true).await;
            world
                .perhaps(2 * MINUTE, |world| {
                    world.is_settled_member(place.arc, place.others[0])
                })
                .await;
            world.look(&[lacks, place.others[0]]).await;
            world.finish().await;
        },
    );
}

/// Two members that have not heard of a move give their heads to the newcomer, and then take a write
/// under the epoch that they know.
#[test]
fn sources_are_fenced() {
    weigh(
        ("moves", "sources_are_fenced"),
        Rule::SourcesAreFenced,
        LOST,
        |seed| async move {
            let mut world = World::founded(seed, 5).await;
            let place = world.places().swap_remove(0);
            let leader = world.leader();
            let mut members = place.members.clone();
            // Who leads cannot be deaf.
            members.sort_by_key(|at| Some(*at) == leader);
            let [leaves, stale, hears] = members[..] else {
                panic!("{place:?}")
            };
            let early = world.samples_of(&place.series, 2 * MINUTE);
            world.write_until_taken(leaves, &early).await;
            world.weather.hold(vec![hold(Method::Move, None, None)]);
            world.drain(leaves, true).await;
            let mut holds = deaf(world.incarnation(leaves));
            holds.extend(deaf(world.incarnation(stale)));
            // Of the one that hears of the move nothing can be gathered.
            let to = Some(world.incarnation(hears));
            let newcomers = place.others.iter().map(|at| world.incarnation(*at));
            holds.extend(
                newcomers.map(|from| only(between(Method::Cut, (Some(from), to), None), false)),
            );
            world.weather.hold(holds);
            let is_over = |world: &World| {
                let partition = world.partition(place.arc);
                let leaves = world.incarnation(leaves);
                let mut members = partition.members.iter();
                !members.any(|member| member.incarnation == leaves)
            };
            world.perhaps(50 * Duration::from_secs(1), is_over).await;
            world.cut(leaves, hears, true);
            let late = world.samples_of(&place.series, MINUTE);
            world.spawn_write(leaves, &late);
            world.run(Duration::from_secs(3)).await;
            world.check();
            world.heal();
            world.weather.hold(Vec::new());
            world.drain(leaves, false).await;
            world.finish().await;
        },
    );
}

/// A block enters the catalog while a newcomer has prepared and the move has not begun: it has neither
/// the head, which the others have given up for the block, nor the block.
#[test]
fn moves_end_at_the_version() {
    weigh(
        ("moves", "moves_end_at_the_version"),
        Rule::MovesEndAtTheVersion,
        HIDDEN,
        |seed| async move {
            let mut world = World::founded(seed, 4).await;
            let place = world.places().swap_remove(0);
            let [leaves, stays, late] = place.members[..] else {
                panic!("{place:?}")
            };
            let joins = place.others[0];
            let [behind, newcomer] = [late, joins].map(|at| world.incarnation(at));
            let mut holds = vec![
                between(Method::Append, (None, Some(behind)), None),
                between(Method::Stage, (None, Some(behind)), None),
                hold(Method::FetchBlock, Some(behind), None),
                hold(Method::FetchBlock, Some(newcomer), None),
                hold(Method::Cut, Some(behind), None),
            ];
            holds.push(hold(Method::Move, None, None));
            world.weather.hold(holds.clone());
            let some = world.samples_of(&place.series, MINUTE);
            world.write_until_taken(leaves, &some).await;
            world.drain(leaves, true).await;
            world.pass(250);
            let gave_up = |world: &World| {
                let given = |at: usize| world.up(at).member.store().held().is_empty();
                world.blocks_of(place.arc) > 0 && given(leaves) && given(stays)
            };
            world.until("a block", 5 * MINUTE, gave_up).await;
            world.begin_move(place.arc, joins, leaves).await;
            holds.pop();
            world.weather.hold(holds);
            world
                .perhaps(MINUTE, |world| world.is_settled_member(place.arc, joins))
                .await;
            world.isolate(stays, true);
            world.look(&[late, joins]).await;
            world.heal();
            world.weather.hold(Vec::new());
            world.drain(leaves, false).await;
            world.finish().await;
        },
    );
}
