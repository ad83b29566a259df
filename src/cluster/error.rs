//! Why the cluster layer cannot do something.

use super::control::ControlError;
use super::discovery::DiscoveryError;
use super::peer::PeerSetupError;
use crate::store;

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
    Peer(#[from] PeerSetupError),
    /// The store.
    #[error(transparent)]
    Store(#[from] store::Error),
}
