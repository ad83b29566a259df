//! Symbols as bytes: two streams of range asymmetric numeral systems in one, and bits as they are.
//!
//! A symbol of a [`Nibble`] goes into a 32-bit number (rANS: Jarek Duda, "Asymmetric numeral
//! systems", 2013, <https://arxiv.org/abs/1311.2540>): the larger its share, the less the number
//! grows. When it would outgrow 32 bits, its low 16 are written. What a reader takes out last was put
//! in first, so a writer keeps all symbols and goes through them backwards.
//!
//! There are two such numbers, since a reader cannot begin with a symbol before its number is what
//! the one before left: while one waits for its multiplication, the other goes on.
//!
//! ```text
//! u32     the first number at its end, which is where a reader begins
//! u32     the second
//! u16...  what either lost, in the order in which a reader needs it
//! u8...   bits as they are, from the last byte backwards and the lowest bit upwards; those that are left are 0
//! ```
//! All little-endian. Both numbers are 2^16 when all symbols are taken.

use super::nibble::{CHANCE_BITS, Nibble, Share};
use crate::codec::Error;
use crate::codec::varint::take_array;

const WHAT: &str = "coded residuals";

/// A number is never less, between symbols.
const LEAST: u32 = 1 << 16;

/// The most bits that go through at a time as they are.
pub(super) const PLAIN_MAX: u32 = 32;

/// Which of the two numbers a symbol goes into.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Lane {
    /// The first.
    First,
    /// The second.
    Second,
}

/// Collects symbols and bits.
#[derive(Debug, Default)]
pub(super) struct Writer {
    symbols: Vec<(Lane, Share)>,
    plain: Vec<u8>,
    waiting: u64,
    waiting_bits: u32,
}

impl Writer {
    /// Adds a symbol, and teaches its model.
    pub(super) fn symbol(&mut self, lane: Lane, model: &mut Nibble, symbol: usize) {
        self.symbols.push((lane, model.share(symbol)));
        model.learn(symbol);
    }

    /// Adds the low bits of a number, at most [`PLAIN_MAX`] of them.
    pub(super) fn plain(&mut self, bits: u32, number: u64) {
        self.waiting |= (number & ((1 << bits) - 1)) << self.waiting_bits;
        self.waiting_bits += bits;
        while self.waiting_bits >= 8 {
            self.put_plain();
        }
    }

    fn put_plain(&mut self) {
        let [low, ..] = self.waiting.to_le_bytes();
        self.plain.push(low);
        self.waiting >>= 8;
        self.waiting_bits = self.waiting_bits.saturating_sub(8);
    }

    /// Appends everything as bytes.
    pub(super) fn finish(mut self, out: &mut Vec<u8>) {
        if self.waiting_bits > 0 {
            self.put_plain();
        }
        let (mut first, mut second) = (LEAST, LEAST);
        let mut words: Vec<u16> = Vec::new();
        for (lane, share) in self.symbols.iter().rev() {
            let number = match lane {
                Lane::First => &mut first,
                Lane::Second => &mut second,
            };
            let width = u32::from(share.width);
            // A width is less than 2^15: nothing overflows here, nor below.
            if *number >= width << (32 - CHANCE_BITS) {
                let [low, high, ..] = number.to_le_bytes();
                words.push(u16::from_le_bytes([low, high]));
                *number >>= 16;
            }
            *number = ((*number / width) << CHANCE_BITS) + *number % width + u32::from(share.below);
        }
        out.extend_from_slice(&first.to_le_bytes());
        out.extend_from_slice(&second.to_le_bytes());
        for word in words.iter().rev() {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend(self.plain.iter().rev());
    }
}

/// Takes symbols and bits again, in the order in which they were added.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    first: u32,
    second: u32,
    /// From the front on.
    words: &'a [u8],
    /// From the end on.
    plain: &'a [u8],
    waiting: u64,
    waiting_bits: u32,
    len: usize,
    /// Of bytes and bits that were wanted and are not there.
    missing: u32,
}

impl<'a> Reader<'a> {
    /// Begins with the bytes of one [`Writer`].
    pub(super) fn new(mut bytes: &'a [u8]) -> Result<Self, Error> {
        let first = u32::from_le_bytes(take_array(&mut bytes, WHAT)?);
        let second = u32::from_le_bytes(take_array(&mut bytes, WHAT)?);
        Ok(Self {
            first,
            second,
            words: bytes,
            plain: bytes,
            waiting: 0,
            waiting_bits: 0,
            len: bytes.len(),
            missing: 0,
        })
    }

    /// Takes a symbol, and teaches its model.
    #[inline]
    pub(super) fn symbol(&mut self, lane: Lane, model: &mut Nibble) -> usize {
        let mut number = match lane {
            Lane::First => self.first,
            Lane::Second => self.second,
        };
        let chance = number & ((1 << CHANCE_BITS) - 1);
        #[allow(clippy::cast_possible_truncation, reason = "15 bits")]
        let symbol = model.symbol_at(chance as u16);
        let share = model.share(symbol);
        // A width is at most 2^15 - 15: (2^15 - 15) * (2^17 - 1) + 2^15 is less than 2^32.
        let width = u32::from(share.width);
        number = width * (number >> CHANCE_BITS) + (chance - u32::from(share.below));
        if number < LEAST {
            number = number << 16 | self.word();
        }
        match lane {
            Lane::First => self.first = number,
            Lane::Second => self.second = number,
        }
        model.learn(symbol);
        symbol
    }

    #[inline]
    fn word(&mut self) -> u32 {
        if let Some((word, rest)) = self.words.split_first_chunk() {
            self.words = rest;
            return u32::from(u16::from_le_bytes(*word));
        }
        self.missing |= 1;
        0
    }

    /// Takes so many bits, at most [`PLAIN_MAX`].
    #[inline]
    pub(super) fn plain(&mut self, bits: u32) -> u64 {
        if self.waiting_bits < bits {
            self.fetch(bits);
        }
        let number = self.waiting & ((1 << bits) - 1);
        self.waiting >>= bits;
        self.waiting_bits -= bits;
        number
    }

    #[inline]
    fn fetch(&mut self, bits: u32) {
        if let Some((rest, four)) = self.plain.split_last_chunk() {
            self.waiting |= u64::from(u32::from_be_bytes(*four)) << self.waiting_bits;
            self.waiting_bits += 32;
            self.plain = rest;
            return;
        }
        while self.waiting_bits < bits {
            let Some((last, rest)) = self.plain.split_last() else {
                self.missing |= 1;
                self.waiting_bits = bits;
                return;
            };
            self.waiting |= u64::from(*last) << self.waiting_bits;
            self.waiting_bits += 8;
            self.plain = rest;
        }
    }

    /// Bytes that were taken from the front and from the end. Those that wait are not taken yet.
    fn taken(&self) -> usize {
        let words = self.len - self.words.len();
        let plain = self.len - self.plain.len() - self.waiting_bits as usize / 8;
        words + plain
    }

    /// Whether what was taken can have been there.
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.missing == 0 && self.taken() <= self.len {
            return Ok(());
        }
        Err(Error::truncated(
            WHAT,
            self.taken().saturating_sub(self.len).max(1),
        ))
    }

    /// Whether all was taken, and nothing else.
    pub(super) fn finish(self) -> Result<(), Error> {
        self.check()?;
        let left = self.len - self.taken();
        let ends = self.first == LEAST && self.second == LEAST;
        // Of bytes that wait only the one that was begun may be looked at: the others are words.
        let rest = self.waiting & ((1 << (self.waiting_bits % 8)) - 1);
        if left == 0 && ends && rest == 0 {
            return Ok(());
        }
        Err(Error::invalid(WHAT, left as u64))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::entropy::nibble::SYMBOLS;

    /// A symbol of a lane, or bits as they are.
    #[derive(Clone, Copy, Debug)]
    enum Item {
        Symbol(Lane, usize),
        Plain(u32, u64),
    }

    fn items() -> impl Strategy<Value = Vec<Item>> {
        let symbol = (any::<bool>(), 0..SYMBOLS, 0..SYMBOLS).prop_map(|(second, one, other)| {
            let lane = if second { Lane::Second } else { Lane::First };
            Item::Symbol(lane, one.min(other))
        });
        let plain = (0..=PLAIN_MAX, any::<u64>())
            .prop_map(|(bits, number)| Item::Plain(bits, number & ((1 << bits) - 1)));
        prop::collection::vec(prop_oneof![3 => symbol, 1 => plain], 0..200)
    }

    #[test]
    fn a_bit_too_many_is_refused() {
        let mut bytes = write(&[Item::Plain(3, 5)]);
        assert_eq!(read(&bytes, &[Item::Plain(3, 5)]), Ok(1));
        *bytes.last_mut().unwrap() |= 8;
        assert!(read(&bytes, &[Item::Plain(3, 5)]).is_err());
    }

    fn models() -> [Nibble; 2] {
        [Nibble::of_weights([1; SYMBOLS]); 2]
    }

    fn write(items: &[Item]) -> Vec<u8> {
        let (mut writer, [mut first, mut second]) = (Writer::default(), models());
        for item in items {
            match *item {
                Item::Symbol(Lane::First, symbol) => writer.symbol(Lane::First, &mut first, symbol),
                Item::Symbol(lane, symbol) => writer.symbol(lane, &mut second, symbol),
                Item::Plain(bits, number) => writer.plain(bits, number),
            }
        }
        let mut out = Vec::new();
        writer.finish(&mut out);
        out
    }

    /// How many items are what they should be, and whether the stream ends with them.
    fn read(bytes: &[u8], items: &[Item]) -> Result<usize, Error> {
        let (mut reader, [mut first, mut second]) = (Reader::new(bytes)?, models());
        let mut right = 0;
        for item in items {
            right += usize::from(match *item {
                Item::Symbol(Lane::First, symbol) => {
                    reader.symbol(Lane::First, &mut first) == symbol
                }
                Item::Symbol(lane, symbol) => reader.symbol(lane, &mut second) == symbol,
                Item::Plain(bits, number) => reader.plain(bits) == number,
            });
        }
        reader.finish()?;
        Ok(right)
    }

    proptest! {
        #[test]
        fn what_was_written_comes_back(items in items()) {
            let bytes = write(&items);
            prop_assert_eq!(read(&bytes, &items), Ok(items.len()));
        }

        #[test]
        fn a_stream_that_lacks_a_byte_or_has_one_more_is_noticed(items in items(), at: u16, byte: u8) {
            let bytes = write(&items);
            let at = usize::from(at) % bytes.len();
            let mut shorter = bytes.clone();
            shorter.remove(at);
            let mut longer = bytes.clone();
            longer.insert(at, byte);
            for damaged in [shorter, longer] {
                let said = read(&damaged, &items);
                // Items may be as they were where the byte was like its neighbour; they are not all
                // right *and* complete unless nothing was changed.
                prop_assert!(said.is_err() || said != Ok(items.len()), "{said:?}");
            }
        }

        /// Also by who takes the beginning alone, and does not ask whether the stream ends there.
        #[test]
        fn what_is_not_there_is_not_made_up(symbols in prop::collection::vec(0..SYMBOLS, 20..60), bits in 1..=PLAIN_MAX) {
            let symbols: Vec<Item> = symbols.into_iter().map(|one| Item::Symbol(Lane::First, one)).collect();
            let bytes = write(&symbols);
            let (mut reader, [mut model, _]) = (Reader::new(&bytes[..bytes.len() - 2]).unwrap(), models());
            for _ in &symbols {
                reader.symbol(Lane::First, &mut model);
            }
            prop_assert!(reader.check().is_err());
            let bytes = write(&[Item::Plain(bits, 1)]);
            let mut reader = Reader::new(&bytes[..bytes.len() - 1]).unwrap();
            reader.plain(bits);
            prop_assert!(reader.check().is_err());
        }

        #[test]
        fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..60), items in items()) {
            let _ = read(&bytes, &items);
        }
    }
}
