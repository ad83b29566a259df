//! Metrics of merging.

use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// How a merge ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MergeResult {
    /// One block has taken the place of several.
    Merged,
    /// Somebody else has changed the blocks meanwhile; what was made is thrown away.
    Outdated,
    /// It will be tried again.
    Failed,
}

impl EncodeLabelValue for MergeResult {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        let text = match self {
            Self::Merged => "merged",
            Self::Outdated => "outdated",
            Self::Failed => "failed",
        };
        text.encode(encoder)
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct ResultLabel {
    result: MergeResult,
}

/// The metrics; clones are the same ones.
#[derive(Clone, Debug)]
pub struct MergeMetrics {
    merges: Family<ResultLabel, Counter>,
    duration: Histogram,
    due: Gauge,
    samples: Counter,
    read: Counter,
    written: Counter,
    folded: Counter,
}

impl MergeMetrics {
    /// The metrics, at zero, in a registry.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            merges: Family::default(),
            duration: Histogram::new(exponential_buckets(0.1, 4.0, 8)),
            due: Gauge::default(),
            samples: Counter::default(),
            read: Counter::default(),
            written: Counter::default(),
            folded: Counter::default(),
        };
        for result in [
            MergeResult::Merged,
            MergeResult::Outdated,
            MergeResult::Failed,
        ] {
            drop(metrics.merges.get_or_create(&ResultLabel { result }));
        }
        registry.register(
            "cairn_merges",
            "Merges of blocks of one partition into one, done by this node, by how they ended",
            metrics.merges.clone(),
        );
        registry.register(
            "cairn_merge_duration_seconds",
            "How long one merge took, from reading to applying; merges are slowed down on purpose",
            metrics.duration.clone(),
        );
        registry.register(
            "cairn_merges_due",
            "Merges that were due in the last pass, whoever is to do them",
            metrics.due.clone(),
        );
        registry.register(
            "cairn_merged_samples",
            "Samples in blocks that this node merged from others",
            metrics.samples.clone(),
        );
        registry.register(
            "cairn_merge_read_bytes",
            "Bytes of the blocks that this node merged",
            metrics.read.clone(),
        );
        registry.register(
            "cairn_merge_written_bytes",
            "Bytes of the blocks that came out of them",
            metrics.written.clone(),
        );
        registry.register(
            "cairn_downsampled_samples",
            "Samples that went when this node downsampled their blocks: others stand for them now",
            metrics.folded.clone(),
        );
        metrics
    }

    pub(super) fn ended(&self, result: MergeResult, took: Duration) {
        self.merges.get_or_create(&ResultLabel { result }).inc();
        self.duration.observe(took.as_secs_f64());
    }

    pub(super) fn blocks(&self, read: u64, written: u64, samples: u64) {
        self.read.inc_by(read);
        self.written.inc_by(written);
        self.samples.inc_by(samples);
    }

    pub(super) fn folded(&self, samples: u64) {
        self.folded.inc_by(samples);
    }

    pub(super) fn due(&self, merges: usize) {
        self.due.set(i64::try_from(merges).unwrap_or(i64::MAX));
    }
}
