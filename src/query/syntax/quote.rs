//! Texts as Go quotes them: Prometheus' messages and formatted queries are made that way.

use std::fmt::{self, Write as _};

/// A text in double quotes, as Go's `strconv.Quote` gives it.
#[must_use]
pub(super) fn quote(text: &str) -> String {
    quote_bytes(text.as_bytes())
}

/// Bytes in double quotes; those that are no UTF-8 appear as `\xNN`.
#[must_use]
pub(super) fn quote_bytes(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 2);
    out.push('"');
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c == char::REPLACEMENT_CHARACTER {
                // Go writes it as it is, and Prometheus' lexer refuses what comes of it.
                out.push_str("\\ufffd");
            } else {
                push_escaped(&mut out, c, '"');
            }
        }
        for byte in chunk.invalid() {
            push_formatted(&mut out, format_args!("\\x{byte:02x}"));
        }
    }
    out.push('"');
    out
}

/// A character in single quotes, as Go's `%q` gives it; the end of the input is U+FFFD.
#[must_use]
pub(super) fn quote_char(c: Option<char>) -> String {
    let mut out = String::from("'");
    push_escaped(&mut out, c.unwrap_or(char::REPLACEMENT_CHARACTER), '\'');
    out.push('\'');
    out
}

/// A character as Go's `%#U` gives it: `U+0063 'c'`.
#[must_use]
pub(super) fn code_point(c: char) -> String {
    let number = format!("U+{:04X}", u32::from(c));
    if is_printable(c) {
        format!("{number} '{c}'")
    } else {
        number
    }
}

fn push_escaped(out: &mut String, c: char, quote: char) {
    match c {
        '\\' => out.push_str("\\\\"),
        '\u{7}' => out.push_str("\\a"),
        '\u{8}' => out.push_str("\\b"),
        '\u{c}' => out.push_str("\\f"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\u{b}' => out.push_str("\\v"),
        _ if c == quote => {
            out.push('\\');
            out.push(c);
        }
        _ if is_printable(c) => out.push(c),
        _ => match u32::from(c) {
            code @ (..0x20 | 0x7f) => push_formatted(out, format_args!("\\x{code:02x}")),
            code @ ..0x1_0000 => push_formatted(out, format_args!("\\u{code:04x}")),
            code => push_formatted(out, format_args!("\\U{code:08x}")),
        },
    }
}

/// As Go's `unicode.IsPrint`: letters, marks, numbers, punctuation, symbols, and the plain space.
fn is_printable(c: char) -> bool {
    // Rust escapes what is not printable; behind another character it leaves marks alone.
    let escaped = |c| format!("a{c}").escape_debug().count() > 2;
    c == ' ' || c.is_ascii_graphic() || (!c.is_ascii() && !escaped(c))
}

fn push_formatted(out: &mut String, arguments: fmt::Arguments<'_>) {
    let written = out.write_fmt(arguments);
    debug_assert!(written.is_ok(), "a String takes every text");
}

/// The text that a quoted string stands for, as bytes: `\xff` need not be UTF-8.
///
/// The lexer has checked the escapes; what it would have refused is left as it is.
#[must_use]
pub(super) fn unquote(literal: &str) -> Vec<u8> {
    let mut inner = literal.chars();
    let quote = inner.next();
    inner.next_back();
    let inner = inner.as_str();
    if quote == Some('`') || !inner.contains('\\') {
        return inner.as_bytes().to_vec();
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut rest = inner.chars();
    while let Some(c) = rest.next() {
        if c == '\\' {
            push_escape(&mut out, &mut rest);
        } else {
            push_char(&mut out, c);
        }
    }
    out
}

fn push_escape(out: &mut Vec<u8>, rest: &mut std::str::Chars<'_>) {
    let Some(c) = rest.next() else { return };
    match c {
        'a' => out.push(0x07),
        'b' => out.push(0x08),
        'f' => out.push(0x0c),
        'n' => out.push(b'\n'),
        'r' => out.push(b'\r'),
        't' => out.push(b'\t'),
        'v' => out.push(0x0b),
        'x' => out.extend(u8::try_from(digits(rest, 0, 2, 16))),
        'u' => push_code_point(out, digits(rest, 0, 4, 16)),
        'U' => push_code_point(out, digits(rest, 0, 8, 16)),
        '0'..='7' => {
            let first = c.to_digit(8).unwrap_or_default();
            out.extend(u8::try_from(digits(rest, first, 2, 8)));
        }
        other => push_char(out, other), // `\\` and the quotes.
    }
}

fn digits(rest: &mut std::str::Chars<'_>, first: u32, count: usize, base: u32) -> u32 {
    rest.by_ref().take(count).fold(first, |value, c| {
        let digit = c.to_digit(base).unwrap_or_default();
        value.wrapping_mul(base).wrapping_add(digit)
    })
}

fn push_code_point(out: &mut Vec<u8>, code: u32) {
    push_char(
        out,
        char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER),
    );
}

fn push_char(out: &mut Vec<u8>, c: char) {
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_as_go_does() {
        let cases = [
            ("abc", r#""abc""#),
            ("a\"b\\c\n\t", r#""a\"b\\c\n\t""#),
            ("ü 世 e\u{301}", "\"ü 世 e\u{301}\""),
            ("\u{0}\u{7f}\u{a0}\u{200b}", r#""\x00\x7f\u00a0\u200b""#),
            ("\u{e0001}", r#""\U000e0001""#),
            ("\u{fffd}", r#""\ufffd""#),
        ];
        for (text, expected) in cases {
            assert_eq!(quote(text), expected);
        }
        assert_eq!(quote_bytes(b"a\xc5z"), r#""a\xc5z""#);
        assert_eq!(quote_char(Some('\'')), r"'\''");
        assert_eq!(quote_char(Some('"')), "'\"'");
        assert_eq!(quote_char(None), "'\u{fffd}'");
        assert_eq!(code_point('c'), "U+0063 'c'");
        assert_eq!(code_point('\n'), "U+000A");
    }

    #[test]
    fn unquotes_as_go_does() {
        let cases: [(&str, &[u8]); 7] = [
            (r#""abc""#, b"abc"),
            (r"`a\d`", br"a\d"),
            (r"'it\'s'", b"it's"),
            (r#""\a\b\f\n\r\t\v\\\"""#, b"\x07\x08\x0c\n\r\t\x0b\\\""),
            (r#""\xc5\101\377""#, b"\xc5A\xff"),
            (r#""\u4e16\U0001F600""#, "世😀".as_bytes()),
            ("\"é\\n\"", "é\n".as_bytes()),
        ];
        for (literal, expected) in cases {
            assert_eq!(unquote(literal), expected, "{literal}");
        }
    }
}
