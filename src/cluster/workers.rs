//! What goes on in the background of a member: threads that look at something again and again.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use super::error::Error;
use super::flushes::Flushes;
use super::retention::Retention;
use super::seal::{Pass, Sealer};
use crate::runtime::{CancelToken, NamedThread};
use crate::store::{self, Store, StoreMetrics};

/// After seals have failed, the worker lets so many rounds pass at most before the next: two more
/// after every failure.
const PAUSE_ROUNDS_MAX: u32 = 30;

/// Marks are cleared away this seldom: one scan of a few hundred keys.
const MARKS_EVERY: u32 = 1800;

/// A thread of a member.
pub(super) struct Worker {
    stop: SyncSender<()>,
    cancel: CancelToken,
    thread: NamedThread,
}

impl Worker {
    /// Tells it to end, and waits.
    pub(super) fn end(mut self) {
        self.cancel.cancel();
        // Full or gone: then it has been told already, or has ended.
        let _ = self.stop.try_send(());
        self.thread.join();
    }
}

/// What the worker does over and over.
pub(super) struct Rounds {
    store: Arc<Store>,
    sealer: Arc<Sealer>,
    retention: Retention,
    flushes: Arc<Flushes>,
    metrics: StoreMetrics,
    count: u32,
    /// Whether older history was looked at since the start.
    is_complete: bool,
    /// Rounds that pass without sealing after the last failure, and those that have.
    pause: u32,
    paused: u32,
    /// Why retention does not work, if it does not.
    retention_failure: Option<String>,
}

impl Rounds {
    pub(super) fn new(
        store: Arc<Store>,
        sealer: Arc<Sealer>,
        retention: Retention,
        flushes: Arc<Flushes>,
        metrics: StoreMetrics,
    ) -> Self {
        Self {
            store,
            sealer,
            retention,
            flushes,
            metrics,
            count: 0,
            is_complete: false,
            pause: 0,
            paused: 0,
            retention_failure: None,
        }
    }
}

/// Something that a member does over and over, on a thread of its own.
pub(super) struct Duty {
    pub(super) name: &'static str,
    /// The pause before each time.
    pub(super) interval: Duration,
    /// Once. Told by the token to end, it ends early.
    pub(super) once: Box<dyn FnMut(&CancelToken) + Send>,
}

impl Duty {
    pub(super) fn new(
        name: &'static str,
        interval: Duration,
        once: impl FnMut(&CancelToken) + Send + 'static,
    ) -> Self {
        Self {
            name,
            interval,
            once: Box::new(once),
        }
    }
}

/// Starts a thread that does a duty at every interval until it is ended.
pub(super) fn start_worker(duty: Duty) -> Result<Worker, Error> {
    let Duty {
        name,
        interval,
        mut once,
    } = duty;
    start(name, move |stopped, cancel| {
        while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
            once(cancel);
        }
    })
}

/// Starts a thread that opens the newest blocks before anybody asks, and ends then.
pub(super) fn start_warming(store: Arc<Store>) -> Result<Worker, Error> {
    start("cairn-warm", move |_, cancel| {
        if let Err(error) = store.warm_up(cancel) {
            tracing::warn!(%error, "not all of the newest blocks could be opened ahead of questions");
        }
    })
}

fn start(
    name: &'static str,
    work: impl FnOnce(&Receiver<()>, &CancelToken) + Send + 'static,
) -> Result<Worker, Error> {
    let (stop, stopped) = sync_channel(1);
    let cancel = CancelToken::new();
    let token = cancel.clone();
    let thread = NamedThread::spawn(name, move || work(&stopped, &token)).map_err(|error| {
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
    pub(super) fn once(&mut self, cancel: &CancelToken) {
        match self.flushes.due() {
            Some(order) => self.flush(order, cancel),
            None => self.seal(cancel),
        }
        self.retain();
        self.complete(cancel);
        if let Err(error) = self.store.drop_retired() {
            tracing::warn!(%error, "a block's file could not be dropped and will be tried again");
        }
        if let Err(error) = self.store.finish_replacing() {
            tracing::warn!(%error, "a damaged file could not be replaced and will be tried again");
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

    /// Until it has been done once, and so that what fails is not tried all the time.
    fn complete(&mut self, cancel: &CancelToken) {
        if self.is_complete || !self.count.is_multiple_of(PAUSE_ROUNDS_MAX) {
            return;
        }
        match self.sealer.complete(cancel) {
            Ok(()) => self.is_complete = true,
            Err(error) => {
                tracing::warn!(%error, "older history is not whole here; that will be tried again");
            }
        }
    }

    /// What lasts is said once.
    fn retain(&mut self) {
        let failure = self.retention.pass(&self.sealer).err();
        let failure = failure.map(|error| error.to_string());
        if let Some(error) = failure
            .as_ref()
            .filter(|_| failure != self.retention_failure)
        {
            tracing::warn!(%error, "retention failed and will be tried again");
        }
        self.retention_failure = failure;
    }

    /// Seals everything because somebody wants it, whatever failed before.
    fn flush(&self, order: u64, cancel: &CancelToken) {
        let pass = self.sealer.flush(cancel).unwrap_or_else(|error| {
            tracing::warn!(%error, "sealing failed and will be tried again");
            Pass {
                failed: 1,
                ..Pass::default()
            }
        });
        self.flushes.note(order, pass);
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
