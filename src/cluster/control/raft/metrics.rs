//! Metrics of the control group.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The metrics; clones are the same ones.
#[derive(Clone, Debug, Default)]
pub struct ControlMetrics {
    pub(super) leads: Gauge,
    pub(super) led: Gauge,
    pub(super) term: Gauge,
    pub(super) applied: Gauge,
    pub(super) voters: Gauge,
    pub(super) members_down: Gauge,
    pub(super) partitions: Gauge,
    pub(super) leader_changes: Counter,
}

impl ControlMetrics {
    /// The metrics, at zero, in a registry.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "cairn_control_leads",
            "Whether this node leads the control group",
            metrics.leads.clone(),
        );
        registry.register(
            "cairn_control_led",
            "Whether this node knows a leader of the control group",
            metrics.led.clone(),
        );
        registry.register(
            "cairn_control_term",
            "The control group's term, which every election raises",
            metrics.term.clone(),
        );
        registry.register(
            "cairn_control_applied",
            "Control commands that are applied on this node",
            metrics.applied.clone(),
        );
        registry.register(
            "cairn_control_voters",
            "Nodes that vote in the control group",
            metrics.voters.clone(),
        );
        registry.register(
            "cairn_control_members_down",
            "Members of the cluster that the control state calls down",
            metrics.members_down.clone(),
        );
        registry.register(
            "cairn_control_partitions",
            "Partitions of the ring; they double when there are fewer than eight replicas a node",
            metrics.partitions.clone(),
        );
        registry.register(
            "cairn_control_leader_changes",
            "How often this node saw another leader of the control group than before",
            metrics.leader_changes.clone(),
        );
        metrics
    }
}
