//! What expressions evaluate to, over all steps of a query at once.

use std::sync::Arc;

use crate::model::{LabelSet, STALE_NAN_BITS, TimestampMs};

use super::histogram::FloatHistogram;

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
    pub fn iter(&self) -> impl Iterator<Item = i64> + Clone + use<> {
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

/// One sample of a result.
#[derive(Clone, Debug)]
pub enum SampleValue {
    /// A number.
    Float(f64),
    /// A native histogram.
    Histogram(Arc<FloatHistogram>),
}

/// The histograms of a series by step. Most series have none, and then nothing is held.
#[derive(Clone, Debug, Default)]
pub struct StepHistograms(Vec<Option<Arc<FloatHistogram>>>);

impl StepHistograms {
    /// None.
    #[must_use]
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The one of a step.
    #[must_use]
    pub fn get(&self, step: usize) -> Option<&Arc<FloatHistogram>> {
        self.0.get(step)?.as_ref()
    }

    /// Whether a step has one.
    #[must_use]
    pub fn has(&self, step: usize) -> bool {
        self.get(step).is_some()
    }

    /// Puts one at a step of so many.
    pub fn set(&mut self, step: usize, steps: usize, histogram: Arc<FloatHistogram>) {
        if self.0.len() < steps {
            self.0.resize(steps, None);
        }
        if let Some(slot) = self.0.get_mut(step) {
            *slot = Some(histogram);
        }
    }

    /// Keeps those of some steps.
    pub fn retain(&mut self, keep: impl Fn(usize) -> bool) {
        let mut some = false;
        for (step, slot) in self.0.iter_mut().enumerate() {
            if slot.is_some() && !keep(step) {
                *slot = None;
            }
            some |= slot.is_some();
        }
        if !some {
            self.clear();
        }
    }

    /// Removes all.
    pub fn clear(&mut self) {
        self.0 = Vec::new();
    }

    /// Changes each.
    pub fn change(&mut self, change: impl Fn(&mut FloatHistogram)) {
        for histogram in self.0.iter_mut().flatten() {
            change(Arc::make_mut(histogram));
        }
    }

    /// All with their steps.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &Arc<FloatHistogram>)> {
        let steps = self.0.iter().enumerate();
        steps.filter_map(|(step, slot)| Some((step, slot.as_ref()?)))
    }
}

/// One series of an instant vector, over all steps.
#[derive(Clone, Debug)]
pub struct StepSeries {
    /// Its labels.
    pub labels: LabelSet,
    /// The metric name is to be removed at the end (Prometheus' delayed name removal).
    pub drop_name: bool,
    /// One value a step, [`ABSENT`] where there is none or a histogram.
    pub values: Vec<f64>,
    /// The histograms.
    pub histograms: StepHistograms,
}

impl StepSeries {
    /// A series without histograms.
    #[must_use]
    pub fn floats(labels: LabelSet, drop_name: bool, values: Vec<f64>) -> Self {
        Self {
            labels,
            drop_name,
            values,
            histograms: StepHistograms::default(),
        }
    }

    /// Whether a step has a number or a histogram.
    #[must_use]
    pub fn has(&self, step: usize) -> bool {
        let float = self
            .values
            .get(step)
            .is_some_and(|value| !is_absent(*value));
        float || self.histograms.has(step)
    }

    /// Whether no step has anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.histograms.is_empty() && self.values.iter().all(|value| is_absent(*value))
    }
}
