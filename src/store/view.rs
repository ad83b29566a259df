//! Views: what a reader sees of a partition, and keeps however long it reads.
//!
//! A view is a version of the catalog that is applied here and its blocks. It is swapped as a
//! whole, together with what the head gives up for it: a reader who has taken one view of all
//! partitions and the head misses nothing and sees nothing that was never written.
//!
//! A block that a view holds stays on disk; when it has left the last view it can be dropped.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use super::block::{BlockReader, DecodedParts, TenantReader};
use super::engine::Engine;
use super::error::Error;
use super::head::HeadView;
use super::remembered::Remembered;
use crate::model::{BlockEntry, BlockId, RingArc, TenantId, TimeRange};
use crate::source::{ReadContext, SourceError};

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
    /// With the partition that lists each; one may be listed by several.
    pub(super) blocks: Vec<(RingArc, Arc<AppliedBlock>)>,
    /// What sets of blocks have given before.
    pub(super) remembered: Arc<Remembered>,
}

/// The blocks of some partitions that may hold something of a range.
pub(super) fn listed<'a>(
    views: impl Iterator<Item = (&'a RingArc, &'a Arc<ArcView>)>,
    range: TimeRange,
) -> Vec<(RingArc, Arc<AppliedBlock>)> {
    let of = |(arc, view): (&RingArc, &'a Arc<ArcView>)| {
        let arc = *arc;
        let blocks = view.blocks_in(range);
        blocks.map(move |block| (arc, Arc::clone(block)))
    };
    views.flat_map(of).collect()
}

/// A block as a view shows it: all of it, or what lies in the partitions that list it.
pub(super) struct Seen {
    pub(super) block: Arc<AppliedBlock>,
    /// Empty: all of it.
    pub(super) only: Arc<[RingArc]>,
}

impl Seen {
    /// What it has of a tenant.
    pub(super) fn tenant(&self, tenant: &TenantId) -> Result<Option<TenantReader>, Error> {
        let data = self.block.reader()?.tenant(tenant)?;
        Ok(data.map(|data| data.only(&self.only)))
    }
}

impl ReadView {
    /// The blocks, each once, those that overlap a range. A block that is wider than the partitions
    /// of this view that list it shows what lies in these.
    pub(super) fn seen(
        &self,
        range: TimeRange,
        context: &ReadContext,
    ) -> Result<Vec<Seen>, SourceError> {
        let mut seen = Vec::with_capacity(self.blocks.len());
        let mut wide: BTreeMap<BlockId, (&Arc<AppliedBlock>, Vec<RingArc>)> = BTreeMap::new();
        for (arc, block) in &self.blocks {
            context.cancel.check()?;
            let reader = block.reader()?;
            if !reader.overlaps(range) {
                continue;
            }
            if arc.covers(reader.properties().arc) {
                seen.push(Seen {
                    block: Arc::clone(block),
                    only: Arc::default(),
                });
            } else {
                let (_, arcs) = wide.entry(block.entry().id).or_insert((block, Vec::new()));
                arcs.push(*arc);
            }
        }
        for (block, arcs) in wide.into_values() {
            let all = width(&arcs) == width(&[block.reader()?.properties().arc]);
            seen.push(Seen {
                block: Arc::clone(block),
                only: if all { Arc::default() } else { arcs.into() },
            });
        }
        Ok(seen)
    }
}

/// How much of the ring some arcs are that do not meet, in parts of 2^28.
fn width(arcs: &[RingArc]) -> u64 {
    let of = |arc: &RingArc| 1u64 << (RingArc::DEPTH_MAX - arc.depth());
    arcs.iter().map(of).sum()
}
