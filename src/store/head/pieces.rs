//! A list in pieces of fixed size: it grows by a piece, never by copying everything to twice the
//! room, because that copy would make the memory's peak.

/// Entries of a piece: a power of two, so that an index splits by shift and mask.
const PIECE: usize = 1024;

/// A growing list.
#[derive(Debug)]
pub(super) struct Pieces<T> {
    pieces: Vec<Vec<T>>,
    len: usize,
}

impl<T> Default for Pieces<T> {
    fn default() -> Self {
        Self {
            pieces: Vec::new(),
            len: 0,
        }
    }
}

impl<T> Pieces<T> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn get(&self, at: usize) -> Option<&T> {
        self.pieces.get(at / PIECE)?.get(at % PIECE)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        self.pieces.get_mut(at / PIECE)?.get_mut(at % PIECE)
    }

    pub(super) fn push(&mut self, value: T) {
        if self.len.is_multiple_of(PIECE) {
            // The first piece of a small list grows as it likes.
            let room = if self.len == 0 { 0 } else { PIECE };
            self.pieces.push(Vec::with_capacity(room));
        }
        if let Some(last) = self.pieces.last_mut() {
            last.push(value);
            self.len += 1;
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.pieces.iter().flatten()
    }

    /// Bytes held, without what the entries own elsewhere.
    pub(super) fn bytes(&self) -> usize {
        let room: usize = self.pieces.iter().map(Vec::capacity).sum();
        room * size_of::<T>() + self.pieces.capacity() * size_of::<Vec<T>>()
    }
}

/// A set of small numbers.
#[derive(Debug, Default, Clone)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    #[inline]
    pub(super) fn contains(&self, at: u32) -> bool {
        self.0
            .get(at as usize / 64)
            .is_some_and(|word| word >> (at % 64) & 1 == 1)
    }

    /// Whether it is new.
    pub(super) fn insert(&mut self, at: u32) -> bool {
        let word = at as usize / 64;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        let Some(word) = self.0.get_mut(word) else {
            return false;
        };
        let before = *word;
        *word |= 1 << (at % 64);
        *word != before
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        (0u32..).zip(&self.0).flat_map(|(at, word)| {
            (0..64u32)
                .filter(move |bit| word >> bit & 1 == 1)
                .map(move |bit| at * 64 + bit)
        })
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.capacity() * 8
    }
}
