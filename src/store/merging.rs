//! The store's part in merging: several applied blocks of a partition become the file of one.
//!
//! It is read from the blocks' files past all caches, so that what queries have there stays, and at
//! the pace of a throttle. What comes out is staged like a seal's block; who commits it, and that it
//! takes the place of the others, is the catalog's and [`Store::apply`]'s business.
//!
//! Inputs hold what was acknowledged, and they go when the output is applied. So the output is
//! counted before anybody hears of it: it must hold every sample of the inputs, except those that
//! another one settled, those that another stands for after downsampling (`MergedBlocks` counts for each series that
//! what stays stands for all that was there), and those that were left out on purpose, because they have expired or
//! are deleted. What is read back of a dense or downsampled block must have the sum that was written.

use std::sync::Arc;

use super::applied_block::AppliedBlock;
use super::block::{BlockContent, BlockProperties, BlockReader, MergedBlocks, build_block};
use super::engine::{Pairs, SstTable, Table};
use super::error::Error;
use super::files::remove;
use super::watermark::free_bytes;
use super::whole::{Receipts, Store};
use crate::codec::page::Density;
use crate::model::{
    BlockEntry, BlockId, Deletion, Level, Resolution, RingArc, TimeRange, TimestampMs,
};
use crate::runtime::{CancelToken, Throttle};

/// So much of the disk stays free beside what a merge writes.
const FREE_MIN: u64 = 64 << 20;

/// What is to be merged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MergeOrder {
    /// The partition.
    pub arc: RingArc,
    /// Its blocks that are merged.
    pub inputs: Vec<BlockId>,
    /// The times of all of them together.
    pub range: TimeRange,
    /// Of the new block.
    pub level: Level,
    /// Of the new block.
    pub round: u32,
    /// What is older has expired and is left out.
    pub keep_from: TimestampMs,
    /// And so is this.
    pub without: Vec<Deletion>,
    /// What is finer is downsampled to this.
    pub resolution: Resolution,
}

/// A merged block's file, staged. While this lives nobody sweeps it away.
#[derive(Debug)]
pub struct MergedFile {
    /// What the catalog is to say of it; `None` when nothing was left to be kept.
    pub entry: Option<BlockEntry>,
    /// So many samples of the inputs others stand for now.
    pub folded: u64,
    _made: Made,
}

/// A file that is being made, so that sweeping leaves it alone.
#[derive(Debug)]
struct Made {
    id: BlockId,
    receipts: Receipts,
}

impl Drop for Made {
    fn drop(&mut self) {
        self.receipts.lock().remove(&self.id);
    }
}

impl Store {
    /// Builds one block of several that are applied here, durably; its file is staged until it is
    /// applied. Its pages are as they are to be.
    ///
    /// # Errors
    /// When an input is not applied here (any more), something cannot be read or written, the disk
    /// has no room, or it is called off; nothing is staged then.
    pub fn merge(
        &self,
        order: &MergeOrder,
        pages: Density,
        throttle: &Arc<Throttle>,
        cancel: &CancelToken,
    ) -> Result<MergedFile, Error> {
        self.reach("merge")?;
        // The view's blocks keep their files while they are read.
        let pinned = self.inputs_of(order)?;
        self.need_room_for(&pinned)?;
        let mut readers = Vec::with_capacity(pinned.len());
        for block in &pinned {
            readers.push(Arc::new(self.open_past_caches(block, throttle)?));
        }
        let kept = TimeRange::new(order.keep_from.max(order.range.start), order.range.end);
        let content = MergedBlocks::open(&readers, order.arc, kept)?;
        let mut content = content
            .at(order.resolution, pages)
            .without(&order.without)?;
        let properties = BlockProperties {
            id: BlockId(self.chance.next_u128()),
            cluster_id: self.cluster_id,
            arc: order.arc,
            range: order.range,
            level: order.level.at(order.resolution),
            round: order.round,
            pages,
        };
        self.receipts.lock().insert(properties.id);
        let made = Made {
            id: properties.id,
            receipts: Arc::clone(&self.receipts),
        };
        let path = self.staged(properties.id);
        let built = build_block(&path, &properties, &mut content, cancel)?;
        let left_out = LeftOut {
            settled: content.settled(),
            deleted: content.deleted(),
            folded: content.folded(),
        };
        let counted = count(
            (order, self.cluster_id),
            &pinned,
            &readers,
            &built.entry,
            left_out,
        );
        let checked = counted.and_then(|()| match (pages, order.resolution) {
            (Density::Quick, Resolution::Raw) => Ok(()),
            _ => self.read_back(&built, cancel),
        });
        if let Err(error) = checked {
            remove(&path)?;
            return Err(error);
        }
        self.reach("merged")?;
        let is_empty = built.entry.samples == 0 && content.metadata()?.is_empty();
        if is_empty {
            remove(&path)?;
        }
        Ok(MergedFile {
            entry: (!is_empty).then_some(built.entry),
            folded: left_out.folded,
            _made: made,
        })
    }

    fn need_room_for(&self, inputs: &[Arc<AppliedBlock>]) -> Result<(), Error> {
        let bytes: u64 = inputs.iter().map(|block| block.entry().size).sum();
        let free = free_bytes(self.directory().path())
            .map_err(Error::io("measure", self.directory().path()))?;
        if free < bytes.saturating_add(FREE_MIN) {
            return Err(Error::Unavailable(format!(
                "merging {bytes} bytes of blocks needs as much of the disk, and {free} are free: \
                 make room"
            )));
        }
        Ok(())
    }

    fn inputs_of(&self, order: &MergeOrder) -> Result<Vec<Arc<AppliedBlock>>, Error> {
        let view = self.view_of(order.arc);
        let blocks = view.blocks()?.iter();
        let inputs: Vec<Arc<AppliedBlock>> = blocks
            .filter(|block| order.inputs.contains(&block.entry().id))
            .cloned()
            .collect();
        if inputs.len() != order.inputs.len() {
            return Err(Error::Unavailable(format!(
                "{} of {} blocks that are to be merged are applied here: plan again",
                inputs.len(),
                order.inputs.len()
            )));
        }
        Ok(inputs)
    }

    fn open_past_caches(
        &self,
        block: &AppliedBlock,
        throttle: &Arc<Throttle>,
    ) -> Result<BlockReader, Error> {
        let id = block.entry().id;
        let file = self.open_file(id)?.ok_or_else(|| {
            Error::corrupt(format!("block {id}"), "it is applied, but its file is gone")
        })?;
        let table = Paced {
            table: SstTable::open(Box::new(file))?,
            throttle: Arc::clone(throttle),
        };
        BlockReader::open(Arc::new(table), id)
    }
}

/// Samples of inputs that are not in the output, and why.
#[derive(Clone, Copy, Debug)]
struct LeftOut {
    settled: u64,
    deleted: u64,
    folded: u64,
}

/// Compares what went in with what came out.
fn count(
    (order, cluster_id): (&MergeOrder, u128),
    inputs: &[Arc<AppliedBlock>],
    readers: &[Arc<BlockReader>],
    output: &BlockEntry,
    out: LeftOut,
) -> Result<(), Error> {
    let whole = |reader: &Arc<BlockReader>| {
        reader.properties().arc == order.arc && reader.totals().times.start >= order.keep_from
    };
    if !readers.iter().all(whole) {
        return Ok(());
    }
    let samples: u64 = inputs.iter().map(|block| block.entry().samples).sum();
    let sum = inputs.iter().fold(0u128, |sum, block| {
        sum.wrapping_add(block.entry().content_sum)
    });
    let LeftOut {
        settled,
        deleted,
        folded,
    } = out;
    let left_out = settled.saturating_add(deleted).saturating_add(folded);
    let all_here = output.samples.saturating_add(left_out) == samples;
    // Sums are keyed by the cluster: those of blocks that a restored one took over are other ones.
    let mut built = readers.iter().map(|reader| reader.properties().cluster_id);
    let comparable = left_out == 0 && built.all(|built| built == cluster_id);
    if all_here && (!comparable || output.content_sum == sum) {
        return Ok(());
    }
    Err(Error::Bug(format!(
        "{} samples of {samples} came out of a merge of partition {}, {settled} of them settled, {folded} folded and {deleted} deleted: \
         the blocks stay as they are",
        output.samples, order.arc
    )))
}

/// A table that is read at a pace. What is written about equals what is read, so both are paid for
/// here.
struct Paced {
    table: SstTable,
    throttle: Arc<Throttle>,
}

impl Table for Paced {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let value = self.table.get(key)?;
        let bytes = value.as_ref().map_or(0, Vec::len);
        self.throttle.take(2 * bytes as u64);
        Ok(value)
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>) -> Result<Pairs, Error> {
        let pairs = self.table.scan(prefix, after)?;
        let bytes: usize = pairs.iter().map(|(_, value)| value.len()).sum();
        self.throttle.take(2 * bytes as u64);
        Ok(pairs)
    }
}
