//! What is fetched of blocks that lie elsewhere, and what the cache saves.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The metrics; clones are the same ones.
#[derive(Clone, Debug, Default)]
pub struct TierMetrics {
    fetches: Counter,
    fetched_bytes: Counter,
    used_bytes: Counter,
    damaged: Counter,
    hits: Counter,
    misses: Counter,
    cache_bytes: Gauge,
    blocks: Gauge,
    block_bytes: Gauge,
}

impl TierMetrics {
    /// The metrics, at zero, in a registry.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let counters = [
            (
                "cairn_remote_fetches",
                "Ranges of blocks that were fetched from the bucket for reads",
                &metrics.fetches,
            ),
            (
                "cairn_remote_fetched_bytes",
                "Bytes of blocks that were fetched from the bucket for reads",
                &metrics.fetched_bytes,
            ),
            (
                "cairn_remote_used_bytes",
                "Bytes of them that reads took; the others lay between these, are ends of files with their index, or were fetched too early",
                &metrics.used_bytes,
            ),
            (
                "cairn_remote_damaged",
                "Parts of blocks whose checksum did not match, in the bucket or in the cache",
                &metrics.damaged,
            ),
            (
                "cairn_remote_cache_hits",
                "Parts of blocks in the bucket that reads found in the cache on the disk",
                &metrics.hits,
            ),
            (
                "cairn_remote_cache_misses",
                "Parts of blocks in the bucket that reads did not find in the cache on the disk",
                &metrics.misses,
            ),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        let gauges = [
            (
                "cairn_remote_cache_bytes",
                "Bytes of the disk that the cache of blocks in the bucket takes",
                &metrics.cache_bytes,
            ),
            (
                "cairn_remote_blocks",
                "Blocks that are applied here and whose only home is the bucket",
                &metrics.blocks,
            ),
            (
                "cairn_remote_block_bytes",
                "Bytes of the blocks that are applied here and whose only home is the bucket",
                &metrics.block_bytes,
            ),
        ];
        for (name, help, gauge) in gauges {
            registry.register(name, help, gauge.clone());
        }
        metrics
    }

    pub(super) fn fetched(&self, bytes: u64) {
        self.fetches.inc();
        self.fetched_bytes.inc_by(bytes);
    }

    pub(super) fn used(&self, bytes: u64) {
        self.used_bytes.inc_by(bytes);
    }

    pub(super) fn damaged(&self) {
        self.damaged.inc();
    }

    pub(super) fn looked_up(&self, found: bool) {
        if found { &self.hits } else { &self.misses }.inc();
    }

    pub(super) fn cached(&self, bytes: u64) {
        self.cache_bytes
            .set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// How many blocks are elsewhere, and their bytes.
    pub fn elsewhere(&self, blocks: u64, bytes: u64) {
        self.blocks.set(i64::try_from(blocks).unwrap_or(i64::MAX));
        self.block_bytes
            .set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}
