//! A control state whose plans are carried out.

use crate::cluster::control::{
    ClusterId, Command, ControlState, Found, Liveness, MoveFinish, NodeUp, Outcome, Session,
};
use crate::cluster::ring::{Plan, Wish, mean, plan};
use crate::model::{FOUNDING_DEPTH, Incarnation, RingArc};

/// A control state, what is wished of its ring, and what has happened to it.
pub(super) struct World {
    pub(super) state: ControlState,
    pub(super) wish: Wish,
    pub(super) born: u128,
    /// Copies begun.
    pub(super) joins: usize,
}

pub(super) fn spread_out(number: u128) -> Incarnation {
    // Odd, so no two numbers meet; incarnations are random in life and in no order of arrival.
    Incarnation(number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835))
}

impl World {
    /// A cluster of one.
    pub(super) fn new(replication_factor: usize) -> Self {
        let mut world = Self {
            state: ControlState::default(),
            wish: Wish {
                replication_factor,
                ..Wish::default()
            },
            born: 1,
            joins: 0,
        };
        world.apply(&Command::Found(Found {
            cluster: ClusterId(1),
            depth: FOUNDING_DEPTH,
            founders: vec![spread_out(1)],
        }));
        world.up("node-1", spread_out(1), "", 0);
        world
    }

    pub(super) fn apply(&mut self, command: &Command) {
        let outcome = self.state.apply(command);
        assert_eq!(outcome, Outcome::Applied, "{command:?}");
    }

    pub(super) fn up(
        &mut self,
        name: &str,
        incarnation: Incarnation,
        zone: &str,
        capacity_bytes: u64,
    ) {
        let known = self.state.members.get(&incarnation);
        let starts = known.map_or(0, |member| member.session.starts) + 1;
        self.apply(&Command::NodeUp(NodeUp {
            name: name.to_owned(),
            incarnation,
            session: Session { starts, nonce: 0 },
            zone: zone.to_owned(),
            capacity_bytes,
            ..NodeUp::of(0)
        }));
    }

    pub(super) fn join(&mut self, zone: &str, capacity_bytes: u64) -> Incarnation {
        self.born += 1;
        let incarnation = spread_out(self.born);
        self.up(
            &format!("node-{}", self.born),
            incarnation,
            zone,
            capacity_bytes,
        );
        incarnation
    }

    pub(super) fn grow(&mut self, nodes: usize) {
        for _ in 0..nodes {
            self.join("", 0);
        }
    }

    pub(super) fn gone(&mut self, node: Incarnation) {
        self.apply(&Command::NodeGone(node));
    }

    pub(super) fn plan(&self) -> Plan {
        plan(&self.state, &self.wish)
    }

    /// Nodes that take part and can be given something.
    pub(super) fn nodes(&self) -> Vec<Incarnation> {
        let members = self.state.members.iter();
        let live = members.filter(|(who, member)| {
            member.liveness == Liveness::Live && !self.wish.draining.contains(who)
        });
        live.map(|(who, _)| *who).collect()
    }

    /// Halves what is to be halved.
    pub(super) fn split(&mut self) {
        loop {
            let depth = mean::depth(&self.state, self.nodes().len(), self.replicas());
            let splits = mean::splits(&self.state, depth);
            if splits.is_empty() {
                return;
            }
            for split in splits {
                self.apply(&Command::Split(split));
            }
        }
    }

    /// Begins the most urgent moves, as many as are allowed, and finishes those that were begun.
    pub(super) fn step(&mut self, at_once: usize) -> bool {
        let plan = self.plan();
        for split in &plan.splits {
            self.apply(&Command::Split(*split));
        }
        for abort in &plan.aborts {
            self.apply(&Command::MoveAbort(*abort));
        }
        let still = |arc: &RingArc, state: &ControlState| state.partition(*arc).is_some();
        for step in plan.moves.iter().take(at_once) {
            if still(&step.begin.arc, &self.state) {
                self.apply(&Command::MoveBegin(step.begin));
                self.joins += usize::from(step.begin.join.is_some());
            }
        }
        let moving: Vec<MoveFinish> = self
            .state
            .partitions
            .iter()
            .filter(|(_, partition)| partition.moving.is_some())
            .map(|(arc, partition)| MoveFinish {
                arc: *arc,
                epoch: partition.epoch,
                version: partition.version,
            })
            .collect();
        // The first of them takes longer than until the next plan.
        for finish in moving.iter().skip(usize::from(moving.len() > 1)) {
            self.apply(&Command::MoveFinish(*finish));
        }
        !(plan.splits.is_empty() && plan.aborts.is_empty() && moving.is_empty())
    }

    /// Until nothing is left to do: every copy that the first plan wants is made, and no other.
    pub(super) fn settle(&mut self, at_once: usize) -> usize {
        self.split();
        let wanted = self.plan().copies;
        let before = self.joins;
        let slots = self.state.partitions.len() * 16;
        let mut steps = 0;
        while self.step(at_once) {
            steps += 1;
            assert!(steps < slots + 16, "the plan does not come to its end");
        }
        assert_eq!(
            self.joins - before,
            wanted,
            "a plan carried out in part asks for more copies"
        );
        self.check();
        wanted
    }

    pub(super) fn replicas(&self) -> usize {
        self.wish.replication_factor.min(self.nodes().len())
    }
}
