//! What the head's series consist of, by name and by label: what a person asks who wonders where
//! all the series come from.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::head::HeadView;
use super::whole::Store;
use crate::model::TenantId;

/// The label of a metric's name.
const METRIC_NAME: &str = "__name__";

/// A tenant's series in the head. Lists are sorted, most first, and cut off at a limit.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Cardinality {
    /// Series.
    pub series: u64,
    /// Different label pairs.
    pub label_pairs: u64,
    /// Series by metric name.
    pub series_by_metric: Vec<(String, u64)>,
    /// Different values by label name.
    pub values_by_label: Vec<(String, u64)>,
    /// Bytes of the different values by label name.
    pub bytes_by_label: Vec<(String, u64)>,
    /// Series by label pair, as `name=value`.
    pub series_by_pair: Vec<(String, u64)>,
}

impl Store {
    /// What a tenant's series in the head consist of; at most `limit` entries a list. It looks at
    /// every label pair once.
    #[must_use]
    pub fn cardinality(&self, tenant: &TenantId, limit: usize) -> Cardinality {
        of(&self.head.view(), tenant, limit)
    }
}

pub(super) fn of(view: &HeadView, tenant: &TenantId, limit: usize) -> Cardinality {
    // A pair may be in several shards.
    let mut pairs: BTreeMap<(Arc<str>, Arc<str>), u64> = BTreeMap::new();
    let series = view.each_pair(tenant, |name, value, series| {
        *pairs
            .entry((Arc::clone(name), Arc::clone(value)))
            .or_default() += series;
    });
    let mut labels: BTreeMap<Arc<str>, (u64, u64)> = BTreeMap::new();
    for (name, value) in pairs.keys() {
        let (values, bytes) = labels.entry(Arc::clone(name)).or_default();
        *values += 1;
        *bytes += value.len() as u64;
    }
    let metrics = pairs.iter().filter(|((name, _), _)| &**name == METRIC_NAME);
    Cardinality {
        series,
        label_pairs: pairs.len() as u64,
        series_by_metric: top(
            limit,
            metrics.map(|((_, value), n)| (value.to_string(), *n)),
        ),
        values_by_label: top(
            limit,
            labels.iter().map(|(name, n)| (name.to_string(), n.0)),
        ),
        bytes_by_label: top(
            limit,
            labels.iter().map(|(name, n)| (name.to_string(), n.1)),
        ),
        series_by_pair: top(
            limit,
            pairs
                .iter()
                .map(|((name, value), n)| (format!("{name}={value}"), *n)),
        ),
    }
}

/// The entries with the largest numbers; of equal ones the first by name.
fn top(limit: usize, entries: impl Iterator<Item = (String, u64)>) -> Vec<(String, u64)> {
    let mut all: Vec<(String, u64)> = entries.collect();
    all.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    all.truncate(limit);
    all
}
