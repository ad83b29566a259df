//! A block that is applied here: what the catalog says of it, and where its file is read.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use super::block::{BlockReader, DecodedParts};
use super::engine::Engine;
use super::error::Error;
use super::tier::{Reading, RemoteBlock, Tier};
use crate::model::{BlockEntry, RingArc, TimeRange, TimestampMs};

/// A block that is applied here; opened when it is first read.
pub(super) struct AppliedBlock {
    entry: BlockEntry,
    home: Home,
    /// Where decoded parts are kept for all readers.
    decoded: Arc<DecodedParts>,
}

/// Where a block's file is.
enum Home {
    /// In the engine.
    Here {
        engine: Arc<dyn Engine>,
        reader: OnceLock<BlockReader>,
    },
    /// Only in the bucket.
    Elsewhere {
        tier: Arc<Tier>,
        block: Arc<RemoteBlock>,
    },
}

/// An opened block, for one read.
pub(super) enum Opened<'a> {
    Here(&'a BlockReader),
    Elsewhere(BlockReader),
}

impl Deref for Opened<'_> {
    type Target = BlockReader;

    fn deref(&self) -> &BlockReader {
        match self {
            Self::Here(reader) => reader,
            Self::Elsewhere(reader) => reader,
        }
    }
}

impl AppliedBlock {
    /// A block of the engine.
    pub(super) fn here(
        entry: BlockEntry,
        engine: Arc<dyn Engine>,
        decoded: Arc<DecodedParts>,
    ) -> Self {
        let reader = OnceLock::new();
        Self {
            entry,
            home: Home::Here { engine, reader },
            decoded,
        }
    }

    /// A block of which nothing is here.
    pub(super) fn elsewhere(
        arc: RingArc,
        entry: BlockEntry,
        tier: Arc<Tier>,
        decoded: Arc<DecodedParts>,
    ) -> Self {
        let block = Arc::new(RemoteBlock {
            arc,
            entry: entry.clone(),
        });
        Self {
            entry,
            home: Home::Elsewhere { tier, block },
            decoded,
        }
    }

    /// One that is read in its own way.
    pub(super) fn opened(
        entry: BlockEntry,
        engine: Arc<dyn Engine>,
        reader: BlockReader,
        decoded: Arc<DecodedParts>,
    ) -> Self {
        let reader = OnceLock::from(reader);
        Self {
            entry,
            home: Home::Here { engine, reader },
            decoded,
        }
    }

    pub(super) const fn entry(&self) -> &BlockEntry {
        &self.entry
    }

    /// A range and what lies before it by the block's resolution: its samples are seen for so long.
    pub(super) const fn reaching_back(&self, range: TimeRange) -> TimeRange {
        let back = self.entry.level.resolution().ms();
        TimeRange::new(TimestampMs(range.start.0.saturating_sub(back)), range.end)
    }

    /// A range and what lies around it by the block's resolution: where samples stand for those of the range.
    pub(super) const fn reaching_around(&self, range: TimeRange) -> TimeRange {
        let ahead = self.entry.level.resolution().ms();
        let back = self.reaching_back(range);
        TimeRange::new(back.start, TimestampMs(range.end.0.saturating_add(ahead)))
    }

    /// Whether its file is here.
    pub(super) const fn is_here(&self) -> bool {
        matches!(self.home, Home::Here { .. })
    }

    /// The opened block. That it is missing is an error, never an empty answer.
    pub(super) fn reader(&self, reading: &Arc<Reading>) -> Result<Opened<'_>, Error> {
        match &self.home {
            Home::Here { engine, reader } => self.reader_here(engine, reader).map(Opened::Here),
            Home::Elsewhere { tier, block } => {
                let reader = tier.reader(reading, block)?;
                let reader = reader.sharing(Arc::clone(&self.decoded));
                Ok(Opened::Elsewhere(reader))
            }
        }
    }

    fn reader_here<'a>(
        &self,
        engine: &Arc<dyn Engine>,
        reader: &'a OnceLock<BlockReader>,
    ) -> Result<&'a BlockReader, Error> {
        if let Some(reader) = reader.get() {
            return Ok(reader);
        }
        let id = self.entry.id;
        let Some(table) = engine.table(id)? else {
            return Err(Error::corrupt(
                format!("block {id}"),
                "the catalog names it, but its file is not there",
            ));
        };
        let opened = BlockReader::open(table, id)?.sharing(Arc::clone(&self.decoded));
        Ok(reader.get_or_init(|| opened))
    }
}

/// Blocks in order of their range, then of their round.
pub(super) fn in_order(blocks: &mut [Arc<AppliedBlock>]) {
    blocks.sort_by_key(|block| {
        let entry = block.entry();
        (entry.range.start, entry.range.end, entry.round, entry.id)
    });
}
