//! What the wire counts: calls of both sides, bytes, connections, strangers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::reason::Reason;
use crate::cluster::peer::{Method, PeerError, Refused};
use crate::runtime::Clock;

/// Which side of a call this node is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Side {
    /// It asks.
    Asked,
    /// It answers.
    Answered,
}

/// How a call ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Ending {
    Done,
    Refused,
    Unreachable,
    TimedOut,
    Garbled,
    /// Whoever asked went away.
    CalledOff,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Name(Method);

macro_rules! labels {
    ($type:ty, $value:ident => $text:expr) => {
        impl EncodeLabelValue for $type {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
                let $value = self;
                $text.encode(encoder)
            }
        }
    };
}

labels!(Name, name => name.0.name());
labels!(Side, side => match side {
    Side::Asked => "asked",
    Side::Answered => "answered",
});
labels!(Ending, ending => match ending {
    Ending::Done => "done",
    Ending::Refused => "refused",
    Ending::Unreachable => "unreachable",
    Ending::TimedOut => "timed_out",
    Ending::Garbled => "garbled",
    Ending::CalledOff => "called_off",
});

impl Ending {
    pub(super) const fn of<T>(result: &Result<T, PeerError>) -> Self {
        match result {
            Ok(_) => Self::Done,
            Err(PeerError::Refused { .. }) => Self::Refused,
            Err(PeerError::Unreachable { .. }) => Self::Unreachable,
            Err(PeerError::TimedOut { .. }) => Self::TimedOut,
            Err(PeerError::Garbled { .. }) => Self::Garbled,
        }
    }

    pub(super) const fn of_answer<T>(result: &Result<T, Refused>) -> Self {
        match result {
            Ok(_) => Self::Done,
            Err(_) => Self::Refused,
        }
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct RequestLabels {
    method: Name,
    side: Side,
    outcome: Ending,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct MethodLabels {
    method: Name,
    side: Side,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct MethodLabel {
    method: Name,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct SideLabel {
    side: Side,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct ReasonLabel {
    reason: Reason,
}

/// The metrics; clones are the same ones.
#[derive(Clone, Debug)]
pub struct PeerMetrics {
    requests: Family<RequestLabels, Counter>,
    seconds: Family<MethodLabels, Histogram, fn() -> Histogram>,
    received: Family<MethodLabel, Counter>,
    sent: Family<MethodLabel, Counter>,
    refused: Family<ReasonLabel, Counter>,
    connections: Family<SideLabel, Gauge>,
}

impl Default for PeerMetrics {
    fn default() -> Self {
        // 0.5 ms to 8 s.
        let buckets: fn() -> Histogram = || Histogram::new(exponential_buckets(0.0005, 4.0, 8));
        Self {
            requests: Family::default(),
            seconds: Family::new_with_constructor(buckets),
            received: Family::default(),
            sent: Family::default(),
            refused: Family::default(),
            connections: Family::default(),
        }
    }
}

impl PeerMetrics {
    /// The metrics, at zero, in a registry.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        for reason in Reason::ALL {
            drop(metrics.refused.get_or_create(&ReasonLabel { reason }));
        }
        for side in [Side::Asked, Side::Answered] {
            drop(metrics.connections.get_or_create(&SideLabel { side }));
        }
        registry.register(
            "cairn_peer_requests",
            "Calls and streams between this node and its peers, by method, side and outcome",
            metrics.requests.clone(),
        );
        registry.register(
            "cairn_peer_request_seconds",
            "How long calls and streams with one question took",
            metrics.seconds.clone(),
        );
        registry.register(
            "cairn_peer_received_bytes",
            "Bodies of messages that came from peers, by method",
            metrics.received.clone(),
        );
        registry.register(
            "cairn_peer_sent_bytes",
            "Bodies of messages that went to peers, by method",
            metrics.sent.clone(),
        );
        registry.register(
            "cairn_peer_refused",
            "Whoever was refused on the peer port before anything was answered, by reason",
            metrics.refused.clone(),
        );
        registry.register(
            "cairn_peer_connections",
            "Connections to peers (asked) and from them (answered) that are open",
            metrics.connections.clone(),
        );
        metrics
    }

    pub(super) fn refused(&self, reason: Reason) {
        self.refused.get_or_create(&ReasonLabel { reason }).inc();
    }

    #[cfg(test)]
    pub(super) fn refused_so_far(&self, reason: Reason) -> u64 {
        self.refused.get_or_create(&ReasonLabel { reason }).get()
    }

    /// How many calls of a method have ended so.
    #[cfg(test)]
    pub(super) fn requests_so_far(&self, method: Method, side: Side, outcome: Ending) -> u64 {
        let labels = RequestLabels {
            method: Name(method),
            side,
            outcome,
        };
        self.requests.get_or_create(&labels).get()
    }

    #[cfg(test)]
    pub(super) fn connections_now(&self, side: Side) -> i64 {
        self.connections.get_or_create(&SideLabel { side }).get()
    }

    /// A connection is open as long as this lives.
    pub(super) fn connected(&self, side: Side) -> Open {
        let gauge = self.connections.get_or_create(&SideLabel { side }).clone();
        gauge.inc();
        Open(gauge)
    }

    /// A call begins.
    pub(super) fn begin(&self, method: Method, side: Side, clock: &Arc<dyn Clock>) -> Underway {
        let label = MethodLabel {
            method: Name(method),
        };
        Underway {
            metrics: self.clone(),
            method,
            side,
            bytes_in: self.received.get_or_create(&label).clone(),
            bytes_out: self.sent.get_or_create(&label).clone(),
            clock: Arc::clone(clock),
            began: clock.elapsed(),
            is_timed: true,
            ending: Ending::CalledOff,
        }
    }
}

/// An open connection.
pub(super) struct Open(Gauge);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A call on its way; counted when it is dropped.
pub(super) struct Underway {
    metrics: PeerMetrics,
    method: Method,
    side: Side,
    bytes_in: Counter,
    bytes_out: Counter,
    clock: Arc<dyn Clock>,
    began: Duration,
    is_timed: bool,
    ending: Ending,
}

impl Underway {
    pub(super) const fn method(&self) -> Method {
        self.method
    }

    pub(super) fn received(&self, bytes: usize) {
        self.bytes_in.inc_by(bytes as u64);
    }

    pub(super) fn sent(&self, bytes: usize) {
        self.bytes_out.inc_by(bytes as u64);
    }

    /// For what comes in elsewhere.
    pub(super) fn received_counter(&self) -> Counter {
        self.bytes_in.clone()
    }

    /// For what goes out elsewhere.
    pub(super) fn sent_counter(&self) -> Counter {
        self.bytes_out.clone()
    }

    /// It lives as long as the nodes do: its time says nothing.
    pub(super) const fn lives_long(&mut self) {
        self.is_timed = false;
    }

    pub(super) const fn ended(&mut self, ending: Ending) {
        self.ending = ending;
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        let method = Name(self.method);
        let side = self.side;
        let requests = &self.metrics.requests;
        let outcome = self.ending;
        requests
            .get_or_create(&RequestLabels {
                method,
                side,
                outcome,
            })
            .inc();
        if self.is_timed {
            let took = self.clock.elapsed().saturating_sub(self.began);
            let seconds = &self.metrics.seconds;
            seconds
                .get_or_create(&MethodLabels { method, side })
                .observe(took.as_secs_f64());
        }
    }
}
