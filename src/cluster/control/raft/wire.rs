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

#[cfg(test)]
mod tests {
    use openraft::StoredMembership;

    use super::*;
    use crate::cluster::control::command::Command;
    use crate::runtime::{Chance, SeededChance};

    fn id(term: u64, index: u64) -> GroupLogId {
        GroupLogId::new(LeaderId::new(term, 7), index)
    }

    fn membership() -> GroupMembership {
        let node = |number: u128| GroupNode {
            incarnation: Incarnation((1 << 64) | number),
            addresses: vec![format!("10.0.0.{number}:9095")],
        };
        let nodes: BTreeMap<NodeId, GroupNode> = [7u128, 8]
            .map(|n| (u64::try_from(n).unwrap(), node(n)))
            .into();
        GroupMembership::new(vec![[7].into(), [7, 8].into()], nodes)
    }

    fn entries() -> [GroupEntry; 3] {
        let entry = |index, payload| GroupEntry {
            log_id: id(3, index),
            payload,
        };
        [
            entry(1, EntryPayload::Blank),
            entry(
                2,
                EntryPayload::Normal(Proposal(Command::FeatureLevel(1).encode())),
            ),
            entry(3, EntryPayload::Membership(membership())),
        ]
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// What is on disk stays readable: these bytes never change.
    #[test]
    fn records_have_their_bytes() {
        let log = entries().map(|entry| hex(&pb::Entry::from(&entry).encode_to_vec()));
        assert_eq!(
            log,
            [
                "0a0d08031107000000000000001801",
                "0a0d080311070000000000000018021203a00101",
                concat!(
                    "0a0d080311070000000000000018031a66",
                    "0a0a0a080700000000000000",
                    "0a120a1007000000000000000800000000000000",
                    "12210a1000000000000000010000000000000007120d31302e302e302e373a39303935",
                    "12210a1000000000000000010000000000000008120d31302e302e302e383a39303935",
                ),
            ]
        );
    }

    #[test]
    fn what_is_sent_comes_back() {
        for entry in entries() {
            let bytes = pb::Entry::from(&entry).encode_to_vec();
            let read = decode::<pb::Entry>(bytes.as_slice(), "an entry").unwrap();
            assert_eq!(read.read().unwrap(), entry);
        }
        for vote in [GroupVote::new(4, 7), GroupVote::new_committed(5, u64::MAX)] {
            assert_eq!(GroupVote::from(pb::Vote::from(vote)), vote);
        }
        let meta = GroupMeta {
            last_log_id: Some(id(3, 9)),
            last_membership: StoredMembership::new(Some(id(2, 3)), membership()),
            snapshot_id: "x".to_owned(),
        };
        assert_eq!(pb::SnapshotMeta::from(&meta).read().unwrap(), meta);
        let answers = [
            AppendEntriesResponse::Success,
            AppendEntriesResponse::PartialSuccess(None),
            AppendEntriesResponse::PartialSuccess(Some(id(1, 2))),
            AppendEntriesResponse::Conflict,
            AppendEntriesResponse::HigherVote(GroupVote::new(9, 1)),
        ];
        for answer in answers {
            let text = format!("{answer:?}");
            let read = pb::AppendAnswer::from(answer).read().unwrap();
            assert_eq!(format!("{read:?}"), text);
        }
    }

    /// A voter that nobody describes, and bytes of all kinds, are errors and no panics.
    #[test]
    fn bad_bytes_are_refused() {
        let unknown = pb::Membership {
            configs: vec![pb::Voters { nodes: vec![1] }],
            nodes: Vec::new(),
        };
        assert!(unknown.read().is_err());
        let request = pb::RaftRequest {
            body: Some(pb::raft_request::Body::Append(
                AppendEntriesRequest::<Types> {
                    vote: GroupVote::new_committed(3, 7),
                    prev_log_id: Some(id(3, 0)),
                    entries: entries().to_vec(),
                    leader_commit: None,
                }
                .into(),
            )),
        };
        let good = request.encode_to_vec();
        let chance = SeededChance::new(5);
        let below =
            |bound: usize| usize::try_from(chance.below(u64::try_from(bound).unwrap())).unwrap();
        for _ in 0..20_000 {
            let mut bytes = good.clone();
            for _ in 0..=below(3) {
                let at = below(bytes.len());
                bytes[at] = u8::try_from(below(256)).unwrap();
            }
            bytes.truncate(1 + below(bytes.len()));
            let Ok(request) = decode::<pb::RaftRequest>(bytes.as_slice(), "a message") else {
                continue;
            };
            match request.body {
                Some(pb::raft_request::Body::Append(append)) => drop(append.read()),
                Some(pb::raft_request::Body::Vote(vote)) => drop(vote.read()),
                Some(pb::raft_request::Body::Snapshot(chunk)) => drop(chunk.read()),
                _ => {}
            }
        }
    }
}
