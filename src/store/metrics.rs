//! Metrics of the store: blocks, head, log and disk. Looked at every few seconds, not kept along.

use prometheus_client::metrics::counter::Counter;
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
    head_series: Gauge,
    head_registry_bytes: Gauge,
    conflicts: Gauge,
    log_segments: Gauge,
    log_written: Counter,
    log_writes: Counter,
    log_syncs: Counter,
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
            "cairn_head_series",
            "Series that the head knows: those with samples that no block holds yet, and those seen lately",
            &metrics.head_series,
        );
        add(
            "cairn_head_registry_bytes",
            "Bytes of memory that the labels and the index of the head's series take",
            &metrics.head_registry_bytes,
        );
        add(
            "cairn_unsealed_conflicts",
            "Timestamps that got two different values, among samples that no block holds yet; one of them is shown",
            &metrics.conflicts,
        );
        add(
            "cairn_log_segments",
            "Log files that hold something still needed",
            &metrics.log_segments,
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
        let mut count =
            |name, help, counter: &Counter| registry.register(name, help, counter.clone());
        count(
            "cairn_log_written_bytes",
            "Bytes written to the log",
            &metrics.log_written,
        );
        count("cairn_log_writes", "Writes to the log", &metrics.log_writes);
        count(
            "cairn_log_syncs",
            "Times that the log was made durable (fdatasync)",
            &metrics.log_syncs,
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
        let head = store.head_stats();
        set(&self.head_series, head.series);
        set(&self.head_registry_bytes, head.registry_bytes);
        set(&self.conflicts, head.conflicts);
        set(&self.log_segments, head.log.segments);
        for (counter, total) in [
            (&self.log_written, head.log.written_bytes),
            (&self.log_writes, head.log.writes),
            (&self.log_syncs, head.log.syncs),
        ] {
            counter.inc_by(total.saturating_sub(counter.get()));
        }
    }

    /// Takes the disk's state.
    pub fn disk(&self, disk: &DiskState) {
        let free = i64::try_from(disk.free).unwrap_or(i64::MAX);
        self.disk_free.set(free);
        self.disk_refusing.set(i64::from(disk.refuse.is_some()));
    }
}
