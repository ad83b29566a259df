//! The group's messages and records as bytes: `proto/control.proto`, and the conversions that
//! check what comes.

use std::collections::{BTreeMap, BTreeSet};

use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, VoteRequest, VoteResponse,
};
use openraft::{EntryPayload, LeaderId};
use prost::Message;

use super::types::{
    GroupEntry, GroupLogId, GroupMembership, GroupMeta, GroupNode, GroupStored, GroupVote, NodeId,
    Proposal, Types, number_of,
};
use crate::cluster::control::wire_parts::{WireError, damaged, read_wide, required};
use crate::model::Incarnation;

/// The messages as the compiler of `proto/` writes them.
pub(super) mod messages {
    #![allow(
        missing_docs,
        unreachable_pub,
        clippy::all,
        reason = "generated from proto/control.proto, where they are described"
    )]
    include!(concat!(env!("OUT_DIR"), "/cairn.control.v1.rs"));
}

use messages as pb;

/// Nodes of one membership.
const NODES_MAX: usize = 4096;

/// Addresses of one node, and the length of one.
const ADDRESSES_MAX: usize = 64;
const ADDRESS_BYTES_MAX: usize = 512;

/// A message of some bytes.
pub(super) fn decode<M: Message + Default>(
    bytes: impl bytes::Buf,
    what: &'static str,
) -> Result<M, WireError> {
    M::decode(bytes).map_err(|error| damaged(what, error.to_string()))
}

/// 128 bits as a field.
pub(super) fn wide(bits: u128) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(&bits.to_be_bytes())
}

pub(super) fn read_incarnation(bytes: &[u8]) -> Result<Incarnation, WireError> {
    read_wide(bytes).map(Incarnation)
}

/// Addresses as a peer says them, with their bounds.
pub(super) fn read_addresses(addresses: Vec<String>) -> Result<Vec<String>, WireError> {
    let long = addresses.iter().any(|one| one.len() > ADDRESS_BYTES_MAX);
    if long || addresses.len() > ADDRESSES_MAX {
        let problem = format!("{} addresses, or one too long", addresses.len());
        return Err(damaged("a node's addresses", problem));
    }
    Ok(addresses)
}

impl From<GroupLogId> for pb::LogId {
    fn from(id: GroupLogId) -> Self {
        Self {
            term: id.leader_id.term,
            node: id.leader_id.node_id,
            index: id.index,
        }
    }
}

impl From<pb::LogId> for GroupLogId {
    fn from(id: pb::LogId) -> Self {
        Self::new(LeaderId::new(id.term, id.node), id.index)
    }
}

impl From<GroupVote> for pb::Vote {
    fn from(vote: GroupVote) -> Self {
        Self {
            term: vote.leader_id.term,
            node: vote.leader_id.node_id,
            committed: vote.committed,
        }
    }
}

impl From<pb::Vote> for GroupVote {
    fn from(vote: pb::Vote) -> Self {
        if vote.committed {
            Self::new_committed(vote.term, vote.node)
        } else {
            Self::new(vote.term, vote.node)
        }
    }
}

impl From<&GroupNode> for pb::Node {
    fn from(node: &GroupNode) -> Self {
        Self {
            incarnation: wide(node.incarnation.0),
            addresses: node.addresses.clone(),
        }
    }
}

impl pb::Node {
    pub(super) fn read(self) -> Result<GroupNode, WireError> {
        Ok(GroupNode {
            incarnation: read_incarnation(&self.incarnation)?,
            addresses: read_addresses(self.addresses)?,
        })
    }
}

impl From<&GroupMembership> for pb::Membership {
    fn from(membership: &GroupMembership) -> Self {
        let voters = |set: &BTreeSet<NodeId>| pb::Voters {
            nodes: set.iter().copied().collect(),
        };
        Self {
            configs: membership.get_joint_config().iter().map(voters).collect(),
            nodes: membership.nodes().map(|(_, node)| node.into()).collect(),
        }
    }
}

impl pb::Membership {
    fn read(self) -> Result<GroupMembership, WireError> {
        if self.nodes.len() > NODES_MAX || self.configs.len() > 4 {
            return Err(damaged("a membership", "it is too large"));
        }
        let mut nodes = BTreeMap::new();
        for node in self.nodes {
            let node = node.read()?;
            nodes.insert(number_of(node.incarnation), node);
        }
        let configs: Vec<BTreeSet<NodeId>> = self
            .configs
            .into_iter()
            .map(|voters| voters.nodes.into_iter().collect())
            .collect();
        if let Some(unknown) = configs.iter().flatten().find(|id| !nodes.contains_key(id)) {
            let problem = format!("it does not say who voter {unknown:016x} is");
            return Err(damaged("a membership", problem));
        }
        Ok(GroupMembership::new(configs, nodes))
    }
}

impl From<&GroupStored> for pb::StoredMembership {
    fn from(stored: &GroupStored) -> Self {
        Self {
            at: stored.log_id().map(Into::into),
            membership: Some(stored.membership().into()),
        }
    }
}

impl pb::StoredMembership {
    fn read(self) -> Result<GroupStored, WireError> {
        let membership = required(self.membership, "a membership")?.read()?;
        Ok(GroupStored::new(self.at.map(Into::into), membership))
    }
}

impl From<&GroupMeta> for pb::SnapshotMeta {
    fn from(meta: &GroupMeta) -> Self {
        Self {
            last: meta.last_log_id.map(Into::into),
            membership: Some((&meta.last_membership).into()),
            id: meta.snapshot_id.clone(),
        }
    }
}

impl pb::SnapshotMeta {
    pub(super) fn read(self) -> Result<GroupMeta, WireError> {
        Ok(GroupMeta {
            last_log_id: self.last.map(Into::into),
            last_membership: required(self.membership, "a membership")?.read()?,
            snapshot_id: self.id,
        })
    }
}

impl From<&GroupEntry> for pb::Entry {
    fn from(entry: &GroupEntry) -> Self {
        let payload = match &entry.payload {
            EntryPayload::Blank => None,
            EntryPayload::Normal(proposal) => Some(pb::entry::Payload::Command(
                bytes::Bytes::copy_from_slice(&proposal.0),
            )),
            EntryPayload::Membership(membership) => {
                Some(pb::entry::Payload::Membership(membership.into()))
            }
        };
        Self {
            at: Some(entry.log_id.into()),
            payload,
        }
    }
}

impl pb::Entry {
    pub(super) fn read(self) -> Result<GroupEntry, WireError> {
        let payload = match self.payload {
            None => EntryPayload::Blank,
            Some(pb::entry::Payload::Command(bytes)) => {
                EntryPayload::Normal(Proposal(bytes.to_vec()))
            }
            Some(pb::entry::Payload::Membership(membership)) => {
                EntryPayload::Membership(membership.read()?)
            }
        };
        Ok(GroupEntry {
            log_id: required(self.at, "a log id")?.into(),
            payload,
        })
    }
}

impl From<AppendEntriesRequest<Types>> for pb::AppendRequest {
    fn from(request: AppendEntriesRequest<Types>) -> Self {
        Self {
            vote: Some(request.vote.into()),
            prev: request.prev_log_id.map(Into::into),
            entries: request.entries.iter().map(Into::into).collect(),
            leader_commit: request.leader_commit.map(Into::into),
        }
    }
}

impl pb::AppendRequest {
    pub(super) fn read(self) -> Result<AppendEntriesRequest<Types>, WireError> {
        let entries: Result<Vec<_>, _> = self.entries.into_iter().map(pb::Entry::read).collect();
        Ok(AppendEntriesRequest {
            vote: required(self.vote, "a vote")?.into(),
            prev_log_id: self.prev.map(Into::into),
            entries: entries?,
            leader_commit: self.leader_commit.map(Into::into),
        })
    }
}

impl From<AppendEntriesResponse<NodeId>> for pb::AppendAnswer {
    fn from(response: AppendEntriesResponse<NodeId>) -> Self {
        use pb::append_answer::Result as Is;
        let result = match response {
            AppendEntriesResponse::Success => Is::Success(pb::Empty {}),
            AppendEntriesResponse::PartialSuccess(matching) => Is::Partial(pb::Partial {
                matching: matching.map(Into::into),
            }),
            AppendEntriesResponse::Conflict => Is::Conflict(pb::Empty {}),
            AppendEntriesResponse::HigherVote(vote) => Is::Higher(vote.into()),
        };
        Self {
            result: Some(result),
        }
    }
}

impl pb::AppendAnswer {
    pub(super) fn read(self) -> Result<AppendEntriesResponse<NodeId>, WireError> {
        use pb::append_answer::Result as Is;
        Ok(match required(self.result, "a result")? {
            Is::Success(_) => AppendEntriesResponse::Success,
            Is::Partial(partial) => {
                AppendEntriesResponse::PartialSuccess(partial.matching.map(Into::into))
            }
            Is::Conflict(_) => AppendEntriesResponse::Conflict,
            Is::Higher(vote) => AppendEntriesResponse::HigherVote(vote.into()),
        })
    }
}

impl From<VoteRequest<NodeId>> for pb::VoteRequest {
    fn from(request: VoteRequest<NodeId>) -> Self {
        Self {
            vote: Some(request.vote.into()),
            last: request.last_log_id.map(Into::into),
        }
    }
}

impl pb::VoteRequest {
    pub(super) fn read(self) -> Result<VoteRequest<NodeId>, WireError> {
        let vote: GroupVote = required(self.vote, "a vote")?.into();
        Ok(VoteRequest::new(vote, self.last.map(Into::into)))
    }
}

impl From<VoteResponse<NodeId>> for pb::VoteAnswer {
    fn from(response: VoteResponse<NodeId>) -> Self {
        Self {
            vote: Some(response.vote.into()),
            granted: response.vote_granted,
            last: response.last_log_id.map(Into::into),
        }
    }
}

impl pb::VoteAnswer {
    pub(super) fn read(self) -> Result<VoteResponse<NodeId>, WireError> {
        let vote: GroupVote = required(self.vote, "a vote")?.into();
        let last = self.last.map(Into::into);
        Ok(VoteResponse::new(vote, last, self.granted))
    }
}

impl From<InstallSnapshotRequest<Types>> for pb::SnapshotChunk {
    fn from(request: InstallSnapshotRequest<Types>) -> Self {
        Self {
            vote: Some(request.vote.into()),
            meta: Some((&request.meta).into()),
            offset: request.offset,
            data: request.data.into(),
            done: request.done,
        }
    }
}

impl pb::SnapshotChunk {
    pub(super) fn read(self) -> Result<InstallSnapshotRequest<Types>, WireError> {
        Ok(InstallSnapshotRequest {
            vote: required(self.vote, "a vote")?.into(),
            meta: required(self.meta, "a snapshot's description")?.read()?,
            offset: self.offset,
            data: self.data.to_vec(),
            done: self.done,
        })
    }
}
