//! What the handlers are handed: engine, data, pools, and what the node tells of itself.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;

use crate::cluster::{
    CancelQueries, ClusterStatus, Deletes, FlushStatus, Loss, NodeQueries, ReadOnlyStatus,
    Verified, VerifyOrder,
};
use crate::model::{BlockEntry, LabelSet, RingArc, TenantId, TimestampMs};
use crate::query::Engine;
use crate::runtime::{Clock, Pool};
use crate::source::{ReadContext, Source, SourceError};

use super::durations::Durations;
use super::metrics::HttpMetrics;

/// Everything that handlers need; built by the node.
#[derive(Clone)]
pub struct State {
    /// What answers queries; also has their limits.
    pub engine: Arc<Engine>,
    /// Where samples come from.
    pub source: Arc<dyn Source>,
    /// What the node tells of itself.
    pub status: Arc<dyn StatusProvider>,
    /// What `/metrics` shows.
    pub registry: Arc<Registry>,
    /// The server's own metrics.
    pub metrics: HttpMetrics,
    /// Where queries and look-ups run: some more at a time than the engine lets through, so that
    /// look-ups need not wait for queries.
    pub pool: Pool,
    /// What questions took when they were last asked.
    pub durations: Durations,
    /// How long a request's body may take to arrive.
    pub read_timeout: Duration,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Whether `X-Scope-OrgID` decides.
    pub tenancy: bool,
    /// Where samples are deleted; without it none of `admin/tsdb` is allowed.
    pub admin: Option<Deletes>,
}

/// What only the node knows: how it was started, what it holds, whether it can serve.
pub trait StatusProvider: Send + Sync + 'static {
    /// Whether requests can be served; if not, why.
    ///
    /// # Errors
    /// The reason, for a person.
    fn ready(&self) -> Result<(), String>;

    /// Whether writes can be taken before the process is started again; if not, why. Queries are answered
    /// all the same. A node that is to take none is not asked.
    ///
    /// # Errors
    /// The reason, for a person.
    fn takes_writes(&self) -> Result<(), String> {
        Ok(())
    }

    /// How the process runs.
    fn runtime(&self) -> RuntimeStatus;

    /// The settings as names and values, Prometheus' "flags".
    fn flags(&self) -> Vec<(String, String)>;

    /// The configuration in force, as a text.
    fn config(&self) -> String;

    /// What the heads of all nodes hold of a tenant; at most `limit` entries a list. Chunks and
    /// times are this node's.
    ///
    /// # Errors
    /// When other nodes do not say what they hold.
    fn head(
        &self,
        tenant: &TenantId,
        limit: usize,
        context: &ReadContext,
    ) -> Result<HeadStatus, SourceError>;

    /// The blocks held, with their arcs.
    fn blocks(&self) -> Vec<(RingArc, BlockEntry)>;

    /// How far the log's replay is.
    fn replay(&self) -> ReplayStatus;

    /// The cluster as this node sees it.
    fn cluster(&self) -> ClusterStatus;

    /// Marks a node, by its name or incarnation, to be emptied or no longer. May wait for the
    /// control group.
    ///
    /// # Errors
    /// When there is no such node, or the control group cannot decide now.
    fn drain(&self, node: &str, drain: bool) -> Result<(), String>;

    /// Gives a node, by its name or incarnation, up for ever.
    ///
    /// # Errors
    /// When there is no such node, it is still needed, or the control group cannot decide now.
    fn forget(&self, node: &str) -> Result<(), String>;

    /// Begins to divide the ring more finely, and says with which partition.
    ///
    /// # Errors
    /// When the cluster cannot do that, or the control group cannot decide now.
    fn split_ring(&self) -> Result<RingArc, String>;

    /// Lets partitions that have lost too many members go on with those that are left; without
    /// `accept_loss` only says what that would give up.
    ///
    /// # Errors
    /// When a member does not say what it has, or the control group cannot decide now.
    fn recover_ring(&self, accept_loss: bool) -> Result<Loss, String>;

    /// The queries of all nodes; with `cancel` after those were called off.
    fn queries(&self, cancel: Option<&CancelQueries>) -> Vec<NodeQueries>;

    /// Orders everything to be sealed now, and gives the order's number.
    fn order_flush(&self) -> u64;

    /// How far that is.
    fn flush(&self) -> FlushStatus;

    /// How far verification is on all nodes, after an order was given to them if there is one.
    fn verification(&self, order: Option<VerifyOrder>) -> Verified;

    /// Makes a snapshot of what this node holds, and says its name.
    ///
    /// # Errors
    /// Why there is none.
    fn snapshot(&self) -> Result<String, String>;

    /// What the node scrapes: itself, or nothing.
    fn targets(&self) -> Vec<TargetStatus>;

    /// Reads the configuration again.
    ///
    /// # Errors
    /// What is wrong with it; the old one stays in force.
    fn reload(&self) -> Result<(), String>;
}

/// How the process runs.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct RuntimeStatus {
    /// When it was started.
    pub started: TimestampMs,
    /// Its working directory.
    pub directory: String,
    /// Its host's name.
    pub host: String,
    /// Whether the last reading of the configuration succeeded.
    pub reload_succeeded: bool,
    /// When the configuration was last read.
    pub configured: TimestampMs,
    /// Series in the head.
    pub series: u64,
    /// Damaged log segments or blocks met since the start.
    pub corruptions: u64,
    /// Threads of the process.
    pub threads: u64,
    /// Processors it may use.
    pub processors: u64,
    /// Bytes of memory it may use.
    pub memory_limit_bytes: u64,
    /// Its retention, as Prometheus writes it: `15d`, `10GiB`, `15d or 10GiB`; empty: none.
    pub retention: String,
    /// The commit it was built from, if known.
    pub revision: String,
    /// Why writes are refused now, if they are.
    pub refusing_writes: Option<String>,
    /// What a node that only looks at a bucket shows; `None`: it is none.
    pub read_only: Option<ReadOnlyStatus>,
}

/// What a head holds.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct HeadStatus {
    /// Series.
    pub series: u64,
    /// Different label pairs.
    pub label_pairs: u64,
    /// Chunks.
    pub chunks: u64,
    /// The oldest sample's time.
    pub time_min: TimestampMs,
    /// The newest sample's time.
    pub time_max: TimestampMs,
    /// Series by metric name, most first.
    pub series_by_metric: Vec<(String, u64)>,
    /// Values by label name, most first.
    pub values_by_label: Vec<(String, u64)>,
    /// Bytes by label name, most first.
    pub bytes_by_label: Vec<(String, u64)>,
    /// Series by label pair (`name=value`), most first.
    pub series_by_pair: Vec<(String, u64)>,
}

/// How far the log's replay is, in segments.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ReplayStatus {
    /// The first segment.
    pub first: u64,
    /// The last segment.
    pub last: u64,
    /// The segment being read.
    pub current: u64,
    /// Whether all is read.
    pub done: bool,
}

/// Something that is scraped.
#[derive(Clone, PartialEq, Debug)]
pub struct TargetStatus {
    /// Its labels.
    pub labels: LabelSet,
    /// The name of its job.
    pub pool: String,
    /// Where it is scraped.
    pub url: String,
    /// Why the last scrape failed; empty if it did not.
    pub error: String,
    /// When it was last scraped.
    pub scraped: TimestampMs,
    /// How long that took, in seconds.
    pub took_s: f64,
    /// How often it is scraped, in milliseconds.
    pub interval_ms: i64,
}
