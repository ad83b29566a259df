//! How much nodes say to each other while each of them has the same load, in clusters of several sizes:
//! one scrape target a node, written through it, and a ring that has as many partitions as it should.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::apart::number;
use super::script::{HOUR, MINUTE};
use super::workload::{self, Key, SERIES_OF_A_TARGET, TARGETS};
use super::world::World;
use crate::cluster::control::{Command, Split};
use crate::runtime::simulate;

/// What is counted lasts so long: four scrapes.
const COUNTED: Duration = Duration::from_secs(60);
/// A target is scraped so often.
const INTERVAL: Duration = Duration::from_secs(15);

/// Messages and bytes that a node sends in a second.
#[derive(Clone, Copy, Default, Debug)]
struct Rate {
    messages: f64,
    bytes: f64,
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} / {:.0}", self.messages, self.bytes)
    }
}

/// What a cluster of some size has said.
#[derive(Debug)]
struct Counted {
    nodes: u64,
    partitions: usize,
    /// Whatever is said although nobody writes or reads: the mean of all nodes.
    control: Rate,
    /// What the busiest node sends in all.
    busiest: Rate,
    /// Samples on their way to replicas: the mean of all nodes.
    appends: Rate,
    /// By method.
    methods: BTreeMap<&'static str, Rate>,
    /// One query for everything through one node.
    query: (u64, u64),
}

fn rate((messages, bytes): (u64, u64), nodes: u64) -> Rate {
    let number = |count: u64| f64::from(u32::try_from(count).unwrap());
    let seconds = COUNTED.as_secs_f64() * number(nodes);
    Rate {
        messages: number(messages) / seconds,
        bytes: number(bytes) / seconds,
    }
}

fn less(now: (u64, u64), before: Option<&(u64, u64)>) -> (u64, u64) {
    let before = before.copied().unwrap_or_default();
    (now.0 - before.0, now.1 - before.1)
}

/// Partitions of a ring in which each node has at least eight slots.
fn partitions_of(nodes: u64) -> u64 {
    let slots = nodes.min(3);
    let mut partitions = 16;
    while partitions * slots < 8 * nodes {
        partitions *= 2;
    }
    partitions
}

impl World {
    /// Starts all boards in good weather, and waits until each has its share of as many partitions as they need.
    pub(super) async fn grow_up(&mut self) {
        self.heal();
        for at in 0..self.boards.len() {
            self.start(at);
        }
        self.until("all are up", 20 * MINUTE, Self::all_are_up)
            .await;
        self.split_to(partitions_of(self.boards.len() as u64)).await;
        self.until("all have their share", 60 * MINUTE, Self::is_settled)
            .await;
        self.until_settled().await;
    }

    /// Splits at once what would be split by and by.
    async fn split_to(&mut self, partitions: u64) {
        while self.newest_state().unwrap().partitions.len() < usize::try_from(partitions).unwrap() {
            let state = self.newest_state().unwrap();
            let coarsest = state.partitions.iter().min_by_key(|(arc, one)| {
                let moves = one.moving.is_some();
                (arc.depth(), moves)
            });
            let (arc, partition) = coarsest.unwrap();
            let split = Split {
                arc: *arc,
                epoch: partition.epoch,
            };
            self.propose(0, Command::Split(split)).await;
        }
    }

    /// Each node's sender sends what it has scraped.
    async fn scrape(&mut self) {
        let now = self.day_ms();
        for (at, up) in self.ups() {
            let first = TARGETS + u32::try_from(at).unwrap() * SERIES_OF_A_TARGET;
            let target = first..first + SERIES_OF_A_TARGET;
            let scraped: Vec<(Key, f64)> = target.map(|one| ((one, now), 1.5)).collect();
            let model = std::sync::Arc::clone(&self.model);
            tokio::spawn(async move { workload::write(model, up, scraped).await });
        }
        self.run(INTERVAL).await;
    }
}

async fn count(seed: u64, nodes: u64) -> Counted {
    let mut world = World::new(seed, nodes, HOUR);
    world.grow_up().await;
    world.scrape().await;
    let before = world.weather.traffic();
    for _ in 0..COUNTED.as_secs() / INTERVAL.as_secs() {
        world.scrape().await;
    }
    let after = world.weather.traffic();
    assert!(world.read(0).await, "a query is answered");
    let asked = world.weather.traffic();

    let methods: BTreeMap<&'static str, (u64, u64)> = after
        .methods
        .iter()
        .map(|(method, now)| (*method, less(*now, before.methods.get(method))))
        .collect();
    let sum = |of: &mut dyn Iterator<Item = (u64, u64)>| {
        of.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    };
    let control = methods.iter().filter(|(method, _)| **method != "append");
    let mut sent = after.sent.iter();
    let busiest = sent
        .by_ref()
        .map(|(who, now)| less(*now, before.sent.get(who)));
    let busiest = busiest.max().unwrap_or_default();
    let reads = ["read_state", "select"].map(|method| {
        let now = asked.methods.get(method).copied().unwrap_or_default();
        less(now, after.methods.get(method))
    });
    Counted {
        nodes,
        partitions: world.newest_state().unwrap().partitions.len(),
        control: rate(sum(&mut control.map(|(_, one)| *one)), nodes),
        busiest: rate(busiest, 1),
        appends: rate(methods.get("append").copied().unwrap_or_default(), nodes),
        query: sum(&mut reads.into_iter()),
        methods: methods
            .into_iter()
            .map(|(method, one)| (method, rate(one, nodes)))
            .collect(),
    }
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (messages, bytes) = self.query;
        write!(
            f,
            "| {} | {} | {} | {} | {} | {messages} / {bytes} |",
            self.nodes, self.partitions, self.control, self.busiest, self.appends
        )?;
        for (method, rate) in &self.methods {
            write!(f, "\n  {method}: {rate}")?;
        }
        Ok(())
    }
}

/// One size: `scripts/sim messages NODES`.
#[test]
#[ignore = "minutes for large clusters: scripts/sim messages"]
fn of_one_size() {
    let nodes = number("CAIRN_SIM_NODES").unwrap_or(10);
    let counted = simulate(1, move || count(1, nodes));
    println!("{counted}");
}

/// Would catch whatever every node says to every other, or says for every partition: what a node says
/// without load must not grow with the cluster.
#[test]
fn what_a_node_says_does_not_grow_with_the_cluster() {
    // Both have five voters and more peers than anybody asks for the time.
    let [few, many] = [8, 16].map(|nodes| simulate(1, move || count(1, nodes)));
    println!("{few}\n{many}");
    assert!(many.partitions > few.partitions);
    let grows = many.control.messages / few.control.messages;
    assert!(grows < 1.3, "{grows}: {few}\n{many}");
    let grows = many.control.bytes / few.control.bytes;
    assert!(grows < 1.3, "{grows}: {few}\n{many}");
}
