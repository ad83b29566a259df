//! How functions are called: the shapes of evaluation, one window of a range vector, and what a
//! function has to say beside its result.
//!
//! Functions are pure: they see numbers and times, never series, sources or steps. `exec` brings
//! the numbers and carries the results.

use std::sync::Arc;

use crate::query::histogram::FloatHistogram;
use crate::query::value::SampleValue;
use crate::query::{HistogramNote, Notes};

/// How a function is evaluated.
#[derive(Clone, Copy, Debug)]
pub enum Evaluate {
    /// On every sample of the one vector argument, with the scalar arguments of the same step in
    /// their order. [`ABSENT`](crate::query::value::ABSENT) as result: no sample.
    Sample(fn(f64, &[f64]) -> f64),
    /// On every sample of the vector argument, taken as seconds since the epoch; without the
    /// argument once on the step's time, as a vector with one series without labels.
    Calendar(fn(f64) -> f64),
    /// On one window of one series, with the scalar arguments of the same step in their order:
    /// where all samples are floats, and where some are histograms.
    Range(OverFloats, OverMixed),
    /// On every histogram of the one vector argument; floats are left out.
    Histogram(fn(&FloatHistogram) -> f64),
    /// On the scalar arguments of a step.
    Scalar(fn(&[f64]) -> f64),
    /// On the step's time in milliseconds.
    Step(fn(i64) -> f64),
    /// By an operator of its own.
    Special(Special),
}

/// What a function makes of a window that holds floats only.
pub type OverFloats = fn(&RangeWindow<'_>, &[f64], &mut Workspace) -> Option<f64>;

/// What a function makes of a window that holds histograms, and perhaps floats.
pub type OverMixed = fn(&RangeWindow<'_>, &[f64], &mut Workspace) -> MixedResult;

/// What comes of a window with histograms.
#[derive(Clone, Debug)]
pub enum MixedResult {
    /// Nothing.
    Nothing,
    /// What the function makes of the floats alone, which is to be remarked if there are any.
    OfFloats,
    /// The same without a remark.
    OfFloatsAlone,
    /// This.
    Is(SampleValue),
}

impl From<Option<f64>> for MixedResult {
    fn from(value: Option<f64>) -> Self {
        value.map_or(Self::Nothing, |value| Self::Is(SampleValue::Float(value)))
    }
}

impl From<Option<FloatHistogram>> for MixedResult {
    fn from(value: Option<FloatHistogram>) -> Self {
        value.map_or(Self::Nothing, |histogram| {
            Self::Is(SampleValue::Histogram(Arc::new(histogram)))
        })
    }
}

/// Functions that need an operator of their own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Special {
    /// `absent`: 1 where the vector is empty.
    Absent,
    /// `absent_over_time`: 1 where no series has a sample in its range.
    AbsentOverTime,
    /// `scalar`: the only float of a vector, else NaN.
    Scalar,
    /// `vector`: a scalar as a vector without labels.
    Vector,
    /// `label_replace`; see [`LabelReplace`](super::LabelReplace).
    LabelReplace,
    /// `label_join`; see [`LabelJoin`](super::LabelJoin).
    LabelJoin,
    /// `sort`, `sort_desc`; see [`compare_values`](super::compare_values).
    Sort {
        /// Largest first.
        descending: bool,
    },
    /// `sort_by_label`, `sort_by_label_desc`; see [`compare_labels`](super::compare_labels).
    SortByLabel {
        /// Last first.
        descending: bool,
    },
    /// `histogram_quantile`; see [`bucket_quantile`](super::bucket_quantile).
    HistogramQuantile,
    /// `histogram_quantiles`: several, told apart by a label.
    HistogramQuantiles,
    /// `histogram_fraction`; see [`bucket_fraction`](super::bucket_fraction).
    HistogramFraction,
    /// `timestamp`: when the sample was taken, for a selector; else the step's time.
    Timestamp,
    /// `start_timestamp`: empty unless start timestamps take part in queries.
    StartTimestamp,
    /// `info`: labels of info series joined to others.
    Info,
    /// A number known when the query is planned.
    QueryContext(QueryContext),
}

/// What `start()`, `end()`, `step()` and `range()` stand for, in seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum QueryContext {
    /// The first step's time.
    Start,
    /// The last step's time.
    End,
    /// Between two steps; 0 for an instant query.
    Step,
    /// From the first step to the last.
    Range,
}

/// How far a range selector reaches beyond its range (the experimental modifiers `anchored` and
/// `smoothed`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Reach {
    /// Left-open, right-closed, nothing else.
    #[default]
    Within,
    /// Also the samples of one lookback before the range.
    Anchored,
    /// Also the samples of one lookback before and after the range.
    Smoothed,
}

/// The histograms of one series in one range, oldest first.
#[derive(Clone, Copy, Debug, Default)]
pub struct HistogramWindow<'a> {
    /// Milliseconds, strictly rising.
    pub timestamps: &'a [i64],
    /// As many histograms.
    pub values: &'a [Arc<FloatHistogram>],
    /// Start timestamps (0: none), as many; empty unless they take part in queries.
    pub starts: &'a [i64],
}

impl HistogramWindow<'_> {
    /// Time and histogram at a position.
    pub(super) fn get(&self, at: usize) -> Option<(i64, &Arc<FloatHistogram>)> {
        Some((*self.timestamps.get(at)?, self.values.get(at)?))
    }

    /// The start timestamp of a histogram, 0 when it has none.
    pub(super) fn start_at(&self, at: usize) -> i64 {
        self.starts.get(at).copied().unwrap_or(0)
    }
}

/// The samples of one series in one range, oldest first and without stale markers: floats, and
/// the histograms beside them.
#[derive(Clone, Copy, Debug)]
pub struct RangeWindow<'a> {
    /// Milliseconds, strictly rising, as many as `values`.
    pub timestamps: &'a [i64],
    /// The values.
    pub values: &'a [f64],
    /// Start timestamps (0: none), as many as `values`; empty unless start timestamps take part
    /// in queries, which Prometheus does not do by default.
    pub starts: &'a [i64],
    /// Where the range begins (this millisecond is outside), `@` and `offset` considered.
    pub range_start_ms: i64,
    /// Where the range ends (this millisecond is inside), `@` and `offset` considered.
    pub range_end_ms: i64,
    /// The step for which this is evaluated.
    pub step_time_ms: i64,
    /// What else than the range the samples cover.
    pub reach: Reach,
    /// The histograms.
    pub histograms: HistogramWindow<'a>,
}

impl RangeWindow<'_> {
    /// The length of the range in seconds.
    #[must_use]
    pub(super) fn range_seconds(&self) -> f64 {
        let length = self.range_end_ms.saturating_sub(self.range_start_ms);
        seconds(length)
    }

    /// The start timestamp of a sample, 0 when it has none.
    pub(super) fn start_at(&self, at: usize) -> i64 {
        self.starts.get(at).copied().unwrap_or(0)
    }

    /// Whether a start lies within the range and before the first sample.
    pub(super) fn has_start(&self, started_at: i64, first_at: i64) -> bool {
        started_at != 0 && started_at > self.range_start_ms && started_at < first_at
    }
}

/// Milliseconds as seconds, whole ones exact.
pub(super) fn seconds(ms: i64) -> f64 {
    (ms / 1000) as f64 + (ms % 1000) as f64 / 1000.0
}

/// What functions of ranges work in and leave behind. One serves all windows of a call, so that a
/// window costs no allocation.
#[derive(Debug, Default)]
pub struct Workspace {
    /// Remarks; the caller says which metric they are [about](Notes::about).
    pub notes: Notes,
    /// For functions that must reorder values; no meaning between calls.
    pub(super) scratch: Vec<f64>,
    failure: Option<String>,
}

impl Workspace {
    /// With notes for a call whose arguments begin at certain positions.
    #[must_use]
    pub fn new(notes: Notes) -> Self {
        Self {
            notes,
            scratch: Vec::new(),
            failure: None,
        }
    }

    /// Says something about the metric at hand, at the first argument.
    pub(super) fn note(&mut self, note: impl FnOnce(String) -> HistogramNote) {
        let metric = self.notes.metric().to_owned();
        self.notes.add(0, note(metric).into());
    }

    /// Makes the whole query fail.
    pub(super) fn fail(&mut self, reason: impl FnOnce() -> String) {
        self.failure.get_or_insert_with(reason);
    }

    /// Why the whole query must fail, if it must: to be asked at least once a series.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    #[allow(clippy::cast_possible_truncation, reason = "tests use small times")]
    fn ms(seconds: f64) -> i64 {
        (seconds * 1000.0) as i64
    }

    /// A window over samples given as (seconds, value), with the range ending at `end_s`.
    pub(in super::super) fn evaluate(
        function: fn(&RangeWindow<'_>, &[f64], &mut Workspace) -> Option<f64>,
        samples: &[(f64, f64)],
        (range_s, end_s): (f64, f64),
        scalars: &[f64],
    ) -> Option<f64> {
        let timestamps: Vec<i64> = samples.iter().map(|s| ms(s.0)).collect();
        let values: Vec<f64> = samples.iter().map(|s| s.1).collect();
        let end = ms(end_s);
        let window = RangeWindow {
            timestamps: &timestamps,
            values: &values,
            starts: &[],
            range_start_ms: end - ms(range_s),
            range_end_ms: end,
            step_time_ms: end,
            reach: Reach::Within,
            histograms: HistogramWindow::default(),
        };
        function(&window, scalars, &mut Workspace::default())
    }

    /// Asserts equality to 1e-12 relative; NaN equals NaN.
    pub(in super::super) fn assert_close(got: Option<f64>, want: Option<f64>, what: &str) {
        let close = match (got, want) {
            (None, None) => true,
            (Some(a), Some(b)) => {
                (a.is_nan() && b.is_nan())
                    || a == b
                    || (a - b).abs() <= 1e-12 * a.abs().max(b.abs())
            }
            _ => false,
        };
        assert!(close, "{what}: got {got:?}, want {want:?}");
    }
}
