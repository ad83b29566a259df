//! Numbers in a stream of bits: few bits for small whole numbers, and for floats that have most
//! bits in common with the one before.

use super::super::bits::BitWriter;

/// How many bits a number may have to be written in so many; the prefix is as many ones as there
/// are smaller sizes, and one more, and then a zero where more sizes follow.
const SIZES: [u32; 7] = [3, 6, 9, 12, 18, 25, 56];

/// Whether a signed number fits into so many bits: the range lies one higher than that of the
/// two's complement.
pub(super) const fn fits(value: i64, bits: u32) -> bool {
    let most = 1 << (bits - 1);
    -(most - 1) <= value && value <= most
}

fn put(out: &mut BitWriter, value: u64, fits: impl Fn(u32) -> bool) {
    if value == 0 {
        out.write_bit(false);
        return;
    }
    let mut prefix = 0b10;
    for (at, bits) in (2..).zip(SIZES) {
        if fits(bits) {
            out.write(prefix, at);
            out.write(value, bits);
            return;
        }
        prefix = (prefix | 1) << 1;
    }
    out.write(0xff, 8);
    out.write(value, 64);
}

/// A signed number.
pub(super) fn put_int(out: &mut BitWriter, value: i64) {
    put(out, value.cast_unsigned(), |bits| fits(value, bits));
}

/// An unsigned number.
pub(super) fn put_uint(out: &mut BitWriter, value: u64) {
    put(out, value, |bits| value >> bits == 0);
}

/// A float and which of its bits differed last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Xor {
    bits: u64,
    /// Equal bits before and after those that were written last; none yet: `None`.
    around: Option<(u32, u32)>,
}

impl Xor {
    /// After a first value, which was written whole.
    pub(super) const fn after(value: f64) -> Self {
        Self {
            bits: value.to_bits(),
            around: None,
        }
    }

    /// Writes the next value.
    pub(super) fn put(&mut self, out: &mut BitWriter, value: f64) {
        let delta = value.to_bits() ^ self.bits;
        self.bits = value.to_bits();
        out.write_bit(delta != 0);
        if delta == 0 {
            return;
        }
        // Five bits are there for the number.
        let leading = delta.leading_zeros().min(31);
        let trailing = delta.trailing_zeros();
        if let Some((before, after)) = self.around
            && leading >= before
            && trailing >= after
        {
            out.write_bit(false);
            out.write(delta >> after, 64 - before - after);
            return;
        }
        self.around = Some((leading, trailing));
        let len = 64 - leading - trailing;
        out.write_bit(true);
        out.write(u64::from(leading), 5);
        // 64 does not fit and is 0, which never is needed.
        out.write(u64::from(len & 63), 6);
        out.write(delta >> trailing, len);
    }
}
