//! Where blocks elsewhere are read from, and what is kept of them here.

use std::path::Path;
use std::sync::Arc;

use super::cache::DiskCache;
use super::metrics::TierMetrics;
use super::opened::OpenedBlocks;
use super::remote::Remote;
use crate::model::BlockId;
use crate::store::error::Error;

/// What a tier is made from.
pub struct TierParts {
    /// Where the bytes are.
    pub remote: Arc<dyn Remote>,
    /// So much of what was fetched is kept on the disk.
    pub cache_bytes_max: u64,
    /// Nothing is added to it when less of the disk is free.
    pub free_min: u64,
    /// The indexes that are kept in memory may take so many bytes.
    pub index_bytes_max: u64,
    /// What it counts.
    pub metrics: TierMetrics,
}

/// Blocks elsewhere, and what is kept of them here.
pub(in crate::store) struct Tier {
    pub(super) remote: Arc<dyn Remote>,
    pub(super) cache: DiskCache,
    pub(super) opened: OpenedBlocks,
    pub(super) metrics: TierMetrics,
}

impl Tier {
    /// The cache lies in `directory`.
    pub(in crate::store) fn open(parts: TierParts, directory: &Path) -> Result<Arc<Self>, Error> {
        let (max, free_min) = (parts.cache_bytes_max, parts.free_min);
        let cache = DiskCache::open(directory, max, free_min, parts.metrics.clone())?;
        Ok(Arc::new(Self {
            remote: parts.remote,
            cache,
            opened: OpenedBlocks::new(parts.index_bytes_max),
            metrics: parts.metrics,
        }))
    }

    pub(in crate::store) fn metrics(&self) -> TierMetrics {
        self.metrics.clone()
    }

    /// Forgets what it keeps of blocks that nobody names any more.
    pub(in crate::store) fn retain(&self, named: &dyn Fn(BlockId) -> bool) {
        self.cache.retain(named);
    }
}
