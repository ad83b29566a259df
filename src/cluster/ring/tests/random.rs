//! Random histories, and the largest cluster that is foreseen.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::rig::*;
use crate::cluster::control::{ControlState, MemberId};
use crate::cluster::ring;
use crate::model::Incarnation;

/// What happens to a cluster; numbers choose among the nodes that are there.
#[derive(Clone, Debug)]
enum Event {
    Join {
        nodes: usize,
        zone: u8,
        capacity: u64,
    },
    Drain(usize),
    Lose(usize),
    Wipe(usize),
    Forget(usize),
    Refit {
        node: usize,
        zone: u8,
        capacity: u64,
    },
    Factor(usize),
}

fn any_event(most: usize) -> impl Strategy<Value = Event> {
    let zone = || prop_oneof![2 => Just(0u8), 3 => 1u8..5];
    let capacity = || {
        prop_oneof![
            2 => Just(0u64),
            2 => Just(1 << 40),
            1 => (1u64..8).prop_map(|size| size << 30),
            1 => (1u64 << 30)..(1 << 50),
        ]
    };
    prop_oneof![
        5 => (1..=most, zone(), capacity())
            .prop_map(|(nodes, zone, capacity)| Event::Join { nodes, zone, capacity }),
        1 => any::<usize>().prop_map(Event::Drain),
        2 => any::<usize>().prop_map(Event::Lose),
        1 => any::<usize>().prop_map(Event::Wipe),
        1 => any::<usize>().prop_map(Event::Forget),
        1 => (any::<usize>(), zone(), capacity())
            .prop_map(|(node, zone, capacity)| Event::Refit { node, zone, capacity }),
        1 => (1usize..=6).prop_map(Event::Factor),
    ]
}

fn zone_name(zone: u8) -> String {
    if zone == 0 {
        String::new()
    } else {
        format!("zone-{zone}")
    }
}

impl World {
    fn happen(&mut self, event: &Event) {
        let nodes = self.nodes();
        let pick = |number: usize| nodes[number % nodes.len()];
        match *event {
            Event::Join {
                nodes,
                zone,
                capacity,
            } => {
                for _ in 0..nodes {
                    self.join(&zone_name(zone), capacity);
                }
            }
            Event::Factor(factor) => self.wish.replication_factor = factor,
            Event::Drain(number) if nodes.len() > 1 => {
                self.wish.draining.insert(pick(number));
            }
            Event::Lose(number) if nodes.len() > 1 => self.gone(pick(number)),
            Event::Drain(_) | Event::Lose(_) => {}
            Event::Wipe(number) => {
                let old = pick(number);
                let member = self.state.members[&old].clone();
                self.born += 1;
                let new = spread_out(self.born);
                self.up(&member.name, new, &member.zone, member.capacity_bytes);
                self.gone(old);
            }
            Event::Forget(number) => {
                self.state.members.get_mut(&pick(number)).unwrap().life += 1;
            }
            Event::Refit {
                node,
                zone,
                capacity,
            } => {
                let who = pick(node);
                let name = self.state.members[&who].name.clone();
                self.up(&name, who, &zone_name(zone), capacity);
            }
        }
    }

    /// All moves of the plan at once.
    fn arrive(&mut self) {
        self.split();
        let plan = self.plan();
        let least = self.copies_at_least(&plan);
        println!(
            "{} nodes: {} copies, at least {least}",
            self.nodes().len(),
            plan.copies
        );
        assert!(plan.copies * 100 <= least * 110);
        for (arc, target) in plan.target {
            let partition = self.state.partitions.get_mut(&arc).unwrap();
            std::sync::Arc::make_mut(partition).members = target.into_iter().collect();
        }
        self.check_ring();
    }

    /// The plan depends on the state's content alone, and makes hardly more copies than any must.
    fn check_plan(&self) -> (usize, usize) {
        let plan = self.plan();
        let again = ControlState::decode(&self.state.encode()).unwrap();
        assert_eq!(plan, ring::plan(&again, &self.wish));
        (plan.copies, self.copies_at_least(&plan))
    }
}

fn histories<T: std::fmt::Debug>(cases: u32, strategy: impl Strategy<Value = T>, test: impl Fn(T)) {
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let result = runner.run(&strategy, |value| {
        test(value);
        Ok(())
    });
    result.unwrap();
}

/// Would catch a plan that is uneven, badly spread, wasteful, or never done.
#[test]
fn over_random_histories_every_plan_is_even_spread_and_frugal() {
    let (copies, least) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    let events = prop::collection::vec(any_event(4), 1..9);
    histories(
        40,
        (1usize..4, events, 1usize..9),
        |(factor, events, at_once)| {
            let mut world = World::new(factor);
            for event in &events {
                world.happen(event);
                world.split();
                let (made, needed) = world.check_plan();
                assert!(
                    made <= needed + needed / 2 + 8,
                    "{made} copies where {needed} would do"
                );
                copies.set(copies.get() + made);
                least.set(least.get() + needed);
                world.settle(at_once);
            }
        },
    );
    println!("{} copies, at least {}", copies.get(), least.get());
    assert!(copies.get() * 100 <= least.get() * 115);
}

/// Would catch a plan that depends on the end of the one before.
#[test]
fn what_happens_in_the_middle_of_moves_is_taken_in() {
    let events = prop::collection::vec((any_event(4), 0usize..4), 1..9);
    histories(
        40,
        (1usize..4, events, 1usize..9),
        |(factor, events, at_once)| {
            let mut world = World::new(factor);
            for (event, steps) in &events {
                world.happen(event);
                for _ in 0..*steps {
                    world.step(at_once);
                }
            }
            let slots = world.state.partitions.len() * 40;
            for _ in 0..slots {
                if !world.step(at_once) {
                    break;
                }
            }
            world.check();
        },
    );
}

/// The same at the size of the largest cluster that is foreseen, with zones and two kinds of node.
#[test]
fn hundreds_of_nodes_come_and_go() {
    let mut world = World::new(3);
    for (until, zones) in [(30, 3), (100, 3), (300, 5)] {
        for number in world.nodes().len()..until {
            let zone = format!("zone-{}", number % zones);
            world.join(&zone, if number % 4 == 0 { 2 << 40 } else { 1 << 40 });
        }
        world.arrive();
    }
    let lost: Vec<Incarnation> = world.nodes().into_iter().step_by(30).collect();
    for node in lost {
        world.gone(node);
    }
    world.split();
    world.check_plan();
    let copies = world.plan().copies;
    world.arrive();
    // Who fails alone is made good by many: its arcs are shared with many others.
    let node = world.nodes()[7];
    let with = |members: &[MemberId]| members.iter().any(|m| m.incarnation == node);
    let sets = world.state.partitions.values();
    let sets: Vec<_> = sets.filter(|partition| with(&partition.members)).collect();
    let peers: BTreeSet<_> = sets.iter().flat_map(|p| p.members.clone()).collect();
    assert!(peers.len() > sets.len() + sets.len() / 2);
    println!(
        "{} nodes, {} arcs: a plan of {} copies; {} arcs are shared with {} nodes",
        world.nodes().len(),
        world.state.partitions.len(),
        copies,
        sets.len(),
        peers.len() - 1,
    );
}
