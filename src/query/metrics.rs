//! What queries count of themselves.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use super::error::ErrorClass;

/// How a query ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    result: &'static str,
}

/// The counters; clones share them.
#[derive(Clone, Debug)]
pub struct QueryMetrics {
    queries: Family<Outcome, Counter>,
    duration: Histogram,
    samples: Counter,
    samples_read: Counter,
    running: Gauge,
    rested: Counter<f64, AtomicU64>,
    kept: KeptMetrics,
}

/// Of answers that are kept.
#[derive(Clone, Debug, Default)]
struct KeptMetrics {
    known: Counter,
    evaluated: Counter,
    outdated: Counter,
    evicted: Counter,
    bytes: Gauge,
    pieces: Gauge,
}

impl KeptMetrics {
    fn register(&self, registry: &mut Registry) {
        registry.register(
            "cairn_query_cache_known_steps",
            "Steps of range queries that were answered from what was kept",
            self.known.clone(),
        );
        registry.register(
            "cairn_query_cache_evaluated_steps",
            "Steps of range queries that were evaluated though answers to them may be kept",
            self.evaluated.clone(),
        );
        registry.register(
            "cairn_query_cache_outdated",
            "Pieces of kept answers that were of no use because their samples had changed",
            self.outdated.clone(),
        );
        registry.register(
            "cairn_query_cache_evicted",
            "Pieces of kept answers that had to go because memory was full",
            self.evicted.clone(),
        );
        registry.register_with_unit(
            "cairn_query_cache",
            "Memory that kept answers take",
            Unit::Bytes,
            self.bytes.clone(),
        );
        registry.register(
            "cairn_query_cache_pieces",
            "Pieces of answers that are kept",
            self.pieces.clone(),
        );
    }
}

impl Default for QueryMetrics {
    fn default() -> Self {
        Self {
            queries: Family::default(),
            duration: Histogram::new(exponential_buckets(0.001, 4.0, 9)),
            samples: Counter::default(),
            samples_read: Counter::default(),
            running: Gauge::default(),
            rested: Counter::default(),
            kept: KeptMetrics::default(),
        }
    }
}

impl QueryMetrics {
    /// Makes them known.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "cairn_query_queries",
            "PromQL queries by how they ended",
            metrics.queries.clone(),
        );
        registry.register_with_unit(
            "cairn_query_duration",
            "How long PromQL queries took",
            Unit::Seconds,
            metrics.duration.clone(),
        );
        registry.register(
            "cairn_query_samples",
            "Samples that queries looked at, once for every window they are in",
            metrics.samples.clone(),
        );
        registry.register(
            "cairn_query_samples_read",
            "Samples that queries read, once for every selector",
            metrics.samples_read.clone(),
        );
        registry.register(
            "cairn_query_running",
            "PromQL queries that run now",
            metrics.running.clone(),
        );
        registry.register_with_unit(
            "cairn_query_rested",
            "How long long queries stood back because writes wanted the processors",
            Unit::Seconds,
            metrics.rested.clone(),
        );
        metrics.kept.register(registry);
        metrics
    }

    /// So many queries run.
    pub(super) fn running(&self, count: usize) {
        self.running.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// A query has stood back for so long.
    pub(super) fn rested(&self, rested: Duration) {
        self.rested.inc_by(rested.as_secs_f64());
    }

    /// Of a query whose answer may be kept, so many steps were known.
    pub(super) fn steps(&self, known: usize, all: usize) {
        let wide = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        self.kept.known.inc_by(wide(known));
        self.kept.evaluated.inc_by(wide(all.saturating_sub(known)));
    }

    /// A piece of an answer was made from samples that are not the same any more.
    pub(super) fn outdated(&self) {
        self.kept.outdated.inc();
    }

    /// So many bytes and pieces of answers are kept; some had to go for that.
    pub(super) fn kept(&self, (bytes, pieces): (usize, usize), gone: u64) {
        let narrow = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.kept.bytes.set(narrow(bytes));
        self.kept.pieces.set(narrow(pieces));
        self.kept.evicted.inc_by(gone);
    }

    /// A query has ended well, having looked at and read so many samples.
    pub(super) fn succeeded(&self, took: Duration, touched: u64, read: u64) {
        self.samples.inc_by(touched);
        self.samples_read.inc_by(read);
        self.ended("success", took);
    }

    /// A query has failed.
    pub(super) fn failed(&self, took: Duration, class: ErrorClass) {
        let result = match class {
            ErrorClass::BadData => "bad_data",
            ErrorClass::Execution => "execution",
            ErrorClass::Cancelled => "canceled",
            ErrorClass::Timeout => "timeout",
            ErrorClass::Unavailable => "unavailable",
            ErrorClass::Internal => "internal",
        };
        self.ended(result, took);
    }

    fn ended(&self, result: &'static str, took: Duration) {
        self.duration.observe(took.as_secs_f64());
        self.queries.get_or_create(&Outcome { result }).inc();
    }
}
