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
    AnyOf(Arc<[String]>),
    Prefix(String),
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
            Test::AnyOf(values) => values.iter().any(|one| one == value),
            Test::Prefix(prefix) => value.starts_with(prefix.as_str()),
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
    fn of_regex(pattern: &str) -> Result<Self, MatcherError> {
        let regex = anchored_regex(pattern)?;
        let plain = |text: &str| !text.contains(is_regex_syntax);
        Ok(match pattern {
            ".*" => Self::Anything,
            ".+" => Self::NonEmpty,
            _ if pattern.split('|').all(plain) => {
                Self::AnyOf(pattern.split('|').map(str::to_owned).collect())
            }
            _ => match pattern.strip_suffix(".*") {
                Some(prefix) if plain(prefix) && !prefix.contains('|') => {
                    Self::Prefix(prefix.to_owned())
                }
                _ => Self::Regex(Arc::new(regex)),
            },
        })
    }
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
