//! What commands and state have in common as bytes: arcs, ranges, catalog entries, wide numbers.

use prost::Message;

use crate::model::{BlockEntry, BlockId, Digest, Level, RingArc, TimeRange, TimestampMs, Uploaded};

/// Why bytes are no command or state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A newer program wrote this command.
    #[error(
        "control command {number} ({name}) is not known to this version: start the version that wrote it, or a newer one"
    )]
    UnknownCommand {
        /// Its field number.
        number: u32,
        /// What it is called, where the number is reserved.
        name: &'static str,
    },
    /// The state holds something that a newer program put there.
    #[error(
        "the control state uses {0}, which this version does not understand: start the version that wrote it, or a newer one"
    )]
    Newer(&'static str),
    /// Damaged.
    #[error("the bytes of {what} are damaged: {problem}")]
    Damaged {
        /// What was read.
        what: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

pub(super) fn damaged(what: &'static str, problem: impl Into<String>) -> WireError {
    WireError::Damaged {
        what,
        problem: problem.into(),
    }
}

/// An arc: its prefix, left-aligned in 32 bits, and its depth.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ArcMessage {
    #[prost(fixed32, tag = "1")]
    prefix: u32,
    #[prost(uint32, tag = "2")]
    depth: u32,
}

impl From<RingArc> for ArcMessage {
    fn from(arc: RingArc) -> Self {
        Self {
            prefix: arc.prefix(),
            depth: u32::from(arc.depth()),
        }
    }
}

impl ArcMessage {
    pub(super) fn read(self) -> Result<RingArc, WireError> {
        let depth = narrow(self.depth, "an arc's depth")?;
        RingArc::new(self.prefix, depth).ok_or_else(|| {
            damaged(
                "an arc",
                format!("prefix {:08x} at depth {depth}", self.prefix),
            )
        })
    }
}

/// A range of time, both ends in it.
#[derive(Clone, PartialEq, Message)]
pub(super) struct RangeMessage {
    #[prost(sint64, tag = "1")]
    start_ms: i64,
    #[prost(sint64, tag = "2")]
    end_ms: i64,
}

impl From<TimeRange> for RangeMessage {
    fn from(range: TimeRange) -> Self {
        Self {
            start_ms: range.start.0,
            end_ms: range.end.0,
        }
    }
}

impl RangeMessage {
    pub(super) fn read(self) -> TimeRange {
        TimeRange::new(TimestampMs(self.start_ms), TimestampMs(self.end_ms))
    }
}

/// A catalog entry.
#[derive(Clone, PartialEq, Message)]
pub(super) struct EntryMessage {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    range: Option<RangeMessage>,
    #[prost(uint32, tag = "3")]
    level: u32,
    #[prost(uint32, tag = "4")]
    round: u32,
    #[prost(uint64, tag = "5")]
    size: u64,
    #[prost(uint64, tag = "6")]
    samples: u64,
    #[prost(bytes = "vec", tag = "7")]
    content_sum: Vec<u8>,
    #[prost(bytes = "vec", tag = "8")]
    digest: Vec<u8>,
    #[prost(message, optional, tag = "9")]
    uploaded: Option<PlaceMessage>,
}

impl From<&BlockEntry> for EntryMessage {
    fn from(entry: &BlockEntry) -> Self {
        Self {
            id: wide(entry.id.0),
            range: Some(entry.range.into()),
            level: u32::from(entry.level.0),
            round: entry.round,
            size: entry.size,
            samples: entry.samples,
            content_sum: wide(entry.content_sum),
            digest: entry.digest.0.to_vec(),
            uploaded: PlaceMessage::of(entry.uploaded),
        }
    }
}

impl EntryMessage {
    pub(super) fn read(self) -> Result<BlockEntry, WireError> {
        Ok(BlockEntry {
            id: BlockId(read_wide(&self.id)?),
            range: required(self.range, "a range")?.read(),
            level: Level(narrow(self.level, "a level")?),
            round: self.round,
            size: self.size,
            samples: self.samples,
            content_sum: read_wide(&self.content_sum)?,
            digest: read_digest(&self.digest)?,
            uploaded: PlaceMessage::read(self.uploaded)?,
        })
    }
}

/// Where in the bucket a block lies: in an object of its own, or in a pack (whose digest is given).
#[derive(Clone, PartialEq, Message)]
pub(super) struct PlaceMessage {
    #[prost(bytes = "vec", optional, tag = "1")]
    pack: Option<Vec<u8>>,
    #[prost(uint64, tag = "2")]
    offset: u64,
}

impl PlaceMessage {
    pub(super) fn of(uploaded: Uploaded) -> Option<Self> {
        match uploaded {
            Uploaded::None => None,
            Uploaded::Object => Some(Self {
                pack: None,
                offset: 0,
            }),
            Uploaded::Pack { pack, offset } => Some(Self {
                pack: Some(pack.0.to_vec()),
                offset,
            }),
        }
    }

    pub(super) fn read(place: Option<Self>) -> Result<Uploaded, WireError> {
        Ok(match place {
            None => Uploaded::None,
            Some(Self { pack: None, .. }) => Uploaded::Object,
            Some(Self {
                pack: Some(pack),
                offset,
            }) => Uploaded::Pack {
                pack: read_digest(&pack)?,
                offset,
            },
        })
    }
}

/// 128 bits, big-endian.
pub(super) fn wide(bits: u128) -> Vec<u8> {
    bits.to_be_bytes().to_vec()
}

pub(super) fn read_wide(bytes: &[u8]) -> Result<u128, WireError> {
    let bytes: [u8; 16] = bytes
        .try_into()
        .map_err(|_| damaged("128 bits", format!("{} bytes instead of 16", bytes.len())))?;
    Ok(u128::from_be_bytes(bytes))
}

pub(super) fn read_digest(bytes: &[u8]) -> Result<Digest, WireError> {
    let bytes = bytes
        .try_into()
        .map_err(|_| damaged("a digest", format!("{} bytes instead of 32", bytes.len())))?;
    Ok(Digest(bytes))
}

pub(super) fn narrow(number: u32, what: &'static str) -> Result<u8, WireError> {
    u8::try_from(number).map_err(|_| damaged(what, format!("{number} (bound 255)")))
}

pub(super) fn required<T>(field: Option<T>, what: &'static str) -> Result<T, WireError> {
    field.ok_or_else(|| damaged(what, "it is missing"))
}
