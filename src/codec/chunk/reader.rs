//! Reads a chunk back, from a copy of its state and bits.
#![allow(
    clippy::indexing_slicing,
    reason = "an exponent is masked to the sixteen powers there are"
)]

use super::code::{
    ESCAPE, ESCAPE_EXPONENT, ESCAPE_GAP, ESCAPE_WIDE, MODE_CHANGED, MODE_EXPONENT, MODE_LAST_RAW,
    MODE_XOR, Means, POWERS, mantissa, unzigzag,
};
use super::grow::Chunk;

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
    /// The mantissa of `last` at the exponent, where this reader made it.
    mantissa: Option<i64>,
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
            mantissa: None,
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
    #[inline]
    fn change(&mut self) {
        if let Some(bits) = self.usual_change() {
            self.run = 0;
            self.changed = self.row.checked_add(1).map(|row| (row, bits));
            return;
        }
        self.other_change();
    }

    /// A change in the next row by a Rice code, which is what most are: all of it is in the bits that are looked at once.
    /// `None`, and nothing read: it is another one.
    #[inline]
    fn usual_change(&mut self) -> Option<u64> {
        const ENOUGH: u32 = 33;
        let window = self.peek();
        if self.mode & (MODE_XOR | MODE_LAST_RAW) != 0 || window >> 63 == 0 {
            return None;
        }
        let means = self.means();
        let (code, width) = (window << 1, means.rice_width());
        let ones = (!code).leading_zeros();
        let len = ones + 2 + width;
        if ones >= ESCAPE || len > ENOUGH {
            return None;
        }
        let rest = code << (ones + 1);
        // In two shifts, because a width may be none at all.
        let residual = (u64::from(ones) << width) | (rest >> 1 >> (63 - width));
        self.at += len as usize;
        Some(self.learned(means, residual))
    }

    const fn means(&self) -> Means {
        Means {
            delta: self.delta,
            residual: self.residual,
        }
    }

    /// The value behind a residual, from which the next ones are predicted.
    #[inline]
    #[allow(clippy::cast_precision_loss, reason = "mantissas are at most 2^53")]
    fn learned(&mut self, mut means: Means, residual: u64) -> u64 {
        let exponent = self.mode & MODE_EXPONENT;
        let last = match self.mantissa {
            Some(known) => known,
            None if self.mode & MODE_LAST_RAW == 0 => mantissa(self.last, exponent).unwrap_or(0),
            None => 0,
        };
        self.mode &= !MODE_LAST_RAW;
        let delta = unzigzag(residual).wrapping_add(means.predicted());
        means.learn(delta, residual);
        (self.delta, self.residual) = (means.delta, means.residual);
        let whole = last.wrapping_add(delta);
        self.mantissa = Some(whole);
        (whole as f64 / POWERS[usize::from(exponent)]).to_bits()
    }

    fn other_change(&mut self) {
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
        reason = "exponents have four bits, gaps at most 2^16 rows"
    )]
    fn decimal(&mut self) -> (Option<u64>, Option<u32>) {
        let ones = (!self.peek()).leading_zeros().min(ESCAPE);
        self.at += ones as usize;
        let means = self.means();
        let residual = if ones < ESCAPE {
            let width = means.rice_width();
            self.at += 1;
            (u64::from(ones) << width) | self.bits(width)
        } else {
            match self.bits(2) {
                ESCAPE_WIDE => self.bits(64),
                ESCAPE_EXPONENT => {
                    self.mode = (self.mode & !MODE_EXPONENT) | self.exponent();
                    self.mantissa = None;
                    return (None, None);
                }
                ESCAPE_GAP => return (None, Some(self.gamma() as u32)),
                _ => {
                    let bits = self.bits(64);
                    let to_xor = self.bits(1) == 1;
                    self.mode |= if to_xor { MODE_XOR } else { MODE_LAST_RAW };
                    self.mantissa = None;
                    return (Some(bits), None);
                }
            }
        };
        (Some(self.learned(means, residual)), None)
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

impl Reader<'_> {
    /// The last value that is in a row up to this one, and its row.
    #[must_use]
    pub fn last_to(mut self, row: u16) -> Option<(u16, u64)> {
        if !self.pending || row < self.row {
            return None;
        }
        while self.at < self.end {
            self.change();
            // What goes on is in rows behind each other.
            let rows = u32::from(row - self.row);
            if rows <= self.run {
                return Some((row, self.last));
            }
            #[allow(clippy::cast_possible_truncation, reason = "below the rows above")]
            let steady = self.row + self.run as u16;
            match self.changed.take() {
                Some((at, bits)) if at <= row => (self.row, self.last) = (at, bits),
                _ => return Some((steady, self.last)),
            }
        }
        let further = (row - self.row).min(self.tail_run);
        Some((self.row + further, self.last))
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

    /// All of them in one loop, without asking for each where it comes from.
    fn fold<B, F: FnMut(B, Self::Item) -> B>(mut self, init: B, mut each: F) -> B {
        let mut folded = init;
        if std::mem::take(&mut self.pending) {
            folded = each(folded, (self.row, self.last));
        }
        loop {
            if self.changed.is_none() && self.at < self.end {
                self.change();
            }
            for _ in 0..std::mem::take(&mut self.run) {
                self.row += 1;
                folded = each(folded, (self.row, self.last));
            }
            let Some((row, bits)) = self.changed.take() else {
                break;
            };
            (self.row, self.last) = (row, bits);
            folded = each(folded, (row, bits));
        }
        self.fold_tail(folded, each)
    }
}

impl Reader<'_> {
    /// The last value again, in the rows behind the last change.
    fn fold_tail<B>(self, folded: B, mut each: impl FnMut(B, (u16, u64)) -> B) -> B {
        let rows = (1..=self.tail_run).map_while(|further| self.row.checked_add(further));
        rows.fold(folded, |folded, row| each(folded, (row, self.last)))
    }
}
