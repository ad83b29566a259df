//! What the bucket is asked, and what comes of it.

use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// What the bucket is asked to do.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Traffic {
    /// Take an object, or a part of one.
    Put,
    /// Give an object, or a part of one.
    Get,
    /// Name objects.
    List,
    /// Remove objects.
    Delete,
}

impl Traffic {
    const ALL: [Self; 4] = [Self::Put, Self::Get, Self::List, Self::Delete];

    /// As it stands in messages.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
            Self::List => "list",
            Self::Delete => "delete",
        }
    }
}

impl EncodeLabelValue for Traffic {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        self.text().encode(encoder)
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Labels {
    operation: Traffic,
}

/// The metrics; clones are the same ones.
#[derive(Clone, Debug)]
pub struct ArchiveMetrics {
    requests: Family<Labels, Counter>,
    failures: Family<Labels, Counter>,
    bytes: Family<Labels, Counter>,
    duration: Histogram,
    uploaded_blocks: Counter,
    unuploaded_blocks: Gauge,
    unuploaded_bytes: Gauge,
    unuploaded_seconds: Gauge,
    failed_attempts: Counter,
    not_repeated: Counter,
    swept_objects: Counter,
    swept_bytes: Counter,
    leftover_objects: Gauge,
    foreign_objects: Gauge,
}

impl Default for ArchiveMetrics {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            failures: Family::default(),
            bytes: Family::default(),
            duration: Histogram::new(exponential_buckets(0.005, 4.0, 8)),
            uploaded_blocks: Counter::default(),
            unuploaded_blocks: Gauge::default(),
            unuploaded_bytes: Gauge::default(),
            unuploaded_seconds: Gauge::default(),
            failed_attempts: Counter::default(),
            not_repeated: Counter::default(),
            swept_objects: Counter::default(),
            swept_bytes: Counter::default(),
            leftover_objects: Gauge::default(),
            foreign_objects: Gauge::default(),
        }
    }
}

impl ArchiveMetrics {
    /// The metrics, at zero, in a registry.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        for operation in Traffic::ALL {
            for family in [&metrics.requests, &metrics.failures, &metrics.bytes] {
                drop(family.get_or_create(&Labels { operation }));
            }
        }
        let families = [
            (
                "cairn_archive_requests",
                "Requests to the bucket",
                &metrics.requests,
            ),
            (
                "cairn_archive_failures",
                "Requests to the bucket that failed, after a few repetitions each",
                &metrics.failures,
            ),
            (
                "cairn_archive_bytes",
                "Bytes of objects that went to the bucket and came from it",
                &metrics.bytes,
            ),
        ];
        for (name, help, family) in families {
            registry.register(name, help, family.clone());
        }
        registry.register(
            "cairn_archive_request_duration_seconds",
            "How long a request to the bucket took, repetitions included",
            metrics.duration.clone(),
        );
        registry.register(
            "cairn_uploaded_blocks",
            "Blocks that this node has put into the bucket",
            metrics.uploaded_blocks.clone(),
        );
        let gauges = [
            (
                "cairn_unuploaded_blocks",
                "Blocks of the cluster that the bucket does not have yet; the same on all nodes",
                &metrics.unuploaded_blocks,
            ),
            (
                "cairn_unuploaded_bytes",
                "Bytes of the cluster's blocks that the bucket does not have yet; the same on all nodes",
                &metrics.unuploaded_bytes,
            ),
            (
                "cairn_unuploaded_seconds",
                "How long the oldest of these blocks has been waiting, as far as this process knows",
                &metrics.unuploaded_seconds,
            ),
        ];
        for (name, help, gauge) in gauges {
            registry.register(name, help, gauge.clone());
        }
        metrics.register_attempts(registry);
        metrics.register_sweeper(registry);
        metrics
    }

    fn register_attempts(&self, registry: &mut Registry) {
        registry.register(
            "cairn_archive_failed_attempts",
            "Attempts of requests to S3-compatible storage that failed: each repetition is one more",
            self.failed_attempts.clone(),
        );
        registry.register(
            "cairn_archive_retries_throttled",
            "Failed attempts that were not repeated because most requests failed: the budget of repetitions was used up",
            self.not_repeated.clone(),
        );
    }

    /// An attempt has failed.
    pub(super) fn attempt_failed(&self) {
        self.failed_attempts.inc();
    }

    /// One is not repeated.
    pub(super) fn not_repeated(&self) {
        self.not_repeated.inc();
    }

    fn register_sweeper(&self, registry: &mut Registry) {
        let counters = [
            (
                "cairn_archive_swept_objects",
                "Objects that this node has removed from the bucket: expired, replaced or never catalogued",
                &self.swept_objects,
            ),
            (
                "cairn_archive_swept_bytes",
                "Bytes of the objects that this node has removed from the bucket",
                &self.swept_bytes,
            ),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        let gauges = [
            (
                "cairn_archive_leftover_objects",
                "Objects of the bucket that nobody needs any more and that wait for their removal, as the last sweep found; only on the node that sweeps",
                &self.leftover_objects,
            ),
            (
                "cairn_archive_foreign_objects",
                "Objects below this cluster's name that are not Cairn's and are left alone, as the last sweep found; only on the node that sweeps",
                &self.foreign_objects,
            ),
        ];
        for (name, help, gauge) in gauges {
            registry.register(name, help, gauge.clone());
        }
    }

    /// Objects are removed.
    pub fn swept(&self, objects: u64, bytes: u64) {
        self.swept_objects.inc_by(objects);
        self.swept_bytes.inc_by(bytes);
    }

    /// What a sweep has found.
    pub fn found(&self, leftovers: u64, foreign: u64) {
        let set = |gauge: &Gauge, value: u64| gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        set(&self.leftover_objects, leftovers);
        set(&self.foreign_objects, foreign);
    }

    pub(super) fn request(&self, operation: Traffic, took: Duration, failed: bool) {
        self.requests.get_or_create(&Labels { operation }).inc();
        if failed {
            self.failures.get_or_create(&Labels { operation }).inc();
        }
        self.duration.observe(took.as_secs_f64());
    }

    pub(super) fn bytes(&self, operation: Traffic, bytes: u64) {
        let count = self.bytes.get_or_create(&Labels { operation });
        count.inc_by(bytes);
    }

    /// A block has reached the bucket.
    pub fn uploaded(&self) {
        self.uploaded_blocks.inc();
    }

    /// What has not.
    pub fn unuploaded(&self, blocks: u64, bytes: u64, since: Duration) {
        let set = |gauge: &Gauge, value: u64| gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        set(&self.unuploaded_blocks, blocks);
        set(&self.unuploaded_bytes, bytes);
        set(&self.unuploaded_seconds, since.as_secs());
    }
}
