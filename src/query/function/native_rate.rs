//! How native histograms move over a range: `rate`, `increase`, `delta`, `irate`, `idelta`.
//!
//! The result is a gauge. Windows that mix floats and histograms have none.

use std::sync::Arc;

use super::native::is_mixed;
use super::rate::{Covered, DELTA, INCREASE, Kind, RATE, starts_anew};
use super::shape::{HistogramWindow, MixedResult, RangeWindow, Reach, Workspace};
use crate::model::ResetHint;
use crate::query::histogram::{FloatHistogram, Incompatible, Outcome};
use crate::query::{HistogramNote, Note, Operation};

pub(super) fn rate(window: &RangeWindow<'_>, _: &[f64], space: &mut Workspace) -> MixedResult {
    moved(window, RATE, space).into()
}

pub(super) fn increase(window: &RangeWindow<'_>, _: &[f64], space: &mut Workspace) -> MixedResult {
    moved(window, INCREASE, space).into()
}

pub(super) fn delta(window: &RangeWindow<'_>, _: &[f64], space: &mut Workspace) -> MixedResult {
    moved(window, DELTA, space).into()
}

fn moved(window: &RangeWindow<'_>, kind: Kind, space: &mut Workspace) -> Option<FloatHistogram> {
    if is_mixed(window, space) {
        return None;
    }
    if window.reach != Reach::Within {
        return Edges::new(window, kind, space)?.change(space);
    }
    let all = &window.histograms;
    let (first_at, last_at) = (*all.timestamps.first()?, *all.timestamps.last()?);
    let first = all.values.first()?;
    let intervals = all.values.len() - 1;
    let mut change = match intervals {
        0 => None,
        _ => Some(between_samples(all, kind.counter, space)?),
    };
    let started_at = all.start_at(0);
    let started = kind.counter && window.has_start(started_at, first_at);
    if started {
        // The counter is known to have started, from zero, within the range.
        match &mut change {
            None => change = Some(FloatHistogram::clone(first)),
            Some(change) => added(change, first, space)?,
        }
    }
    let mut change = change?;
    let zero_share = kind.counter && change.count() > 0.0 && first.count() >= 0.0;
    let covered = Covered {
        first_at,
        last_at,
        intervals,
        started_at: started.then_some(started_at),
        zero_share: zero_share.then(|| first.count() / change.count()),
    };
    change.multiply(covered.factor(window, kind.per_second));
    Some(change)
}

/// Remarks that a combination gives rise to; collisions of reset hints are known here.
fn remark(
    outcome: Result<Outcome, Incompatible>,
    operation: Operation,
    space: &mut Workspace,
) -> Option<()> {
    match outcome {
        Err(Incompatible) => {
            space.note(HistogramNote::MixedSchemas);
            return None;
        }
        Ok(outcome) if outcome.reconciled => {
            space.note(|_| HistogramNote::Reconciled(operation));
        }
        Ok(_) => {}
    }
    Some(())
}

fn added(to: &mut FloatHistogram, other: &FloatHistogram, space: &mut Workspace) -> Option<()> {
    remark(to.add(other), Operation::Addition, space)
}

fn subtracted(
    from: &mut FloatHistogram,
    other: &FloatHistogram,
    space: &mut Workspace,
) -> Option<()> {
    remark(from.subtract(other), Operation::Subtraction, space)
}

/// From the first histogram to the last, resets of a counter added.
fn between_samples(
    all: &HistogramWindow<'_>,
    counter: bool,
    space: &mut Workspace,
) -> Option<FloatHistogram> {
    let (first, second) = (all.values.first()?, all.values.get(1)?);
    let last = all.values.last()?;
    let is_gauge = |histogram: &FloatHistogram| histogram.hint() == ResetHint::Gauge;
    let anew = |at: usize| started_anew(all, at);
    // What was before a reset right at the begin is of no interest, whatever its buckets.
    let empty;
    let mut before: &FloatHistogram = first;
    if counter && (anew(0) || second.is_reset_since(first)) {
        empty = second.emptied();
        before = &empty;
    }
    let custom = before.is_custom();
    let inner = || all.values.get(1..all.values.len() - 1).unwrap_or_default();
    let odd = |histogram: &Arc<FloatHistogram>| histogram.is_custom() != custom;
    let incompatible = odd(last) || counter && inner().iter().any(odd);
    if counter && (is_gauge(first) || is_gauge(last)) && (!incompatible || odd(last)) {
        space.note(HistogramNote::NotCounter);
    }
    if incompatible {
        space.note(HistogramNote::MixedSchemas);
        return None;
    }
    let mut schema = last.schema().min(before.schema());
    if counter {
        for histogram in inner() {
            if is_gauge(histogram) {
                space.note(HistogramNote::NotCounter);
            }
            schema = schema.min(histogram.schema());
        }
    }
    let mut change = last.reduced_to(schema);
    subtracted(&mut change, before, space)?;
    if counter {
        let mut overlap = false;
        for (at, now) in all.values.iter().skip(1).enumerate() {
            overlap |= overlaps(all, at);
            if anew(at) || now.is_reset_since(before) {
                added(&mut change, before, space)?;
            }
            before = now;
        }
        if overlap {
            let metric = space.notes.metric().to_owned();
            space.notes.add(0, Note::StartTimeOverlap { metric });
        }
    } else if !is_gauge(first) || !is_gauge(last) {
        space.note(HistogramNote::NotGauge);
    }
    change.set_hint(ResetHint::Gauge);
    change.compact();
    Some(change)
}

/// Whether start timestamps tell of a reset between a histogram and the next.
fn started_anew(all: &HistogramWindow<'_>, at: usize) -> bool {
    if all.starts.is_empty() {
        return false;
    }
    match all.timestamps.get(at..at + 2) {
        Some(&[before, now]) => {
            starts_anew((all.start_at(at), before), (all.start_at(at + 1), now))
        }
        _ => false,
    }
}

/// Whether a histogram starts before the one before it ends.
fn overlaps(all: &HistogramWindow<'_>, at: usize) -> bool {
    let (before, now) = (all.start_at(at), all.start_at(at + 1));
    let before_at = all.timestamps.get(at).copied().unwrap_or(0);
    now != 0 && now < before_at && now != before
}

/// `anchored` and `smoothed` ranges: no extrapolation, the histograms at the ends of the range are
/// samples, or lie on the line between two.
struct Edges<'a> {
    window: &'a RangeWindow<'a>,
    kind: Kind,
    first: usize,
    last: usize,
    left: FloatHistogram,
    right: FloatHistogram,
}

impl<'a> Edges<'a> {
    fn new(window: &'a RangeWindow<'a>, kind: Kind, space: &mut Workspace) -> Option<Self> {
        let all = &window.histograms;
        let (start, end) = (window.range_start_ms, window.range_end_ms);
        let smoothed = window.reach == Reach::Smoothed;
        let mut last = all.values.len().checked_sub(1)?;
        let searched = all.timestamps.get(..last)?;
        let first = searched
            .partition_point(|at| *at <= start)
            .saturating_sub(1);
        if smoothed {
            last = searched.partition_point(|at| *at < end);
        }
        let ((first_at, first_one), (last_at, last_one)) = (all.get(first)?, all.get(last)?);
        if last_at <= start || (smoothed && first_at > end) {
            return None;
        }
        for histogram in all.values.get(first..=last)? {
            if histogram.is_custom() != first_one.is_custom() {
                space.note(HistogramNote::MixedSchemas);
                return None;
            }
            if kind.counter && histogram.hint() == ResetHint::Gauge {
                space.note(HistogramNote::NotCounter);
            }
        }
        let mut on_line = |one: usize, at: i64| {
            let pair = (all.get(one)?, all.get(one + 1)?);
            interpolated(pair, at, kind.counter, |outcome, operation| {
                remark(outcome, operation, space)
            })
        };
        let left = match first_at < start && smoothed {
            true => on_line(first, start)?,
            false => FloatHistogram::clone(first_one),
        };
        let right = match last.checked_sub(1) {
            Some(before) if smoothed && last_at > end => on_line(before, end)?,
            _ => FloatHistogram::clone(last_one),
        };
        let is_gauge = |one: &FloatHistogram| one.hint() == ResetHint::Gauge;
        if !(kind.counter || is_gauge(&left) && is_gauge(&right)) {
            space.note(HistogramNote::NotGauge);
        }
        Some(Self {
            window,
            kind,
            first,
            last,
            left,
            right,
        })
    }

    fn change(self, space: &mut Workspace) -> Option<FloatHistogram> {
        let mut change = self.right.clone();
        subtracted(&mut change, &self.left, space)?;
        if self.kind.counter
            && let Some(lost) = self.lost(space)?
        {
            added(&mut change, &lost, space)?;
        }
        if self.kind.per_second {
            change.divide(self.window.range_seconds());
        }
        change.set_hint(ResetHint::Gauge);
        change.compact();
        Some(change)
    }

    /// What resets between the ends took away. The outer `None`: it cannot be said.
    fn lost(&self, space: &mut Workspace) -> Option<Option<FloatHistogram>> {
        let all = &self.window.histograms;
        let mut from = self.first + 1;
        let mut before = &self.left;
        if self.window.reach == Reach::Smoothed
            && let (Some((first_at, first)), Some((_, second))) =
                (all.get(self.first), all.get(self.first + 1))
            && first_at < self.window.range_start_ms
            && second.is_reset_since(first)
        {
            // The left end was taken between the two, and knows of that reset.
            before = second;
            from += 1;
        }
        // The last one is the right end, or what it was made of.
        if from > self.last {
            return Some(None);
        }
        let mut lost: Option<FloatHistogram> = None;
        let inner = all.values.get(from..self.last).unwrap_or_default();
        let ends = inner.iter().map(Arc::as_ref).chain([&self.right]);
        for now in ends {
            if now.is_reset_since(before) {
                match &mut lost {
                    None => lost = Some(before.clone()),
                    Some(lost) => added(lost, before, space)?,
                }
            }
            before = now;
        }
        Some(lost)
    }
}

/// A histogram and its time.
type Point<'a> = (i64, &'a Arc<FloatHistogram>);

/// The histogram at a time on the line between two; of a counter that began anew, on the line from
/// zero. `remark` decides whether a combination counts.
pub(in crate::query) fn interpolated(
    ((one_at, one), (other_at, other)): (Point<'_>, Point<'_>),
    at: i64,
    counter: bool,
    mut remark: impl FnMut(Result<Outcome, Incompatible>, Operation) -> Option<()>,
) -> Option<FloatHistogram> {
    if at == one_at {
        return Some(FloatHistogram::clone(one));
    }
    let mut result = FloatHistogram::clone(other);
    if at == other_at {
        return Some(result);
    }
    let share = (at - one_at) as f64 / (other_at - one_at) as f64;
    if counter && other.is_reset_since(one) {
        result.multiply(share);
        return Some(result);
    }
    remark(result.subtract(one), Operation::Subtraction)?;
    result.multiply(share);
    remark(result.add(one), Operation::Addition)?;
    Some(result)
}

pub(super) fn irate(window: &RangeWindow<'_>, _: &[f64], space: &mut Workspace) -> MixedResult {
    last_change(window, true, space)
}

pub(super) fn idelta(window: &RangeWindow<'_>, _: &[f64], space: &mut Workspace) -> MixedResult {
    last_change(window, false, space)
}

/// Between the last two samples: where both are floats, what the function makes of floats.
fn last_change(window: &RangeWindow<'_>, counter: bool, space: &mut Workspace) -> MixedResult {
    let all = &window.histograms;
    let float = |back: usize| {
        let at = window.timestamps.len().checked_sub(back)?;
        window.timestamps.get(at).copied()
    };
    let histogram = |back: usize| {
        let at = all.values.len().checked_sub(back)?;
        all.timestamps.get(at).copied()
    };
    if window.values.len() + all.values.len() < 2 {
        return MixedResult::Nothing;
    }
    // The last two of a kind are the last two of all where none of the other kind is between.
    if float(2).is_some() && float(2) > histogram(1) {
        return MixedResult::OfFloatsAlone;
    }
    if histogram(2).is_none() || histogram(2) < float(1) {
        space.note(HistogramNote::MixedRange);
        return MixedResult::Nothing;
    }
    between_last_two(all, counter, space).into()
}

fn between_last_two(
    all: &HistogramWindow<'_>,
    counter: bool,
    space: &mut Workspace,
) -> Option<FloatHistogram> {
    let at = all.values.len().checked_sub(2)?;
    let ((before_at, before), (now_at, now)) = (all.get(at)?, all.get(at + 1)?);
    if before_at == now_at {
        return None;
    }
    let gauges = [before, now].map(|one| one.hint() == ResetHint::Gauge);
    if counter && gauges.contains(&true) {
        space.note(HistogramNote::NotCounter);
    }
    if !counter && gauges.contains(&false) {
        space.note(HistogramNote::NotGauge);
    }
    let mut change = FloatHistogram::clone(now);
    if !counter || !(started_anew(all, at) || now.is_reset_since(before)) {
        subtracted(&mut change, before, space)?;
    }
    change.set_hint(ResetHint::Gauge);
    change.compact();
    if counter {
        change.divide((now_at - before_at) as f64 / 1000.0);
    }
    Some(change)
}
