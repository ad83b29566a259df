//! A chunk of floats: times as differences of differences, values XORed with the one before.

use super::super::bits::BitWriter;
use super::super::varint::{put_i64, put_u64};
use super::varbit::{Xor, fits};

/// Sizes of differences of differences, and their prefixes.
const SIZES: [(u32, u64, u32); 3] = [(14, 0b10, 2), (17, 0b110, 3), (20, 0b1110, 4)];

/// Writes samples, at least one and at most 65,535.
pub(super) fn encode(samples: impl ExactSizeIterator<Item = (i64, f64)>) -> Vec<u8> {
    let mut out = BitWriter::new();
    out.write(samples.len() as u64, 16);
    let mut before = 0_i64;
    let mut delta_before = 0_i64;
    let mut values = Xor::after(0.0);
    for (at, (time, value)) in samples.enumerate() {
        let delta = time.wrapping_sub(before);
        match at {
            0 => {
                whole(&mut out, |bytes| put_i64(bytes, time));
                out.write(value.to_bits(), 64);
                values = Xor::after(value);
            }
            1 => {
                whole(&mut out, |bytes| put_u64(bytes, delta.cast_unsigned()));
                values.put(&mut out, value);
            }
            _ => {
                put_difference(&mut out, delta.wrapping_sub(delta_before));
                values.put(&mut out, value);
            }
        }
        delta_before = delta;
        before = time;
    }
    out.finish()
}

/// Whole bytes within the bits.
fn whole(out: &mut BitWriter, put: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = Vec::with_capacity(10);
    put(&mut bytes);
    for byte in bytes {
        out.write(u64::from(byte), 8);
    }
}

fn put_difference(out: &mut BitWriter, value: i64) {
    if value == 0 {
        out.write_bit(false);
        return;
    }
    let size = SIZES.iter().find(|(bits, ..)| fits(value, *bits));
    let (bits, prefix, len) = size.copied().unwrap_or((64, 0b1111, 4));
    out.write(prefix, len);
    out.write(value.cast_unsigned(), bits);
}
