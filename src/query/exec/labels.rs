//! Label sets as keys: the labels by which series are grouped or find each other, and the check
//! that no label set has two values at one step.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::model::{LabelSet, METRIC_NAME};
use crate::query::error::Error;
use crate::query::value::{StepHistograms, StepSeries, is_absent};

/// Which labels count.
#[derive(Clone, Debug)]
pub(super) struct LabelKey {
    /// Sorted.
    names: Vec<String>,
    /// Only these; otherwise all but these.
    only: bool,
}

impl LabelKey {
    /// The labels of `by` or `on`.
    pub(super) fn only(names: &[String]) -> Self {
        let mut names = names.to_vec();
        names.sort_unstable();
        Self { names, only: true }
    }

    /// All labels but those of `without` or `ignoring`, and not the metric name.
    pub(super) fn without(names: &[String]) -> Self {
        let mut names = names.to_vec();
        names.push(METRIC_NAME.to_owned());
        names.sort_unstable();
        Self { names, only: false }
    }

    /// All labels but one.
    pub(super) fn all_but(name: &str) -> Self {
        Self {
            names: vec![name.to_owned()],
            only: false,
        }
    }

    fn counts(&self, name: &str) -> bool {
        let named = self
            .names
            .binary_search_by(|one| one.as_str().cmp(name))
            .is_ok();
        named == self.only
    }

    /// The labels that count, where it is said which do not.
    fn others<'a>(&'a self, labels: &'a LabelSet) -> impl Iterator<Item = (&'a str, &'a str)> {
        // Both are sorted.
        let mut names = self.names.iter().map(String::as_str).peekable();
        labels.iter().filter(move |(name, _)| {
            while names.next_if(|one| one < name).is_some() {}
            names.peek() != Some(name)
        })
    }

    /// A hash of the labels that count, by whoever numbers keys.
    fn hash(&self, seed: u64, labels: &LabelSet) -> u64 {
        let text = |hash: u64, text: &str| xxh3_64_with_seed(text.as_bytes(), hash);
        if !self.only {
            let others = self.others(labels);
            return others.fold(seed, |hash, (name, value)| text(text(hash, name), value));
        }
        let values = self.names.iter().map(|name| labels.get(name));
        // A label that is lacking has a place too.
        values.fold(seed, |hash, value| {
            value.map_or_else(|| hash.rotate_left(7) ^ 1, |value| text(hash, value))
        })
    }

    fn same(&self, one: &LabelSet, other: &LabelSet) -> bool {
        if self.only {
            let mut names = self.names.iter();
            return names.all(|name| one.get(name) == other.get(name));
        }
        self.others(one).eq(self.others(other))
    }

    /// Only the labels that count.
    pub(super) fn project(&self, labels: &LabelSet) -> LabelSet {
        labels.filtered(|name| self.counts(name))
    }
}

/// Numbers the different keys in the order in which they are met.
#[derive(Debug)]
pub(super) struct KeyIndex {
    key: LabelKey,
    /// Another one each time, so that nobody can choose labels that meet.
    seed: u64,
    numbers: HashTable<usize>,
    met: Vec<Met>,
    last: usize,
}

/// A label set with a key, and the key's hash.
#[derive(Debug)]
struct Met {
    labels: LabelSet,
    hash: u64,
}

impl KeyIndex {
    /// Nothing met yet.
    pub(super) fn new(key: LabelKey) -> Self {
        Self {
            key,
            seed: RandomState::new().hash_one(0),
            numbers: HashTable::new(),
            met: Vec::new(),
            last: 0,
        }
    }

    /// The labels that count.
    pub(super) const fn key(&self) -> &LabelKey {
        &self.key
    }

    /// The number of a label set's key, if it was met.
    pub(super) fn find(&self, labels: &LabelSet) -> Option<usize> {
        self.find_hashed(self.key.hash(self.seed, labels), labels)
    }

    fn find_hashed(&self, hash: u64, labels: &LabelSet) -> Option<usize> {
        let same = |at: &usize| {
            let met = self.met.get(*at).filter(|met| met.hash == hash);
            met.is_some_and(|met| self.key.same(&met.labels, labels))
        };
        self.numbers.find(hash, same).copied()
    }

    /// The number of a label set's key; a new key gets the next number.
    pub(super) fn number(&mut self, labels: &LabelSet) -> usize {
        // Series of one target come one after the other, and often have the same key.
        let last = self.met.get(self.last);
        if last.is_some_and(|met| self.key.same(&met.labels, labels)) {
            return self.last;
        }
        let hash = self.key.hash(self.seed, labels);
        if let Some(at) = self.find_hashed(hash, labels) {
            self.last = at;
            return at;
        }
        let at = self.met.len();
        let labels = labels.clone();
        self.met.push(Met { labels, hash });
        let met = &self.met;
        let rehash = |at: &usize| met.get(*at).map_or(0, |met| met.hash);
        self.numbers.insert_unique(hash, at, rehash);
        self.last = at;
        at
    }
}

/// A set of steps.
#[derive(Clone, Debug, Default)]
pub(super) struct StepSet(Vec<u64>);

impl StepSet {
    /// The steps at which a series has something.
    pub(super) fn of_series(series: &StepSeries) -> Self {
        Self::of(&series.values, &series.histograms)
    }

    /// The steps with values or histograms.
    pub(super) fn of(values: &[f64], histograms: &StepHistograms) -> Self {
        let mut steps = Self::of_values(values);
        for (step, _) in histograms.iter() {
            if let Some(word) = steps.0.get_mut(step / 64) {
                *word |= 1 << (step % 64);
            }
        }
        steps
    }

    fn of_values(values: &[f64]) -> Self {
        let word = |chunk: &[f64]| {
            chunk
                .iter()
                .rev()
                .fold(0, |word, value| word << 1 | u64::from(!is_absent(*value)))
        };
        Self(values.chunks(64).map(word).collect())
    }

    /// The steps at which both have something.
    pub(super) fn of_both(one: &StepSeries, other: &StepSeries) -> Self {
        let mut steps = Self::of_series(one);
        let theirs = Self::of_series(other);
        for (ours, theirs) in steps.0.iter_mut().zip(theirs.0) {
            *ours &= theirs;
        }
        steps
    }

    /// Takes steps out.
    pub(super) fn remove(&mut self, steps: &[usize]) {
        for step in steps {
            if let Some(word) = self.0.get_mut(step / 64) {
                *word &= !(1 << (step % 64));
            }
        }
    }

    /// Whether a step is in it.
    pub(super) fn has(&self, step: usize) -> bool {
        self.0
            .get(step / 64)
            .is_some_and(|word| word >> (step % 64) & 1 == 1)
    }

    /// Adds all steps of another one; whether some step was in both.
    pub(super) fn add(&mut self, other: &Self) -> bool {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        let mut both = 0;
        for (ours, theirs) in self.0.iter_mut().zip(&other.0) {
            both |= *ours & theirs;
            *ours |= theirs;
        }
        both != 0
    }

    /// Whether some step is in both.
    pub(super) fn meets(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).any(|(one, two)| one & two != 0)
    }

    /// Whether it has no step.
    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }
}

/// Sees that no label set has two values at one step.
#[derive(Debug, Default)]
pub(super) struct Distinct {
    seen: HashMap<LabelSet, StepSet>,
    /// Two pieces of one label set are refused even where their steps differ.
    strict: bool,
}

/// What Prometheus says to it.
pub(super) const SAME_LABELSET: &str = "vector cannot contain metrics with the same labelset";

impl Distinct {
    /// Refuses every second appearance of a label set.
    pub(super) fn strict() -> Self {
        Self {
            strict: true,
            ..Self::default()
        }
    }

    /// Takes a series in.
    ///
    /// # Errors
    /// When it has something at a step at which an earlier one with its labels had.
    pub(super) fn check(&mut self, labels: &LabelSet, steps: StepSet) -> Result<(), Error> {
        match self.seen.get_mut(labels) {
            None => {
                self.seen.insert(labels.clone(), steps);
                Ok(())
            }
            Some(seen) => {
                if seen.add(&steps) || self.strict {
                    return Err(Error::Execution(SAME_LABELSET.to_owned()));
                }
                Ok(())
            }
        }
    }

    /// Takes a series in.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub(super) fn check_series(&mut self, series: &StepSeries) -> Result<(), Error> {
        self.check(&series.labels, StepSet::of_series(series))
    }
}

/// The labels that say what a metric is: they go when its values become something else.
pub(super) fn drop_metric(labels: &LabelSet) -> LabelSet {
    labels.filtered(|name| !matches!(name, METRIC_NAME | "__type__" | "__unit__"))
}

/// A label set as Prometheus' error messages show it: the name is a label like others.
pub(super) fn braces(labels: &LabelSet) -> String {
    let plain = |name: &str| {
        !name.starts_with(|c: char| c.is_ascii_digit())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let pairs: Vec<String> = labels
        .iter()
        .map(|(name, value)| match plain(name) {
            true => format!("{name}={value:?}"),
            false => format!("{name:?}={value:?}"),
        })
        .collect();
    format!("{{{}}}", pairs.join(", "))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::query::value::ABSENT;

    fn set(pairs: &[(&str, &str)]) -> LabelSet {
        LabelSet::from_pairs(pairs).unwrap()
    }

    #[test]
    fn keys_tell_groups_apart() {
        let names = ["a".to_owned()];
        let mut by = KeyIndex::new(LabelKey::only(&names));
        assert_eq!(by.number(&set(&[("a", "1"), ("b", "1")])), 0);
        assert_eq!(by.number(&set(&[("b", "1")])), 1);
        assert_eq!(by.number(&set(&[("a", "1"), ("b", "2")])), 0);
        assert_eq!(by.find(&set(&[("a", "2")])), None);
        let mut without = KeyIndex::new(LabelKey::without(&names));
        assert_eq!(without.number(&set(&[("__name__", "x"), ("a", "1")])), 0);
        assert_eq!(without.number(&set(&[("__name__", "y"), ("a", "2")])), 0);
        assert_eq!(without.number(&set(&[("b", "y")])), 1);
    }

    fn labels() -> impl Strategy<Value = LabelSet> {
        let pairs = proptest::collection::btree_map("[abc]|__name__", "[xy]{0,2}", 0..4);
        pairs
            .prop_map(|pairs| LabelSet::from_pairs(&pairs.into_iter().collect::<Vec<_>>()).unwrap())
    }

    proptest! {
        /// By the definition: two label sets have one number exactly when what is left of them is the same.
        #[test]
        fn a_number_is_a_key(
            sets in proptest::collection::vec(labels(), 1..30), names in proptest::collection::vec("[abcd]", 0..3), only: bool,
        ) {
            let key = if only { LabelKey::only(&names) } else { LabelKey::without(&names) };
            let (mut index, mut met) = (KeyIndex::new(key.clone()), Vec::new());
            for set in &sets {
                let left = key.project(set);
                let known = met.iter().position(|one| *one == left);
                prop_assert_eq!(index.find(set), known);
                prop_assert_eq!(index.number(set), known.unwrap_or(met.len()));
                if known.is_none() {
                    met.push(left);
                }
            }
        }
    }

    #[test]
    fn two_values_at_one_step_are_refused() {
        let mut distinct = Distinct::default();
        let mut check = |values: &[f64]| distinct.check(&set(&[]), StepSet::of_values(values));
        check(&[1.0, ABSENT]).unwrap();
        check(&[ABSENT, 1.0]).unwrap();
        assert!(check(&[ABSENT, 1.0]).is_err());
    }

    #[test]
    fn step_sets_hold_more_than_a_word() {
        let mut values = vec![ABSENT; 130];
        values[0] = 1.0;
        values[129] = f64::NAN;
        let steps = StepSet::of_values(&values);
        let has: Vec<usize> = (0..130).filter(|step| steps.has(*step)).collect();
        assert_eq!(has, [0, 129]);
    }
}
