//! What ingest counts about itself.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::partial_write::PartialWrite;
use super::series_cache::Tally;

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct RequestLabels {
    protocol: &'static str,
    code: u16,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

/// The metrics.
pub(super) struct IngestMetrics {
    requests: Family<RequestLabels, Counter>,
    body_bytes: Counter,
    seconds: Histogram,
    stored: Family<KindLabel, Counter>,
    refused: Family<ReasonLabel, Counter>,
    lookups: Family<ResultLabel, Counter>,
    cache_entries: Gauge,
    cache_bytes: Gauge,
}

impl IngestMetrics {
    /// Registers them.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let buckets = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0];
        let metrics = Self {
            requests: Family::default(),
            body_bytes: Counter::default(),
            seconds: Histogram::new(buckets),
            stored: Family::default(),
            refused: Family::default(),
            lookups: Family::default(),
            cache_entries: Gauge::default(),
            cache_bytes: Gauge::default(),
        };
        registry.register(
            "cairn_ingest_requests",
            "Writes that were answered, by protocol and status",
            metrics.requests.clone(),
        );
        registry.register_with_unit(
            "cairn_ingest_body",
            "Bodies of writes as they came, compressed",
            Unit::Bytes,
            metrics.body_bytes.clone(),
        );
        registry.register_with_unit(
            "cairn_ingest_request_duration",
            "Time from the last byte of a write to its answer, the wait for the disk included",
            Unit::Seconds,
            metrics.seconds.clone(),
        );
        registry.register(
            "cairn_ingest_stored",
            "Samples, histograms and exemplars that were acknowledged",
            metrics.stored.clone(),
        );
        // There from the first second: a rate needs a beginning.
        for kind in ["sample", "histogram", "exemplar"] {
            drop(metrics.stored.get_or_create(&KindLabel { kind }));
        }
        metrics.register_inside(registry);
        metrics
    }

    fn register_inside(&self, registry: &mut Registry) {
        let metrics = self;
        registry.register(
            "cairn_ingest_refused",
            "What was refused for good, or dropped, by reason",
            metrics.refused.clone(),
        );
        registry.register(
            "cairn_ingest_series_lookups",
            "How series of requests were found: predicted, searched, parsed, or parsed because the cache is full",
            metrics.lookups.clone(),
        );
        registry.register(
            "cairn_ingest_series_cache_entries",
            "Spellings of series that are remembered",
            metrics.cache_entries.clone(),
        );
        registry.register_with_unit(
            "cairn_ingest_series_cache",
            "Memory of the series cache",
            Unit::Bytes,
            metrics.cache_bytes.clone(),
        );
    }

    pub(super) fn request(
        &self,
        protocol: &'static str,
        code: u16,
        body_bytes: usize,
        took: Duration,
    ) {
        let labels = RequestLabels { protocol, code };
        self.requests.get_or_create(&labels).inc();
        self.body_bytes.inc_by(body_bytes as u64);
        self.seconds.observe(took.as_secs_f64());
    }

    pub(super) fn write(&self, write: &PartialWrite) {
        let stored = write.stored();
        for (kind, count) in [
            ("sample", stored.samples),
            ("histogram", stored.histograms),
            ("exemplar", stored.exemplars),
        ] {
            if count > 0 {
                self.stored.get_or_create(&KindLabel { kind }).inc_by(count);
            }
        }
        for (reason, count) in write.reasons() {
            let label = ReasonLabel { reason };
            self.refused.get_or_create(&label).inc_by(count);
        }
    }

    pub(super) fn cache(&self, tally: Tally, entries: usize, bytes: usize) {
        for (result, count) in [
            ("predicted", tally.predicted),
            ("searched", tally.searched),
            ("parsed", tally.missed),
            ("not_remembered", tally.refused),
        ] {
            if count > 0 {
                let label = ResultLabel { result };
                self.lookups.get_or_create(&label).inc_by(count);
            }
        }
        self.cache_entries
            .set(i64::try_from(entries).unwrap_or(i64::MAX));
        self.cache_bytes
            .set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}
