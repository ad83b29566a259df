//! What other nodes ask of the group here.

use std::sync::Arc;

use bytes::Bytes;
use openraft::error::{InstallSnapshotError, RaftError};
use openraft::raft::{AppendEntriesRequest, InstallSnapshotRequest, VoteResponse};
use prost::Message;

use super::decision;
use super::group::RaftControl;
use super::hello::Greeting;
use super::machine::SNAPSHOT_BYTES_MAX;
use super::network::HOPS_MAX;
use super::sessions::Position;
use super::types::{GroupNode, GroupVote, NodeId, Types, number_of};
use super::wire::{decode, messages as pb, wide};
use crate::cluster::control::command::Refusal;
use crate::cluster::control::state::Liveness;
use crate::cluster::control::wire_parts::{WireError, required};
use crate::cluster::control::{Command, Control, ControlError};
use crate::cluster::peer::{Caller, Method, PeerError, Refused, Service, Serving};

fn invalid(error: WireError) -> Refused {
    Refused::Invalid(error.to_string())
}

/// What the library cannot do any more.
fn broken(error: impl std::fmt::Display) -> Refused {
    Refused::Unavailable(format!("the control group has failed here: {error}"))
}

impl Service for RaftControl {
    fn call<'a>(&'a self, from: &'a Caller, method: Method, body: Bytes) -> Serving<'a, Bytes> {
        Box::pin(async move {
            match method {
                Method::Hello => self.serve_hello(from, body),
                Method::Join => self.serve_join(from, body).await,
                Method::Raft => self.serve_raft(from, body).await,
                Method::Propose => self.serve_proposal(from, body).await,
                other => Err(Refused::Invalid(format!(
                    "{} is not the control group's business",
                    other.name()
                ))),
            }
        })
    }
}

impl RaftControl {
    /// The group answers for this node from now on: what is to be entered into its services, and
    /// under which methods.
    #[must_use]
    pub fn service(self: &Arc<Self>) -> (&'static [Method], Arc<dyn Service>) {
        let service: Arc<dyn Service> = Arc::clone(self) as Arc<dyn Service>;
        (
            &[Method::Hello, Method::Join, Method::Raft, Method::Propose],
            service,
        )
    }

    /// Only members of the same cluster are listened to.
    fn check(&self, from: &Caller) -> Result<(), Refused> {
        let mine = *self.cluster.borrow();
        match (mine, from.cluster) {
            (Some(mine), Some(theirs)) if mine == theirs => Ok(()),
            (None, _) => Err(Refused::Unavailable(
                "this node does not belong to a cluster yet".to_owned(),
            )),
            (Some(mine), theirs) => Err(Refused::Stranger(format!(
                "this node belongs to the cluster {mine}, the caller to {}",
                theirs.map_or_else(|| "none".to_owned(), |theirs| theirs.to_string())
            ))),
        }
    }

    fn serve_hello(&self, from: &Caller, body: Bytes) -> Result<Bytes, Refused> {
        let request: pb::HelloRequest = decode(body, "a hello").map_err(invalid)?;
        let state = self.state();
        let cluster = *self.cluster.borrow();
        let known = state.members.get(&from.incarnation);
        if known.is_some_and(|member| member.liveness == Liveness::Gone) {
            // It may not know yet, and cannot learn it from a log that it gets no more.
            let gone = Refusal::Gone(from.incarnation);
            return Err(Refused::GivenUp(gone.to_string()));
        }
        // Strangers are greeted, but not remembered: anybody can be one. A node that starts asks as
        // a stranger what is remembered of it, before it belongs to anything.
        let remembered = self.sessions.remembered(&state, from.incarnation);
        if from.cluster.is_some() && from.cluster == cluster {
            self.admit(from)?;
            let position = request.position.map(Position::from).unwrap_or_default();
            self.sessions.note(from.incarnation, position);
        }
        let agreed = decision::agreed(self.engine.as_ref());
        let greeting = Greeting {
            name: self.introduction.name.clone(),
            incarnation: self.incarnation,
            cluster,
            session: self.session,
            version: self.introduction.build.text.clone(),
            feature_level_max: self.introduction.build.feature_level,
            addresses: self.introduction.addresses.clone(),
            zone: self.introduction.zone.clone(),
            position: self.position(),
            applied: state.applied,
            remembered,
            agreed: agreed.map_err(broken)?,
        };
        let answer = pb::HelloAnswer::from(&greeting);
        Ok(answer.encode_to_vec().into())
    }

    async fn serve_join(&self, from: &Caller, body: Bytes) -> Result<Bytes, Refused> {
        let request: pb::JoinRequest = decode(body, "a request to join").map_err(invalid)?;
        let body = required(request.body, "a request to join").map_err(invalid)?;
        match body {
            pb::join_request::Body::Found(founding) => {
                let decision = founding.read().map_err(invalid)?;
                if decision.decider != Some(from.incarnation) {
                    return Err(Refused::Invalid("only the decider may ask".to_owned()));
                }
                let agreed = self.agree_to(&decision);
                agreed.map_err(|error| Refused::Unavailable(error.to_string()))?;
                Ok(pb::JoinAnswer::default().encode_to_vec().into())
            }
            pb::join_request::Body::Join(joiner) => {
                let node = pb::Node {
                    incarnation: joiner.incarnation,
                    addresses: joiner.addresses,
                };
                let node = node.read().map_err(invalid)?;
                let mine = *self.cluster.borrow();
                let passed_on = from.cluster.is_some() && from.cluster == mine;
                if node.incarnation != from.incarnation && !passed_on {
                    return Err(Refused::Invalid("it asks for another".to_owned()));
                }
                self.take_in(node, request.hops.min(HOPS_MAX)).await
            }
        }
    }

    /// Makes a node a learner, here or at the leader.
    async fn take_in(&self, node: GroupNode, hops: u32) -> Result<Bytes, Refused> {
        let Some(cluster) = self.state().cluster else {
            return Err(Refused::Unavailable(
                "the cluster is being founded: ask again in a moment".to_owned(),
            ));
        };
        if !self.is_leader() {
            return self.pass_on(node, hops).await;
        }
        self.check_joiner(&node)?;
        let id = number_of(node.incarnation);
        if self.node(id).is_none() {
            let added = self.raft.add_learner(id, node, false);
            let added = tokio::time::timeout(self.timings.patience, added).await;
            match added {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(Refused::Unavailable(error.to_string())),
                Err(_) => return Err(Refused::Unavailable(self.why_no_leader())),
            }
        }
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let nodes = metrics.membership_config.nodes();
        let answer = pb::JoinAnswer {
            cluster: wide(cluster.0),
            members: nodes.map(|(_, node)| node.into()).collect(),
        };
        Ok(answer.encode_to_vec().into())
    }

    fn check_joiner(&self, node: &GroupNode) -> Result<(), Refused> {
        let incarnation = node.incarnation;
        let state = self.state();
        let known = state.members.get(&incarnation);
        if known.is_some_and(|member| member.liveness == Liveness::Gone) {
            return Err(Refused::Stranger(Refusal::Gone(incarnation).to_string()));
        }
        let same = self.node(number_of(incarnation));
        if same.is_some_and(|same| same.incarnation != incarnation) {
            return Err(Refused::Invalid(format!(
                "{incarnation} has the number of another node: set its data directory aside"
            )));
        }
        Ok(())
    }

    async fn pass_on(&self, node: GroupNode, hops: u32) -> Result<Bytes, Refused> {
        let Some(leader) = self.leader().filter(|_| hops > 0) else {
            return Err(Refused::Unavailable(self.why_no_leader()));
        };
        let body = pb::join_request::Body::Join(pb::Joiner {
            incarnation: wide(node.incarnation.0),
            addresses: node.addresses,
        });
        match self.ask_join(leader, body, hops.saturating_sub(1)).await {
            Ok(answer) => Ok(answer.encode_to_vec().into()),
            Err(PeerError::Refused { refused, .. }) => Err(refused),
            Err(error) => Err(Refused::Unavailable(error.to_string())),
        }
    }

    async fn serve_raft(&self, from: &Caller, body: Bytes) -> Result<Bytes, Refused> {
        self.check(from)?;
        let generation = self.state().generation;
        if from.generation < generation {
            return Err(Refused::Stranger(format!(
                "the control group was rebuilt (generation {generation}), and the caller still belongs to generation {}",
                from.generation
            )));
        }
        let request: pb::RaftRequest =
            decode(body, "a message of the control group").map_err(invalid)?;
        let body = required(request.body, "a message of the control group").map_err(invalid)?;
        let answer = match body {
            pb::raft_request::Body::Append(append) => {
                let request: AppendEntriesRequest<Types> = append.read().map_err(invalid)?;
                said_by(from, request.vote)?;
                let answer = self.raft.append_entries(request).await.map_err(broken)?;
                pb::raft_answer::Body::Append(answer.into())
            }
            pb::raft_request::Body::Vote(vote) => {
                let request = vote.read().map_err(invalid)?;
                said_by(from, request.vote)?;
                let answer = match self.no_vote() {
                    Some(no) => no,
                    None => self.raft.vote(request).await.map_err(broken)?,
                };
                pb::raft_answer::Body::Vote(answer.into())
            }
            pb::raft_request::Body::Snapshot(chunk) => {
                let request = chunk.read().map_err(invalid)?;
                said_by(from, request.vote)?;
                pb::raft_answer::Body::Snapshot(self.serve_snapshot(request).await?)
            }
            pb::raft_request::Body::TakeOver(_) => {
                self.raft.trigger().elect().await.map_err(broken)?;
                pb::raft_answer::Body::TakeOver(pb::Empty {})
            }
        };
        let answer = pb::RaftAnswer { body: Some(answer) };
        Ok(answer.encode_to_vec().into())
    }

    /// A leader that a majority follows gives no vote away. The library's followers keep their
    /// leader's lease in the same way, its leader does not: a member that can speak but not hear
    /// would unseat it again and again.
    fn no_vote(&self) -> Option<VoteResponse<NodeId>> {
        self.leads_surely()?;
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        Some(VoteResponse::new(metrics.vote, None, false))
    }

    async fn serve_snapshot(
        &self,
        request: InstallSnapshotRequest<Types>,
    ) -> Result<pb::SnapshotAnswer, Refused> {
        let offset = usize::try_from(request.offset).unwrap_or(usize::MAX);
        if offset.saturating_add(request.data.len()) > SNAPSHOT_BYTES_MAX {
            return Err(Refused::Invalid(format!(
                "a control state of more than {SNAPSHOT_BYTES_MAX} bytes"
            )));
        }
        let result = match self.raft.install_snapshot(request).await {
            Ok(response) => pb::snapshot_answer::Result::Vote(response.vote.into()),
            Err(RaftError::APIError(InstallSnapshotError::SnapshotMismatch(mismatch))) => {
                pb::snapshot_answer::Result::Mismatch(pb::Mismatch {
                    id: mismatch.expect.id,
                    expected: mismatch.expect.offset,
                    got: mismatch.got.offset,
                })
            }
            Err(RaftError::Fatal(error)) => return Err(broken(error)),
        };
        Ok(pb::SnapshotAnswer {
            result: Some(result),
        })
    }

    async fn serve_proposal(&self, from: &Caller, body: Bytes) -> Result<Bytes, Refused> {
        self.check(from)?;
        let request: pb::ProposeRequest = decode(body, "a proposal").map_err(invalid)?;
        // What this version does not understand must not enter the log through it.
        Command::decode(&request.command).map_err(invalid)?;
        let hops = request.hops.min(HOPS_MAX);
        let reply = self.try_once(&request.command, hops).await;
        match reply {
            Ok(Some(reply)) => Ok(pb::ProposeAnswer::from(reply).encode_to_vec().into()),
            Ok(None) => Err(Refused::Unavailable("this node does not lead".to_owned())),
            Err(ControlError::Peer(PeerError::Refused { refused, .. })) => Err(refused),
            // The caller must not believe that nobody has it.
            Err(error) => Err(Refused::NotFound(error.to_string())),
        }
    }
}

/// Nobody speaks for another.
fn said_by(from: &Caller, vote: GroupVote) -> Result<(), Refused> {
    if vote.leader_id.node_id == number_of(from.incarnation) {
        return Ok(());
    }
    Err(Refused::Invalid(format!(
        "a message of {:016x}, said by {}",
        vote.leader_id.node_id, from.incarnation
    )))
}
