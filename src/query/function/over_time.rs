//! `*_over_time`: what the samples of a range come to.

use std::cmp::Ordering;

use super::shape::{RangeWindow, Workspace};
use crate::query::Note;
use crate::query::sum::{Mean, Neumaier, Variance};

pub(super) fn avg(window: &RangeWindow<'_>, _: &[f64], _: &mut Workspace) -> Option<f64> {
    let (first, rest) = window.values.split_first()?;
    let mut mean = Mean::from_value(*first);
    rest.iter().for_each(|value| mean.add(*value));
    Some(mean.mean())
}

pub(super) fn sum(window: &RangeWindow<'_>, _: &[f64], _: &mut Workspace) -> Option<f64> {
    let mut sum = Neumaier::default();
    window.values.first()?;
    window.values.iter().for_each(|value| sum.add(*value));
    Some(sum.total())
}

pub(super) fn count(window: &RangeWindow<'_>, _: &[f64], _: &mut Workspace) -> Option<f64> {
    window.values.first()?;
    Some(window.values.len() as f64)
}

pub(super) fn present(window: &RangeWindow<'_>, _: &[f64], _: &mut Workspace) -> Option<f64> {
    window.values.first().map(|_| 1.0)
}

pub(super) fn first(window: &RangeWindow<'_>, _: &[f64], _: &mut Workspace) -> Option<f64> {
    window.values.first().copied()
}

pub(super) fn last(window: &RangeWindow<'_>, _: &[f64], _: &mut Workspace) -> Option<f64> {
    window.values.last().copied()
}

/// A NaN is only kept until another value comes.
fn extreme(window: &RangeWindow<'_>, beats: impl Fn(f64, f64) -> bool) -> Option<f64> {
    let (first, rest) = window.values.split_first()?;
    Some(rest.iter().fold(*first, |best, value| {
        if beats(*value, best) || best.is_nan() {
            *value
        } else {
            best
        }
    }))
}

pub(super) fn max(window: &RangeWindow<'_>, _: &[f64], _: &mut Workspace) -> Option<f64> {
    extreme(window, |value, best| value > best)
}

pub(super) fn min(window: &RangeWindow<'_>, _: &[f64], _: &mut Workspace) -> Option<f64> {
    extreme(window, |value, best| value < best)
}

/// The time of the last sample that is not beaten, in seconds.
fn time_of(window: &RangeWindow<'_>, beats: impl Fn(f64, f64) -> bool) -> Option<f64> {
    let (mut best, mut best_at) = (*window.values.first()?, *window.timestamps.first()?);
    for (value, at) in window.values.iter().zip(window.timestamps) {
        if beats(*value, best) || best.is_nan() {
            (best, best_at) = (*value, *at);
        }
    }
    Some(best_at as f64 / 1000.0)
}

pub(super) fn ts_of_max(window: &RangeWindow<'_>, _: &[f64], _: &mut Workspace) -> Option<f64> {
    time_of(window, |value, best| value >= best)
}

pub(super) fn ts_of_min(window: &RangeWindow<'_>, _: &[f64], _: &mut Workspace) -> Option<f64> {
    time_of(window, |value, best| value <= best)
}

pub(super) fn ts_of_first(window: &RangeWindow<'_>, _: &[f64], _: &mut Workspace) -> Option<f64> {
    window.timestamps.first().map(|at| *at as f64 / 1000.0)
}

pub(super) fn ts_of_last(window: &RangeWindow<'_>, _: &[f64], _: &mut Workspace) -> Option<f64> {
    window.timestamps.last().map(|at| *at as f64 / 1000.0)
}

pub(super) fn stdvar(window: &RangeWindow<'_>, _: &[f64], _: &mut Workspace) -> Option<f64> {
    let mut variance = Variance::default();
    window.values.first()?;
    window.values.iter().for_each(|value| variance.add(*value));
    Some(variance.variance())
}

pub(super) fn stddev(
    window: &RangeWindow<'_>,
    none: &[f64],
    workspace: &mut Workspace,
) -> Option<f64> {
    stdvar(window, none, workspace).map(f64::sqrt)
}

/// The quantile of values, which it reorders. NaN counts as below everything; between two values
/// the result lies on the line. Also for the aggregation `quantile`.
#[must_use]
pub fn quantile(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    let rank = q * (values.len() - 1) as f64;
    let weight = rank - rank.floor();
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and the length of a slice"
    )]
    let below = (rank.floor() as usize).min(values.len() - 1);
    let (_, lower, above) = values.select_nth_unstable_by(below, nan_first);
    let lower = *lower;
    let upper = above.iter().copied().min_by(nan_first).unwrap_or(lower);
    lower * (1.0 - weight) + upper * weight
}

fn nan_first(a: &f64, b: &f64) -> Ordering {
    a.partial_cmp(b)
        .unwrap_or_else(|| b.is_nan().cmp(&a.is_nan()))
}

pub(super) fn quantile_over_time(
    window: &RangeWindow<'_>,
    scalars: &[f64],
    workspace: &mut Workspace,
) -> Option<f64> {
    window.values.first()?;
    let q = *scalars.first()?;
    if !(0.0..=1.0).contains(&q) {
        workspace.notes.add(0, Note::InvalidQuantile(q));
    }
    workspace.scratch.clear();
    workspace.scratch.extend_from_slice(window.values);
    Some(quantile(q, &mut workspace.scratch))
}

/// The median distance from the median; NaN if any value is.
pub(super) fn mad(window: &RangeWindow<'_>, _: &[f64], workspace: &mut Workspace) -> Option<f64> {
    window.values.first()?;
    if window.values.iter().any(|value| value.is_nan()) {
        return Some(f64::NAN);
    }
    let scratch = &mut workspace.scratch;
    scratch.clear();
    scratch.extend_from_slice(window.values);
    let median = quantile(0.5, scratch);
    for value in scratch.iter_mut() {
        *value = (*value - median).abs();
    }
    Some(quantile(0.5, scratch))
}

/// Holt's linear method: a smoothed level and a smoothed trend, one step a sample.
pub(super) fn double_exponential_smoothing(
    window: &RangeWindow<'_>,
    scalars: &[f64],
    workspace: &mut Workspace,
) -> Option<f64> {
    let (&smoothing, &trending) = (scalars.first()?, scalars.get(1)?);
    for (factor, what, short) in [(smoothing, "smoothing", "sf"), (trending, "trend", "tf")] {
        if factor <= 0.0 || factor >= 1.0 {
            workspace.fail(|| {
                format!("invalid {what} factor. Expected: 0 < {short} < 1, got: {factor:.6}")
            });
            return None;
        }
    }
    let [first, second, ..] = *window.values else {
        return None;
    };
    let (mut level, mut trend) = (first, second - first);
    let mut before = 0.0;
    for (at, value) in window.values.iter().skip(1).enumerate() {
        if at > 0 {
            trend = trending * (level - before) + (1.0 - trending) * trend;
        }
        let next = smoothing * value + (1.0 - smoothing) * (level + trend);
        (before, level) = (level, next);
    }
    Some(level)
}

#[cfg(test)]
mod tests {
    use super::super::shape::tests::{assert_close, evaluate};
    use super::*;

    type Function = fn(&RangeWindow<'_>, &[f64], &mut Workspace) -> Option<f64>;
    const NAN: f64 = f64::NAN;
    const INF: f64 = f64::INFINITY;

    fn check(name: &str, function: Function, values: &[f64], scalars: &[f64], want: f64) {
        let samples: Vec<(f64, f64)> = (1..).map(f64::from).zip(values.iter().copied()).collect();
        let end = samples.len() as f64;
        let got = evaluate(function, &samples, (end, end), scalars);
        assert_close(got, Some(want), &format!("{name} {values:?} {scalars:?}"));
    }

    #[test]
    fn results_are_prometheus() {
        check("avg", avg, &[1.0, 2.0, 3.0, 4.0], &[], 2.5);
        check("avg", avg, &[1.0, 1e100, 1.0, -1e100], &[], 0.5);
        check("avg", avg, &[INF, 1.0], &[], INF);
        check("avg", avg, &[INF, -INF], &[], NAN);
        check("avg", avg, &[1.7e308, 1.7e308, 1.7e308], &[], 1.7e308);
        check("sum", sum, &[0.1; 10], &[], 1.0);
        check("sum", sum, &[INF, 1.0], &[], INF);
        check("count", count, &[NAN, 1.0], &[], 2.0);
        check("max", max, &[NAN, 1.0, 3.0, NAN, 2.0], &[], 3.0);
        check("min", min, &[NAN, 1.0, 0.5, NAN], &[], 0.5);
        check("max", max, &[NAN, NAN], &[], NAN);
        check("ts_of_max", ts_of_max, &[3.0, 1.0, 3.0, 2.0], &[], 3.0);
        check("ts_of_min", ts_of_min, &[1.0, 1.0, NAN], &[], 2.0);
        check("ts_of_first", ts_of_first, &[5.0, 6.0], &[], 1.0);
        check("ts_of_last", ts_of_last, &[5.0, 6.0], &[], 2.0);
        check("stdvar", stdvar, &[0.0, 8.0, 8.0, 2.0, 3.0], &[], 10.56);
        check(
            "stddev",
            stddev,
            &[0.0, 8.0, 8.0, 2.0, 3.0],
            &[],
            10.56f64.sqrt(),
        );
        check("stdvar", stdvar, &[INF, 1.0], &[], NAN);
        check("mad", mad, &[4.0, 6.0, 2.0, 1.0, 999.0, 1.0, 2.0], &[], 1.0);
        check("mad", mad, &[4.0, NAN], &[], NAN);
        check("last", last, &[1.0, NAN], &[], NAN);
        check("first", first, &[1.0, NAN], &[], 1.0);
    }

    #[test]
    fn quantiles_interpolate_and_put_nan_first() {
        let values = [0.0, 1.0, 2.0];
        for (q, want) in [
            (0.0, 0.0),
            (0.5, 1.0),
            (0.75, 1.5),
            (0.8, 1.6),
            (1.0, 2.0),
            (-1.0, -INF),
            (2.0, INF),
            (NAN, NAN),
        ] {
            check("quantile", quantile_over_time, &values, &[q], want);
        }
        check(
            "quantile",
            quantile_over_time,
            &[3.0, NAN, 1.0],
            &[0.5],
            1.0,
        );
        check("quantile", quantile_over_time, &[NAN, 1.0], &[1.0], 1.0);
        check("quantile", quantile_over_time, &[INF, 1.0], &[0.0], NAN);
    }

    #[test]
    fn smoothing_follows_holt() {
        // Level and trend by hand, factors 1/2: 10, then 12 (trend 2 stays 2), 14.5 (2 -> 2).
        check(
            "smoothing",
            double_exponential_smoothing,
            &[10.0, 12.0, 15.0],
            &[0.5, 0.5],
            14.5,
        );
        let mut workspace = Workspace::default();
        let window = RangeWindow {
            timestamps: &[1, 2],
            values: &[1.0, 2.0],
            starts: &[],
            range_start_ms: 0,
            range_end_ms: 2,
            step_time_ms: 2,
            reach: super::super::shape::Reach::Within,
            histograms: super::super::shape::HistogramWindow::default(),
        };
        assert!(double_exponential_smoothing(&window, &[1.0, 0.5], &mut workspace).is_none());
        assert_eq!(
            workspace.failure(),
            Some("invalid smoothing factor. Expected: 0 < sf < 1, got: 1.000000")
        );
    }
}
