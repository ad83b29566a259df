//! Which blocks are applied, in all and here: for who counts them or goes through them.

use std::collections::HashSet;
use std::sync::Arc;

use super::applied_block::AppliedBlock;
use super::counts::{BlockSizes, Counts};
use super::whole::Store;
use crate::model::{BlockEntry, BlockId, RingArc};

impl Store {
    fn counted<T>(&self, take: impl FnOnce(&mut Counts) -> T) -> T {
        let views = self.views_now();
        let mut counts = self.counts.lock();
        if !counts.are_of(&views) {
            *counts = Counts::count(&views);
        }
        take(&mut counts)
    }

    /// How many blocks are applied, and their bytes.
    #[must_use]
    pub fn block_totals(&self) -> (u64, u64) {
        self.counted(|counts| counts.all)
    }

    /// How many applied blocks are elsewhere, and their bytes.
    #[must_use]
    pub fn elsewhere_totals(&self) -> (u64, u64) {
        self.counted(|counts| counts.elsewhere)
    }

    /// The sizes and ends of the applied blocks by partition, for retention; one that several
    /// partitions list is counted in the first.
    #[must_use]
    pub fn block_sizes(&self) -> Arc<BlockSizes> {
        self.counted(|counts| Arc::clone(&counts.sizes))
    }

    /// The applied blocks with their partitions.
    #[must_use]
    pub fn blocks(&self) -> Vec<(RingArc, BlockEntry)> {
        self.blocks_that(|_| true)
    }

    /// The blocks whose files are here, with their partitions.
    #[must_use]
    pub fn blocks_here(&self) -> Vec<(RingArc, BlockEntry)> {
        self.blocks_that(|block| block.is_here())
    }

    fn blocks_that(&self, is: impl Fn(&AppliedBlock) -> bool) -> Vec<(RingArc, BlockEntry)> {
        let mut all = Vec::new();
        for (arc, view) in self.views_now() {
            let blocks = view.blocks_readable().iter().filter(|block| is(block));
            all.extend(blocks.map(|block| (arc, block.entry().clone())));
        }
        all
    }

    /// Lets the cache forget what the catalog does not name any more.
    pub fn tidy_cache(&self) {
        let Some(tier) = &self.tier else {
            return;
        };
        let was_tidied = self.counted(|counts| {
            let whole = counts.are_whole();
            std::mem::replace(&mut counts.tidied, whole)
        });
        if was_tidied {
            return;
        }
        let views = self.views_now();
        let blocks = views.iter().flat_map(|(_, view)| view.blocks_readable());
        let elsewhere = blocks.filter(|block| !block.is_here());
        let named: HashSet<BlockId> = elsewhere.map(|block| block.entry().id).collect();
        tier.retain(&|id| named.contains(&id));
    }
}
