//! Partitions are split under everything else that can go on. Each course runs in a process of its
//! own under a seed.

use std::time::Duration;

use super::apart::{run_apart, seed_of_this_process};
use super::board::Crash;
use super::script::{MINUTE, deaf, hold};
use super::world::World;
use crate::cluster::control::{Command, Split};
use crate::cluster::peer::Method;
use crate::model::{FOUNDING_DEPTH, RingArc};
use crate::runtime::simulate;

fn play<F: Future<Output = ()>>(name: &str, scenario: impl FnOnce(u64) -> F + Send + 'static) {
    if let Some(seed) = seed_of_this_process() {
        simulate(seed, move || scenario(seed));
        return;
    }
    if let Err(reason) = run_apart(&format!("cluster::sim::splitting::{name}"), 1, None) {
        panic!("again: CAIRN_SIM_LOUD=1 CAIRN_SEED=1 cargo test --lib {name}\n{reason}");
    }
}

impl World {
    /// Splits a partition; `false`: nobody could decide it, or it was split already.
    async fn split(&mut self, at: usize, arc: RingArc) -> bool {
        let state = self.newest_state().unwrap();
        let Some(epoch) = state.partition(arc).map(|partition| partition.epoch) else {
            return false;
        };
        self.propose(at, Command::Split(Split { arc, epoch })).await;
        let state = self.newest_state().unwrap();
        state.partition(arc).is_none()
    }
}

/// Partitions are split while they are sealed, and one node hears nothing of it: it goes on to write
/// and to read under the ring before. Another loses power in the middle.
#[test]
fn splits_while_sealing_with_a_stale_coordinator_and_reader() {
    play(
        "splits_while_sealing_with_a_stale_coordinator_and_reader",
        |seed| async move {
            let mut world = World::founded(seed, 3).await;
            let early = world.samples(0..24, MINUTE);
            world.write_until_taken(0, &early).await;
            let stale = world.incarnation(1);
            let mut holds = deaf(stale);
            holds.push(hold(Method::Stage, None, Some(Duration::from_secs(3))));
            world.weather.hold(holds);
            world.pass(250);
            let mut arcs = RingArc::all(FOUNDING_DEPTH);
            for number in 0..32u32 {
                if number.is_multiple_of(2)
                    && let Some(arc) = arcs.next()
                {
                    world.split(0, arc).await;
                }
                let some = world.samples(number % 20..number % 20 + 4, number * MINUTE);
                world.write(1, &some).await;
                world
                    .read(if number.is_multiple_of(2) { 1 } else { 0 })
                    .await;
                world.check();
                if number == 20 {
                    // The deaf one hears again; whoever divides now loses power, and starts.
                    world.weather.hold(Vec::new());
                    world.crash(2, Crash::PowerCut);
                    world.start(2);
                }
                world.run(Duration::from_millis(700)).await;
            }
            for arc in RingArc::all(FOUNDING_DEPTH) {
                for _ in 0..60 {
                    if world.newest_state().unwrap().partition(arc).is_none() {
                        break;
                    }
                    world.split(0, arc).await;
                    world.run(Duration::from_secs(1)).await;
                }
            }
            let state = world.newest_state().unwrap();
            assert_eq!(state.partitions.len(), 2 << FOUNDING_DEPTH);
            world.finish().await;
        },
    );
}

/// A partition is split, and its halves move apart: what was one block is at the end with members
/// that never had the whole.
#[test]
fn halves_of_a_split_move_apart() {
    play("halves_of_a_split_move_apart", |seed| async move {
        let mut world = World::founded(seed, 4).await;
        let early = world.samples(0..24, MINUTE);
        world.write_until_taken(0, &early).await;
        world.pass(250);
        world
            .until("blocks", 10 * MINUTE, |world| world.blocks() > 3)
            .await;
        let some = world.samples(0..24, MINUTE);
        world.write_until_taken(1, &some).await;
        for arc in RingArc::all(FOUNDING_DEPTH) {
            world.split(0, arc).await;
        }
        world.check();
        world.drain(3, true).await;
        for number in 0..20u32 {
            let some = world.samples(number..number + 4, number * MINUTE);
            world
                .write(usize::try_from(number % 4).unwrap(), &some)
                .await;
            world.read(usize::try_from(number % 3).unwrap()).await;
            world.check();
            world.run(Duration::from_secs(2)).await;
        }
        world.drain(3, false).await;
        world.finish().await;
    });
}
