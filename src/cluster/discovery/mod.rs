//! Where other nodes may be: Consul, a list, or a name in DNS.
//!
//! Discovery only ever finds. Who is a member, and who is alive, the control group decides: that
//! a peer is no longer seen says nothing about it, and when the backend is away the last sighting
//! stays and nothing that runs stops. It also gives the one place where those who found a cluster
//! can agree on it exactly once. It knows nothing of connections to peers, identities or rings.
//!
//! Adding a backend is one file that implements [`Discovery`] and one row in [`open`].

mod allowance;
mod consul;
mod dns;
mod error;
mod fixed;
mod metrics;
mod peer;
mod settings;
mod sightings;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;

use crate::runtime::{Chance, Clock};

pub use error::DiscoveryError;
pub use metrics::{DiscoveryMetrics, Operation};
pub(super) use peer::authority;
pub use peer::{Announcement, Endpoint, Peer, PeerSaid, Sighting};
pub use settings::{
    ConsulSettings, DiscoveryKind, DiscoverySettings, DnsSettings, KindSettings, Secret,
    StaticSettings,
};

/// The most peers that are looked at: three times the largest cluster that we know how to run. An
/// answer with more is no list of ours.
const PEERS_MAX: usize = 1_000;

/// What a method of a backend gives, later.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One way to find peers.
pub trait Discovery: Send + Sync + 'static {
    /// The peers as last seen. The receiver wakes when the list becomes another one, and only
    /// then.
    fn sightings(&self) -> watch::Receiver<Sighting>;

    /// How those who found a cluster agree on it.
    fn founding(&self) -> Founding<'_>;

    /// What is wrong at the moment, in words. `None`: nothing.
    fn trouble(&self) -> Option<String>;

    /// Withdraws what was announced, as far as that is possible within a few seconds, and stops
    /// asking. For a clean stop; a node that crashes leaves that to the backend.
    fn close(&self) -> Later<'_, ()>;
}

/// How those who found a cluster agree on it exactly once.
pub enum Founding<'a> {
    /// By a record that is written once.
    Record(&'a dyn FoundingRecord),
    /// By the list itself, the same on every node, in one order. Empty: this node alone.
    List(&'a [String]),
    /// The backend cannot arbitrate: it shows who is there, to each at another moment. Whoever
    /// founds over it needs an agreement of the peers themselves.
    NoArbiter,
}

/// A record that is written once and never changes.
pub trait FoundingRecord: Send + Sync {
    /// The record, if it has been written: never an old answer.
    ///
    /// # Errors
    /// When the backend does not answer; ask again.
    fn read(&self) -> Later<'_, Result<Option<Bytes>, DiscoveryError>>;

    /// Writes `proposal` if there is no record, and gives the record: the proposal, or what
    /// another node wrote before. Whoever gets it must take exactly that.
    ///
    /// # Errors
    /// When the backend does not answer, or another node is just deciding. The proposal may have
    /// been written all the same: ask again, with the same or another proposal.
    fn decide(&self, proposal: Bytes) -> Later<'_, Result<Bytes, DiscoveryError>>;
}

/// What discovery is handed of the world.
#[derive(Clone)]
pub struct Surroundings {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub chance: Arc<dyn Chance>,
    /// What is counted.
    pub metrics: DiscoveryMetrics,
}

/// Asks once who is there, without announcing anybody: for a look from outside.
///
/// # Errors
/// When a setting cannot be used, or the backend gives no answer.
pub async fn look(
    settings: &DiscoverySettings,
    surroundings: &Surroundings,
) -> Result<Vec<Peer>, DiscoveryError> {
    match settings.main.kind {
        DiscoveryKind::None => Ok(Vec::new()),
        DiscoveryKind::Static => {
            let list = fixed::Fixed::open(&settings.fixed)?;
            Ok(list.sightings().borrow().peers.to_vec())
        }
        DiscoveryKind::Dns => dns::look(&settings.dns, surroundings).await,
        DiscoveryKind::Consul => consul::look(&settings.consul, surroundings).await,
    }
}

/// Starts what the settings say, inside a Tokio runtime.
///
/// # Errors
/// When a setting cannot be used. A backend that is away is no error.
pub fn open(
    settings: &DiscoverySettings,
    announcement: &Announcement,
    surroundings: &Surroundings,
) -> Result<Box<dyn Discovery>, DiscoveryError> {
    Ok(match settings.main.kind {
        DiscoveryKind::None => Box::new(fixed::Fixed::alone()),
        DiscoveryKind::Static => {
            let list = fixed::Fixed::open(&settings.fixed)?;
            // It never changes and nobody has to answer.
            surroundings.metrics.peers(list.len());
            surroundings.metrics.up(true);
            Box::new(list)
        }
        DiscoveryKind::Dns => Box::new(dns::Dns::open(&settings.dns, surroundings)?),
        DiscoveryKind::Consul => Box::new(consul::Consul::open(
            &settings.consul,
            announcement,
            surroundings,
        )?),
    })
}
