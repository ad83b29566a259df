//! A chunk that grows: its 40 bytes of state, and how a value that changed is written.
#![allow(
    clippy::indexing_slicing,
    reason = "a word's place is bounded by the constant length of its segment"
)]

use super::code::{
    ESCAPE, ESCAPE_EXPONENT, ESCAPE_GAP, ESCAPE_RAW, ESCAPE_WIDE, EXPONENT_MAX, MODE_CHANGED,
    MODE_EXPONENT, MODE_LAST_RAW, MODE_USED, MODE_XOR, Means, exponent_of, mantissa, zigzag,
};
use super::slabs::{NONE, SEGMENT_WORDS, Slabs};

/// The last row that a chunk can hold.
pub const ROW_MAX: u16 = u16::MAX - 1;

/// The version of the code, for bytes that another process compares: to be raised with every change
/// of what the bits mean.
const CONTENT_VERSION: u8 = 1;

/// What a chunk needs to go on: 40 bytes, without the bits themselves.
#[derive(Clone, Copy, Debug)]
pub struct Chunk {
    pub(super) last_bits: u64,
    /// Decimal: mean difference of mantissas. XOR: leading zeros and width of the last window.
    mean_delta: f32,
    mean_residual: f32,
    accumulator: u32,
    first: u32,
    current: u32,
    pub(super) run: u16,
    next_row: u16,
    pub(super) first_row: u16,
    pub(super) mode: u8,
    pub(super) accumulated: u8,
    words: u8,
    leading: u8,
    width: u8,
}

impl Default for Chunk {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl Chunk {
    /// Without values.
    pub const EMPTY: Self = Self {
        last_bits: 0,
        mean_delta: 0.0,
        mean_residual: 0.0,
        accumulator: 0,
        first: NONE,
        current: NONE,
        run: 0,
        next_row: 0,
        first_row: 0,
        mode: 0,
        accumulated: 0,
        words: 0,
        leading: 0,
        width: 0,
    };

    /// Whether there are no values.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.mode & MODE_USED == 0
    }

    /// The row after the last value: what may be appended next is there or later.
    #[must_use]
    pub const fn next_row(&self) -> u16 {
        self.next_row
    }

    /// The row of the first value.
    #[must_use]
    pub const fn first_row(&self) -> u16 {
        self.first_row
    }

    /// The bits of the last value.
    #[must_use]
    pub const fn last_bits(&self) -> u64 {
        self.last_bits
    }

    /// The first of the last rows, one after the other, that all have the last value; of a chunk that has values.
    #[must_use]
    pub const fn steady_from(&self) -> u16 {
        self.next_row.saturating_sub(1).saturating_sub(self.run)
    }

    /// Adds a value at `row`, which must not be before [`Chunk::next_row`] nor after [`ROW_MAX`]:
    /// the caller's table of timestamps knows.
    #[inline]
    pub fn append(&mut self, slabs: &mut Slabs, row: u16, bits: u64) {
        debug_assert!(row <= ROW_MAX && (self.is_empty() || row >= self.next_row));
        if self.goes_on(row, bits) {
            return;
        }
        let mut pen = Pen::of(self, slabs);
        pen.change(row, bits);
        pen.finish();
    }

    /// Counts a value that is the last one again, in the next row; `false`: it is not.
    #[inline]
    const fn goes_on(&mut self, row: u16, bits: u64) -> bool {
        let same = bits == self.last_bits && row == self.next_row && self.mode & MODE_USED != 0;
        if same {
            self.run += 1;
            self.next_row = row + 1;
        }
        same
    }

    /// Adds values one after the other, each at its row, as [`Chunk::append`] would: up to the first whose row is before
    /// [`Chunk::next_row`] or after [`ROW_MAX`]. Says how many they are.
    #[inline]
    pub fn append_run(
        &mut self,
        slabs: &mut Slabs,
        values: impl Iterator<Item = (u16, u64)>,
    ) -> usize {
        let mut pen = Pen::of(self, slabs);
        let mut count = 0;
        for (row, bits) in values {
            if row > ROW_MAX || row < pen.chunk.next_row {
                break;
            }
            pen.append(row, bits);
            count += 1;
        }
        pen.finish();
        count
    }

    /// Reads the word that is written next, so that it is near when it is; what it says means nothing.
    #[inline]
    #[must_use]
    pub fn touch(&self, slabs: &Slabs) -> u32 {
        if self.current == NONE {
            return 0;
        }
        slabs.segment(self.current)[usize::from(self.words) % SEGMENT_WORDS]
    }

    /// Copies the bits into `words`, to be read by `Reader` without the slabs: some hundreds of
    /// bytes, so that a lock over slabs and state is held for a moment only.
    pub fn copy_bits(&self, slabs: &Slabs, words: &mut Vec<u32>) {
        words.clear();
        let mut at = self.first;
        while at != NONE {
            let segment = slabs.segment(at);
            if at == self.current {
                words.extend_from_slice(&segment[..usize::from(self.words).min(SEGMENT_WORDS)]);
                break;
            }
            words.extend_from_slice(&segment[..SEGMENT_WORDS]);
            at = segment[SEGMENT_WORDS];
        }
        if self.accumulated > 0 {
            words.push(self.accumulator << (32 - self.accumulated));
        }
    }

    /// Appends bytes that say what is in the chunk: of two chunks with equal bytes the values are
    /// equal, and so is the distance of each row from the first. Equal values may have other bytes
    /// where they stand in other rows.
    pub fn put_content(&self, slabs: &Slabs, out: &mut Vec<u8>) {
        let has_bits = self.mode & MODE_CHANGED != 0;
        out.extend_from_slice(&[CONTENT_VERSION, u8::from(has_bits), self.accumulated]);
        out.extend_from_slice(&(self.next_row - self.first_row).to_le_bytes());
        out.extend_from_slice(&self.run.to_le_bytes());
        if !has_bits {
            out.extend_from_slice(&self.last_bits.to_le_bytes());
            return;
        }
        let mut at = self.first;
        while at != NONE {
            let segment = slabs.segment(at);
            let used = if at == self.current {
                usize::from(self.words).min(SEGMENT_WORDS)
            } else {
                SEGMENT_WORDS
            };
            for word in &segment[..used] {
                out.extend_from_slice(&word.to_le_bytes());
            }
            if at == self.current {
                break;
            }
            at = segment[SEGMENT_WORDS];
        }
        out.extend_from_slice(&self.accumulator.to_le_bytes());
    }

    /// The same chunk with its bits in other slabs: it may go on there, and what this one gets
    /// meanwhile is not in it.
    #[must_use]
    pub fn copied(&self, from: &Slabs, to: &mut Slabs) -> Self {
        let (mut copy, mut last) = (*self, NONE);
        let mut at = self.first;
        while at != NONE {
            let mut segment = *from.segment(at);
            let next = std::mem::replace(&mut segment[SEGMENT_WORDS], NONE);
            let fresh = to.take();
            *to.segment_mut(fresh) = segment;
            if last == NONE {
                copy.first = fresh;
            } else {
                to.segment_mut(last)[SEGMENT_WORDS] = fresh;
            }
            last = fresh;
            at = if at == self.current { NONE } else { next };
        }
        copy.current = last;
        copy
    }

    const fn means(&self) -> Means {
        Means {
            delta: self.mean_delta,
            residual: self.mean_residual,
        }
    }
}

/// A chunk that is being written to.
struct Pen<'a> {
    chunk: &'a mut Chunk,
    slabs: &'a mut Slabs,
    /// Up to 64 bits on their way: what is written for one value, or for some, mostly goes into the chunk at once.
    code: u64,
    len: u32,
    /// The mantissa of the last value at an exponent, where this pen wrote it.
    mantissa: Option<(u8, i64)>,
}

impl<'a> Pen<'a> {
    #[inline]
    const fn of(chunk: &'a mut Chunk, slabs: &'a mut Slabs) -> Self {
        Self {
            chunk,
            slabs,
            code: 0,
            len: 0,
            mantissa: None,
        }
    }

    /// Adds a value; what is on its way needs [`Self::finish`].
    #[inline]
    fn append(&mut self, row: u16, bits: u64) {
        if !self.chunk.goes_on(row, bits) {
            self.change(row, bits);
        }
    }

    /// Adds a value that is the first one, or another one than the last, or not in the next row.
    fn change(&mut self, row: u16, bits: u64) {
        if self.chunk.mode & MODE_USED == 0 {
            self.chunk.mode = MODE_USED;
            self.chunk.last_bits = bits;
            self.chunk.first_row = row;
            self.chunk.next_row = row + 1;
            return;
        }
        if self.chunk.mode & MODE_CHANGED == 0 {
            self.begin(bits);
        }
        self.gamma(u64::from(self.chunk.run) + 1);
        self.chunk.run = 0;
        let missing = row - self.chunk.next_row;
        self.chunk.next_row = row + 1;
        if missing > 0 {
            self.gap(missing);
            let changed = bits != self.chunk.last_bits;
            self.put(u64::from(changed), 1);
            if !changed {
                return;
            }
        }
        if self.chunk.mode & MODE_XOR == 0 {
            self.decimal(bits);
        } else {
            self.xor(bits);
        }
        self.chunk.last_bits = bits;
    }

    /// The first bits of a chunk: the raw first value, then whether it goes on as decimals, and
    /// the exponent that suits the first value and the one that comes now.
    fn begin(&mut self, bits: u64) {
        let first = self.chunk.last_bits;
        self.chunk.mode |= MODE_CHANGED;
        self.put(first, 64);
        let exponent = exponent_of(0, first, bits)
            .or_else(|| (0..=EXPONENT_MAX).find(|e| mantissa(first, *e).is_some()));
        self.put(u64::from(exponent.is_some()), 1);
        if let Some(exponent) = exponent {
            self.put(u64::from(exponent), 4);
            self.chunk.mode |= exponent;
        } else {
            self.chunk.mode |= MODE_XOR;
        }
    }

    fn decimal(&mut self, bits: u64) {
        let mut exponent = self.chunk.mode & MODE_EXPONENT;
        let mut whole = mantissa(bits, exponent);
        if whole.is_none() {
            let last = self.chunk.last_bits;
            let finer = if self.chunk.mode & MODE_LAST_RAW == 0 {
                exponent_of(exponent + 1, last, bits)
            } else {
                None
            };
            let Some(finer) = finer else {
                self.raw(bits);
                return;
            };
            self.escape(ESCAPE_EXPONENT);
            self.put(u64::from(finer), 4);
            // The mean was learnt in units of the old exponent; it adapts again by itself.
            self.chunk.mode = (self.chunk.mode & !MODE_EXPONENT) | finer;
            exponent = finer;
            whole = mantissa(bits, exponent);
        }
        let last = self.last_mantissa(exponent);
        self.chunk.mode &= !MODE_LAST_RAW;
        let mut means = self.chunk.means();
        let whole = whole.unwrap_or(0);
        self.mantissa = Some((exponent, whole));
        let delta = whole.wrapping_sub(last);
        let residual = zigzag(delta.wrapping_sub(means.predicted()));
        let width = means.rice_width();
        let quotient = residual >> width;
        if quotient < u64::from(ESCAPE) {
            #[allow(clippy::cast_possible_truncation, reason = "below ESCAPE")]
            let ones = quotient as u32;
            self.put(((1u64 << ones) - 1) << 1, ones + 1);
            self.put(residual & ((1u64 << width) - 1), width);
        } else {
            self.escape(ESCAPE_WIDE);
            self.put(residual, 64);
        }
        means.learn(delta, residual);
        self.chunk.mean_delta = means.delta;
        self.chunk.mean_residual = means.residual;
    }

    /// The mantissa of the last value; 0 after a value that had none.
    fn last_mantissa(&self, exponent: u8) -> i64 {
        if self.chunk.mode & MODE_LAST_RAW != 0 {
            return 0;
        }
        if let Some((of, known)) = self.mantissa
            && of == exponent
        {
            return known;
        }
        mantissa(self.chunk.last_bits, exponent).unwrap_or(0)
    }

    /// A value that is no decimal: as it is, and the second in a row turns the chunk to XOR.
    fn raw(&mut self, bits: u64) {
        self.escape(ESCAPE_RAW);
        self.put(bits, 64);
        let second = self.chunk.mode & MODE_LAST_RAW != 0;
        self.put(u64::from(second), 1);
        self.chunk.mode |= if second { MODE_XOR } else { MODE_LAST_RAW };
    }

    /// `0`: the significant bits fit the last window; `10`: a new window, five bits of leading
    /// zeros and six of width less one. `11` is a gap.
    fn xor(&mut self, bits: u64) {
        let difference = bits ^ self.chunk.last_bits;
        let (leading, trailing) = (
            difference.leading_zeros().min(31),
            difference.trailing_zeros(),
        );
        let (old_leading, old_width) = (u32::from(self.chunk.leading), u32::from(self.chunk.width));
        let fits =
            old_width > 0 && leading >= old_leading && trailing >= 64 - old_leading - old_width;
        if fits && old_width <= 64 - leading - trailing + 11 {
            self.put(0, 1);
            self.put(difference >> (64 - old_leading - old_width), old_width);
            return;
        }
        let width = 64 - leading - trailing.min(63 - leading);
        self.put(0b10, 2);
        self.put(u64::from(leading), 5);
        self.put(u64::from(width - 1), 6);
        self.put(difference >> (64 - leading - width), width);
        #[allow(clippy::cast_possible_truncation, reason = "at most 64")]
        {
            self.chunk.leading = leading as u8;
            self.chunk.width = width as u8;
        }
    }

    fn gap(&mut self, missing: u16) {
        if self.chunk.mode & MODE_XOR == 0 {
            self.escape(ESCAPE_GAP);
        } else {
            self.put(0b11, 2);
        }
        self.gamma(u64::from(missing));
    }

    fn escape(&mut self, kind: u64) {
        self.put((((1u64 << ESCAPE) - 1) << 2) | kind, ESCAPE + 2);
    }

    /// Elias-gamma of a number from 1 on: as many zeros as it has bits after the first, then it.
    fn gamma(&mut self, value: u64) {
        let bits = 64 - value.leading_zeros();
        self.put(value, 2 * bits - 1);
    }

    /// Writes the lower `len` bits of a value, which has no others.
    #[inline]
    fn put(&mut self, value: u64, len: u32) {
        if self.len + len > u64::BITS {
            self.finish();
        }
        // A shift by all bits there are happens only where there were none before.
        self.code = self.code.checked_shl(len).unwrap_or(0) | value;
        self.len += len;
    }

    /// Gives the chunk what is on its way.
    #[inline]
    fn finish(&mut self) {
        let (code, len) = (self.code, self.len);
        (self.code, self.len) = (0, 0);
        if len > 32 {
            self.put_word(code >> 32, len - 32);
            self.put_word(code & 0xffff_ffff, 32);
        } else {
            self.put_word(code, len);
        }
    }

    /// Up to 32 bits. The accumulator holds fewer than 32 of them, the oldest highest.
    #[inline]
    #[allow(
        clippy::cast_possible_truncation,
        reason = "words are the lower 32 bits on purpose; lengths are below 64"
    )]
    fn put_word(&mut self, value: u64, len: u32) {
        let held = u32::from(self.chunk.accumulated);
        let all = (u64::from(self.chunk.accumulator) << len) | value;
        let total = held + len;
        if total < 32 {
            self.chunk.accumulator = all as u32;
            self.chunk.accumulated = total as u8;
            return;
        }
        let rest = total - 32;
        self.push((all >> rest) as u32);
        self.chunk.accumulator = (all & ((1 << rest) - 1)) as u32;
        self.chunk.accumulated = rest as u8;
    }

    fn push(&mut self, word: u32) {
        if self.chunk.current == NONE || usize::from(self.chunk.words) == SEGMENT_WORDS {
            let fresh = self.slabs.take();
            if self.chunk.current == NONE {
                self.chunk.first = fresh;
            } else {
                self.slabs.segment_mut(self.chunk.current)[SEGMENT_WORDS] = fresh;
            }
            self.chunk.current = fresh;
            self.chunk.words = 0;
        }
        let at = usize::from(self.chunk.words) % SEGMENT_WORDS;
        self.slabs.segment_mut(self.chunk.current)[at] = word;
        self.chunk.words += 1;
    }
}
