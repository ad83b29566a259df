//! Bits in order: the most significant bit of a byte first.
//!
//! A writer only ever appends; a reader never reads past the end that it was given.

use super::Error;

/// Appends bits to bytes.
#[derive(Clone, Debug, Default)]
pub struct BitWriter {
    bytes: Vec<u8>,
    /// Bits not yet in `bytes`, right-aligned.
    pending: u64,
    /// How many they are, below 8 between calls.
    pending_len: u32,
}

impl BitWriter {
    /// A writer without bits.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends the low `len` bits of `value` (at most 64), the highest of them first.
    pub fn write(&mut self, value: u64, len: u32) {
        debug_assert!(len <= 64);
        // In two steps, because up to 7 bits may be waiting.
        if len > 32 {
            self.write_short(value >> 32, len - 32);
            self.write_short(value, 32);
        } else {
            self.write_short(value, len);
        }
    }

    /// Appends one bit.
    pub fn write_bit(&mut self, bit: bool) {
        self.write_short(u64::from(bit), 1);
    }

    fn write_short(&mut self, value: u64, len: u32) {
        let mask = (1u64 << len) - 1;
        self.pending = (self.pending << len) | (value & mask);
        self.pending_len += len;
        while self.pending_len >= 8 {
            self.pending_len -= 8;
            self.bytes
                .push((self.pending >> self.pending_len & 0xff) as u8);
        }
        self.pending &= (1 << self.pending_len) - 1;
    }

    /// How many bits there are.
    #[must_use]
    pub fn len_bits(&self) -> usize {
        self.bytes.len() * 8 + self.pending_len as usize
    }

    /// The bytes; the last one is filled up with zero bits.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        if self.pending_len > 0 {
            self.write_short(0, 8 - self.pending_len);
        }
        self.bytes
    }
}

/// Takes bits from bytes.
#[derive(Clone, Debug)]
pub struct BitReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> BitReader<'a> {
    /// A reader at the first bit.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Takes `len` bits (at most 64), right-aligned.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn read(&mut self, len: u32) -> Result<u64, Error> {
        debug_assert!(len <= 64);
        let end = self.at + len as usize;
        if end > self.bytes.len() * 8 {
            return Err(Error::truncated("a bit stream", 1));
        }
        let mut value = 0u128;
        let (first, last) = (self.at / 8, end.div_ceil(8));
        for byte in self.bytes.get(first..last).unwrap_or_default() {
            value = value << 8 | u128::from(*byte);
        }
        value >>= last * 8 - end;
        self.at = end;
        let value = value & ((1u128 << len) - 1);
        u64::try_from(value).map_err(|_| Error::invalid("a bit stream", u64::from(len)))
    }

    /// Takes one bit.
    ///
    /// # Errors
    /// When there is none.
    pub fn read_bit(&mut self) -> Result<bool, Error> {
        self.read(1).map(|bit| bit == 1)
    }

    /// How many bits are left, the filling of the last byte included.
    #[must_use]
    pub fn left_bits(&self) -> usize {
        self.bytes.len() * 8 - self.at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_highest_bit_comes_first() {
        let mut writer = BitWriter::new();
        writer.write_bit(true);
        writer.write(0b0110, 4);
        writer.write(u64::MAX, 0);
        assert_eq!(writer.len_bits(), 5);
        assert_eq!(writer.finish(), [0b1011_0000]);
    }

    proptest! {
        #[test]
        fn anything_comes_back(parts in prop::collection::vec((any::<u64>(), 0u32..=64), 0..50)) {
            let mut writer = BitWriter::new();
            for (value, len) in &parts {
                writer.write(*value, *len);
            }
            let bytes = writer.finish();
            let mut reader = BitReader::new(&bytes);
            for (value, len) in &parts {
                let mask = if *len == 64 { u64::MAX } else { (1 << len) - 1 };
                prop_assert_eq!(reader.read(*len), Ok(value & mask));
            }
            prop_assert!(reader.left_bits() < 8);
            prop_assert!(reader.read(8).is_err());
        }
    }
}
