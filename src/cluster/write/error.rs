//! Why a write is not taken, by what the sender should hear.

use crate::store;

/// A failed write. Nothing of it was acknowledged; parts of it may show all the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The same write may succeed later: 503, which senders retry.
    #[error("{reason}")]
    Unavailable {
        /// Why, and what to do about it.
        reason: String,
    },
    /// A bound of this node was reached, such as the number of series: the sender has to send less.
    #[error("{reason}")]
    Limit {
        /// Which bound, its value, and how to raise it.
        reason: String,
    },
    /// A mistake in this program; the sender may retry.
    #[error("{reason}")]
    Bug {
        /// What went wrong.
        reason: String,
    },
}

impl From<store::Error> for WriteError {
    fn from(error: store::Error) -> Self {
        let reason = error.to_string();
        match error.class() {
            store::ErrorClass::Limit => Self::Limit { reason },
            store::ErrorClass::Bug => Self::Bug { reason },
            store::ErrorClass::Unavailable
            | store::ErrorClass::Corrupt
            | store::ErrorClass::Cancelled => Self::Unavailable { reason },
        }
    }
}
