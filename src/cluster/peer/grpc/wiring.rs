//! What both sides of the wire are made of.

use std::sync::Arc;

use super::identity::Identity;
use super::metrics::PeerMetrics;
use super::tls::PeerTls;
use crate::runtime::{Chance, Clock};

/// What a [`GrpcTransport`](super::GrpcTransport) and a [`PeerServer`](super::PeerServer) of one
/// node share.
#[derive(Clone)]
pub struct PeerWiring {
    /// Who this node is.
    pub identity: Identity,
    /// Its certificates; `None`: peers talk plainly.
    pub tls: Option<PeerTls>,
    /// What is counted.
    pub metrics: PeerMetrics,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// For pauses that differ from node to node.
    pub chance: Arc<dyn Chance>,
}

impl std::fmt::Debug for PeerWiring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PeerWiring")
            .field("identity", &self.identity)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}
