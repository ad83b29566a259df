//! What expressions evaluate to, over all steps of a query at once.

use crate::model::{LabelSet, STALE_NAN_BITS, TimestampMs};

/// The type of an expression.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum ValueType {
    /// One number a step.
    Scalar,
    /// Series with one number a step: an instant vector.
    Vector,
    /// Series with the samples of a range: a range vector.
    Matrix,
    /// A text.
    String,
}

impl ValueType {
    /// The word that Prometheus' API uses for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Vector => "vector",
            Self::Matrix => "matrix",
            Self::String => "string",
        }
    }

    /// The words that Prometheus' error messages use for it.
    #[must_use]
    pub const fn documented(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Vector => "instant vector",
            Self::Matrix => "range vector",
            Self::String => "string",
        }
    }
}

/// The times at which a query is evaluated: `start`, `start + step`, and so on. An instant query
/// has one step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Steps {
    /// The first time.
    pub start: TimestampMs,
    /// Milliseconds between two; at least 1.
    pub step_ms: i64,
    /// How many there are; at least 1.
    pub count: usize,
    /// The end that was asked for: no step is after it, the last may be before it.
    pub until: TimestampMs,
}

impl Steps {
    /// One step.
    #[must_use]
    pub const fn instant(at: TimestampMs) -> Self {
        Self {
            start: at,
            step_ms: 1,
            count: 1,
            until: at,
        }
    }

    /// Whether one moment was asked for, and not a range that happens to hold one.
    #[must_use]
    pub fn is_instant(&self) -> bool {
        self.start == self.until
    }

    /// The time of a step.
    #[must_use]
    pub fn at(&self, step: usize) -> TimestampMs {
        let step = i64::try_from(step).unwrap_or(i64::MAX);
        self.start.plus_ms(self.step_ms.saturating_mul(step))
    }

    /// The time of the last step.
    #[must_use]
    pub fn end(&self) -> TimestampMs {
        self.at(self.count.saturating_sub(1))
    }

    /// The times of all steps, in milliseconds.
    pub fn iter(&self) -> impl Iterator<Item = i64> + use<> {
        let steps = *self;
        (0..steps.count).map(move |step| steps.at(step).0)
    }
}

/// Marks a step without a value. The stale marker never survives a selector, and arithmetic never
/// makes a signalling NaN, so no present value has these bits.
pub const ABSENT: f64 = f64::from_bits(STALE_NAN_BITS);

/// Whether a step has no value.
#[must_use]
pub const fn is_absent(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}

/// One series of an instant vector, over all steps.
#[derive(Clone, Debug)]
pub struct StepSeries {
    /// Its labels.
    pub labels: LabelSet,
    /// The metric name is to be removed at the end (Prometheus' delayed name removal).
    pub drop_name: bool,
    /// One value a step, [`ABSENT`] where there is none.
    pub values: Vec<f64>,
}
