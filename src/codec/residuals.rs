//! Residuals as bytes: zigzag varints, one after the other, for zstd to look for repetition in.

use super::Error;
use super::varint::{finished, put_i64, take_i64, unzigzag};

const WHAT: &str = "the residuals of a column";

/// Appends residuals.
pub(super) fn encode(residuals: &[i64], out: &mut Vec<u8>) {
    for residual in residuals {
        put_i64(out, *residual);
    }
}

/// The end of a varint is a byte without this bit.
const GOES_ON: u64 = 0x8080_8080_8080_8080;

/// The first `count` residuals of `bytes`; `out` is cleared first. Returns what stands behind them.
///
/// Eight bytes at a time, without a branch on how long a number is: lengths of neighbours are
/// noise, and guessing them wrong costs more than all else.
pub(super) fn decode_some<'a>(
    mut bytes: &'a [u8],
    count: usize,
    out: &mut Vec<i64>,
) -> Result<&'a [u8], Error> {
    // Each is a byte at least, so no more is allocated than the bytes can fill.
    if bytes.len() < count {
        return Err(Error::truncated(WHAT, count - bytes.len()));
    }
    out.clear();
    out.reserve_exact(count);
    while out.len() < count {
        let Some(eight) = bytes.first_chunk::<8>() else {
            out.push(take_i64(&mut bytes)?);
            continue;
        };
        let word = u64::from_le_bytes(*eight);
        let ends = !word & GOES_ON;
        if ends == GOES_ON && count - out.len() >= 8 {
            out.extend(eight.map(|byte| unzigzag(u64::from(byte))));
            bytes = bytes.get(8..).unwrap_or_default();
            continue;
        }
        if ends == 0 {
            out.push(take_i64(&mut bytes)?);
            continue;
        }
        // The bit that ends the first number is the top one of its last byte.
        let top = ends.trailing_zeros();
        let number = word & (u64::MAX >> (63 - top));
        if top > 7 && number >> (top - 7) == 0 {
            return Err(Error::invalid("a varint", 0));
        }
        out.push(unzigzag(squeeze(number)));
        bytes = bytes.get(top as usize / 8 + 1..).unwrap_or_default();
    }
    Ok(bytes)
}

/// The low seven bits of each byte, put together.
const fn squeeze(bytes: u64) -> u64 {
    let by_7 = bytes & 0x7f7f_7f7f_7f7f_7f7f;
    let by_14 = (by_7 & 0x007f_007f_007f_007f) | ((by_7 & 0x7f00_7f00_7f00_7f00) >> 1);
    let by_28 = (by_14 & 0x0000_3fff_0000_3fff) | ((by_14 & 0x3fff_0000_3fff_0000) >> 2);
    (by_28 & 0x0fff_ffff) | ((by_28 & 0x0fff_ffff_0000_0000) >> 4)
}

/// The `count` residuals that `bytes` are; `out` is cleared first.
pub(super) fn decode(bytes: &[u8], count: usize, out: &mut Vec<i64>) -> Result<(), Error> {
    finished(decode_some(bytes, count, out)?, WHAT)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One after the other, as they are defined.
    fn slowly(mut bytes: &[u8], count: usize) -> Result<Vec<i64>, Error> {
        let numbers: Result<Vec<i64>, Error> = (0..count).map(|_| take_i64(&mut bytes)).collect();
        finished(bytes, WHAT)?;
        numbers
    }

    proptest! {
        #[test]
        fn any_numbers_come_back(
            numbers in prop::collection::vec(any::<(i64, u8)>(), 0..80),
            some in 0usize..80,
        ) {
            let numbers: Vec<i64> = numbers.iter().map(|(n, shift)| n >> (shift % 64)).collect();
            let (mut bytes, mut out) = (Vec::new(), Vec::new());
            encode(&numbers, &mut bytes);
            decode(&bytes, numbers.len(), &mut out).unwrap();
            prop_assert_eq!(&out, &numbers);
            let some = some.min(numbers.len());
            let rest = decode_some(&bytes, some, &mut out).unwrap();
            prop_assert_eq!(&out[..], &numbers[..some]);
            let mut of_rest = Vec::new();
            encode(&numbers[some..], &mut of_rest);
            prop_assert_eq!(rest, &of_rest[..]);
        }

        #[test]
        fn any_bytes_are_taken_or_refused_as_one_by_one(
            bytes in prop::collection::vec(prop_oneof![0u8..3, 126u8..131, any::<u8>()], 0..40),
            count in 0usize..40,
        ) {
            let mut out = Vec::new();
            let fast = decode(&bytes, count, &mut out).map(|()| out);
            prop_assert_eq!(fast.ok(), slowly(&bytes, count).ok());
        }
    }
}
