//! Manifests: staging and fetching.

use bytes::Bytes;
use prost::Message;

use super::wire::{DataError, messages, put_arc, read, take_arc, wrong};
use crate::model::{Digest, Epoch, RingArc};

/// What a member is asked about a manifest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ManifestRequest {
    /// Fetch it from me and keep it, durably.
    Keep {
        /// Which.
        digest: Digest,
        /// Whose.
        arc: RingArc,
        /// Under which epoch.
        epoch: Epoch,
    },
    /// Bytes of it.
    Read {
        /// Which.
        digest: Digest,
        /// From where on.
        offset: u64,
        /// How many at most.
        len: u32,
    },
}

/// The answer.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ManifestAnswer {
    /// The epoch of the one who answers, where one was named.
    pub epoch: Epoch,
    /// Whether it is kept now, whole and durably.
    pub kept: bool,
    /// Bytes of the whole.
    pub size: u64,
    /// Those that were asked for.
    pub bytes: Bytes,
}

impl ManifestRequest {
    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let message = match self {
            Self::Keep { digest, arc, epoch } => messages::ManifestRequest {
                digest: Bytes::copy_from_slice(&digest.0),
                arc: Some(put_arc(*arc)),
                epoch: epoch.0,
                ..messages::ManifestRequest::default()
            },
            Self::Read {
                digest,
                offset,
                len,
            } => messages::ManifestRequest {
                digest: Bytes::copy_from_slice(&digest.0),
                offset: *offset,
                len: *len,
                ..messages::ManifestRequest::default()
            },
        };
        Bytes::from(message.encode_to_vec())
    }

    /// From bytes.
    ///
    /// # Errors
    /// When they are none.
    pub fn decode(body: Bytes) -> Result<Self, DataError> {
        let message: messages::ManifestRequest = read("a request for a manifest", body)?;
        let digest = <[u8; 32]>::try_from(message.digest.as_ref());
        let digest = digest.map_err(|_| wrong("a manifest's digest", "it has not 32 bytes"))?;
        let digest = Digest(digest);
        Ok(match message.arc {
            Some(arc) => Self::Keep {
                digest,
                arc: take_arc(Some(arc))?,
                epoch: Epoch(message.epoch),
            },
            None => Self::Read {
                digest,
                offset: message.offset,
                len: message.len,
            },
        })
    }
}

impl ManifestAnswer {
    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let message = messages::ManifestAnswer {
            epoch: self.epoch.0,
            kept: self.kept,
            size: self.size,
            bytes: self.bytes.clone(),
        };
        Bytes::from(message.encode_to_vec())
    }

    /// From bytes.
    ///
    /// # Errors
    /// When they are none.
    pub fn decode(body: Bytes) -> Result<Self, DataError> {
        let message: messages::ManifestAnswer = read("an answer about a manifest", body)?;
        Ok(Self {
            epoch: Epoch(message.epoch),
            kept: message.kept,
            size: message.size,
            bytes: message.bytes,
        })
    }
}
