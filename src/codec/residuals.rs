//! Residuals as bytes: zigzag varints, one after the other, for zstd to look for repetition in.

use super::Error;
use super::varint::{finished, put_i64, take_i64};

const WHAT: &str = "the residuals of a column";

/// Appends residuals.
pub(super) fn encode(residuals: &[i64], out: &mut Vec<u8>) {
    for residual in residuals {
        put_i64(out, *residual);
    }
}

/// The `count` residuals that `bytes` are; `out` is cleared first.
pub(super) fn decode(mut bytes: &[u8], count: usize, out: &mut Vec<i64>) -> Result<(), Error> {
    // Each is a byte at least, so no more is allocated than the bytes can fill.
    if bytes.len() < count {
        return Err(Error::truncated(WHAT, count - bytes.len()));
    }
    out.clear();
    out.reserve_exact(count);
    for _ in 0..count {
        out.push(take_i64(&mut bytes)?);
    }
    finished(bytes, WHAT)
}
