//! Samples of one name and kind: what exposition formats call a family.

use crate::model::{Buckets, Histogram, LabelSet, ResetHint, SCHEMA_CUSTOM, Value};

/// How a sample is shown. In the order in which families of one name stand.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Shape {
    /// A number.
    Float,
    /// A histogram with custom buckets: as a classic one.
    Classic,
    /// A native histogram.
    Native,
}

impl Shape {
    pub(super) fn of(value: &Value) -> Self {
        match value {
            Value::Float(_) => Self::Float,
            Value::Histogram(histogram) if histogram.schema == SCHEMA_CUSTOM => Self::Classic,
            Value::Histogram(_) => Self::Native,
        }
    }
}

/// One sample.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) labels: LabelSet,
    pub(super) at: i64,
    pub(super) value: Value,
    pub(super) shape: Shape,
}

impl Member {
    fn name(&self) -> &str {
        self.labels.metric_name().unwrap_or_default()
    }

    fn is_gauge(&self) -> bool {
        match &self.value {
            Value::Float(_) => false,
            Value::Histogram(histogram) => histogram.reset_hint == ResetHint::Gauge,
        }
    }

    /// What it holds in memory, about.
    pub(super) fn bytes(&self) -> usize {
        let numbers = match &self.value {
            Value::Float(_) => 0,
            Value::Histogram(histogram) => 40 + counts(histogram).0.len() * 2,
        };
        self.labels.text_len() + 160 + numbers * 8
    }
}

/// One family.
#[derive(Clone, Copy)]
pub(super) struct Family<'a> {
    pub(super) name: &'a str,
    pub(super) shape: Shape,
    pub(super) gauge: bool,
    pub(super) members: &'a [Member],
}

/// Sorts samples by name, kind and labels, and gathers them; what several selectors found counts
/// once.
pub(super) fn families(members: &mut Vec<Member>) -> impl Iterator<Item = Family<'_>> {
    members.sort_by(|one, other| {
        let key = |member: &Member| (member.shape, member.is_gauge());
        one.name()
            .cmp(other.name())
            .then_with(|| key(one).cmp(&key(other)))
            .then_with(|| one.labels.cmp(&other.labels))
    });
    members.dedup_by(|one, other| one.labels == other.labels);
    let same = |one: &Member, other: &Member| {
        one.name() == other.name() && one.shape == other.shape && one.is_gauge() == other.is_gauge()
    };
    members.chunk_by(same).filter_map(|members| {
        let first = members.first()?;
        Some(Family {
            name: first.name(),
            shape: first.shape,
            gauge: first.is_gauge(),
            members,
        })
    })
}

/// Counts of the positive buckets, each by itself, and of all observations.
#[allow(clippy::cast_precision_loss, reason = "counts become floats here")]
pub(super) fn counts(histogram: &Histogram) -> (Vec<f64>, f64) {
    match &histogram.buckets {
        Buckets::Integer {
            count, positive, ..
        } => {
            let mut sum = 0_i64;
            let counts = positive.iter().map(|delta| {
                sum = sum.wrapping_add(*delta);
                sum as f64
            });
            (counts.collect(), *count as f64)
        }
        Buckets::Float {
            count, positive, ..
        } => (positive.clone(), *count),
    }
}

/// The bounds of custom buckets with how many observations are not above them.
pub(super) fn cumulative(histogram: &Histogram) -> Vec<(f64, f64)> {
    let (counts, _) = counts(histogram);
    let mut counts = counts.into_iter();
    let mut own = vec![0.0; histogram.custom_values.len()];
    let mut next = 0_i64;
    for span in &histogram.positive_spans {
        next = next.saturating_add(i64::from(span.offset));
        for count in counts.by_ref().take(span.length as usize) {
            let place = usize::try_from(next).ok().and_then(|at| own.get_mut(at));
            // What is above the last bound is in the count alone.
            if let Some(place) = place {
                *place = count;
            }
            next = next.saturating_add(1);
        }
    }
    let mut sum = 0.0;
    let bounds = histogram.custom_values.iter().zip(own);
    bounds
        .map(|(bound, count)| {
            sum += count;
            (*bound, sum)
        })
        .collect()
}
