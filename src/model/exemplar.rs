//! Exemplars: a value with labels of its own (a trace id, mostly) beside a series' samples.

use super::{LabelSet, TimestampMs};

/// One exemplar of a series.
#[derive(Clone, PartialEq, Debug)]
pub struct Exemplar {
    /// Its own labels, such as `trace_id`.
    pub labels: LabelSet,
    /// The observed value.
    pub value: f64,
    /// When it was observed.
    pub timestamp: TimestampMs,
}
