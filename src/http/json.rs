//! Writing JSON as Prometheus writes it, straight into bytes: texts, floats as texts, timestamps
//! in seconds, label sets. No tree is built; a large answer costs what its digits cost.

use crate::model::LabelSet;

/// A text in quotes.
pub(super) fn text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut plain = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if *byte >= 0x20 && *byte != b'"' && *byte != b'\\' {
            continue;
        }
        out.extend_from_slice(bytes.get(plain..at).unwrap_or_default());
        plain = at + 1;
        escape(out, *byte);
    }
    out.extend_from_slice(bytes.get(plain..).unwrap_or_default());
    out.push(b'"');
}

fn escape(out: &mut Vec<u8>, byte: u8) {
    match byte {
        b'"' => out.extend_from_slice(b"\\\""),
        b'\\' => out.extend_from_slice(b"\\\\"),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        other => {
            let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0') as u8;
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&[digit(other >> 4), digit(other & 15)]);
        }
    }
}

/// `"name":`.
pub(super) fn key(out: &mut Vec<u8>, name: &str) {
    text(out, name);
    out.push(b':');
}

/// `"name":"value"`.
pub(super) fn text_field(out: &mut Vec<u8>, name: &str, value: &str) {
    key(out, name);
    text(out, value);
}

/// Writes an object, field by field.
pub(super) struct Fields<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

impl<'a> Fields<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, first: true }
    }

    /// Begins a field and gives where its value goes.
    pub(super) fn field(&mut self, name: &str) -> &mut Vec<u8> {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
        key(self.out, name);
        self.out
    }

    pub(super) fn text(&mut self, name: &str, value: &str) {
        text(self.field(name), value);
    }

    pub(super) fn number(&mut self, name: &str, value: u64) {
        digits(self.field(name), value);
    }

    pub(super) fn flag(&mut self, name: &str, value: bool) {
        let word: &[u8] = if value { b"true" } else { b"false" };
        self.field(name).extend_from_slice(word);
    }

    pub(super) fn end(self) {
        self.out.push(b'}');
    }
}

/// A list, each item written by `item`.
pub(super) fn list<T>(
    out: &mut Vec<u8>,
    items: impl IntoIterator<Item = T>,
    mut item: impl FnMut(&mut Vec<u8>, T),
) {
    out.push(b'[');
    let mut first = true;
    for one in items {
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        item(out, one);
    }
    out.push(b']');
}

/// A list of texts.
pub(super) fn texts<'a>(out: &mut Vec<u8>, items: impl IntoIterator<Item = &'a str>) {
    list(out, items, text);
}

/// A whole number.
pub(super) fn whole(out: &mut Vec<u8>, value: i64) {
    if value < 0 {
        out.push(b'-');
    }
    digits(out, value.unsigned_abs());
}

fn digits(out: &mut Vec<u8>, mut value: u64) {
    let mut buffer = [0u8; 20];
    let mut used = 0;
    for slot in buffer.iter_mut().rev() {
        // A remainder below ten is a digit.
        *slot = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
        used += 1;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(buffer.get(buffer.len() - used..).unwrap_or_default());
}

/// Milliseconds as seconds: `1435781451.781`, without zeros at the end of a whole second.
pub(super) fn timestamp(out: &mut Vec<u8>, ms: i64) {
    if ms < 0 {
        out.push(b'-');
    }
    let ms = ms.unsigned_abs();
    digits(out, ms / 1000);
    let fraction = ms % 1000;
    if fraction != 0 {
        out.push(b'.');
        if fraction < 100 {
            out.push(b'0');
        }
        if fraction < 10 {
            out.push(b'0');
        }
        digits(out, fraction);
    }
}

/// Whole numbers up to here are exact, and are written without looking for the shortest digits.
const WHOLE_MAX: f64 = 9e15;

/// A float in quotes: the shortest digits that read back the same, plain between 1e-6 and 1e21.
pub(super) fn float(out: &mut Vec<u8>, value: f64) {
    out.push(b'"');
    bare_float(out, value);
    out.push(b'"');
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "only below WHOLE_MAX, where every float fits"
)]
fn bare_float(out: &mut Vec<u8>, value: f64) {
    if value.abs() < WHOLE_MAX {
        let cut = value as i64;
        if cut as f64 == value && (cut != 0 || value.is_sign_positive()) {
            whole(out, cut);
            return;
        }
    }
    if value.is_nan() {
        out.extend_from_slice(b"NaN");
    } else if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 { b"+Inf" } else { b"-Inf" });
    } else {
        lay_out(out, value);
    }
}

/// Takes the shortest digits apart and writes them in Go's layout.
fn lay_out(out: &mut Vec<u8>, value: f64) {
    if value.is_sign_negative() {
        out.push(b'-');
    }
    let value = value.abs();
    let mut buffer = zmij::Buffer::new();
    let shortest = buffer.format_finite(value);
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((shortest, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (before, after) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    // All digits without point, and where the point stands, counted from the first of them.
    let mut found = [0u8; 40];
    let mut length = 0;
    for (slot, digit) in found.iter_mut().zip(before.bytes().chain(after.bytes())) {
        *slot = digit;
        length += 1;
    }
    let all = found.get(..length).unwrap_or_default();
    let leading = all.iter().take_while(|digit| **digit == b'0').count();
    let trailing = all.iter().rev().take_while(|digit| **digit == b'0').count();
    let significant = all.get(leading..length - trailing).unwrap_or_default();
    let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    let point = count(before.len()) - count(leading) + exponent;
    if significant.is_empty() {
        out.push(b'0');
    } else if !(1e-6..1e21).contains(&value) {
        scientific(out, significant, point - 1);
    } else {
        plain(out, significant, point);
    }
}

fn plain(out: &mut Vec<u8>, significant: &[u8], point: i32) {
    match usize::try_from(point) {
        Ok(point) if point > 0 => {
            let (whole, fraction) = significant.split_at(point.min(significant.len()));
            out.extend_from_slice(whole);
            out.resize(out.len() + point - whole.len(), b'0');
            if !fraction.is_empty() {
                out.push(b'.');
                out.extend_from_slice(fraction);
            }
        }
        _ => {
            let zeros = usize::try_from(point.unsigned_abs()).unwrap_or(0);
            out.extend_from_slice(b"0.");
            out.resize(out.len() + zeros, b'0');
            out.extend_from_slice(significant);
        }
    }
}

fn scientific(out: &mut Vec<u8>, significant: &[u8], exponent: i32) {
    let (first, rest) = significant.split_at(1.min(significant.len()));
    out.extend_from_slice(first);
    if !rest.is_empty() {
        out.push(b'.');
        out.extend_from_slice(rest);
    }
    out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
    if exponent.unsigned_abs() < 10 {
        out.push(b'0');
    }
    digits(out, u64::from(exponent.unsigned_abs()));
}

/// `{"__name__":"up","job":"x"}`.
pub(super) fn labels(out: &mut Vec<u8>, labels: &LabelSet) {
    out.push(b'{');
    for (at, (name, value)) in labels.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        text_field(out, name, value);
    }
    out.push(b'}');
}

/// `[1435781451.781,"1"]`.
pub(super) fn point(out: &mut Vec<u8>, at_ms: i64, value: f64) {
    out.push(b'[');
    timestamp(out, at_ms);
    out.push(b',');
    float(out, value);
    out.push(b']');
}

/// A time as `2006-01-02T15:04:05.999Z`, in quotes.
pub(super) fn rfc3339(out: &mut Vec<u8>, at_ms: i64) {
    match jiff::Timestamp::from_millisecond(at_ms) {
        Ok(at) => text(out, &at.to_string()),
        Err(_) => text(out, "0001-01-01T00:00:00Z"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn floats_are_laid_out_as_prometheus_does() {
        for (value, want) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-17.0, "-17"),
            (0.1, "0.1"),
            (1.5, "1.5"),
            (123_456.789, "123456.789"),
            (1e-6, "0.000001"),
            (1.5e-6, "0.0000015"),
            (9.9e-7, "9.9e-07"),
            (1e-7, "1e-07"),
            (5e-324, "5e-324"),
            (1e15, "1000000000000000"),
            (1e20, "100000000000000000000"),
            (1.234e20, "123400000000000000000"),
            (1e21, "1e+21"),
            (1.7976931348623157e308, "1.7976931348623157e+308"),
            (9_007_199_254_740_993.0, "9007199254740992"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(written(|out| float(out, value)), format!("\"{want}\""));
        }
    }

    #[test]
    fn timestamps_are_seconds() {
        for (ms, want) in [
            (0, "0"),
            (1, "0.001"),
            (20, "0.02"),
            (1_435_781_451_781, "1435781451.781"),
            (1_435_781_451_700, "1435781451.7"),
            (-1_500, "-1.5"),
            (i64::MIN, "-9223372036854775.808"),
        ] {
            let got = written(|out| timestamp(out, ms));
            let want = want.to_owned();
            // Prometheus keeps three digits where there is a fraction.
            let kept = got
                .split_once('.')
                .map_or(got.clone(), |(whole, fraction)| {
                    format!("{whole}.{}", fraction.trim_end_matches('0'))
                });
            assert_eq!(kept, want);
        }
        assert_eq!(written(|out| timestamp(out, 1_700)), "1.700");
    }

    #[test]
    fn texts_are_escaped() {
        let got = written(|out| text(out, "a\"b\\c\nd\u{1}é"));
        assert_eq!(got, r#""a\"b\\c\nd\u0001é""#);
    }

    proptest! {
        #[test]
        fn every_float_reads_back(bits: u64) {
            let value = f64::from_bits(bits);
            let text = written(|out| bare_float(out, value));
            let read: f64 = text.parse().unwrap();
            prop_assert!(read.to_bits() == bits || (read.is_nan() && value.is_nan()));
        }

        #[test]
        fn every_text_reads_back(any: String) {
            let json = written(|out| text(out, &any));
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), any);
        }
    }
}
