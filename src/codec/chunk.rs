//! The head's growing chunk: the float values of one series in one window, appended one by one.
//!
//! A value stands at a row: the number of a timestamp in a table that the series of a scrape
//! target share and the chunk does not know. Bits are only ever appended, in 64-byte segments out
//! of slabs that belong to the chunk's owner and go as a whole. Every `f64` comes back bit for
//! bit. Chunks live in memory only: no file holds them, so the code may change at any time.
//!
//! What it codes (CODEC.md, Table 4): a run of unchanged values in consecutive rows is a counter
//! in the state. A change writes Elias-gamma(run + 1), then in decimal mode the zig-zag of the
//! mantissa's difference less its running mean in Rice code, whose width follows the running mean
//! of what is left; twelve ones escape to everything rare. Values that are no short decimals are
//! XORed with their predecessor. A chunk that never changed has no bits at all.
#![allow(
    clippy::indexing_slicing,
    reason = "every index is masked or bounded by the constant length of the array beside it"
)]

/// Words of a segment that hold bits; the sixteenth names the next segment.
const SEGMENT_WORDS: usize = 15;
/// Segments of a slab: 16 KiB, so that many small owners waste little.
const SLAB_SEGMENTS: usize = 256;
/// No segment.
const NONE: u32 = u32::MAX;
/// The last row that a chunk can hold.
pub const ROW_MAX: u16 = u16::MAX - 1;

/// Ones that mean "not a Rice code".
const ESCAPE: u32 = 12;
/// After an escape: the zig-zag residual in 64 bits.
const ESCAPE_WIDE: u64 = 0;
/// After an escape: a new, larger exponent in four bits; the value's code follows.
const ESCAPE_EXPONENT: u64 = 1;
/// After an escape: rows are missing; their number in Elias-gamma, then one bit: changed.
const ESCAPE_GAP: u64 = 2;
/// After an escape: the raw bits; then one bit: the chunk goes over to XOR.
const ESCAPE_RAW: u64 = 3;

const EXPONENT_MAX: u8 = 12;
/// Mode bits: the exponent in the lower four.
const MODE_EXPONENT: u8 = 0x0f;
/// The last value is not a decimal of the exponent (an escape wrote it raw).
const MODE_LAST_RAW: u8 = 0x10;
/// Values are XORed.
const MODE_XOR: u8 = 0x20;
/// Something was written: the first value stands in the bits.
const MODE_CHANGED: u8 = 0x40;
/// There is a value.
const MODE_USED: u8 = 0x80;

const POWERS: [f64; 16] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
];
/// Mantissas stay where every whole number is a float.
const MANTISSA_MAX: f64 = 9_007_199_254_740_992.0;

/// What a chunk needs to go on: 40 bytes, without the bits themselves.
#[derive(Clone, Copy, Debug)]
pub struct Chunk {
    last_bits: u64,
    /// Decimal: mean difference of mantissas. XOR: leading zeros and width of the last window.
    mean_delta: f32,
    mean_residual: f32,
    accumulator: u32,
    first: u32,
    current: u32,
    run: u16,
    next_row: u16,
    first_row: u16,
    mode: u8,
    accumulated: u8,
    words: u8,
    leading: u8,
    width: u8,
}

/// The segments of many chunks.
#[derive(Debug, Default)]
pub struct Slabs {
    slabs: Vec<Box<[[u32; SEGMENT_WORDS + 1]; SLAB_SEGMENTS]>>,
    used: u32,
}

impl Slabs {
    /// Nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            slabs: Vec::new(),
            used: 0,
        }
    }

    /// Bytes held.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.slabs.capacity() * size_of::<usize>()
            + self.slabs.len() * SLAB_SEGMENTS * size_of::<[u32; SEGMENT_WORDS + 1]>()
    }

    fn take(&mut self) -> u32 {
        if self.used as usize == self.slabs.len() * SLAB_SEGMENTS {
            self.slabs
                .push(Box::new([[NONE; SEGMENT_WORDS + 1]; SLAB_SEGMENTS]));
        }
        self.used += 1;
        self.used - 1
    }

    fn segment(&self, at: u32) -> &[u32; SEGMENT_WORDS + 1] {
        &self.slabs[at as usize / SLAB_SEGMENTS][at as usize % SLAB_SEGMENTS]
    }

    fn segment_mut(&mut self, at: u32) -> &mut [u32; SEGMENT_WORDS + 1] {
        &mut self.slabs[at as usize / SLAB_SEGMENTS][at as usize % SLAB_SEGMENTS]
    }
}

impl Default for Chunk {
    fn default() -> Self {
        Self::EMPTY
    }
}

const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

const fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

/// The mantissa of a value at an exponent, when `mantissa / 10^exponent` gives back its bits.
fn mantissa(bits: u64, exponent: u8) -> Option<i64> {
    let value = f64::from_bits(bits);
    let power = POWERS[usize::from(exponent & MODE_EXPONENT)];
    let scaled = value * power;
    if !(-MANTISSA_MAX..=MANTISSA_MAX).contains(&scaled) {
        return None;
    }
    // The cast truncates, which rounds half away from zero after half was added.
    #[allow(
        clippy::cast_possible_truncation,
        reason = "bounded by MANTISSA_MAX above"
    )]
    let whole = (scaled + 0.5f64.copysign(scaled)) as i64;
    #[allow(clippy::cast_precision_loss, reason = "at most 2^53")]
    let back = whole as f64 / power;
    (back.to_bits() == bits && whole.unsigned_abs() < 1 << 53).then_some(whole)
}

/// The smallest exponent from `from` on that suits both values.
fn exponent_of(from: u8, one: u64, other: u64) -> Option<u8> {
    (from..=EXPONENT_MAX)
        .find(|exponent| mantissa(other, *exponent).is_some() && mantissa(one, *exponent).is_some())
}

/// The part of writer and reader that must never differ: means, widths, predictions.
#[derive(Clone, Copy)]
struct Means {
    delta: f32,
    residual: f32,
}

impl Means {
    #[allow(
        clippy::cast_possible_truncation,
        reason = "a float cast saturates, and both sides do the same"
    )]
    fn predicted(self) -> i64 {
        (self.delta + 0.5f32.copysign(self.delta)) as i64
    }

    /// Bits of the remainder: the whole part of log2 of the mean residual.
    fn rice_width(self) -> u32 {
        (self.residual.to_bits() >> 23).saturating_sub(127).min(52)
    }

    #[allow(clippy::cast_precision_loss, reason = "both sides round alike")]
    fn learn(&mut self, delta: i64, residual: u64) {
        self.delta += (delta as f32 - self.delta) * 0.125;
        self.residual += (residual as f32 - self.residual) * 0.125;
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

    /// Adds a value at `row`, which must not be before [`Chunk::next_row`] nor after [`ROW_MAX`]:
    /// the caller's table of timestamps knows.
    #[inline]
    pub fn append(&mut self, slabs: &mut Slabs, row: u16, bits: u64) {
        debug_assert!(row <= ROW_MAX && (self.is_empty() || row >= self.next_row));
        if bits == self.last_bits && row == self.next_row && self.mode & MODE_USED != 0 {
            self.run += 1;
            self.next_row = row + 1;
            return;
        }
        self.append_change(slabs, row, bits);
    }

    fn append_change(&mut self, slabs: &mut Slabs, row: u16, bits: u64) {
        if self.mode & MODE_USED == 0 {
            self.mode = MODE_USED;
            self.last_bits = bits;
            self.first_row = row;
            self.next_row = row + 1;
            return;
        }
        let mut pen = Pen { chunk: self, slabs };
        if pen.chunk.mode & MODE_CHANGED == 0 {
            pen.begin(bits);
        }
        pen.gamma(u64::from(pen.chunk.run) + 1);
        pen.chunk.run = 0;
        let missing = row - pen.chunk.next_row;
        pen.chunk.next_row = row + 1;
        if missing > 0 {
            pen.gap(missing);
            let changed = bits != pen.chunk.last_bits;
            pen.put(u64::from(changed), 1);
            if !changed {
                return;
            }
        }
        if pen.chunk.mode & MODE_XOR == 0 {
            pen.decimal(bits);
        } else {
            pen.xor(bits);
        }
        pen.chunk.last_bits = bits;
    }

    /// Copies the bits into `words`, to be read by [`Reader`] without the slabs: some hundreds of
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
}

impl Pen<'_> {
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
        let delta = whole.unwrap_or(0).wrapping_sub(last);
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

    #[inline]
    fn put(&mut self, value: u64, len: u32) {
        if len > 32 {
            self.put_word(value >> 32, len - 32);
            self.put_word(value & 0xffff_ffff, 32);
        } else {
            self.put_word(value, len);
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

/// Reads the values of a chunk, from a copy of its state and bits: rows and value bits.
#[derive(Debug)]
pub struct Reader<'a> {
    words: &'a [u32],
    /// The next bit.
    at: usize,
    /// Bits there are.
    end: usize,
    /// The value at `row`, once `run` more of the last value have been given.
    row: u16,
    run: u32,
    /// Whether the value in `last` after the run is still to be given.
    pending: bool,
    changed: Option<(u16, u64)>,
    last: u64,
    tail_run: u16,
    delta: f32,
    residual: f32,
    mode: u8,
    leading: u32,
    width: u32,
}

impl<'a> Reader<'a> {
    /// A reader of what [`Chunk::copy_bits`] put into `words` together with the chunk's state.
    #[must_use]
    pub fn new(chunk: &Chunk, words: &'a [u32]) -> Self {
        let whole = if chunk.accumulated > 0 {
            (words.len().saturating_sub(1)) * 32
        } else {
            words.len() * 32
        };
        let mut reader = Self {
            words,
            at: 0,
            end: whole + usize::from(chunk.accumulated),
            row: chunk.first_row,
            run: 0,
            pending: !chunk.is_empty(),
            changed: None,
            last: chunk.last_bits,
            tail_run: chunk.run,
            delta: 0.0,
            residual: 0.0,
            mode: 0,
            leading: 0,
            width: 0,
        };
        if chunk.mode & MODE_CHANGED != 0 {
            reader.last = reader.bits(64);
            reader.mode = if reader.bits(1) == 0 {
                MODE_XOR
            } else {
                reader.exponent()
            };
        }
        reader
    }

    #[allow(clippy::cast_possible_truncation, reason = "four bits")]
    fn exponent(&mut self) -> u8 {
        self.bits(4) as u8
    }

    /// Up to 64 bits; zeros past the end.
    #[inline]
    fn bits(&mut self, len: u32) -> u64 {
        if len > 32 {
            let high = self.take_word(len - 32);
            return (high << 32) | self.take_word(32);
        }
        self.take_word(len)
    }

    #[inline]
    fn take_word(&mut self, len: u32) -> u64 {
        let window = self.peek();
        self.at += len as usize;
        if len == 0 { 0 } else { window >> (64 - len) }
    }

    /// At least 33 bits from here on, left-aligned.
    #[inline]
    fn peek(&self) -> u64 {
        let word = |at: usize| u64::from(self.words.get(at).copied().unwrap_or(0));
        let (index, shift) = (self.at / 32, self.at % 32);
        ((word(index) << 32) | word(index + 1)) << shift
    }

    fn gamma(&mut self) -> u64 {
        let zeros = self.peek().leading_zeros().min(32);
        self.at += zeros as usize;
        self.bits(zeros + 1)
    }

    /// Reads one change: the run before it, then its row and value.
    fn change(&mut self) {
        #[allow(clippy::cast_possible_truncation, reason = "runs are at most 2^16")]
        let run = self.gamma().saturating_sub(1) as u32;
        self.run = run;
        let mut row = u32::from(self.row) + 1 + run;
        let mut bits = None;
        while bits.is_none() && self.at <= self.end {
            let (value, missing) = if self.mode & MODE_XOR == 0 {
                self.decimal()
            } else {
                self.xor()
            };
            if let Some(missing) = missing {
                row += missing;
                if self.bits(1) == 0 {
                    bits = Some(self.last);
                }
            } else {
                bits = value;
            }
        }
        self.changed = u16::try_from(row).ok().zip(bits);
    }

    /// A value, or the number of missing rows, or neither after a raised exponent.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "exponents have four bits, gaps at most 2^16 rows, mantissas at most 2^53"
    )]
    fn decimal(&mut self) -> (Option<u64>, Option<u32>) {
        let ones = (!self.peek()).leading_zeros().min(ESCAPE);
        self.at += ones as usize;
        let means = Means {
            delta: self.delta,
            residual: self.residual,
        };
        let residual = if ones < ESCAPE {
            let width = means.rice_width();
            self.at += 1;
            (u64::from(ones) << width) | self.bits(width)
        } else {
            match self.bits(2) {
                ESCAPE_WIDE => self.bits(64),
                ESCAPE_EXPONENT => {
                    self.mode = (self.mode & !MODE_EXPONENT) | self.exponent();
                    return (None, None);
                }
                ESCAPE_GAP => return (None, Some(self.gamma() as u32)),
                _ => {
                    let bits = self.bits(64);
                    let to_xor = self.bits(1) == 1;
                    self.mode |= if to_xor { MODE_XOR } else { MODE_LAST_RAW };
                    return (Some(bits), None);
                }
            }
        };
        let exponent = self.mode & MODE_EXPONENT;
        let last = if self.mode & MODE_LAST_RAW == 0 {
            mantissa(self.last, exponent).unwrap_or(0)
        } else {
            0
        };
        self.mode &= !MODE_LAST_RAW;
        let delta = unzigzag(residual).wrapping_add(means.predicted());
        let mut means = means;
        means.learn(delta, residual);
        (self.delta, self.residual) = (means.delta, means.residual);
        let whole = last.wrapping_add(delta);
        let value = whole as f64 / POWERS[usize::from(exponent)];
        (Some(value.to_bits()), None)
    }

    #[allow(clippy::cast_possible_truncation, reason = "five and six bits")]
    fn xor(&mut self) -> (Option<u64>, Option<u32>) {
        if self.bits(1) == 1 {
            if self.bits(1) == 1 {
                return (None, Some(self.gamma() as u32));
            }
            self.leading = self.bits(5) as u32;
            self.width = self.bits(6) as u32 + 1;
        }
        let shift = 64u32.saturating_sub(self.leading + self.width);
        let difference = self.bits(self.width) << shift;
        (Some(self.last ^ difference), None)
    }
}

impl Iterator for Reader<'_> {
    type Item = (u16, u64);

    #[inline]
    fn next(&mut self) -> Option<(u16, u64)> {
        if self.pending {
            self.pending = false;
            return Some((self.row, self.last));
        }
        if self.changed.is_none() && self.at < self.end {
            self.change();
        }
        if self.run > 0 {
            self.run -= 1;
            self.row += 1;
            return Some((self.row, self.last));
        }
        if let Some((row, bits)) = self.changed.take() {
            (self.row, self.last) = (row, bits);
            return Some((row, bits));
        }
        self.tail_run = self.tail_run.checked_sub(1)?;
        self.row = self.row.checked_add(1)?;
        Some((self.row, self.last))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(values: &[(u16, u64)]) -> usize {
        let (mut slabs, mut chunk, mut words) = (Slabs::new(), Chunk::EMPTY, Vec::new());
        for (row, bits) in values {
            chunk.append(&mut slabs, *row, *bits);
        }
        chunk.copy_bits(&slabs, &mut words);
        let back: Vec<_> = Reader::new(&chunk, &words).collect();
        assert_eq!(back, values);
        words.len() * 4
    }

    fn rows(values: impl IntoIterator<Item = f64>) -> Vec<(u16, u64)> {
        (0..).zip(values.into_iter().map(f64::to_bits)).collect()
    }

    #[test]
    fn the_state_is_small() {
        assert_eq!(size_of::<Chunk>(), 40);
    }

    #[test]
    fn what_never_changes_takes_no_bits() {
        assert_eq!(check(&rows([42.5; 480])), 0);
        assert_eq!(check(&[]), 0);
        assert_eq!(check(&[(7, f64::NAN.to_bits())]), 0);
    }

    #[test]
    fn counters_and_decimals_are_small() {
        let counter = rows((0..480).map(|i| 1000.0 + f64::from(i) * 15.0));
        assert!(check(&counter) < 170, "{}", check(&counter));
        let gauge = rows((0..480).map(|i| f64::from(i % 7) * 0.01 + 20.0));
        assert!(check(&gauge) < 480, "{}", check(&gauge));
    }

    #[test]
    fn odd_values_and_gaps_come_back() {
        let odd = [
            0.0,
            -0.0,
            1.0,
            f64::from_bits(crate::model::STALE_NAN_BITS),
            f64::from_bits(0x7ff8_dead_beef_0001),
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::MIN_POSITIVE,
            f64::from_bits(1),
            f64::MAX,
            9_007_199_254_740_993.0,
            -9_007_199_254_740_991.0,
            0.1 + 0.2,
            1e300,
            1e-12,
            123.456,
        ];
        check(&rows(odd));
        check(&rows(odd.into_iter().rev()));
        for one in odd {
            for other in odd {
                check(&rows([5.0, one, other, 5.0, one, 6.5, other, other, 5.25]));
            }
        }
        let gaps: Vec<_> = (0..100u16)
            .map(|i| (i * i, f64::from(i / 3).to_bits()))
            .collect();
        check(&gaps);
        check(&[(0, 1), (1, 1), (ROW_MAX, 1)]);
    }

    fn value() -> impl Strategy<Value = u64> {
        prop_oneof![
            any::<u64>(),
            any::<f64>().prop_map(f64::to_bits),
            (-1000i32..1000).prop_map(|v| f64::from(v).to_bits()),
            (-100_000i32..100_000).prop_map(|v| (f64::from(v) / 1000.0).to_bits()),
            Just(0),
            Just(crate::model::STALE_NAN_BITS),
        ]
    }

    proptest! {
        #[test]
        fn every_sequence_comes_back(
            values in proptest::collection::vec((0u16..4, 0u16..3, value()), 0..300)
        ) {
            let (mut row, mut all) = (0u16, Vec::new());
            for (gap, repeat, bits) in values {
                row += if gap == 3 { 17 } else { 1 };
                for _ in 0..=repeat {
                    all.push((row, bits));
                    row += 1;
                }
            }
            check(&all);
        }
    }
}
