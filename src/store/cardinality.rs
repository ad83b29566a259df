//! What the head's series consist of, by name and by label: what a person asks who wonders where
//! all the series come from.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::head::HeadView;
use crate::model::TenantId;
use crate::source::{LabelPairs, ReadContext, SourceError};

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

/// The label pairs of a tenant's series in a head. It looks at every pair once.
pub(super) fn label_pairs(
    view: &HeadView,
    tenant: &TenantId,
    context: &ReadContext,
) -> Result<LabelPairs, SourceError> {
    context.cancel.check()?;
    let mut found = LabelPairs::default();
    // A pair may be in several shards.
    found.series = view.each_pair(tenant, |name, value, series| found.add(name, value, series));
    Ok(found)
}

impl Cardinality {
    /// What these label pairs say; at most `limit` entries a list.
    #[must_use]
    pub fn of(found: &LabelPairs, limit: usize) -> Self {
        let (series, pairs) = (found.series, &found.pairs);
        let mut labels: BTreeMap<Arc<str>, (u64, u64)> = BTreeMap::new();
        for (name, value) in pairs.keys() {
            let (values, bytes) = labels.entry(Arc::clone(name)).or_default();
            *values += 1;
            *bytes += value.len() as u64;
        }
        let metrics = pairs.iter().filter(|((name, _), _)| &**name == METRIC_NAME);
        Self {
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
}

/// The entries with the largest numbers; of equal ones the first by name.
fn top(limit: usize, entries: impl Iterator<Item = (String, u64)>) -> Vec<(String, u64)> {
    let mut all: Vec<(String, u64)> = entries.collect();
    all.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    all.truncate(limit);
    all
}
