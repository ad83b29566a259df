//! The parts of a node, made from settings: what the layers' constructors want.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::runtime::Handle;

use crate::cluster::{Introduction, LocalMember, MemberSettings, PeerMemory, Starting, World};
use crate::config::Settings;
use crate::http::{self, Front, HttpMetrics, State, StatusProvider};
use crate::ingest::{Exposed, Receiver, SelfScrape};
use crate::model::{FOUNDING_DEPTH, TenantId, TimestampMs};
use crate::query::{Engine, QueryMetrics, QuerySettings};
use crate::runtime::{ByteSize, CancelToken, Chance, Clock, Pool, Rush, cores, host_name};
use crate::source::Source;
use crate::store::HeadSettings;

use super::memory::Shares;
use super::process;
use super::reload::Reload;
use super::status::{NodeStatus, Scraped};

/// Look-ups that run beside the queries, so that a page fills while heavy queries run.
const LOOKUPS: usize = 4;
/// Requests that may wait for a thread; a browser opens a dashboard with some dozens.
const WAITING_MAX: usize = 512;
/// Exemplars held. Prometheus' default is 100,000, for machines with more memory than a 4 GB board
/// has to give: 20,000 take a few MiB.
const EXEMPLARS_MAX: usize = 20_000;

/// Everything that the parts are made from.
pub(super) struct Ground {
    pub(super) settings: Settings,
    pub(super) shares: Shares,
    pub(super) name: String,
    pub(super) started: TimestampMs,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) chance: Arc<dyn Chance>,
    /// What the start waits for.
    pub(super) starting: Starting,
    /// Where writes say that they want the processors.
    pub(super) rush: Rush,
    /// Ends the waiting for a cluster.
    pub(super) stop_opening: CancelToken,
}

impl Ground {
    pub(super) fn new(settings: Settings, clock: Arc<dyn Clock>, chance: Arc<dyn Chance>) -> Self {
        Self {
            shares: Shares::of(&settings),
            name: settings.node.name.clone().unwrap_or_else(host_name),
            started: clock.now(),
            settings,
            clock,
            chance,
            starting: Starting::default(),
            rush: Rush::new(cores()),
            stop_opening: CancelToken::new(),
        }
    }

    /// What a member is opened with.
    pub(super) fn member_settings(&self) -> MemberSettings {
        let settings = &self.settings;
        MemberSettings {
            data_dir: settings.main.data_dir.clone(),
            introduction: Introduction {
                name: self.name.clone(),
                zone: settings.node.zone.clone(),
                addresses: vec![settings.peer.listen.clone()],
                capacity_bytes: settings.node.capacity.map_or(0, |capacity| capacity.0),
                life: 0,
                build: super::process::build(),
            },
            log: settings.log.clone(),
            head: HeadSettings {
                depth: FOUNDING_DEPTH,
                shards: cores().next_power_of_two().clamp(2, 16),
                series_max: settings.ingest.max_series,
                registry_bytes_max: usize::try_from(self.shares.registry).unwrap_or(usize::MAX),
                exemplars_max: EXEMPLARS_MAX,
                ..HeadSettings::default()
            },
            head_bytes_max: self.shares.head,
            engine_cache_bytes: self.shares.cache,
            decoded_cache_bytes: self.shares.decoded,
            index_cache_bytes: self.shares.indexes,
            peer_memory: PeerMemory {
                reads_bytes: self.shares.peer_reads,
                hints_bytes: self.shares.hints,
            },
            seal: settings.seal.clone(),
            retention: settings.retention.clone(),
            disk: settings.disk.clone(),
            cluster: settings.cluster.clone(),
            discovery: settings.all_discovery(),
            peer: settings.peer.clone(),
            peer_tls: settings.peer_tls.clone(),
            archive: settings.all_archive(),
            http_listen: settings.http.listen.clone(),
        }
    }

    /// What a member is handed of the world.
    pub(super) fn world(&self, runtime: &Handle) -> World {
        World {
            clock: Arc::clone(&self.clock),
            chance: Arc::clone(&self.chance),
            runtime: runtime.clone(),
            cancel: self.stop_opening.clone(),
            starting: self.starting.clone(),
            rush: self.rush.clone(),
        }
    }

    /// Opens what the node holds. Takes as long as reading the log does.
    pub(super) fn open_member(
        &self,
        runtime: &Handle,
        registry: &mut Registry,
    ) -> Result<LocalMember, super::Error> {
        let (settings, world) = (self.member_settings(), self.world(runtime));
        Ok(LocalMember::open(&settings, &world, registry)?)
    }

    pub(super) fn engine(&self, registry: &mut Registry) -> Engine {
        let settings = QuerySettings {
            max_memory: ByteSize(self.shares.query),
            ..self.settings.query.clone()
        };
        Engine::new(
            settings,
            Arc::clone(&self.clock),
            QueryMetrics::register(registry),
        )
        .with_memory(self.shares.queries)
        .with_rush(self.rush.clone())
        .with_results(self.shares.results)
    }

    pub(super) fn receiver(&self, member: &LocalMember, registry: &mut Registry) -> Receiver {
        Receiver::new(
            member.writer(),
            self.settings.ingest.clone(),
            Arc::clone(&self.clock),
            Arc::clone(&self.chance),
            self.rush.clone(),
            registry,
        )
        .with_spelling_bytes(self.shares.spellings)
    }

    pub(super) fn status(
        &self,
        member: &Arc<LocalMember>,
        reload: &Arc<Reload>,
        scraped: &Arc<Scraped>,
    ) -> NodeStatus {
        NodeStatus {
            member: Arc::clone(member),
            settings: self.settings.clone(),
            memory_limit: self.shares.limit,
            name: self.name.clone(),
            started: self.started,
            stopping: AtomicBool::new(false),
            scraped: Arc::clone(scraped),
            reload: Arc::clone(reload),
            clock: Arc::clone(&self.clock),
        }
    }

    /// Serves everything from now on.
    pub(super) fn show(
        &self,
        front: &Front,
        member: &Arc<LocalMember>,
        made: Made,
        status: Arc<NodeStatus>,
        metrics: HttpMetrics,
    ) {
        let state = State {
            admin: self
                .settings
                .http
                .enable_admin_api
                .then(|| member.deletes()),
            ..self.state(made.engine, member.source(), status, made.registry, metrics)
        };
        front.show(http::router(state, made.receiver));
    }

    /// What handlers are handed, where nothing may be deleted.
    pub(super) fn state(
        &self,
        engine: Engine,
        source: Arc<dyn Source>,
        status: Arc<dyn StatusProvider>,
        registry: Arc<Registry>,
        metrics: HttpMetrics,
    ) -> State {
        let running = self.settings.query.max_concurrency.max(1) + LOOKUPS;
        State {
            engine: Arc::new(engine),
            source,
            status,
            registry,
            metrics,
            pool: Pool::new("query", running, WAITING_MAX),
            durations: http::Durations::default(),
            read_timeout: self.settings.http.read_timeout,
            clock: Arc::clone(&self.clock),
            tenancy: self.settings.main.multitenancy_enabled,
            admin: None,
        }
    }

    /// What stores the node's own metrics. They belong to the tenant of those who name none.
    pub(super) fn self_scrape(
        &self,
        member: &LocalMember,
        registry: &Arc<Registry>,
        scraped: &Arc<Scraped>,
    ) -> SelfScrape {
        let (clock, registry) = (Arc::clone(&self.clock), Arc::clone(registry));
        let scraped = Arc::clone(scraped);
        let exposed: Exposed = Arc::new(move || {
            let from = clock.elapsed();
            let mut text = String::new();
            if let Err(error) = encode(&mut text, &registry) {
                tracing::warn!(%error, "our own metrics could not be written down");
            }
            scraped.note(clock.now(), clock.elapsed().saturating_sub(from));
            text
        });
        SelfScrape::new(
            member.writer(),
            Arc::clone(&self.clock),
            exposed,
            TenantId::anonymous(),
            self.name.clone(),
            self.settings.ingest.self_scrape_interval,
        )
    }
}

/// What registers metrics, and the registry once all have.
pub(super) struct Made {
    pub(super) engine: Engine,
    pub(super) receiver: Receiver,
    pub(super) registry: Arc<Registry>,
}

/// A registry with what the process and its server count.
pub(super) fn registry(started: TimestampMs, data_dir: &Path) -> (Registry, HttpMetrics) {
    let mut registry = Registry::default();
    process::register(&mut registry, started, data_dir);
    let http = HttpMetrics::register(&mut registry);
    (registry, http)
}

/// Every metric that a node has, without a node: for `docs/reference/metrics.md`.
///
/// # Errors
/// When no node can be opened in `settings.main.data_dir`.
pub fn metrics_registry(
    settings: Settings,
    clock: Arc<dyn Clock>,
    chance: Arc<dyn Chance>,
) -> Result<Registry, super::Error> {
    let ground = Ground::new(settings, clock, chance);
    let (mut registry, _) = registry(ground.started, &ground.settings.main.data_dir);
    let runtime = tokio::runtime::Runtime::new().map_err(|source| super::Error::System {
        what: "threads",
        source,
    })?;
    let member = ground.open_member(runtime.handle(), &mut registry)?;
    let _ = ground.engine(&mut registry);
    let _ = ground.receiver(&member, &mut registry);
    crate::cluster::register_peer_metrics(&mut registry);
    member.close()?;
    Ok(registry)
}
