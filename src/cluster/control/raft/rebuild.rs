//! A group that has lost a majority of its voters for good goes on from the log of one that is
//! left, as `ControlGeneration` says: with that one as its only voter, under a higher term, and with
//! those who are lost given up for ever. The node must not run.
//!
//! The log is kept as it is, whatever of it had been confirmed: what the lost majority may have
//! committed and this node has is not undone. What it does not have is lost; hence the most advanced
//! survivor is the one to go on from. The others follow it: their logs are beginnings of its own, or
//! differ where nothing was ever committed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use prost::Message;

use super::decision;
use super::log_store::{COMMITTED_KEY, LogStore, VOTE_KEY, log_key};
use super::machine::Machine;
use super::types::{
    GroupEntry, GroupLogId, GroupMembership, GroupNode, GroupVote, NodeId, Proposal, number_of,
};
use super::wire::{decode, messages as pb};
use crate::cluster::control::ControlError;
use crate::cluster::control::command::{Command, ControlGeneration};
use crate::cluster::control::state::{ControlState, Liveness};
use crate::model::Incarnation;
use crate::store::{Batch, Durability, Engine, Space};

/// What one survivor's log is, and what was done with it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Survivor {
    /// Its name.
    pub name: String,
    /// The cluster, in hex digits.
    pub cluster: String,
    /// Where its log ends: the survivor with the highest term, and of those the highest index, is
    /// the one to go on from.
    pub last: (u64, u64),
    /// Who votes by its log, by name.
    pub voters: Vec<String>,
    /// The control group's generation; the new one when it was rebuilt.
    pub generation: u64,
    /// Who was given up with it.
    pub lost: Vec<String>,
    /// Whether it was rebuilt.
    pub done: bool,
}

/// The group as one log has it, all entries applied.
struct Known {
    state: Arc<ControlState>,
    last: GroupLogId,
    voters: Vec<BTreeSet<NodeId>>,
    nodes: BTreeMap<NodeId, GroupNode>,
    term: u64,
}

fn elsewhere(text: impl Into<String>) -> ControlError {
    ControlError::Elsewhere(text.into())
}

impl Known {
    fn read(engine: &Arc<dyn Engine>) -> Result<Self, ControlError> {
        let log = LogStore::open(Arc::clone(engine))?;
        let (mut machine, _) = Machine::open(Arc::clone(engine))?;
        let mut next = machine.next_index();
        loop {
            let entries = log.some(next, u64::MAX);
            let entries = entries.map_err(|error| ControlError::Group(error.to_string()))?;
            let Some(last) = entries.last() else {
                break;
            };
            next = last.log_id.index.saturating_add(1);
            for entry in entries {
                let index = entry.log_id.index;
                let taken = machine.take(entry);
                taken.map_err(|error| ControlError::Unreadable { index, error })?;
            }
        }
        let nothing = || elsewhere("its control log is empty: this node never belonged to a group");
        let last = machine.last().ok_or_else(nothing)?;
        let vote = engine.get(Space::Control, VOTE_KEY)?;
        let vote = vote.map(|bytes| decode::<pb::Vote>(bytes.as_slice(), "a vote"));
        let vote = vote.transpose();
        let vote = vote.map_err(|error| ControlError::Unreadable { index: 0, error })?;
        let voted = vote.map_or(0, |vote| GroupVote::from(vote).leader_id.term);
        let membership = machine.membership();
        Ok(Self {
            last,
            voters: membership.get_joint_config().clone(),
            nodes: membership
                .nodes()
                .map(|(id, node)| (*id, node.clone()))
                .collect(),
            term: voted.max(last.leader_id.term),
            state: machine.state(),
        })
    }

    fn name(&self, id: NodeId) -> String {
        let Some(node) = self.nodes.get(&id) else {
            return format!("{id:016x}");
        };
        match self.state.members.get(&node.incarnation) {
            Some(member) if !member.name.is_empty() => member.name.clone(),
            _ => node.incarnation.to_string(),
        }
    }

    /// The incarnations of names; each must be one that the state knows.
    fn lost(
        &self,
        names: &[String],
        me: Incarnation,
    ) -> Result<BTreeSet<Incarnation>, ControlError> {
        let mut lost = BTreeSet::new();
        for name in names {
            let members = self.state.members.iter();
            let there = members.filter(|(_, member)| member.liveness != Liveness::Gone);
            let named: Vec<Incarnation> = there
                .filter(|(who, member)| member.name == *name || who.to_string() == *name)
                .map(|(who, _)| *who)
                .collect();
            match named.as_slice() {
                [one] if *one == me => {
                    return Err(elsewhere(format!("{name} is this node, which goes on")));
                }
                [one] => {
                    lost.insert(*one);
                }
                [] => return Err(elsewhere(format!("no node is called {name}"))),
                _ => {
                    return Err(elsewhere(format!(
                        "several nodes are called {name}: name one by its incarnation"
                    )));
                }
            }
        }
        Ok(lost)
    }

    /// A group that can elect a leader by itself is not rebuilt.
    fn check(&self, lost: &BTreeSet<Incarnation>) -> Result<(), ControlError> {
        let stands = |id: &&NodeId| {
            let node = self.nodes.get(*id);
            node.is_some_and(|node| !lost.contains(&node.incarnation))
        };
        let elects =
            |voters: &BTreeSet<NodeId>| voters.iter().filter(stands).count() > voters.len() / 2;
        if !self.voters.iter().all(elects) {
            return Ok(());
        }
        let voters = self.voters.iter().flatten().filter(stands);
        let names: BTreeSet<String> = voters.map(|id| self.name(*id)).collect();
        let names: Vec<String> = names.into_iter().collect();
        Err(elsewhere(format!(
            "a majority of the voters is not among those that are lost: start {}, and they elect a leader by themselves",
            names.join(", ")
        )))
    }

    fn describe(&self, me: Incarnation) -> Survivor {
        let voters: BTreeSet<NodeId> = self.voters.iter().flatten().copied().collect();
        let cluster = self.state.cluster.map(|cluster| cluster.to_string());
        Survivor {
            name: self.name(number_of(me)),
            cluster: cluster.unwrap_or_default(),
            last: (self.last.leader_id.term, self.last.index),
            voters: voters.into_iter().map(|id| self.name(id)).collect(),
            generation: self.state.generation,
            lost: Vec::new(),
            done: false,
        }
    }

    /// What is written behind the log: who is in the group now, and that it is another generation.
    fn entries(
        &self,
        me: Incarnation,
        lost: &BTreeSet<Incarnation>,
    ) -> (GroupVote, [GroupEntry; 2]) {
        let number = number_of(me);
        let vote = GroupVote::new(self.term.saturating_add(1), number);
        let at =
            |further: u64| GroupLogId::new(vote.leader_id, self.last.index.saturating_add(further));
        let mut nodes = self.nodes.clone();
        nodes.retain(|_, node| !lost.contains(&node.incarnation));
        nodes.entry(number).or_insert_with(|| GroupNode {
            incarnation: me,
            addresses: Vec::new(),
        });
        let membership = GroupMembership::new(vec![BTreeSet::from([number])], nodes);
        let generation = Command::ControlGeneration(ControlGeneration {
            generation: self.state.generation.saturating_add(1),
            lost: lost.iter().copied().collect(),
        });
        let entries = [
            GroupEntry {
                log_id: at(1),
                payload: openraft::EntryPayload::Membership(membership),
            },
            GroupEntry {
                log_id: at(2),
                payload: openraft::EntryPayload::Normal(Proposal(generation.encode())),
            },
        ];
        (vote, entries)
    }
}

/// Says what the log of a node that does not run is, or rebuilds the group from it without `lost`.
///
/// # Errors
/// When the log cannot be read, it belongs to no group, or the group does not need it.
pub(in crate::cluster) fn rebuild(
    engine: &Arc<dyn Engine>,
    me: Incarnation,
    lost: &[String],
    accept_loss: bool,
) -> Result<Survivor, ControlError> {
    let cluster = decision::cluster(engine.as_ref())?;
    if cluster.is_none() {
        return Err(elsewhere(
            "this node belongs to no group: one that is alone, or has never joined, has nothing to recover",
        ));
    }
    let known = Known::read(engine)?;
    let mut survivor = known.describe(me);
    let lost = known.lost(lost, me)?;
    if !accept_loss {
        return Ok(survivor);
    }
    known.check(&lost)?;
    let (vote, entries) = known.entries(me, &lost);
    let mut batch = Batch::new();
    for entry in &entries {
        let bytes = pb::Entry::from(entry).encode_to_vec();
        batch.put(Space::Control, &log_key(entry.log_id.index), &bytes);
    }
    let vote = pb::Vote::from(vote).encode_to_vec();
    batch.put(Space::Control, VOTE_KEY, &vote);
    if let Some(last) = entries.last() {
        let committed = pb::LogId::from(last.log_id).encode_to_vec();
        batch.put(Space::Control, COMMITTED_KEY, &committed);
    }
    engine.write(batch, Durability::Synced)?;
    let name = |who: &Incarnation| known.name(number_of(*who));
    survivor.lost = lost.iter().map(name).collect();
    survivor.generation = survivor.generation.saturating_add(1);
    survivor.done = true;
    Ok(survivor)
}
