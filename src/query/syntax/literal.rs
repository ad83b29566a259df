//! Numbers and durations as they are written, and as Go reads them.

/// The nanoseconds of a time unit, and its place in a duration: larger units come first.
const UNITS: [(&str, u64, u8); 7] = [
    ("y", 365 * 24 * 3_600 * 1_000_000_000, 1),
    ("w", 7 * 24 * 3_600 * 1_000_000_000, 2),
    ("d", 24 * 3_600 * 1_000_000_000, 3),
    ("h", 3_600 * 1_000_000_000, 4),
    ("m", 60 * 1_000_000_000, 5),
    ("s", 1_000_000_000, 6),
    ("ms", 1_000_000, 7),
];

/// The value of a number: decimal, hexadecimal, octal (a leading zero), `Inf`, `NaN`, with
/// underscores between digits.
///
/// # Errors
/// Go's words for a number that it cannot read.
pub(super) fn number(text: &str) -> Result<f64, String> {
    if text.eq_ignore_ascii_case("inf") {
        return Ok(f64::INFINITY);
    }
    if text.eq_ignore_ascii_case("nan") {
        return Ok(f64::NAN);
    }
    if let Some(integer) = integer(text) {
        return Ok(integer);
    }
    let decimal = Some(text)
        .filter(|text| underscores_separate_digits(text) && !is_hex(text))
        .and_then(|text| text.replace('_', "").parse::<f64>().ok());
    let reason = match decimal {
        Some(value) if value.is_finite() => return Ok(value),
        Some(_) => "value out of range",
        None => "invalid syntax",
    };
    let text = super::quote::quote(text);
    Err(format!(
        "error parsing number: strconv.ParseFloat: parsing {text}: {reason}"
    ))
}

fn is_hex(text: &str) -> bool {
    matches!(text.as_bytes(), [b'0', b'x' | b'X', ..])
}

/// Go's `ParseInt` with base 0.
fn integer(text: &str) -> Option<f64> {
    if !underscores_separate_digits(text) {
        return None;
    }
    let (digits, base) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (text.get(2..)?, 16),
        [b'0', _, ..] => (text.get(1..)?, 8),
        _ => (text, 10),
    };
    let value = i64::from_str_radix(&digits.replace('_', ""), base).ok()?;
    #[allow(clippy::cast_precision_loss, reason = "numbers are floating point")]
    Some(value as f64)
}

/// Every underscore stands between digits; the prefix `0x` counts as one.
fn underscores_separate_digits(text: &str) -> bool {
    let hex = is_hex(text);
    let digits = if hex { text.get(2..) } else { Some(text) };
    let mut before_is_digit = hex;
    let mut before_is_underscore = false;
    for c in digits.unwrap_or_default().chars() {
        let is_digit = c.is_ascii_digit() || (hex && c.is_ascii_hexdigit());
        if (c == '_' && !before_is_digit) || (c != '_' && !is_digit && before_is_underscore) {
            return false;
        }
        before_is_digit = is_digit;
        before_is_underscore = c == '_';
    }
    !before_is_underscore
}

/// The seconds of a duration such as `1h30m`.
///
/// # Errors
/// Prometheus' words for a duration that it cannot read.
pub(super) fn duration_seconds(text: &str) -> Result<f64, String> {
    let invalid = || format!("not a valid duration string: {}", super::quote::quote(text));
    let out_of_range = || "duration out of range".to_owned();
    let (mut rest, mut total, mut last_place) = (text, 0_u64, 0);
    while !rest.is_empty() {
        let digits = prefix(rest, |c| c.is_ascii_digit());
        let count: u64 = digits.parse().map_err(|_| invalid())?;
        rest = rest.strip_prefix(digits).unwrap_or_default();
        let name = prefix(rest, |c| !c.is_ascii_digit());
        rest = rest.strip_prefix(name).unwrap_or_default();
        if name.is_empty() {
            return Err(invalid());
        }
        let Some((_, nanoseconds, place)) = UNITS.iter().find(|(unit, ..)| *unit == name) else {
            let (name, text) = (super::quote::quote(name), super::quote::quote(text));
            return Err(format!("unknown unit {name} in duration {text}"));
        };
        if *place <= last_place {
            return Err(invalid());
        }
        last_place = *place;
        total = count
            .checked_mul(*nanoseconds)
            .and_then(|part| total.checked_add(part))
            .filter(|&total| i64::try_from(total).is_ok())
            .ok_or_else(out_of_range)?;
    }
    #[allow(clippy::cast_precision_loss, reason = "as Go's Duration.Seconds()")]
    let seconds = (total / 1_000_000_000) as f64 + (total % 1_000_000_000) as f64 / 1e9;
    Ok(seconds)
}

fn prefix(text: &str, wanted: impl Fn(char) -> bool) -> &str {
    let end = text.find(|c| !wanted(c)).unwrap_or(text.len());
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_go_reads_them() {
        let cases = [
            ("5", 5.0),
            ("5.", 5.0),
            (".5", 0.5),
            ("0xc", 12.0),
            ("0x_53", 83.0),
            ("0755", 493.0),
            ("0_7", 7.0),
            ("0_8", 8.0),
            ("08", 8.0),
            ("1_000.5", 1000.5),
            ("1_0e1_0", 1e11),
            ("99999999999999999999", 1e20),
            ("iNf", f64::INFINITY),
        ];
        for (text, expected) in cases {
            assert_eq!(number(text), Ok(expected), "{text}");
        }
        assert!(number("NaN").unwrap().is_nan());
        for (text, reason) in [
            ("0xFFFFFFFFFFFFFFFFF", "invalid syntax"),
            ("0x", "invalid syntax"),
            ("1e999", "value out of range"),
        ] {
            let expected =
                format!("error parsing number: strconv.ParseFloat: parsing {text:?}: {reason}");
            assert_eq!(number(text), Err(expected));
        }
    }

    #[test]
    fn durations_read_as_prometheus_reads_them() {
        let cases = [
            ("5m", Ok(300.0)),
            ("1h30m", Ok(5_400.0)),
            ("1y1w1d1h1m1s1ms", Ok(32_230_861.001)),
            ("5m1h", Err("not a valid duration string: \"5m1h\"")),
            ("5y1hs", Err("unknown unit \"hs\" in duration \"5y1hs\"")),
            ("5m1", Err("not a valid duration string: \"5m1\"")),
            ("300y", Err("duration out of range")),
            ("1e5m", Err("unknown unit \"e\" in duration \"1e5m\"")),
        ];
        for (text, expected) in cases {
            assert_eq!(duration_seconds(text), expected.map_err(str::to_owned));
        }
    }
}
