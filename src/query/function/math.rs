//! Arithmetic on single samples, and the few functions of scalars alone.

use crate::query::value::ABSENT;

/// Go's `math.Max`: NaN wins, except over +Inf; +0 is above −0.
pub(super) fn larger(a: f64, b: f64) -> f64 {
    if a == f64::INFINITY || b == f64::INFINITY {
        f64::INFINITY
    } else if a.is_nan() || b.is_nan() {
        f64::NAN
    } else if a == 0.0 && b == 0.0 {
        if a.is_sign_negative() { b } else { a }
    } else if a > b {
        a
    } else {
        b
    }
}

/// Go's `math.Min`: NaN wins, except over −Inf; −0 is below +0.
pub(super) fn smaller(a: f64, b: f64) -> f64 {
    -larger(-a, -b)
}

fn scalar(scalars: &[f64], at: usize) -> f64 {
    scalars.get(at).copied().unwrap_or(f64::NAN)
}

fn between(value: f64, low: f64, high: f64) -> f64 {
    if high < low {
        return ABSENT;
    }
    larger(low, smaller(high, value))
}

pub(super) fn clamp(value: f64, scalars: &[f64]) -> f64 {
    between(value, scalar(scalars, 0), scalar(scalars, 1))
}

pub(super) fn clamp_max(value: f64, scalars: &[f64]) -> f64 {
    between(value, f64::NEG_INFINITY, scalar(scalars, 0))
}

pub(super) fn clamp_min(value: f64, scalars: &[f64]) -> f64 {
    between(value, scalar(scalars, 0), f64::INFINITY)
}

/// To the nearest multiple, halves up. Dividing by the inverse is what Prometheus does and keeps
/// decimal steps exact.
pub(super) fn round(value: f64, scalars: &[f64]) -> f64 {
    let inverse = 1.0 / scalars.first().copied().unwrap_or(1.0);
    (value * inverse + 0.5).floor() / inverse
}

pub(super) fn abs(value: f64, _: &[f64]) -> f64 {
    value.abs()
}

pub(super) fn ceil(value: f64, _: &[f64]) -> f64 {
    value.ceil()
}

pub(super) fn floor(value: f64, _: &[f64]) -> f64 {
    value.floor()
}

pub(super) fn exp(value: f64, _: &[f64]) -> f64 {
    value.exp()
}

pub(super) fn sqrt(value: f64, _: &[f64]) -> f64 {
    value.sqrt()
}

pub(super) fn ln(value: f64, _: &[f64]) -> f64 {
    value.ln()
}

pub(super) fn log2(value: f64, _: &[f64]) -> f64 {
    value.log2()
}

pub(super) fn log10(value: f64, _: &[f64]) -> f64 {
    value.log10()
}

pub(super) fn sgn(value: f64, _: &[f64]) -> f64 {
    if value < 0.0 {
        -1.0
    } else if value > 0.0 {
        1.0
    } else {
        value
    }
}

pub(super) fn deg(value: f64, _: &[f64]) -> f64 {
    value * 180.0 / std::f64::consts::PI
}

pub(super) fn rad(value: f64, _: &[f64]) -> f64 {
    value * std::f64::consts::PI / 180.0
}

pub(super) fn sin(value: f64, _: &[f64]) -> f64 {
    value.sin()
}

pub(super) fn cos(value: f64, _: &[f64]) -> f64 {
    value.cos()
}

pub(super) fn tan(value: f64, _: &[f64]) -> f64 {
    value.tan()
}

pub(super) fn asin(value: f64, _: &[f64]) -> f64 {
    value.asin()
}

pub(super) fn acos(value: f64, _: &[f64]) -> f64 {
    value.acos()
}

pub(super) fn atan(value: f64, _: &[f64]) -> f64 {
    value.atan()
}

pub(super) fn sinh(value: f64, _: &[f64]) -> f64 {
    value.sinh()
}

pub(super) fn cosh(value: f64, _: &[f64]) -> f64 {
    value.cosh()
}

pub(super) fn tanh(value: f64, _: &[f64]) -> f64 {
    value.tanh()
}

pub(super) fn asinh(value: f64, _: &[f64]) -> f64 {
    value.asinh()
}

/// The standard library's loses digits near 1, where `ln_1p` keeps them: with t = x − 1,
/// acosh(x) = ln(1 + t + √(2t + t²)).
pub(super) fn acosh(value: f64, _: &[f64]) -> f64 {
    if value.is_nan() || value < 1.0 {
        f64::NAN
    } else if value < 2.0 {
        let above = value - 1.0;
        (above + (2.0 * above + above * above).sqrt()).ln_1p()
    } else if value > f64::from(1 << 28) {
        value.ln() + std::f64::consts::LN_2
    } else {
        (2.0 * value - 1.0 / (value + (value * value - 1.0).sqrt())).ln()
    }
}

pub(super) fn atanh(value: f64, _: &[f64]) -> f64 {
    value.atanh()
}

pub(super) fn max_of(scalars: &[f64]) -> f64 {
    larger(scalar(scalars, 0), scalar(scalars, 1))
}

pub(super) fn min_of(scalars: &[f64]) -> f64 {
    smaller(scalar(scalars, 0), scalar(scalars, 1))
}

pub(super) fn pi(_: &[f64]) -> f64 {
    std::f64::consts::PI
}

pub(super) fn time(at_ms: i64) -> f64 {
    at_ms as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::super::shape::tests::assert_close;
    use super::*;
    use crate::query::value::is_absent;

    const INF: f64 = f64::INFINITY;
    const NAN: f64 = f64::NAN;

    #[test]
    fn values_are_what_prometheus_gives() {
        type Case = (
            &'static str,
            fn(f64, &[f64]) -> f64,
            f64,
            &'static [f64],
            f64,
        );
        let cases: &[Case] = &[
            ("clamp", clamp, 5.0, &[-1.0, 3.0], 3.0),
            ("clamp", clamp, NAN, &[-1.0, 3.0], NAN),
            ("clamp", clamp, INF, &[NAN, 3.0], NAN),
            ("clamp_max", clamp_max, NAN, &[-INF], -INF),
            ("clamp_max", clamp_max, -5.0, &[NAN], NAN),
            ("clamp_min", clamp_min, -5.0, &[0.0], 0.0),
            ("clamp_min", clamp_min, NAN, &[INF], INF),
            ("round", round, 2.5, &[], 3.0),
            ("round", round, -2.5, &[], -2.0),
            ("round", round, 0.005_000_5, &[0.001], 0.005),
            ("round", round, 5.15, &[0.1], 5.2),
            ("round", round, 1.0, &[0.0], NAN),
            ("sgn", sgn, -3.0, &[], -1.0),
            ("sgn", sgn, NAN, &[], NAN),
            ("ln", ln, 0.0, &[], -INF),
            ("ln", ln, -1.0, &[], NAN),
            ("acosh", acosh, 1.0 + 1e-10, &[], 1.414_213_620_867_586_2e-5),
            ("acosh", acosh, 2.0, &[], 1.316_957_896_924_816_6),
            ("acosh", acosh, 1e10, &[], 23.718_998_110_500_4),
            ("acosh", acosh, 0.5, &[], NAN),
            ("asinh", asinh, 1e-10, &[], 1e-10),
            ("deg", deg, std::f64::consts::PI, &[], 180.0),
            ("rad", rad, 180.0, &[], std::f64::consts::PI),
        ];
        for (name, function, value, scalars, want) in cases {
            let got = function(*value, scalars);
            assert_close(
                Some(got),
                Some(*want),
                &format!("{name}({value}, {scalars:?})"),
            );
        }
        assert!(is_absent(clamp(1.0, &[3.0, 1.0])));
        assert!(!is_absent(sgn(-0.0, &[])) && sgn(-0.0, &[]).is_sign_negative());
    }

    #[test]
    fn scalars_of_scalars() {
        assert_eq!(max_of(&[1.0, 2.0]), 2.0);
        assert_eq!(min_of(&[1.0, 2.0]), 1.0);
        assert!(max_of(&[1.0, NAN]).is_nan());
        assert_eq!(min_of(&[-INF, NAN]), -INF);
        assert_eq!(time(1_500), 1.5);
    }
}
