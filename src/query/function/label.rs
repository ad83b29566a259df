//! Functions that rewrite labels: `label_replace` and `label_join`.

use regex::{Captures, Regex};

use crate::model::{LabelSet, METRIC_NAME, anchored_regex};

/// `label_replace` with its text arguments, ready for any number of label sets.
#[derive(Debug)]
pub struct LabelReplace {
    destination: String,
    template: Vec<Piece>,
    source: String,
    regex: Regex,
}

/// A part of a replacement.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Numbered(usize),
    Named(String),
}

impl LabelReplace {
    /// Takes the arguments in the order of the call.
    ///
    /// # Errors
    /// Refuses an expression that does not parse or is too large, and an empty destination.
    pub fn new(
        destination: &str,
        replacement: &str,
        source: &str,
        regex: &str,
    ) -> Result<Self, String> {
        let compiled = anchored_regex(regex)
            .map_err(|_| format!("invalid regular expression in label_replace(): {regex}"))?;
        if destination.is_empty() {
            return Err(format!(
                "invalid destination label name in label_replace(): {destination}"
            ));
        }
        Ok(Self {
            destination: destination.to_owned(),
            template: parse_template(replacement),
            source: source.to_owned(),
            regex: compiled,
        })
    }

    /// Whether the metric name is what it sets: a name that it sets stays.
    #[must_use]
    pub fn sets_metric_name(&self) -> bool {
        self.destination == METRIC_NAME
    }

    /// The changed set; nothing if the expression does not match and the set stays as it is.
    #[must_use]
    pub fn apply(&self, labels: &LabelSet) -> Option<LabelSet> {
        let source = labels.get(&self.source).unwrap_or_default();
        let captures = self.regex.captures(source)?;
        let value = self.expand(&captures);
        Some(labels.to_builder().set(&self.destination, &value).build())
    }

    fn expand(&self, captures: &Captures<'_>) -> String {
        let mut value = String::new();
        for piece in &self.template {
            match piece {
                Piece::Text(text) => value.push_str(text),
                Piece::Numbered(number) => {
                    value.push_str(captures.get(*number).map_or("", |group| group.as_str()));
                }
                Piece::Named(name) => {
                    value.push_str(captures.name(name).map_or("", |group| group.as_str()));
                }
            }
        }
        value
    }
}

/// Go's rules: `$name` takes as many letters, digits and `_` as there are, `${name}` is the same
/// with an end, only digits are a number (no leading zero), `$$` is a dollar, and a dollar before
/// anything else is itself.
fn parse_template(template: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('$') {
        text.push_str(before);
        if let Some(more) = after.strip_prefix('$') {
            text.push('$');
            rest = more;
            continue;
        }
        let Some((name, more)) = split_reference(after) else {
            text.push('$');
            rest = after;
            continue;
        };
        if !text.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut text)));
        }
        pieces.push(reference(name));
        rest = more;
    }
    text.push_str(rest);
    if !text.is_empty() {
        pieces.push(Piece::Text(text));
    }
    pieces
}

/// The name after a dollar and what follows it.
fn split_reference(after: &str) -> Option<(&str, &str)> {
    let (braced, body) = match after.strip_prefix('{') {
        Some(body) => (true, body),
        None => (false, after),
    };
    let is_name = |c: char| c.is_alphabetic() || c.is_numeric() || c == '_';
    let end = body.find(|c| !is_name(c)).unwrap_or(body.len());
    let (name, rest) = body.split_at_checked(end)?;
    if name.is_empty() {
        return None;
    }
    let rest = if braced {
        rest.strip_prefix('}')?
    } else {
        rest
    };
    Some((name, rest))
}

fn reference(name: &str) -> Piece {
    let number =
        name.bytes().all(|b| b.is_ascii_digit()) && (name == "0" || !name.starts_with('0'));
    match name.parse() {
        Ok(index) if number => Piece::Numbered(index),
        _ => Piece::Named(name.to_owned()),
    }
}

/// `label_join` with its text arguments, ready for any number of label sets.
#[derive(Debug)]
pub struct LabelJoin {
    destination: String,
    separator: String,
    sources: Vec<String>,
}

impl LabelJoin {
    /// Takes the arguments in the order of the call.
    ///
    /// # Errors
    /// Refuses empty label names.
    pub fn new(destination: &str, separator: &str, sources: &[&str]) -> Result<Self, String> {
        if sources.iter().any(|source| source.is_empty()) {
            return Err("invalid source label name in label_join(): ".to_owned());
        }
        if destination.is_empty() {
            return Err("invalid destination label name in label_join(): ".to_owned());
        }
        Ok(Self {
            destination: destination.to_owned(),
            separator: separator.to_owned(),
            sources: sources.iter().map(|&source| source.to_owned()).collect(),
        })
    }

    /// Whether the metric name is what it sets: a name that it sets stays.
    #[must_use]
    pub fn sets_metric_name(&self) -> bool {
        self.destination == METRIC_NAME
    }

    /// The changed set.
    #[must_use]
    pub fn apply(&self, labels: &LabelSet) -> LabelSet {
        let values: Vec<&str> = self
            .sources
            .iter()
            .map(|source| labels.get(source).unwrap_or_default())
            .collect();
        let joined = values.join(&self.separator);
        labels.to_builder().set(&self.destination, &joined).build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(pairs: &[(&str, &str)]) -> LabelSet {
        LabelSet::from_pairs(pairs).unwrap()
    }

    #[test]
    fn replacements_expand_as_in_go() {
        for (template, regex, source, want) in [
            ("$1", "(.*)-x", "a-x", "a"),
            ("$1_y", "(.*)-x", "a-x", ""),
            ("${1}_y", "(.*)-x", "a-x", "a_y"),
            ("$name!", "(?P<name>.*)-x", "a-x", "a!"),
            ("${name}_", "(?P<name>.*)-x", "a-x", "a_"),
            ("$$1", "(.*)", "a", "$1"),
            ("$", "(.*)", "a", "$"),
            ("${", "(.*)", "a", "${"),
            ("${1", "(.*)", "a", "${1"),
            ("$-$1", "(.*)", "a", "$-a"),
            ("$0:$9", "(.*)", "a", "a:"),
            ("$01", "(.*)", "a", ""),
            ("x$2", "(a)|(b)", "a", "x"),
        ] {
            let replace = LabelReplace::new("dst", template, "src", regex).unwrap();
            let changed = replace
                .apply(&set(&[("src", source), ("dst", "old")]))
                .unwrap();
            assert_eq!(changed.get("dst").unwrap_or(""), want, "{template}");
        }
    }

    #[test]
    fn a_set_that_does_not_match_stays() {
        let replace = LabelReplace::new("dst", "$1", "src", "a(.*)b").unwrap();
        assert_eq!(replace.apply(&set(&[("src", "xab")])), None);
        let of_absent = LabelReplace::new("dst", "new", "src", "").unwrap();
        let changed = of_absent.apply(&set(&[("a", "1")])).unwrap();
        assert_eq!(changed, set(&[("a", "1"), ("dst", "new")]));
        assert_eq!(
            LabelReplace::new("dst", "", "src", "(").unwrap_err(),
            "invalid regular expression in label_replace(): ("
        );
        assert!(LabelReplace::new("", "", "src", "").is_err());
        assert!(
            LabelReplace::new(METRIC_NAME, "", "a", "")
                .unwrap()
                .sets_metric_name()
        );
    }

    #[test]
    fn joins() {
        let join = LabelJoin::new("dst", "-", &["a", "missing", "b"]).unwrap();
        let changed = join.apply(&set(&[("a", "1"), ("b", "2")]));
        assert_eq!(changed.get("dst"), Some("1--2"));
        let none = LabelJoin::new("a", "", &[]).unwrap();
        assert_eq!(none.apply(&set(&[("a", "1")])), set(&[]));
        assert!(LabelJoin::new("a", "", &[""]).is_err());
    }
}
