//! This node as a member of its cluster: everything below `ingest` and `query`, opened in order.
//!
//! Lock, engine, control log, founding, store, catching up, gate; then one worker that watches the
//! disk, seals what is due and lets go of what has expired. Closing goes the other way round.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use super::assembly::{
    Shared, alone, among_others, deletion_clock, new_historian, new_merger, new_sealer, new_tier,
    open_archive, open_store,
};
use super::blocks::Archive;
use super::control::{Control, ControlState, why_aside};
use super::data::DataPeers;
use super::deletes::{Deletes, Hiding};
use super::discovery::DiscoveryKind;
use super::error::Error;
use super::flushes::{FlushStatus, Flushes};
use super::history::Historian;
use super::manifests::Manifests;
use super::merging::{MergeMetrics, Merger, Pace};
use super::metrics::ClusterMetrics;
use super::moves::Follower;
use super::opening::{MemberSettings, World, open_engine};
use super::queries::Queries;
use super::retention::Retention;
use super::ring::{Plan, plan};
use super::seal::{Busy, Sealer};
use super::status::{ClusterStatus, Surroundings, describe};
use super::tiering::Tiering;
use super::together::{Joined, Together};
use super::upkeep::Upkeep;
use super::verify::{Orders, Verification};
use super::watch::Watch;
use super::ways::BuildParts;
use super::workers::{Duty, Rounds, Worker, start_warming, start_worker};
use super::write::{Gate, Refusing, Writer};
use crate::model::Incarnation;
use crate::runtime::{CancelToken, Register};
use crate::source::Source;
use crate::store::{DataDir, Engine, Store, StoreMetrics, Watermark};

/// The worker looks so often whether anything is due. Seals are spread over minutes, so nothing
/// is gained by looking more often.
const WORKER_INTERVAL: Duration = Duration::from_secs(2);

/// The plan of merges is made so often: what is due has a whole day.
const MERGE_INTERVAL: Duration = Duration::from_secs(60);

/// Memory and disk are looked at so often: the disk can fill by some 100 MB a second, the head by
/// some 30, and their bounds are wide enough for one interval of that.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod looks;
mod said;

/// This node, open.
pub struct LocalMember {
    store: Arc<Store>,
    control: Arc<dyn Control>,
    sealer: Arc<Sealer>,
    merger: Arc<Merger>,
    historian: Arc<Historian>,
    follower: Arc<Follower>,
    /// `None` on a node that is alone.
    data: Option<Arc<DataPeers>>,
    manifests: Arc<Manifests>,
    gate: Arc<Gate>,
    /// `None` on a node that is alone.
    together: Option<Arc<Together>>,
    upkeep: Upkeep,
    flushes: Arc<Flushes>,
    deletes: Deletes,
    register: Register,
    me: Incarnation,
    replication_factor: u32,
    workers: Mutex<Vec<Worker>>,
}

impl LocalMember {
    /// Opens everything, founds or joins a cluster on the first start (with no discovery one of
    /// one), replays the log, finishes what a crash interrupted, and starts the workers. Writes
    /// are taken when it returns. On a thread that may block.
    ///
    /// # Errors
    /// When the directory is in use, not writable or not Cairn's, something in it is damaged or
    /// from a later version, or the node was told to stop before it had a cluster.
    pub fn open(
        settings: &MemberSettings,
        world: &World,
        registry: &mut Registry,
    ) -> Result<Self, Error> {
        let mut directory = DataDir::open(&settings.data_dir, world.chance.as_ref())?;
        let mut engine = open_engine(directory.path(), settings.engine_cache_bytes)?;
        if settings.discovery.main.kind != DiscoveryKind::None
            && let Some(reason) = why_aside(engine.as_ref())?
        {
            drop(engine);
            let (anew, aside) = directory.set_aside(world.chance.as_ref())?;
            tracing::warn!(
                reason, to = %aside.display(), incarnation = %anew.incarnation(),
                "what this node held is set aside, and it joins as a new one: delete that folder when the cluster is quiet"
            );
            directory = anew;
            engine = open_engine(directory.path(), settings.engine_cache_bytes)?;
        }
        Self::open_on(engine, directory, settings, world, registry)
    }

    /// The same on an engine that is open already.
    ///
    /// # Errors
    /// As [`LocalMember::open`].
    pub fn open_on(
        engine: Arc<dyn Engine>,
        directory: DataDir,
        settings: &MemberSettings,
        world: &World,
        registry: &mut Registry,
    ) -> Result<Self, Error> {
        let member = Self::assemble(engine, directory, settings, world, registry)?;
        let duties = member.duties(settings, world, registry);
        let workers = duties.into_iter().map(start_worker);
        let warming = start_warming(Arc::clone(&member.store));
        *member.workers.lock() = workers.chain([warming]).collect::<Result<_, _>>()?;
        member.gate.refuse(Refusing::NotReady, None);
        Ok(member)
    }

    /// What is done over and over; the first look at memory and disk is over when it returns.
    pub(super) fn duties(
        &self,
        settings: &MemberSettings,
        world: &World,
        registry: &mut Registry,
    ) -> Vec<Duty> {
        let member = self;
        let watermark = Watermark::new(member.store.directory().path(), settings.disk.clone());
        let metrics = StoreMetrics::register(registry);
        let mut watch = Watch::new(
            Arc::clone(&member.store),
            Arc::clone(&member.gate),
            watermark,
            metrics.clone(),
        );
        let retention = Retention::new(
            Arc::clone(&member.store),
            Arc::clone(&member.manifests),
            Arc::clone(&member.control),
            deletion_clock(world, member.me, member.together.as_ref()),
            settings.retention.clone(),
        );
        let mut rounds = Rounds::new(
            Arc::clone(&member.store),
            Arc::clone(&member.sealer),
            retention,
            Arc::clone(&member.flushes),
            metrics,
        );
        // The first look at the disk comes before the first write.
        watch.once();
        let mut duties = member
            .together
            .as_ref()
            .map_or(Vec::new(), Together::duties);
        let each_round = move |cancel: &CancelToken| rounds.once(cancel);
        duties.push(Duty::new("cairn-seal", WORKER_INTERVAL, each_round));
        let merger = Arc::clone(&member.merger);
        let (historian, deletes) = (Arc::clone(&member.historian), member.deletes.clone());
        let merges = move |cancel: &CancelToken| {
            merger.pass(Pace::Gentle, cancel);
            historian.pass(cancel);
            deletes.pass(cancel);
        };
        duties.push(Duty::new("cairn-merge", MERGE_INTERVAL, merges));
        let watching = move |_: &CancelToken| watch.once();
        duties.push(Duty::new("cairn-watch", WATCH_INTERVAL, watching));
        duties.extend(member.upkeep.duties());
        duties
    }

    /// Everything but the workers; the gate is closed.
    pub(super) fn assemble(
        engine: Arc<dyn Engine>,
        directory: DataDir,
        settings: &MemberSettings,
        world: &World,
        registry: &mut Registry,
    ) -> Result<Self, Error> {
        let me = directory.incarnation();
        let archive = open_archive(settings, world, registry)?;
        let joined = if settings.discovery.main.kind == DiscoveryKind::None {
            None
        } else {
            let archive = archive.as_ref();
            let joined = Joined::join(&engine, me, settings, world, archive, registry);
            Some(joined?)
        };
        Self::assemble_with(
            joined,
            archive,
            (engine, directory),
            settings,
            world,
            registry,
        )
    }

    /// The same of a node that has joined others already, or has none.
    pub(super) fn assemble_with(
        joined: Option<Joined>,
        archive: Option<Archive>,
        (engine, directory): (Arc<dyn Engine>, DataDir),
        settings: &MemberSettings,
        world: &World,
        registry: &mut Registry,
    ) -> Result<Self, Error> {
        let me = directory.incarnation();
        let control: Arc<dyn Control> = match &joined {
            Some(joined) => Arc::clone(&joined.raft) as Arc<dyn Control>,
            None => alone(&engine, me, settings, world, archive.as_ref())?,
        };
        let state = control.state();
        let manifests = Arc::new(Manifests::new(Arc::clone(&engine)));
        let tier = new_tier(archive.as_ref(), settings, world, &directory, registry);
        let store = open_store(engine, directory, tier, &state, settings, world)?;
        joined.as_ref().map_or(Ok(()), |it| it.check_log(&store))?;
        let gate = Arc::new(Gate::closed("the node is starting: try again in a moment"));
        let register = Register::new(Arc::clone(&world.clock));
        let parts = BuildParts {
            store: &store,
            gate: &gate,
            manifests: &manifests,
            me,
            settings,
            world,
            archive: archive.as_ref(),
            register: &register,
            verifications: &Orders::new(&world.clock),
        };
        let (together, follower, peers) = among_others(joined, &parts, registry);
        let metrics = ClusterMetrics::register(registry);
        if let Some(together) = &together {
            metrics.possible_loss(together.possible_loss(&settings.log));
        }
        let (busy, merges) = (Busy::default(), MergeMetrics::register(registry));
        let shared = Shared {
            control: &control,
            follower: &follower,
            peers: peers.as_ref(),
            busy: &busy,
            packs: parts.pack_use(),
        };
        let historian = new_historian(&parts, &shared, registry);
        let clock = deletion_clock(world, me, together.as_ref());
        let merger = new_merger(&parts, &shared, &historian, clock.clone(), merges);
        let deletes = Deletes::new(&control, &store, shared.packs.clone(), clock.clone(), world);
        let flushes = Arc::<Flushes>::default();
        let upkeep = Upkeep::new(&parts, &shared, clock, &flushes, registry);
        let sealer = Arc::new(new_sealer(&parts, &shared, metrics));
        Tiering::of(&parts, &control).begin(&state)?;
        match &together {
            // What is missing is fetched by the worker: nobody waits for it here.
            Some(together) => together.follow_ring()?,
            None => {
                sealer.catch_up(&world.cancel)?;
                gate.set_ring(&state, me);
            }
        }
        Ok(Self {
            deletes,
            store,
            control,
            sealer,
            merger: Arc::new(merger),
            historian,
            follower,
            data: peers,
            manifests,
            gate,
            together,
            upkeep,
            flushes,
            register,
            me,
            replication_factor: settings.cluster.replication_factor,
            workers: Mutex::new(Vec::new()),
        })
    }

    /// The store, which is what queries read from.
    #[must_use]
    pub fn store(&self) -> Arc<Store> {
        Arc::clone(&self.store)
    }

    /// Where validated samples go.
    #[must_use]
    pub fn writer(&self) -> Writer {
        let writer = match &self.together {
            Some(together) => together.writer.clone(),
            None => Writer::new(self.store(), Arc::clone(&self.gate)),
        };
        writer.knowing(Arc::clone(&self.control))
    }

    /// Where samples are read from: the whole cluster, without what is deleted.
    #[must_use]
    pub fn source(&self) -> Arc<dyn Source> {
        let held: Arc<dyn Source> = match &self.together {
            Some(together) => Arc::clone(&together.source),
            None => self.store(),
        };
        let control = Arc::clone(&self.control);
        Arc::new(Hiding::new(held, Box::new(move || control.state())))
    }

    /// Where samples are deleted.
    #[must_use]
    pub fn deletes(&self) -> Deletes {
        self.deletes.clone()
    }

    /// The cluster, for a person.
    #[must_use]
    pub fn cluster_status(&self) -> ClusterStatus {
        let state = self.control.state();
        let factor = usize::try_from(self.replication_factor).unwrap_or(usize::MAX);
        let mut around = Surroundings {
            me: self.me,
            leader: self.control.leader(),
            voters: BTreeSet::from([self.me]),
            replication_factor: factor,
            plan: Plan::default(),
            moves: Vec::new(),
            applied: BTreeMap::new(),
            archive: self.upkeep.archive(),
            scrub: self.upkeep.scrub(),
            trouble: Vec::new(),
        };
        for (arc, partition) in &state.partitions {
            let mut members = partition.members.iter();
            if members.any(|member| member.incarnation == self.me) {
                around
                    .applied
                    .insert(*arc, self.store.applied_version(*arc));
            }
        }
        match &self.together {
            Some(together) => {
                around.voters = together.voters();
                around.plan = plan(&state, &together.conducting.wish(&state));
                around.moves = together.progress(&state);
                around.trouble = together.trouble();
            }
            None => around.replication_factor = 1,
        }
        around.trouble.extend(self.upkeep.trouble());
        around.trouble.extend(self.gate.refusing());
        describe(&state, around)
    }

    /// Verification of this node and of the others.
    #[must_use]
    pub fn verification(&self) -> Verification {
        let peers = self.together.as_ref().map(|one| one.peers.clone());
        self.upkeep.verification(peers)
    }

    /// The queries of this node and of the others.
    #[must_use]
    pub fn queries(&self) -> Queries {
        let peers = self.together.as_ref().map(|one| one.peers.clone());
        Queries::new(&self.register, (&self.control, self.me), peers)
    }

    /// Wakes with the reason when this node must end: its data directory runs elsewhere too.
    #[must_use]
    pub fn ended(&self) -> Option<watch::Receiver<Option<String>>> {
        self.together.as_ref().map(|together| together.ended())
    }

    /// Reads again what may change while the node runs.
    ///
    /// # Errors
    /// When certificates cannot be used; those before stay.
    pub fn reload(&self) -> Result<(), Error> {
        self.together
            .as_ref()
            .map_or(Ok(()), |together| together.reload())
    }

    /// The control state as of now.
    #[must_use]
    pub fn control_state(&self) -> Arc<ControlState> {
        self.control.state()
    }

    /// Why writes are refused now, if they are.
    #[must_use]
    pub fn refusing(&self) -> Option<String> {
        self.gate.refusing()
    }

    /// Seals all that the head holds.
    ///
    /// # Errors
    /// When the store cannot say what it holds.
    pub fn flush(&self) -> Result<super::seal::Pass, Error> {
        self.sealer.flush(&CancelToken::new())
    }

    /// Orders the worker to seal everything that the head holds, and gives the order's number.
    #[must_use]
    pub fn order_flush(&self) -> u64 {
        self.flushes.order()
    }

    /// How far that is, and what the bucket does not have yet.
    #[must_use]
    pub fn flush_status(&self) -> FlushStatus {
        let held = self.store.held();
        let samples = held.iter().map(|held| held.samples).sum();
        self.flushes.status(samples, self.upkeep.archive())
    }

    /// Refuses writes from now on, ends the worker, and brings what was appended to disk.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub fn close(&self) -> Result<(), Error> {
        let reason = "the node is stopping: try again in a moment".to_owned();
        self.gate.refuse(Refusing::NotReady, Some(reason));
        self.end_workers();
        if let Some(together) = &self.together {
            together.close();
        }
        self.store.close()?;
        self.together
            .as_ref()
            .map_or(Ok(()), |together| together.end_life())
    }
}

impl LocalMember {
    fn end_workers(&self) {
        let workers = std::mem::take(&mut *self.workers.lock());
        workers.into_iter().for_each(Worker::end);
    }
}

impl Drop for LocalMember {
    fn drop(&mut self) {
        self.end_workers();
    }
}
