//! Which blocks are here and which only elsewhere. A file leaves this disk only when the catalog
//! says that the bucket has the block, that is noted durably here, and no read holds it; from then
//! on reads of the block go to the bucket.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::applied;
use super::applied_block::AppliedBlock;
use super::engine::{Batch, Durability, Engine, Space};
use super::error::Error;
use super::homes::Homes;
use super::tier::{Reading, RemoteBlock, Tier, TierMetrics};
use super::view::ArcView;
use super::watermark::free_bytes;
use super::whole::Store;
use crate::model::{BlockEntry, BlockId, RingArc, TimestampMs, Uploaded};

/// So much of the disk stays free beside what is fetched to be merged.
const FREE_MIN: u64 = 64 << 20;

/// The key of the note of what left because of its size: the bound (u64), and before which time (i64).
const LEAVE: &[u8] = b"leave/size";

impl Store {
    pub(super) fn homes(&self) -> Homes<'_> {
        Homes {
            engine: &self.engine,
            tier: self.tier.as_ref(),
            decoded: &self.decoded,
        }
    }

    /// Whether blocks that are not here can be read.
    #[must_use]
    pub const fn has_tier(&self) -> bool {
        self.tier.is_some()
    }

    /// From now on blocks that end before this need not be here once the bucket has them.
    pub fn keep_from(&self, from: TimestampMs) {
        self.keep_from.store(from.0, Ordering::Relaxed);
    }

    /// Before which time blocks left because of a bound on their size, as it was noted last; `None`: it was not, or
    /// for another bound. What a start goes by, so that it need not know how large everything is.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn noted_leave(&self, bound: u64) -> Result<Option<TimestampMs>, Error> {
        let Some(bytes) = self.engine.get(Space::Meta, LEAVE)? else {
            return Ok(None);
        };
        let note = bytes.split_first_chunk::<8>();
        let note = note.filter(|(of, _)| u64::from_be_bytes(**of) == bound);
        let time = note.and_then(|(_, time)| <[u8; 8]>::try_from(time).ok());
        Ok(time.map(|time| TimestampMs(i64::from_be_bytes(time))))
    }

    /// Notes it.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn note_leave(&self, bound: u64, before: TimestampMs) -> Result<(), Error> {
        let mut batch = Batch::new();
        let note = [bound.to_be_bytes(), before.0.to_be_bytes()].concat();
        batch.put(Space::Meta, LEAVE, &note);
        self.engine.write(batch, Durability::Buffered)
    }

    /// Whether a block need not be here: it is past local retention, and the bucket has it.
    #[must_use]
    pub fn need_not_be_here(&self, entry: &BlockEntry) -> bool {
        let from = TimestampMs(self.keep_from.load(Ordering::Relaxed));
        self.tier.is_some() && entry.uploaded != Uploaded::None && entry.range.end < from
    }

    /// Opens a block where it is elsewhere: its end, its index and its totals, by ranges.
    ///
    /// # Errors
    /// When it cannot be read there, or is not what the catalog says.
    pub fn open_elsewhere(&self, arc: RingArc, entry: &BlockEntry) -> Result<(), Error> {
        let Some(tier) = &self.tier else {
            let text = "there is no bucket: set archive.kind";
            return Err(Error::Unavailable(text.to_owned()));
        };
        let block = Arc::new(RemoteBlock {
            arc,
            entry: entry.clone(),
        });
        tier.reader(&Reading::background(), &block).map(|_| ())
    }

    /// Lets the files of some blocks of a partition go; their entries say where else they are.
    /// What is not applied here, or not elsewhere, is left alone. Says how many went.
    ///
    /// # Errors
    /// When the disk fails; nothing has changed then, or only files are left that go later.
    pub fn let_go(&self, arc: RingArc, entries: &[BlockEntry]) -> Result<usize, Error> {
        let Some(tier) = &self.tier else {
            return Ok(0);
        };
        let _one = self.applying.lock();
        self.check_arc(arc)?;
        let view = self.view_of(arc);
        let uploaded = entries.iter().filter(|e| e.uploaded != Uploaded::None);
        let going: BTreeMap<BlockId, &BlockEntry> = uploaded.map(|e| (e.id, e)).collect();
        let (mut batch, mut blocks, mut gone) = (Batch::new(), Vec::new(), Vec::new());
        for block in view.blocks()? {
            let entry = going.get(&block.entry().id);
            let Some(entry) = entry.filter(|_| block.is_here()) else {
                blocks.push(Arc::clone(block));
                continue;
            };
            let entry = BlockEntry {
                uploaded: entry.uploaded,
                ..block.entry().clone()
            };
            applied::put_block(&mut batch, arc, &entry);
            self.keep_head(tier, &entry);
            let decoded = Arc::clone(&self.decoded);
            let elsewhere = AppliedBlock::elsewhere(arc, entry, Arc::clone(tier), decoded);
            blocks.push(Arc::new(elsewhere));
            gone.push(Arc::clone(block));
        }
        if gone.is_empty() {
            return Ok(0);
        }
        // First it is on the disk where the block is, then nobody new reads the file, then it goes.
        self.engine.write(batch, Durability::Synced)?;
        self.reach("let go")?;
        let next = Arc::new(ArcView::new(view.version, blocks));
        drop(view);
        self.views.write().insert(arc, next);
        let count = gone.len();
        self.retire(gone);
        self.drop_unused()?;
        Ok(count)
    }

    /// Keeps of a block that leaves what says which series it has. Without it, that is fetched when a query asks.
    fn keep_head(&self, tier: &Tier, entry: &BlockEntry) {
        let kept = self.open_file(entry.id).and_then(|file| match file {
            Some(file) => tier.keep_head(entry, &file),
            None => Ok(()),
        });
        if let Err(error) = kept {
            tracing::warn!(block = %entry.id, %error, "the index of a block that leaves this disk is not kept and will be fetched");
        }
    }

    /// Those of some applied blocks whose files have to be fetched before they can be merged.
    ///
    /// # Errors
    /// When the engine cannot say, or the disk has no room for them and for what is made of them.
    pub fn lacking(&self, arc: RingArc, blocks: &[BlockId]) -> Result<Vec<BlockEntry>, Error> {
        let mut lacking = Vec::new();
        for block in self.view_of(arc).blocks()? {
            let entry = block.entry();
            if blocks.contains(&entry.id) && !block.is_here() && !self.has_file(entry.id)? {
                lacking.push(entry.clone());
            }
        }
        let path = self.directory().path();
        let bytes: u64 = lacking.iter().map(|entry| entry.size).sum();
        let free = free_bytes(path).map_err(Error::io("measure", path))?;
        if bytes > 0 && free < bytes.saturating_mul(2).saturating_add(FREE_MIN) {
            return Err(Error::Unavailable(format!(
                "merging {bytes} bytes of blocks that are in the bucket needs twice as much of the \
                 disk, and {free} are free: make room"
            )));
        }
        Ok(lacking)
    }

    /// Removes the staged files of blocks that are read elsewhere.
    ///
    /// # Errors
    /// When the disk does not let go of one.
    pub fn unstage_elsewhere(&self, arc: RingArc, blocks: &[BlockId]) -> Result<(), Error> {
        for block in self.view_of(arc).blocks()? {
            let id = block.entry().id;
            if blocks.contains(&id) && !block.is_here() {
                self.unstage(id)?;
            }
        }
        Ok(())
    }

    /// What is counted of blocks elsewhere.
    #[must_use]
    pub fn tier_metrics(&self) -> Option<TierMetrics> {
        self.tier.as_ref().map(|tier| tier.metrics())
    }
}

/// Notes partitions as applied whose blocks are all elsewhere: what a restored cluster begins with.
/// It is on the disk no later than the next thing that is synced.
///
/// # Errors
/// When the engine fails.
pub fn begin_elsewhere<'a>(
    engine: &dyn Engine,
    partitions: impl Iterator<Item = (RingArc, u64, &'a BTreeMap<BlockId, BlockEntry>)>,
) -> Result<(), Error> {
    let mut batch = Batch::new();
    for (arc, version, blocks) in partitions {
        applied::put_version(&mut batch, arc, version, blocks.values());
        for entry in blocks.values() {
            applied::put_block(&mut batch, arc, entry);
        }
    }
    engine.write(batch, Durability::Buffered)
}

/// Takes that back: an attempt that was interrupted may have found other blocks.
///
/// # Errors
/// When the engine fails.
pub fn forget_elsewhere(engine: &dyn Engine) -> Result<(), Error> {
    let applied = applied::read(engine)?;
    let mut batch = Batch::new();
    for (arc, applied) in &applied {
        applied::delete_version(&mut batch, *arc);
        for id in applied.blocks.keys() {
            applied::delete_block(&mut batch, *arc, *id);
        }
    }
    engine.write(batch, Durability::Synced)
}
