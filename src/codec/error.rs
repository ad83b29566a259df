//! How decoding and encoding fail. What was read is named, so that a damaged block can be too.

/// Why bytes are not what they should be, or values cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bytes end too early.
    #[error("{what} ends too early: {need} more bytes are needed; the file is damaged")]
    Truncated {
        /// What was being read.
        what: &'static str,
        /// Bytes that are missing at least.
        need: usize,
    },
    /// The checksum says that bytes have changed since they were written.
    #[error(
        "{what} has the checksum {found:08x} where {stored:08x} was written; the file is damaged: fetch it again from a peer or the bucket"
    )]
    Checksum {
        /// What was being read.
        what: &'static str,
        /// The checksum that was written.
        stored: u32,
        /// The checksum of the bytes that are there.
        found: u32,
    },
    /// An encoding that this version does not know.
    #[error("{what} has the unknown encoding {id}: it was written by a newer version; upgrade")]
    UnknownEncoding {
        /// What was being read.
        what: &'static str,
        /// The id that was found.
        id: u8,
    },
    /// A value that no writer writes.
    #[error("{what} holds the impossible value {value}; the file is damaged")]
    Invalid {
        /// What was being read.
        what: &'static str,
        /// The value that was found.
        value: u64,
    },
    /// More than a bound allows, met while encoding or while decoding.
    #[error("{what} is {value}, at most {max} are allowed; cut the data into smaller parts")]
    TooLarge {
        /// What is bounded.
        what: &'static str,
        /// What it would be.
        value: u64,
        /// The bound.
        max: u64,
    },
}

impl Error {
    pub(super) fn truncated(what: &'static str, need: usize) -> Self {
        Self::Truncated { what, need }
    }

    pub(super) fn invalid(what: &'static str, value: u64) -> Self {
        Self::Invalid { what, value }
    }

    /// `Ok` when `value` is at most `max`.
    pub(super) fn bound(what: &'static str, value: usize, max: usize) -> Result<(), Self> {
        if value <= max {
            return Ok(());
        }
        Err(Self::TooLarge {
            what,
            value: value as u64,
            max: max as u64,
        })
    }
}
