//! Functions of windows with native histograms: `*_over_time`, `changes`, `resets`; and numbers
//! of single histograms.

use std::sync::Arc;

use super::rate::starts_anew;
use super::shape::{MixedResult, RangeWindow, Reach, Workspace, seconds};
use crate::model::ResetHint;
use crate::query::histogram::{
    FloatHistogram, HistogramMean, HistogramSum, Incompatible, Outcome, variance,
};
use crate::query::value::SampleValue;
use crate::query::{HistogramNote, Operation};

/// Functions that know nothing of histograms.
pub(super) fn ignored(_: &RangeWindow<'_>, _: &[f64], _: &mut Workspace) -> MixedResult {
    MixedResult::OfFloats
}

pub(super) fn count(histogram: &FloatHistogram) -> f64 {
    histogram.count()
}

pub(super) fn sum(histogram: &FloatHistogram) -> f64 {
    histogram.sum()
}

pub(super) fn mean(histogram: &FloatHistogram) -> f64 {
    histogram.sum() / histogram.count()
}

pub(super) fn stdvar(histogram: &FloatHistogram) -> f64 {
    variance(histogram)
}

pub(super) fn stddev(histogram: &FloatHistogram) -> f64 {
    variance(histogram).sqrt()
}

pub(super) fn count_over_time(
    window: &RangeWindow<'_>,
    _: &[f64],
    _: &mut Workspace,
) -> MixedResult {
    let count = window.values.len() + window.histograms.values.len();
    Some(count as f64).into()
}

pub(super) fn present_over_time(_: &RangeWindow<'_>, _: &[f64], _: &mut Workspace) -> MixedResult {
    Some(1.0).into()
}

pub(super) fn first_over_time(
    window: &RangeWindow<'_>,
    _: &[f64],
    _: &mut Workspace,
) -> MixedResult {
    points(window, (0, 0)).next().into()
}

pub(super) fn last_over_time(
    window: &RangeWindow<'_>,
    _: &[f64],
    _: &mut Workspace,
) -> MixedResult {
    let histograms = &window.histograms;
    let last = histograms.values.last();
    match (window.values.last(), last) {
        (Some(float), _) if window.timestamps.last() > histograms.timestamps.last() => {
            Some(*float).into()
        }
        (_, Some(last)) => MixedResult::Is(SampleValue::Histogram(Arc::clone(last))),
        _ => MixedResult::Nothing,
    }
}

pub(super) fn ts_of_first(window: &RangeWindow<'_>, _: &[f64], _: &mut Workspace) -> MixedResult {
    let firsts = [
        window.timestamps.first(),
        window.histograms.timestamps.first(),
    ];
    let first = firsts.into_iter().flatten().min();
    first.map(|at| seconds(*at)).into()
}

pub(super) fn ts_of_last(window: &RangeWindow<'_>, _: &[f64], _: &mut Workspace) -> MixedResult {
    let lasts = [
        window.timestamps.last(),
        window.histograms.timestamps.last(),
    ];
    let last = lasts.into_iter().flatten().max();
    last.map(|at| seconds(*at)).into()
}

/// Whether a window holds floats, too, which is remarked.
pub(super) fn is_mixed(window: &RangeWindow<'_>, workspace: &mut Workspace) -> bool {
    let mixed = !window.values.is_empty();
    if mixed {
        workspace.note(HistogramNote::MixedRange);
    }
    mixed
}

/// What is seen while histograms are gathered.
#[derive(Default)]
struct Seen {
    reset: bool,
    no_reset: bool,
    reconciled: bool,
}

impl Seen {
    fn look_at(&mut self, histogram: &FloatHistogram) {
        self.reset |= histogram.hint() == ResetHint::Yes;
        self.no_reset |= histogram.hint() == ResetHint::No;
    }
}

/// Gathers the histograms of a window.
fn gathered<T>(
    window: &RangeWindow<'_>,
    workspace: &mut Workspace,
    begin: impl FnOnce(FloatHistogram) -> T,
    add: impl Fn(&mut T, &FloatHistogram) -> Result<Outcome, Incompatible>,
) -> Option<T> {
    if is_mixed(window, workspace) {
        return None;
    }
    let (first, rest) = window.histograms.values.split_first()?;
    let mut seen = Seen::default();
    seen.look_at(first);
    let mut gathered = begin(FloatHistogram::clone(first));
    for histogram in rest {
        seen.look_at(histogram);
        match add(&mut gathered, histogram) {
            Ok(outcome) => seen.reconciled |= outcome.reconciled,
            Err(Incompatible) => {
                workspace.note(HistogramNote::MixedSchemas);
                return None;
            }
        }
    }
    if seen.reset && seen.no_reset {
        workspace.note(|_| HistogramNote::ResetCollision(Operation::Aggregation));
    }
    if seen.reconciled {
        workspace.note(|_| HistogramNote::Reconciled(Operation::Aggregation));
    }
    Some(gathered)
}

pub(super) fn sum_over_time(
    window: &RangeWindow<'_>,
    _: &[f64],
    workspace: &mut Workspace,
) -> MixedResult {
    let sum = gathered(window, workspace, HistogramSum::of, HistogramSum::add);
    sum.map(HistogramSum::total).into()
}

pub(super) fn avg_over_time(
    window: &RangeWindow<'_>,
    _: &[f64],
    workspace: &mut Workspace,
) -> MixedResult {
    let mean = gathered(window, workspace, HistogramMean::of, HistogramMean::add);
    mean.map(HistogramMean::mean).into()
}

/// A sample of a window, whatever it holds.
#[derive(Clone, Copy)]
struct Point<'a> {
    at: i64,
    start: i64,
    value: PointValue<'a>,
}

#[derive(Clone, Copy)]
enum PointValue<'a> {
    Float(f64),
    Histogram(&'a Arc<FloatHistogram>),
}

impl From<Option<Point<'_>>> for MixedResult {
    fn from(point: Option<Point<'_>>) -> Self {
        match point.map(|point| point.value) {
            None => Self::Nothing,
            Some(PointValue::Float(value)) => Self::Is(SampleValue::Float(value)),
            Some(PointValue::Histogram(histogram)) => {
                Self::Is(SampleValue::Histogram(Arc::clone(histogram)))
            }
        }
    }
}

/// Floats and histograms of a window in the order of time, but for some first ones of each.
fn points<'a>(window: &RangeWindow<'a>, skip: (usize, usize)) -> impl Iterator<Item = Point<'a>> {
    let window = *window;
    let (mut float, mut histogram) = skip;
    std::iter::from_fn(move || {
        let next_float = window.timestamps.get(float).copied();
        let next_histogram = window.histograms.timestamps.get(histogram).copied();
        let float_first = match (next_float, next_histogram) {
            (Some(float), Some(histogram)) => float < histogram,
            (float, _) => float.is_some(),
        };
        if float_first {
            let point = Point {
                at: next_float?,
                start: window.start_at(float),
                value: PointValue::Float(*window.values.get(float)?),
            };
            float += 1;
            return Some(point);
        }
        let point = Point {
            at: next_histogram?,
            start: window.histograms.start_at(histogram),
            value: PointValue::Histogram(window.histograms.values.get(histogram)?),
        };
        histogram += 1;
        Some(point)
    })
}

/// How many floats and histograms precede the anchor: the last sample at or before the range.
/// Nothing when no sample lies within the range.
fn before_anchor(window: &RangeWindow<'_>) -> Option<(usize, usize)> {
    if window.reach != Reach::Anchored {
        return Some((0, 0));
    }
    let before = |times: &[i64]| times.partition_point(|at| *at <= window.range_start_ms);
    let histograms = window.histograms.timestamps;
    let (floats, others) = (before(window.timestamps), before(histograms));
    if floats >= window.timestamps.len() && others >= histograms.len() {
        return None;
    }
    let last =
        |times: &[i64], count: usize| count.checked_sub(1).and_then(|at| times.get(at).copied());
    Some(
        match (last(window.timestamps, floats), last(histograms, others)) {
            (None, None) => (0, 0),
            (Some(float), histogram) if histogram.is_none_or(|at| float >= at) => {
                (floats - 1, others)
            }
            _ => (floats, others.saturating_sub(1)),
        },
    )
}

/// How many neighbours are as asked for.
fn neighbours(
    window: &RangeWindow<'_>,
    are: impl Fn(&Point<'_>, &Point<'_>) -> bool,
) -> Option<f64> {
    let mut points = points(window, before_anchor(window)?);
    let mut before = points.next()?;
    let mut count = 0_u32;
    for now in points {
        count += u32::from(are(&before, &now));
        before = now;
    }
    Some(f64::from(count))
}

pub(super) fn changes(window: &RangeWindow<'_>, _: &[f64], _: &mut Workspace) -> MixedResult {
    neighbours(window, |before, now| match (before.value, now.value) {
        (PointValue::Float(before), PointValue::Float(now)) => {
            now != before && !(now.is_nan() && before.is_nan())
        }
        (PointValue::Histogram(before), PointValue::Histogram(now)) => !now.same(before),
        _ => true,
    })
    .into()
}

pub(super) fn resets(window: &RangeWindow<'_>, _: &[f64], _: &mut Workspace) -> MixedResult {
    neighbours(window, |before, now| {
        let anew = starts_anew((before.start, before.at), (now.start, now.at));
        match (before.value, now.value) {
            (PointValue::Float(before), PointValue::Float(now)) => now < before || anew,
            (PointValue::Histogram(before), PointValue::Histogram(now)) => {
                anew || now.is_reset_since(before)
            }
            _ => true,
        }
    })
    .into()
}
