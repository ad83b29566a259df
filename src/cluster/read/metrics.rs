//! Metrics of reads across peers.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// How the data of a partition came together.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Completion {
    /// One view was complete: all other heads were empty or equal.
    OneView,
    /// Parts of other heads were fetched and merged.
    Merged,
    /// The read was begun anew: a view was too old, a member silent, the ring another.
    Again,
    /// Too few members answered.
    Short,
}

impl EncodeLabelValue for Completion {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        let text = match self {
            Self::OneView => "one_view",
            Self::Merged => "merged",
            Self::Again => "again",
            Self::Short => "short",
        };
        text.encode(encoder)
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct CompletionLabel {
    result: Completion,
}

/// The metrics; clones are the same ones.
#[derive(Clone, Debug, Default)]
pub struct ReadMetrics {
    partitions: Family<CompletionLabel, Counter>,
    leaves: Counter,
    refined: Counter,
    samples: Counter,
    silent: Counter,
    open: Gauge,
    refused: Counter,
}

impl ReadMetrics {
    /// The metrics, at zero, in a registry.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        for result in [
            Completion::OneView,
            Completion::Merged,
            Completion::Again,
            Completion::Short,
        ] {
            drop(
                metrics
                    .partitions
                    .get_or_create(&CompletionLabel { result }),
            );
        }
        registry.register(
            "cairn_read_partitions",
            "Partitions read for queries, by how their data came together",
            metrics.partitions.clone(),
        );
        registry.register(
            "cairn_read_differing_leaves",
            "Leaves of heads that replicas held differently and that were fetched to be merged",
            metrics.leaves.clone(),
        );
        registry.register(
            "cairn_read_refined_partitions",
            "Times members were asked of a partition for sums of samples, because sums over encoded series differed",
            metrics.refined.clone(),
        );
        registry.register(
            "cairn_read_peer_samples",
            "Samples that came from peers for queries",
            metrics.samples.clone(),
        );
        registry.register(
            "cairn_read_silent_peers",
            "Times a peer did not answer a read in time and another was asked",
            metrics.silent.clone(),
        );
        registry.register(
            "cairn_read_served_open",
            "Reads of peers that are open here",
            metrics.open.clone(),
        );
        registry.register(
            "cairn_read_served_refused",
            "Reads of peers that were refused because too many were open",
            metrics.refused.clone(),
        );
        metrics
    }

    pub(super) fn partitions(&self, result: Completion, count: usize) {
        let counter = self.partitions.get_or_create(&CompletionLabel { result });
        counter.inc_by(count as u64);
    }

    pub(super) fn leaves(&self, count: usize) {
        self.leaves.inc_by(count as u64);
    }

    pub(super) fn refined(&self, count: usize) {
        self.refined.inc_by(count as u64);
    }

    pub(super) fn samples(&self, count: usize) {
        self.samples.inc_by(count as u64);
    }

    pub(super) fn silent(&self) {
        self.silent.inc();
    }

    pub(super) fn refused(&self) {
        self.refused.inc();
    }

    /// One more read is open, until the guard is dropped.
    pub(super) fn opened(&self) -> Open {
        self.open.inc();
        Open(self.open.clone())
    }
}

/// An open read.
pub(super) struct Open(Gauge);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}
