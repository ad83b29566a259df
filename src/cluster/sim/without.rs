//! Rules marked ▲ taken away: a course of events that harms nobody while the rule holds, and that the
//! world notices when it does not. The proof that the simulation sees, for the rules named here.

use std::time::Duration;

use super::apart::{run_apart, seed_of_this_process};
use super::script::{MINUTE, deaf, hold};
use super::world::World;
use crate::cluster::peer::{Hold, Method};
use crate::runtime::{Rule, simulate};

/// Runs a course here, if this process is one for it; else in such processes, with the rule and
/// without it.
fn weigh<F: Future<Output = ()>>(
    name: &str,
    rule: Rule,
    course: impl FnOnce(u64) -> F + Send + 'static,
) {
    if let Some(seed) = seed_of_this_process() {
        return simulate(seed, move || course(seed));
    }
    let name = format!("cluster::sim::without::{name}");
    if let Err(reason) = run_apart(&name, 1, None) {
        panic!("{rule:?} holds, and yet:\n{reason}");
    }
    assert!(
        run_apart(&name, 1, Some(rule)).is_err(),
        "without {rule:?} nothing is noticed"
    );
}

/// The same of chaos: one of a few seeds that lose disks must notice.
fn weigh_seeds(rule: Rule) {
    let notices = |seed| run_apart("cluster::sim::seeds::one", seed, Some(rule)).is_err();
    let mut seeds = (2..=24).step_by(2);
    assert!(seeds.any(notices), "without {rule:?} nothing is noticed");
}

#[test]
fn newcomers_gather() {
    weigh_seeds(Rule::NewcomersGather);
}

impl World {
    /// Four nodes, of which the last is emptied and hears nothing of it: the others are the members
    /// of everything, and it goes on in the ring from before.
    async fn with_a_stale_one(seed: u64) -> Self {
        let mut world = Self::founded(seed, 4).await;
        let some = world.samples(0..24, MINUTE);
        world.write_until_taken(0, &some).await;
        let stale = world.incarnation(3);
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
    async fn look(&mut self, readers: &[usize]) {
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
        "writes_are_of_one_epoch",
        Rule::WritesAreOfOneEpoch,
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
        "reads_are_of_one_epoch",
        Rule::ReadsAreOfOneEpoch,
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
                for other in (0..3).filter(|other| *other != lacking) {
                    world.cut(3, other, true);
                }
                for _ in 0..5 {
                    world.spawn_read(3);
                }
                world.run(MINUTE).await;
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
        "reads_need_a_majority",
        Rule::ReadsNeedAMajority,
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

/// Three become two, and one of the two lacks what the two others have.
#[test]
fn stayers_gather() {
    weigh("stayers_gather", Rule::StayersGather, |seed| async move {
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
    });
}
