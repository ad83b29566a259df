//! All nodes, from any of them: orders go to every one that is live, and what they say is put
//! together. It is proven only when every partition was looked at by each of its members.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::orders::Orders;
use super::report::{Order, VerifyReport, VerifyStage};
use super::wire::{Asked, decode_report, encode_request};
use crate::cluster::control::{Control, ControlState, Liveness, MemberId};
use crate::cluster::peer::{Blocking, Method, PeerError};
use crate::model::{Incarnation, RingArc};
use crate::runtime::Chance;

/// A person waits; a node that does not answer is asked again soon.
const PATIENCE: Duration = Duration::from_secs(3);
/// Nodes that are asked: more than a cluster has.
const NODES_MAX: usize = 1_000;
/// Partitions that are named where several have the same fault.
const NAMED_MAX: usize = 8;

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VerifyOrder {
    /// Verify everything, reading so much a second on each node.
    Begin {
        /// Bytes a second.
        bytes_per_second: u64,
    },
    /// End what was ordered last.
    CallOff,
}

/// How a node stands to the order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It has it, and says how far it is.
    Has(VerifyReport),
    /// It has lost it: it was started anew, or given another.
    Lost,
    /// It does not answer; it may yet.
    Silent(String),
    /// It is down.
    Down,
}

/// One node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeVerified {
    /// Its name.
    pub node: String,
    /// How it stands.
    pub standing: Standing,
}

/// All of them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Verified {
    /// The order that the asked node has; 0: none.
    pub order: u64,
    /// The nodes that hold something.
    pub nodes: Vec<NodeVerified>,
    /// Nothing more is to be expected, unless from nodes that are silent.
    pub over: bool,
    /// What nobody has looked at, in words; known when it is over.
    pub unseen: Vec<String>,
}

/// Orders verification on all nodes, and says how far they are.
#[derive(Clone)]
pub struct Verification {
    orders: Arc<Orders>,
    control: Arc<dyn Control>,
    chance: Arc<dyn Chance>,
    me: Incarnation,
    peers: Option<Blocking>,
}

impl Verification {
    pub(in crate::cluster) fn new(
        orders: &Arc<Orders>,
        (control, me): (&Arc<dyn Control>, Incarnation),
        chance: &Arc<dyn Chance>,
    ) -> Self {
        Self {
            orders: Arc::clone(orders),
            control: Arc::clone(control),
            chance: Arc::clone(chance),
            me,
            peers: None,
        }
    }

    /// The same with ways to the others.
    pub(in crate::cluster) fn over(&self, peers: Option<Blocking>) -> Self {
        Self {
            peers,
            ..self.clone()
        }
    }

    /// How far all nodes are, after an order was given to them if there is one.
    #[must_use]
    pub fn everywhere(&self, order: Option<VerifyOrder>) -> Verified {
        let state = self.control.state();
        match order {
            Some(VerifyOrder::Begin { bytes_per_second }) => {
                let order = Order {
                    number: self.chance.next_u64().max(1),
                    bytes_per_second,
                    applied: state.applied,
                };
                self.orders.begin(order);
                drop(self.tell(&state, Asked::Begin(order)));
            }
            Some(VerifyOrder::CallOff) => {
                self.orders.call_off();
                drop(self.tell(&state, Asked::CallOff));
            }
            None => {}
        }
        let own = self.orders.ask();
        if own.order == 0 {
            return Verified::default();
        }
        let number = own.order;
        let mut heard = self.tell(&state, Asked::HowFar);
        heard.insert(self.me, Ok(own));
        together(&state, number, heard)
    }

    /// Tells all others that are live, and gives what they answer.
    fn tell(
        &self,
        state: &ControlState,
        asked: Asked,
    ) -> BTreeMap<Incarnation, Result<VerifyReport, String>> {
        let Some(peers) = &self.peers else {
            return BTreeMap::new();
        };
        let others = state.members.iter();
        let others = others
            .filter(|(who, member)| **who != self.me && member.liveness == Liveness::Live)
            .map(|(who, _)| (*who, encode_request(asked)));
        let others = others.take(NODES_MAX).collect();
        let read = |answer: Result<bytes::Bytes, PeerError>| {
            decode_report(answer.map_err(|error| error.to_string())?)
        };
        let answers = peers.call_all(others, Method::Verify, PATIENCE).into_iter();
        answers.map(|(who, answer)| (who, read(answer))).collect()
    }
}

/// What all have said.
fn together(
    state: &ControlState,
    number: u64,
    mut heard: BTreeMap<Incarnation, Result<VerifyReport, String>>,
) -> Verified {
    let holds = |who: Incarnation| {
        let mut members = state.partitions.values().flat_map(|one| &one.members);
        members.any(|member| member.incarnation == who)
    };
    let mut nodes = BTreeMap::new();
    for (who, member) in &state.members {
        let answer = heard.remove(who);
        if member.liveness == Liveness::Gone || !holds(*who) {
            continue;
        }
        let standing = match answer {
            Some(Ok(report)) if report.order == number => Standing::Has(report),
            Some(Ok(_)) => Standing::Lost,
            Some(Err(reason)) => Standing::Silent(reason),
            None => Standing::Down,
        };
        nodes.insert(*who, standing);
    }
    let ended = |standing: &Standing| match standing {
        Standing::Has(report) => {
            matches!(report.stage, VerifyStage::Done | VerifyStage::CalledOff)
        }
        Standing::Lost | Standing::Down => true,
        Standing::Silent(_) => false,
    };
    let over = nodes.values().all(ended);
    let name = |who: Incarnation| {
        let member = state.members.get(&who);
        member.map_or_else(|| who.to_string(), |member| member.name.clone())
    };
    let unseen = match over {
        true => unseen(state, &nodes, &name),
        false => Vec::new(),
    };
    let mut nodes: Vec<NodeVerified> = nodes
        .into_iter()
        .map(|(who, standing)| NodeVerified {
            node: name(who),
            standing,
        })
        .collect();
    nodes.sort_by(|one, other| one.node.cmp(&other.node));
    Verified {
        order: number,
        nodes,
        over,
        unseen,
    }
}

/// What nobody has looked at, beside what nodes that did not come to an end hold: those are named
/// themselves.
fn unseen(
    state: &ControlState,
    nodes: &BTreeMap<Incarnation, Standing>,
    name: &dyn Fn(Incarnation) -> String,
) -> Vec<String> {
    let done = |who: &Incarnation| match nodes.get(who) {
        Some(Standing::Has(report)) if report.stage == VerifyStage::Done => Some(report),
        _ => None,
    };
    let is_current = |member: &MemberId| {
        let known = state.members.get(&member.incarnation);
        known.is_some_and(|known| known.life == member.life && known.liveness != Liveness::Gone)
    };
    let (mut empty, mut came) = (BTreeMap::new(), BTreeMap::new());
    for (arc, partition) in &state.partitions {
        for member in &partition.members {
            let who = member.incarnation;
            if !is_current(member) {
                empty.entry(who).or_insert_with(Vec::new).push(*arc);
            } else if done(&who).is_some_and(|r| r.covered.iter().all(|(one, _)| one != arc)) {
                came.entry(who).or_insert_with(Vec::new).push(*arc);
            }
        }
    }
    let mut said: Vec<String> = Vec::new();
    for (who, arcs) in empty {
        let (name, arcs) = (name(who), listed(&arcs));
        said.push(format!(
            "the place of {name} in {arcs} is empty until it is replaced: it holds nothing there"
        ));
    }
    for (who, arcs) in came {
        let (name, arcs) = (name(who), listed(&arcs));
        said.push(format!(
            "{name} has not looked at {arcs}: the ring has changed meanwhile; run it again"
        ));
    }
    let reports: Vec<&VerifyReport> = nodes.keys().filter_map(done).collect();
    let has_bucket = reports.iter().any(|report| report.has_bucket);
    let all_done = reports.len() == nodes.len();
    if has_bucket && all_done {
        let covered = |arc: &RingArc| {
            let mut covered = reports.iter().flat_map(|report| &report.covered);
            covered.any(|(one, objects)| one == arc && *objects)
        };
        let arcs = state.partitions.keys().filter(|arc| !covered(arc));
        let arcs: Vec<RingArc> = arcs.copied().collect();
        if !arcs.is_empty() {
            said.push(format!(
                "nobody has looked at the objects of {} in the bucket: run it again",
                listed(&arcs)
            ));
        }
    }
    said
}

fn listed(arcs: &[RingArc]) -> String {
    let shown: Vec<String> = arcs
        .iter()
        .take(NAMED_MAX)
        .map(ToString::to_string)
        .collect();
    let more = match arcs.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let word = if arcs.len() == 1 {
        "partition"
    } else {
        "partitions"
    };
    format!("{word} {}{more}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::control::{ClusterId, Command, Found, NodeUp, Session};
    use crate::model::FOUNDING_DEPTH;

    fn node_up(number: u128, life: u32) -> Command {
        Command::NodeUp(NodeUp {
            name: format!("board-{number}"),
            incarnation: Incarnation(number),
            session: Session {
                starts: u64::from(life) + 1,
                nonce: 1,
            },
            addresses: Vec::new(),
            zone: String::new(),
            capacity_bytes: 0,
            version: String::new(),
            feature_level_max: 1,
            life,
        })
    }

    fn state() -> ControlState {
        let mut state = ControlState::default();
        state.apply(&Command::Found(Found {
            cluster: ClusterId(1),
            depth: FOUNDING_DEPTH,
            founders: [1, 2].map(Incarnation).to_vec(),
        }));
        for number in 1..=3 {
            state.apply(&node_up(number, 0));
        }
        state
    }

    fn report(objects: bool) -> VerifyReport {
        VerifyReport {
            order: 7,
            stage: VerifyStage::Done,
            covered: RingArc::all(FOUNDING_DEPTH)
                .map(|arc| (arc, objects))
                .collect(),
            has_bucket: true,
            ..VerifyReport::default()
        }
    }

    type Heard = BTreeMap<Incarnation, Result<VerifyReport, String>>;

    fn of(state: &ControlState, change: impl FnOnce(&mut Heard)) -> Verified {
        let mut heard = Heard::from([
            (Incarnation(1), Ok(report(true))),
            (Incarnation(2), Ok(report(false))),
        ]);
        change(&mut heard);
        together(state, 7, heard)
    }

    /// Would catch a proof that lacks a node, a partition or its objects, and a node without any
    /// data that is waited for.
    #[test]
    fn it_is_whole_only_when_every_member_has_looked_at_every_partition() {
        let mut state = state();
        let whole = of(&state, |_| ());
        assert!(whole.over && whole.unseen.is_empty(), "{whole:?}");
        let names: Vec<&str> = whole.nodes.iter().map(|node| node.node.as_str()).collect();
        assert_eq!(names, ["board-1", "board-2"], "the third holds nothing");
        let silent = of(&state, |heard| {
            heard.insert(Incarnation(2), Err("away".to_owned()));
        });
        assert!(!silent.over);
        let lost = of(&state, |heard| {
            heard.insert(Incarnation(2), Ok(VerifyReport::default()));
        });
        assert!(lost.over && lost.nodes[1].standing == Standing::Lost);
        let down = of(&state, |heard| drop(heard.remove(&Incarnation(2))));
        assert!(down.over && down.nodes[1].standing == Standing::Down);
        let running = of(&state, |heard| {
            let mut half = report(true);
            half.stage = VerifyStage::Running;
            heard.insert(Incarnation(1), Ok(half));
        });
        assert!(!running.over);
        let unseen = |verified: Verified| {
            assert!(verified.over);
            verified.unseen.join("\n")
        };
        let came = unseen(of(&state, |heard| {
            let mut less = report(false);
            less.covered.remove(3);
            heard.insert(Incarnation(2), Ok(less));
        }));
        assert!(
            came.contains("board-2 has not looked at partition 3-4"),
            "{came}"
        );
        let objects = unseen(of(&state, |heard| {
            let mut less = report(true);
            less.covered[5].1 = false;
            heard.insert(Incarnation(1), Ok(less));
        }));
        assert!(
            objects.contains("objects of partition 5-4 in the bucket"),
            "{objects}"
        );
        state.apply(&node_up(2, 1));
        let empty = unseen(of(&state, |_| ()));
        assert!(
            empty.contains("the place of board-2 in partitions 0-4"),
            "{empty}"
        );
        assert!(empty.contains("and 8 more is empty"), "{empty}");
    }
}
