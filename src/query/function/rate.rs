//! Functions of how a series moves over a range: slopes, resets, changes.
//!
//! `rate`, `increase` and `delta` extrapolate to the ends of the range exactly as Prometheus 3:
//! ranges are left-open, a gap of more than 1.1 average intervals at an end is filled by half an
//! interval, and a counter is never extrapolated below zero.

use super::shape::{RangeWindow, Reach, Workspace};
use crate::query::Note;
use crate::query::sum::Neumaier;

/// What a rate function makes of a window.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    /// Falls are resets.
    pub(super) counter: bool,
    /// The result is per second.
    pub(super) per_second: bool,
}

/// Of `rate`.
pub(super) const RATE: Kind = Kind {
    counter: true,
    per_second: true,
};

/// Of `increase`.
pub(super) const INCREASE: Kind = Kind {
    counter: true,
    per_second: false,
};

/// Of `delta`.
pub(super) const DELTA: Kind = Kind {
    counter: false,
    per_second: false,
};

pub(super) fn rate(window: &RangeWindow<'_>, _: &[f64], workspace: &mut Workspace) -> Option<f64> {
    extrapolated(window, RATE, workspace)
}

pub(super) fn increase(
    window: &RangeWindow<'_>,
    _: &[f64],
    workspace: &mut Workspace,
) -> Option<f64> {
    extrapolated(window, INCREASE, workspace)
}

pub(super) fn delta(window: &RangeWindow<'_>, _: &[f64], workspace: &mut Workspace) -> Option<f64> {
    extrapolated(window, DELTA, workspace)
}

fn extrapolated(window: &RangeWindow<'_>, kind: Kind, workspace: &mut Workspace) -> Option<f64> {
    if window.reach != Reach::Within {
        return interpolated(window, kind);
    }
    let (first_at, last_at) = (*window.timestamps.first()?, *window.timestamps.last()?);
    let (first, last) = (*window.values.first()?, *window.values.last()?);
    let intervals = window.values.len() - 1;
    let mut change = last - first;
    if kind.counter {
        change = if window.starts.is_empty() {
            add_resets(change, window.values)
        } else {
            add_resets_by_start(change, window, workspace)
        };
    }
    let started_at = window.start_at(0);
    let started = kind.counter && window.has_start(started_at, first_at);
    if started {
        // The counter is known to have started, from zero, within the range.
        change += first;
    } else if intervals == 0 {
        return None;
    }
    let zero_share = kind.counter && change > 0.0 && first >= 0.0;
    let covered = Covered {
        first_at,
        last_at,
        intervals,
        started_at: started.then_some(started_at),
        zero_share: zero_share.then(|| first / change),
    };
    Some(change * covered.factor(window, kind.per_second))
}

/// What samples of a window cover, and what is known of the time before them.
pub(super) struct Covered {
    pub(super) first_at: i64,
    pub(super) last_at: i64,
    /// Between samples.
    pub(super) intervals: usize,
    /// When the counter started, if that lies within the range.
    pub(super) started_at: Option<i64>,
    /// Going back at its slope, a counter was at zero so many times its samples' time ago.
    pub(super) zero_share: Option<f64>,
}

impl Covered {
    /// By how much the change between the samples is to be extended, per second or not.
    #[inline]
    pub(super) fn factor(&self, window: &RangeWindow<'_>, per_second: bool) -> f64 {
        let mut to_start = (self.first_at - window.range_start_ms) as f64 / 1000.0;
        let mut to_end = (window.range_end_ms - self.last_at) as f64 / 1000.0;
        let mut sampled = (self.last_at - self.first_at) as f64 / 1000.0;
        let average = if self.intervals > 0 {
            sampled / self.intervals as f64
        } else {
            0.0
        };
        let threshold = average * 1.1;
        if let Some(started_at) = self.started_at {
            to_start = 0.0;
            sampled = (self.last_at - started_at) as f64 / 1000.0;
        } else {
            if to_start >= threshold {
                to_start = average / 2.0;
            }
            if let Some(share) = self.zero_share {
                let to_zero = sampled * share;
                if to_zero < to_start {
                    to_start = to_zero;
                }
            }
        }
        if to_end >= threshold {
            to_end = average / 2.0;
        }
        let mut factor = 1.0;
        if sampled != 0.0 {
            factor = (sampled + to_start + to_end) / sampled;
        }
        if per_second {
            factor /= window.range_seconds();
        }
        factor
    }
}

/// Adds to a difference what was lost at each fall, in order.
fn add_resets(mut change: f64, values: &[f64]) -> f64 {
    // Nearly always there is none, and counting them takes a fraction of the time.
    let pairs = values.iter().zip(values.get(1..).unwrap_or_default());
    if pairs.filter(|(before, now)| now < before).count() == 0 {
        return change;
    }
    for pair in values.windows(2) {
        if let [before, now] = pair
            && now < before
        {
            change += before;
        }
    }
    change
}

/// The same, where start timestamps tell of resets too.
fn add_resets_by_start(
    mut change: f64,
    window: &RangeWindow<'_>,
    workspace: &mut Workspace,
) -> f64 {
    let mut overlap = false;
    for (at, (times, values)) in window
        .timestamps
        .windows(2)
        .zip(window.values.windows(2))
        .enumerate()
    {
        let (&[before_at, now_at], &[before, now]) = (times, values) else {
            continue;
        };
        let (before_start, now_start) = (window.start_at(at), window.start_at(at + 1));
        overlap |= now_start != 0 && now_start < before_at && now_start != before_start;
        if now < before || starts_anew((before_start, before_at), (now_start, now_at)) {
            change += before;
        }
    }
    if overlap {
        let metric = workspace.notes.metric().to_owned();
        workspace.notes.add(0, Note::StartTimeOverlap { metric });
    }
    change
}

/// Whether start timestamps say that a counter began again between two samples, each given as
/// (start, time).
pub(super) fn starts_anew(before: (i64, i64), now: (i64, i64)) -> bool {
    if now.0 == 0 || now.0 >= now.1 || now.0 < before.1 {
        // Unknown, invalid, or already running at the sample before.
        return false;
    }
    // A start at the very time of the sample before is a delta's, unless that sample's own start
    // is unknown or invalid.
    now.0 > before.1 || (before.0 != 0 && before.0 < before.1)
}

/// `anchored` and `smoothed` ranges: no extrapolation, the ends of the range are sample values,
/// or lie on the line between two.
fn interpolated(window: &RangeWindow<'_>, kind: Kind) -> Option<f64> {
    let (times, values) = (window.timestamps, window.values);
    let (start, end) = (window.range_start_ms, window.range_end_ms);
    let smoothed = window.reach == Reach::Smoothed;
    let mut last = times.len().checked_sub(1)?;
    let searched = times.get(..last)?;
    let mut first = searched
        .partition_point(|at| *at <= start)
        .saturating_sub(1);
    if smoothed {
        last = searched.partition_point(|at| *at < end);
    }
    let at = |index: usize| Some((*times.get(index)?, *values.get(index)?));
    let (first_at, first_value) = at(first)?;
    let (last_at, last_value) = at(last)?;
    if last_at <= start || (smoothed && first_at > end) {
        return None;
    }
    let left = if smoothed && first_at < start {
        between((first_at, first_value), at(first + 1)?, start, kind.counter)
    } else {
        first_value
    };
    let right = match last.checked_sub(1) {
        Some(before) if smoothed && last_at > end => {
            between(at(before)?, (last_at, last_value), end, kind.counter)
        }
        _ => last_value,
    };
    let mut change = right - left;
    if kind.counter {
        first += usize::from(first_at <= start);
        let stop = if last_at >= end { last } else { last + 1 };
        let mut before = left;
        let mut lost = 0.0;
        for value in values.get(first..stop).unwrap_or_default() {
            if *value < before {
                lost += before;
            }
            before = *value;
        }
        if right < before {
            lost += before;
        }
        change += lost;
    }
    if kind.per_second {
        change /= window.range_seconds();
    }
    Some(change)
}

/// The value at a time on the line between two samples; a counter that fell starts from zero.
fn between(one: (i64, f64), other: (i64, f64), at: i64, counter: bool) -> f64 {
    let from = if counter && other.1 < one.1 {
        0.0
    } else {
        one.1
    };
    from + (other.1 - from) * (at - one.0) as f64 / (other.0 - one.0) as f64
}

pub(super) fn irate(window: &RangeWindow<'_>, _: &[f64], _: &mut Workspace) -> Option<f64> {
    let (before, now) = last_two(window)?;
    let last = window.values.len() - 1;
    let anew = starts_anew(
        (window.start_at(last - 1), before.0),
        (window.start_at(last), now.0),
    );
    let change = if now.1 < before.1 || anew {
        now.1
    } else {
        now.1 - before.1
    };
    Some(change / ((now.0 - before.0) as f64 / 1000.0))
}

pub(super) fn idelta(window: &RangeWindow<'_>, _: &[f64], _: &mut Workspace) -> Option<f64> {
    let (before, now) = last_two(window)?;
    Some(now.1 - before.1)
}

/// The last two samples as (time, value), if they have different times.
fn last_two(window: &RangeWindow<'_>) -> Option<((i64, f64), (i64, f64))> {
    let [.., before_at, now_at] = *window.timestamps else {
        return None;
    };
    let [.., before, now] = *window.values else {
        return None;
    };
    (before_at != now_at).then_some(((before_at, before), (now_at, now)))
}

/// Least squares: the slope per second, and the value of the line at `at_ms`.
fn regression(window: &RangeWindow<'_>, at_ms: i64) -> Option<(f64, f64)> {
    let first = *window.values.first()?;
    let mut constant = true;
    let (mut x_sum, mut y_sum) = (Neumaier::default(), Neumaier::default());
    let (mut xy_sum, mut xx_sum) = (Neumaier::default(), Neumaier::default());
    for (time, y) in window.timestamps.iter().zip(window.values) {
        // A NaN is no constant, but a first one alone does not count as a change.
        constant &= *y == first || std::ptr::eq(y, window.values.as_ptr());
        let x = (time - at_ms) as f64 / 1e3;
        x_sum.add(x);
        y_sum.add(*y);
        xy_sum.add(x * y);
        xx_sum.add(x * x);
    }
    if constant {
        return Some(if first.is_infinite() {
            (f64::NAN, f64::NAN)
        } else {
            (0.0, first)
        });
    }
    let n = window.values.len() as f64;
    let (x, y) = (x_sum.plain_total(), y_sum.plain_total());
    let (xy, xx) = (xy_sum.plain_total(), xx_sum.plain_total());
    let covariance = xy - x * y / n;
    let variance = xx - x * x / n;
    let slope = covariance / variance;
    Some((slope, y / n - slope * x / n))
}

pub(super) fn deriv(window: &RangeWindow<'_>, _: &[f64], _: &mut Workspace) -> Option<f64> {
    if window.values.len() < 2 {
        return None;
    }
    // Any time near the samples will do; small differences keep the digits.
    regression(window, *window.timestamps.first()?).map(|(slope, _)| slope)
}

pub(super) fn predict_linear(
    window: &RangeWindow<'_>,
    scalars: &[f64],
    _: &mut Workspace,
) -> Option<f64> {
    if window.values.len() < 2 {
        return None;
    }
    let (slope, now) = regression(window, window.step_time_ms)?;
    Some(slope * scalars.first()? + now)
}

/// The samples from the last one at or before the range on, for `anchored`; all otherwise.
/// Nothing when none lies within the range.
fn from_anchor(window: &RangeWindow<'_>) -> Option<usize> {
    if window.reach != Reach::Anchored {
        return (!window.values.is_empty()).then_some(0);
    }
    let before = window
        .timestamps
        .partition_point(|at| *at <= window.range_start_ms);
    (before < window.timestamps.len()).then(|| before.saturating_sub(1))
}

pub(super) fn resets(window: &RangeWindow<'_>, _: &[f64], _: &mut Workspace) -> Option<f64> {
    let from = from_anchor(window)?;
    let values = window.values.get(from..)?;
    let falls = values.windows(2).enumerate().filter(|(at, pair)| {
        let &&[before, now] = pair else {
            return false;
        };
        now < before || (!window.starts.is_empty() && started_between(window, from + at))
    });
    Some(falls.count() as f64)
}

/// Whether start timestamps tell of a reset between a sample and the next.
fn started_between(window: &RangeWindow<'_>, at: usize) -> bool {
    match window.timestamps.get(at..at + 2) {
        Some(&[before, now]) => starts_anew(
            (window.start_at(at), before),
            (window.start_at(at + 1), now),
        ),
        _ => false,
    }
}

pub(super) fn changes(window: &RangeWindow<'_>, _: &[f64], _: &mut Workspace) -> Option<f64> {
    let values = window.values.get(from_anchor(window)?..)?;
    let differ = values.windows(2).filter(|pair| match pair {
        [before, now] => now != before && !(now.is_nan() && before.is_nan()),
        _ => false,
    });
    Some(differ.count() as f64)
}

#[cfg(test)]
mod tests;
