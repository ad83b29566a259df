//! What the scrub has looked at, found and healed.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Where a copy of a block lies.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(in crate::cluster) enum Where {
    /// On this node's disk.
    Local,
    /// In the bucket.
    Bucket,
}

impl Where {
    pub(in crate::cluster) const ALL: [Self; 2] = [Self::Local, Self::Bucket];

    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Bucket => "bucket",
        }
    }
}

impl EncodeLabelValue for Where {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        self.text().encode(encoder)
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Labels {
    copy: Where,
}

/// The metrics; clones are the same ones.
#[derive(Clone, Debug, Default)]
pub(in crate::cluster) struct ScrubMetrics {
    bytes: Family<Labels, Counter>,
    found: Family<Labels, Counter>,
    healed: Family<Labels, Counter>,
    unhealed: Family<Labels, Gauge>,
    began: Family<Labels, Gauge>,
}

impl ScrubMetrics {
    /// The metrics, at zero, in a registry.
    pub(in crate::cluster) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        for copy in Where::ALL {
            for family in [&metrics.bytes, &metrics.found, &metrics.healed] {
                drop(family.get_or_create(&Labels { copy }));
            }
            for family in [&metrics.unhealed, &metrics.began] {
                drop(family.get_or_create(&Labels { copy }));
            }
        }
        let counters = [
            (
                "cairn_scrub_bytes",
                "Bytes of blocks that this node has read again to see whether they are what was written, on its disk and in the bucket",
                &metrics.bytes,
            ),
            (
                "cairn_scrub_damaged",
                "Copies of blocks that this node has found damaged or missing",
                &metrics.found,
            ),
            (
                "cairn_scrub_healed",
                "Copies of blocks that this node has replaced by good ones",
                &metrics.healed,
            ),
        ];
        for (name, help, family) in counters {
            registry.register(name, help, family.clone());
        }
        let gauges = [
            (
                "cairn_scrub_unhealed",
                "Copies of blocks that are damaged or missing and could not be replaced yet",
                &metrics.unhealed,
            ),
            (
                "cairn_scrub_round_start_timestamp_seconds",
                "When the round of the scrub began that is under way; 0: none has",
                &metrics.began,
            ),
        ];
        for (name, help, family) in gauges {
            registry.register(name, help, family.clone());
        }
        metrics
    }

    pub(super) fn read(&self, copy: Where, bytes: u64) {
        self.bytes.get_or_create(&Labels { copy }).inc_by(bytes);
    }

    pub(super) fn found(&self, copy: Where) {
        self.found.get_or_create(&Labels { copy }).inc();
    }

    pub(super) fn healed(&self, copy: Where) {
        self.healed.get_or_create(&Labels { copy }).inc();
    }

    pub(super) fn stands(&self, copy: Where, unhealed: usize, began_ms: i64) {
        let unhealed = i64::try_from(unhealed).unwrap_or(i64::MAX);
        self.unhealed.get_or_create(&Labels { copy }).set(unhealed);
        self.began
            .get_or_create(&Labels { copy })
            .set(began_ms / 1000);
    }
}
