//! Why the cluster layer cannot do something.

use super::control::ControlError;
use super::discovery::DiscoveryError;
use super::peer::{PeerError, PeerSetupError};
use crate::model::{Digest, RingArc};
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
    /// A partition's list of older blocks is nowhere to be had.
    #[error(
        "the manifest {digest} of partition {arc} cannot be had: {reason}: bring back a node that holds the partition, or the bucket"
    )]
    NoManifest {
        /// Whose.
        arc: RingArc,
        /// Which.
        digest: Digest,
        /// Why not.
        reason: String,
    },
    /// The bucket.
    #[error(transparent)]
    Archive(#[from] archive::Error),
    /// The store.
    #[error(transparent)]
    Store(#[from] store::Error),
}
