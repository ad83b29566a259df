//! What the server counts.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Labels of request metrics. Paths are those of the routes, so there are few.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct RequestLabels {
    path: String,
    code: u16,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct PathLabels {
    path: String,
}

type Durations = Family<PathLabels, Histogram, fn() -> Histogram>;

/// The server's metrics. Clones are one.
#[derive(Clone, Debug)]
pub struct HttpMetrics {
    requests: Family<RequestLabels, Counter>,
    seconds: Durations,
    pub(super) connections: Gauge,
}

/// A tenth of a millisecond to about half a minute, doubling every other step or so.
fn durations() -> Histogram {
    Histogram::new([
        0.000_1, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
        10.0, 30.0,
    ])
}

impl HttpMetrics {
    /// Registers them.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            requests: Family::default(),
            seconds: Family::new_with_constructor(durations),
            connections: Gauge::default(),
        };
        registry.register(
            "cairn_http_requests",
            "HTTP requests answered, by route and status code",
            metrics.requests.clone(),
        );
        registry.register_with_unit(
            "cairn_http_request_duration",
            "Time until an answer began, by route",
            Unit::Seconds,
            metrics.seconds.clone(),
        );
        registry.register(
            "cairn_http_connections",
            "Open HTTP connections",
            metrics.connections.clone(),
        );
        metrics
    }

    /// Counts an answer.
    pub(super) fn answered(&self, path: String, code: u16, took: Duration) {
        self.seconds
            .get_or_create(&PathLabels { path: path.clone() })
            .observe(took.as_secs_f64());
        self.requests
            .get_or_create(&RequestLabels { path, code })
            .inc();
    }
}
