//! Why the control log cannot take or give a command.

use super::command::Refusal;
use super::wire_parts::WireError;
use crate::cluster::peer::PeerError;
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
    /// No leader has committed it in time; it may be committed later.
    #[error(
        "{command} was not confirmed within {ms} ms ({reason}); it may have been applied: look at the state before it is repeated"
    )]
    Unconfirmed {
        /// The command.
        command: &'static str,
        /// How long it had.
        ms: u64,
        /// What is known.
        reason: String,
    },
    /// The group does not work on this node any more.
    #[error("the control group has failed on this node: {0}: start the node again")]
    Group(String),
    /// What others are or say keeps this node from going on for now; it is tried again.
    #[error("{0}")]
    Elsewhere(String),
    /// A later start of this data directory, or of a copy of it, is known: this process must exit.
    #[error("{0}")]
    OldSession(String),
    /// Peers remember more of this data directory than it holds: it was set back, and what it
    /// promised since is lost here.
    #[error(
        "this data directory is an old image: its {what} is {mine}, and {peer} remembers {remembered}; the next start sets it aside as old-..., and joins as a new node under the same name"
    )]
    RolledBack {
        /// What lies behind.
        what: &'static str,
        /// What is here.
        mine: u64,
        /// What was here.
        remembered: u64,
        /// Who knows.
        peer: String,
    },
    /// The cluster uses commands or formats that this program does not know.
    #[error(
        "the cluster uses feature level {level}, and this program ({version}) understands up to {understood}: start a version that is at least as new as the other nodes'"
    )]
    TooOld {
        /// This program.
        version: String,
        /// What is used.
        level: u32,
        /// What this program understands.
        understood: u32,
    },
    /// Another node of the group.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// The engine under it.
    #[error(transparent)]
    Store(#[from] store::Error),
}
