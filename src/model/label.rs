//! Label sets: sorted, without repeated names, without empty values.
//!
//! A label set is one immutable value that is cheap to clone. Names and values are UTF-8 and are
//! compared as bytes, as the remote-write specification asks.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The name of the label that carries the metric name.
pub const METRIC_NAME: &str = "__name__";

/// A sorted set of labels. Equality is equality of all names and values; the order is
/// Prometheus': label by label, name first, then value, a shorter set before a longer one.
#[derive(Clone, PartialEq, Eq)]
pub struct LabelSet(Arc<Flat>);

/// Sets are looked up far more often than they are made.
impl Hash for LabelSet {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.hash);
    }
}

/// All names and values in one text, `ends[2i]` after the name of label `i`, `ends[2i+1]` after
/// its value: two allocations for a set, whatever its size.
#[derive(PartialEq, Eq)]
struct Flat {
    /// Of the other two; compared first.
    hash: u64,
    text: Box<str>,
    ends: Box<[u32]>,
}

impl Flat {
    fn new(text: Box<str>, ends: Box<[u32]>) -> Self {
        // An odd number, so that no end is lost: 2^64 divided by the golden ratio.
        let mix =
            |seed: u64, end: &u32| (seed ^ u64::from(*end)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let seed = ends.iter().fold(0, mix);
        Self {
            hash: xxh3_64_with_seed(text.as_bytes(), seed),
            text,
            ends,
        }
    }

    /// The name of label `i`, empty behind the last.
    fn name(&self, i: usize) -> &[u8] {
        let before = (2 * i).checked_sub(1).and_then(|at| self.ends.get(at));
        let end = self.ends.get(2 * i).map_or(0, |end| *end as usize);
        let start = before.map_or(0, |end| *end as usize);
        self.text.as_bytes().get(start..end).unwrap_or_default()
    }

    fn before(&self, border: usize) -> &[u8] {
        self.text.as_bytes().get(..border).unwrap_or_default()
    }

    /// The name or value of this number, which begins at a border; `None` behind the last.
    fn next(&self, border: usize, at: usize) -> Option<&[u8]> {
        let end = *self.ends.get(at)? as usize;
        self.text.as_bytes().get(border..end)
    }
}

/// Why labels are no label set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// A label without a name.
    #[error("a label has an empty name (its value is {value:?})")]
    EmptyName {
        /// The value that came with it.
        value: String,
    },
    /// One name twice.
    #[error("the label {name:?} occurs twice")]
    Repeated {
        /// The name.
        name: String,
    },
    /// More text than offsets can hold.
    #[error("the labels are {bytes} bytes long: at most {} are allowed", u32::MAX)]
    TooLong {
        /// Bytes of all names and values.
        bytes: usize,
    },
}

impl LabelSet {
    /// The set without labels.
    #[must_use]
    pub fn empty() -> Self {
        Self(Arc::new(Flat::new(Box::from(""), Box::from([]))))
    }

    /// Sorts labels into a set and drops those with empty values (which Prometheus takes as absent).
    ///
    /// # Errors
    /// Refuses an empty name, a repeated one, and more than 4 GiB of text.
    pub fn from_pairs<N: AsRef<str>, V: AsRef<str>>(pairs: &[(N, V)]) -> Result<Self, LabelError> {
        let mut sorted: Vec<(&str, &str)> = pairs
            .iter()
            .map(|(name, value)| (name.as_ref(), value.as_ref()))
            .collect();
        if !sorted.is_sorted() {
            sorted.sort_unstable();
        }
        for window in sorted.windows(2) {
            if let [(name, _), (next, _)] = window
                && name == next
            {
                return Err(LabelError::Repeated {
                    name: (*name).to_owned(),
                });
            }
        }
        if let Some((_, value)) = sorted.iter().find(|(name, _)| name.is_empty()) {
            return Err(LabelError::EmptyName {
                value: (*value).to_owned(),
            });
        }
        sorted.retain(|(_, value)| !value.is_empty());
        Self::from_sorted(&sorted)
    }

    /// Builds a set from labels that are sorted by name, distinct and non-empty already.
    fn from_sorted(sorted: &[(&str, &str)]) -> Result<Self, LabelError> {
        let bytes: usize = sorted.iter().map(|(n, v)| n.len() + v.len()).sum();
        let mut text = String::with_capacity(bytes);
        let mut ends = Vec::with_capacity(sorted.len() * 2);
        for (name, value) in sorted {
            for part in [name, value] {
                text.push_str(part);
                let end = u32::try_from(text.len()).map_err(|_| LabelError::TooLong { bytes })?;
                ends.push(end);
            }
        }
        Ok(Self(Arc::new(Flat::new(
            text.into_boxed_str(),
            ends.into_boxed_slice(),
        ))))
    }

    /// The labels in order of their names.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, &str)> + Clone {
        (0..self.len()).map(|i| self.pair(i))
    }

    fn pair(&self, i: usize) -> (&str, &str) {
        let end = |at: usize| self.0.ends.get(at).map_or(0, |end| *end as usize);
        let start = if i == 0 { 0 } else { end(2 * i - 1) };
        let (middle, stop) = (end(2 * i), end(2 * i + 1));
        // The offsets were made from whole names and values: they are always borders of characters.
        let part = |from, to| self.0.text.get(from..to).unwrap_or_default();
        (part(start, middle), part(middle, stop))
    }

    /// How many labels there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.ends.len() / 2
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.ends.is_empty()
    }

    /// Bytes of all names and values.
    #[must_use]
    pub fn text_len(&self) -> usize {
        self.0.text.len()
    }

    /// The value of a label, if the set has it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            // As bytes: whether they are whole characters is asked of what is given out.
            match self.0.name(middle).cmp(name.as_bytes()) {
                Ordering::Equal => return Some(self.pair(middle).1),
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// The metric name, if there is one.
    #[must_use]
    pub fn metric_name(&self) -> Option<&str> {
        self.get(METRIC_NAME)
    }

    /// The set of those labels whose names `keep` accepts.
    #[must_use]
    pub fn filtered(&self, mut keep: impl FnMut(&str) -> bool) -> Self {
        let kept: Vec<(&str, &str)> = self.iter().filter(|(name, _)| keep(name)).collect();
        if kept.len() == self.len() {
            return self.clone();
        }
        Self::from_sorted(&kept).unwrap_or_else(|_| Self::empty())
    }

    /// The set without the metric name.
    #[must_use]
    pub fn without_metric_name(&self) -> Self {
        self.filtered(|name| name != METRIC_NAME)
    }

    /// Starts a changed copy.
    #[must_use]
    pub fn to_builder(&self) -> LabelSetBuilder {
        LabelSetBuilder {
            pairs: self
                .iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        }
    }
}

impl Default for LabelSet {
    fn default() -> Self {
        Self::empty()
    }
}

impl Ord for LabelSet {
    /// Where names and values end alike, the first byte that differs decides, so they are compared in one piece;
    /// beyond that the first name or value that ends elsewhere does.
    fn cmp(&self, other: &Self) -> Ordering {
        let (one, two) = (&*self.0, &*other.0);
        let ends = one.ends.iter().zip(&two.ends);
        let alike = ends.take_while(|(one, two)| one == two).count();
        let last = alike.checked_sub(1).and_then(|last| one.ends.get(last));
        let border = last.map_or(0, |end| *end as usize);
        one.before(border)
            .cmp(two.before(border))
            .then_with(|| one.next(border, alike).cmp(&two.next(border, alike)))
    }
}

impl PartialOrd for LabelSet {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// As Prometheus writes it: `name{a="b"}`, `{a="b"}`, and quoted where a name is not of the old
/// alphabet.
impl fmt::Display for LabelSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.metric_name();
        let plain_name = name.filter(|name| is_legacy_metric_name(name));
        if let Some(name) = plain_name {
            f.write_str(name)?;
            if self.len() == 1 {
                return Ok(());
            }
        }
        f.write_str("{")?;
        let mut first = true;
        if let (Some(name), None) = (name, plain_name) {
            write!(f, "{name:?}")?;
            first = false;
        }
        for (label, value) in self.iter().filter(|(label, _)| *label != METRIC_NAME) {
            if !std::mem::take(&mut first) {
                f.write_str(", ")?;
            }
            if is_legacy_label_name(label) {
                write!(f, "{label}={value:?}")?;
            } else {
                write!(f, "{label:?}={value:?}")?;
            }
        }
        f.write_str("}")
    }
}

impl fmt::Debug for LabelSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whether a name needs no quotes as a label name: `[a-zA-Z_][a-zA-Z0-9_]*`.
fn is_legacy_label_name(name: &str) -> bool {
    let start = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.starts_with(start) && name.chars().all(|c| start(c) || c.is_ascii_digit())
}

/// Whether a name needs no quotes as a metric name: as a label name, and colons too.
fn is_legacy_metric_name(name: &str) -> bool {
    let start = |c: char| c.is_ascii_alphabetic() || c == '_' || c == ':';
    name.starts_with(start) && name.chars().all(|c| start(c) || c.is_ascii_digit())
}

/// A label set in the making.
#[derive(Debug, Clone, Default)]
pub struct LabelSetBuilder {
    pairs: Vec<(String, String)>,
}

impl LabelSetBuilder {
    /// Starts from nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a label; an empty value removes it.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        self.remove(name);
        if !value.is_empty() {
            self.pairs.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// Removes a label, if it is there.
    pub fn remove(&mut self, name: &str) -> &mut Self {
        self.pairs.retain(|(at, _)| at != name);
        self
    }

    /// The set.
    #[must_use]
    pub fn build(&self) -> LabelSet {
        // `set` keeps names distinct, so only an empty name or absurd length could be refused;
        // the query engine checks names before it sets them.
        LabelSet::from_pairs(&self.pairs).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_sorted_and_empty_values_dropped() {
        let set = LabelSet::from_pairs(&[("b", "2"), ("a", "1"), ("c", "")]).unwrap();
        assert_eq!(set.iter().collect::<Vec<_>>(), [("a", "1"), ("b", "2")]);
        assert_eq!(set.get("b"), Some("2"));
        assert_eq!(set.get("c"), None);
    }

    #[test]
    fn repeated_and_empty_names_are_refused() {
        assert!(matches!(
            LabelSet::from_pairs(&[("a", "1"), ("a", "")]),
            Err(LabelError::Repeated { .. })
        ));
        assert!(matches!(
            LabelSet::from_pairs(&[("", "1")]),
            Err(LabelError::EmptyName { .. })
        ));
    }

    proptest::proptest! {
        /// By its definition: label by label, name first, then value, a shorter set before a longer one.
        #[test]
        fn the_order_is_that_of_the_labels(
            one in proptest::collection::btree_map("[ab]{1,3}", "[ab\u{e9}]{1,3}", 0..4),
            other in proptest::collection::btree_map("[ab]{1,3}", "[ab\u{e9}]{1,3}", 0..4),
        ) {
            let set = |of: &std::collections::BTreeMap<String, String>| {
                LabelSet::from_pairs(&of.iter().collect::<Vec<_>>()).unwrap()
            };
            let (a, b) = (set(&one), set(&other));
            proptest::prop_assert_eq!(a.cmp(&b), a.iter().cmp(b.iter()));
            proptest::prop_assert_eq!(a.cmp(&a), Ordering::Equal);
        }
    }

    #[test]
    fn the_notation_is_prometheus() {
        let show = |pairs: &[(&str, &str)]| LabelSet::from_pairs(pairs).unwrap().to_string();
        assert_eq!(show(&[]), "{}");
        assert_eq!(show(&[("__name__", "up")]), "up");
        assert_eq!(
            show(&[("__name__", "up"), ("a", "b\"c")]),
            r#"up{a="b\"c"}"#
        );
        assert_eq!(
            show(&[("__name__", "http.x"), ("a.b", "c")]),
            r#"{"http.x", "a.b"="c"}"#
        );
    }

    #[test]
    fn the_order_is_label_by_label() {
        let set = |pairs: &[(&str, &str)]| LabelSet::from_pairs(pairs).unwrap();
        assert!(set(&[("a", "1")]) < set(&[("a", "1"), ("b", "1")]));
        assert!(set(&[("a", "1"), ("b", "1")]) < set(&[("a", "2")]));
    }
}
