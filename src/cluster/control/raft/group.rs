//! The control group as the rest of the node sees it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use openraft::error::{ClientWriteError, RaftError};
use openraft::{Config, ServerState, SnapshotPolicy};
use parking_lot::Mutex;
use prost::Message;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::decision;
use super::hello::{self, Greeting, To};
use super::log_store::LogStore;
use super::machine::{Machine, Published, adopt};
use super::network::{HOPS_MAX, Network, Peers, garbled};
use super::sessions::{Position, Sessions};
use super::settings::Timings;
use super::types::{GroupNode, NodeId, Proposal, Raft, Reply, number_of};
use super::wire::{decode, messages as pb};
use crate::cluster::control::command::{ClusterId, Command, Outcome, Session};
use crate::cluster::control::state::ControlState;
use crate::cluster::control::{Control, ControlError, Introduction};
use crate::cluster::peer::{Caller, Method, PeerError, Refused, Transport};
use crate::model::Incarnation;
use crate::runtime::{Chance, Clock};
use crate::store::Engine;

/// Commands between two snapshots.
const SNAPSHOT_EVERY: u64 = 256;

/// Entries that a snapshot holds and the log keeps all the same, for members that are only a
/// little behind.
const LOG_KEEPS: u64 = 256;

/// Bytes of one chunk of a snapshot.
const CHUNK_BYTES: u64 = 1 << 20;

/// Entries of one message.
const ENTRIES_MAX: u64 = 256;

/// How long a proposal waits before it looks again for a leader.
const LEADER_PAUSE: Duration = Duration::from_millis(50);

/// What a group is opened with.
pub struct GroupParts {
    /// Where log and state are kept.
    pub engine: Arc<dyn Engine>,
    /// This node.
    pub incarnation: Incarnation,
    /// This start of it ([`begin_session`](crate::cluster::begin_session)).
    pub session: Session,
    /// What it says of itself.
    pub introduction: Introduction,
    /// How it reaches others. Its services must not be reached before the group's are entered.
    pub transport: Arc<dyn Transport>,
    /// Told the cluster before anything is said in its name, and again at each start.
    pub belong: Arc<dyn Fn(ClusterId) + Send + Sync>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub chance: Arc<dyn Chance>,
    /// How many nodes keep each sample of a cluster that this node founds.
    pub replication_factor: u32,
    /// How fast the group is.
    pub timings: Timings,
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
    pub(super) cluster: watch::Sender<Option<ClusterId>>,
    pub(super) trouble: Mutex<Option<String>>,
    pub(super) sessions: Sessions,
    pub(super) replication_factor: u32,
    /// The durable position of the log of samples, as the node says it.
    log_position: AtomicU64,
    /// The highest such position that a peer remembers of this node.
    remembered_log: AtomicU64,
    belong: Arc<dyn Fn(ClusterId) + Send + Sync>,
    ended: watch::Sender<Option<String>>,
    runtime: Handle,
}

impl std::fmt::Debug for RaftControl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RaftControl({})", self.incarnation)
    }
}

/// The library's settings.
fn config(timings: &Timings) -> Result<Arc<Config>, ControlError> {
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let config = Config {
        cluster_name: "cairn".to_owned(),
        heartbeat_interval: ms(timings.heartbeat),
        election_timeout_min: ms(timings.election.0),
        election_timeout_max: ms(timings.election.1),
        install_snapshot_timeout: ms(timings.snapshot_chunk),
        max_payload_entries: ENTRIES_MAX,
        replication_lag_threshold: LOG_KEEPS,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(SNAPSHOT_EVERY),
        snapshot_max_chunk_size: CHUNK_BYTES,
        max_in_snapshot_log_to_keep: LOG_KEEPS,
        purge_batch_size: 1,
        ..Config::default()
    };
    let config = config.validate();
    config
        .map(Arc::new)
        .map_err(|error| ControlError::Group(error.to_string()))
}

/// An error of the library that ends the group on this node.
pub(super) fn fatal(error: impl std::fmt::Display) -> ControlError {
    ControlError::Group(error.to_string())
}

/// What peers remember of this node must not lie ahead of what it holds. Gives the highest position
/// of the log of samples that they remember.
fn look_back(
    mine: Position,
    answers: Vec<(To, Result<Greeting, PeerError>)>,
) -> Result<u64, ControlError> {
    let mut log = 0;
    for (_, answer) in answers {
        let greeting = match answer {
            Ok(greeting) => greeting,
            Err(PeerError::Refused {
                refused: Refused::OldSession(reason),
                ..
            }) => return Err(ControlError::OldSession(reason)),
            Err(error) => {
                tracing::debug!(%error, "a peer does not say what it remembers");
                continue;
            }
        };
        let remembered = greeting.remembered.unwrap_or_default();
        let behind = [
            ("session counter", mine.starts, remembered.starts),
            ("control log's end", mine.control, remembered.control),
        ];
        if let Some((what, mine, remembered)) = behind.into_iter().find(|(_, m, r)| m < r) {
            return Err(ControlError::RolledBack {
                what,
                mine,
                remembered,
                peer: greeting.name,
            });
        }
        log = log.max(remembered.log);
    }
    Ok(log)
}

impl RaftControl {
    /// Opens what is on disk, and takes part from then on if this node belongs to a group. The
    /// control log of a cluster of one is taken over. Inside a Tokio runtime.
    ///
    /// # Errors
    /// When something is missing, damaged or from a newer version.
    pub async fn open(parts: GroupParts) -> Result<Arc<Self>, ControlError> {
        let log = LogStore::open(Arc::clone(&parts.engine))?;
        let log = if log.is_pristine()? {
            adopt(
                &parts.engine,
                parts.incarnation,
                &parts.introduction.addresses,
            )?;
            LogStore::open(Arc::clone(&parts.engine))?
        } else {
            log
        };
        let (machine, published) = Machine::open(Arc::clone(&parts.engine))?;
        let cluster = decision::cluster(parts.engine.as_ref())?;
        let cluster = cluster.or(published.state().cluster);
        if let Some(cluster) = cluster {
            (parts.belong)(cluster);
        }
        let position = Position {
            starts: parts.session.starts,
            control: log.last_index(),
            log: 0,
        };
        let peers = Arc::new(Peers::new(
            Arc::clone(&parts.transport),
            Arc::clone(&parts.clock),
        ));
        for (incarnation, member) in &published.state().members {
            if *incarnation != parts.incarnation && !member.addresses.is_empty() {
                parts.transport.know(*incarnation, &member.addresses);
            }
        }
        let others: Vec<To> = machine
            .members()
            .chain(log.members())
            .filter(|incarnation| *incarnation != parts.incarnation)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .map(To::Node)
            .collect();
        let patience = parts.timings.heartbeat.saturating_mul(2);
        let remembered = hello::ask(&parts.transport, others, position, patience).await;
        let remembered_log = look_back(position, remembered)?;
        let network = Network {
            peers: Arc::clone(&peers),
            pause: parts.timings.heartbeat / 2,
        };
        let raft = Raft::new(
            number_of(parts.incarnation),
            config(&parts.timings)?,
            network,
            log,
            machine,
        )
        .await
        .map_err(|error| published.failure().map_or_else(|| fatal(error), fatal))?;
        Ok(Arc::new(Self {
            raft,
            published,
            peers,
            engine: parts.engine,
            incarnation: parts.incarnation,
            session: parts.session,
            introduction: parts.introduction,
            chance: parts.chance,
            timings: parts.timings,
            cluster: watch::Sender::new(cluster),
            trouble: Mutex::default(),
            sessions: Sessions::default(),
            replication_factor: parts.replication_factor,
            log_position: AtomicU64::new(0),
            remembered_log: AtomicU64::new(remembered_log),
            belong: parts.belong,
            ended: watch::Sender::new(None),
            runtime: Handle::current(),
        }))
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
        if let PeerError::Refused {
            refused: Refused::OldSession(reason),
            ..
        } = error
        {
            self.ended.send_replace(Some(reason.clone()));
            return Err(ControlError::OldSession(reason.clone()));
        }
        Ok(())
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

    /// Ends with the reason why this session must end: a later one of the same data directory is
    /// known. Otherwise never.
    pub async fn ended(&self) -> String {
        let mut ended = self.ended.subscribe();
        match ended.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
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
        (self.belong)(cluster);
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
        self.runtime.block_on(self.propose_soon(command))
    }

    fn state(&self) -> Arc<ControlState> {
        self.published.state()
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.published.changed()
    }

    fn leader(&self) -> Option<Incarnation> {
        let leader = self.raft.metrics().borrow().current_leader?;
        self.node(leader).map(|node| node.incarnation)
    }

    fn is_leader(&self) -> bool {
        self.raft.metrics().borrow().state == ServerState::Leader
    }
}
