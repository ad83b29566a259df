//! Why a message of an append stream cannot be read. The stream ends with it.

use crate::codec;

/// What is wrong.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(in super::super) enum FrameError {
    /// It is no message of this protocol.
    #[error("the message cannot be read: {0}")]
    Message(String),
    /// A number or length in a column.
    #[error(transparent)]
    Codec(#[from] codec::Error),
    /// Something that no writer writes.
    #[error("{0} is not valid")]
    Invalid(&'static str),
    /// More than may be.
    #[error("{what} is more than {limit}")]
    TooMuch {
        /// What there is too much of.
        what: &'static str,
        /// Its bound.
        limit: usize,
    },
}
