//! What the node tells of itself to whoever asks over HTTP.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use crate::cluster::{
    CancelQueries, ClusterStatus, FlushStatus, LocalMember, Loss, NodeQueries, Verified,
    VerifyOrder,
};
use crate::config::Settings;
use crate::http::{HeadStatus, ReplayStatus, RuntimeStatus, StatusProvider, TargetStatus};
use crate::model::{BlockEntry, LabelSet, RingArc, TenantId, TimestampMs};
use crate::runtime::{Clock, Setting, cores, host_name, show_duration, threads};
use crate::source::{ReadContext, SourceError};
use crate::store::Cardinality;

use super::REVISION;
use super::reload::Reload;

/// When this node last stored its own metrics, and how long it took to write them down.
#[derive(Debug, Default)]
pub(super) struct Scraped {
    at_ms: AtomicI64,
    took_ns: AtomicU64,
}

impl Scraped {
    pub(super) fn note(&self, at: TimestampMs, took: Duration) {
        self.at_ms.store(at.0, Ordering::Relaxed);
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.took_ns.store(took, Ordering::Relaxed);
    }
}

/// What is known of the node, from its start on.
pub(super) struct NodeStatus {
    pub(super) member: Arc<LocalMember>,
    pub(super) settings: Settings,
    pub(super) memory_limit: u64,
    pub(super) name: String,
    pub(super) started: TimestampMs,
    pub(super) stopping: AtomicBool,
    pub(super) scraped: Arc<Scraped>,
    pub(super) reload: Arc<Reload>,
    pub(super) clock: Arc<dyn Clock>,
}

impl NodeStatus {
    fn retention(&self) -> String {
        let retention = &self.settings.retention;
        let age = retention.total.map(show_duration);
        let size = retention.local_size.map(|size| size.show());
        let texts: Vec<String> = age.into_iter().chain(size).collect();
        texts.join(" or ")
    }
}

impl StatusProvider for NodeStatus {
    fn ready(&self) -> Result<(), String> {
        if self.stopping.load(Ordering::Acquire) {
            return Err("the node is stopping: ask another, or try again in a moment".to_owned());
        }
        Ok(())
    }

    fn takes_writes(&self) -> Result<(), String> {
        // A full disk or full memory ends by itself; this does not.
        match self.member.store().log_failure() {
            Some(reason) => Err(format!("{reason}; queries are still answered")),
            None => Ok(()),
        }
    }

    fn runtime(&self) -> RuntimeStatus {
        let directory = std::env::current_dir().unwrap_or_default();
        let head = self.member.store().head_stats();
        RuntimeStatus {
            started: self.started,
            directory: directory.display().to_string(),
            host: host_name(),
            reload_succeeded: self.reload.succeeded(),
            configured: self.reload.configured(),
            series: head.series,
            corruptions: head.log.torn_records,
            threads: threads(),
            processors: cores() as u64,
            memory_limit_bytes: self.memory_limit,
            retention: self.retention(),
            revision: REVISION.to_owned(),
            refusing_writes: self.member.refusing(),
            read_only: None,
        }
    }

    fn flags(&self) -> Vec<(String, String)> {
        self.settings.shown()
    }

    fn config(&self) -> String {
        self.settings.shown_as_text()
    }

    fn head(
        &self,
        tenant: &TenantId,
        limit: usize,
        context: &ReadContext,
    ) -> Result<HeadStatus, SourceError> {
        let store = self.member.store();
        let pairs = self.member.source().label_pairs(tenant, context)?;
        let found = Cardinality::of(&pairs, limit);
        let now = self.clock.now();
        let held = store.held();
        let starts = held.iter().map(|held| held.window.start());
        let ends = held.iter().map(|held| held.window.end());
        Ok(HeadStatus {
            series: found.series,
            label_pairs: found.label_pairs,
            chunks: store.head_stats().chunks,
            time_min: starts.min().unwrap_or(now),
            time_max: ends.max().map_or(now, |end| end.min(now)),
            series_by_metric: found.series_by_metric,
            values_by_label: found.values_by_label,
            bytes_by_label: found.bytes_by_label,
            series_by_pair: found.series_by_pair,
        })
    }

    fn blocks(&self) -> Vec<(RingArc, BlockEntry)> {
        self.member.store().blocks()
    }

    fn cluster(&self) -> ClusterStatus {
        self.member.cluster_status()
    }

    fn drain(&self, node: &str, drain: bool) -> Result<(), String> {
        let done = self.member.drain(node, drain);
        done.map_err(|error| error.to_string())
    }

    fn forget(&self, node: &str) -> Result<(), String> {
        let done = self.member.forget(node);
        done.map_err(|error| error.to_string())
    }

    fn split_ring(&self) -> Result<RingArc, String> {
        self.member.split_ring().map_err(|error| error.to_string())
    }

    fn recover_ring(&self, accept_loss: bool) -> Result<Loss, String> {
        let loss = self.member.recover_ring(accept_loss);
        loss.map_err(|error| error.to_string())
    }

    fn queries(&self, cancel: Option<&CancelQueries>) -> Vec<NodeQueries> {
        self.member.queries().everywhere(cancel)
    }

    fn order_flush(&self) -> u64 {
        self.member.order_flush()
    }

    fn flush(&self) -> FlushStatus {
        self.member.flush_status()
    }

    fn verification(&self, order: Option<VerifyOrder>) -> Verified {
        self.member.verification().everywhere(order)
    }

    fn snapshot(&self) -> Result<String, String> {
        let made = self.member.store().snapshot();
        made.map_err(|error| error.to_string())
    }

    fn replay(&self) -> ReplayStatus {
        // Requests come here only once everything is read.
        let last = self.member.store().head_stats().log.segments;
        ReplayStatus {
            first: 0,
            last,
            current: last,
            done: true,
        }
    }

    fn targets(&self) -> Vec<TargetStatus> {
        let interval = self.settings.ingest.self_scrape_interval;
        let pairs = [("instance", self.name.as_str()), ("job", "cairn")];
        let Ok(labels) = LabelSet::from_pairs(&pairs) else {
            return Vec::new();
        };
        if interval.is_zero() {
            return Vec::new();
        }
        vec![TargetStatus {
            labels,
            pool: "cairn".to_owned(),
            url: format!("http://{}/metrics", self.settings.http.listen),
            error: String::new(),
            scraped: TimestampMs(self.scraped.at_ms.load(Ordering::Relaxed)),
            took_s: Duration::from_nanos(self.scraped.took_ns.load(Ordering::Relaxed))
                .as_secs_f64(),
            interval_ms: i64::try_from(interval.as_millis()).unwrap_or(i64::MAX),
        }]
    }

    fn reload(&self) -> Result<(), String> {
        self.reload.run()
    }
}
