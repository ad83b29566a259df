//! The last step: names that were to be dropped go, and pieces of one label set become one series.

use std::sync::Arc;

use crate::model::LabelSet;
use crate::query::error::Error;
use crate::query::function::{RangeWindow, Reach};
use crate::query::histogram::FloatHistogram;
use crate::query::value::{StepHistograms, StepSeries};

use super::labels::{Distinct, StepSet, drop_metric};
use super::operator::{Held, Input, Run};
use super::pieces::joined;
use super::range::RangeSource;
use super::times::between;
use super::window::{RangeSamples, Walk, Windows};

/// All series that an operator has, each label set once, in the order in which they came.
pub(in crate::query) fn gather(mut input: Input, run: &Run<'_>) -> Result<Vec<StepSeries>, Error> {
    let mut held = Held::all(&mut input, run)?;
    let mut series = std::mem::take(&mut held.series);
    if run.habits.delayed_names {
        for one in series.iter_mut().filter(|one| one.drop_name) {
            one.labels = drop_metric(&one.labels);
        }
    }
    joined(series)
}

/// The samples of a series.
pub(in crate::query) struct Raw {
    /// Its labels.
    pub(in crate::query) labels: LabelSet,
    /// Milliseconds.
    pub(in crate::query) timestamps: Vec<i64>,
    /// The values.
    pub(in crate::query) values: Vec<f64>,
    /// The histograms with their times.
    pub(in crate::query) histograms: Vec<(i64, Arc<FloatHistogram>)>,
}

/// The samples of a range vector at one step: what an instant query for a range answers with.
pub(super) fn collect(
    windows: Windows,
    mut source: Box<dyn RangeSource>,
    stored: bool,
    run: &Run<'_>,
) -> Result<Vec<Raw>, Error> {
    let mut all: Vec<Raw> = Vec::new();
    let mut reservation = run.reservation()?;
    let mut samples = RangeSamples::default();
    let mut distinct = Distinct::default();
    while let Some((labels, drop)) = source.next(run, &mut samples)? {
        let mut walk = Walk::new(&windows, run.habits);
        let Some(window) = walk.window(0, &samples) else {
            continue;
        };
        let count = walk.touched(&samples);
        let wide = u64::try_from(count).unwrap_or(u64::MAX);
        reservation.grow(wide.saturating_mul(16), wide)?;
        run.count(count, if stored { count } else { 0 });
        let labels = if drop && run.habits.delayed_names {
            drop_metric(&labels)
        } else {
            labels
        };
        let one_step = StepSet::of(&[0.0], &StepHistograms::default());
        distinct.check(&labels, one_step)?;
        let modifier = match window.reach {
            Reach::Within => None,
            Reach::Anchored => Some("anchored"),
            Reach::Smoothed => Some("smoothed"),
        };
        if let (Some(modifier), false) = (modifier, window.histograms.values.is_empty()) {
            return Err(Error::Execution(format!(
                "{modifier} modifier is not supported with histograms"
            )));
        }
        let points = match window.reach {
            Reach::Within => (window.timestamps.to_vec(), window.values.to_vec()),
            Reach::Anchored | Reach::Smoothed => extended(&window),
        };
        let histograms = window.histograms;
        if points.0.is_empty() && histograms.values.is_empty() {
            continue;
        }
        let times = histograms.timestamps.iter().copied();
        all.push(Raw {
            labels,
            timestamps: points.0,
            values: points.1,
            histograms: times.zip(histograms.values.iter().cloned()).collect(),
        });
    }
    all.sort_by(|a, b| a.labels.cmp(&b.labels));
    Ok(all)
}

/// The samples of an anchored or smoothed range, with a value at each of its edges.
fn extended(window: &RangeWindow<'_>) -> (Vec<i64>, Vec<f64>) {
    let (start, end) = (window.range_start_ms, window.range_end_ms);
    let smoothed = window.reach == Reach::Smoothed;
    let point = |at: usize| Some((*window.timestamps.get(at)?, *window.values.get(at)?));
    let inside = window.timestamps.partition_point(|at| *at <= start);
    let beyond = window.timestamps.partition_point(|at| *at < end);
    let Some(final_at) = window.timestamps.len().checked_sub(1) else {
        return Default::default();
    };
    let last_at = if smoothed {
        beyond.min(final_at)
    } else {
        final_at
    };
    // Of several samples at or before the start the newest is the anchor.
    let first_at = inside.min(final_at.max(1)).saturating_sub(1);
    let (Some(first), Some(last)) = (point(first_at), point(last_at)) else {
        return Default::default();
    };
    if last.0 <= start {
        return Default::default();
    }
    let left = match point(first_at + 1) {
        Some(next) if smoothed && first.0 < start => between(first, next, start),
        _ => first.1,
    };
    let right = match last_at.checked_sub(1).and_then(point) {
        Some(previous) if smoothed && last.0 > end => between(previous, last, end),
        _ => last.1,
    };
    let (mut timestamps, mut values) = (vec![start], vec![left]);
    let kept = window.timestamps.iter().zip(window.values);
    for (at, value) in kept.filter(|(at, _)| start < **at && **at < end) {
        timestamps.push(*at);
        values.push(*value);
    }
    timestamps.push(end);
    values.push(right);
    (timestamps, values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_of_ranges_get_values() {
        let timestamps = [5, 12, 18, 25];
        let values = [1.0, 8.0, 14.0, 21.0];
        let check = |reach, visible: usize, want: &[(i64, f64)]| {
            let (at, found) = extended(&RangeWindow {
                timestamps: &timestamps[..visible],
                values: &values[..visible],
                starts: &[],
                range_start_ms: 10,
                range_end_ms: 20,
                step_time_ms: 20,
                reach,
                histograms: Default::default(),
            });
            let got: Vec<(i64, f64)> = at.into_iter().zip(found).collect();
            assert_eq!(got, want, "{reach:?}");
        };
        check(
            Reach::Anchored,
            3,
            &[(10, 1.0), (12, 8.0), (18, 14.0), (20, 14.0)],
        );
        check(
            Reach::Smoothed,
            4,
            &[(10, 6.0), (12, 8.0), (18, 14.0), (20, 16.0)],
        );
        check(Reach::Anchored, 1, &[]);
    }
}
