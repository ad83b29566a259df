//! A node that only looks at a bucket, from its start to its end, and what it tells of itself over
//! HTTP. It has the server, the queries and the page of any node, and nothing that takes samples,
//! seals, uploads, sweeps or joins.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use prometheus_client::registry::Registry;
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use crate::cluster::{
    CancelQueries, ClusterStatus, FlushStatus, Loss, NodeQueries, ReadOnlyNode, Verified,
    VerifyOrder,
};
use crate::config::Settings;
use crate::http::{
    HeadStatus, ReplayStatus, RuntimeStatus, StatusProvider, TargetStatus, read_only_router,
};
use crate::model::{BlockEntry, RingArc, TenantId};
use crate::runtime::{
    Register, SystemChance, SystemClock, cores, host_name, start_logging, threads,
};
use crate::source::{ReadContext, SourceError};

use super::parts::Ground;
use super::reload::{ReadSettings, Reload};
use super::run::{
    LEFT_BEHIND_TIME, Listening, Serving, listen, runtime, told_to_stop, unless_told_again,
};
use super::signals::{Asked, Signals};
use super::{Error, REVISION};

/// Why writes are refused, as `status/runtimeinfo` says.
const READ_ONLY: &str = "this node is read-only: it shows what is in the bucket of a cluster";

/// What a node that is stopping has still to do.
const UNDER_WAY: &str = "requests under way were not answered";
const CACHE_NOT_CLOSED: &str = "the cache was not closed";

/// Why nothing of a cluster can be changed here.
const NO_MEMBER: &str = "this node is read-only and no member of a cluster: ask one that is";

/// Runs a node that only looks at the bucket that settings name, until it is told to stop. `read`
/// reads the settings again, for a reload.
///
/// # Errors
/// When it cannot start: the bucket holds no catalog that can be read, or the port is taken.
pub fn run_read_only(settings: Settings, read: ReadSettings) -> Result<(), Error> {
    let level = start_logging(&settings.telemetry)?;
    let clock = Arc::new(SystemClock::new());
    let reload = Arc::new(Reload::new(read, level, settings.clone(), clock.clone()));
    let ground = Arc::new(Ground::new(settings, clock, Arc::new(SystemChance)));
    let runtime = runtime()?;
    let result = runtime.block_on(serve(ground, reload));
    runtime.shutdown_timeout(LEFT_BEHIND_TIME);
    result
}

async fn serve(ground: Arc<Ground>, reload: Arc<Reload>) -> Result<(), Error> {
    let Listening {
        mut signals,
        registry,
        http,
        front,
        serving,
    } = listen(&ground).await?;
    let opened = open_unless_stopped(&ground, registry, &mut signals).await?;
    let Some((node, mut registry)) = opened else {
        return Ok(());
    };
    let node = Arc::new(node);
    let register = Register::new(Arc::clone(&ground.clock));
    let engine = ground.engine(&mut registry).with_register(register.clone());
    let status = Arc::new(Status {
        node: Arc::clone(&node),
        register,
        ground: Arc::clone(&ground),
        reload: Arc::clone(&reload),
        stopping: AtomicBool::new(false),
    });
    let told = Arc::clone(&status) as Arc<dyn StatusProvider>;
    let state = ground.state(engine, node.source(), told, Arc::new(registry), http);
    front.show(read_only_router(state));
    let took_ms = ground.clock.now().0.saturating_sub(ground.started.0);
    tracing::info!(took_ms, "cairn is ready, and read-only");
    while signals.next().await == Asked::Reload {
        // What went wrong has been logged, and shows in `status/runtimeinfo`.
        let _ = reload.run();
        node.read_soon();
    }
    let left = Cell::new(UNDER_WAY);
    let stopping = stop(&node, &status, &left, serving);
    unless_told_again(stopping, &mut signals, &left).await
}

/// Nothing new, then requests under way; of what is on the disk nothing is needed again.
async fn stop(
    node: &Arc<ReadOnlyNode>,
    status: &Status,
    left: &Cell<&'static str>,
    serving: Serving,
) -> Result<(), Error> {
    tracing::info!("cairn is stopping");
    status.stopping.store(true, Ordering::Release);
    serving.stop().await?;
    left.set(CACHE_NOT_CLOSED);
    let node = Arc::clone(node);
    let closed = spawn_blocking(move || node.close()).await;
    closed.map_err(|_| Error::Lost {
        what: "closing the cache",
    })
}

/// Reads the catalog, beside the server; given up when somebody asks for it.
async fn open_unless_stopped(
    ground: &Arc<Ground>,
    mut registry: Registry,
    signals: &mut Signals,
) -> Result<Option<(ReadOnlyNode, Registry)>, Error> {
    let (held, handle) = (Arc::clone(ground), Handle::current());
    let opening = spawn_blocking(move || {
        let (settings, world) = (held.member_settings(), held.world(&handle));
        let node = ReadOnlyNode::open(&settings, &world, &mut registry)?;
        Ok((node, registry))
    });
    tokio::select! {
        opened = opening => {
            let lost = Error::Lost { what: "reading the catalog" };
            opened.unwrap_or(Err(lost)).map(Some)
        }
        () = told_to_stop(signals) => {
            tracing::info!("cairn is stopping before it was ready");
            ground.stop_opening.cancel();
            Ok(None)
        }
    }
}

/// What is known of the node.
struct Status {
    node: Arc<ReadOnlyNode>,
    register: Register,
    ground: Arc<Ground>,
    reload: Arc<Reload>,
    stopping: AtomicBool,
}

impl StatusProvider for Status {
    fn ready(&self) -> Result<(), String> {
        if self.stopping.load(Ordering::Acquire) {
            return Err("the node is stopping: try again in a moment".to_owned());
        }
        Ok(())
    }

    fn runtime(&self) -> RuntimeStatus {
        let directory = std::env::current_dir().unwrap_or_default();
        RuntimeStatus {
            started: self.ground.started,
            directory: directory.display().to_string(),
            host: host_name(),
            reload_succeeded: self.reload.succeeded(),
            configured: self.reload.configured(),
            series: 0,
            corruptions: 0,
            threads: threads(),
            processors: cores() as u64,
            memory_limit_bytes: self.ground.shares.limit,
            // What is kept is the cluster's business.
            retention: String::new(),
            revision: REVISION.to_owned(),
            refusing_writes: Some(READ_ONLY.to_owned()),
            read_only: Some(self.node.status()),
        }
    }

    fn flags(&self) -> Vec<(String, String)> {
        self.ground.settings.shown()
    }

    fn config(&self) -> String {
        self.ground.settings.shown_as_text()
    }

    fn head(&self, _: &TenantId, _: usize, _: &ReadContext) -> Result<HeadStatus, SourceError> {
        let now = self.ground.clock.now();
        Ok(HeadStatus {
            time_min: now,
            time_max: now,
            ..HeadStatus::default()
        })
    }

    fn blocks(&self) -> Vec<(RingArc, BlockEntry)> {
        self.node.blocks()
    }

    fn replay(&self) -> ReplayStatus {
        ReplayStatus {
            done: true,
            ..ReplayStatus::default()
        }
    }

    fn cluster(&self) -> ClusterStatus {
        let shown = self.node.status();
        ClusterStatus {
            cluster: shown.cluster,
            trouble: shown.trouble,
            ..ClusterStatus::default()
        }
    }

    fn drain(&self, _: &str, _: bool) -> Result<(), String> {
        Err(NO_MEMBER.to_owned())
    }

    fn forget(&self, _: &str) -> Result<(), String> {
        Err(NO_MEMBER.to_owned())
    }

    fn split_ring(&self) -> Result<RingArc, String> {
        Err(NO_MEMBER.to_owned())
    }

    fn recover_ring(&self, _: bool) -> Result<Loss, String> {
        Err(NO_MEMBER.to_owned())
    }

    fn queries(&self, cancel: Option<&CancelQueries>) -> Vec<NodeQueries> {
        let name = &self.ground.name;
        let meant = cancel.filter(|cancel| cancel.node.as_ref().is_none_or(|node| node == name));
        let cancelled = meant.map_or(0, |cancel| {
            self.register.cancel(cancel.id, cancel.tenant.as_ref())
        });
        vec![NodeQueries {
            node: name.clone(),
            cancelled,
            running: Ok(self.register.list()),
        }]
    }

    /// Nothing is held that could be sealed; the router refuses the order.
    fn order_flush(&self) -> u64 {
        0
    }

    fn flush(&self) -> FlushStatus {
        FlushStatus::default()
    }

    /// The nodes of the cluster verify what they hold; the router refuses the order.
    fn verification(&self, _: Option<VerifyOrder>) -> Verified {
        Verified::default()
    }

    fn snapshot(&self) -> Result<String, String> {
        Err(NO_MEMBER.to_owned())
    }

    /// Its own metrics are at `/metrics` alone: there is nowhere to store them.
    fn targets(&self) -> Vec<TargetStatus> {
        Vec::new()
    }

    fn reload(&self) -> Result<(), String> {
        self.node.read_soon();
        self.reload.run()
    }
}
