//! Why a whole request is not taken. What is refused of a request that is taken otherwise stands in
//! `partial_write.rs`.

use crate::codec::protobuf::WireError;

/// A request of which nothing more is looked at. The variants are what the sender can do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A content type or encoding that this node does not take: send another one (415).
    #[error("{0}")]
    Unsupported(String),
    /// Too large: send smaller requests (413).
    #[error("{what} is {size}, at most {limit} is allowed: {remedy}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// How large it is, with its unit; "more" when nobody counted to the end.
        size: String,
        /// The bound, with its unit.
        limit: String,
        /// What to change.
        remedy: &'static str,
    },
    /// Bytes that are no message of the kind that was announced (400).
    #[error(
        "the body is no {what}: {problem}: nothing of it can be stored; check the sender and what lies between"
    )]
    Malformed {
        /// What it should have been.
        what: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// The same request may succeed later (503).
    #[error("{0}")]
    Unavailable(String),
}

impl Error {
    /// The HTTP status.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::Unsupported(_) => 415,
            Self::TooLarge { .. } => 413,
            Self::Malformed { .. } => 400,
            Self::Unavailable(_) => 503,
        }
    }

    /// A message that cannot be read.
    pub(super) fn protobuf(what: &'static str, error: WireError) -> Self {
        Self::Malformed {
            what,
            problem: error.to_string(),
        }
    }
}
