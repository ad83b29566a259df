//! Decoded parts of blocks, shared by all readers: what one query has decompressed and taken apart
//! the next one finds, since dashboards ask the same again and again. Beside them what was found in
//! sets of blocks (`remembered.rs`).
//!
//! Not here: the bytes of blocks as they are stored, which the engine's own cache holds.
//!
//! Bounded by bytes. Where there is no room, the half that was used longest ago goes: sorted out
//! rarely, so that a hit only costs a look into a table and a number.

use std::any::Any;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::model::BlockId;

/// Locks; queries hold them for a look only.
const SHARDS: usize = 8;

/// What a part costs beside its content.
const ENTRY_BYTES: usize = 128;

/// Which part of a block.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(in crate::store) struct PartKey {
    pub(super) block: BlockId,
    pub(super) tenant: u32,
    pub(super) kind: PartKind,
    /// Name, group or chunk.
    pub(super) major: u32,
    /// Chunk, page or column in it.
    pub(super) minor: u32,
}

/// What kind of part.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum PartKind {
    Entries,
    Values,
    Postings,
    Page,
    Column,
    OfSet,
}

impl PartKey {
    /// What a question asks of a set of blocks, by a hash of both.
    pub(in crate::store) const fn of_set(question: u128) -> Self {
        Self {
            block: BlockId(question),
            tenant: 0,
            kind: PartKind::OfSet,
            major: 0,
            minor: 0,
        }
    }
}

/// Keys are few numbers that nobody outside chooses: a product for each is enough.
#[derive(Default)]
struct PartHasher(u64);

impl PartHasher {
    const fn mix(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(23) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

impl Hasher for PartHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.mix(u64::from(*byte)));
    }

    fn write_u32(&mut self, number: u32) {
        self.mix(u64::from(number));
    }

    fn write_isize(&mut self, number: isize) {
        self.mix(number.unsigned_abs() as u64);
    }

    fn write_u128(&mut self, number: u128) {
        let half = |number: u128| u64::try_from(number & u128::from(u64::MAX)).unwrap_or(0);
        self.mix(half(number));
        self.mix(half(number >> 64));
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}

struct Item {
    part: Arc<dyn Any + Send + Sync>,
    bytes: usize,
    used: u64,
}

#[derive(Default)]
struct Shard {
    items: HashMap<PartKey, Item, BuildHasherDefault<PartHasher>>,
    bytes: usize,
    clock: u64,
}

/// Decoded parts by where they come from.
pub(in crate::store) struct DecodedParts {
    shards: [Mutex<Shard>; SHARDS],
    shard_bytes_max: usize,
}

impl DecodedParts {
    /// For so many bytes in all.
    pub(in crate::store) fn new(bytes_max: u64) -> Self {
        let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            shard_bytes_max: bytes_max / SHARDS,
        }
    }

    /// Whether half of it is in use.
    pub(in crate::store) fn is_half_full(&self) -> bool {
        self.bytes() >= self.shard_bytes_max * SHARDS / 2
    }

    /// How many bytes it holds, about.
    pub(in crate::store) fn bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().bytes).sum()
    }

    fn shard(&self, key: &PartKey) -> Option<&Mutex<Shard>> {
        let mixed = key.block.0 ^ (u128::from(key.major) << 3) ^ u128::from(key.minor);
        let low = u64::try_from(mixed & u128::from(u64::MAX)).unwrap_or(0);
        let number = low.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 61;
        self.shards.get(usize::try_from(number).unwrap_or(0))
    }

    pub(in crate::store) fn get<T: Any + Send + Sync>(&self, key: &PartKey) -> Option<Arc<T>> {
        let mut shard = self.shard(key)?.lock();
        shard.clock += 1;
        let now = shard.clock;
        let item = shard.items.get_mut(key)?;
        item.used = now;
        Arc::clone(&item.part).downcast().ok()
    }

    pub(in crate::store) fn put<T: Any + Send + Sync>(
        &self,
        key: PartKey,
        part: &Arc<T>,
        bytes: usize,
    ) {
        let bytes = bytes.saturating_add(ENTRY_BYTES);
        // What would push out everything else is not worth it. The series of a small node, all selected,
        // take a megabyte or two, and a dashboard may ask for them again and again.
        if bytes > self.shard_bytes_max / 2 {
            return;
        }
        let Some(shard) = self.shard(&key) else {
            return;
        };
        let mut shard = shard.lock();
        if shard.bytes + bytes > self.shard_bytes_max {
            shard.halve();
        }
        shard.clock += 1;
        let item = Item {
            part: Arc::clone(part) as Arc<dyn Any + Send + Sync>,
            bytes,
            used: shard.clock,
        };
        shard.bytes += bytes;
        if let Some(before) = shard.items.insert(key, item) {
            shard.bytes -= before.bytes;
        }
    }

    /// Notes that a part takes more bytes than when it came, if it is still here: another one may have taken its place.
    pub(super) fn grew<T>(&self, key: &PartKey, part: &Arc<T>, bytes: usize) {
        let Some(shard) = self.shard(key) else {
            return;
        };
        let shard = &mut *shard.lock();
        let is_it =
            |item: &&mut Item| std::ptr::addr_eq(Arc::as_ptr(&item.part), Arc::as_ptr(part));
        let Some(item) = shard.items.get_mut(key).filter(is_it) else {
            return;
        };
        item.bytes += bytes;
        shard.bytes += bytes;
        if shard.bytes > self.shard_bytes_max {
            shard.halve();
        }
    }
}

impl Shard {
    /// Gives up what was used longest ago, until half of the bytes are left.
    fn halve(&mut self) {
        let mut by_age: Vec<(u64, usize)> = Vec::with_capacity(self.items.len());
        by_age.extend(self.items.values().map(|item| (item.used, item.bytes)));
        by_age.sort_unstable();
        let (mut left, mut oldest_kept) = (self.bytes, 0);
        for (used, bytes) in by_age {
            if left <= self.bytes / 2 {
                break;
            }
            left -= bytes;
            oldest_kept = used + 1;
        }
        self.items.retain(|_, item| item.used >= oldest_kept);
        self.bytes = left;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(minor: u32) -> PartKey {
        PartKey {
            block: BlockId(7),
            tenant: 0,
            kind: PartKind::Values,
            major: 0,
            minor,
        }
    }

    #[test]
    fn what_is_used_stays_and_the_bound_holds() {
        let parts = DecodedParts::new(8 * 100 * (1000 + ENTRY_BYTES) as u64);
        for number in 0..10_000 {
            parts.put(key(number), &Arc::new(number), 1000);
            assert_eq!(parts.get::<u32>(&key(0)).as_deref(), Some(&0));
        }
        let kept = (0..10_000).filter(|number| parts.get::<u32>(&key(*number)).is_some());
        assert!((100..=800).contains(&kept.count()));
        assert!(parts.is_half_full() && !DecodedParts::new(1 << 20).is_half_full());
        for shard in &parts.shards {
            let shard = shard.lock();
            assert!(shard.bytes <= parts.shard_bytes_max);
            assert_eq!(
                shard.bytes,
                shard.items.values().map(|item| item.bytes).sum::<usize>()
            );
        }
        // What grows counts, and makes room as what is new does.
        let before = parts.bytes();
        let last = parts.get::<u32>(&key(9_999)).unwrap();
        parts.grew(&key(9_999), &last, 7);
        parts.grew(&key(9_999), &Arc::new(*last), 1000);
        parts.grew(&key(10_000), &last, 1000);
        assert_eq!(parts.bytes(), before + 7);
        for _ in 0..800 {
            parts.grew(&key(9_999), &last, 1000);
        }
        // Another type under the key is as good as nothing.
        assert!(parts.get::<String>(&key(0)).is_none());
        parts.put(key(1), &Arc::new(1), usize::MAX);
        assert!(
            parts
                .shards
                .iter()
                .all(|s| s.lock().bytes <= parts.shard_bytes_max)
        );
    }
}
