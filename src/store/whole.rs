//! The store as one: engine, log and head, blocks, and the views through which they are read.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};

use super::applied;
use super::applied_block::AppliedBlock;
use super::block::DecodedParts;
use super::counts::Counts;
use super::engine::{Batch, Durability, Engine};
use super::error::Error;
use super::files::{SNAPSHOTS, remove_unfinished};
use super::head::{AppendBatch, Appended, Cut, Head, HeadSettings, HeadStats, HeadView, SeriesId};
use super::lock::DataDir;
use super::log::{Mark, WriteLogSettings};
use super::opening::Opening;
use super::remembered::Remembered;
use super::replacing::{Replacing, end_replacing};
use super::tier::{Tier, TierParts};
use super::view::{ArcView, ArcViews, ReadView, listed};
use crate::model::{
    BlockEntry, BlockId, LabelSet, RingArc, TenantId, TimeRange, TimestampMs, Window,
};
use crate::runtime::{Chance, Clock};

/// Which files are being received now.
pub(super) type Receipts = Arc<Mutex<BTreeSet<BlockId>>>;

/// What a store is opened with.
pub struct StoreParts {
    /// The locked data directory.
    pub directory: DataDir,
    /// The engine, opened in it.
    pub engine: Arc<dyn Engine>,
    /// The cluster, whose id keys the content hashes.
    pub cluster_id: u128,
    /// Settings of the log.
    pub log: WriteLogSettings,
    /// Settings of the head.
    pub head: HeadSettings,
    /// Unsealed samples may take so many bytes before they are sealed early; 0: no bound.
    pub head_bytes_max: u64,
    /// Decoded parts of blocks that queries share may take so many bytes.
    pub decoded_bytes_max: u64,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Dice.
    pub chance: Arc<dyn Chance>,
}

/// What the head holds of one partition and window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeldWindow {
    /// The partition.
    pub arc: RingArc,
    /// The window.
    pub window: Window,
    /// Samples; repeats among late ones may be counted twice.
    pub samples: u64,
    /// Bytes of memory.
    pub bytes: u64,
    /// Since when, as far as this process knows.
    pub since: TimestampMs,
}

/// One node's data.
pub struct Store {
    directory: DataDir,
    pub(super) engine: Arc<dyn Engine>,
    /// Decoded parts of the applied blocks.
    pub(super) decoded: Arc<DecodedParts>,
    /// Blocks that are not here; `None` where there is no bucket.
    pub(super) tier: Option<Arc<Tier>>,
    /// Blocks that end before this need not be here once the bucket has them.
    pub(super) keep_from: AtomicI64,
    /// Lists that sets of blocks gave to reads.
    pub(super) remembered: Arc<Remembered>,
    pub(super) head: Head,
    head_bytes_max: u64,
    pub(super) cluster_id: u128,
    pub(super) chance: Arc<dyn Chance>,
    pub(super) clock: Arc<dyn Clock>,
    /// Since when the head has held something of a window, as far as this process knows.
    since: Mutex<BTreeMap<(RingArc, Window), TimestampMs>>,
    pub(super) views: RwLock<ArcViews>,
    /// What was counted of them last.
    pub(super) counts: Mutex<Counts>,
    /// Held while blocks are applied: one partition at a time.
    pub(super) applying: Mutex<()>,
    /// Blocks that left their view; dropped when no reader has them any more.
    pub(super) retired: Mutex<Vec<Arc<AppliedBlock>>>,
    /// Blocks whose files are damaged.
    pub(super) damaged: Mutex<BTreeSet<BlockId>>,
    /// Blocks whose damaged files are still read.
    pub(super) replacing: Mutex<Vec<Replacing>>,
    /// Files that are being received.
    pub(super) receipts: Receipts,
    /// Where ingested blocks' files lie, as far as somebody asked.
    pub(super) paths: Mutex<BTreeMap<BlockId, PathBuf>>,
    #[cfg(test)]
    pub(crate) faults: super::faults::Faults,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("directory", &self.directory.path())
            .finish_non_exhaustive()
    }
}

/// Makes the staging directory, and removes what a crash left of a snapshot.
fn prepared(directory: &DataDir) -> Result<PathBuf, Error> {
    let staging = directory.path().join("staged");
    fs::create_dir_all(&staging).map_err(Error::io("make", &staging))?;
    remove_unfinished(&directory.path().join(SNAPSHOTS))?;
    Ok(staging)
}

impl Store {
    /// Opens the store: reads what is applied, and replays the log.
    ///
    /// # Errors
    /// When something on disk cannot be read, is damaged, or of a later version.
    pub fn open(parts: StoreParts) -> Result<Self, Error> {
        Self::open_tiered(parts, None)
    }

    /// The same of a store that reads blocks elsewhere too.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_tiered(parts: StoreParts, tier: Option<TierParts>) -> Result<Self, Error> {
        let staging = prepared(&parts.directory)?;
        let marks = applied::read_marks(parts.engine.as_ref())?;
        end_replacing(parts.engine.as_ref(), &staging)?;
        let decoded = Arc::new(DecodedParts::new(parts.decoded_bytes_max));
        let cache = parts.directory.path().join("cache");
        let tier = tier.map(|tier| Tier::open(tier, &cache)).transpose()?;
        let files = parts.engine.block_files()?.into_iter();
        let opening = Arc::new(Opening {
            engine: Arc::clone(&parts.engine),
            tier: tier.clone(),
            decoded: Arc::clone(&decoded),
            here: Mutex::new(files.map(|file| (file.id, Weak::new())).collect()),
        });
        let views = opening.views()?;
        let marks: Vec<Mark> = marks
            .into_iter()
            .map(|((arc, window), position)| Mark {
                arc,
                window,
                position,
            })
            .collect();
        let disk = parts.directory.log_disk()?;
        let head = Head::open(
            HeadSettings {
                cluster_id: parts.cluster_id,
                ..parts.head
            },
            &parts.log,
            disk,
            &marks,
            Arc::clone(&parts.clock),
        )?;
        Ok(Self {
            directory: parts.directory,
            engine: parts.engine,
            remembered: Arc::new(Remembered::among(Arc::clone(&decoded))),
            decoded,
            tier,
            keep_from: AtomicI64::new(i64::MIN),
            head,
            head_bytes_max: parts.head_bytes_max,
            cluster_id: parts.cluster_id,
            chance: parts.chance,
            clock: parts.clock,
            since: Mutex::new(BTreeMap::new()),
            views: RwLock::new(views),
            counts: Mutex::default(),
            applying: Mutex::new(()),
            retired: Mutex::new(Vec::new()),
            damaged: Mutex::default(),
            replacing: Mutex::default(),
            receipts: Receipts::default(),
            paths: Mutex::default(),
            #[cfg(test)]
            faults: super::faults::Faults::default(),
        })
    }

    /// What the catalog says of the blocks of a partition that are applied here.
    #[must_use]
    pub fn applied_blocks(&self, arc: RingArc) -> Vec<BlockEntry> {
        let view = self.view_of(arc);
        let blocks = view.blocks_readable().iter();
        blocks.map(|block| block.entry().clone()).collect()
    }

    /// The version of a partition that is applied here, and its blocks in their order.
    #[cfg(test)]
    pub(crate) fn blocks_of(&self, arc: RingArc) -> (u64, Vec<BlockId>) {
        let view = self.view_of(arc);
        let blocks = view.blocks().unwrap().iter();
        let ids = blocks.map(|block| block.entry().id);
        (view.version, ids.collect())
    }

    /// The data directory.
    #[must_use]
    pub const fn directory(&self) -> &DataDir {
        &self.directory
    }

    /// The id of a series, given to it when it comes first.
    ///
    /// # Errors
    /// When there are too many series.
    pub fn register(&self, tenant: &TenantId, labels: &LabelSet) -> Result<SeriesId, Error> {
        self.head.register(tenant, labels)
    }

    /// The same for a series that another node has taken already: no bound on their number.
    ///
    /// # Errors
    /// When numbers run out.
    pub fn register_taken(&self, tenant: &TenantId, labels: &LabelSet) -> Result<SeriesId, Error> {
        self.head.register_taken(tenant, labels)
    }

    /// The tenant and labels of a series that is not forgotten.
    #[must_use]
    pub fn describe(&self, series: SeriesId) -> Option<(TenantId, LabelSet)> {
        self.head.describe(series)
    }

    /// Puts a batch into head and log buffer in one step.
    ///
    /// # Errors
    /// When the log has failed or memory is at its bound; nothing of the batch is taken then.
    pub fn append(&self, batch: &AppendBatch<'_>) -> Result<Appended, Error> {
        self.head.append(batch)
    }

    /// What the head holds, by partition and window.
    #[must_use]
    pub fn held(&self) -> Vec<HeldWindow> {
        let held = self.head.held();
        let now = self.clock.now();
        let mut since = self.since.lock();
        since.retain(|key, _| held.contains_key(key));
        let mut since_when = |key| {
            let since = since.entry(key).or_insert(now);
            // A clock that was ahead when it came must not keep it here until it is caught up with.
            *since = now.min(*since);
            *since
        };
        held.into_iter()
            .map(|((arc, window), held)| HeldWindow {
                arc,
                window,
                samples: held.samples,
                bytes: held.bytes,
                since: since_when((arc, window)),
            })
            .collect()
    }

    /// Lets the head forget a cut. What is held of its windows from now on is new.
    pub(super) fn give_up(&self, cuts: Vec<Cut>) {
        let mut since = self.since.lock();
        for cut in cuts {
            since.remove(&(cut.arc(), cut.window()));
            self.head.give_up(cut);
        }
    }

    /// What was held of an arc that is split is as old as parts of it.
    pub(super) fn divide_since(&self) {
        let mut since = self.since.lock();
        let before = std::mem::take(&mut *since);
        for (arc, window) in self.head.held().into_keys() {
            let mut whole = Some(arc);
            while let Some(one) = whole {
                if let Some(at) = before.get(&(one, window)) {
                    since.insert((arc, window), *at);
                    break;
                }
                whole = one.parent();
            }
        }
    }

    /// Forgets series that nothing is held of.
    pub fn tidy(&self) {
        self.head.tidy();
    }

    /// Numbers of head and log.
    #[must_use]
    pub fn head_stats(&self) -> HeadStats {
        self.head.stats()
    }

    /// Bytes of memory that unsealed samples take, and their bound (0: none).
    #[must_use]
    pub fn memory_use(&self) -> (u64, u64) {
        (self.head.stats().layer_bytes, self.head_bytes_max)
    }

    /// Bytes of unsealed samples above their bound.
    #[must_use]
    pub fn memory_excess(&self) -> u64 {
        match self.memory_use() {
            (_, 0) => 0,
            (bytes, bound) => bytes.saturating_sub(bound),
        }
    }

    /// Brings what was appended to disk; nothing may be appended after it.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub fn close(&self) -> Result<(), Error> {
        self.head.close()
    }

    /// The version of a partition that is applied here.
    #[must_use]
    pub fn applied_version(&self, arc: RingArc) -> u64 {
        self.view_of(arc).version
    }

    /// Whether a version of a partition, or a later one, is applied here.
    #[must_use]
    pub fn has_applied(&self, arc: RingArc, version: u64) -> bool {
        self.knows(arc) && self.applied_version(arc) >= version
    }

    /// Whether anything is kept here of a partition.
    #[must_use]
    pub fn holds(&self, arc: RingArc) -> bool {
        self.knows(arc) || !self.head_is_empty(arc)
    }

    pub(super) fn view_of(&self, arc: RingArc) -> Arc<ArcView> {
        self.views.read().get(&arc).cloned().unwrap_or_default()
    }

    /// All views as of now. What was not read of them yet is not read while others wait for the lock.
    pub(super) fn views_now(&self) -> Vec<(RingArc, Arc<ArcView>)> {
        let views = self.views.read();
        let of = |(arc, view): (&RingArc, &Arc<ArcView>)| (*arc, Arc::clone(view));
        views.iter().map(of).collect()
    }

    /// Whether any view has a block.
    pub(super) fn is_applied(&self, id: BlockId) -> Result<bool, Error> {
        for (_, view) in self.views_now() {
            if view.names(id)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether any view reads a block's file here.
    pub(super) fn is_read_here(&self, id: BlockId) -> Result<bool, Error> {
        for (_, view) in self.views_now() {
            if view.find(id)?.is_some_and(|block| block.is_here()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A block that any view has.
    pub(super) fn applied_block(&self, id: BlockId) -> Result<Option<Arc<AppliedBlock>>, Error> {
        for (_, view) in self.views_now() {
            if let Some(block) = view.find(id)? {
                return Ok(Some(Arc::clone(block)));
            }
        }
        Ok(None)
    }

    /// Whether a partition has a view at all.
    pub(super) fn knows(&self, arc: RingArc) -> bool {
        self.views.read().contains_key(&arc)
    }

    /// One view of all partitions and the head: nothing can move from the head to a block between.
    pub(super) fn read_view(&self, range: TimeRange) -> Result<ReadView, Error> {
        let (views, head) = {
            let views = self.views.read();
            (views.clone(), Arc::new(self.head.view()))
        };
        Ok(ReadView {
            head,
            blocks: listed(views.iter(), range)?,
            remembered: Arc::clone(&self.remembered),
        })
    }

    /// The head alone.
    pub(super) fn read_heads(&self) -> Arc<HeadView> {
        Arc::new(self.head.view())
    }

    pub(super) fn staging(&self) -> PathBuf {
        self.directory.path().join("staged")
    }

    /// A place where tests let the process die.
    ///
    /// # Errors
    /// Only in tests.
    #[cfg_attr(
        not(test),
        allow(
            clippy::unnecessary_wraps,
            clippy::unused_self,
            reason = "tests fail here"
        )
    )]
    pub(crate) fn reach(&self, _step: &'static str) -> Result<(), Error> {
        #[cfg(test)]
        self.faults.reach(_step)?;
        Ok(())
    }

    /// Forgets marks below which the log has nothing any more.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn forget_marks(&self) -> Result<(), Error> {
        let _one = self.applying.lock();
        let oldest = self.head.first_position();
        let marks = applied::read_marks(self.engine.as_ref())?;
        let mut batch = Batch::new();
        for ((arc, window), _) in marks.into_iter().filter(|(_, at)| *at < oldest) {
            applied::delete_mark(&mut batch, arc, window);
        }
        if batch.is_empty() {
            return Ok(());
        }
        self.engine.write(batch, Durability::Buffered)
    }
}
