//! The types with which the Raft library is instantiated.

use std::io::Cursor;

use openraft::{Entry, LogId, Membership, SnapshotMeta, StoredMembership, Vote};

use crate::cluster::control::command::Outcome;
use crate::model::Incarnation;

/// A node's number in the group.
pub(super) type NodeId = u64;

/// The number of an incarnation: its low 64 bits.
pub(super) fn number_of(incarnation: Incarnation) -> NodeId {
    let low = incarnation.0 & u128::from(u64::MAX);
    u64::try_from(low).unwrap_or_default()
}

/// A proposed command as bytes. They go through log and network as they are; what they mean
/// matters only when they are applied.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Proposal(pub(super) Vec<u8>);

/// What applying an entry gave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Reply {
    /// The commands that had been applied with it.
    pub(super) applied: u64,
    /// What it did.
    pub(super) outcome: Outcome,
}

/// What the group knows of a member.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct GroupNode {
    /// Which data directory.
    pub(super) incarnation: Incarnation,
    /// Where it listened when it joined; the control state knows better.
    pub(super) addresses: Vec<String>,
}

/// The library asks for one; no membership has it.
impl Default for GroupNode {
    fn default() -> Self {
        Self {
            incarnation: Incarnation(0),
            addresses: Vec::new(),
        }
    }
}

openraft::declare_raft_types!(
    pub(super) Types:
        D = Proposal,
        R = Reply,
        NodeId = NodeId,
        Node = GroupNode,
        Entry = openraft::Entry<Types>,
        SnapshotData = Cursor<Vec<u8>>,
);

pub(super) type Raft = openraft::Raft<Types>;
pub(super) type GroupEntry = Entry<Types>;
pub(super) type GroupLogId = LogId<NodeId>;
pub(super) type GroupVote = Vote<NodeId>;
pub(super) type GroupMembership = Membership<NodeId, GroupNode>;
pub(super) type GroupStored = StoredMembership<NodeId, GroupNode>;
pub(super) type GroupMeta = SnapshotMeta<NodeId, GroupNode>;
pub(super) type StorageError = openraft::StorageError<NodeId>;
