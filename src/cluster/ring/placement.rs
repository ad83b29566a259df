//! Which nodes hold which arc: spread over zones, even within one of fair share, and with as few
//! new copies as that allows.
//!
//! All three at once are the cheapest flow through one network:
//!
//! ```text
//! source --replicas--> arc --1, dearer each time--> zone of that arc --1--> node --share--> sink
//!                                                    0 if it holds the arc, else one copy
//! ```
//!
//! Into a node, its share rounded down is free, one more costs `uneven`, and what is beyond costs
//! more and more. If every arc gave each node the part of a replica that its share divided by the
//! arcs is, all shares and spreads would hold exactly; where such a fractional flow exists, a whole
//! one with the same bounds does. So nothing is ever given up: spread and balance are exact, and
//! the copies are the fewest. Only nodes that are away, which keep what they have and are given
//! nothing, can make it impossible; then spread goes before balance and balance before copies.

use std::collections::BTreeSet;

use super::flow::{Edge, Network, Vertex};
use super::roster::Node;
use super::share::{Share, Weighted, fair};
use crate::cluster::control::MemberId;
use crate::model::RingArc;

/// An arc and who has it: places in the list of nodes.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) arc: RingArc,
    pub(super) present: BTreeSet<usize>,
    /// Who has already fetched something of it.
    pub(super) prepared: BTreeSet<usize>,
}

/// What is to be placed.
#[derive(Debug)]
pub(super) struct Problem<'a> {
    pub(super) seats: Vec<Seat>,
    pub(super) nodes: &'a [Node],
    pub(super) replicas: usize,
}

/// Where it is placed.
#[derive(Debug)]
pub(super) struct Placement {
    /// For each arc, the places of its nodes.
    pub(super) sets: Vec<Vec<usize>>,
    /// For each node, its fair share.
    pub(super) shares: Vec<Share>,
}

/// What a flow pays, each far more than all that follow together can amount to.
struct Prices {
    /// Two replicas of an arc in one zone.
    crowded: i64,
    /// A replica beyond a share rounded down.
    uneven: i64,
    /// A copy to be made.
    copy: i64,
}

impl Prices {
    fn of(replicas: usize) -> Self {
        // At most 2^16 arcs and a handful of replicas: the dearest path stays far below 2^63.
        let all = i64::try_from(replicas)
            .unwrap_or(i64::MAX)
            .clamp(1, 1 << 20)
            + 1;
        Self {
            crowded: all * all * 64,
            uneven: all * all,
            copy: all,
        }
    }
}

/// Places every arc.
pub(super) fn place(problem: &Problem<'_>) -> Placement {
    let shares = shares(problem);
    let mut builder = Builder::new(problem, &shares);
    // Neighbouring arcs take their turns far from each other, so that what moves comes from all
    // over the ring.
    let mut order: Vec<&Seat> = problem.seats.iter().collect();
    order.sort_by_key(|seat| (mix(seat.arc, 0), seat.arc));
    let mut edges: Vec<(RingArc, Vec<(usize, Edge)>)> = Vec::with_capacity(order.len());
    for seat in order {
        edges.push((seat.arc, builder.arc(seat)));
    }
    let Builder {
        mut network,
        source,
        sink,
        ..
    } = builder;
    network.fill(source, sink);
    edges.sort_by_key(|(arc, _)| *arc);
    let chosen = |edges: Vec<(usize, Edge)>| {
        let full = edges
            .into_iter()
            .filter(|(_, edge)| network.flow(*edge) > 0);
        full.map(|(place, _)| place).collect()
    };
    Placement {
        sets: edges.into_iter().map(|(_, edges)| chosen(edges)).collect(),
        shares,
    }
}

fn shares(problem: &Problem<'_>) -> Vec<Share> {
    let arcs = u32::try_from(problem.seats.len()).unwrap_or(u32::MAX);
    let mut held = vec![0u32; problem.nodes.len()];
    for place in problem.seats.iter().flat_map(|seat| &seat.present) {
        if let Some(held) = held.get_mut(*place) {
            *held += 1;
        }
    }
    let nodes = problem.nodes.iter().zip(held);
    let weighted: Vec<Weighted> = nodes
        .map(|(node, held)| Weighted {
            zone: node.zone,
            weight: node.weight,
            most: if node.away { held } else { arcs },
        })
        .collect();
    fair(&weighted, arcs, problem.replicas)
}

/// A number that looks random and is the same everywhere: in which order an arc tries the nodes,
/// so that every node shares its arcs with many others.
fn mix(arc: RingArc, incarnation: u128) -> u64 {
    let half = |bits: u128| u64::try_from(bits & u128::from(u64::MAX)).unwrap_or_default();
    let halves = [half(incarnation >> 64), half(incarnation)];
    let seed = (u64::from(arc.prefix()) << 8) | u64::from(arc.depth());
    let mut mixed = seed;
    for half in halves {
        mixed = (mixed ^ half).wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
    }
    mixed
}

struct Builder<'a> {
    network: Network,
    source: Vertex,
    sink: Vertex,
    problem: &'a Problem<'a>,
    nodes: Vec<Vertex>,
    /// The size of each zone, 0 where the zone has no say: a node of its own cannot be crowded,
    /// and where all are in one zone nothing can be spread.
    zones: Vec<usize>,
    prices: Prices,
}

impl<'a> Builder<'a> {
    fn new(problem: &'a Problem<'a>, shares: &[Share]) -> Self {
        let mut network = Network::default();
        let [source, sink] = [network.vertex(), network.vertex()];
        let prices = Prices::of(problem.seats.len().saturating_mul(problem.replicas));
        let arcs = u32::try_from(problem.seats.len()).unwrap_or(u32::MAX);
        let nodes = shares
            .iter()
            .map(|share| {
                let vertex = network.vertex();
                let mut beyond = arcs.saturating_sub(share.ceil);
                for (times, room) in (2..).zip([1, 1, 2, 4, 8, u32::MAX]) {
                    let room = room.min(beyond);
                    beyond -= room;
                    network.edge(vertex, sink, room, prices.uneven * times);
                }
                network.edge(vertex, sink, share.ceil - share.floor, prices.uneven);
                network.edge(vertex, sink, share.floor, 0);
                vertex
            })
            .collect();
        let mut zones: Vec<usize> = Vec::new();
        for node in problem.nodes {
            zones.resize(zones.len().max(node.zone + 1), 0);
            if let Some(size) = zones.get_mut(node.zone) {
                *size += 1;
            }
        }
        if zones.len() == 1 {
            zones.clear();
        }
        zones
            .iter_mut()
            .filter(|size| **size == 1)
            .for_each(|size| *size = 0);
        Self {
            network,
            source,
            sink,
            problem,
            nodes,
            zones,
            prices,
        }
    }

    /// An arc and its edges to all nodes that could hold it.
    fn arc(&mut self, seat: &Seat) -> Vec<(usize, Edge)> {
        let replicas = u32::try_from(self.problem.replicas).unwrap_or(u32::MAX);
        let arc = self.network.vertex();
        self.network.edge(self.source, arc, replicas, 0);
        let zones: Vec<Option<Vertex>> = self
            .zones
            .clone()
            .iter()
            .map(|size| self.zone(arc, *size))
            .collect();
        let mut order: Vec<(u64, MemberId, usize)> = (0..)
            .zip(self.problem.nodes)
            .map(|(place, node)| (mix(seat.arc, node.member.incarnation.0), node.member, place))
            .collect();
        order.sort_unstable();
        let mut edges = Vec::with_capacity(order.len());
        for (_, _, place) in order {
            let ends = (self.problem.nodes.get(place), self.nodes.get(place));
            let (Some(node), Some(vertex)) = ends else {
                continue;
            };
            let from = zones.get(node.zone).copied().flatten().unwrap_or(arc);
            let price = if seat.present.contains(&place) {
                0
            } else if node.away {
                continue;
            } else if seat.prepared.contains(&place) {
                self.prices.copy - 1
            } else {
                self.prices.copy
            };
            edges.push((place, self.network.edge(from, *vertex, 1, price)));
        }
        edges
    }

    /// A zone of that many nodes for one arc: each further replica in it is dearer.
    fn zone(&mut self, arc: Vertex, size: usize) -> Option<Vertex> {
        if size == 0 {
            return None;
        }
        let zone = self.network.vertex();
        let most = size.min(self.problem.replicas);
        for before in (0i64..).take(most) {
            self.network
                .edge(arc, zone, 1, self.prices.crowded * before);
        }
        Some(zone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Incarnation;

    /// Every set of that many of the nodes.
    fn subsets(nodes: usize, size: usize) -> Vec<Vec<usize>> {
        (0..1u32 << nodes)
            .filter(|mask| mask.count_ones() as usize == size)
            .map(|mask| (0..nodes).filter(|at| mask >> at & 1 == 1).collect())
            .collect()
    }

    fn crowd(nodes: &[Node], set: &[usize]) -> usize {
        let zone = |place: &usize| nodes[*place].zone;
        let pairs = set.iter().flat_map(|a| set.iter().map(move |b| (a, b)));
        pairs.filter(|(a, b)| zone(a) == zone(b)).count()
    }

    fn new_copies(seat: &Seat, set: &[usize]) -> usize {
        set.iter()
            .filter(|place| !seat.present.contains(place))
            .count()
    }

    /// Small rings against the obvious: of all placements that are spread and even, none makes
    /// fewer copies; and there always is one.
    #[test]
    fn no_even_and_spread_placement_makes_fewer_copies() {
        let arcs: Vec<RingArc> = RingArc::all(2).take(3).collect();
        for seed in 0..300u128 {
            let chance = |at: u64, of: u64| mix(arcs[0], (seed << 64) | u128::from(at)) % of;
            let count = 3 + usize::try_from(chance(0, 3)).unwrap();
            let replicas = 1 + usize::try_from(chance(1, 3)).unwrap();
            let nodes: Vec<Node> = (0..count as u64)
                .map(|at| Node {
                    member: MemberId {
                        incarnation: Incarnation(at.into()),
                        life: 0,
                    },
                    zone: usize::try_from(chance(10 + at, 3)).unwrap(),
                    weight: 1 + chance(20 + at, 4),
                    away: false,
                })
                .collect();
            let held =
                |arc: u64| (0..count).filter(move |at| chance(30 + arc * 8 + *at as u64, 2) == 0);
            let seats = arcs.iter().zip(0..).map(|(arc, number)| Seat {
                arc: *arc,
                present: held(number).collect(),
                prepared: BTreeSet::new(),
            });
            let problem = Problem {
                seats: seats.collect(),
                nodes: &nodes,
                replicas,
            };
            let placed = place(&problem);
            let sets = subsets(count, replicas);
            let spread = sets.iter().map(|set| crowd(&nodes, set)).min().unwrap();
            let sets: Vec<_> = sets
                .into_iter()
                .filter(|s| crowd(&nodes, s) == spread)
                .collect();
            let even = |chosen: &[&Vec<usize>]| {
                placed.shares.iter().enumerate().all(|(at, share)| {
                    let holds = chosen.iter().filter(|set| set.contains(&at)).count();
                    (share.floor as usize..=share.ceil as usize).contains(&holds)
                })
            };
            let copies = |chosen: &[&Vec<usize>]| -> usize {
                problem
                    .seats
                    .iter()
                    .zip(chosen)
                    .map(|(seat, set)| new_copies(seat, set))
                    .sum()
            };
            let pairs = sets.iter().flat_map(|a| sets.iter().map(move |b| [a, b]));
            let threes = pairs.flat_map(|[a, b]| sets.iter().map(move |c| [a, b, c]));
            let even_ones = threes.filter(|chosen| even(chosen));
            let fewest = even_ones.map(|chosen| copies(&chosen)).min();
            let chosen: Vec<&Vec<usize>> = placed.sets.iter().collect();
            assert!(even(&chosen), "seed {seed}: {placed:?}");
            assert!(
                chosen.iter().all(|set| crowd(&nodes, set) == spread),
                "seed {seed}"
            );
            assert_eq!(Some(copies(&chosen)), fewest, "seed {seed}");
        }
    }
}
