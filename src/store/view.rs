//! Views: what a reader sees of a partition, and keeps however long it reads.
//!
//! A view is a version of the catalog that is applied here and its blocks. It is swapped as a
//! whole, together with what the head gives up for it: a reader who has taken one view of all
//! partitions and the head misses nothing and sees nothing that was never written.
//!
//! A block that a view holds stays on disk; when it has left the last view it can be dropped.

use std::collections::{BTreeMap, HashMap};
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use super::block::{BlockReader, DecodedParts, TenantReader};
use super::engine::Engine;
use super::error::Error;
use super::head::HeadView;
use super::remembered::Remembered;
use super::tier::{Reading, RemoteBlock, Tier};
use crate::model::{BlockEntry, BlockId, RingArc, TenantId, TimeRange, TimestampMs};
use crate::source::Contents;

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

    /// The blocks that may hold something of a range, or of an interval that it cuts or follows.
    pub(super) fn blocks_in(&self, range: TimeRange) -> impl Iterator<Item = &Arc<AppliedBlock>> {
        self.blocks.iter().filter(move |block| {
            let around = block.reaching_around(range);
            block.entry().range.overlaps(around)
        })
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
#[derive(Clone)]
pub(super) struct Seen {
    pub(super) block: Arc<AppliedBlock>,
    /// The partitions of the view that list it.
    pub(super) arcs: Arc<[RingArc]>,
}

impl Seen {
    /// What an opened block has of a tenant, as it is seen here.
    pub(super) fn tenant(
        &self,
        opened: &BlockReader,
        tenant: &TenantId,
    ) -> Result<Option<TenantReader>, Error> {
        let whole = opened.properties().arc;
        let all =
            self.arcs.iter().any(|arc| arc.covers(whole)) || width(&self.arcs) == width(&[whole]);
        let only = if all {
            Arc::default()
        } else {
            Arc::clone(&self.arcs)
        };
        let data = opened.tenant(tenant)?;
        Ok(data.map(|data| data.only(&only)))
    }
}

impl ReadView {
    /// The blocks, each once: those that are here and then those that are elsewhere. A block that is
    /// wider than the partitions of this view that list it shows what lies in these.
    pub(super) fn seen(&self) -> (Vec<Seen>, Vec<Seen>) {
        let mut at: HashMap<BlockId, usize> = HashMap::with_capacity(self.blocks.len());
        let mut all: Vec<(&Arc<AppliedBlock>, Vec<RingArc>)> = Vec::new();
        for (arc, block) in &self.blocks {
            let at = *at.entry(block.entry().id).or_insert(all.len());
            match all.get_mut(at) {
                Some((_, arcs)) => arcs.push(*arc),
                None => all.push((block, vec![*arc])),
            }
        }
        let seen = all.into_iter().map(|(block, arcs)| Seen {
            block: Arc::clone(block),
            arcs: arcs.into(),
        });
        seen.partition(|seen| seen.block.is_here())
    }
}

impl ReadView {
    /// What reads of a range are made from: blocks, each as it is seen here, and heads.
    pub(super) fn contents(&self, range: TimeRange) -> Contents {
        let mut contents = Contents::default();
        for (arc, block) in &self.blocks {
            let entry = block.entry();
            let place = (u128::from(arc.depth()) << 32) | u128::from(arc.prefix());
            let name = entry.id.0.wrapping_add(place.wrapping_mul(PLACE_FACTOR));
            contents.add_part(entry.range, name);
        }
        for window in self.head.windows_held(range) {
            contents.add_open(window.range());
        }
        contents.add_changes(self.head.removals());
        contents
    }
}

/// Spreads the places of arcs, so that a block listed by one arc is not named as another listed by
/// another.
const PLACE_FACTOR: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;

/// How much of the ring some arcs are that do not meet, in parts of 2^28.
fn width(arcs: &[RingArc]) -> u64 {
    let of = |arc: &RingArc| 1u64 << (RingArc::DEPTH_MAX - arc.depth());
    arcs.iter().map(of).sum()
}
