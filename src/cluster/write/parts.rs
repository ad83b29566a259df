//! What a writer of a cluster is made of, and what its parts share.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::runtime::Handle;

use super::gate::Gate;
use super::metrics::WriteMetrics;
use super::replica::Replica;
use super::routes::Routes;
use super::routing::RoutingTable;
use super::settings::WriteSettings;
use crate::cluster::peer::Transport;
use crate::model::Incarnation;
use crate::runtime::{Chance, Clock};

/// What a writer of a cluster is made of.
pub struct WriterParts {
    /// This node.
    pub me: Incarnation,
    /// Its own copy of the partitions that it is a member of.
    pub replica: Arc<dyn Replica>,
    /// Its gate; the same that [`super::AppendService`] has.
    pub gate: Arc<Gate>,
    /// The way to the others.
    pub transport: Arc<dyn Transport>,
    /// What drives the streams to them.
    pub runtime: Handle,
    /// Bounds.
    pub settings: WriteSettings,
    /// Metrics.
    pub metrics: WriteMetrics,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Dice.
    pub chance: Arc<dyn Chance>,
}

impl fmt::Debug for WriterParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WriterParts")
    }
}

/// What the parts of the coordinator share.
pub(super) struct Ground {
    pub(super) transport: Arc<dyn Transport>,
    pub(super) replica: Arc<dyn Replica>,
    pub(super) routes: Routes,
    pub(super) table: ArcSwap<RoutingTable>,
    pub(super) settings: WriteSettings,
    pub(super) metrics: WriteMetrics,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) chance: Arc<dyn Chance>,
}
