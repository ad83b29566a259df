//! The cheapest of the largest flows through a network: what placement is reduced to.
//!
//! The primal-dual method: distances by Dijkstra over reduced costs, then as much flow as goes
//! along edges of reduced cost 0 at once (Dinic's blocking flows), until nothing reaches the sink.
//! The result is exact: no other flow of the same size costs less. Which of several equally cheap
//! flows is found depends on the order of the edges and on nothing else.
#![allow(
    clippy::indexing_slicing,
    reason = "vertices and edges are handed out by this network and are never removed"
)]

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A vertex of one network.
pub(super) type Vertex = u32;

/// An edge of one network.
#[derive(Clone, Copy, Debug)]
pub(super) struct Edge(u32);

const NONE: u32 = u32::MAX;
const FAR: i64 = i64::MAX;

/// Vertices and edges. Edge 2k leads there and edge 2k+1 back, with the room that flow has left.
#[derive(Debug, Default)]
pub(super) struct Network {
    /// The first edge out of each vertex.
    first: Vec<u32>,
    /// The edge after each out of the same vertex.
    next: Vec<u32>,
    head: Vec<Vertex>,
    room: Vec<u32>,
    /// Of edges 2k; that of 2k+1 is the opposite.
    cost: Vec<i64>,
    potential: Vec<i64>,
}

impl Network {
    pub(super) fn vertex(&mut self) -> Vertex {
        let vertex = Vertex::try_from(self.first.len()).unwrap_or(NONE);
        self.first.push(NONE);
        vertex
    }

    /// An edge with room for so many units, each at that cost, which is not negative. Of a
    /// vertex's edges, what was added last is tried first.
    pub(super) fn edge(&mut self, from: Vertex, to: Vertex, room: u32, cost: i64) -> Edge {
        debug_assert!(cost >= 0);
        let edge = u32::try_from(self.head.len()).unwrap_or(NONE);
        for (from, to, room) in [(from, to, room), (to, from, 0)] {
            let this = u32::try_from(self.head.len()).unwrap_or(NONE);
            self.head.push(to);
            self.room.push(room);
            self.next.push(self.first[from as usize]);
            self.first[from as usize] = this;
        }
        self.cost.push(cost);
        Edge(edge)
    }

    /// The units that flow along an edge.
    pub(super) fn flow(&self, edge: Edge) -> u32 {
        self.room[(edge.0 ^ 1) as usize]
    }

    /// Sends as much as goes from source to sink, as cheaply as that goes; says how much.
    pub(super) fn fill(&mut self, source: Vertex, sink: Vertex) -> u64 {
        self.potential = vec![0; self.first.len()];
        let mut sent = 0;
        while self.raise_potentials(source, sink) {
            let Some(mut levels) = self.levels(source, sink) else {
                break;
            };
            sent += self.block(source, sink, &mut levels);
        }
        sent
    }

    /// The cost of an edge beside what its ends' potentials say; never negative where there is room.
    fn reduced(&self, from: u32, edge: u32) -> i64 {
        let cost = self.cost[(edge >> 1) as usize];
        let cost = if edge & 1 == 0 { cost } else { -cost };
        cost + self.potential[from as usize] - self.potential[self.head[edge as usize] as usize]
    }

    /// Dijkstra: afterwards every edge of a cheapest path has reduced cost 0. False when no path
    /// is left.
    fn raise_potentials(&mut self, source: Vertex, sink: Vertex) -> bool {
        let mut distance = vec![FAR; self.first.len()];
        distance[source as usize] = 0;
        let mut heap = BinaryHeap::new();
        // What is as near as the vertex just taken needs no heap.
        let mut near = vec![source];
        let mut at = 0;
        loop {
            let vertex = match near.pop() {
                Some(vertex) => vertex,
                None => match heap.pop() {
                    Some(Reverse((far, vertex))) => {
                        at = far;
                        vertex
                    }
                    None => return false,
                },
            };
            if vertex == sink {
                break;
            }
            if distance[vertex as usize] < at {
                continue;
            }
            self.reach(vertex, at, &mut distance, |head, far| {
                if far == at {
                    near.push(head);
                } else {
                    heap.push(Reverse((far, head)));
                }
            });
        }
        let end = distance[sink as usize];
        for (potential, distance) in self.potential.iter_mut().zip(distance) {
            *potential += distance.min(end);
        }
        true
    }

    /// Shortens the distances of all to whom an edge leads from a vertex that is so far.
    fn reach(
        &self,
        vertex: Vertex,
        at: i64,
        distance: &mut [i64],
        mut nearer: impl FnMut(Vertex, i64),
    ) {
        let mut edge = self.first[vertex as usize];
        while edge != NONE {
            let head = self.head[edge as usize];
            if self.room[edge as usize] > 0 && distance[head as usize] > at {
                let far = at + self.reduced(vertex, edge);
                if far < distance[head as usize] {
                    distance[head as usize] = far;
                    nearer(head, far);
                }
            }
            edge = self.next[edge as usize];
        }
    }

    /// How many edges of reduced cost 0 lead to each vertex; `None` when the sink is out of reach.
    fn levels(&self, source: Vertex, sink: Vertex) -> Option<Vec<u32>> {
        let mut levels = vec![NONE; self.first.len()];
        let mut queue = vec![source];
        levels[source as usize] = 0;
        let mut done = 0;
        while levels[sink as usize] == NONE {
            let vertex = *queue.get(done)?;
            done += 1;
            let mut edge = self.first[vertex as usize];
            while edge != NONE {
                let head = self.head[edge as usize];
                let open = self.room[edge as usize] > 0 && levels[head as usize] == NONE;
                if open && self.reduced(vertex, edge) == 0 {
                    levels[head as usize] = levels[vertex as usize] + 1;
                    queue.push(head);
                }
                edge = self.next[edge as usize];
            }
        }
        Some(levels)
    }

    /// Sends what goes along edges that lead one level on, until every such path is full.
    fn block(&mut self, source: Vertex, sink: Vertex, levels: &mut [u32]) -> u64 {
        let mut cursor = self.first.clone();
        let mut path: Vec<u32> = Vec::new();
        let mut at = source;
        let mut sent = 0;
        loop {
            if at == sink {
                sent += u64::from(self.push(&path));
                path.clear();
                at = source;
            }
            let edge = cursor[at as usize];
            if edge == NONE {
                // A dead end: back, and never here again.
                levels[at as usize] = NONE;
                let Some(back) = path.pop() else {
                    return sent;
                };
                at = self.head[(back ^ 1) as usize];
                cursor[at as usize] = self.next[back as usize];
                continue;
            }
            let head = self.head[edge as usize];
            let on = self.room[edge as usize] > 0
                && levels[head as usize] == levels[at as usize].wrapping_add(1);
            if on && self.reduced(at, edge) == 0 {
                path.push(edge);
                at = head;
            } else {
                cursor[at as usize] = self.next[edge as usize];
            }
        }
    }

    /// Sends along a path as much as it holds.
    fn push(&mut self, path: &[u32]) -> u32 {
        let rooms = path.iter().map(|edge| self.room[*edge as usize]);
        let units = rooms.min().unwrap_or(0);
        for edge in path {
            self.room[*edge as usize] -= units;
            self.room[(*edge ^ 1) as usize] += units;
        }
        units
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Small networks of layers, against the obvious: every flow of the largest size is tried.
    #[test]
    fn no_other_flow_of_the_same_size_is_cheaper() {
        let chance = |at: u32, seed: u32| (seed.wrapping_mul(2_654_435_761) >> (at % 29)) & 3;
        for seed in 1..400 {
            // Three on the left, three on the right, nine edges between them of room 1.
            let mut network = Network::default();
            let [source, sink] = [network.vertex(), network.vertex()];
            let left: Vec<_> = (0..3).map(|_| network.vertex()).collect();
            let right: Vec<_> = (0..3).map(|_| network.vertex()).collect();
            let supply: Vec<u32> = (0..3).map(|at| chance(at, seed)).collect();
            let demand: Vec<u32> = (0..3).map(|at| chance(at + 3, seed)).collect();
            for (vertex, room) in left.iter().zip(&supply) {
                network.edge(source, *vertex, *room, 0);
            }
            for (vertex, room) in right.iter().zip(&demand) {
                network.edge(*vertex, sink, *room, i64::from(chance(*room + 20, seed)));
            }
            let price = |at: u32| i64::from(chance(at + 7, seed));
            let mut middle = Vec::new();
            for at in 0..9u32 {
                let (from, to) = (left[at as usize / 3], right[at as usize % 3]);
                middle.push(network.edge(from, to, 1, price(at)));
            }
            let mut best: Option<(u32, i64)> = None;
            for chosen in 0..1u32 << 9 {
                let mut out = [0; 3];
                let mut into = [0; 3];
                let mut cost = 0;
                for at in (0..9).filter(|at| chosen >> at & 1 == 1) {
                    out[at as usize / 3] += 1;
                    into[at as usize % 3] += 1;
                    let demand = demand[at as usize % 3];
                    cost += price(at) + i64::from(chance(demand + 20, seed));
                }
                let fits = (0..3).all(|at| out[at] <= supply[at] && into[at] <= demand[at]);
                let size = chosen.count_ones();
                let better =
                    best.is_none_or(|(most, least)| (Reverse(size), cost) < (Reverse(most), least));
                if fits && better {
                    best = Some((size, cost));
                }
            }
            let sent = network.fill(source, sink);
            let cost: i64 = middle
                .iter()
                .enumerate()
                .filter(|(_, edge)| network.flow(**edge) == 1)
                .map(|(at, _)| {
                    let demand = demand[at % 3];
                    price(u32::try_from(at).unwrap()) + i64::from(chance(demand + 20, seed))
                })
                .sum();
            assert_eq!(
                (sent, cost),
                best.map(|(s, c)| (u64::from(s), c)).unwrap(),
                "seed {seed}"
            );
        }
    }
}
