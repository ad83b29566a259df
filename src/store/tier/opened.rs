//! What is known of blocks that were opened: their index and what their first and last parts say.
//! Bounded by bytes; where there is no room, the half that was used longest ago goes.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use crate::model::BlockId;
use crate::store::block::Known;
use crate::store::engine::SstIndex;

/// What a block costs beside its index: names of labels and the like.
const BLOCK_BYTES: usize = 4096;

/// An opened block.
pub(super) struct Opened {
    pub(super) index: SstIndex,
    /// Properties, totals and tenants, once they were read.
    pub(super) known: OnceLock<Arc<Known>>,
}

struct Item {
    opened: Arc<Opened>,
    bytes: usize,
    used: u64,
}

#[derive(Default)]
struct Items {
    by_block: HashMap<BlockId, Item>,
    bytes: usize,
    clock: u64,
}

/// Opened blocks by their ids.
pub(super) struct OpenedBlocks {
    items: Mutex<Items>,
    bytes_max: usize,
}

impl OpenedBlocks {
    pub(super) fn new(bytes_max: u64) -> Self {
        Self {
            items: Mutex::default(),
            bytes_max: usize::try_from(bytes_max).unwrap_or(usize::MAX),
        }
    }

    pub(super) fn get(&self, id: BlockId) -> Option<Arc<Opened>> {
        let mut items = self.items.lock();
        items.clock += 1;
        let now = items.clock;
        let item = items.by_block.get_mut(&id)?;
        item.used = now;
        Some(Arc::clone(&item.opened))
    }

    pub(super) fn put(&self, id: BlockId, index: SstIndex) -> Arc<Opened> {
        let bytes = index.memory_bytes() + BLOCK_BYTES;
        let opened = Arc::new(Opened {
            index,
            known: OnceLock::new(),
        });
        let mut items = self.items.lock();
        if items.bytes + bytes > self.bytes_max {
            items.halve();
        }
        if items.bytes + bytes > self.bytes_max {
            return opened;
        }
        items.clock += 1;
        let item = Item {
            opened: Arc::clone(&opened),
            bytes,
            used: items.clock,
        };
        items.bytes += bytes;
        if let Some(before) = items.by_block.insert(id, item) {
            items.bytes -= before.bytes;
        }
        opened
    }
}

impl Items {
    fn halve(&mut self) {
        let items = self.by_block.values();
        let mut by_age: Vec<(u64, usize)> = items.map(|item| (item.used, item.bytes)).collect();
        by_age.sort_unstable();
        let (mut left, mut oldest_kept) = (self.bytes, 0);
        for (used, bytes) in by_age {
            if left <= self.bytes / 2 {
                break;
            }
            left -= bytes;
            oldest_kept = used + 1;
        }
        self.by_block.retain(|_, item| item.used >= oldest_kept);
        self.bytes = left;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_holds_and_what_is_used_stays() {
        let opened = OpenedBlocks::new(10 * BLOCK_BYTES as u64);
        for id in 0..1000 {
            opened.put(BlockId(id), SstIndex::default());
            assert!(opened.get(BlockId(0)).is_some(), "{id}");
            let items = opened.items.lock();
            let sum: usize = items.by_block.values().map(|item| item.bytes).sum();
            assert!(items.bytes == sum && sum <= 10 * BLOCK_BYTES);
        }
        assert!(opened.get(BlockId(999)).is_some());
        assert!(opened.get(BlockId(500)).is_none());
    }
}
