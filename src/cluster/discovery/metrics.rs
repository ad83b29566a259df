//! What discovery counts: every request that leaves this node, and what they found.

use std::fmt;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// What a backend is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Operation {
    /// Who is there, waiting for changes.
    Watch,
    /// Whether this node is still registered.
    Registered,
    /// Registering this node.
    Register,
    /// Taking this node off the list.
    Deregister,
    /// The founding record, read.
    ReadFounding,
    /// The founding record, decided: the lock, its session, the compare-and-set.
    Found,
    /// A name, resolved.
    Resolve,
}

impl Operation {
    const ALL: [Self; 7] = [
        Self::Watch,
        Self::Registered,
        Self::Register,
        Self::Deregister,
        Self::ReadFounding,
        Self::Found,
        Self::Resolve,
    ];

    const fn label(self) -> &'static str {
        match self {
            Self::Watch => "watch",
            Self::Registered => "registered",
            Self::Register => "register",
            Self::Deregister => "deregister",
            Self::ReadFounding => "read_founding",
            Self::Found => "found",
            Self::Resolve => "resolve",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Watch => "watching for peers",
            Self::Registered => "looking up the own registration",
            Self::Register => "registering this node",
            Self::Deregister => "deregistering this node",
            Self::ReadFounding => "reading the founding record",
            Self::Found => "deciding the founding record",
            Self::Resolve => "resolving the peers' name",
        })
    }
}

impl EncodeLabelValue for Operation {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        self.label().encode(encoder)
    }
}

/// How a request ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum RequestResult {
    Answered,
    Refused,
    Away,
    /// Whoever asked has stopped waiting: the node stops.
    CalledOff,
}

impl RequestResult {
    const ALL: [Self; 4] = [Self::Answered, Self::Refused, Self::Away, Self::CalledOff];
}

impl EncodeLabelValue for RequestResult {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        match self {
            Self::Answered => "answered",
            Self::Refused => "refused",
            Self::Away => "away",
            Self::CalledOff => "called_off",
        }
        .encode(encoder)
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct RequestLabels {
    operation: Operation,
    result: RequestResult,
}

/// The metrics; clones are the same ones.
#[derive(Clone, Debug, Default)]
pub struct DiscoveryMetrics {
    requests: Family<RequestLabels, Counter>,
    peers: Gauge,
    up: Gauge,
}

impl DiscoveryMetrics {
    /// The metrics, at zero, in a registry.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        for operation in Operation::ALL {
            for result in RequestResult::ALL {
                drop(metrics.counter(operation, result));
            }
        }
        registry.register(
            "cairn_discovery_requests",
            "Requests to Consul or DNS, by what was asked and how it ended",
            metrics.requests.clone(),
        );
        registry.register(
            "cairn_discovery_peers",
            "Peers that discovery sees, this node among them",
            metrics.peers.clone(),
        );
        registry.register(
            "cairn_discovery_up",
            "Whether everything that was last asked of Consul or DNS was answered; always 1 with a list",
            metrics.up.clone(),
        );
        metrics
    }

    fn counter(&self, operation: Operation, result: RequestResult) -> Counter {
        let labels = RequestLabels { operation, result };
        self.requests.get_or_create(&labels).clone()
    }

    /// Counts a request that goes out now; how it ended is said later, or never.
    pub(super) fn request(&self, operation: Operation) -> Sent {
        Sent {
            metrics: self.clone(),
            operation,
            result: RequestResult::CalledOff,
        }
    }

    pub(super) fn peers(&self, peers: usize) {
        self.peers.set(i64::try_from(peers).unwrap_or(i64::MAX));
    }

    pub(super) fn up(&self, up: bool) {
        self.up.set(i64::from(up));
    }

    /// All requests so far.
    #[must_use]
    pub fn requests(&self) -> u64 {
        let all = Operation::ALL
            .iter()
            .flat_map(|operation| RequestResult::ALL.map(|result| (*operation, result)));
        all.map(|(operation, result)| self.counter(operation, result).get())
            .sum()
    }
}

/// A request on its way; counted when it is dropped.
pub(super) struct Sent {
    metrics: DiscoveryMetrics,
    operation: Operation,
    result: RequestResult,
}

impl Sent {
    pub(super) fn ended(mut self, result: RequestResult) {
        self.result = result;
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.metrics.counter(self.operation, self.result).inc();
    }
}
