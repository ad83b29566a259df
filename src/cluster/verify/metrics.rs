//! What verification has read and found on this node.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::model::TimestampMs;

/// The metrics; clones are the same ones.
#[derive(Clone, Debug, Default)]
pub(in crate::cluster) struct VerifyMetrics {
    bytes: Counter,
    faults: Gauge,
    ended: Gauge,
}

impl VerifyMetrics {
    /// The metrics, at zero, in a registry.
    pub(in crate::cluster) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "cairn_verify_bytes",
            "Bytes of blocks that this node has read because somebody ordered cairn verify --cluster",
            metrics.bytes.clone(),
        );
        registry.register(
            "cairn_verify_faults",
            "What was wrong on this node, or with its partitions in the bucket, when it was last verified to the end",
            metrics.faults.clone(),
        );
        registry.register(
            "cairn_verify_end_timestamp_seconds",
            "When this node was last verified to the end; 0: not since its start",
            metrics.ended.clone(),
        );
        metrics
    }

    pub(super) fn read(&self, bytes: u64) {
        self.bytes.inc_by(bytes);
    }

    pub(super) fn ended(&self, faults: u64, now: TimestampMs) {
        self.faults.set(i64::try_from(faults).unwrap_or(i64::MAX));
        self.ended.set(now.0 / 1000);
    }
}
