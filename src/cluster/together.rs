//! A node that has peers: what it is made of beside a node that is alone, opened in order.
//!
//! Identity and transport, control group, discovery; founding or joining; store; then writes, reads,
//! seals, moves. A node that belongs to a cluster takes part as soon as its log is read.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::addresses::{advertised, announcement, introduction};
use super::blocks::{Archive, ask_leave};
use super::clocks::ClockWatch;
use super::control::{
    Control, ControlMetrics, ControlState, GroupParts, Introduction, MemberId, RaftControl,
    Session, Timings, begin_session,
};
use super::data::{DataPeers, DataService};
use super::discovery::Discovery;
use super::error::Error;
use super::in_force::InForce;
use super::life::Life;
use super::moves::{Conducting, Follower, MoveService, Mover, MoverParts, Progress};
use super::opening::{MemberSettings, World};
use super::peer::{
    Blocking, GrpcTransport, Identity, Method, PeerMetrics, PeerServer, PeerTls, PeerWiring,
    Service, Services, Transport,
};
use super::read::{ClusterSource, ReadMetrics, ReadParts, ReadService, ReadSettings};
use super::self_report::{SelfReport, ask_for_moves};
use super::settings::ClusterSettings;
use super::waiting::{belonging, find, stranger, wait_for_cluster, watch_end};
use super::ways::{BuildParts, Ways};
use super::workers::Duty;
use super::write::{AppendService, Gate, WriteMetrics, WriteSettings, Writer, WriterParts};
use crate::model::Incarnation;
use crate::runtime::{CancelToken, Throttle, boot_id, wait};
use crate::source::Source;
use crate::store::{Engine, Store, WriteLogSettings};

/// The ring of a new control state is in force so soon, and the leader looks at it so often.
const RING_INTERVAL: Duration = Duration::from_millis(500);
/// The catalog is looked at so often when nothing changes.
const MOVE_INTERVAL: Duration = Duration::from_secs(1);
/// Clocks are compared so often: they jump seldom, and drift slowly.
const CLOCKS_INTERVAL: Duration = Duration::from_secs(5);
/// What a clean stop gives to each of those who want to be told.
const FAREWELL: Duration = Duration::from_secs(8);

/// A node among others, before its store is open.
pub(super) struct Joined {
    pub(super) raft: Arc<RaftControl>,
    identity: Identity,
    tls: Option<PeerTls>,
    transport: Arc<dyn Transport>,
    services: Arc<Services>,
    /// `None`: others reach the services by themselves.
    server: Option<PeerServer>,
    discovery: Arc<dyn Discovery>,
    joining: JoinHandle<()>,
    in_force: InForce,
    life: Life,
    session: Session,
}

/// What a node has of its peers.
pub(super) struct Together {
    raft: Arc<RaftControl>,
    identity: Identity,
    tls: Option<PeerTls>,
    discovery: Arc<dyn Discovery>,
    server: Mutex<Option<PeerServer>>,
    joining: JoinHandle<()>,
    pub(super) writer: Writer,
    pub(super) source: Arc<dyn Source>,
    mover: Arc<Mover>,
    pub(super) conducting: Arc<Conducting>,
    pub(super) peers: Blocking,
    clocks: ClockWatch,
    gate: Arc<Gate>,
    store: Arc<Store>,
    in_force: InForce,
    life: Life,
    me: Incarnation,
    runtime: Handle,
    /// Why this node must end, once it must.
    ended: watch::Receiver<Option<String>>,
}

impl Joined {
    /// Founds a cluster or joins one over the network, and waits until this node belongs to it.
    pub(super) fn join(
        engine: &Arc<dyn Engine>,
        incarnation: Incarnation,
        settings: &MemberSettings,
        world: &World,
        archive: Option<&Archive>,
        registry: &mut Registry,
    ) -> Result<Self, Error> {
        let boot = boot_id();
        let life = Life::open(Arc::clone(engine), settings.log.sync, boot.as_deref())?;
        let session = begin_session(engine.as_ref(), world.chance.as_ref())?;
        let identity = stranger(settings, incarnation, session);
        let tls = PeerTls::open(&settings.peer_tls, Arc::clone(&world.clock))?;
        let wiring = PeerWiring {
            identity: identity.clone(),
            tls: tls.clone(),
            metrics: PeerMetrics::register(registry),
            clock: Arc::clone(&world.clock),
            chance: Arc::clone(&world.chance),
        };
        let _within = world.runtime.enter();
        let ways = Ways {
            session,
            life,
            transport: GrpcTransport::new(wiring.clone()),
            services: Arc::default(),
            identity,
            tls,
            timings: Timings::default(),
            archive: archive.cloned(),
        };
        let serve = |services: &Arc<Services>| {
            let listener = PeerServer::listen(&settings.peer.listen);
            let listener = wait(&world.runtime, listener)?;
            let server = PeerServer::serve(listener, Arc::clone(services), wiring);
            let server = server.map_err(|error| Error::Setting(error.to_string()))?;
            Ok(Some(server))
        };
        Self::over(ways, serve, engine, settings, world, registry)
    }

    /// The same over any transport; `serve` lets others reach the services.
    pub(super) fn over(
        ways: Ways,
        serve: impl FnOnce(&Arc<Services>) -> Result<Option<PeerServer>, Error>,
        engine: &Arc<dyn Engine>,
        settings: &MemberSettings,
        world: &World,
        registry: &mut Registry,
    ) -> Result<Self, Error> {
        let Ways {
            session,
            life,
            identity,
            tls,
            transport,
            services,
            timings,
            archive,
        } = ways;
        let incarnation = identity.caller().incarnation;
        let peer = advertised(settings)?;
        let opening = RaftControl::open(GroupParts {
            engine: Arc::clone(engine),
            incarnation,
            session,
            introduction: Introduction {
                life: life.number(),
                ..introduction(settings, &peer)
            },
            transport: Arc::clone(&transport),
            belong: belonging(&identity),
            clock: Arc::clone(&world.clock),
            chance: Arc::clone(&world.chance),
            // Whoever is away for long is replaced in the ring (`moves`), and may come back as who
            // it was: it is given up for ever only when a person says so.
            settings: ClusterSettings {
                replace_after: Duration::MAX,
                ..settings.cluster.clone()
            },
            metrics: ControlMetrics::register(registry),
            timings,
            leave: archive.as_ref().map(ask_leave),
        });
        let raft = wait(&world.runtime, opening)?;
        let (methods, service) = raft.service();
        services.enter(methods, &service);
        let server = serve(&services)?;
        let announcement = announcement(settings, incarnation, &peer);
        let discovery = find(settings, &announcement, world, registry)?;
        let me = MemberId {
            incarnation,
            life: life.number(),
        };
        let joining = wait_for_cluster(&raft, &discovery, me, world)?;
        life.begin()?;
        let in_force = InForce::open(Arc::clone(engine))?;
        in_force.check(&raft.state())?;
        Ok(Self {
            raft,
            identity,
            tls,
            transport,
            services,
            server,
            discovery,
            joining,
            in_force,
            life,
            session,
        })
    }

    /// Compares the log of samples with what peers remember of it.
    ///
    /// # Errors
    /// When it has been set back: this node must end.
    pub(super) fn check_log(&self, store: &Store) -> Result<(), Error> {
        let remembered = self.raft.remembered_log_position();
        self.life.check_log(store, remembered)
    }

    /// Everything that talks to other members.
    pub(super) fn build(self, parts: &BuildParts<'_>, registry: &mut Registry) -> Built {
        let blocking = Blocking::new(Arc::clone(&self.transport), parts.world.runtime.clone());
        let throttle = Throttle::new(parts.settings.cluster.copy_bandwidth.0);
        let peers = Arc::new(DataPeers::new(blocking.clone(), throttle));
        let follower = Arc::new(Follower::new(
            Arc::clone(parts.store),
            Arc::clone(parts.manifests),
            parts.me,
            Some(Arc::clone(&peers)),
            parts.archive.cloned(),
        ));
        let mover = self.moves(parts, &follower, &peers);
        let clocks = ClockWatch {
            control: self.control(),
            peers: blocking.clone(),
            gate: Arc::clone(parts.gate),
            clock: Arc::clone(&parts.world.clock),
            me: parts.me,
        };
        let conducting = Arc::new(Conducting::new(
            self.control(),
            blocking.clone(),
            Arc::clone(&parts.world.clock),
            parts.settings.cluster.clone(),
            Arc::clone(&mover),
            parts.me,
        ));
        let report: Arc<dyn Service> = Arc::new(SelfReport {
            clock: Arc::clone(&parts.world.clock),
            control: self.control(),
            conducting: Arc::clone(&conducting),
            store: Arc::clone(parts.store),
            manifests: Arc::clone(parts.manifests),
            register: parts.register.clone(),
        });
        self.services.enter(&[Method::Status], &report);
        parts.verifications.enter(&self.services);
        let writer = self.writes(parts, registry);
        let source = self.reads(parts, registry);
        let ended = watch_end(&self.raft, &self.identity, &parts.world.runtime);
        let together = Together {
            raft: self.raft,
            identity: self.identity,
            tls: self.tls,
            discovery: self.discovery,
            server: Mutex::new(self.server),
            joining: self.joining,
            writer,
            source,
            mover,
            conducting,
            peers: blocking,
            clocks,
            gate: Arc::clone(parts.gate),
            store: Arc::clone(parts.store),
            in_force: self.in_force,
            life: self.life,
            me: parts.me,
            runtime: parts.world.runtime.clone(),
            ended,
        };
        Built {
            together,
            follower,
            peers,
        }
    }

    fn control(&self) -> Arc<dyn Control> {
        Arc::clone(&self.raft) as Arc<dyn Control>
    }

    /// Tells this start from all others of this node.
    fn run(&self) -> u64 {
        u64::try_from(self.session.nonce & u128::from(u64::MAX)).unwrap_or_default()
    }

    /// Seals' and moves' side of the services.
    fn moves(
        &self,
        parts: &BuildParts<'_>,
        follower: &Arc<Follower>,
        peers: &Arc<DataPeers>,
    ) -> Arc<Mover> {
        let mover = Arc::new(Mover::new(MoverParts {
            store: Arc::clone(parts.store),
            control: self.control(),
            gate: Arc::clone(parts.gate),
            clock: Arc::clone(&parts.world.clock),
            follower: Arc::clone(follower),
            peers: Arc::clone(peers),
            me: parts.me,
            session: self.session,
        }));
        let data: Arc<dyn Service> = Arc::new(DataService::new(
            Arc::clone(parts.store),
            Arc::clone(parts.gate),
            Arc::clone(peers),
            Arc::clone(parts.manifests),
            Arc::clone(&parts.world.clock),
        ));
        self.services.enter(&DataService::METHODS, &data);
        let moves: Arc<dyn Service> = Arc::new(MoveService(Arc::clone(&mover)));
        self.services.enter(&[Method::Move], &moves);
        mover
    }

    fn writes(&self, parts: &BuildParts<'_>, registry: &mut Registry) -> Writer {
        let metrics = WriteMetrics::register(registry);
        let settings = WriteSettings::within(parts.settings.peer_memory.hints_bytes);
        let writer = Writer::of_cluster(WriterParts {
            me: parts.me,
            replica: parts.store.clone(),
            gate: Arc::clone(parts.gate),
            transport: Arc::clone(&self.transport),
            runtime: parts.world.runtime.clone(),
            settings: settings.clone(),
            metrics: metrics.clone(),
            clock: Arc::clone(&parts.world.clock),
            chance: Arc::clone(&parts.world.chance),
        });
        let appends: Arc<dyn Service> = Arc::new(AppendService::new(
            parts.store.clone(),
            Arc::clone(parts.gate),
            settings,
            metrics,
            parts.world.rush.clone(),
        ));
        self.services.enter(&[Method::Append], &appends);
        writer
    }

    fn reads(&self, parts: &BuildParts<'_>, registry: &mut Registry) -> Arc<dyn Source> {
        let settings = ReadSettings::within(parts.settings.peer_memory.reads_bytes);
        let metrics = ReadMetrics::register(registry);
        let service = ReadService::new(
            self.control(),
            Arc::clone(parts.store),
            parts.me,
            self.run(),
            settings.clone(),
            metrics.clone(),
        );
        service.enter(&self.services, &parts.world.rush, &parts.world.clock);
        Arc::new(ClusterSource::new(ReadParts {
            transport: Arc::clone(&self.transport),
            runtime: parts.world.runtime.clone(),
            control: self.control(),
            store: Arc::clone(parts.store),
            me: parts.me,
            run: self.run(),
            clock: Arc::clone(&parts.world.clock),
            settings,
            metrics,
        }))
    }
}

/// What was made of them, for the sealer too.
pub(super) struct Built {
    pub(super) together: Together,
    pub(super) follower: Arc<Follower>,
    pub(super) peers: Arc<DataPeers>,
}

impl Together {
    /// What follows the control state. The gate must have its ring before it opens.
    pub(super) fn duties(self: &Arc<Self>) -> Vec<Duty> {
        let ring = Arc::clone(self);
        let mut changed = self.raft.changed();
        let follow = move |_: &CancelToken| {
            // Woken or not, the state is looked at again.
            let _ = wait(&ring.runtime, async {
                timeout(RING_INTERVAL, changed.changed()).await
            });
            ring.raft.note_log_position(ring.store.durable_position());
            if let Err(error) = ring.follow_ring() {
                tracing::error!(%error, "the ring's epochs could not be brought to disk: those before stay in force");
            }
        };
        let moving = Arc::clone(self);
        let moves = move |cancel: &CancelToken| moving.mover.round(cancel);
        let conducting = Arc::clone(self);
        let conduct = move |_: &CancelToken| conducting.conducting.round();
        let watching = Arc::clone(self);
        let clocks = move |_: &CancelToken| watching.clocks.round();
        vec![
            Duty::new("cairn-clocks", CLOCKS_INTERVAL, clocks),
            Duty::new("cairn-ring", Duration::ZERO, follow),
            Duty::new("cairn-move", MOVE_INTERVAL, moves),
            Duty::new("cairn-conduct", RING_INTERVAL, conduct),
        ]
    }

    /// Puts the ring of the present control state into force, durably: after a crash this node
    /// never takes part under an epoch that was over before, nor under that of a half it has not.
    ///
    /// # Errors
    /// When the disk fails; the ring before stays in force.
    pub(super) fn follow_ring(&self) -> Result<(), Error> {
        let state = self.raft.state();
        if self.gate.would_change(&state, self.me) {
            self.in_force.secure(&state)?;
            let arcs = state.partitions.keys().copied().collect();
            self.store.align(&arcs)?;
        }
        self.writer.set_ring(&state);
        for (incarnation, member) in &state.members {
            self.identity.note_session(*incarnation, member.session);
        }
        Ok(())
    }

    /// Moves under way and being prepared, as the leader says: on another node it is asked.
    pub(super) fn progress(&self, state: &ControlState) -> Vec<Progress> {
        let leader = self.raft.leader();
        let asked = match leader.filter(|_| !self.raft.is_leader()) {
            Some(leader) => ask_for_moves(&self.peers, leader),
            None => None,
        };
        asked.unwrap_or_else(|| self.conducting.progress(state))
    }

    /// Ends with the reason why this node must end, if ever.
    pub(super) fn ended(&self) -> watch::Receiver<Option<String>> {
        self.ended.clone()
    }

    /// What is wrong beside what the control state says.
    pub(super) fn trouble(&self) -> Vec<String> {
        let discovery = self.discovery.trouble();
        self.raft.trouble().into_iter().chain(discovery).collect()
    }

    pub(super) fn voters(&self) -> std::collections::BTreeSet<Incarnation> {
        self.raft.voters()
    }

    /// Reads the peers' certificates again.
    pub(super) fn reload(&self) -> Result<(), Error> {
        self.tls.as_ref().map_or(Ok(()), |tls| Ok(tls.reload()?))
    }

    /// Seconds of acknowledged samples that this start may have lost.
    pub(super) fn possible_loss(&self, log: &WriteLogSettings) -> Duration {
        self.life.possible_loss(log)
    }

    /// All that was acknowledged is on the disk.
    pub(super) fn end_life(&self) -> Result<(), Error> {
        self.life.end()
    }

    /// Ends without a word to anybody.
    #[cfg(test)]
    pub(super) fn abandon(&self) {
        self.joining.abort();
        let raft = Arc::clone(&self.raft);
        self.runtime.spawn(async move { raft.abandon().await });
    }

    /// Takes leave: of discovery, of the control group, of peers.
    pub(super) fn close(&self) {
        self.joining.abort();
        wait(&self.runtime, async {
            if timeout(FAREWELL, self.discovery.close()).await.is_err() {
                tracing::warn!("discovery was not told in time that this node stops");
            }
            if timeout(FAREWELL, self.raft.close()).await.is_err() {
                tracing::warn!("the control group did not end in time");
            }
            let server = self.server.lock().take();
            if let Some(server) = server
                && timeout(FAREWELL, server.stop()).await.is_err()
            {
                tracing::warn!("peers' requests did not end in time");
            }
        });
    }
}
