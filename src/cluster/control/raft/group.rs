//! The control group as the rest of the node sees it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use openraft::ServerState;
use openraft::error::{ClientWriteError, RaftError};
use parking_lot::Mutex;
use prost::Message;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::aside::note_given_up;
use super::machine::Published;
use super::metrics::ControlMetrics;
use super::network::{HOPS_MAX, Peers, garbled};
use super::sessions::{Position, Sessions};
use super::settings::{FoundingLeave, Timings};
use super::types::{GroupNode, NodeId, Proposal, Raft, Reply, number_of};
use super::wire::{decode, messages as pb};
use crate::cluster::control::command::{ClusterId, Command, Outcome, Session};
use crate::cluster::control::state::ControlState;
use crate::cluster::control::{Confirmed, Control, ControlError, Introduction};
use crate::cluster::peer::{Caller, Method, PeerError, Refused};
use crate::cluster::settings::ClusterSettings;
use crate::model::Incarnation;
use crate::runtime::{Chance, wait};
use crate::store::Engine;

/// Entries that a snapshot holds and the log keeps all the same, for members that are only a
/// little behind.
pub(super) const LOG_KEEPS: u64 = 256;

/// How long a proposal waits before it looks again for a leader.
const LEADER_PAUSE: Duration = Duration::from_millis(50);

/// Why a node must stop.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Ending {
    /// Another process runs on this data directory or on a copy of it: this one exits, and nothing
    /// else is to be done.
    #[error("{0}")]
    OldSession(String),
    /// The cluster has given this data directory up for ever: the next start sets it aside, and the
    /// node is moved in as a new one.
    #[error(
        "the cluster has given this data directory up: the next start sets it aside as old-..., and joins as a new node under the same name"
    )]
    GivenUp,
    /// The cluster does not take this start, and nothing that comes later can mend it.
    #[error("this node cannot take part in its cluster: {0}")]
    Refused(String),
}

/// The control group, of which this node is, or will be, a member.
pub struct RaftControl {
    pub(super) raft: Raft,
    pub(super) published: Arc<Published>,
    pub(super) peers: Arc<Peers>,
    pub(super) engine: Arc<dyn Engine>,
    pub(super) incarnation: Incarnation,
    pub(super) session: Session,
    pub(super) introduction: Introduction,
    pub(super) chance: Arc<dyn Chance>,
    pub(super) timings: Timings,
    pub(super) leave: Option<FoundingLeave>,
    pub(super) cluster: watch::Sender<Option<ClusterId>>,
    pub(super) trouble: Mutex<Option<String>>,
    pub(super) sessions: Sessions,
    pub(super) metrics: ControlMetrics,
    pub(super) settings: ClusterSettings,
    /// The durable position of the log of samples, as the node says it.
    pub(super) log_position: AtomicU64,
    /// The highest such position that a peer remembers of this node.
    pub(super) remembered_log: AtomicU64,
    pub(super) belong: Arc<dyn Fn(ClusterId, u64) + Send + Sync>,
    pub(super) ended: watch::Sender<Option<Ending>>,
    pub(super) duties: Mutex<Option<JoinHandle<()>>>,
    pub(super) runtime: Handle,
}

impl std::fmt::Debug for RaftControl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RaftControl({})", self.incarnation)
    }
}

/// An error of the library that ends the group on this node.
pub(super) fn fatal(error: impl std::fmt::Display) -> ControlError {
    ControlError::Group(error.to_string())
}

impl RaftControl {
    /// Ends what runs beside the group.
    pub(super) fn end_duties(&self) {
        if let Some(duties) = self.duties.lock().take() {
            duties.abort();
        }
    }

    /// Ends as a crash does.
    #[cfg(test)]
    pub(in crate::cluster) async fn abandon(&self) {
        self.end_duties();
        let _ = self.raft.shutdown().await;
    }

    /// Whether this node leads as far as it knows itself: nobody may hear it any more.
    fn believes_to_lead(&self) -> bool {
        self.raft.metrics().borrow().state == ServerState::Leader
    }

    /// The term that this node leads, if a majority has confirmed that lately.
    pub(super) fn leads_surely(&self) -> Option<u64> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        if metrics.state != ServerState::Leader {
            return None;
        }
        let alone = metrics.membership_config.voter_ids().count() <= 1;
        let lease = u128::from(metrics.millis_since_quorum_ack.unwrap_or(u64::MAX));
        let sure = alone || lease <= self.timings.election.1.as_millis();
        sure.then_some(metrics.current_term)
    }

    /// How far this node is.
    pub(super) fn position(&self) -> Position {
        let applied = self.raft.metrics().borrow().last_applied;
        Position {
            starts: self.session.starts,
            control: applied.map_or(0, |applied| applied.index),
            log: self.log_position.load(Ordering::Relaxed),
        }
    }

    /// Tells peers, with what they are told anyway, up to where the log of samples is durable.
    pub fn note_log_position(&self, position: u64) {
        self.log_position.fetch_max(position, Ordering::Relaxed);
    }

    /// The highest durable position of this node's log of samples that a peer remembered when the
    /// group was opened. A log that ends before it has lost acknowledged samples.
    #[must_use]
    pub fn remembered_log_position(&self) -> u64 {
        self.remembered_log.load(Ordering::Relaxed)
    }

    /// Looks at how a peer refused: whether this session must end.
    pub(super) fn heed(&self, error: &PeerError) -> Result<(), ControlError> {
        let PeerError::Refused { refused, .. } = error else {
            return Ok(());
        };
        let reason = match refused {
            Refused::OldSession(reason) => reason,
            Refused::GivenUp(reason) => {
                note_given_up(self.engine.as_ref())?;
                reason
            }
            _ => return Ok(()),
        };
        self.end(Ending::OldSession(reason.clone()));
        Err(ControlError::OldSession(reason.clone()))
    }

    /// Checks a caller's session against the latest that is known, for every request of a peer.
    ///
    /// # Errors
    /// When a later session is known, or the same start with another nonce: the caller must exit.
    pub fn admit(&self, caller: &Caller) -> Result<(), Refused> {
        let state = self.published.state();
        let admitted = self
            .sessions
            .admit(&state, caller.incarnation, caller.session);
        admitted.map_err(|error| Refused::OldSession(error.to_string()))
    }

    /// Ends when this session must end, with the reason; otherwise never.
    pub async fn ended(&self) -> Ending {
        let mut ended = self.ended.subscribe();
        let ending = ended.wait_for(Option::is_some).await;
        match ending.ok().and_then(|ending| ending.clone()) {
            Some(ending) => ending,
            None => std::future::pending().await,
        }
    }

    pub(super) fn end(&self, ending: Ending) {
        if ending == Ending::GivenUp
            && let Err(error) = note_given_up(self.engine.as_ref())
        {
            tracing::warn!(%error, "the next start will have to be told once more that this directory is given up");
        }
        self.ended.send_if_modified(|ended| {
            let first = ended.is_none();
            if first {
                tracing::error!(%ending, "this node must stop");
                *ended = Some(ending);
            }
            first
        });
    }

    /// This node's number.
    pub(super) fn number(&self) -> NodeId {
        number_of(self.incarnation)
    }

    /// The cluster that this node belongs to, from the moment when it knows.
    #[must_use]
    pub fn cluster(&self) -> watch::Receiver<Option<ClusterId>> {
        self.cluster.subscribe()
    }

    pub(super) fn belong(&self, cluster: ClusterId) {
        (self.belong)(cluster, self.published.state().generation);
        self.cluster.send_replace(Some(cluster));
    }

    /// What keeps this node from taking part, in words. `None`: nothing.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.published
            .failure()
            .or_else(|| self.trouble.lock().clone())
    }

    /// Who votes in the group now.
    #[must_use]
    pub fn voters(&self) -> BTreeSet<Incarnation> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let membership = metrics.membership_config.membership();
        let voters = membership.voter_ids();
        let nodes = voters.filter_map(|id| membership.get_node(&id).map(|node| node.incarnation));
        nodes.collect()
    }

    pub(super) fn node(&self, id: NodeId) -> Option<GroupNode> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let membership = metrics.membership_config.membership();
        membership.get_node(&id).cloned()
    }

    /// Proposes a command wherever the leader is, and waits until it is applied here.
    ///
    /// # Errors
    /// When no leader commits it in time; it may have been applied all the same.
    pub async fn propose_soon(&self, command: &Command) -> Result<Outcome, ControlError> {
        let bytes = command.encode();
        let patience = self.timings.patience;
        let reply = tokio::time::timeout(patience, self.replied(bytes, HOPS_MAX)).await;
        let reply = reply.map_err(|_| ControlError::Unconfirmed {
            command: command.name(),
            ms: u64::try_from(patience.as_millis()).unwrap_or(u64::MAX),
            reason: self.why_no_leader(),
        })??;
        self.applied_here(reply.applied, command.name()).await?;
        Ok(reply.outcome)
    }

    async fn applied_here(&self, applied: u64, command: &'static str) -> Result<(), ControlError> {
        let mut changed = self.published.changed();
        let here = changed.wait_for(|here| *here >= applied);
        let here = tokio::time::timeout(self.timings.patience, here).await;
        match here {
            Ok(Ok(_)) => Ok(()),
            _ => Err(ControlError::Unconfirmed {
                command,
                ms: u64::try_from(self.timings.patience.as_millis()).unwrap_or(u64::MAX),
                reason: "it was applied elsewhere, and this node lags behind".to_owned(),
            }),
        }
    }

    pub(super) fn why_no_leader(&self) -> String {
        let reason = || match self.leader() {
            None => "no leader is known: a majority of the voters must reach each other".to_owned(),
            Some(leader) => format!("{leader} leads but does not commit: it may be cut off"),
        };
        self.trouble().unwrap_or_else(reason)
    }

    /// Proposes here or at the leader, again and again while nobody has it. Whoever calls bounds
    /// the time.
    async fn replied(&self, command: Vec<u8>, hops: u32) -> Result<Reply, ControlError> {
        loop {
            if let Some(reply) = self.try_once(&command, hops).await? {
                return Ok(reply);
            }
            tokio::time::sleep(LEADER_PAUSE).await;
        }
    }

    /// `None`: certainly nobody has it, and another attempt may work.
    pub(super) async fn try_once(
        &self,
        command: &[u8],
        hops: u32,
    ) -> Result<Option<Reply>, ControlError> {
        let written = self.raft.client_write(Proposal(command.to_vec())).await;
        let leader = match written {
            Ok(written) => return Ok(Some(written.data)),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))) => {
                forward.leader_node
            }
            Err(error) => {
                let reason = self.published.failure();
                return Err(reason.map_or_else(|| fatal(error), fatal));
            }
        };
        match leader {
            Some(leader) if hops > 0 && leader.incarnation != self.incarnation => {
                self.forward(leader.incarnation, command, hops).await
            }
            _ => Ok(None),
        }
    }

    async fn forward(
        &self,
        leader: Incarnation,
        command: &[u8],
        hops: u32,
    ) -> Result<Option<Reply>, ControlError> {
        let request = pb::ProposeRequest {
            command: Bytes::copy_from_slice(command),
            hops: hops.saturating_sub(1),
        };
        let transport = self.peers.transport();
        let patience = self.timings.patience;
        let body = Bytes::from(request.encode_to_vec());
        match transport
            .call(leader, Method::Propose, body, patience)
            .await
        {
            Ok(answer) => {
                let read = decode::<pb::ProposeAnswer>(answer, "an answer to a proposal");
                let reply = read.and_then(pb::ProposeAnswer::read);
                let reply = reply.map_err(|error| garbled(leader, &error))?;
                Ok(Some(reply))
            }
            // It did not take the command.
            Err(
                PeerError::Unreachable { .. }
                | PeerError::Refused {
                    refused: Refused::Unavailable(_),
                    ..
                },
            ) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Control for RaftControl {
    /// Blocks; not for tasks of the runtime, which use [`RaftControl::propose_soon`].
    fn propose(&self, command: &Command) -> Result<Outcome, ControlError> {
        wait(&self.runtime, self.propose_soon(command))
    }

    fn state(&self) -> Arc<ControlState> {
        self.published.state()
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.published.changed()
    }

    fn leader(&self) -> Option<Incarnation> {
        if self.believes_to_lead() {
            // The library's leader never steps down by itself: left alone, it would be named for ever.
            return self.leads_surely().map(|_| self.incarnation);
        }
        let leader = self.raft.metrics().borrow().current_leader?;
        self.node(leader).map(|node| node.incarnation)
    }

    fn is_leader(&self) -> bool {
        self.leads_surely().is_some()
    }

    fn confirmed(&self) -> Option<Confirmed> {
        if !self.is_leader() {
            return None;
        }
        // The library asks a majority, and waits until what it had committed is applied here.
        let patience = self.timings.patience;
        let asked = async { tokio::time::timeout(patience, self.raft.ensure_linearizable()).await };
        wait(&self.runtime, asked).ok()?.ok()?;
        Some(Confirmed {
            state: self.published.state(),
            voters: self.voters(),
        })
    }
}
