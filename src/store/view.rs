//! Views: what a reader sees of a partition, and keeps however long it reads.
//!
//! A view is a version of the catalog that is applied here and its blocks. It is swapped as a
//! whole, together with what the head gives up for it: a reader who has taken one view of all
//! partitions and the head misses nothing and sees nothing that was never written.
//!
//! A block that a view holds stays on disk; when it has left the last view it can be dropped.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use super::block::{BlockReader, DecodedParts};
use super::engine::Engine;
use super::error::Error;
use super::head::HeadView;
use super::remembered::Remembered;
use crate::model::{BlockEntry, RingArc, TimeRange};

/// A block of the engine that is applied here; opened when it is first read.
pub(super) struct AppliedBlock {
    entry: BlockEntry,
    engine: Arc<dyn Engine>,
    reader: OnceLock<BlockReader>,
    /// Where decoded parts are kept for all readers.
    decoded: Arc<DecodedParts>,
}

impl AppliedBlock {
    pub(super) fn new(
        entry: BlockEntry,
        engine: Arc<dyn Engine>,
        decoded: Arc<DecodedParts>,
    ) -> Self {
        Self {
            entry,
            engine,
            reader: OnceLock::new(),
            decoded,
        }
    }

    pub(super) const fn entry(&self) -> &BlockEntry {
        &self.entry
    }

    /// The opened block. That it is missing is an error, never an empty answer.
    pub(super) fn reader(&self) -> Result<&BlockReader, Error> {
        if let Some(reader) = self.reader.get() {
            return Ok(reader);
        }
        let id = self.entry.id;
        let Some(table) = self.engine.table(id)? else {
            return Err(Error::corrupt(
                format!("block {id}"),
                "the catalog names it, but its file is not there",
            ));
        };
        let reader = BlockReader::open(table, id)?.sharing(Arc::clone(&self.decoded));
        Ok(self.reader.get_or_init(|| reader))
    }
}

/// One partition as it is applied here.
#[derive(Clone, Default)]
pub(super) struct ArcView {
    pub(super) version: u64,
    /// In order of their range, then of their round.
    pub(super) blocks: Vec<Arc<AppliedBlock>>,
}

impl ArcView {
    pub(super) fn new(version: u64, mut blocks: Vec<Arc<AppliedBlock>>) -> Self {
        blocks.sort_by_key(|block| {
            let entry = block.entry();
            (entry.range.start, entry.range.end, entry.round, entry.id)
        });
        Self { version, blocks }
    }

    /// The blocks that may hold something of a range.
    pub(super) fn blocks_in(&self, range: TimeRange) -> impl Iterator<Item = &Arc<AppliedBlock>> {
        self.blocks
            .iter()
            .filter(move |block| block.entry().range.overlaps(range))
    }
}

/// All partitions.
pub(super) type ArcViews = BTreeMap<RingArc, Arc<ArcView>>;

/// A view of head and blocks for one read, kept as long as it is read.
pub(super) struct ReadView {
    pub(super) head: Arc<HeadView>,
    pub(super) blocks: Vec<Arc<AppliedBlock>>,
    /// What sets of blocks have given before.
    pub(super) remembered: Arc<Remembered>,
}
