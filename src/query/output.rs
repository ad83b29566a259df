//! Answers, and what they took.

use std::sync::Arc;
use std::time::Duration;

use super::annotations::Annotations;
use super::histogram::FloatHistogram;
use super::profile::OperatorStats;
use super::value::{SampleValue, ValueType};
use crate::model::{LabelSet, TimestampMs};
use crate::runtime::Reservation;

/// An answer.
#[derive(Clone, Debug)]
pub struct QueryOutput {
    /// What came out.
    pub value: QueryValue,
    /// What it wants to be read with; positions are in the query's text.
    pub annotations: Annotations,
    /// There were more series than the limit let through.
    pub truncated: bool,
    /// What it took.
    pub stats: QueryStats,
    /// What each operator did, where that was asked for.
    pub operators: Vec<OperatorStats>,
    /// What the answer takes of the query's memory for as long as it is there.
    pub held: Option<Arc<Reservation>>,
}

/// What an expression amounts to.
#[derive(Clone, Debug)]
pub enum QueryValue {
    /// A number, at the time of the question.
    Scalar(TimestampMs, f64),
    /// A text.
    Text(TimestampMs, String),
    /// Series with one value each, all at the time of the question.
    Vector(TimestampMs, Vec<(LabelSet, SampleValue)>),
    /// Series with many values.
    Matrix(Vec<MatrixSeries>),
}

impl QueryValue {
    /// What it takes in memory, about.
    pub(super) fn bytes(&self) -> u64 {
        let labels = |labels: &LabelSet| labels.text_len() + 128;
        let bytes: usize = match self {
            Self::Scalar(..) => 0,
            Self::Text(_, text) => text.len(),
            Self::Vector(_, samples) => samples.iter().map(|(of, _)| labels(of)).sum(),
            Self::Matrix(series) => series
                .iter()
                .map(|one| {
                    let numbers = one.timestamps.len() + one.values.len();
                    let histograms = one.histograms.iter().map(|(_, one)| one.bytes() + 16);
                    labels(&one.labels) + numbers * 8 + histograms.sum::<usize>()
                })
                .sum(),
        };
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }

    /// Its type's name in the answer.
    #[must_use]
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::Scalar(..) => ValueType::Scalar.name(),
            Self::Text(..) => ValueType::String.name(),
            Self::Vector(..) => ValueType::Vector.name(),
            Self::Matrix(_) => ValueType::Matrix.name(),
        }
    }
}

/// One series of a matrix.
#[derive(Clone, Debug)]
pub struct MatrixSeries {
    /// Its labels.
    pub labels: LabelSet,
    /// Milliseconds, rising.
    pub timestamps: Vec<i64>,
    /// As many values.
    pub values: Vec<f64>,
    /// Native histograms with their times, rising; none of them where a value is.
    pub histograms: Vec<(i64, Arc<FloatHistogram>)>,
}

/// What a query took.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct QueryStats {
    /// Waiting for its turn.
    pub queue: Duration,
    /// Parsing and planning.
    pub prepare: Duration,
    /// Evaluation, storage included.
    pub evaluate: Duration,
    /// Bringing the result into order.
    pub sort: Duration,
    /// All of it.
    pub total: Duration,
    /// Samples looked at, as Prometheus counts them: a sample counts for every window it is in.
    pub total_queryable_samples: u64,
    /// Samples looked at, each once for a selector.
    pub samples_read: u64,
    /// The most samples held at a time.
    pub peak_samples: u64,
    /// Bytes of blocks that were fetched from the bucket.
    pub bucket_bytes: u64,
    /// Steps that were known from answers that are kept.
    pub known_steps: usize,
}
