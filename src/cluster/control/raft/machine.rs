//! The control state as the group drives it: entries applied in order, snapshots written and
//! installed, and the state as everybody else on this node sees it.
//!
//! Key: `raft/snapshot`, a message of `proto/control.proto`. The state between snapshots is in
//! memory only; a start applies the committed entries after the snapshot again.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::Arc;

use arc_swap::ArcSwap;
use openraft::storage::RaftStateMachine;
use openraft::{AnyError, EntryPayload, RaftSnapshotBuilder, Snapshot, StorageIOError};
use parking_lot::Mutex;
use prost::Message;
use tokio::sync::watch;

use super::log_store::{PURGED_KEY, VOTE_KEY, write};
use super::types::{
    GroupEntry, GroupLogId, GroupMembership, GroupMeta, GroupNode, GroupStored, GroupVote, Reply,
    StorageError, Types, number_of,
};
use super::wire::{decode, messages as pb};
use crate::cluster::control::command::{Command, Outcome};
use crate::cluster::control::local::LocalControl;
use crate::cluster::control::state::ControlState;
use crate::cluster::control::{Control, ControlError, WireError};
use crate::model::Incarnation;
use crate::store::{Batch, Durability, Engine, Space};

const SNAPSHOT_KEY: &[u8] = b"raft/snapshot";

/// The largest snapshot that is taken from a leader: some ten times what a thousand nodes need.
pub(super) const SNAPSHOT_BYTES_MAX: usize = 256 << 20;

/// What this node shows of the group's state.
pub(super) struct Published {
    state: ArcSwap<ControlState>,
    applied: watch::Sender<u64>,
    failure: Mutex<Option<String>>,
}

impl Published {
    pub(super) fn state(&self) -> Arc<ControlState> {
        self.state.load_full()
    }

    pub(super) fn changed(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    /// Why nothing can be applied any more.
    pub(super) fn failure(&self) -> Option<String> {
        self.failure.lock().clone()
    }

    fn show(&self, state: Arc<ControlState>) {
        let applied = state.applied;
        self.state.store(state);
        self.applied.send_replace(applied);
    }
}

/// Snapshots on disk; a builder that is late never replaces a newer one.
struct Snapshots {
    engine: Arc<dyn Engine>,
    /// Held while one is written.
    newest: tokio::sync::Mutex<Option<GroupLogId>>,
}

impl Snapshots {
    fn read(&self) -> Result<Option<(GroupMeta, Vec<u8>)>, ControlError> {
        let Some(bytes) = self.engine.get(Space::Control, SNAPSHOT_KEY)? else {
            return Ok(None);
        };
        let unreadable = |error| ControlError::Unreadable { index: 0, error };
        let snapshot: pb::Snapshot =
            decode(bytes.as_slice(), "a snapshot of the control state").map_err(unreadable)?;
        let meta = snapshot.meta.unwrap_or_default();
        let meta = meta.read().map_err(unreadable)?;
        Ok(Some((meta, snapshot.state.to_vec())))
    }

    async fn write(&self, meta: &GroupMeta, state: &[u8]) -> Result<(), AnyError> {
        let mut newest = self.newest.lock().await;
        if *newest > meta.last_log_id {
            return Ok(());
        }
        let mut batch = Batch::new();
        put_snapshot(&mut batch, meta, state);
        write(&self.engine, batch, Durability::Synced).await?;
        *newest = meta.last_log_id;
        Ok(())
    }
}

fn put_snapshot(batch: &mut Batch, meta: &GroupMeta, state: &[u8]) {
    let snapshot = pb::Snapshot {
        meta: Some(meta.into()),
        state: bytes::Bytes::copy_from_slice(state),
    };
    batch.put(Space::Control, SNAPSHOT_KEY, &snapshot.encode_to_vec());
}

/// What entries are applied to.
pub(super) struct Machine {
    snapshots: Arc<Snapshots>,
    published: Arc<Published>,
    state: Arc<ControlState>,
    applied: Option<GroupLogId>,
    membership: GroupStored,
}

impl Machine {
    /// The state of the last snapshot.
    pub(super) fn open(engine: Arc<dyn Engine>) -> Result<(Self, Arc<Published>), ControlError> {
        let mut snapshots = Snapshots {
            engine,
            newest: tokio::sync::Mutex::default(),
        };
        let (meta, state) = match snapshots.read()? {
            None => (GroupMeta::default(), ControlState::default()),
            Some((meta, bytes)) => {
                let state = ControlState::decode(&bytes)
                    .map_err(|error| ControlError::Unreadable { index: 0, error })?;
                (meta, state)
            }
        };
        *snapshots.newest.get_mut() = meta.last_log_id;
        let state = Arc::new(state);
        let published = Arc::new(Published {
            applied: watch::Sender::new(state.applied),
            state: ArcSwap::new(Arc::clone(&state)),
            failure: Mutex::new(None),
        });
        let machine = Self {
            snapshots: Arc::new(snapshots),
            published: Arc::clone(&published),
            state,
            applied: meta.last_log_id,
            membership: meta.last_membership,
        };
        Ok((machine, published))
    }

    /// Who was in the group at the last snapshot, and where.
    pub(super) fn members(&self) -> BTreeMap<Incarnation, Vec<String>> {
        let nodes = self.membership.nodes();
        let places = nodes.map(|(_, node)| (node.incarnation, node.addresses.clone()));
        let said = self.state.members.iter();
        let said = said.map(|(incarnation, member)| (*incarnation, member.addresses.clone()));
        places.chain(said).collect()
    }

    /// The first entry that has not been applied.
    pub(super) fn next_index(&self) -> u64 {
        self.applied
            .map_or(0, |applied| applied.index.saturating_add(1))
    }

    /// The last entry that has been applied.
    pub(super) const fn last(&self) -> Option<GroupLogId> {
        self.applied
    }

    pub(super) fn membership(&self) -> &GroupMembership {
        self.membership.membership()
    }

    pub(super) fn state(&self) -> Arc<ControlState> {
        Arc::clone(&self.state)
    }

    /// Applies one entry.
    pub(super) fn take(&mut self, entry: GroupEntry) -> Result<Reply, WireError> {
        let nothing = Reply {
            applied: self.state.applied,
            outcome: Outcome::Applied,
        };
        let reply = match entry.payload {
            EntryPayload::Blank => nothing,
            EntryPayload::Normal(proposal) => self.command(entry.log_id, &proposal.0)?,
            EntryPayload::Membership(membership) => {
                self.membership = GroupStored::new(Some(entry.log_id), membership);
                nothing
            }
        };
        self.applied = Some(entry.log_id);
        Ok(reply)
    }

    fn command(&mut self, at: GroupLogId, bytes: &[u8]) -> Result<Reply, WireError> {
        let command = Command::decode(bytes)?;
        let outcome = Arc::make_mut(&mut self.state).apply(&command);
        tracing::debug!(at = %at, command = command.name(), ?outcome, "control command");
        Ok(Reply {
            applied: self.state.applied,
            outcome,
        })
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<GroupLogId>, GroupStored), StorageError> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Reply>, StorageError>
    where
        I: IntoIterator<Item = GroupEntry> + Send,
        I::IntoIter: Send,
    {
        let mut replies = Vec::new();
        for entry in entries {
            let at = entry.log_id;
            // What cannot be understood ends everything: going on without it would lead to a state
            // that nobody else has.
            let reply = self.take(entry);
            replies.push(reply.map_err(|error| {
                *self.published.failure.lock() = Some(error.to_string());
                StorageIOError::apply(at, AnyError::new(&error))
            })?);
        }
        self.published.show(Arc::clone(&self.state));
        Ok(replies)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder {
            snapshots: Arc::clone(&self.snapshots),
            state: Arc::clone(&self.state),
            applied: self.applied,
            membership: self.membership.clone(),
        }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, StorageError> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &GroupMeta,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), StorageError> {
        let failed = |error: AnyError| {
            StorageError::from(StorageIOError::read_snapshot(Some(meta.signature()), error))
        };
        let bytes = snapshot.into_inner();
        let state = ControlState::decode(&bytes).map_err(|error| {
            *self.published.failure.lock() = Some(error.to_string());
            failed(AnyError::new(&error))
        })?;
        let written = self.snapshots.write(meta, &bytes).await;
        written.map_err(|error| StorageIOError::write_snapshot(Some(meta.signature()), error))?;
        self.state = Arc::new(state);
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        tracing::info!(
            applied = self.state.applied,
            "a snapshot of the control state is installed"
        );
        self.published.show(Arc::clone(&self.state));
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Types>>, StorageError> {
        let read = self.snapshots.read();
        let read =
            read.map_err(|error| StorageIOError::read_snapshot(None, AnyError::error(error)))?;
        Ok(read.map(|(meta, state)| snapshot_of(meta, state)))
    }
}

fn snapshot_of(meta: GroupMeta, state: Vec<u8>) -> Snapshot<Types> {
    Snapshot {
        meta,
        snapshot: Box::new(Cursor::new(state)),
    }
}

/// Writes a snapshot of the state as it was when the builder was made.
pub(super) struct Builder {
    snapshots: Arc<Snapshots>,
    state: Arc<ControlState>,
    applied: Option<GroupLogId>,
    membership: GroupStored,
}

impl RaftSnapshotBuilder<Types> for Builder {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Types>, StorageError> {
        let meta = GroupMeta {
            last_log_id: self.applied,
            last_membership: self.membership.clone(),
            snapshot_id: self.applied.map_or_else(String::new, |id| id.to_string()),
        };
        let state = self.state.encode();
        let written = self.snapshots.write(&meta, &state).await;
        written.map_err(|error| StorageIOError::write_snapshot(Some(meta.signature()), error))?;
        Ok(snapshot_of(meta, state))
    }
}

/// Takes over what a cluster of one kept by itself ([`LocalControl`]): its state becomes the
/// snapshot of a group of one, at the index of its last command. Nothing happens when there is
/// none.
pub(super) fn adopt(
    engine: &Arc<dyn Engine>,
    incarnation: Incarnation,
    addresses: &[String],
) -> Result<(), ControlError> {
    let local = LocalControl::read(Arc::clone(engine))?;
    let state = local.state();
    if state.cluster.is_none() {
        return Ok(());
    }
    let me = number_of(incarnation);
    let node = GroupNode {
        incarnation,
        addresses: addresses.to_vec(),
    };
    let vote = GroupVote::new(1, me);
    let last = GroupLogId::new(vote.leader_id, state.applied);
    let membership = GroupMembership::new(vec![[me].into()], BTreeMap::from([(me, node)]));
    let meta = GroupMeta {
        last_log_id: Some(last),
        last_membership: GroupStored::new(Some(last), membership),
        snapshot_id: last.to_string(),
    };
    let mut batch = Batch::new();
    put_snapshot(&mut batch, &meta, &state.encode());
    batch.put(
        Space::Control,
        VOTE_KEY,
        &pb::Vote::from(vote).encode_to_vec(),
    );
    batch.put(
        Space::Control,
        PURGED_KEY,
        &pb::LogId::from(last).encode_to_vec(),
    );
    local.forget(&mut batch)?;
    engine.write(batch, Durability::Synced)?;
    tracing::info!(
        applied = state.applied,
        "the control log of this single node is a group's log from now on"
    );
    Ok(())
}
