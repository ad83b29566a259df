//! Blocks that all lie elsewhere, as a source: for a node that holds nothing of its own and shows
//! what a catalog names. There is no head, no log and no engine, so nothing can be appended; of the
//! disk only the cache is used.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;

use super::applied_block::AppliedBlock;
use super::block::{BlockProperties, DecodedParts};
use super::error::Error;
use super::head::HeadView;
use super::lock::DataDir;
use super::remembered::Remembered;
use super::tier::{RemoteBlock, Tier, TierParts};
use super::view::{ArcView, ArcViews, ReadView, listed};
use crate::model::{BlockEntry, BlockId, RingArc, TimeRange};

/// A partition as a catalog lists it.
#[derive(Clone, PartialEq, Debug)]
pub struct ListedPartition {
    /// Which.
    pub arc: RingArc,
    /// The catalog's version.
    pub version: u64,
    /// Its blocks.
    pub blocks: Vec<BlockEntry>,
}

/// Blocks elsewhere, and no others.
pub struct Elsewhere {
    /// Keeps others out of it.
    _directory: DataDir,
    tier: Arc<Tier>,
    decoded: Arc<DecodedParts>,
    remembered: Arc<Remembered>,
    head: Arc<HeadView>,
    /// Swapped as a whole: a read keeps the one that it began with.
    views: RwLock<Arc<ArcViews>>,
}

impl fmt::Debug for Elsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (blocks, _) = self.totals();
        f.debug_struct("Elsewhere")
            .field("blocks", &blocks)
            .finish_non_exhaustive()
    }
}

impl Elsewhere {
    /// Nothing yet; what is fetched later is kept in the folder `cache` of the directory.
    ///
    /// # Errors
    /// When the cache cannot be opened.
    pub fn open(
        directory: DataDir,
        tier: TierParts,
        decoded_bytes_max: u64,
    ) -> Result<Self, Error> {
        let decoded = Arc::new(DecodedParts::new(decoded_bytes_max));
        Ok(Self {
            tier: Tier::open(tier, &directory.path().join("cache"))?,
            _directory: directory,
            remembered: Arc::new(Remembered::among(Arc::clone(&decoded))),
            decoded,
            head: Arc::new(HeadView::empty()),
            views: RwLock::default(),
        })
    }

    /// Shows these partitions from now on. Reads under way go on with what they have, and the cache
    /// forgets what nobody names any more.
    pub fn show(&self, partitions: Vec<ListedPartition>) {
        let view = |one: ListedPartition| {
            let elsewhere = |entry| {
                let (tier, decoded) = (Arc::clone(&self.tier), Arc::clone(&self.decoded));
                Arc::new(AppliedBlock::elsewhere(one.arc, entry, tier, decoded))
            };
            let blocks = one.blocks.into_iter().map(elsewhere).collect();
            (one.arc, Arc::new(ArcView::new(one.version, blocks)))
        };
        let views: ArcViews = partitions.into_iter().map(view).collect();
        *self.views.write() = Arc::new(views);
        let sizes = self.sizes();
        self.tier.retain(&|id| sizes.contains_key(&id));
        let (blocks, bytes) = self.totals();
        self.tier.metrics().elsewhere(blocks, bytes);
    }

    /// The blocks that are shown, with their partitions.
    #[must_use]
    pub fn blocks(&self) -> Vec<(RingArc, BlockEntry)> {
        let views = Arc::clone(&self.views.read());
        let of = |(arc, view): (&RingArc, &Arc<ArcView>)| {
            let entries = view
                .blocks_readable()
                .iter()
                .map(|block| block.entry().clone());
            entries.map(|entry| (*arc, entry)).collect::<Vec<_>>()
        };
        views.iter().flat_map(of).collect()
    }

    /// How many they are, and their bytes.
    #[must_use]
    pub fn totals(&self) -> (u64, u64) {
        let sizes = self.sizes();
        (sizes.len() as u64, sizes.values().sum())
    }

    /// Partitions that were one list the same blocks.
    fn sizes(&self) -> BTreeMap<BlockId, u64> {
        let views = Arc::clone(&self.views.read());
        let blocks = views.values().flat_map(|view| view.blocks_readable());
        let sizes = blocks.map(|block| (block.entry().id, block.entry().size));
        sizes.collect()
    }

    /// What a block is of which only the name of its object is known; that is what `named` says.
    ///
    /// # Errors
    /// When it cannot be read, or is no block.
    pub fn identify(
        &self,
        arc: RingArc,
        named: BlockEntry,
    ) -> Result<(BlockProperties, BlockEntry), Error> {
        self.tier
            .identify(&Arc::new(RemoteBlock { arc, entry: named }))
    }

    /// The view of one read.
    pub(super) fn read_view(&self, range: TimeRange) -> Result<ReadView, Error> {
        let views = Arc::clone(&self.views.read());
        Ok(ReadView {
            head: Arc::clone(&self.head),
            blocks: listed(views.iter(), range)?,
            remembered: Arc::clone(&self.remembered),
        })
    }

    /// There is none.
    pub(super) fn read_heads(&self) -> Arc<HeadView> {
        Arc::clone(&self.head)
    }
}
