//! What the group's members say to each other, over the transport of peers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::SnapshotSegmentId;
use openraft::error::{
    InstallSnapshotError, RPCError, RaftError, RemoteError, SnapshotMismatch, Unreachable,
};
use openraft::network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use parking_lot::Mutex;
use prost::Message;

use super::types::{GroupNode, NodeId, Types, number_of};
use super::wire::{decode, messages as pb};
use crate::cluster::control::WireError;
use crate::cluster::control::wire_parts::{damaged, required};
use crate::cluster::peer::{Method, PeerError, Transport};
use crate::model::Incarnation;
use crate::runtime::Clock;

/// A question for the leader is passed on at most so often before it reaches it.
pub(super) const HOPS_MAX: u32 = 3;

/// Peers of the group: how to reach them, and when each last answered this node.
pub(super) struct Peers {
    transport: Arc<dyn Transport>,
    clock: Arc<dyn Clock>,
    heard: Mutex<BTreeMap<NodeId, Duration>>,
}

impl Peers {
    pub(super) fn new(transport: Arc<dyn Transport>, clock: Arc<dyn Clock>) -> Self {
        Self {
            transport,
            clock,
            heard: Mutex::default(),
        }
    }

    pub(super) fn transport(&self) -> &Arc<dyn Transport> {
        &self.transport
    }

    /// When a node last answered, on the clock that never goes back.
    pub(super) fn heard(&self, node: NodeId) -> Option<Duration> {
        self.heard.lock().get(&node).copied()
    }

    fn hears(&self, node: NodeId) {
        let now = self.clock.elapsed();
        self.heard.lock().insert(node, now);
    }
}

/// A peer's answer that is not what was asked for.
pub(super) fn garbled(peer: Incarnation, error: &WireError) -> PeerError {
    PeerError::Garbled {
        peer: peer.to_string(),
        reason: error.to_string(),
    }
}

/// Makes a client for each member.
pub(super) struct Network {
    pub(super) peers: Arc<Peers>,
    /// How long nothing is sent to a peer that could not be reached.
    pub(super) pause: Duration,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Client;

    async fn new_client(&mut self, target: NodeId, node: &GroupNode) -> Client {
        if !node.addresses.is_empty() && self.peers.heard(target).is_none() {
            let transport = self.peers.transport();
            transport.know(node.incarnation, &node.addresses);
        }
        Client {
            peers: Arc::clone(&self.peers),
            incarnation: node.incarnation,
            pause: self.pause,
        }
    }
}

/// Speaks to one member.
pub(super) struct Client {
    peers: Arc<Peers>,
    incarnation: Incarnation,
    pause: Duration,
}

impl Client {
    async fn ask(
        &self,
        body: pb::raft_request::Body,
        patience: Duration,
    ) -> Result<pb::raft_answer::Body, PeerError> {
        let request = pb::RaftRequest { body: Some(body) };
        let bytes = Bytes::from(request.encode_to_vec());
        let transport = self.peers.transport();
        let answer = transport.call(self.incarnation, Method::Raft, bytes, patience);
        // The transport keeps its own time; this is for one that does not.
        let answer = tokio::time::timeout(patience, answer).await;
        let answer = answer.unwrap_or_else(|_| {
            Err(PeerError::TimedOut {
                peer: self.incarnation.to_string(),
                method: Method::Raft.name(),
                ms: u64::try_from(patience.as_millis()).unwrap_or(u64::MAX),
            })
        })?;
        self.peers.hears(number_of(self.incarnation));
        let read = decode::<pb::RaftAnswer>(answer, "an answer of the control group");
        let body = read.and_then(|answer| required(answer.body, "an answer"));
        body.map_err(|error| garbled(self.incarnation, &error))
    }

    fn other(&self) -> PeerError {
        let error = damaged(
            "an answer of the control group",
            "it answers something else",
        );
        garbled(self.incarnation, &error)
    }

    fn garbled(&self) -> impl Fn(WireError) -> PeerError {
        let peer = self.incarnation;
        move |error| garbled(peer, &error)
    }

    /// Asks a member that stops being led to try to lead.
    pub(super) async fn take_over(
        peers: &Arc<Peers>,
        incarnation: Incarnation,
        patience: Duration,
    ) -> Result<(), PeerError> {
        let client = Self {
            peers: Arc::clone(peers),
            incarnation,
            pause: patience,
        };
        let body = pb::raft_request::Body::TakeOver(pb::Empty {});
        client.ask(body, patience).await.map(drop)
    }
}

/// Whatever keeps a peer from answering, nothing is sent to it for the pause.
fn unreachable<E: std::error::Error>(error: PeerError) -> RPCError<NodeId, GroupNode, E> {
    RPCError::Unreachable(Unreachable::new(&error))
}

type Rpc<T, E> = Result<T, RPCError<NodeId, GroupNode, E>>;

impl RaftNetwork<Types> for Client {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Rpc<AppendEntriesResponse<NodeId>, RaftError<NodeId>> {
        let body = pb::raft_request::Body::Append(rpc.into());
        match self.ask(body, option.hard_ttl()).await {
            Ok(pb::raft_answer::Body::Append(answer)) => {
                answer.read().map_err(self.garbled()).map_err(unreachable)
            }
            Ok(_) => Err(unreachable(self.other())),
            Err(error) => Err(unreachable(error)),
        }
    }

    async fn install_snapshot(
        &mut self,
        rpc: InstallSnapshotRequest<Types>,
        option: RPCOption,
    ) -> Rpc<InstallSnapshotResponse<NodeId>, RaftError<NodeId, InstallSnapshotError>> {
        let body = pb::raft_request::Body::Snapshot(rpc.into());
        let result = match self.ask(body, option.hard_ttl()).await {
            Ok(pb::raft_answer::Body::Snapshot(answer)) => answer.result,
            Ok(_) => None,
            Err(error) => return Err(unreachable(error)),
        };
        match result {
            Some(pb::snapshot_answer::Result::Vote(vote)) => {
                Ok(InstallSnapshotResponse { vote: vote.into() })
            }
            Some(pb::snapshot_answer::Result::Mismatch(mismatch)) => {
                let segment = |offset| SnapshotSegmentId {
                    id: mismatch.id.clone(),
                    offset,
                };
                let mismatch = SnapshotMismatch {
                    expect: segment(mismatch.expected),
                    got: segment(mismatch.got),
                };
                let error = RaftError::APIError(mismatch.into());
                let target = number_of(self.incarnation);
                Err(RPCError::RemoteError(RemoteError::new(target, error)))
            }
            None => Err(unreachable(self.other())),
        }
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<NodeId>,
        option: RPCOption,
    ) -> Rpc<VoteResponse<NodeId>, RaftError<NodeId>> {
        let body = pb::raft_request::Body::Vote(rpc.into());
        match self.ask(body, option.hard_ttl()).await {
            Ok(pb::raft_answer::Body::Vote(answer)) => {
                answer.read().map_err(self.garbled()).map_err(unreachable)
            }
            Ok(_) => Err(unreachable(self.other())),
            Err(error) => Err(unreachable(error)),
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(self.pause))
    }
}
