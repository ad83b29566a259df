//! This node as a member of its cluster: everything below `ingest` and `query`, opened in order.
//!
//! Lock, engine, control log, founding, store, catching up, gate; then one worker that watches the
//! disk, seals what is due and lets go of what has expired. Closing goes the other way round.

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
use super::watch::Watch;
use super::write::{Gate, Refusing, Writer};
use crate::model::FOUNDING_DEPTH;
use crate::runtime::{CancelToken, Chance, Clock, NamedThread};
use crate::store::{
    self, DataDir, DiskSettings, Engine, HeadSettings, RetentionSettings, Store, StoreMetrics,
    StoreParts, Watermark, WriteLogSettings,
};

/// The worker looks so often whether anything is due. Seals are spread over minutes, so nothing
/// is gained by looking more often.
const WORKER_INTERVAL: Duration = Duration::from_secs(2);

/// Memory and disk are looked at so often: the disk can fill by some 100 MB a second, the head by
/// some 30, and their bounds are wide enough for one interval of that.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// After seals have failed, the worker lets so many rounds pass at most before the next: two more
/// after every failure.
const PAUSE_ROUNDS_MAX: u32 = 30;

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
    /// How much of what queries have decoded is kept for the next ones.
    pub decoded_cache_bytes: u64,
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
    workers: Mutex<Vec<Worker>>,
}

struct Worker {
    stop: SyncSender<()>,
    cancel: CancelToken,
    thread: NamedThread,
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
        let mut watch = Watch::new(
            Arc::clone(&member.store),
            Arc::clone(&member.gate),
            watermark,
            metrics.clone(),
        );
        let retention = Retention::new(
            Arc::clone(&member.store),
            Arc::clone(&member.control),
            Arc::clone(&clock),
            settings.retention,
        );
        let mut rounds = Rounds {
            store: Arc::clone(&member.store),
            sealer: Arc::clone(&member.sealer),
            retention,
            metrics,
            count: 0,
            pause: 0,
            paused: 0,
        };
        // The first look at the disk comes before the first write.
        watch.once();
        let each_round = move |cancel: &CancelToken| rounds.once(cancel);
        let sealing = start_worker("cairn-seal", WORKER_INTERVAL, each_round)?;
        member.workers.lock().push(sealing);
        let watching = start_worker("cairn-watch", WATCH_INTERVAL, move |_| watch.once())?;
        member.workers.lock().push(watching);
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
            decoded_bytes_max: settings.decoded_cache_bytes,
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
        gate.set_ring(&state, incarnation);
        Ok(Self {
            store,
            control,
            sealer,
            gate,
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
        Writer::new(self.store(), Arc::clone(&self.gate))
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

    /// What watches memory and disk, on no thread.
    #[cfg(test)]
    pub(super) fn watch(&self) -> Watch {
        let directory = self.store.directory().path();
        Watch::new(
            Arc::clone(&self.store),
            Arc::clone(&self.gate),
            Watermark::new(directory, DiskSettings::default()),
            StoreMetrics::default(),
        )
    }

    #[cfg(test)]
    pub(super) fn open_gate(&self) {
        self.gate.refuse(Refusing::NotReady, None);
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
        self.end_workers();
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

/// What the worker does over and over.
struct Rounds {
    store: Arc<Store>,
    sealer: Arc<Sealer>,
    retention: Retention,
    metrics: StoreMetrics,
    count: u32,
    /// Rounds that pass without sealing after the last failure, and those that have.
    pause: u32,
    paused: u32,
}

fn start_worker(
    name: &str,
    interval: Duration,
    mut once: impl FnMut(&CancelToken) + Send + 'static,
) -> Result<Worker, Error> {
    let (stop, stopped) = sync_channel(1);
    let cancel = CancelToken::new();
    let token = cancel.clone();
    let work = move || {
        while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
            once(&token);
        }
    };
    let thread = NamedThread::spawn(name, work).map_err(|error| {
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
        self.seal(cancel);
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

    /// A seal that fails will mostly fail again: building its block over and over would only wear
    /// the disk.
    fn seal(&mut self, cancel: &CancelToken) {
        if self.paused < self.pause {
            self.paused += 1;
            return;
        }
        let failed = match self.sealer.pass(cancel) {
            Ok(pass) => pass.failed > 0,
            Err(error) => {
                tracing::warn!(%error, "sealing failed and will be tried again");
                true
            }
        };
        self.paused = 0;
        self.pause = if failed {
            (self.pause + 2).min(PAUSE_ROUNDS_MAX)
        } else {
            0
        };
    }
}
