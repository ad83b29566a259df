//! One value of a series against the one before: where both are short decimals the difference of
//! their mantissas, else the bytes that differ. Logs and streams of many series that come in turn
//! have no columns to code; what is here needs nine bytes a series.
//!
//! A code says itself where it ends, whatever came before it: a reader that does not know the last
//! value of one series still reads those of the others. `docs/format.md` ("Log", steps) has the bytes.

use super::decimal::{EXPONENT_MAX, float, nearest, power};
use super::{Error, varint};

/// Codes from here on, of those that are no differences, change the exponent.
const TO_EXPONENT: u64 = 64;
/// Of the writer alone: the value before was no decimal, so that the larger exponents are not tried.
const BINARY: u8 = 0x80;

const WHAT: &str = "a step";

/// The last value of a series, and how the next is coded against it. Whoever keeps it for many
/// series keeps the two apart, because together they would take sixteen bytes.
#[derive(Debug)]
pub struct Last<'a> {
    /// The value's bits, at first 0.
    pub bits: &'a mut u64,
    /// The decimal exponent of differences, at first 0; a writer's notes beside it.
    pub mode: &'a mut u8,
}

/// The mantissa of any value: 0 of one that has none.
#[inline]
fn mantissa(bits: u64, exponent: u8) -> i64 {
    let value = f64::from_bits(bits);
    let scale = power(exponent).unwrap_or(1.0);
    nearest(value, scale).unwrap_or(0)
}

#[inline]
fn value(mantissa: i64, exponent: u8) -> u64 {
    if exponent == 0 {
        return float(mantissa, 1.0).to_bits();
    }
    float(mantissa, power(exponent).unwrap_or(1.0)).to_bits()
}

/// The mantissa whose value has exactly these bits.
#[inline]
fn exact(bits: u64, exponent: u8) -> Option<i64> {
    let scale = power(exponent).unwrap_or(1.0);
    let found = nearest(f64::from_bits(bits), scale)?;
    (value(found, exponent) == bits).then_some(found)
}

impl Last<'_> {
    /// Appends the code of a value that differs from the last one.
    #[inline]
    pub fn put(&mut self, bits: u64, out: &mut Vec<u8>) {
        let exponent = *self.mode & !BINARY;
        if let Some(to) = exact(bits, exponent) {
            let from = mantissa(*self.bits, exponent);
            varint::put_u64(out, varint::zigzag(to.wrapping_sub(from)) << 1);
            (*self.bits, *self.mode) = (bits, exponent);
            return;
        }
        self.put_otherwise(bits, exponent, out);
        *self.bits = bits;
    }

    fn put_otherwise(&mut self, bits: u64, exponent: u8, out: &mut Vec<u8>) {
        let largest = match *self.mode & BINARY {
            0 => EXPONENT_MAX,
            _ => 0,
        };
        for exponent in exponent + 1..=largest {
            if let Some(to) = exact(bits, exponent) {
                let from = mantissa(*self.bits, exponent);
                varint::put_u64(out, (TO_EXPONENT + u64::from(exponent)) << 1 | 1);
                varint::put_i64(out, to.wrapping_sub(from));
                *self.mode = exponent;
                return;
            }
        }
        put_xor(bits ^ *self.bits, out);
        // Numbers may come behind what has no decimals at any exponent, like the quantiles of what was not observed yet.
        let value = f64::from_bits(bits);
        if value.is_finite() && value != 0.0 {
            *self.mode = exponent | BINARY;
        }
    }

    /// Takes the code of a value that differs from the last one.
    ///
    /// # Errors
    /// When it is none.
    #[inline]
    pub fn take(&mut self, input: &mut &[u8]) -> Result<u64, Error> {
        let code = varint::take_u64(input)?;
        if code & 1 == 0 {
            *self.bits = self.plus(varint::unzigzag(code >> 1));
            return Ok(*self.bits);
        }
        self.take_otherwise(code >> 1, input)
    }

    fn take_otherwise(&mut self, code: u64, input: &mut &[u8]) -> Result<u64, Error> {
        if code < TO_EXPONENT {
            *self.bits ^= take_xor(code, input)?;
            return Ok(*self.bits);
        }
        let exponent = u8::try_from(code - TO_EXPONENT).ok();
        let exponent = exponent.filter(|exponent| *exponent <= EXPONENT_MAX);
        *self.mode = exponent.ok_or_else(|| Error::invalid(WHAT, code))?;
        *self.bits = self.plus(varint::take_i64(input)?);
        Ok(*self.bits)
    }

    #[inline]
    fn plus(&self, difference: i64) -> u64 {
        let exponent = *self.mode & !BINARY;
        value(
            mantissa(*self.bits, exponent).wrapping_add(difference),
            exponent,
        )
    }
}

/// A number below 64 (how many bytes less one, how many zero bytes below them times eight), then the bytes.
fn put_xor(xor: u64, out: &mut Vec<u8>) {
    let below = (xor.trailing_zeros() / 8).min(7);
    let above = (xor.leading_zeros() / 8).min(7 - below);
    let len = 8 - below - above;
    varint::put_u64(out, u64::from((len - 1) | below << 3) << 1 | 1);
    let bytes = (xor >> (8 * below)).to_le_bytes();
    out.extend_from_slice(bytes.get(..len as usize).unwrap_or_default());
}

fn take_xor(code: u64, input: &mut &[u8]) -> Result<u64, Error> {
    let (len, below) = ((code & 7) + 1, code >> 3);
    if len + below > 8 {
        return Err(Error::invalid(WHAT, code));
    }
    let len = usize::try_from(len).unwrap_or(8);
    // Mostly there is more behind it, and eight bytes are read at once.
    let bytes = match input.first_chunk::<8>() {
        Some(eight) => {
            let bytes = u64::from_le_bytes(*eight) & (u64::MAX >> (64 - 8 * len));
            *input = input.get(len..).unwrap_or_default();
            bytes
        }
        None => {
            let taken = varint::take_exact(input, len, WHAT)?;
            let bytes = taken.iter().rev();
            bytes.fold(0u64, |value, byte| value << 8 | u64::from(*byte))
        }
    };
    Ok(bytes << (8 * below))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(values: &[f64]) -> usize {
        let mut out = Vec::new();
        let (mut bits, mut mode) = (0, 0);
        let mut changed = Vec::new();
        for value in values {
            let new = value.to_bits();
            changed.push(new != bits);
            if new != bits {
                let mut last = Last {
                    bits: &mut bits,
                    mode: &mut mode,
                };
                last.put(new, &mut out);
            }
        }
        let (mut bits, mut mode) = (0, 0);
        let mut input = out.as_slice();
        for (value, changed) in values.iter().zip(changed) {
            if changed {
                let mut last = Last {
                    bits: &mut bits,
                    mode: &mut mode,
                };
                last.take(&mut input).unwrap();
            }
            assert_eq!(bits, value.to_bits(), "{value} of {values:?}");
        }
        assert!(input.is_empty());
        out.len()
    }

    #[test]
    fn usual_columns_are_short() {
        let counter: Vec<f64> = (1..101).map(|at| f64::from(at * 37)).collect();
        assert!(check(&counter) <= 202);
        let hundredths: Vec<f64> = (1..101).map(|at| f64::from(at * 7 % 50) / 100.0).collect();
        assert!(check(&hundredths) <= 202);
        let ones: Vec<f64> = (1..101).map(f64::from).collect();
        assert_eq!(check(&ones), 100);
        for first in [f64::NAN, crate::model::stale_nan(), f64::INFINITY, -0.0] {
            let behind: Vec<f64> = [first].into_iter().chain(hundredths.clone()).collect();
            assert!(check(&behind) <= 202 + 9 + 8, "{first}: {}", check(&behind));
        }
    }

    /// Would catch a value behind one that has no mantissa, read from another one than the writer took.
    #[test]
    fn what_is_no_number_comes_back() {
        let stale = crate::model::stale_nan();
        check(&[1.5, stale, 2.25, f64::NAN, -0.0, 0.0, f64::INFINITY, 0.1]);
        check(&[1e300, 3.0, 1e-300, -7.25, f64::MAX, 9e15, 1e12, 0.5, -0.0]);
        check(&[0.1, 0.123_456_789, f64::MIN_POSITIVE, 0.2, 0.3, 1.0 / 3.0]);
    }

    fn any_value() -> impl Strategy<Value = f64> {
        prop_oneof![
            any::<u64>().prop_map(f64::from_bits),
            (-1_000_000i64..1_000_000).prop_map(|n| n as f64),
            (-1_000_000i64..1_000_000).prop_map(|n| n as f64 / 1000.0),
            any::<i64>().prop_map(|n| n as f64),
        ]
    }

    proptest! {
        #[test]
        fn anything_comes_back(values in prop::collection::vec(any_value(), 0..40)) {
            check(&values);
        }

        /// Would catch a code whose length depends on what the reader knows of the series.
        #[test]
        fn a_code_ends_where_it_ends_whatever_the_last_value_is(
            values in prop::collection::vec(any_value(), 1..20), other: u64, exponent in 0..=EXPONENT_MAX,
        ) {
            let (mut out, mut ends) = (Vec::new(), Vec::new());
            let (mut bits, mut mode) = (0, 0);
            for value in &values {
                let mut last = Last { bits: &mut bits, mode: &mut mode };
                last.put(value.to_bits(), &mut out);
                ends.push(out.len());
            }
            let (mut bits, mut mode) = (other, exponent);
            let mut input = out.as_slice();
            for end in ends {
                let mut last = Last { bits: &mut bits, mode: &mut mode };
                last.take(&mut input).unwrap();
                prop_assert_eq!(out.len() - input.len(), end);
            }
        }

        #[test]
        fn bad_bytes_end_in_errors(bytes: Vec<u8>, mode in 0..=EXPONENT_MAX, bits: u64) {
            let (mut bits, mut mode) = (bits, mode);
            let mut input = bytes.as_slice();
            let mut last = Last { bits: &mut bits, mode: &mut mode };
            while !input.is_empty() && last.take(&mut input).is_ok() {}
        }
    }
}
