//! Metrics of the cluster layer.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::model::BlockEntry;

/// How a seal ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SealResult {
    /// A block entered the catalog.
    Sealed,
    /// Nothing was left that no block holds.
    Nothing,
    /// It will be tried again.
    Failed,
}

impl EncodeLabelValue for SealResult {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        let text = match self {
            Self::Sealed => "sealed",
            Self::Nothing => "nothing",
            Self::Failed => "failed",
        };
        text.encode(encoder)
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct ResultLabel {
    result: SealResult,
}

/// The metrics; clones are the same ones.
#[derive(Clone, Debug)]
pub struct ClusterMetrics {
    seals: Family<ResultLabel, Counter>,
    duration: Histogram,
    due: Gauge,
    samples: Counter,
    bytes: Counter,
    possible_loss: Gauge<f64, AtomicU64>,
}

impl ClusterMetrics {
    /// The metrics, at zero, in a registry.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            seals: Family::default(),
            duration: Histogram::new(exponential_buckets(0.01, 4.0, 8)),
            due: Gauge::default(),
            samples: Counter::default(),
            bytes: Counter::default(),
            possible_loss: Gauge::default(),
        };
        for result in [SealResult::Sealed, SealResult::Nothing, SealResult::Failed] {
            drop(metrics.seals.get_or_create(&ResultLabel { result }));
        }
        registry.register(
            "cairn_seals",
            "Seals of one window of one partition, by how they ended",
            metrics.seals.clone(),
        );
        registry.register(
            "cairn_possible_loss_seconds",
            "Samples acknowledged within so long before the last stop may have been lost by this node, because the machine stopped while log.sync did not wait for the disk; 0: none",
            metrics.possible_loss.clone(),
        );
        registry.register(
            "cairn_seal_duration_seconds",
            "How long one seal took, from cut to given-up memory",
            metrics.duration.clone(),
        );
        registry.register(
            "cairn_seals_due",
            "Ranges that were due in the last pass",
            metrics.due.clone(),
        );
        registry.register(
            "cairn_sealed_samples",
            "Samples that were sealed into blocks",
            metrics.samples.clone(),
        );
        registry.register(
            "cairn_sealed_bytes",
            "Bytes of the blocks that were sealed",
            metrics.bytes.clone(),
        );
        metrics
    }

    /// How much of what was acknowledged this start may have lost.
    pub(super) fn possible_loss(&self, loss: Duration) {
        self.possible_loss.set(loss.as_secs_f64());
    }

    pub(super) fn sealed(&self, result: SealResult, took: Duration) {
        self.seals.get_or_create(&ResultLabel { result }).inc();
        self.duration.observe(took.as_secs_f64());
    }

    pub(super) fn block(&self, entry: &BlockEntry) {
        self.samples.inc_by(entry.samples);
        self.bytes.inc_by(entry.size);
    }

    pub(super) fn due(&self, ranges: usize) {
        self.due.set(i64::try_from(ranges).unwrap_or(i64::MAX));
    }
}
