//! Metrics of manifests.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// How a change of a manifest ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ManifestResult {
    /// The control state names the new one.
    Changed,
    /// The catalog had gone on meanwhile.
    Outdated,
    /// It will be tried again.
    Failed,
}

impl EncodeLabelValue for ManifestResult {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        let text = match self {
            Self::Changed => "changed",
            Self::Outdated => "outdated",
            Self::Failed => "failed",
        };
        text.encode(encoder)
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct ResultLabel {
    result: ManifestResult,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct PlaceLabel {
    listed_by: &'static str,
}

/// The metrics; clones are the same ones.
#[derive(Clone, Debug)]
pub struct HistoryMetrics {
    changes: Family<ResultLabel, Counter>,
    entries: Family<PlaceLabel, Gauge>,
}

impl HistoryMetrics {
    /// The metrics, at zero, in a registry.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            changes: Family::default(),
            entries: Family::default(),
        };
        for result in [
            ManifestResult::Changed,
            ManifestResult::Outdated,
            ManifestResult::Failed,
        ] {
            drop(metrics.changes.get_or_create(&ResultLabel { result }));
        }
        metrics.entries(0, 0);
        registry.register(
            "cairn_manifest_changes",
            "Changes of a partition's manifest of older blocks that this node proposed, by how they ended",
            metrics.changes.clone(),
        );
        registry.register(
            "cairn_catalog_entries",
            "Blocks of the whole ring's catalog, by what lists them: the control state, which every node holds, or a partition's manifest, which its members hold",
            metrics.entries.clone(),
        );
        metrics
    }

    pub(super) fn ended(&self, result: ManifestResult) {
        self.changes.get_or_create(&ResultLabel { result }).inc();
    }

    pub(super) fn entries(&self, of_state: usize, of_manifests: u64) {
        let of_state = i64::try_from(of_state).unwrap_or(i64::MAX);
        let of_manifests = i64::try_from(of_manifests).unwrap_or(i64::MAX);
        for (listed_by, entries) in [("state", of_state), ("manifest", of_manifests)] {
            let label = PlaceLabel { listed_by };
            self.entries.get_or_create(&label).set(entries);
        }
    }
}
