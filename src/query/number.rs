//! Numbers as Go writes and reads them, where Prometheus shows or takes them as text.

/// As Go's `%g`: shortest digits that read back the same, an exponent below 1e-4 and from
/// 1e6 on.
#[must_use]
pub fn format_general(value: f64) -> String {
    if let Some(special) = special(value) {
        return special.to_owned();
    }
    let scientific = format!("{value:e}");
    let Some((digits, exponent)) = split_exponent(&scientific) else {
        return scientific;
    };
    if (-4..6).contains(&exponent) {
        format!("{value}")
    } else {
        with_exponent(digits, exponent)
    }
}

/// As labels with numbers are written (OpenMetrics): as Go's `%g`, with `.0` after whole numbers.
#[must_use]
pub fn format_open_metrics(value: f64) -> String {
    let mut text = format_general(value);
    if value.is_finite() && !text.contains(['e', '.']) {
        text.push_str(".0");
    }
    text
}

fn special(value: f64) -> Option<&'static str> {
    if value.is_nan() {
        Some("NaN")
    } else if value == f64::INFINITY {
        Some("+Inf")
    } else if value == f64::NEG_INFINITY {
        Some("-Inf")
    } else {
        None
    }
}

fn split_exponent(scientific: &str) -> Option<(&str, i32)> {
    let (digits, exponent) = scientific.split_once('e')?;
    Some((digits, exponent.parse().ok()?))
}

/// Go writes a sign and at least two digits.
fn with_exponent(digits: &str, exponent: i32) -> String {
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
}

/// As Go's `strconv.ParseFloat`: decimal or hexadecimal, `inf`, `infinity` and `nan` in any case;
/// nothing for other texts and for numbers that are too large.
#[must_use]
pub fn parse_float(text: &str) -> Option<f64> {
    let (negative, unsigned) = match text.as_bytes().first()? {
        b'+' => (false, text.get(1..)?),
        b'-' => (true, text.get(1..)?),
        _ => (false, text),
    };
    let signed = |value: f64| if negative { -value } else { value };
    let is = |word: &str| unsigned.eq_ignore_ascii_case(word);
    if is("inf") || is("infinity") {
        return Some(signed(f64::INFINITY));
    }
    if is("nan") {
        return (unsigned.len() == text.len()).then_some(f64::NAN);
    }
    if let Some(hex) = unsigned
        .strip_prefix("0x")
        .or_else(|| unsigned.strip_prefix("0X"))
    {
        return parse_hexadecimal(hex).map(signed);
    }
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    let value: f64 = unsigned.parse().ok()?;
    value.is_finite().then(|| signed(value))
}

/// The part after `0x`: digits, perhaps a point, and a binary exponent after `p`. More than 13
/// digits are cut rather than rounded.
fn parse_hexadecimal(text: &str) -> Option<f64> {
    let (mantissa, exponent) = text.split_once(['p', 'P'])?;
    let mut exponent: i32 = exponent.parse().ok()?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut value: u64 = 0;
    for (at, digit) in whole.chars().chain(fraction.chars()).enumerate() {
        let digit = u64::from(digit.to_digit(16)?);
        let in_fraction = at >= whole.len();
        if value >> 48 == 0 {
            value = value << 4 | digit;
            exponent = exponent.saturating_sub(if in_fraction { 4 } else { 0 });
        } else {
            exponent = exponent.saturating_add(if in_fraction { 0 } else { 4 });
        }
    }
    let value = value as f64 * 2f64.powi(exponent.clamp(-1100, 1100));
    value.is_finite().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_go_does() {
        for (value, want) in [
            (0.0, "0"),
            (0.1, "0.1"),
            (-2.5, "-2.5"),
            (1e-5, "1e-05"),
            (123_456.5, "123456.5"),
            (1e6, "1e+06"),
            (1.5e300, "1.5e+300"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(format_general(value), want);
        }
        for (value, want) in [(1.0, "1.0"), (0.99, "0.99"), (1e6, "1e+06"), (-3.0, "-3.0")] {
            assert_eq!(format_open_metrics(value), want);
        }
    }

    #[test]
    fn numbers_are_read_as_go_does() {
        for (text, want) in [
            ("1", Some(1.0)),
            ("+Inf", Some(f64::INFINITY)),
            ("-infinity", Some(f64::NEG_INFINITY)),
            ("1e3", Some(1000.0)),
            (".5", Some(0.5)),
            ("-2.", Some(-2.0)),
            ("0x1p-2", Some(0.25)),
            ("0x1.8p1", Some(3.0)),
            ("1e400", None),
            ("", None),
            ("x", None),
            ("+nan", None),
            ("--1", None),
            ("+-1", None),
            ("0x1", None),
        ] {
            assert_eq!(parse_float(text), want, "{text:?}");
        }
        assert!(parse_float("NaN").unwrap().is_nan());
    }
}
