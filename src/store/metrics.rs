//! Metrics of the store as a whole; head, log and engine have their own.

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::watermark::DiskState;
use super::whole::Store;

/// The metrics; clones are the same ones.
#[derive(Clone, Debug, Default)]
pub struct StoreMetrics {
    blocks: Gauge,
    block_bytes: Gauge,
    head_bytes: Gauge,
    head_samples: Gauge,
    disk_free: Gauge,
    disk_refusing: Gauge,
}

impl StoreMetrics {
    /// The metrics, at zero, in a registry.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let mut add = |name, help, gauge: &Gauge| registry.register(name, help, gauge.clone());
        add(
            "cairn_blocks",
            "Blocks that are applied here",
            &metrics.blocks,
        );
        add(
            "cairn_block_bytes",
            "Bytes of the blocks that are applied here",
            &metrics.block_bytes,
        );
        add(
            "cairn_unsealed_bytes",
            "Bytes of memory that samples take that no block holds yet",
            &metrics.head_bytes,
        );
        add(
            "cairn_unsealed_samples",
            "Samples that no block holds yet",
            &metrics.head_samples,
        );
        add(
            "cairn_disk_free_bytes",
            "Bytes that may still be written to the disk of the data directory",
            &metrics.disk_free,
        );
        add(
            "cairn_disk_refusing_writes",
            "1 while writes are refused because the disk is nearly full",
            &metrics.disk_refusing,
        );
        metrics
    }

    /// Takes what the store says of itself.
    pub fn observe(&self, store: &Store) {
        let set = |gauge: &Gauge, value: u64| gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        let (blocks, bytes) = store.block_totals();
        set(&self.blocks, blocks);
        set(&self.block_bytes, bytes);
        let held = store.held();
        set(&self.head_bytes, held.iter().map(|held| held.bytes).sum());
        set(
            &self.head_samples,
            held.iter().map(|held| held.samples).sum(),
        );
    }

    /// Takes the disk's state.
    pub fn disk(&self, disk: &DiskState) {
        let free = i64::try_from(disk.free).unwrap_or(i64::MAX);
        self.disk_free.set(free);
        self.disk_refusing.set(i64::from(disk.refuse.is_some()));
    }
}
