//! Metrics of a node that only looks at a bucket.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::model::TimestampMs;

/// The metrics; clones are the same ones.
#[derive(Clone, Debug, Default)]
pub struct ReadOnlyMetrics {
    read: Gauge,
    newest: Gauge,
    failures: Counter,
}

impl ReadOnlyMetrics {
    /// The metrics, at zero, in a registry.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "cairn_catalog_read_timestamp_seconds",
            "When a read-only node last read the catalog in the bucket, in seconds since 1970",
            metrics.read.clone(),
        );
        registry.register(
            "cairn_catalog_newest_timestamp_seconds",
            "The newest time that a block of the catalog in the bucket is of, on a read-only node, in seconds since 1970",
            metrics.newest.clone(),
        );
        registry.register(
            "cairn_catalog_read_failures",
            "How often a read-only node could not read the catalog in the bucket again",
            metrics.failures.clone(),
        );
        metrics
    }

    pub(super) fn read(&self, at: TimestampMs) {
        self.read.set(at.0.div_euclid(1000));
    }

    pub(super) fn newest(&self, time: Option<TimestampMs>) {
        self.newest
            .set(time.map_or(0, |time| time.0.div_euclid(1000)));
    }

    pub(super) fn failed(&self) {
        self.failures.inc();
    }
}
