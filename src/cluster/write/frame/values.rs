//! Float values of one series after the other: each coded against the one before, as the
//! difference of decimal mantissas where both are short decimals, else as the bytes that differ.
//!
//! The format is in `docs/format.md`, "Append streams". Both ends keep the last value and how it
//! was coded: nine bytes a series.

use super::wire_error::FrameError;
use crate::codec::varint;

/// The largest decimal exponent: nano, and a little.
const EXPONENT_MAX: u8 = 12;
/// The mode of series whose values are no short decimals.
const BINARY: u8 = 15;
/// In decimal mode: what comes is not decimal.
const TO_BINARY: u64 = 0;
/// In decimal mode: another exponent comes first.
const TO_EXPONENT: u64 = 1;
/// Differences begin here.
const DIFFERENCE: u64 = 2;
/// In binary mode: a whole number comes, and decimal mode again.
const TO_WHOLE: u8 = 0xff;

const POWERS: [f64; EXPONENT_MAX as usize + 1] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12,
];

/// Mantissas stay below 2^53, where every whole number is a float.
const MANTISSA_END: f64 = 9_007_199_254_740_992.0;

/// The last value of a series in a stream, and how it was coded. Whoever keeps it for many series
/// keeps the two apart, because together they would take sixteen bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Last {
    pub(super) bits: u64,
    pub(super) mode: u8,
}

fn power(exponent: u8) -> f64 {
    POWERS.get(usize::from(exponent)).copied().unwrap_or(1.0)
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "below 2^53 in magnitude and whole, as checked just before"
)]
#[inline]
fn nearest(value: f64, exponent: u8) -> Option<i64> {
    let scaled = if exponent == 0 {
        value
    } else {
        value * power(exponent)
    };
    // Rounds to the nearest even whole number as `round_ties_even` does, without a call where the
    // machine has no instruction for it: exact below 2^52, and above there is no fraction.
    (scaled.abs() < MANTISSA_END).then(|| scaled.round_ties_even() as i64)
}

#[inline]
fn float(mantissa: i64, exponent: u8) -> f64 {
    if exponent == 0 {
        mantissa as f64
    } else {
        mantissa as f64 / power(exponent)
    }
}

/// The mantissa whose float is `value` to the bit.
#[inline]
fn exact(value: f64, exponent: u8) -> Option<i64> {
    let mantissa = nearest(value, exponent)?;
    (float(mantissa, exponent).to_bits() == value.to_bits()).then_some(mantissa)
}

impl Last {
    /// Appends the code of a value that differs from the last one.
    #[inline]
    pub(super) fn put(&mut self, bits: u64, out: &mut Vec<u8>) {
        let (value, last) = (f64::from_bits(bits), f64::from_bits(self.bits));
        if self.mode != BINARY {
            if let (Some(to), Some(from)) = (exact(value, self.mode), nearest(last, self.mode)) {
                varint::put_u64(out, varint::zigzag(to - from) + DIFFERENCE);
                self.bits = bits;
                return;
            }
            self.put_otherwise(value, last, out);
        } else if let Some(whole) = exact(value, 0) {
            out.push(TO_WHOLE);
            varint::put_i64(out, whole);
            self.mode = 0;
        } else {
            put_xor(bits ^ self.bits, out);
        }
        self.bits = bits;
    }

    #[cold]
    fn put_otherwise(&mut self, value: f64, last: f64, out: &mut Vec<u8>) {
        for exponent in self.mode + 1..=EXPONENT_MAX {
            if let (Some(to), Some(from)) = (exact(value, exponent), nearest(last, exponent)) {
                varint::put_u64(out, TO_EXPONENT);
                out.push(exponent);
                varint::put_i64(out, to - from);
                self.mode = exponent;
                return;
            }
        }
        varint::put_u64(out, TO_BINARY);
        put_xor(value.to_bits() ^ self.bits, out);
        self.mode = BINARY;
    }

    /// Takes the code of a value that differs from the last one.
    #[inline]
    pub(super) fn take(&mut self, input: &mut &[u8]) -> Result<u64, FrameError> {
        self.bits = if self.mode == BINARY {
            self.take_binary(input)?
        } else {
            match varint::take_u64(input)? {
                TO_BINARY => {
                    let head = varint::take_u8(input, "a value")?;
                    let xor = take_xor(head, input)?;
                    self.mode = BINARY;
                    self.bits ^ xor
                }
                TO_EXPONENT => {
                    let exponent = varint::take_u8(input, "an exponent")?;
                    if exponent > EXPONENT_MAX {
                        return Err(FrameError::Invalid("an exponent"));
                    }
                    self.mode = exponent;
                    self.add(varint::take_i64(input)?)?
                }
                code => self.add(varint::unzigzag(code - DIFFERENCE))?,
            }
        };
        Ok(self.bits)
    }

    #[inline]
    fn add(&self, difference: i64) -> Result<u64, FrameError> {
        let from = nearest(f64::from_bits(self.bits), self.mode);
        let from = from.ok_or(FrameError::Invalid("a difference"))?;
        Ok(float(from.wrapping_add(difference), self.mode).to_bits())
    }

    fn take_binary(&mut self, input: &mut &[u8]) -> Result<u64, FrameError> {
        let head = varint::take_u8(input, "a value")?;
        if head == TO_WHOLE {
            self.mode = 0;
            return Ok(float(varint::take_i64(input)?, 0).to_bits());
        }
        Ok(self.bits ^ take_xor(head, input)?)
    }
}

/// A byte (how many bytes less one, how many zero bytes below them times eight), then the bytes.
fn put_xor(xor: u64, out: &mut Vec<u8>) {
    let below = (xor.trailing_zeros() / 8).min(7);
    let above = (xor.leading_zeros() / 8).min(7 - below);
    let len = 8 - below - above;
    // Both are below eight.
    out.push(u8::try_from((len - 1) | below << 3).unwrap_or(0));
    let bytes = (xor >> (8 * below)).to_le_bytes();
    out.extend_from_slice(bytes.get(..len as usize).unwrap_or_default());
}

fn take_xor(head: u8, input: &mut &[u8]) -> Result<u64, FrameError> {
    let (len, below) = (u32::from(head & 7) + 1, u32::from(head >> 3));
    if len + below > 8 {
        return Err(FrameError::Invalid("a value"));
    }
    let taken = varint::take_exact(input, len as usize, "a value")?;
    let value = taken
        .iter()
        .rev()
        .fold(0u64, |value, byte| value << 8 | u64::from(*byte));
    Ok(value << (8 * below))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(values: &[f64]) -> usize {
        let (mut out, mut writer) = (Vec::new(), Last::default());
        let mut changed = Vec::new();
        for value in values {
            changed.push(value.to_bits() != writer.bits);
            if value.to_bits() != writer.bits {
                writer.put(value.to_bits(), &mut out);
            }
        }
        let (mut input, mut reader) = (out.as_slice(), Last::default());
        for (value, changed) in values.iter().zip(changed) {
            if changed {
                reader.take(&mut input).unwrap();
            }
            assert_eq!(reader.bits, value.to_bits(), "{value} of {values:?}");
        }
        assert!(input.is_empty());
        assert_eq!(writer, reader);
        out.len()
    }

    #[test]
    fn usual_columns_are_short() {
        let counter: Vec<f64> = (1..101).map(|at| f64::from(at * 37)).collect();
        assert!(check(&counter) <= 110);
        let hundredths: Vec<f64> = (1..101).map(|at| f64::from(at * 7 % 50) / 100.0).collect();
        assert!(check(&hundredths) <= 210);
        let stale = crate::model::stale_nan();
        check(&[
            1.0,
            stale,
            2.0,
            -0.0,
            0.0,
            f64::INFINITY,
            0.1,
            1e300,
            1e-300,
            3.0,
        ]);
        check(&[
            0.1,
            0.123_456_789,
            9e15,
            1e12,
            f64::MAX,
            f64::MIN_POSITIVE,
            -7.25,
        ]);
    }

    proptest! {
        #[test]
        fn anything_comes_back(values in prop::collection::vec(prop_oneof![
            any::<u64>().prop_map(f64::from_bits),
            (-1_000_000i64..1_000_000).prop_map(|n| n as f64),
            (-1_000_000i64..1_000_000).prop_map(|n| n as f64 / 1000.0),
            any::<i64>().prop_map(|n| n as f64),
        ], 0..40)) {
            check(&values);
        }

        #[test]
        fn bad_bytes_end_in_errors(bytes: Vec<u8>, mode in 0u8..=15, bits: u64) {
            let mode = if mode > EXPONENT_MAX { BINARY } else { mode };
            let (mut input, mut last) = (bytes.as_slice(), Last { bits, mode });
            while !input.is_empty() && last.take(&mut input).is_ok() {}
        }
    }
}
