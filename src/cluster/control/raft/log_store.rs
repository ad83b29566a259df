//! The group's log and vote in the engine's control space.
//!
//! Keys: `raft/log/` and the index (8 bytes, most significant first) hold an entry, `raft/vote` the
//! vote, `raft/purged` the id of the last entry that was removed from the front, `raft/committed`
//! the last id known to be committed; all as messages of `proto/control.proto`.
//!
//! Entries, votes and cuts are synced before they count. What is committed and what was removed
//! from the front is written in order but not waited for: when a crash of the machine loses it, the
//! node learns it again. In order means: whatever else this node makes durable because of an
//! applied command brings with it that the command is committed.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{AnyError, EntryPayload, LogState, RaftLogReader, StorageIOError};
use parking_lot::Mutex;
use prost::Message;

use super::types::{GroupEntry, GroupLogId, GroupVote, StorageError, Types};
use super::wire::{decode, messages as pb};
use crate::cluster::control::{Command, ControlError};
use crate::model::Incarnation;
use crate::runtime::on_thread;
use crate::store::{self, Batch, Durability, Engine, Pairs, Space};

const LOG_PREFIX: &[u8] = b"raft/log/";
pub(super) const VOTE_KEY: &[u8] = b"raft/vote";
pub(super) const PURGED_KEY: &[u8] = b"raft/purged";
pub(super) const COMMITTED_KEY: &[u8] = b"raft/committed";

pub(super) fn log_key(index: u64) -> Vec<u8> {
    [LOG_PREFIX, &index.to_be_bytes()].concat()
}

fn index_of(key: &[u8]) -> Option<u64> {
    let index = key.strip_prefix(LOG_PREFIX)?;
    Some(u64::from_be_bytes(index.try_into().ok()?))
}

/// Writes a batch on a thread that may wait for the disk.
pub(super) async fn write(
    engine: &Arc<dyn Engine>,
    batch: Batch,
    durability: Durability,
) -> Result<(), AnyError> {
    let engine = Arc::clone(engine);
    let written = on_thread(move || engine.write(batch, durability)).await;
    match written {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(AnyError::new(&error)),
        Err(error) => Err(AnyError::new(&error)),
    }
}

/// The log; clones are the same one.
#[derive(Clone)]
pub(super) struct LogStore {
    engine: Arc<dyn Engine>,
    ends: Arc<Mutex<Ends>>,
    /// Who was in the group by what the log held when it was opened, and where they were.
    members: Arc<BTreeMap<Incarnation, Vec<String>>>,
}

#[derive(Clone, Copy, Default)]
struct Ends {
    /// The last that was removed from the front.
    purged: Option<GroupLogId>,
    /// The last that is there, or else `purged`.
    last: Option<GroupLogId>,
}

impl LogStore {
    /// Reads where the log begins and ends, and that nothing is missing between.
    pub(super) fn open(engine: Arc<dyn Engine>) -> Result<Self, ControlError> {
        let mut ends = Ends::default();
        if let Some(bytes) = engine.get(Space::Control, PURGED_KEY)? {
            let purged = decode::<pb::LogId>(bytes.as_slice(), "a log id")
                .map_err(|error| ControlError::Unreadable { index: 0, error })?;
            ends.purged = Some(purged.into());
            ends.last = ends.purged;
        }
        let mut log = Self {
            engine,
            ends: Arc::new(Mutex::new(ends)),
            members: Arc::default(),
        };
        let mut next = next_index(ends.purged);
        loop {
            let pairs = log.scan_from(next)?;
            if pairs.is_empty() {
                return Ok(log);
            }
            for (key, value) in pairs {
                if index_of(&key) != Some(next) {
                    return Err(ControlError::Gap { index: next });
                }
                let entry = read_entry(&value)
                    .map_err(|error| ControlError::Unreadable { index: next, error })?;
                log.ends.lock().last = Some(entry.log_id);
                note_places(Arc::make_mut(&mut log.members), entry);
                next = next.saturating_add(1);
            }
        }
    }

    /// Who was in the group when the log was opened and where, as far as the log says it.
    pub(super) fn members(&self) -> &BTreeMap<Incarnation, Vec<String>> {
        &self.members
    }

    /// Whether there has ever been anything in it.
    pub(super) fn is_pristine(&self) -> Result<bool, store::Error> {
        let vote = self.engine.get(Space::Control, VOTE_KEY)?;
        Ok(vote.is_none() && self.ends.lock().last.is_none())
    }

    /// The index of the last entry.
    pub(super) fn last_index(&self) -> u64 {
        self.ends.lock().last.map_or(0, |last| last.index)
    }

    /// One batch of entries from an index on.
    fn scan_from(&self, index: u64) -> Result<Pairs, store::Error> {
        let before = index.checked_sub(1).map(log_key);
        self.engine
            .scan(Space::Control, LOG_PREFIX, before.as_deref())
    }

    /// Entries of `[start, end)`, as far as one batch reaches.
    pub(super) fn some(&self, start: u64, end: u64) -> Result<Vec<GroupEntry>, AnyError> {
        let pairs = self
            .scan_from(start)
            .map_err(|error| AnyError::new(&error))?;
        let wanted = pairs
            .iter()
            .take_while(|(key, _)| index_of(key).is_some_and(|index| index < end));
        let read = wanted.map(|(_, value)| read_entry(value));
        let entries: Result<Vec<_>, _> = read.collect();
        entries.map_err(|error| AnyError::new(&error))
    }
}

/// Where an entry says that nodes are: who is in the group, and who has started. It need not be
/// committed for that.
fn note_places(members: &mut BTreeMap<Incarnation, Vec<String>>, entry: GroupEntry) {
    match entry.payload {
        EntryPayload::Membership(membership) => {
            for (_, node) in membership.nodes() {
                let places = members.entry(node.incarnation).or_default();
                if places.is_empty() {
                    places.clone_from(&node.addresses);
                }
            }
        }
        EntryPayload::Normal(proposal) => {
            if let Ok(Command::NodeUp(node)) = Command::decode(&proposal.0) {
                members.insert(node.incarnation, node.addresses);
            }
        }
        EntryPayload::Blank => {}
    }
}

fn next_index(id: Option<GroupLogId>) -> u64 {
    id.map_or(0, |id| id.index.saturating_add(1))
}

fn read_entry(bytes: &[u8]) -> Result<GroupEntry, crate::cluster::control::WireError> {
    decode::<pb::Entry>(bytes, "an entry of the control log")?.read()
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: RB,
    ) -> Result<Vec<GroupEntry>, StorageError> {
        let mut next = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        let mut entries: Vec<GroupEntry> = Vec::new();
        while next < end {
            let mut more = self.some(next, end).map_err(StorageIOError::read_logs)?;
            let Some(last) = more.last() else {
                break;
            };
            next = last.log_id.index.saturating_add(1);
            entries.append(&mut more);
        }
        Ok(entries)
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<GroupEntry>, StorageError> {
        Ok(self.some(start, end).map_err(StorageIOError::read_logs)?)
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, StorageError> {
        let ends = *self.ends.lock();
        Ok(LogState {
            last_purged_log_id: ends.purged,
            last_log_id: ends.last,
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &GroupVote) -> Result<(), StorageError> {
        let mut batch = Batch::new();
        let bytes = pb::Vote::from(*vote).encode_to_vec();
        batch.put(Space::Control, VOTE_KEY, &bytes);
        write(&self.engine, batch, Durability::Synced)
            .await
            .map_err(StorageIOError::write_vote)?;
        Ok(())
    }

    async fn read_vote(&mut self) -> Result<Option<GroupVote>, StorageError> {
        let failed = |error: AnyError| StorageError::from(StorageIOError::read_vote(error));
        let bytes = self.engine.get(Space::Control, VOTE_KEY);
        let Some(bytes) = bytes.map_err(|error| failed(AnyError::new(&error)))? else {
            return Ok(None);
        };
        let vote = decode::<pb::Vote>(bytes.as_slice(), "a vote");
        let vote = vote.map_err(|error| failed(AnyError::new(&error)))?;
        Ok(Some(vote.into()))
    }

    async fn save_committed(&mut self, committed: Option<GroupLogId>) -> Result<(), StorageError> {
        let Some(committed) = committed else {
            return Ok(());
        };
        let mut batch = Batch::new();
        let bytes = pb::LogId::from(committed).encode_to_vec();
        batch.put(Space::Control, COMMITTED_KEY, &bytes);
        write(&self.engine, batch, Durability::Buffered)
            .await
            .map_err(StorageIOError::write)?;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<GroupLogId>, StorageError> {
        let failed = |error: AnyError| StorageError::from(StorageIOError::read(error));
        let bytes = self.engine.get(Space::Control, COMMITTED_KEY);
        let Some(bytes) = bytes.map_err(|error| failed(AnyError::new(&error)))? else {
            return Ok(None);
        };
        let id = decode::<pb::LogId>(bytes.as_slice(), "a log id");
        let id: GroupLogId = id.map_err(|error| failed(AnyError::new(&error)))?.into();
        // Never beyond what is there: a log that was cut by an operator is read as far as it goes.
        Ok((Some(id) <= self.ends.lock().last).then_some(id))
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: LogFlushed<Types>,
    ) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = GroupEntry> + Send,
        I::IntoIter: Send,
    {
        let mut batch = Batch::new();
        let mut last = None;
        for entry in entries {
            let bytes = pb::Entry::from(&entry).encode_to_vec();
            batch.put(Space::Control, &log_key(entry.log_id.index), &bytes);
            last = Some(entry.log_id);
        }
        write(&self.engine, batch, Durability::Synced)
            .await
            .map_err(StorageIOError::write_logs)?;
        if last.is_some() {
            self.ends.lock().last = last;
        }
        callback.log_io_completed(Ok(()));
        Ok(())
    }

    async fn truncate(&mut self, since: GroupLogId) -> Result<(), StorageError> {
        let ends = *self.ends.lock();
        let mut batch = Batch::new();
        for index in since.index..next_index(ends.last) {
            batch.delete(Space::Control, &log_key(index));
        }
        write(&self.engine, batch, Durability::Synced)
            .await
            .map_err(StorageIOError::write_logs)?;
        let before = match since.index.checked_sub(1) {
            None => None,
            Some(before) if ends.purged.is_some_and(|purged| purged.index >= before) => ends.purged,
            Some(before) => {
                let entries = self.some(before, since.index);
                let entries = entries.map_err(StorageIOError::read_logs)?;
                entries.first().map(|entry| entry.log_id)
            }
        };
        self.ends.lock().last = before;
        Ok(())
    }

    async fn purge(&mut self, upto: GroupLogId) -> Result<(), StorageError> {
        let ends = *self.ends.lock();
        let mut batch = Batch::new();
        let bytes = pb::LogId::from(upto).encode_to_vec();
        batch.put(Space::Control, PURGED_KEY, &bytes);
        let end = next_index(ends.last).min(upto.index.saturating_add(1));
        for index in next_index(ends.purged)..end {
            batch.delete(Space::Control, &log_key(index));
        }
        write(&self.engine, batch, Durability::Buffered)
            .await
            .map_err(StorageIOError::write_logs)?;
        let mut ends = self.ends.lock();
        ends.purged = Some(upto);
        ends.last = ends.last.max(Some(upto));
        Ok(())
    }
}

impl std::fmt::Debug for LogStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LogStore({})", self.last_index())
    }
}
