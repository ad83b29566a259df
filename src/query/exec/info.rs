//! `info`: labels of info series (`target_info` if nothing else is said) joined to other series by
//! `instance` and `job`. The rules are those of Prometheus' `promql/info.go`.
//!
//! All base series are held first: their identifying labels decide which info series are asked
//! for. Of several info series with one name and identity the newest counts, at every step.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::model::{LabelSet, LabelSetBuilder, METRIC_NAME, MatchOp, Matcher};
use crate::query::error::Error;
use crate::query::plan::{Moment, Selector};
use crate::query::syntax::Edges;
use crate::query::value::{StepSeries, Steps, is_absent};

use super::labels::{Distinct, KeyIndex, LabelKey, StepSet, braces};
use super::operator::{Held, Input, Operator, Run};
use super::scan::{Scan, Wanted};

/// What tells targets apart.
const IDENTITY: [&str; 2] = ["instance", "job"];

/// Joins info labels.
pub(super) struct Info {
    /// The series.
    pub(super) base: Input,
    /// The conditions of the second argument; none: `target_info`, all its labels.
    pub(super) matchers: Vec<Matcher>,
    /// When info series are looked at.
    pub(super) moment: Moment,
    /// The steps.
    pub(super) steps: Steps,
    /// What is still to come.
    pub(super) done: Option<std::vec::IntoIter<StepSeries>>,
}

/// The info series, by name and identity.
struct Known {
    series: Vec<StepSeries>,
    index: KeyIndex,
    /// By key and step which series counts.
    newest: Vec<Vec<Option<usize>>>,
    names: BTreeSet<String>,
}

impl Info {
    fn join(&mut self, run: &Run<'_>) -> Result<Vec<StepSeries>, Error> {
        let base = Held::all(&mut self.base, run)?;
        let names = self.name_matchers()?;
        let is_info = |labels: &LabelSet| {
            let name = labels.metric_name().unwrap_or_default();
            names.iter().all(|matcher| matcher.matches(name))
        };
        let mut known = Known::none();
        let identities = identities(base.series.iter().filter(|one| !is_info(&one.labels)));
        let held = if identities.is_empty() {
            None
        } else {
            let input = self.info_scan(&names, &identities)?;
            let mut present = StepSet::default();
            for series in &base.series {
                present.add(&StepSet::of_series(series));
            }
            Some(known.read(input, &identities, &present, self.steps.count, run)?)
        };
        let mut distinct = Distinct::default();
        let mut results = Vec::with_capacity(base.series.len());
        for series in &base.series {
            run.check()?;
            let made = if is_info(&series.labels) {
                vec![series.clone()]
            } else {
                self.enrich(series, &known, run)?
            };
            for one in made {
                distinct.check_series(&one)?;
                results.push(one);
            }
        }
        drop(held);
        Ok(results)
    }

    /// The conditions on the names of info series.
    fn name_matchers(&self) -> Result<Vec<Matcher>, Error> {
        let make = |op, value: &str| {
            Matcher::new(METRIC_NAME, op, value)
                .map_err(|error| Error::Execution(error.to_string()))
        };
        let mut names: Vec<Matcher> = self
            .matchers
            .iter()
            .filter(|matcher| matcher.name() == METRIC_NAME)
            .cloned()
            .collect();
        if names.is_empty() {
            names.push(make(MatchOp::Equal, "target_info")?);
        } else if !names
            .iter()
            .any(|matcher| matches!(matcher.op(), MatchOp::Equal | MatchOp::Regex))
        {
            names.push(make(MatchOp::Regex, ".+_info")?);
        }
        Ok(names)
    }

    /// The conditions on the labels that are to be joined.
    fn label_matchers(&self) -> impl Iterator<Item = &Matcher> {
        self.matchers
            .iter()
            .filter(|matcher| matcher.name() != METRIC_NAME)
    }

    fn info_scan(
        &self,
        names: &[Matcher],
        identities: &BTreeMap<&'static str, BTreeSet<String>>,
    ) -> Result<Input, Error> {
        let mut matchers = names.to_vec();
        matchers.extend(self.label_matchers().cloned());
        for (name, values) in identities {
            let escaped: Vec<String> = values.iter().map(|value| regex::escape(value)).collect();
            // Only spares the storage work: too long an alternation is left out.
            matchers.extend(Matcher::new(name, MatchOp::Regex, &escaped.join("|")).ok());
        }
        let selector = Selector {
            matchers,
            moment: self.moment,
            edges: Edges::Plain,
            no_buckets: true,
        };
        Ok(Box::new(Scan::new(selector, self.steps, Wanted::Taken)))
    }

    /// A series with the labels of its info series; in pieces where these change.
    fn enrich(
        &self,
        series: &StepSeries,
        known: &Known,
        run: &Run<'_>,
    ) -> Result<Vec<StepSeries>, Error> {
        let keys = known.keys_of(&series.labels);
        let mut at: HashMap<Vec<usize>, Option<usize>> = HashMap::new();
        let mut made: Vec<StepSeries> = Vec::new();
        for (step, value) in series.values.iter().enumerate() {
            let histogram = series.histograms.get(step);
            if is_absent(*value) && histogram.is_none() {
                continue;
            }
            let partners: Vec<usize> = keys
                .iter()
                .filter_map(|key| *known.newest.get(*key)?.get(step)?)
                .collect();
            let place = match at.get(&partners) {
                Some(place) => *place,
                None => {
                    let place = match self.labels(&series.labels, &partners, known)? {
                        None => None,
                        Some(labels) => {
                            let values = run.values(self.steps.count)?;
                            made.push(StepSeries::floats(labels, series.drop_name, values));
                            Some(made.len() - 1)
                        }
                    };
                    at.insert(partners, place);
                    place
                }
            };
            let Some(one) = place.and_then(|place| made.get_mut(place)) else {
                continue;
            };
            if let Some(slot) = one.values.get_mut(step) {
                *slot = *value;
            }
            if let Some(histogram) = histogram {
                let histogram = Arc::clone(histogram);
                one.histograms.set(step, self.steps.count, histogram);
            }
        }
        Ok(made)
    }

    /// The labels of a series with those of its partners; `None` if it needs one and has none.
    fn labels(
        &self,
        base: &LabelSet,
        partners: &[usize],
        known: &Known,
    ) -> Result<Option<LabelSet>, Error> {
        if partners.is_empty() {
            let all_may_lack = self.label_matchers().all(Matcher::matches_empty);
            return Ok(all_may_lack.then(|| base.clone()));
        }
        let wanted: Vec<&str> = self.label_matchers().map(Matcher::name).collect();
        let mut joined: BTreeMap<&str, &str> = BTreeMap::new();
        let infos = partners.iter().filter_map(|at| known.series.get(*at));
        for (name, value) in infos.flat_map(|info| info.labels.iter()) {
            if name == METRIC_NAME || !wanted.is_empty() && !wanted.contains(&name) {
                continue;
            }
            if joined.get(name).is_some_and(|other| *other != value) {
                return Err(Error::Execution(format!("conflicting label: {name}")));
            }
            if base.get(name).is_none() {
                joined.insert(name, value);
            }
        }
        let mut builder = base.to_builder();
        for (name, value) in joined {
            builder.set(name, value);
        }
        Ok(Some(builder.build()))
    }
}

/// The values of the identifying labels that series have.
fn identities<'a>(
    series: impl Iterator<Item = &'a StepSeries>,
) -> BTreeMap<&'static str, BTreeSet<String>> {
    let mut values: BTreeMap<&'static str, BTreeSet<String>> = BTreeMap::new();
    for one in series {
        for name in IDENTITY {
            if let Some(value) = one.labels.get(name) {
                values.entry(name).or_default().insert(value.to_owned());
            }
        }
    }
    values
}

impl Known {
    fn none() -> Self {
        let names = [METRIC_NAME, "instance", "job"].map(str::to_owned);
        Self {
            series: Vec::new(),
            index: KeyIndex::new(LabelKey::only(&names)),
            newest: Vec::new(),
            names: BTreeSet::new(),
        }
    }

    /// Reads info series; `present` are the steps at which there is something to join them to.
    fn read(
        &mut self,
        mut input: Input,
        identities: &BTreeMap<&'static str, BTreeSet<String>>,
        present: &StepSet,
        steps: usize,
        run: &Run<'_>,
    ) -> Result<Held, Error> {
        let mut held = Held::new(run)?;
        while let Some(series) = input.next(run)? {
            let belongs = identities
                .iter()
                .all(|(name, values)| values.contains(series.labels.get(name).unwrap_or_default()));
            if !belongs {
                continue;
            }
            let key = self.index.number(&series.labels);
            if key == self.newest.len() {
                self.newest.push(vec![None; steps]);
            }
            self.names
                .extend(series.labels.metric_name().map(str::to_owned));
            let at = self.series.len();
            self.rank(key, at, &series, present)?;
            held.push(StepSeries {
                values: Vec::new(),
                ..series.clone()
            })?;
            self.series.push(series);
        }
        Ok(held)
    }

    /// Lets a series count at the steps at which it is newer than those before it.
    fn rank(
        &mut self,
        key: usize,
        at: usize,
        series: &StepSeries,
        present: &StepSet,
    ) -> Result<(), Error> {
        let Some(newest) = self.newest.get_mut(key) else {
            return Ok(());
        };
        for (step, (best, taken)) in newest.iter_mut().zip(&series.values).enumerate() {
            if is_absent(*taken) || !present.has(step) {
                continue;
            }
            if series.histograms.has(step) {
                return Err(Error::Execution("info sample should be float".to_owned()));
            }
            let known = best.and_then(|best| self.series.get(best));
            let other = known.and_then(|known| Some((known, *known.values.get(step)?)));
            match other {
                Some((_, other)) if other > *taken => {}
                Some((known, other)) if other == *taken => {
                    return Err(Error::Execution(format!(
                        "found duplicate series for info metric: existing {} @ {other:.0}, new {} \
                         @ {taken:.0}",
                        braces(&known.labels),
                        braces(&series.labels)
                    )));
                }
                _ => *best = Some(at),
            }
        }
        Ok(())
    }

    /// The keys of a series' partners, one for each name.
    fn keys_of(&self, labels: &LabelSet) -> Vec<usize> {
        let key_of = |name: &String| {
            let mut identity = LabelSetBuilder::new();
            identity.set(METRIC_NAME, name);
            for label in IDENTITY {
                identity.set(label, labels.get(label).unwrap_or_default());
            }
            self.index.find(&identity.build())
        };
        self.names.iter().filter_map(key_of).collect()
    }
}

impl Operator for Info {
    fn next(&mut self, run: &Run<'_>) -> Result<Option<StepSeries>, Error> {
        let mut done = match self.done.take() {
            Some(done) => done,
            None => self.join(run)?.into_iter(),
        };
        let next = done.next();
        self.done = Some(done);
        Ok(next)
    }
}
