//! Parts of answers as values: ends, failures, metadata, exemplars.

use std::time::Duration;

use super::messages::{Unreadable, wire};
use crate::model::{Exemplar, LabelSet, Metadata, MetricKind, TimestampMs};
use crate::runtime::{BudgetError, Cancelled};
use crate::source::{FamilyMetadata, LabelPairs, SeriesExemplars, SourceError};

/// An error as a message, and back: a query is told the same wherever it happened.
pub(super) fn put_failure(error: &SourceError) -> wire::Failure {
    let (kind, limit) = match error {
        SourceError::Cancelled(Cancelled::Cancelled) => (1, 0),
        SourceError::Cancelled(Cancelled::TimedOut(after)) => {
            (2, u64::try_from(after.as_millis()).unwrap_or(u64::MAX))
        }
        SourceError::Budget(BudgetError::Samples { limit }) => (3, *limit),
        SourceError::Budget(BudgetError::Memory { limit }) => (4, *limit),
        // The query asks for no more than it may: others do, here and now.
        SourceError::Unavailable(_) | SourceError::Budget(BudgetError::Shared { .. }) => (5, 0),
        SourceError::Corrupt(_) => (6, 0),
    };
    wire::Failure {
        kind,
        text: error.to_string(),
        limit,
    }
}

pub(super) fn take_failure(failure: wire::Failure) -> SourceError {
    let limit = failure.limit;
    match failure.kind {
        1 => SourceError::Cancelled(Cancelled::Cancelled),
        2 => SourceError::Cancelled(Cancelled::TimedOut(Duration::from_millis(limit))),
        3 => SourceError::Budget(BudgetError::Samples { limit }),
        4 => SourceError::Budget(BudgetError::Memory { limit }),
        6 => SourceError::Corrupt(failure.text),
        _ => SourceError::Unavailable(failure.text),
    }
}

fn put_labels(labels: &LabelSet) -> Vec<wire::Label> {
    let each = labels.iter().map(|(name, value)| wire::Label {
        name: name.to_owned(),
        value: value.to_owned(),
    });
    each.collect()
}

fn take_labels(labels: &[wire::Label]) -> Result<LabelSet, Unreadable> {
    let pairs: Vec<(&str, &str)> = labels
        .iter()
        .map(|label| (label.name.as_str(), label.value.as_str()))
        .collect();
    LabelSet::from_pairs(&pairs).map_err(|error| Unreadable(error.to_string()))
}

pub(super) fn put_family((name, list): &FamilyMetadata) -> wire::Family {
    let metadata = list.iter().map(|one| wire::Metadata {
        kind: one.kind as u32,
        help: one.help.clone(),
        unit: one.unit.clone(),
    });
    wire::Family {
        name: name.clone(),
        metadata: metadata.collect(),
    }
}

pub(super) fn take_family(family: wire::Family) -> FamilyMetadata {
    let metadata = family.metadata.into_iter().map(|one| Metadata {
        kind: MetricKind::from_number(u64::from(one.kind)),
        help: one.help,
        unit: one.unit,
    });
    (family.name, metadata.collect())
}

/// Label pairs of one message: some 40 bytes each.
const PAIRS: usize = 4096;

/// Messages with label pairs.
pub(super) fn put_pairs(found: &LabelPairs) -> Vec<wire::Part> {
    let each = found
        .pairs
        .iter()
        .map(|((name, value), series)| wire::LabelPair {
            name: name.to_string(),
            value: value.to_string(),
            series: *series,
        });
    let all: Vec<wire::LabelPair> = each.collect();
    let part = |some: &[wire::LabelPair]| wire::Part {
        pairs: some.to_vec(),
        ..wire::Part::default()
    };
    all.chunks(PAIRS).map(part).collect()
}

pub(super) fn put_exemplars((labels, list): &SeriesExemplars) -> wire::SeriesExemplars {
    let exemplars = list.iter().map(|one| wire::Exemplar {
        labels: put_labels(&one.labels),
        value_bits: one.value.to_bits(),
        timestamp: one.timestamp.0,
    });
    wire::SeriesExemplars {
        labels: put_labels(labels),
        exemplars: exemplars.collect(),
    }
}

pub(super) fn take_exemplars(
    series: &wire::SeriesExemplars,
) -> Result<SeriesExemplars, Unreadable> {
    let exemplars = series.exemplars.iter().map(|one| {
        Ok(Exemplar {
            labels: take_labels(&one.labels)?,
            value: f64::from_bits(one.value_bits),
            timestamp: TimestampMs(one.timestamp),
        })
    });
    Ok((
        take_labels(&series.labels)?,
        exemplars.collect::<Result<_, Unreadable>>()?,
    ))
}
