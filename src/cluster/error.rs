//! Why the cluster layer cannot do something.

use std::path::PathBuf;

use super::control::{Refusal, WireError};

/// What a caller can do about it is the variant.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The control log or state cannot be understood: a newer version wrote it, or it is damaged.
    #[error("control log, entry {index}: {error}")]
    Control {
        /// Which entry; 0 for the snapshot.
        index: u64,
        /// What is wrong.
        error: WireError,
    },
    /// Entries of the control log are missing.
    #[error(
        "the control log lacks entry {index}: the data directory is damaged; restore it, or set it aside and start with an empty one"
    )]
    ControlGap {
        /// The first that is missing.
        index: u64,
    },
    /// A command was refused where nobody else could have changed the state.
    #[error("{command} was refused: {refusal}")]
    Refused {
        /// The command.
        command: &'static str,
        /// Why.
        refusal: Refusal,
    },
    /// The data directory and what is in it belong to different nodes.
    #[error(
        "{}: {problem}",
        path.display()
    )]
    Identity {
        /// The directory.
        path: PathBuf,
        /// What does not fit, and what to do.
        problem: String,
    },
    /// The control log failed before: the node must be started again.
    #[error("the control log failed before and takes no more commands: start the node again")]
    Stopped,
}
