//! Why the control log cannot take or give a command.

use super::command::Refusal;
use super::wire_parts::WireError;
use crate::store;

/// What a caller can do about it is the variant.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The log or the state cannot be understood: a newer version wrote it, or it is damaged.
    #[error("control log, entry {index}: {error}")]
    Unreadable {
        /// Which entry; 0 for the snapshot.
        index: u64,
        /// What is wrong.
        error: WireError,
    },
    /// Entries of the log are missing.
    #[error(
        "the control log lacks entry {index}: the data directory is damaged; restore it, or set it aside and start with an empty one"
    )]
    Gap {
        /// The first that is missing.
        index: u64,
    },
    /// A command was refused where only a mistake leads to that.
    #[error("{command} was refused: {refusal}")]
    Refused {
        /// The command.
        command: &'static str,
        /// Why.
        refusal: Refusal,
    },
    /// The directory's parts belong to different nodes.
    #[error("the data directory is mixed up: {0}")]
    Mixed(String),
    /// The log failed before: what was being written may or may not be in it.
    #[error("the control log has failed and takes no more commands: start the node again")]
    Stopped,
    /// The engine under it.
    #[error(transparent)]
    Store(#[from] store::Error),
}
