//! Matchers: `=`, `!=`, `=~`, `!~`, with bounded, anchored regular expressions.

use std::fmt;
use std::sync::Arc;

use regex::{Regex, RegexBuilder};

/// The most memory that a compiled regular expression may take, in bytes: enough for an
/// alternation of some ten thousand names, far from what would hurt a 4 GB board.
pub const REGEX_SIZE_MAX: usize = 4 << 20;

/// How a matcher compares.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
}

impl MatchOp {
    /// The operator as PromQL writes it.
    #[must_use]
    pub const fn symbol(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Regex => "=~",
            Self::NotRegex => "!~",
        }
    }
}

/// One condition on one label. A label that is absent compares as the empty text.
#[derive(Clone)]
pub struct Matcher {
    name: String,
    op: MatchOp,
    value: String,
    test: Test,
}

/// What the operator and value amount to; the common regular expressions need no engine.
#[derive(Clone)]
enum Test {
    Literal,
    /// One of these, sorted.
    AnyOf(Arc<[String]>),
    /// One of the first, sorted, or with one of the others at its beginning.
    Begins(Arc<[String]>, Arc<[String]>),
    Anything,
    NonEmpty,
    Regex(Arc<Regex>),
}

/// Why a matcher cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MatcherError {
    /// The text is no regular expression of RE2's syntax.
    #[error("{message}")]
    Syntax {
        /// What is wrong, in the engine's words.
        message: String,
    },
    /// Compiled it would exceed [`REGEX_SIZE_MAX`].
    #[error(
        "the regular expression {pattern:?} would take more than {REGEX_SIZE_MAX} bytes when compiled: shorten it or its repetitions"
    )]
    TooLarge {
        /// The expression.
        pattern: String,
    },
}

impl Matcher {
    /// Makes a matcher; the expression of `=~` and `!~` is anchored at both ends and its `.`
    /// matches line ends, as in Prometheus 3.
    ///
    /// # Errors
    /// Refuses an expression that does not parse or that is too large.
    pub fn new(name: &str, op: MatchOp, value: &str) -> Result<Self, MatcherError> {
        let test = match op {
            MatchOp::Equal | MatchOp::NotEqual => Test::Literal,
            MatchOp::Regex | MatchOp::NotRegex => Test::of_regex(value)?,
        };
        Ok(Self {
            name: name.to_owned(),
            op,
            value: value.to_owned(),
            test,
        })
    }

    /// The label's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The operator.
    #[must_use]
    pub const fn op(&self) -> MatchOp {
        self.op
    }

    /// The text to the right of the operator, as it was written.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Whether a label of this value (empty when it is absent) satisfies the matcher.
    #[must_use]
    pub fn matches(&self, value: &str) -> bool {
        let positive = match &self.test {
            Test::Literal => self.value == value,
            Test::AnyOf(values) => is_among(values, value),
            Test::Begins(values, prefixes) => {
                prefixes.iter().any(|prefix| value.starts_with(prefix)) || is_among(values, value)
            }
            Test::Anything => true,
            Test::NonEmpty => !value.is_empty(),
            Test::Regex(regex) => regex.is_match(value),
        };
        positive == matches!(self.op, MatchOp::Equal | MatchOp::Regex)
    }

    /// Whether a series without the label satisfies the matcher.
    #[must_use]
    pub fn matches_empty(&self) -> bool {
        self.matches("")
    }

    /// The only values that can satisfy the matcher, where they are known without looking at the
    /// data: an index needs no scan for them.
    #[must_use]
    pub fn candidates(&self) -> Option<Vec<&str>> {
        match (self.op, &self.test) {
            (MatchOp::Equal, _) => Some(vec![&self.value]),
            (MatchOp::Regex, Test::AnyOf(values)) => {
                Some(values.iter().map(String::as_str).collect())
            }
            _ => None,
        }
    }
}

impl Test {
    /// What an expression amounts to; it is compiled only where it has to be.
    fn of_regex(pattern: &str) -> Result<Self, MatcherError> {
        match pattern {
            ".*" => return Ok(Self::Anything),
            ".+" => return Ok(Self::NonEmpty),
            _ => {}
        }
        if let Some(values) = alternatives(pattern) {
            return Ok(Self::AnyOf(sorted(values)));
        }
        let (open, whole): (Vec<&str>, Vec<&str>) =
            pattern.split('|').partition(|piece| piece.ends_with(".*"));
        let prefixes = open
            .into_iter()
            .filter_map(|piece| piece.strip_suffix(".*"));
        let prefixes: Vec<String> = prefixes.map(str::to_owned).collect();
        if prefixes.iter().all(|text| is_plain(text)) && whole.iter().all(|text| is_plain(text)) {
            let values = whole.into_iter().map(str::to_owned).collect();
            return Ok(Self::Begins(sorted(values), sorted(prefixes)));
        }
        Ok(Self::Regex(Arc::new(anchored_regex(pattern)?)))
    }
}

/// The texts that an expression stands for, where it is but a list of them: `a|b`, `x_(a|b)_y`.
fn alternatives(pattern: &str) -> Option<Vec<String>> {
    let owned = |list: &str| list.split('|').map(str::to_owned).collect();
    if is_plain(pattern) {
        return Some(owned(pattern));
    }
    let (before, rest) = pattern.split_once('(')?;
    let (list, after) = rest.split_once(')')?;
    let list = list.strip_prefix("?:").unwrap_or(list);
    // Outside of the brackets a bar would divide the whole.
    let outside = |text: &str| is_plain(text) && !text.contains('|');
    if !outside(before) || !outside(after) || !is_plain(list) {
        return None;
    }
    let whole = |text: &str| format!("{before}{text}{after}");
    Some(list.split('|').map(whole).collect())
}

/// Whether every character but the bar stands for itself.
fn is_plain(text: &str) -> bool {
    !text.contains(is_regex_syntax)
}

fn sorted(mut texts: Vec<String>) -> Arc<[String]> {
    texts.sort_unstable();
    texts.dedup();
    texts.into()
}

fn is_among(values: &[String], value: &str) -> bool {
    values
        .binary_search_by(|known| known.as_str().cmp(value))
        .is_ok()
}

/// A regular expression of RE2's syntax, anchored at both ends, its `.` matching line ends: what
/// Prometheus makes of a pattern in a matcher or in `label_replace`.
///
/// # Errors
/// Refuses an expression that does not parse or that is too large.
pub fn anchored_regex(pattern: &str) -> Result<Regex, MatcherError> {
    let syntax = |message| MatcherError::Syntax { message };
    let translated = super::re2::translate(pattern).map_err(syntax)?;
    RegexBuilder::new(&format!("^(?s:{translated})$"))
        .size_limit(REGEX_SIZE_MAX)
        .dfa_size_limit(REGEX_SIZE_MAX)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => MatcherError::TooLarge {
                pattern: pattern.to_owned(),
            },
            other => syntax(format!("error parsing regexp: {other}")),
        })
}

fn is_regex_syntax(c: char) -> bool {
    "\\.+*?()[]{}^$".contains(c)
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.op, &self.value) == (&other.name, other.op, &other.value)
    }
}

impl Eq for Matcher {}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{:?}", self.name, self.op.symbol(), self.value)
    }
}

impl fmt::Debug for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(op: MatchOp, value: &str, yes: &[&str], no: &[&str]) {
        let matcher = Matcher::new("a", op, value).unwrap();
        for text in yes {
            assert!(matcher.matches(text), "{matcher} should match {text:?}");
        }
        for text in no {
            assert!(
                !matcher.matches(text),
                "{matcher} should not match {text:?}"
            );
        }
    }

    #[test]
    fn regexes_are_anchored_and_see_line_ends() {
        check(MatchOp::Regex, "a.c", &["abc", "a\nc"], &["xabc", "abcx"]);
        check(MatchOp::Regex, "ab|c", &["ab", "c"], &["ac", "abc", ""]);
        check(MatchOp::Regex, "eth.*", &["eth", "eth0\n1"], &["xeth"]);
        check(MatchOp::Regex, ".+", &["x"], &[""]);
        check(
            MatchOp::NotRegex,
            "lo|veth.*",
            &["eth0", ""],
            &["lo", "veth1"],
        );
        check(MatchOp::Regex, "", &[""], &["x"]);
        check(MatchOp::Regex, "(?i)up", &["UP"], &["down"]);
    }

    /// Whether the engine is asked or not, the answer is the same; and it is not asked for what is
    /// but a list of texts and beginnings.
    #[test]
    fn lists_and_beginnings_need_no_engine() {
        let texts = [
            "", "a", "ab", "abc", "b", "b\n", "xay", "xby", "xy", "xa", "xab|cy", "tmpfs",
            "tmpfs2", "?:a", "x?:ay", "(a)", "a|b", "x(a|b)y", "{", "é", "éa",
        ];
        let engineless = [
            "a",
            "a|b",
            "|a",
            "a|",
            "a|a",
            "tmpfs|overlay",
            "a.*",
            "a.*|b",
            "b|a.*|x.*",
            "x(a|b)y",
            "x(?:a|b)y",
            "(a|b)",
            "x()y",
            "x(|a)y",
            "(ab|c)",
            "é|é.*",
            "|a.*",
            "",
            "-a/b:c",
        ];
        let engine = [
            "a+",
            "a.*b",
            "x(a|b).*",
            "a|b(c|d)",
            "(a|b)|c",
            "x(a|b)y|c",
            "x((a))y",
            "x(a)(b)y",
            ".*a",
            "a.+",
            "x(?i:a)y",
            "x(?P<n>a)y",
            "[ab]",
            "a{2}",
            "^a",
            "a$",
            "\\.",
            "a.*|b.+",
            "..*",
        ];
        for pattern in engineless.into_iter().chain(engine) {
            let matcher = Matcher::new("a", MatchOp::Regex, pattern).unwrap();
            let asked = matches!(matcher.test, Test::Regex(_));
            assert_eq!(asked, engine.contains(&pattern), "{pattern:?}");
            let regex = anchored_regex(pattern).unwrap();
            for text in texts {
                let want = regex.is_match(text);
                assert_eq!(matcher.matches(text), want, "{pattern:?} and {text:?}");
                let listed = matcher.candidates().map(|list| list.contains(&text));
                assert_eq!(listed.unwrap_or(want), want, "{pattern:?} and {text:?}");
            }
        }
        for wrong in ["x(a", "xa)", "x)a(", "(?:a", "x(?a|b)y", "*", "a**"] {
            let refused = Matcher::new("a", MatchOp::Regex, wrong);
            assert!(refused.is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_regex_that_is_too_large_is_refused() {
        let error = Matcher::new("a", MatchOp::Regex, "((a{1000}){1000}){10}").unwrap_err();
        assert!(matches!(error, MatcherError::TooLarge { .. }), "{error}");
        assert!(matches!(
            Matcher::new("a", MatchOp::Regex, "a(").unwrap_err(),
            MatcherError::Syntax { .. }
        ));
    }
}
