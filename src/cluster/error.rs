//! Why the cluster layer cannot do something.

use super::control::ControlError;
use super::discovery::DiscoveryError;
use super::peer::{PeerError, PeerSetupError};
use crate::{archive, store};

/// What a caller can do about it is the variant.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The control log.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// Finding peers.
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    /// The peer port.
    #[error(transparent)]
    PeerSetup(#[from] PeerSetupError),
    /// A setting, or what a person asked for, cannot be used.
    #[error("{0}")]
    Setting(String),
    /// This node must not go on.
    #[error("{0}")]
    Ended(String),
    /// A peer.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// Too few members answer for what was wanted.
    #[error("{0}")]
    TooFew(String),
    /// The bucket.
    #[error(transparent)]
    Archive(#[from] archive::Error),
    /// The store.
    #[error(transparent)]
    Store(#[from] store::Error),
}
