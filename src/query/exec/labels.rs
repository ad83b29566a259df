//! Label sets as keys: the labels by which series are grouped or find each other, and the check
//! that no label set has two values at one step.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

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

    fn pairs<'a>(&'a self, labels: &'a LabelSet) -> impl Iterator<Item = (&'a str, &'a str)> {
        labels.iter().filter(|(name, _)| self.counts(name))
    }

    fn hash(&self, labels: &LabelSet) -> u64 {
        if self.only && self.names.is_empty() {
            return 0;
        }
        let mut hasher = DefaultHasher::new();
        for pair in self.pairs(labels) {
            pair.hash(&mut hasher);
        }
        hasher.finish()
    }

    fn same(&self, one: &LabelSet, other: &LabelSet) -> bool {
        self.pairs(one).eq(self.pairs(other))
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
    by_hash: HashMap<u64, Vec<usize>>,
    met: Vec<LabelSet>,
}

impl KeyIndex {
    /// Nothing met yet.
    pub(super) fn new(key: LabelKey) -> Self {
        Self {
            key,
            by_hash: HashMap::new(),
            met: Vec::new(),
        }
    }

    /// The labels that count.
    pub(super) const fn key(&self) -> &LabelKey {
        &self.key
    }

    /// The number of a label set's key, if it was met.
    pub(super) fn find(&self, labels: &LabelSet) -> Option<usize> {
        self.find_hashed(self.key.hash(labels), labels)
    }

    fn find_hashed(&self, hash: u64, labels: &LabelSet) -> Option<usize> {
        self.by_hash.get(&hash)?.iter().copied().find(|at| {
            self.met
                .get(*at)
                .is_some_and(|met| self.key.same(met, labels))
        })
    }

    /// The number of a label set's key; a new key gets the next number.
    pub(super) fn number(&mut self, labels: &LabelSet) -> usize {
        let hash = self.key.hash(labels);
        if let Some(at) = self.find_hashed(hash, labels) {
            return at;
        }
        let at = self.met.len();
        self.met.push(labels.clone());
        self.by_hash.entry(hash).or_default().push(at);
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
