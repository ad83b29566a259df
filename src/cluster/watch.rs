//! Watches what may run out, memory and disk, and closes the gate of writes before it does.
//!
//! It has a thread of its own: sealing is what frees both, takes as long as it takes, and must
//! not keep anybody from looking. Not here: what is sealed or deleted to make room.

use std::sync::Arc;

use super::write::{Gate, Refusing};
use crate::store::{Store, StoreMetrics, Watermark};

/// Looks at memory and disk, and tells the gate.
pub(super) struct Watch {
    store: Arc<Store>,
    gate: Arc<Gate>,
    watermark: Watermark,
    metrics: StoreMetrics,
    memory_short: bool,
}

impl Watch {
    pub(super) fn new(
        store: Arc<Store>,
        gate: Arc<Gate>,
        watermark: Watermark,
        metrics: StoreMetrics,
    ) -> Self {
        Self {
            store,
            gate,
            watermark,
            metrics,
            memory_short: false,
        }
    }

    pub(super) fn once(&mut self) {
        match self.watermark.check() {
            Ok(disk) => {
                self.metrics.disk(&disk);
                self.gate.refuse(Refusing::Disk, disk.refuse);
            }
            Err(error) => tracing::warn!(%error, "the free space of the disk is not known"),
        }
        let memory = self.memory();
        self.gate.refuse(Refusing::Memory, memory);
    }

    /// Above its bound the head is sealed early; half as much again, and sealing does not keep up:
    /// then writes wait until it is down to a quarter above.
    fn memory(&mut self) -> Option<String> {
        let (bytes, bound) = self.store.memory_use();
        let part = if self.memory_short { 4 } else { 2 };
        let was_short = self.memory_short;
        self.memory_short = bound > 0 && bytes > bound.saturating_add(bound / part);
        if self.memory_short && !was_short {
            tracing::warn!(
                bytes,
                bound,
                "samples come faster than they are sealed: writes are refused"
            );
        } else if was_short && !self.memory_short {
            tracing::info!(bytes, "sealing has caught up: writes are taken");
        }
        self.memory_short.then(|| {
            format!(
                "samples that are not sealed yet take {} MiB of memory, and writes begin again at {} MiB: try again later; if it stays so, look for failing seals in the log of this node, raise memory_limit, or send less",
                bytes >> 20,
                bound.saturating_add(bound / 4) >> 20,
            )
        })
    }
}
