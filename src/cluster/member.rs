//! This node as a member of its cluster: everything below `ingest` and `query`, opened in order.
//!
//! Lock, engine, control log, founding, store, catching up, gate; then one worker that watches the
//! disk, seals what is due and lets go of what has expired. Closing goes the other way round.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::registry::Registry;

use super::control::{Control, ControlState, Introduction, LocalControl, join_or_found};
use super::error::Error;
use super::metrics::ClusterMetrics;
use super::retention::Retention;
use super::seal::Sealer;
use super::settings::SealSettings;
use super::write::{Durable, Gate, Refusing, Replica, Writer};
use crate::model::{FOUNDING_DEPTH, LabelSet, RingArc, TenantId};
use crate::runtime::{CancelToken, Chance, Clock, NamedThread};
use crate::store::{
    self, AppendBatch, Appended, DataDir, DiskSettings, Engine, HeadSettings, RetentionSettings,
    SeriesId, Store, StoreMetrics, StoreParts, Watermark, WriteLogSettings,
};

/// The worker looks so often whether anything is due. Seals are spread over minutes, so nothing
/// is gained by looking more often; the disk can fill by some 100 MB a second, and the bound
/// `disk.min_free` is wide enough for one interval of that.
const WORKER_INTERVAL: Duration = Duration::from_secs(2);

/// Marks are cleared away this seldom: one scan of a few hundred keys.
const MARKS_EVERY: u32 = 1800;

/// Block files that are open at a time; each costs a few KiB of memory and a descriptor.
const OPEN_FILES_MAX: i32 = 512;

/// What a member is opened with.
#[derive(Clone, Debug, Default)]
pub struct MemberSettings {
    /// The data directory.
    pub data_dir: PathBuf,
    /// What the node says of itself.
    pub introduction: Introduction,
    /// The log.
    pub log: WriteLogSettings,
    /// The head.
    pub head: HeadSettings,
    /// Unsealed samples may take so many bytes of memory before they are sealed early.
    pub head_bytes_max: u64,
    /// How much of the blocks' files the engine keeps in memory.
    pub engine_cache_bytes: u64,
    /// When windows are sealed.
    pub seal: SealSettings,
    /// What is kept.
    pub retention: RetentionSettings,
    /// What of the disk stays free.
    pub disk: DiskSettings,
}

/// This node, open.
pub struct LocalMember {
    store: Arc<Store>,
    control: Arc<dyn Control>,
    sealer: Arc<Sealer>,
    gate: Arc<Gate>,
    worker: Mutex<Option<Worker>>,
}

struct Worker {
    stop: SyncSender<()>,
    cancel: CancelToken,
    thread: NamedThread,
}

/// The store as a replica of every partition.
struct LocalReplica(Arc<Store>);

impl Replica for LocalReplica {
    fn register(&self, tenant: &TenantId, labels: &LabelSet) -> Result<SeriesId, store::Error> {
        self.0.register(tenant, labels)
    }

    fn append(&self, batch: &AppendBatch<'_>) -> Result<Appended, store::Error> {
        self.0.append(batch)
    }

    fn durable(&self, position: u64) -> Durable<'_> {
        Box::pin(self.0.durable(position))
    }
}

impl LocalMember {
    /// Opens everything, founds a cluster of one on the first start, replays the log, finishes
    /// what a crash interrupted, and starts the worker. Writes are taken when it returns.
    ///
    /// # Errors
    /// When the directory is in use, not writable or not Cairn's, or something in it is damaged
    /// or from a later version.
    pub fn open(
        settings: MemberSettings,
        clock: Arc<dyn Clock>,
        chance: Arc<dyn Chance>,
        registry: &mut Registry,
    ) -> Result<Self, Error> {
        let directory = DataDir::open(&settings.data_dir, chance.as_ref())?;
        let path = directory.path().join("engine");
        let cache = usize::try_from(settings.engine_cache_bytes).unwrap_or(usize::MAX);
        let engine = store::RocksEngine::open(&path, cache, OPEN_FILES_MAX)?;
        let engine: Arc<dyn Engine> = Arc::new(engine);
        Self::open_on(engine, directory, settings, clock, chance, registry)
    }

    /// The same on an engine that is open already.
    ///
    /// # Errors
    /// As [`LocalMember::open`].
    pub fn open_on(
        engine: Arc<dyn Engine>,
        directory: DataDir,
        settings: MemberSettings,
        clock: Arc<dyn Clock>,
        chance: Arc<dyn Chance>,
        registry: &mut Registry,
    ) -> Result<Self, Error> {
        let member = Self::assemble(engine, directory, &settings, &clock, chance, registry)?;
        let watermark = Watermark::new(member.store.directory().path(), settings.disk);
        let metrics = StoreMetrics::register(registry);
        let retention = Retention::new(
            Arc::clone(&member.store),
            Arc::clone(&member.control),
            Arc::clone(&clock),
            settings.retention,
        );
        let mut rounds = Rounds {
            store: Arc::clone(&member.store),
            sealer: Arc::clone(&member.sealer),
            gate: Arc::clone(&member.gate),
            retention,
            watermark,
            metrics,
            count: 0,
        };
        // The first look at the disk comes before the first write.
        rounds.watch_disk();
        let worker = start_worker(rounds)?;
        *member.worker.lock() = Some(worker);
        member.gate.refuse(Refusing::NotReady, None);
        Ok(member)
    }

    /// Everything but the worker; the gate is closed.
    pub(super) fn assemble(
        engine: Arc<dyn Engine>,
        directory: DataDir,
        settings: &MemberSettings,
        clock: &Arc<dyn Clock>,
        chance: Arc<dyn Chance>,
        registry: &mut Registry,
    ) -> Result<Self, Error> {
        let incarnation = directory.incarnation();
        let control = LocalControl::open(Arc::clone(&engine))?;
        join_or_found(
            &control,
            engine.as_ref(),
            incarnation,
            &settings.introduction,
            chance.as_ref(),
        )?;
        let state = control.state();
        let depths = state.partitions.keys().map(|arc| arc.depth());
        let depth = depths.max().unwrap_or(FOUNDING_DEPTH);
        let store = Arc::new(Store::open(StoreParts {
            directory,
            engine,
            cluster_id: state.cluster.map_or(0, |cluster| cluster.0),
            log: settings.log.clone(),
            head: HeadSettings {
                depth,
                ..settings.head
            },
            head_bytes_max: settings.head_bytes_max,
            clock: Arc::clone(clock),
            chance,
        })?);
        let control: Arc<dyn Control> = Arc::new(control);
        let sealer = Arc::new(Sealer::new(
            Arc::clone(&store),
            Arc::clone(&control),
            Arc::clone(clock),
            settings.seal.clone(),
            incarnation,
            ClusterMetrics::register(registry),
        ));
        sealer.catch_up()?;
        let gate = Arc::new(Gate::closed("the node is starting: try again in a moment"));
        let epochs = state.partitions.iter().map(|(arc, p)| (*arc, p.epoch));
        gate.set_ring(epochs.collect::<BTreeMap<RingArc, _>>());
        Ok(Self {
            store,
            control,
            sealer,
            gate,
            worker: Mutex::new(None),
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
        let replica = Arc::new(LocalReplica(Arc::clone(&self.store)));
        Writer::new(replica, Arc::clone(&self.gate))
    }

    /// The control state as of now.
    #[must_use]
    pub fn control_state(&self) -> Arc<ControlState> {
        self.control.state()
    }

    #[cfg(test)]
    pub(super) fn control(&self) -> Arc<dyn Control> {
        Arc::clone(&self.control)
    }

    #[cfg(test)]
    pub(super) fn sealer(&self) -> &Sealer {
        &self.sealer
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

    /// Refuses writes from now on, ends the worker, and brings what was appended to disk.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub fn close(&self) -> Result<(), Error> {
        let reason = "the node is stopping: try again in a moment".to_owned();
        self.gate.refuse(Refusing::NotReady, Some(reason));
        if let Some(worker) = self.worker.lock().take() {
            worker.end();
        }
        Ok(self.store.close()?)
    }
}

impl Worker {
    fn end(mut self) {
        self.cancel.cancel();
        // Full or gone: then it has been told already, or has ended.
        let _ = self.stop.try_send(());
        self.thread.join();
    }
}

impl Drop for LocalMember {
    fn drop(&mut self) {
        if let Some(worker) = self.worker.lock().take() {
            worker.end();
        }
    }
}

/// What the worker does over and over.
struct Rounds {
    store: Arc<Store>,
    sealer: Arc<Sealer>,
    gate: Arc<Gate>,
    retention: Retention,
    watermark: Watermark,
    metrics: StoreMetrics,
    count: u32,
}

fn start_worker(mut rounds: Rounds) -> Result<Worker, Error> {
    let (stop, stopped) = sync_channel(1);
    let cancel = CancelToken::new();
    let token = cancel.clone();
    let work = move || {
        while stopped.recv_timeout(WORKER_INTERVAL) == Err(RecvTimeoutError::Timeout) {
            rounds.once(&token);
        }
    };
    let thread = NamedThread::spawn("cairn-seal", work).map_err(|error| {
        store::Error::Unavailable(format!(
            "the system starts no more threads: {error}: raise its limit"
        ))
    })?;
    Ok(Worker {
        stop,
        cancel,
        thread,
    })
}

impl Rounds {
    /// Errors are logged here: nobody waits for the worker, and it tries again.
    fn once(&mut self, cancel: &CancelToken) {
        self.watch_disk();
        if let Err(error) = self.sealer.pass(cancel) {
            tracing::warn!(%error, "sealing failed and will be tried again");
        }
        if let Err(error) = self.retention.pass(&self.sealer) {
            tracing::warn!(%error, "retention failed and will be tried again");
        }
        if let Err(error) = self.store.drop_retired() {
            tracing::warn!(%error, "a block's file could not be dropped and will be tried again");
        }
        self.store.tidy();
        self.count = self.count.wrapping_add(1);
        if self.count.is_multiple_of(MARKS_EVERY)
            && let Err(error) = self.store.forget_marks()
        {
            tracing::warn!(%error, "old marks could not be cleared away");
        }
        self.metrics.observe(&self.store);
    }

    fn watch_disk(&mut self) {
        match self.watermark.check() {
            Ok(disk) => {
                self.metrics.disk(&disk);
                self.gate.refuse(Refusing::Disk, disk.refuse);
            }
            Err(error) => tracing::warn!(%error, "the free space of the disk is not known"),
        }
    }
}
