//! The command that moves entries between the state and a manifest, as bytes.

use prost::Message;

use super::command::{History, ManifestChanged};
use super::state::MOVED_MAX;
use super::wire_parts::{ArcMessage, EntryMessage, PlaceMessage, WireError};
use super::wire_parts::{damaged, read_digest, read_wide, required, wide};
use crate::model::{BlockId, Epoch, TimestampMs, Uploaded};

/// What the state knows of a manifest.
#[derive(Clone, PartialEq, Message)]
pub(super) struct HistoryMessage {
    #[prost(bytes = "vec", tag = "1")]
    digest: Vec<u8>,
    #[prost(uint32, tag = "2")]
    blocks: u32,
    #[prost(sint64, tag = "3")]
    oldest_end_ms: i64,
}

impl From<History> for HistoryMessage {
    fn from(history: History) -> Self {
        Self {
            digest: history.digest.0.to_vec(),
            blocks: history.blocks,
            oldest_end_ms: history.oldest_end.0,
        }
    }
}

impl HistoryMessage {
    pub(super) fn read(self) -> Result<History, WireError> {
        Ok(History {
            digest: read_digest(&self.digest)?,
            blocks: self.blocks,
            oldest_end: TimestampMs(self.oldest_end_ms),
        })
    }
}

/// `ManifestChanged`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ManifestChangedMessage {
    #[prost(message, optional, tag = "1")]
    arc: Option<ArcMessage>,
    #[prost(uint64, tag = "2")]
    epoch: u64,
    #[prost(bytes = "vec", optional, tag = "3")]
    base: Option<Vec<u8>>,
    #[prost(message, optional, tag = "4")]
    history: Option<HistoryMessage>,
    #[prost(message, repeated, tag = "5")]
    moved: Vec<MovedMessage>,
    #[prost(message, repeated, tag = "6")]
    back: Vec<EntryMessage>,
    #[prost(sint64, optional, tag = "7")]
    rounds_before_ms: Option<i64>,
}

/// An entry that the manifest lists from now on, and where the bucket has its block.
#[derive(Clone, PartialEq, Message)]
struct MovedMessage {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    place: Option<PlaceMessage>,
}

impl MovedMessage {
    fn of((id, uploaded): &(BlockId, Uploaded)) -> Self {
        Self {
            id: wide(id.0),
            place: PlaceMessage::of(*uploaded),
        }
    }

    fn read(self) -> Result<(BlockId, Uploaded), WireError> {
        Ok((
            BlockId(read_wide(&self.id)?),
            PlaceMessage::read(self.place)?,
        ))
    }
}

impl From<&ManifestChanged> for ManifestChangedMessage {
    fn from(changed: &ManifestChanged) -> Self {
        let before = changed.rounds_before;
        Self {
            arc: Some(changed.arc.into()),
            epoch: changed.epoch.0,
            base: changed.base.map(|digest| digest.0.to_vec()),
            history: changed.history.map(Into::into),
            moved: changed.moved.iter().map(MovedMessage::of).collect(),
            back: changed.back.iter().map(Into::into).collect(),
            rounds_before_ms: (before > TimestampMs::MIN).then_some(before.0),
        }
    }
}

impl ManifestChangedMessage {
    pub(super) fn read(self) -> Result<ManifestChanged, WireError> {
        if self.moved.len().saturating_add(self.back.len()) > MOVED_MAX {
            return Err(damaged("a change of a manifest", "too many entries"));
        }
        let moved: Result<_, _> = self.moved.into_iter().map(MovedMessage::read).collect();
        let back: Result<_, _> = self.back.into_iter().map(EntryMessage::read).collect();
        let before = self.rounds_before_ms;
        Ok(ManifestChanged {
            arc: required(self.arc, "an arc")?.read()?,
            epoch: Epoch(self.epoch),
            base: self.base.map(|bytes| read_digest(&bytes)).transpose()?,
            history: self.history.map(HistoryMessage::read).transpose()?,
            moved: moved?,
            back: back?,
            rounds_before: before.map_or(TimestampMs::MIN, TimestampMs),
        })
    }
}
