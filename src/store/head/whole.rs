//! The head and its log as one thing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::core::Core;
use super::cut::Cut;
use super::replay_threads::ReplayThreads;
use super::settings::HeadSettings;
use super::types::{AppendBatch, Appended, FloatSample, OtherSample, SeriesId};
use super::view::HeadView;
use crate::model::{LabelSet, Metadata, RingArc, Samples, TenantId, TimestampMs, Value, Window};
use crate::runtime::Clock;
use crate::store::error::Error;
use crate::store::log::{Covered, Log, LogDisk, LogStats, Mark, WriteLogSettings};

/// The head, recoverable from its log.
pub struct Head {
    core: Arc<Core>,
    log: Log,
    clock: Arc<dyn Clock>,
}

/// What the head holds of an arc and window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Samples, counted when they came: repeats among late ones may be counted twice.
    pub samples: u64,
    /// Bytes of memory.
    pub bytes: u64,
    /// Metric families with metadata.
    pub families: u64,
    /// When something was appended last, by this node's clock.
    pub appended: TimestampMs,
    /// Whether a cut has frozen some of it that was not given up.
    pub frozen: bool,
}

/// Numbers about the head for metrics and status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeadStats {
    /// Series registered.
    pub series: u64,
    /// Samples held.
    pub samples: u64,
    /// Samples that repeated what was there, in what is held.
    pub repeats: u64,
    /// Timestamps that got two different values, in what is held.
    pub conflicts: u64,
    /// Chunks held: one for each series of each layer that has a sample of it.
    pub chunks: u64,
    /// Windows held.
    pub windows: u64,
    /// Bytes of layers: chunks, late samples, runs, rows.
    pub layer_bytes: u64,
    /// Of these, for what the next records of the log stand on: after a restart nothing, until samples come.
    pub steps_bytes: u64,
    /// Bytes of the registry: labels, postings, ids.
    pub registry_bytes: u64,
    /// The oldest time of any window held; `None` when nothing is.
    pub oldest: Option<TimestampMs>,
    /// The log.
    pub log: LogStats,
}

impl std::fmt::Debug for Head {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Head")
            .field("log", &self.log)
            .finish_non_exhaustive()
    }
}

impl Head {
    /// Opens the head: replays the log in `disk`, leaving out what `marks` cover.
    ///
    /// # Errors
    /// As opening the log; also when the log defines more series than the settings allow.
    pub fn open(
        settings: HeadSettings,
        log_settings: &WriteLogSettings,
        disk: Arc<dyn LogDisk>,
        marks: &[Mark],
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let core = Arc::new(Core::new(settings));
        let mut replay = ReplayThreads::start(&core, &Covered::by(marks), clock.now())?;
        let log = Log::open(log_settings, disk, marks, Arc::clone(&clock), &mut replay)?;
        drop(replay);
        Ok(Self { core, log, clock })
    }

    /// The id of a series; the same as long as it is not forgotten.
    ///
    /// # Errors
    /// When it is new and there are too many series already, or its labels are too long.
    pub fn register(&self, tenant: &TenantId, labels: &LabelSet) -> Result<SeriesId, Error> {
        self.core.register(tenant, labels)
    }

    /// The same for a series that another node has taken already: no bound on their number.
    ///
    /// # Errors
    /// When numbers run out.
    pub fn register_taken(&self, tenant: &TenantId, labels: &LabelSet) -> Result<SeriesId, Error> {
        self.core.register_unbounded(tenant, labels)
    }

    /// The tenant and labels of a series that is not forgotten.
    #[must_use]
    pub fn describe(&self, series: SeriesId) -> Option<(TenantId, LabelSet)> {
        self.core.describe(series)
    }

    /// Whether an append might wait for the disk before it is taken.
    #[must_use]
    pub fn is_pressed(&self) -> bool {
        self.log.is_pressed()
    }

    /// Appends a batch to head and log in one step. It may be acknowledged once
    /// [`Head::durable`] says so of the returned position.
    ///
    /// # Errors
    /// When the log has failed (nothing is acknowledged any more), or a histogram, metadata or
    /// exemplar is too large (nothing of the batch is taken).
    pub fn append(&self, batch: &AppendBatch<'_>) -> Result<Appended, Error> {
        self.log.wait_for_room()?;
        let result = self.core.append(batch, self.clock.now(), Some(&self.log));
        self.log.kick();
        result
    }

    /// Has the log go on behind a position, durably.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub(in crate::store) fn jump(&self, beyond: u64) -> Result<(), Error> {
        self.log.jump(beyond)?;
        self.log.wait_durable(self.log.position())
    }

    /// Up to where everything may be acknowledged.
    #[must_use]
    pub fn durable_position(&self) -> u64 {
        self.log.durable_position()
    }

    /// Why nothing will be acknowledged any more, if the log has failed: that is final until the process starts
    /// again.
    #[must_use]
    pub fn log_failure(&self) -> Option<String> {
        self.log.failure()
    }

    /// Waits until everything up to a position may be acknowledged.
    ///
    /// # Errors
    /// When the log has failed: that is final until the process starts again.
    pub async fn durable(&self, position: u64) -> Result<(), Error> {
        self.log.durable(position).await
    }

    /// As [`Head::durable`], for a thread that may block.
    ///
    /// # Errors
    /// As [`Head::durable`].
    pub fn wait_durable(&self, position: u64) -> Result<(), Error> {
        self.log.wait_durable(position)
    }

    /// A pinned view. Whoever reads head and blocks takes the head's view first and the set of
    /// blocks after it: then what moves from one to the other is seen at least once.
    #[must_use]
    pub fn view(&self) -> HeadView {
        HeadView::new(&self.core, None)
    }

    /// The same of some arcs only: series of others are not seen.
    #[must_use]
    pub(in crate::store) fn view_of(&self, arcs: &[RingArc]) -> HeadView {
        HeadView::new(&self.core, Some(arcs))
    }

    /// The id of a series, as [`Head::register`], whatever the bounds say: for what others have
    /// taken already.
    pub(in crate::store) fn register_unbounded(
        &self,
        tenant: &TenantId,
        labels: &LabelSet,
    ) -> Result<SeriesId, Error> {
        self.core.register_unbounded(tenant, labels)
    }

    /// Whether an arc is one of those that the head is organised by.
    #[must_use]
    pub(in crate::store) fn has_arc(&self, arc: RingArc) -> bool {
        self.core.arcs().has(arc)
    }

    /// Divides arcs so that the head has each of these; it never becomes coarser. No view may be
    /// taken meanwhile.
    pub(in crate::store) fn refine(&self, wanted: &BTreeSet<RingArc>) -> bool {
        self.core.refine(wanted, &self.log)
    }

    /// Freezes what is held of an arc and window now.
    ///
    /// # Errors
    /// When the arc is none of the head's.
    pub fn cut(&self, arc: RingArc, window: Window) -> Result<Cut, Error> {
        Cut::take(&self.core, &self.log, arc, window)
    }

    /// Appends again what a block lacks of a cut, and waits until that is durable: before the
    /// mark is stored and the cut given up.
    ///
    /// # Errors
    /// When the log has failed.
    pub fn write_back(
        &self,
        leftover: &[(SeriesId, Samples)],
        metadata: &[(TenantId, String, Metadata)],
    ) -> Result<(), Error> {
        let (mut floats, mut others) = (Vec::new(), Vec::new());
        for (series, samples) in leftover {
            for (at, value, start) in samples.iter() {
                match value {
                    Value::Float(value) if start.0 == 0 => floats.push(FloatSample {
                        series: *series,
                        at,
                        value,
                    }),
                    value => others.push(OtherSample {
                        series: *series,
                        at,
                        value,
                        start,
                    }),
                }
            }
        }
        let appended = self.append(&AppendBatch {
            floats: &floats,
            others: &others,
            metadata,
            exemplars: &[],
        })?;
        if !appended.stale_floats.is_empty() || !appended.stale_others.is_empty() {
            return Err(Error::Bug("a cut's series was forgotten".to_owned()));
        }
        self.wait_durable(appended.position)
    }

    /// Gives a cut up: its memory goes (once no view reads it any more), and the log may use
    /// segments again that held nothing else. The mark must be stored before.
    pub fn give_up(&self, cut: Cut) {
        let (window, mark) = (cut.window(), cut.mark());
        for (number, layers) in cut.into_layers() {
            self.core.remove(number, window, &layers);
        }
        self.core.forget_unheld();
        self.log.mark(mark);
    }

    /// Forgets series that nothing is held of; to be called now and then.
    pub fn tidy(&self) {
        self.core.forget_unheld();
    }

    /// What is held, by arc and window.
    #[must_use]
    pub fn held(&self) -> BTreeMap<(RingArc, Window), Held> {
        let mut all: BTreeMap<(RingArc, Window), Held> = BTreeMap::new();
        for shard in &self.core.shards {
            let state = shard.state.lock();
            for (window, one) in &state.windows {
                for (layer, frozen) in one
                    .frozen
                    .iter()
                    .map(|layer| (layer, true))
                    .chain(one.open.values().map(|layer| (layer, false)))
                {
                    let data = layer.lock();
                    let held = all.entry((layer.arc, *window)).or_default();
                    held.samples += data.samples;
                    held.bytes += data.bytes() as u64;
                    held.families += data
                        .metadata()
                        .values()
                        .map(|families| families.len() as u64)
                        .sum::<u64>();
                    held.appended = held.appended.max(data.appended);
                    held.frozen |= frozen;
                }
            }
        }
        all
    }

    /// The first log position that a replay may still meet: marks that end before it can go.
    #[must_use]
    pub fn first_position(&self) -> u64 {
        self.log.first_position()
    }

    /// Numbers for metrics and status.
    #[must_use]
    pub fn stats(&self) -> HeadStats {
        let mut stats = HeadStats {
            series: self.core.registered.load(Ordering::Relaxed) as u64,
            log: self.log.stats(),
            ..HeadStats::default()
        };
        let mut windows = std::collections::BTreeSet::new();
        for shard in &self.core.shards {
            let state = shard.state.lock();
            stats.layer_bytes += state.bytes() as u64;
            for (window, one) in &state.windows {
                windows.insert(*window);
                stats.steps_bytes += one.lasts.bytes() as u64;
                for layer in one.layers() {
                    let data = layer.lock();
                    stats.samples += data.samples;
                    stats.chunks += data.present.iter().count() as u64;
                    stats.repeats += data.repeats;
                    stats.conflicts += data.conflicts;
                    stats.layer_bytes += data.bytes() as u64;
                }
            }
            drop(state);
            stats.registry_bytes += shard.roster.read().bytes() as u64;
        }
        stats.windows = windows.len() as u64;
        stats.oldest = windows.first().map(|window| window.start());
        stats
    }

    /// Copies the log, which lies on `disk`, into a new folder; says how many bytes it was. Nothing
    /// may be given up meanwhile.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub(in crate::store) fn copy_log(&self, disk: &dyn LogDisk, to: &Path) -> Result<u64, Error> {
        self.log.copy(disk, to)
    }

    /// Writes and syncs what was appended and ends the log's thread.
    ///
    /// # Errors
    /// When the log has failed.
    pub fn close(&self) -> Result<(), Error> {
        self.log.close()
    }
}
