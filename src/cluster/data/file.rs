//! Block files: staging and fetching.

use bytes::Bytes;
use prost::Message;

use super::wire::{
    DataError, messages, put_arc, put_range, put_wide, read, required, take_arc, take_range,
    take_wide, wrong,
};
use crate::model::{BlockEntry, BlockId, Digest, Epoch, Level, RingArc, Uploaded};

/// Fetch this block's file from me and keep it, durably.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StageRequest {
    /// The partition.
    pub arc: RingArc,
    /// Under which epoch.
    pub epoch: Epoch,
    /// The block; it is not uploaded yet.
    pub entry: BlockEntry,
    /// Cuts that need not be kept any more.
    pub release: Vec<u64>,
}

/// The answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StageAnswer {
    /// The epoch of the one who answers.
    pub epoch: Epoch,
    /// Whether the file is there now, whole and durably.
    pub staged: bool,
}

/// Bytes of a block's file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FetchRequest {
    /// Which block.
    pub id: BlockId,
    /// From where on.
    pub offset: u64,
    /// How many at most.
    pub len: u32,
}

/// The answer: none at the end of the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FetchAnswer(pub Bytes);

/// Cuts that one request can release.
const RELEASE_MAX: usize = 1024;

fn put_entry(entry: &BlockEntry) -> messages::BlockEntry {
    messages::BlockEntry {
        id: put_wide(entry.id.0),
        range: Some(put_range(entry.range)),
        level: u32::from(entry.level.0),
        round: entry.round,
        size: entry.size,
        samples: entry.samples,
        content_sum: put_wide(entry.content_sum),
        digest: Bytes::copy_from_slice(&entry.digest.0),
    }
}

fn take_entry(message: messages::BlockEntry) -> Result<BlockEntry, DataError> {
    let level = u8::try_from(message.level);
    let digest = <[u8; 32]>::try_from(message.digest.as_ref());
    Ok(BlockEntry {
        id: BlockId(take_wide(&message.id, "a block's id")?),
        range: take_range(required(message.range, "a block's range")?)?,
        level: Level(level.map_err(|_| wrong("a block's level", message.level.to_string()))?),
        round: message.round,
        size: message.size,
        samples: message.samples,
        content_sum: take_wide(&message.content_sum, "a block's content sum")?,
        digest: Digest(digest.map_err(|_| wrong("a block's digest", "it has not 32 bytes"))?),
        uploaded: Uploaded::None,
    })
}

impl StageRequest {
    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let message = messages::StageRequest {
            arc: Some(put_arc(self.arc)),
            epoch: self.epoch.0,
            entry: Some(put_entry(&self.entry)),
            release: self.release.clone(),
        };
        Bytes::from(message.encode_to_vec())
    }

    /// From bytes.
    ///
    /// # Errors
    /// When they are none.
    pub fn decode(body: Bytes) -> Result<Self, DataError> {
        let message: messages::StageRequest = read("a request to stage", body)?;
        if message.release.len() > RELEASE_MAX {
            return Err(wrong("a request to stage", "it releases too many cuts"));
        }
        Ok(Self {
            arc: take_arc(message.arc)?,
            epoch: Epoch(message.epoch),
            entry: take_entry(required(message.entry, "a block's entry")?)?,
            release: message.release,
        })
    }
}

impl StageAnswer {
    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let message = messages::StageAnswer {
            epoch: self.epoch.0,
            staged: self.staged,
        };
        Bytes::from(message.encode_to_vec())
    }

    /// From bytes.
    ///
    /// # Errors
    /// When they are none.
    pub fn decode(body: Bytes) -> Result<Self, DataError> {
        let message: messages::StageAnswer = read("the answer to staging", body)?;
        Ok(Self {
            epoch: Epoch(message.epoch),
            staged: message.staged,
        })
    }
}

impl FetchRequest {
    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let message = messages::FetchRequest {
            id: put_wide(self.id.0),
            offset: self.offset,
            len: self.len,
        };
        Bytes::from(message.encode_to_vec())
    }

    /// From bytes.
    ///
    /// # Errors
    /// When they are none.
    pub fn decode(body: Bytes) -> Result<Self, DataError> {
        let message: messages::FetchRequest = read("a request for a file", body)?;
        Ok(Self {
            id: BlockId(take_wide(&message.id, "a block's id")?),
            offset: message.offset,
            len: message.len,
        })
    }
}

impl FetchAnswer {
    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let message = messages::FetchAnswer {
            bytes: self.0.clone(),
        };
        Bytes::from(message.encode_to_vec())
    }

    /// From bytes, as the answer to a request.
    ///
    /// # Errors
    /// When they are none, or more than asked for.
    pub fn decode(body: Bytes, request: &FetchRequest) -> Result<Self, DataError> {
        let message: messages::FetchAnswer = read("bytes of a file", body)?;
        let len = message.bytes.len();
        if u32::try_from(len).is_ok_and(|len| len <= request.len) {
            return Ok(Self(message.bytes));
        }
        Err(wrong(
            "bytes of a file",
            format!("{len} of them, {} were asked for", request.len),
        ))
    }
}
