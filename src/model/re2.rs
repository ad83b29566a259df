//! Regular expressions of RE2's syntax, as Prometheus takes them, in the words of the `regex` crate.
//!
//! The two agree on most; this pass rewrites what one of them reads otherwise: `\d \s \w \b` are
//! ASCII in RE2, `{` alone is a literal, `\Q...\E`, octal escapes and `\p{^Greek}` exist, and in a
//! class `[`, `&&`, `--` and `~~` are plain characters. What RE2 refuses is refused here in Go's
//! words, because `a)(b` would otherwise slip through the parentheses put around it.
//! Source: `regexp/syntax` of Go, for the grammar and the messages.

use std::fmt::Write as _;

/// The most times that a repetition may ask for.
const REPEAT_MAX: u32 = 1_000;

/// A pattern in the syntax of the `regex` crate.
///
/// # Errors
/// Go's message for what is not RE2's syntax.
pub(super) fn translate(pattern: &str) -> Result<String, String> {
    let mut pass = Pass {
        pattern,
        at: 0,
        out: String::with_capacity(pattern.len() + 8),
        open: 0,
        before: Before::Nothing,
    };
    while pass.at < pattern.len() {
        pass.step()?;
    }
    if pass.open > 0 {
        return Err(error("missing closing )", pattern));
    }
    Ok(pass.out)
}

fn error(code: &str, text: &str) -> String {
    format!("error parsing regexp: {code}: `{text}`")
}

/// What a repetition would repeat.
#[derive(Clone, Copy)]
enum Before {
    Nothing,
    Something,
    /// A repetition that began here.
    Repetition(usize),
}

struct Pass<'a> {
    pattern: &'a str,
    at: usize,
    out: String,
    open: usize,
    before: Before,
}

impl<'a> Pass<'a> {
    fn rest(&self) -> &'a str {
        self.pattern.get(self.at..).unwrap_or_default()
    }

    fn since(&self, start: usize) -> &'a str {
        self.pattern.get(start..self.at).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn take(&mut self, text: &str) -> bool {
        let found = self.rest().starts_with(text);
        if found {
            self.at += text.len();
        }
        found
    }

    fn step(&mut self) -> Result<(), String> {
        let start = self.at;
        let Some(c) = self.bump() else { return Ok(()) };
        let before = std::mem::replace(&mut self.before, Before::Something);
        match c {
            '(' => self.group(start, before)?,
            ')' => {
                let open = self.open.checked_sub(1);
                self.open = open.ok_or_else(|| error("unexpected )", self.pattern))?;
                self.out.push(')');
            }
            '|' => {
                self.before = Before::Nothing;
                self.out.push('|');
            }
            '^' | '$' | '.' => self.out.push(c),
            '[' => self.class(start)?,
            '*' | '+' | '?' => self.repetition(start, before)?,
            '{' => match self.counts() {
                Some((least, most)) => {
                    if least > REPEAT_MAX
                        || most.is_some_and(|most| most > REPEAT_MAX || most < least)
                    {
                        return Err(error("invalid repeat count", self.since(start)));
                    }
                    self.repetition(start, before)?;
                }
                None => self.push_literal('{'),
            },
            '\\' => self.escape(start)?,
            _ => self.push_literal(c),
        }
        Ok(())
    }

    fn push_literal(&mut self, c: char) {
        if c.is_ascii_punctuation() && c != '_' {
            self.push_code(u32::from(c));
        } else {
            self.out.push(c);
        }
    }

    fn push_code(&mut self, code: u32) {
        let written = write!(self.out, "\\x{{{code:x}}}");
        debug_assert!(written.is_ok(), "a String takes every text");
    }

    fn repetition(&mut self, start: usize, before: Before) -> Result<(), String> {
        self.take("?");
        let op = self.since(start);
        match before {
            Before::Nothing => Err(error("missing argument to repetition operator", op)),
            Before::Repetition(first) => {
                let ops = self.since(first);
                Err(error("invalid nested repetition operator", ops))
            }
            Before::Something => {
                self.before = Before::Repetition(start);
                self.out.push_str(op);
                Ok(())
            }
        }
    }

    /// The numbers of `{2}`, `{2,}` or `{2,3}` behind the brace, if they are that.
    fn counts(&mut self) -> Option<(u32, Option<u32>)> {
        let number = |text: &str| {
            let leading_zero = text.len() > 1 && text.starts_with('0');
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            (digits && !leading_zero).then(|| text.parse().unwrap_or(u32::MAX))
        };
        let (inside, _) = self.rest().split_once('}')?;
        let (least, most) = match inside.split_once(',') {
            None => (number(inside)?, Some(number(inside)?)),
            Some((least, "")) => (number(least)?, None),
            Some((least, most)) => (number(least)?, Some(number(most)?)),
        };
        self.at += inside.len() + 1;
        Some((least, most))
    }

    fn group(&mut self, start: usize, before: Before) -> Result<(), String> {
        if !self.take("?") {
            self.open += 1;
            self.before = Before::Nothing;
            self.out.push('(');
            return Ok(());
        }
        if self.take("P<") || self.take("<") {
            return self.named_group(start);
        }
        let (mut negative, mut seen) = (false, false);
        loop {
            match self.bump() {
                Some('i' | 'm' | 's' | 'U') => seen = true,
                Some('-') if !negative => (negative, seen) = (true, false),
                Some(':') if seen || !negative => {
                    self.open += 1;
                    self.before = Before::Nothing;
                    self.out.push_str(self.since(start));
                    return Ok(());
                }
                Some(')') if seen || !negative => {
                    self.before = before;
                    let flags = self.since(start);
                    self.out.push_str(if flags == "(?)" { "" } else { flags });
                    return Ok(());
                }
                _ => {
                    let text = self.since(start);
                    return Err(error("invalid or unsupported Perl syntax", text));
                }
            }
        }
    }

    fn named_group(&mut self, start: usize) -> Result<(), String> {
        let refused = |text: &str| Err(error("invalid named capture", text));
        let rest = self.rest();
        let Some((name, _)) = rest.split_once('>') else {
            return refused(self.pattern.get(start..).unwrap_or_default());
        };
        self.at += name.len() + 1;
        let word = |c: char| c == '_' || c.is_ascii_alphanumeric();
        if name.is_empty() || !name.chars().all(word) {
            return refused(self.since(start));
        }
        self.open += 1;
        self.before = Before::Nothing;
        self.out.push_str(self.since(start));
        Ok(())
    }

    /// Outside of a class; the backslash was read.
    fn escape(&mut self, start: usize) -> Result<(), String> {
        match self.peek() {
            Some('A' | 'z') => {
                self.bump();
                self.out.push_str(self.since(start));
            }
            Some(c @ ('b' | 'B')) => {
                self.bump();
                self.out
                    .push_str(if c == 'b' { r"(?-u:\b)" } else { r"(?-u:\B)" });
            }
            Some('Q') => {
                self.bump();
                let (literal, skipped) = match self.rest().split_once("\\E") {
                    Some((literal, _)) => (literal, 2),
                    None => (self.rest(), 0),
                };
                self.at += literal.len() + skipped;
                literal.chars().for_each(|c| self.push_literal(c));
            }
            Some(c) if self.shorthand(c) => {}
            _ => {
                let code = self.escaped_char(start)?;
                self.push_code(code);
            }
        }
        Ok(())
    }

    /// `\d` and the like, `\pL` and the like: the same within a class and outside.
    fn shorthand(&mut self, c: char) -> bool {
        let class = match c {
            'd' => "[0-9]",
            'D' => "[^0-9]",
            's' => r"[\t\n\f\r ]",
            'S' => r"[^\t\n\f\r ]",
            'w' => "[0-9A-Za-z_]",
            'W' => "[^0-9A-Za-z_]",
            'p' | 'P' => {
                self.bump();
                let negated = self.take("{^");
                self.out
                    .push_str(if (c == 'P') == negated { r"\p" } else { r"\P" });
                let name = match self.rest().split_once('}') {
                    Some((name, _)) if negated => {
                        self.out.push('{');
                        name.len() + 1
                    }
                    Some((name, _)) if name.starts_with('{') => name.len() + 1,
                    _ => self.peek().map_or(0, char::len_utf8),
                };
                self.out
                    .push_str(self.rest().get(..name).unwrap_or_default());
                self.at += name;
                return true;
            }
            _ => return false,
        };
        self.bump();
        self.out.push_str(class);
        true
    }

    /// The character that an escape stands for; the backslash was read.
    fn escaped_char(&mut self, start: usize) -> Result<u32, String> {
        let Some(c) = self.bump() else {
            return Err(error("trailing backslash at end of expression", ""));
        };
        let octal = |c: Option<char>| c.and_then(|c| c.to_digit(8));
        let code = match c {
            'a' => Some(0x07),
            'f' => Some(0x0c),
            'n' => Some(0x0a),
            'r' => Some(0x0d),
            't' => Some(0x09),
            'v' => Some(0x0b),
            '0'..='7' if c == '0' || octal(self.peek()).is_some() => {
                let mut code = octal(Some(c)).unwrap_or_default();
                for _ in 0..2 {
                    let Some(digit) = octal(self.peek()) else {
                        break;
                    };
                    self.bump();
                    code = code * 8 + digit;
                }
                Some(code)
            }
            'x' => self.hexadecimal(),
            _ if c.is_ascii() && !c.is_ascii_alphanumeric() => Some(u32::from(c)),
            _ => None,
        };
        code.ok_or_else(|| error("invalid escape sequence", self.since(start)))
    }

    fn hexadecimal(&mut self) -> Option<u32> {
        if !self.take("{") {
            let high = self.bump()?.to_digit(16);
            let low = self.bump()?.to_digit(16);
            return Some(high? * 16 + low?);
        }
        let (mut code, mut digits) = (0_u32, 0);
        loop {
            let c = self.bump()?;
            if c == '}' {
                return (digits > 0).then_some(code);
            }
            code = code * 16 + c.to_digit(16)?;
            digits += 1;
            if code > u32::from(char::MAX) {
                return None;
            }
        }
    }

    /// `[...]`; the bracket was read.
    fn class(&mut self, start: usize) -> Result<(), String> {
        self.out.push('[');
        if self.take("^") {
            self.out.push('^');
        }
        let mut first = true;
        while first || !self.take("]") {
            first = false;
            let item = self.at;
            if self.named_class()? {
                continue;
            }
            if let Some(c) = self
                .rest()
                .strip_prefix('\\')
                .and_then(|rest| rest.chars().next())
            {
                self.bump();
                if self.shorthand(c) {
                    continue;
                }
                self.at = item;
            }
            let low = self.class_char(start)?;
            let mut high = low;
            let rest = self.rest();
            if rest.len() >= 2 && rest.starts_with('-') && !rest.starts_with("-]") {
                self.bump();
                high = self.class_char(start)?;
                if high < low {
                    let range = self.since(item);
                    return Err(error("invalid character class range", range));
                }
            }
            self.push_code(low);
            if high != low {
                self.out.push('-');
                self.push_code(high);
            }
        }
        self.out.push(']');
        Ok(())
    }

    /// `[:alpha:]` within a class.
    fn named_class(&mut self) -> Result<bool, String> {
        let Some((name, _)) = self
            .rest()
            .strip_prefix("[:")
            .and_then(|rest| rest.split_once(":]"))
        else {
            return Ok(false);
        };
        let start = self.at;
        self.at += name.len() + 4;
        let known = matches!(
            name.strip_prefix('^').unwrap_or(name),
            "alnum"
                | "alpha"
                | "ascii"
                | "blank"
                | "cntrl"
                | "digit"
                | "graph"
                | "lower"
                | "print"
                | "punct"
                | "space"
                | "upper"
                | "word"
                | "xdigit"
        );
        if !known {
            return Err(error("invalid character class range", self.since(start)));
        }
        self.out.push_str(self.since(start));
        Ok(true)
    }

    fn class_char(&mut self, class: usize) -> Result<u32, String> {
        let start = self.at;
        match self.bump() {
            Some('\\') => self.escaped_char(start),
            Some(c) => Ok(u32::from(c)),
            None => {
                let class = self.pattern.get(class..).unwrap_or_default();
                Err(error("missing closing ]", class))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{MatchOp, Matcher};

    #[test]
    fn patterns_match_what_re2_matches() {
        let cases: [(&str, &[&str], &[&str]); 26] = [
            (r"\d+", &["42"], &["٣", "x"]),
            (r"\w+", &["a_1"], &["é"]),
            (r"\D", &["٣"], &["3"]),
            (r"a\sb", &["a b", "a\tb"], &["a\u{a0}b", "a\u{b}b"]),
            (r".*\bé.*", &["xé"], &["é", " é"]),
            (r"a{", &["a{"], &["a"]),
            (r"a{,2}", &["a{,2}"], &["a", "aa"]),
            (r"a{x}", &["a{x}"], &["a"]),
            (r"a{2}b{1,}c{0,1}", &["aab", "aabbc"], &["ab"]),
            (r"a{02}", &["a{02}"], &["aa"]),
            (r"\Qa.b[\E+", &["a.b[", "a.b[["], &["axb["]),
            (r"\Qa|b", &["a|b"], &["a"]),
            (r"[a&&b]", &["a", "&", "b"], &["c"]),
            (r"[+--b]", &["+", ",", "-", "b"], &["."]),
            (r"[a~~b[]", &["~", "["], &["c"]),
            (r"[]a]", &["]", "a"], &["b"]),
            (r"[^]a]", &["b", "\n"], &["]", "a"]),
            (r"[a-]", &["a", "-"], &["b"]),
            (r"[[:alpha:]_]", &["x", "_"], &["1", ":"]),
            (r"[\d\-x]", &["5", "-", "x"], &["٣", "d"]),
            (r"\101\x42\x{43}\0", &["ABC\0"], &["ABC"]),
            (r"\<\>\_\/", &["<>_/"], &[""]),
            (r"(?P<n>a)(?<m>b)(?i:C)", &["abc", "abC"], &["Abc"]),
            (r"(?)\p{^Greek}\pL", &["aé"], &["αa"]),
            (r"é{2}", &["éé"], &["é"]),
            (r"a#b c", &["a#b c"], &["a"]),
        ];
        for (pattern, yes, no) in cases {
            let matcher = Matcher::new("a", MatchOp::Regex, pattern).unwrap();
            for text in yes {
                assert!(matcher.matches(text), "{pattern} should match {text:?}");
            }
            for text in no {
                assert!(
                    !matcher.matches(text),
                    "{pattern} should not match {text:?}"
                );
            }
        }
    }

    #[test]
    fn what_re2_refuses_is_refused_in_gos_words() {
        let cases = [
            ("a)(b", "unexpected ): `a)(b`"),
            ("(a", "missing closing ): `(a`"),
            ("x[ab", "missing closing ]: `[ab`"),
            ("[b-a]", "invalid character class range: `b-a`"),
            ("[[:foo:]]", "invalid character class range: `[:foo:]`"),
            ("*a", "missing argument to repetition operator: `*`"),
            ("a|*?", "missing argument to repetition operator: `*?`"),
            ("a**", "invalid nested repetition operator: `**`"),
            ("a{2}{3}", "invalid nested repetition operator: `{2}{3}`"),
            ("a{1001}", "invalid repeat count: `{1001}`"),
            ("a{3,2}", "invalid repeat count: `{3,2}`"),
            (r"a\C", r"invalid escape sequence: `\C`"),
            (r"a\Z", r"invalid escape sequence: `\Z`"),
            (r"(a)\1", r"invalid escape sequence: `\1`"),
            (r"a\é", r"invalid escape sequence: `\é`"),
            (r"a\", "trailing backslash at end of expression: ``"),
            ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
            ("(?x)a", "invalid or unsupported Perl syntax: `(?x`"),
            ("(?P<n!>a)", "invalid named capture: `(?P<n!>`"),
        ];
        for (pattern, message) in cases {
            let refused = translate(pattern).unwrap_err();
            assert_eq!(refused, format!("error parsing regexp: {message}"));
        }
    }
}
