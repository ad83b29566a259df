//! Views: what a reader sees of a partition, and keeps however long it reads.
//!
//! A view is a version of the catalog that is applied here and its blocks. It is swapped as a
//! whole, together with what the head gives up for it: a reader who has taken one view of all
//! partitions and the head misses nothing and sees nothing that was never written.
//!
//! Of a view that a start has made the older blocks are read later (`older.rs`).
//!
//! A block that a view holds stays on disk; when it has left the last view it can be dropped.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::applied_block::{AppliedBlock, in_order};
use super::block::{BlockReader, TenantReader};
use super::error::Error;
use super::head::HeadView;
use super::older::Older;
use super::remembered::Remembered;
use crate::model::{BlockId, Resolution, RingArc, TenantId, TimeRange, TimestampMs};
use crate::source::Contents;

/// One partition as it is applied here.
#[derive(Default)]
pub(super) struct ArcView {
    pub(super) version: u64,
    /// In order of their range, then of their round; without the older ones.
    newest: Vec<Arc<AppliedBlock>>,
    /// What a start has not read; `None`: there are no others.
    older: Option<Older>,
}

impl ArcView {
    pub(super) fn new(version: u64, blocks: Vec<Arc<AppliedBlock>>) -> Self {
        Self::with_older(version, blocks, None)
    }

    /// One of which not everything has been read.
    pub(super) fn with_older(
        version: u64,
        mut newest: Vec<Arc<AppliedBlock>>,
        older: Option<Older>,
    ) -> Self {
        in_order(&mut newest);
        Self {
            version,
            newest,
            older,
        }
    }

    /// All blocks, in their order. Whoever changes what is noted of them asks for it first.
    ///
    /// # Errors
    /// When those that nobody has read yet cannot be read.
    pub(super) fn blocks(&self) -> Result<&[Arc<AppliedBlock>], Error> {
        match &self.older {
            None => Ok(&self.newest),
            Some(older) => older.all(&self.newest),
        }
    }

    /// The same for who counts, or comes again: where older ones cannot be read, the newest.
    pub(super) fn blocks_readable(&self) -> &[Arc<AppliedBlock>] {
        self.blocks().unwrap_or_else(|error| {
            if let Some(older) = &self.older {
                older.complain(&error);
            }
            &self.newest
        })
    }

    /// When the newest block ends; `None`: there is none.
    pub(super) fn ends_at(&self) -> Option<TimestampMs> {
        let ends = self.newest.iter().map(|block| block.entry().range.end);
        ends.max()
    }

    /// Whether all blocks have been read.
    pub(super) fn is_whole(&self) -> bool {
        let older = self.older.as_ref();
        older.is_none_or(|older| older.known().is_some())
    }

    /// The blocks that may hold something of a range, or of an interval that it cuts or follows.
    ///
    /// # Errors
    /// As [`ArcView::blocks`], where the range reaches back to older ones.
    pub(super) fn blocks_in(
        &self,
        range: TimeRange,
    ) -> Result<impl Iterator<Item = &Arc<AppliedBlock>>, Error> {
        // Those of the coarsest resolution stand for the longest after they end.
        let back = Resolution::COARSEST.ms();
        let from = TimestampMs(range.start.0.saturating_sub(back));
        let reaches = |older: &Older| from < older.before();
        let blocks = match &self.older {
            Some(older) if reaches(older) => older.all(&self.newest)?,
            _ => &self.newest,
        };
        let overlaps = move |block: &&Arc<AppliedBlock>| {
            let around = block.reaching_around(range);
            block.entry().range.overlaps(around)
        };
        Ok(blocks.iter().filter(overlaps))
    }

    /// Whether it lists a block; older ones are not read for it.
    ///
    /// # Errors
    /// When the disk fails.
    pub(super) fn names(&self, id: BlockId) -> Result<bool, Error> {
        let older = self.older.as_ref();
        let blocks = older.and_then(Older::known).unwrap_or(&self.newest);
        if blocks.iter().any(|block| block.entry().id == id) {
            return Ok(true);
        }
        match older {
            Some(older) if older.known().is_none() => older.names(id),
            _ => Ok(false),
        }
    }

    /// A block that it lists.
    ///
    /// # Errors
    /// As [`ArcView::blocks`], where it is one of the older ones.
    pub(super) fn find(&self, id: BlockId) -> Result<Option<&Arc<AppliedBlock>>, Error> {
        if !self.names(id)? {
            return Ok(None);
        }
        let is_it = |block: &&Arc<AppliedBlock>| block.entry().id == id;
        match self.newest.iter().find(is_it) {
            Some(block) => Ok(Some(block)),
            None => Ok(self.blocks()?.iter().find(is_it)),
        }
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
///
/// # Errors
/// As [`ArcView::blocks_in`].
pub(super) fn listed<'a>(
    views: impl Iterator<Item = (&'a RingArc, &'a Arc<ArcView>)>,
    range: TimeRange,
) -> Result<Vec<(RingArc, Arc<AppliedBlock>)>, Error> {
    let mut all = Vec::new();
    for (arc, view) in views {
        let blocks = view.blocks_in(range)?;
        all.extend(blocks.map(|block| (*arc, Arc::clone(block))));
    }
    Ok(all)
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
