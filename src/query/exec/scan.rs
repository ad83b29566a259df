//! Instant selectors: of each series the newest sample that is not older than the lookback, at
//! every step; and, for `timestamp()`, when that sample was taken.
//!
//! A series is decoded once and walked once, whatever the number of steps.

use crate::model::{Resolution, Samples, TimeRange, TimestampMs, is_stale, stale_nan};
use crate::query::error::Error;
use crate::query::histogram::Reader;
use crate::query::plan::Selector;
use crate::query::syntax::Edges;
use crate::query::value::{StepHistograms, StepSeries, Steps, is_absent};
use crate::source::Moments;

use super::coarse;
use super::neighbours::Neighbours;
use super::opened::Opened;
use super::operator::{Operator, Reads, Run};
use super::scan_mixed::{Chooser, SmoothMixed};
use super::times::{between, difference, reach, seconds};

/// What of a sample is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wanted {
    /// Its value.
    Value,
    /// When it was taken, in seconds.
    Timestamp,
    /// When it was taken, in milliseconds.
    Taken,
    /// Since when it counts, in seconds.
    Start,
}

/// The series of an instant selector.
pub(super) struct Scan {
    selector: Selector,
    steps: Steps,
    wanted: Wanted,
    /// Where it stands in the text.
    position: usize,
    opened: Option<Opened>,
    samples: Samples,
    reader: Reader,
    neighbours: Neighbours,
}

impl Scan {
    /// Over these steps; storage is asked when the first series is.
    pub(super) fn new(selector: Selector, steps: Steps, wanted: Wanted) -> Self {
        Self {
            selector,
            steps,
            wanted,
            position: 0,
            opened: None,
            samples: Samples::default(),
            reader: Reader::default(),
            neighbours: Neighbours::default(),
        }
    }

    /// Says where it stands in the text.
    pub(super) fn at(mut self, position: usize) -> Self {
        self.position = position;
        self
    }

    fn open(&self, run: &Run<'_>) -> Result<Opened, Error> {
        run.read(self.reads(run.habits.lookback_ms))
    }

    /// What it reads.
    pub(super) fn reads(&self, lookback_ms: i64) -> Reads {
        Reads {
            matchers: self.selector.matchers.clone(),
            range: self.reach(lookback_ms),
            moments: match self.selector.edges {
                // What lies on both sides of a moment is looked at.
                Edges::Smoothed => None,
                Edges::Plain | Edges::Anchored => Some(self.moments()),
            },
        }
    }

    /// The moments that are looked at.
    fn moments(&self) -> Moments {
        let (first, last) = reach(self.selector.moment, &self.steps);
        let one = first == last;
        Moments {
            first: TimestampMs(first),
            step_ms: self.steps.step_ms.max(1),
            count: if one { 1 } else { self.steps.count },
        }
    }

    /// The times that are read.
    fn reach(&self, lookback: i64) -> TimeRange {
        let moment = self.selector.moment;
        let (first, last) = reach(moment, &self.steps);
        let after = match self.selector.edges {
            Edges::Smoothed => lookback,
            Edges::Plain | Edges::Anchored => 0,
        };
        TimeRange::new(
            TimestampMs(first.saturating_sub(lookback).saturating_add(1)),
            TimestampMs(last.saturating_add(after)),
        )
    }

    /// Of a series that holds histograms.
    fn fill_mixed(&mut self, series: &mut StepSeries, run: &Run<'_>) -> Result<(), Error> {
        let lookback_ms = run.habits.lookback_ms;
        let moment = self.selector.moment;
        let moments = self.steps.iter().map(move |at| moment.of(at));
        if self.selector.edges == Edges::Smoothed {
            let metric = series.labels.metric_name().unwrap_or_default().to_owned();
            let reader = (&mut self.reader, self.selector.no_buckets);
            let mut smooth = SmoothMixed::new(&mut self.samples, reader, lookback_ms);
            smooth.fill(series, moments);
            for note in smooth.notes(&metric) {
                run.note(note.into(), self.position);
            }
            return Ok(());
        }
        if self.wanted != Wanted::Value {
            self.fill(&mut series.values, lookback_ms);
        }
        // Info series must not be histograms: it is told where they would be.
        if !matches!(self.wanted, Wanted::Value | Wanted::Taken) {
            return Ok(());
        }
        let (wanted, no_buckets) = (self.wanted, self.selector.no_buckets);
        // Only where the first sample is chosen does it matter what was before it.
        let mut first_chosen = false;
        if self
            .samples
            .histograms
            .first()
            .is_some_and(|(at, _)| *at == 0)
        {
            choose(moments.clone(), &self.samples, lookback_ms, |found| {
                first_chosen |= found.is_some_and(|(at, _)| at == 0);
            });
        }
        let neighbour = if first_chosen {
            let from = (&self.selector, self.reach(lookback_ms).start.0);
            self.neighbours.of(&series.labels, from, run)?
        } else {
            None
        };
        let reader = (&mut self.reader, no_buckets);
        let mut chooser = Chooser::new(&self.samples, reader, neighbour.as_deref());
        let (values, histograms) = (&mut series.values, &mut series.histograms);
        let steps = self.steps.count;
        let mut times = moments.clone().enumerate();
        choose(moments, &self.samples, lookback_ms, |found| {
            let Some((step, moment)) = times.next() else {
                return;
            };
            chooser.go_to(moment, lookback_ms);
            let Some((at, _)) = found else {
                return;
            };
            match chooser.histogram(at) {
                Some(histogram) => histograms.set(step, steps, histogram),
                None if wanted == Wanted::Value => {
                    if let (Some(slot), Some(value)) =
                        (values.get_mut(step), self.samples.values.get(at))
                    {
                        *slot = *value;
                    }
                }
                None => {}
            }
        });
        Ok(())
    }

    /// Says what all that was read lets it say.
    fn remark(&self, met: Resolution, run: &Run<'_>) {
        let moments = self.steps.iter().map(|at| self.selector.moment.of(at));
        let around = self.selector.edges == Edges::Smoothed;
        if let Some(note) = coarse::of_moments(moments, around, met) {
            run.note(note, self.position);
        }
    }

    fn fill(&self, values: &mut [f64], lookback_ms: i64) {
        let moments = self.steps.iter().map(|at| self.selector.moment.of(at));
        if self.selector.edges == Edges::Smoothed {
            smooth(values, moments, &self.samples, lookback_ms);
            return;
        }
        match self.wanted {
            Wanted::Value => {
                let value_of = |at: usize, _| self.samples.values.get(at).copied();
                newest(values, moments, &self.samples, lookback_ms, value_of);
            }
            Wanted::Timestamp => {
                let value_of = |_, taken| Some(seconds(taken));
                newest(values, moments, &self.samples, lookback_ms, value_of);
            }
            Wanted::Taken => {
                let value_of = |_, taken| Some(difference(taken, 0));
                newest(values, moments, &self.samples, lookback_ms, value_of);
            }
            Wanted::Start => {
                let value_of =
                    |at: usize, _| Some(seconds(self.samples.starts.get(at).copied().unwrap_or(0)));
                newest(values, moments, &self.samples, lookback_ms, value_of);
            }
        }
    }
}

impl Operator for Scan {
    fn next(&mut self, run: &Run<'_>) -> Result<Option<StepSeries>, Error> {
        let mut opened = match self.opened.take() {
            Some(opened) => opened,
            None => self.open(run)?,
        };
        loop {
            run.check()?;
            let Some(labels) = opened.stream.next(&mut self.samples)? else {
                self.remark(opened.met_at_end(), run);
                self.opened = Some(opened);
                return Ok(None);
            };
            let bytes = self.samples.len() * 16 + size_of_val(self.samples.folds.as_slice());
            let _held = run.reserve(bytes, self.samples.len())?;
            run.note_folds(&self.samples, self.position);
            let mut series = StepSeries::floats(labels, false, run.values(self.steps.count)?);
            if !self.samples.histograms.is_empty() {
                unmask_stale(&mut self.samples);
            }
            if self.samples.histograms.is_empty() {
                self.fill(&mut series.values, run.habits.lookback_ms);
            } else {
                self.fill_mixed(&mut series, run)?;
            }
            let floats = series.values.iter().filter(|value| !is_absent(**value));
            let present = floats.count() + weight(&series.histograms);
            if present == 0 {
                run.recycle(series.values);
                continue;
            }
            run.count(present, present);
            self.opened = Some(opened);
            return Ok(Some(series));
        }
    }
}

/// Turns stale markers in a histogram's clothes into those of floats.
fn unmask_stale(samples: &mut Samples) {
    let values = &mut samples.values;
    samples.histograms.retain(|(at, histogram)| {
        let stale = histogram.is_stale();
        let at = usize::try_from(*at).unwrap_or(usize::MAX);
        if let (true, Some(value)) = (stale, values.get_mut(at)) {
            *value = stale_nan();
        }
        !stale
    });
}

/// How many samples histograms count for.
fn weight(histograms: &StepHistograms) -> usize {
    histograms.iter().map(|(_, one)| one.weight()).sum()
}

/// Fills in the newest sample at or before each moment, within the lookback and not stale.
fn newest(
    values: &mut [f64],
    moments: impl Iterator<Item = i64>,
    samples: &Samples,
    lookback_ms: i64,
    value_of: impl Fn(usize, i64) -> Option<f64>,
) {
    let mut slots = values.iter_mut();
    choose(moments, samples, lookback_ms, |found| {
        let slot = slots.next();
        if let (Some(slot), Some((newest, taken))) = (slot, found)
            && let Some(value) = value_of(newest, taken)
        {
            *slot = value;
        }
    });
}

/// Says for each moment which sample is the newest at or before it, and when it was taken, if it
/// lies within the lookback and is not stale. One that stands for others is seen until the end of the next interval
/// where it was at the beginning, since the next one may stand for what was taken in between.
#[inline]
fn choose(
    moments: impl Iterator<Item = i64>,
    samples: &Samples,
    lookback_ms: i64,
    mut found: impl FnMut(Option<(usize, i64)>),
) {
    let timestamps = samples.timestamps.as_slice();
    // Samples at or before the moment; moments never go back.
    let mut passed = 0;
    for moment in moments {
        while timestamps.get(passed).is_some_and(|at| *at <= moment) {
            passed += 1;
        }
        let newest = passed.checked_sub(1);
        let chosen = newest.and_then(|newest| Some((newest, *timestamps.get(newest)?)));
        found(chosen.filter(|(newest, taken)| {
            let stale = samples.values.get(*newest).is_some_and(|v| is_stale(*v));
            let from = match samples.folds.is_empty() {
                true => moment,
                false => last_end(samples, *newest, moment),
            };
            *taken > from.saturating_sub(lookback_ms) && !stale
        }));
    }
}

/// The last end of an interval up to a moment, if a sample from before it stands for an interval; else the moment.
/// After its own interval's last sample there was no other until the next interval began.
fn last_end(samples: &Samples, row: usize, moment: i64) -> i64 {
    let folds = &samples.folds;
    let found = folds.binary_search_by_key(&row, |(at, _)| *at as usize);
    let fold = found.ok().and_then(|found| folds.get(found));
    let taken = samples.timestamps.get(row);
    let (Some((_, fold)), Some(taken)) = (fold, taken) else {
        return moment;
    };
    let end = moment - moment.rem_euclid(fold.resolution.ms().max(1));
    if *taken <= end { end } else { moment }
}

/// Fills in what lies between the neighbours of each moment (the modifier `smoothed`).
fn smooth(
    values: &mut [f64],
    moments: impl Iterator<Item = i64>,
    samples: &Samples,
    lookback_ms: i64,
) {
    let kept = samples
        .timestamps
        .iter()
        .zip(&samples.values)
        .filter(|(_, value)| !is_stale(**value));
    let points: Vec<(i64, f64)> = kept.map(|(at, value)| (*at, *value)).collect();
    let mut after = 0;
    for (slot, moment) in values.iter_mut().zip(moments) {
        while points.get(after).is_some_and(|point| point.0 < moment) {
            after += 1;
        }
        let first = moment.saturating_sub(lookback_ms);
        let last = moment.saturating_add(lookback_ms);
        let next = points.get(after).filter(|point| point.0 <= last);
        let previous = after
            .checked_sub(1)
            .and_then(|at| points.get(at))
            .filter(|point| point.0 > first);
        match (previous, next) {
            (_, Some(next)) if next.0 == moment => *slot = next.1,
            (Some(previous), Some(next)) => *slot = between(*previous, *next, moment),
            (Some(previous), None) => *slot = previous.1,
            (None, _) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Resolution, Value, downsample};

    fn samples(points: &[(i64, f64)]) -> Samples {
        let mut samples = Samples::default();
        for (at, value) in points {
            samples.push(TimestampMs(*at), Value::Float(*value), TimestampMs(0));
        }
        samples
    }

    fn check(points: &[(i64, f64)], moments: &[i64], lookback: i64, want: &[Option<f64>]) {
        let samples = samples(points);
        let mut values = vec![crate::query::value::ABSENT; moments.len()];
        let value_of = |at: usize, _| samples.values.get(at).copied();
        newest(
            &mut values,
            moments.iter().copied(),
            &samples,
            lookback,
            value_of,
        );
        let got: Vec<Option<f64>> = values
            .iter()
            .map(|v| (!is_absent(*v)).then_some(*v))
            .collect();
        assert_eq!(got, want);
    }

    /// Would catch gaps between samples that are an interval apart, and a sample that never ends.
    #[test]
    fn what_is_left_of_an_interval_is_seen_for_as_long() {
        let raw: Vec<(i64, f64)> = (1..=480).map(|n| (n * 15_000, n as f64)).collect();
        let thin = downsample(&samples(&raw), Resolution::Hour).unwrap();
        assert_eq!(thin.timestamps, [3_600_000, 7_200_000]);
        let moments = [
            3_599_999, 3_600_000, 7_199_999, 7_200_000, 10_799_999, 10_800_000,
        ];
        let mut values = vec![crate::query::value::ABSENT; moments.len()];
        let value_of = |at: usize, _| thin.values.get(at).copied();
        newest(&mut values, moments.into_iter(), &thin, 300_000, value_of);
        let got = values.iter().map(|v| (!is_absent(*v)).then_some(*v));
        let want = [
            None,
            Some(240.0),
            Some(240.0),
            Some(480.0),
            Some(480.0),
            None,
        ];
        assert_eq!(got.collect::<Vec<_>>(), want);
    }

    #[test]
    fn the_lookback_is_open_on_the_left_and_stale_markers_end_a_series() {
        let points = [(0, 1.0), (10, 2.0), (20, stale_nan()), (30, 3.0)];
        let want = [None, Some(1.0), Some(2.0), None, None, Some(3.0), None];
        check(&points, &[-1, 9, 19, 20, 29, 39, 40], 10, &want);
    }
}
