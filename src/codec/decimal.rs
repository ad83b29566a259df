//! Floats as whole numbers: decimal mantissas where a column is decimal, ordered bits where not.
//!
//! Monitoring data are mostly whole numbers and short decimal fractions; as mantissas of one
//! common exponent their differences are small whole numbers, which floats' bits never are.
//! Nothing here loses a bit: a mantissa counts only when the division by the power of ten gives
//! back the very float.

/// The largest exponent tried: milli, micro, nano, pico. What needs more digits has more noise
/// than a mantissa is good for.
pub(super) const EXPONENT_MAX: u8 = 12;

/// Powers of ten, all of them exact.
const POWERS: [f64; EXPONENT_MAX as usize + 1] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12,
];

/// Mantissas stay below 2^53, where every whole number is a float.
const MANTISSA_END: f64 = 9_007_199_254_740_992.0;

/// `10^exponent`; `None` past [`EXPONENT_MAX`].
pub(super) fn power(exponent: u8) -> Option<f64> {
    POWERS.get(usize::from(exponent)).copied()
}

/// The whole number nearest to the product in doubles `value * power`, when it is below 2^53. Logs and streams are read by
/// this very arithmetic: it may become faster, never another.
#[allow(
    clippy::cast_possible_truncation,
    reason = "below 2^53 in magnitude and whole, as checked just before"
)]
pub(super) fn nearest(value: f64, power: f64) -> Option<i64> {
    let scaled = (value * power).round_ties_even();
    (scaled.abs() < MANTISSA_END).then_some(scaled as i64)
}

/// The float that a mantissa stands for.
pub(super) fn float(mantissa: i64, power: f64) -> f64 {
    mantissa as f64 / power
}

/// The mantissa whose float is `value` to the bit.
fn exact(value: f64, power: f64) -> Option<i64> {
    let mantissa = nearest(value, power)?;
    (float(mantissa, power).to_bits() == value.to_bits()).then_some(mantissa)
}

/// The smallest exponent with which every value is a mantissa, and those mantissas.
pub(super) fn mantissas(values: &[f64]) -> Option<(u8, Vec<i64>)> {
    let mut exponent = 0;
    // Each value raises the exponent as far as it needs; the final pass proves them all.
    for value in values {
        while exact(*value, power(exponent)?).is_none() {
            exponent += 1;
        }
    }
    let power = power(exponent)?;
    let all: Option<Vec<i64>> = values.iter().map(|value| exact(*value, power)).collect();
    all.map(|mantissas| (exponent, mantissas))
}

/// Mantissas that come near, and how many floats lie between them and the values.
pub(super) fn near_mantissas(values: &[f64], exponent: u8) -> Option<(Vec<i64>, Vec<i64>)> {
    let power = power(exponent)?;
    let mut errors = Vec::with_capacity(values.len());
    let mut mantissas = Vec::with_capacity(values.len());
    for value in values {
        let mantissa = nearest(*value, power)?;
        errors.push(ordered(*value).wrapping_sub(ordered(float(mantissa, power))));
        mantissas.push(mantissa);
    }
    Some((mantissas, errors))
}

/// A float's bits as a number that sorts like the float: neighbours differ by one. Zeros at the
/// low end stay zeros. -0 would become 0, so it must not come here.
pub(super) const fn ordered(value: f64) -> i64 {
    let bits = value.to_bits().cast_signed();
    if bits >= 0 {
        bits
    } else {
        i64::MIN.wrapping_sub(bits)
    }
}

/// The float of [`ordered`] bits.
pub(super) const fn unordered(bits: i64) -> f64 {
    let bits = if bits >= 0 {
        bits
    } else {
        i64::MIN.wrapping_sub(bits)
    };
    f64::from_bits(bits.cast_unsigned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_smallest_exponent_is_found() {
        let check = |values: &[f64], want: Option<(u8, &[i64])>| {
            let found = mantissas(values);
            assert_eq!(found.as_ref().map(|(e, m)| (*e, &m[..])), want);
        };
        check(&[1.0, -2.0], Some((0, &[1, -2])));
        check(&[1.0, 0.25], Some((2, &[100, 25])));
        check(&[0.1, 0.2, 1e-9], Some((9, &[100_000_000, 200_000_000, 1])));
        check(&[0.1 + 0.2], None);
        check(&[1e300], None);
        check(
            &[9_007_199_254_740_991.0],
            Some((0, &[9_007_199_254_740_991])),
        );
        check(&[9_007_199_254_740_991.0, 0.5], None);
    }

    proptest! {
        #[test]
        fn ordered_bits_sort_and_come_back(a: f64, b: f64) {
            prop_assume!(a.to_bits() != (-0.0f64).to_bits() && b.to_bits() != (-0.0f64).to_bits());
            prop_assert_eq!(unordered(ordered(a)).to_bits(), a.to_bits());
            prop_assert_eq!(a < b, ordered(a) < ordered(b));
        }
    }
}
