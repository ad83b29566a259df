//! Metrics of replicated writes.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::majority::Said;

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

/// The metrics; clones are the same ones.
#[derive(Clone, Debug, Default)]
pub struct WriteMetrics {
    answers: Family<ResultLabel, Counter>,
    pub(super) retries: Counter,
    pub(super) sent_samples: Counter,
    pub(super) sent_requests: Counter,
    pub(super) sent_bytes: Counter,
    pub(super) sent_definitions: Counter,
    pub(super) received_samples: Counter,
    pub(super) received_bytes: Counter,
    pub(super) unreadable: Counter,
    pub(super) connects: Counter,
    pub(super) streams: Gauge,
    pub(super) hinted_bytes: Gauge,
    hints: Family<ResultLabel, Counter>,
    pub(super) waiting_bytes: Gauge,
    pub(super) routes: Gauge,
}

impl WriteMetrics {
    /// The metrics, at zero, in a registry.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        metrics.register_counters(registry);
        metrics.register_gauges(registry);
        registry.register(
            "cairn_append_answers",
            "What replicas said to the partitions of writes",
            metrics.answers.clone(),
        );
        registry.register(
            "cairn_hints",
            "Requests kept for replicas that were away, by what became of them",
            metrics.hints.clone(),
        );
        metrics
    }

    fn register_counters(&self, registry: &mut Registry) {
        let mut counter = |name: &str, help: &str, counter: &Counter| {
            registry.register(name, help, counter.clone());
        };
        counter(
            "cairn_append_retries",
            "Writes that were sent once more, because the ring changed or a connection broke",
            &self.retries,
        );
        counter(
            "cairn_append_sent_samples",
            "Samples sent to other replicas",
            &self.sent_samples,
        );
        counter(
            "cairn_append_sent_requests",
            "Requests sent to other replicas; batches that came together share one",
            &self.sent_requests,
        );
        counter(
            "cairn_append_sent_bytes",
            "Bytes of samples and definitions sent to other replicas",
            &self.sent_bytes,
        );
        counter(
            "cairn_append_sent_definition_bytes",
            "Bytes of definitions of series sent to other replicas",
            &self.sent_definitions,
        );
        counter(
            "cairn_append_received_samples",
            "Samples received from coordinators",
            &self.received_samples,
        );
        counter(
            "cairn_append_received_bytes",
            "Bytes of samples and definitions received from coordinators",
            &self.received_bytes,
        );
        counter(
            "cairn_append_unreadable",
            "Append streams that were ended because what came could not be read",
            &self.unreadable,
        );
        counter(
            "cairn_append_connects",
            "Append streams opened to peers",
            &self.connects,
        );
    }

    fn register_gauges(&self, registry: &mut Registry) {
        let mut gauge = |name: &str, help: &str, gauge: &Gauge| {
            registry.register(name, help, gauge.clone());
        };
        gauge(
            "cairn_append_streams",
            "Append streams to peers that are open now",
            &self.streams,
        );
        gauge(
            "cairn_append_waiting_bytes",
            "Bytes of samples that wait for other replicas",
            &self.waiting_bytes,
        );
        gauge(
            "cairn_append_routes",
            "Series for which this node knows where they go",
            &self.routes,
        );
        gauge(
            "cairn_hint_bytes",
            "Bytes kept for replicas that are away",
            &self.hinted_bytes,
        );
    }

    pub(super) fn said(&self, said: Said, partitions: u64) {
        let result = said.name();
        let answers = self.answers.get_or_create(&ResultLabel { result });
        answers.inc_by(partitions);
    }

    /// `queued`, `delivered` or `dropped`.
    pub(super) fn hint(&self, result: &'static str, requests: u64) {
        let hints = self.hints.get_or_create(&ResultLabel { result });
        hints.inc_by(requests);
    }
}
