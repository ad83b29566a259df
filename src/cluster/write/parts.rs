//! What the parts of the coordinator share.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::metrics::WriteMetrics;
use super::replica::Replica;
use super::routes::Routes;
use super::routing::RoutingTable;
use super::settings::WriteSettings;
use crate::cluster::peer::Transport;
use crate::runtime::{Chance, Clock};

/// What everything stands on.
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
