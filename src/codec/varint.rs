//! Whole numbers in as few bytes as they need: LEB128, zigzag for signed ones; and the fixed
//! widths. All readers take from the front of a slice and never believe a length.
//!
//! A number has exactly one encoding: a reader refuses needless trailing zero groups, so equal
//! content is equal bytes.

use super::Error;

/// The longest encoding of 64 bits: ceil(64 / 7) bytes.
pub const VARINT_LEN_MAX: usize = 10;

/// Appends an unsigned number.
pub fn put_u64(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

/// Appends a signed number, small magnitudes in few bytes.
pub fn put_i64(out: &mut Vec<u8>, value: i64) {
    put_u64(out, zigzag(value));
}

/// Appends a length or count.
pub fn put_len(out: &mut Vec<u8>, value: usize) {
    put_u64(out, value as u64);
}

/// Appends a length and that many bytes.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_len(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// Takes an unsigned number.
///
/// # Errors
/// When the bytes end inside it, or it has more than 64 bits or needless bytes.
pub fn take_u64(input: &mut &[u8]) -> Result<u64, Error> {
    const WHAT: &str = "a varint";
    // One byte is by far the commonest length.
    if let Some((first, rest)) = input.split_first()
        && *first < 0x80
    {
        *input = rest;
        return Ok(u64::from(*first));
    }
    let mut value = 0u64;
    for (at, byte) in input.iter().take(VARINT_LEN_MAX).enumerate() {
        let group = u64::from(byte & 0x7f);
        let shift = 7 * at;
        if shift == 63 && group > 1 {
            return Err(Error::invalid(WHAT, group));
        }
        value |= group << shift;
        if *byte < 0x80 {
            if *byte == 0 && at > 0 {
                return Err(Error::invalid(WHAT, 0));
            }
            *input = input.get(at + 1..).unwrap_or_default();
            return Ok(value);
        }
    }
    if input.len() < VARINT_LEN_MAX {
        return Err(Error::truncated(WHAT, 1));
    }
    Err(Error::invalid(WHAT, value))
}

/// Takes a signed number.
///
/// # Errors
/// As [`take_u64`].
pub fn take_i64(input: &mut &[u8]) -> Result<i64, Error> {
    take_u64(input).map(unzigzag)
}

/// Takes a number that may be at most `max`.
///
/// # Errors
/// As [`take_u64`]; [`Error::TooLarge`] past the bound.
pub fn take_len(input: &mut &[u8], what: &'static str, max: usize) -> Result<usize, Error> {
    let value = take_u64(input)?;
    match usize::try_from(value) {
        Ok(len) if len <= max => Ok(len),
        _ => Err(Error::TooLarge {
            what,
            value,
            max: max as u64,
        }),
    }
}

/// Takes a number of 32 bits.
///
/// # Errors
/// As [`take_u64`]; [`Error::TooLarge`] above `u32::MAX`.
pub fn take_u32(input: &mut &[u8], what: &'static str) -> Result<u32, Error> {
    let value = take_u64(input)?;
    u32::try_from(value).map_err(|_| Error::TooLarge {
        what,
        value,
        max: u64::from(u32::MAX),
    })
}

/// Takes `len` bytes.
///
/// # Errors
/// When there are fewer.
pub fn take_exact<'a>(
    input: &mut &'a [u8],
    len: usize,
    what: &'static str,
) -> Result<&'a [u8], Error> {
    let Some((taken, rest)) = input.split_at_checked(len) else {
        return Err(Error::truncated(what, len.saturating_sub(input.len())));
    };
    *input = rest;
    Ok(taken)
}

/// Takes a length and that many bytes.
///
/// # Errors
/// When the bytes end too early.
pub fn take_bytes<'a>(input: &mut &'a [u8], what: &'static str) -> Result<&'a [u8], Error> {
    let len = take_len(input, what, usize::MAX)?;
    take_exact(input, len, what)
}

/// Takes one byte.
///
/// # Errors
/// When there is none.
pub fn take_u8(input: &mut &[u8], what: &'static str) -> Result<u8, Error> {
    take_array::<1>(input, what).map(|[byte]| byte)
}

/// Takes the 64 little-endian bits of a float.
///
/// # Errors
/// When the bytes end too early.
pub fn take_f64(input: &mut &[u8], what: &'static str) -> Result<f64, Error> {
    take_array(input, what).map(|bytes| f64::from_bits(u64::from_le_bytes(bytes)))
}

/// Takes an array of bytes.
///
/// # Errors
/// When the bytes end too early.
pub fn take_array<const N: usize>(input: &mut &[u8], what: &'static str) -> Result<[u8; N], Error> {
    let Some((taken, rest)) = input.split_first_chunk::<N>() else {
        return Err(Error::truncated(what, N - input.len()));
    };
    *input = rest;
    Ok(*taken)
}

/// Fails unless everything was taken.
///
/// # Errors
/// [`Error::Invalid`] with the number of bytes left over.
pub fn finished(input: &[u8], what: &'static str) -> Result<(), Error> {
    match input.len() {
        0 => Ok(()),
        left => Err(Error::invalid(what, left as u64)),
    }
}

/// Signed to unsigned, small magnitudes to small numbers: 0, -1, 1, -2 to 0, 1, 2, 3.
#[must_use]
pub const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

/// The other way round.
#[must_use]
pub const fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ (value & 1).cast_signed().wrapping_neg()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_numbers_have_known_bytes() {
        let check = |value: u64, bytes: &[u8]| {
            let mut out = Vec::new();
            put_u64(&mut out, value);
            assert_eq!(out, bytes);
            let mut input = bytes;
            assert_eq!(take_u64(&mut input), Ok(value));
            assert!(input.is_empty());
        };
        check(0, &[0]);
        check(127, &[0x7f]);
        check(128, &[0x80, 1]);
        check(300, &[0xac, 2]);
        check(u64::MAX, &[255, 255, 255, 255, 255, 255, 255, 255, 255, 1]);
    }

    #[test]
    fn too_long_too_short_and_needless_bytes_are_refused() {
        let check = |mut bytes: &[u8]| assert!(take_u64(&mut bytes).is_err(), "{bytes:?}");
        check(&[]);
        check(&[0x80]);
        check(&[0x80, 0]);
        check(&[0xff; 9]);
        check(&[0xff; 10]);
        check(&[0xff; 11]);
        check(&[255, 255, 255, 255, 255, 255, 255, 255, 255, 2]);
        check(&[128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 1]);
    }

    #[test]
    fn lengths_are_checked_before_they_are_believed() {
        let mut input: &[u8] = &[5, 1, 2];
        assert_eq!(
            take_bytes(&mut input, "x"),
            Err(Error::Truncated { what: "x", need: 3 })
        );
        let mut input: &[u8] = &[5];
        assert!(take_len(&mut input, "x", 4).is_err());
    }

    proptest! {
        #[test]
        fn anything_comes_back(unsigned: u64, signed: i64) {
            let mut out = Vec::new();
            put_u64(&mut out, unsigned);
            put_i64(&mut out, signed);
            let mut input = &out[..];
            prop_assert_eq!(take_u64(&mut input), Ok(unsigned));
            prop_assert_eq!(take_i64(&mut input), Ok(signed));
            prop_assert!(input.is_empty());
        }

        #[test]
        fn one_number_one_encoding(bytes: Vec<u8>) {
            let mut input = &bytes[..];
            if let Ok(value) = take_u64(&mut input) {
                let mut again = Vec::new();
                put_u64(&mut again, value);
                prop_assert_eq!(&again[..], &bytes[..bytes.len() - input.len()]);
            }
        }
    }
}
