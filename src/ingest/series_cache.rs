//! Series as senders spell them -> the ids that the store gave them, without parsing labels.
//!
//! A key is 128 bits of hash, under secrets that this process drew, of the bytes that spell a
//! series in a request: for remote-write 1.0 the encoded labels, for 2.0 the symbols that the
//! label references name. So two spellings of one series are two entries with one id, and nobody
//! outside can aim at a collision, which would merge two series.
//!
//! Senders repeat their order. Every entry remembers which entry followed it last time, and that
//! one is compared first: one cache line, no search. Only where the prediction fails is the table
//! (open addressing, `u32` positions) searched, and the prediction corrected.
//!
//! It is a cache: bounded, and everything in it can be had again by parsing. Entries that were not
//! used for one whole generation are dropped at the next; when it is full, new series are parsed
//! every time (and counted) until then. It knows nothing of labels, samples and tenants: a
//! tenant's hash is mixed into the key by the caller.

/// Entries in a piece of the entry list: pieces never move, so growing never doubles memory.
const PIECE_ENTRIES: usize = 4096;
/// A free place of the table.
const FREE: u32 = u32::MAX;
/// Bits of [`Entry::marks`] that hold the metadata mark; above them stands the generation.
const METADATA_BITS: u32 = 24;
const METADATA_MASK: u32 = (1 << METADATA_BITS) - 1;

/// One known spelling of a series: 32 bytes with an id of eight.
#[derive(Clone, Copy)]
struct Entry<S> {
    key: u128,
    series: S,
    /// The entry that followed this one last time.
    next: u32,
    /// The generation in which it was used last (8 bits), and the hash of the metadata that came
    /// with it (24 bits).
    marks: u32,
}

/// Where an entry stands; good until the next [`SeriesCache::turn`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Slot(u32);

/// A series that was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Hit<S> {
    pub(super) slot: Slot,
    pub(super) series: S,
    /// The metadata mark of the last request that set one.
    pub(super) metadata: u32,
}

/// What happened since the last time somebody asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Tally {
    /// Found where the entry before said.
    pub(super) predicted: u64,
    /// Found by searching.
    pub(super) searched: u64,
    /// Not known.
    pub(super) missed: u64,
    /// Not remembered, because the cache is full.
    pub(super) refused: u64,
}

/// The cache. `S` is the store's series id.
pub(super) struct SeriesCache<S> {
    pieces: Vec<Vec<Entry<S>>>,
    len: usize,
    len_max: usize,
    /// Positions of entries; a power of two long, at most four fifths full.
    table: Vec<u32>,
    generation: u8,
    tally: Tally,
}

impl<S: Copy> SeriesCache<S> {
    const fn bound(len_max: usize) -> usize {
        let most = FREE as usize - 1;
        if len_max < most { len_max } else { most }
    }

    /// Changes how many it holds at most.
    pub(super) const fn hold_at_most(&mut self, len_max: usize) {
        self.len_max = Self::bound(len_max);
    }

    /// An empty cache for at most so many spellings.
    pub(super) fn new(len_max: usize) -> Self {
        Self {
            pieces: Vec::new(),
            len: 0,
            len_max: Self::bound(len_max),
            table: Vec::new(),
            generation: 0,
            tally: Tally::default(),
        }
    }

    /// How many spellings are known.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Memory in use, about.
    pub(super) fn bytes(&self) -> usize {
        self.pieces.len() * PIECE_ENTRIES * size_of::<Entry<S>>() + self.table.len() * 4
    }

    /// Takes the counts since the last call.
    pub(super) fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    #[inline]
    fn entry(&self, at: u32) -> Option<&Entry<S>> {
        let at = at as usize;
        self.pieces.get(at / PIECE_ENTRIES)?.get(at % PIECE_ENTRIES)
    }

    #[inline]
    fn entry_mut(&mut self, at: u32) -> Option<&mut Entry<S>> {
        let at = at as usize;
        self.pieces
            .get_mut(at / PIECE_ENTRIES)?
            .get_mut(at % PIECE_ENTRIES)
    }

    /// Finds a series. `previous` is the slot of the series before it in the request; it becomes
    /// this one's.
    #[inline]
    pub(super) fn find(&mut self, previous: &mut Option<Slot>, key: u128) -> Option<Hit<S>> {
        let guess = previous.and_then(|slot| self.entry(slot.0)).map(|e| e.next);
        if let Some(at) = guess
            && let Some(hit) = self.hit(at, key)
        {
            self.tally.predicted += 1;
            *previous = Some(hit.slot);
            return Some(hit);
        }
        let Some(hit) = self.position(key).and_then(|at| self.hit(at, key)) else {
            self.tally.missed += 1;
            return None;
        };
        self.tally.searched += 1;
        self.follow(previous, hit.slot);
        Some(hit)
    }

    /// The entry at a position, if it is this key's; it counts as used.
    #[inline]
    fn hit(&mut self, at: u32, key: u128) -> Option<Hit<S>> {
        let generation = u32::from(self.generation) << METADATA_BITS;
        let entry = self.entry_mut(at)?;
        if entry.key != key {
            return None;
        }
        let metadata = entry.marks & METADATA_MASK;
        entry.marks = generation | metadata;
        Some(Hit {
            slot: Slot(at),
            series: entry.series,
            metadata,
        })
    }

    /// Remembers that `slot` followed `previous`.
    pub(super) fn follow(&mut self, previous: &mut Option<Slot>, slot: Slot) {
        if let Some(before) = previous
            && let Some(entry) = self.entry_mut(before.0)
        {
            entry.next = slot.0;
        }
        *previous = Some(slot);
    }

    /// Remembers a series under a key, or gives a known key another id. `None`: the cache is full.
    pub(super) fn insert(
        &mut self,
        previous: &mut Option<Slot>,
        key: u128,
        series: S,
    ) -> Option<Slot> {
        if let Some(at) = self.position(key) {
            if let Some(entry) = self.entry_mut(at) {
                entry.series = series;
            }
            self.follow(previous, Slot(at));
            return Some(Slot(at));
        }
        if self.len >= self.len_max {
            self.tally.refused += 1;
            return None;
        }
        let at = u32::try_from(self.len).ok()?;
        self.push(Entry {
            key,
            series,
            next: at.wrapping_add(1),
            marks: u32::from(self.generation) << METADATA_BITS,
        });
        if self.len * 5 > self.table.len() * 4 {
            self.rebuild_table();
        } else {
            self.place(key, at);
        }
        self.follow(previous, Slot(at));
        Some(Slot(at))
    }

    /// Gives a known series another id, because the store does not know the old one any more.
    pub(super) fn replace(&mut self, key: u128, series: S) {
        if let Some(entry) = self.position(key).and_then(|at| self.entry_mut(at)) {
            entry.series = series;
        }
    }

    /// Remembers which metadata came with a series.
    pub(super) fn mark_metadata(&mut self, slot: Slot, mark: u32) {
        if let Some(entry) = self.entry_mut(slot.0) {
            entry.marks = (entry.marks & !METADATA_MASK) | (mark & METADATA_MASK);
        }
    }

    /// Begins a new generation: drops what was not used in the one that ends, and forgets all
    /// metadata marks, so that metadata is offered to the store again. Slots handed out before
    /// mean nothing afterwards: used all the same, they spoil a prediction or a mark, no id.
    pub(super) fn turn(&mut self) {
        let ending = self.generation;
        self.generation = ending.wrapping_add(1);
        let pieces = std::mem::take(&mut self.pieces);
        self.len = 0;
        for entry in pieces.into_iter().flatten() {
            if entry.marks >> METADATA_BITS == u32::from(ending) {
                // Entries stay in the order of their first sight, so the next one is the best guess.
                let next = u32::try_from(self.len + 1).unwrap_or(FREE);
                // It counts as used in the generation that ends, until it is used again.
                let marks = entry.marks & !METADATA_MASK;
                self.push(Entry {
                    next,
                    marks,
                    ..entry
                });
            }
        }
        self.rebuild_table();
    }

    fn push(&mut self, entry: Entry<S>) {
        match self.pieces.last_mut() {
            Some(piece) if piece.len() < PIECE_ENTRIES => piece.push(entry),
            _ => {
                let mut piece = Vec::with_capacity(PIECE_ENTRIES);
                piece.push(entry);
                self.pieces.push(piece);
            }
        }
        self.len += 1;
    }

    /// The low bits choose the place; they are as good as any, since the key is a hash.
    fn home(&self, key: u128) -> usize {
        let low = key & u128::from(u32::MAX);
        usize::try_from(low).unwrap_or(0) & self.table.len().wrapping_sub(1)
    }

    fn position(&self, key: u128) -> Option<u32> {
        if self.table.is_empty() {
            return None;
        }
        let home = self.home(key);
        let (before, after) = self.table.split_at_checked(home)?;
        for at in after.iter().chain(before) {
            if *at == FREE {
                return None;
            }
            if self.entry(*at).is_some_and(|entry| entry.key == key) {
                return Some(*at);
            }
        }
        None
    }

    fn place(&mut self, key: u128, at: u32) {
        let home = self.home(key);
        let Some((before, after)) = self.table.split_at_mut_checked(home) else {
            return;
        };
        if let Some(free) = after.iter_mut().chain(before).find(|place| **place == FREE) {
            *free = at;
        }
    }

    /// Makes a table that is about half full, or empty with the cache.
    fn rebuild_table(&mut self) {
        let places = match self.len {
            0 => 0,
            len => (len * 5 / 3).next_power_of_two().max(64),
        };
        self.table = Vec::new();
        self.table.resize(places, FREE);
        let keys: u32 = u32::try_from(self.len).unwrap_or(FREE);
        for at in 0..keys {
            if let Some(key) = self.entry(at).map(|entry| entry.key) {
                self.place(key, at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    /// A key whose low bits are few, so that the table has to probe.
    fn key(series: u64) -> u128 {
        (u128::from(series) << 64) | u128::from(series % 7)
    }

    #[test]
    fn a_repeated_order_is_predicted() {
        let mut cache = SeriesCache::new(10_000);
        for round in 0..3u64 {
            let mut previous = None;
            for series in 0..9_000u64 {
                match cache.find(&mut previous, u128::from(series) * 0x9e37_79b9_7f4a_7c15) {
                    Some(hit) => assert_eq!(hit.series, series),
                    None => {
                        assert_eq!(round, 0);
                        let key = u128::from(series) * 0x9e37_79b9_7f4a_7c15;
                        cache.insert(&mut previous, key, series).unwrap();
                    }
                }
            }
        }
        let tally = cache.take_tally();
        assert_eq!(
            (tally.missed, tally.searched, tally.predicted),
            (9_000, 2, 2 * 8_999)
        );
        assert_eq!(size_of::<Entry<u64>>(), 32);
    }

    #[test]
    fn it_is_bounded_and_forgets_what_is_not_used() {
        let mut cache = SeriesCache::new(3);
        let mut previous = None;
        for series in 0..5u64 {
            let kept = cache.insert(&mut previous, key(series), series);
            assert_eq!(kept.is_some(), series < 3);
        }
        assert_eq!((cache.len(), cache.take_tally().refused), (3, 2));
        cache.turn();
        assert!(cache.find(&mut None, key(1)).is_some());
        cache.turn();
        assert_eq!(cache.len(), 1);
        assert!(cache.find(&mut None, key(0)).is_none());
        assert_eq!(cache.find(&mut None, key(1)).unwrap().series, 1);
        assert!(cache.insert(&mut None, key(9), 9).is_some());
    }

    #[test]
    fn metadata_marks_last_for_a_generation() {
        let mut cache = SeriesCache::new(3);
        let slot = cache.insert(&mut None, key(1), 1u64).unwrap();
        cache.mark_metadata(slot, 0xffff_1234);
        assert_eq!(cache.find(&mut None, key(1)).unwrap().metadata, 0xff_1234);
        cache.turn();
        assert_eq!(cache.find(&mut None, key(1)).unwrap().metadata, 0);
    }

    proptest! {
        /// Against a plain map, with colliding places, replacements and generations.
        #[test]
        fn it_agrees_with_a_map(steps in prop::collection::vec((0u8..20, 0u64..300), 1..2_000)) {
            let mut cache = SeriesCache::new(200);
            let mut map: HashMap<u64, u64> = HashMap::new();
            let mut previous = None;
            for (at, (action, series)) in steps.into_iter().enumerate() {
                let id = at as u64;
                match action {
                    0 => {
                        cache.turn();
                        previous = None;
                        // What survives is for the cache to say; that it is right is checked below.
                        map.retain(|series, _| cache.find(&mut None, key(*series)).is_some());
                        prop_assert_eq!(map.len(), cache.len());
                    }
                    1..=8 => {
                        if cache.insert(&mut previous, key(series), id).is_some() {
                            map.insert(series, id);
                        } else {
                            prop_assert!(map.len() == 200 && !map.contains_key(&series));
                        }
                    }
                    _ => {
                        let found = cache.find(&mut previous, key(series)).map(|hit| hit.series);
                        prop_assert_eq!(found, map.get(&series).copied());
                    }
                }
            }
        }
    }
}
