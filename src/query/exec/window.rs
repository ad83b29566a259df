//! The samples of one series, floats and histograms apart, and the windows that slide over them.
//!
//! A window is a pair of positions that only move forward. Nearly all series hold floats only:
//! what is done for histograms costs them one look at an empty list.

use std::sync::Arc;

use crate::model::{Histogram, Samples, TimeRange, TimestampMs, is_stale};
use crate::query::function::{FoldWindow, HistogramWindow, RangeWindow, Reach};
use crate::query::histogram::{FloatHistogram, Reader};
use crate::query::plan::Moment;
use crate::query::syntax::Edges;
use crate::query::value::Steps;

use super::operator::Habits;
use super::times::reach;

/// The histograms of a series.
#[derive(Debug, Default)]
pub(super) struct HistogramSamples {
    /// Milliseconds, rising.
    pub(super) timestamps: Vec<i64>,
    /// As many.
    pub(super) values: Vec<Arc<FloatHistogram>>,
    /// Start timestamps, as many if there are any.
    pub(super) starts: Vec<i64>,
    /// How many samples the first so many count for: one more than there are.
    weights: Vec<usize>,
}

impl HistogramSamples {
    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.timestamps.clear();
        self.values.clear();
        self.starts.clear();
        self.weights.clear();
    }

    /// One more.
    pub(super) fn push(&mut self, at: i64, start: Option<i64>, value: Arc<FloatHistogram>) {
        if self.weights.is_empty() {
            self.weights.push(0);
        }
        let before = self.weights.last().copied().unwrap_or(0);
        self.weights.push(before + value.weight());
        self.timestamps.push(at);
        self.starts.extend(start);
        self.values.push(value);
    }

    /// How many samples some of them count for.
    pub(super) fn weight(&self, from: usize, to: usize) -> usize {
        let upto = |at: usize| self.weights.get(at).copied().unwrap_or(0);
        upto(to).saturating_sub(upto(from))
    }

    /// Bytes of memory that they take, about.
    pub(super) fn bytes(&self) -> usize {
        self.values.iter().map(|one| one.bytes() + 48).sum()
    }
}

/// The samples of one series, without stale markers.
#[derive(Debug, Default)]
pub(super) struct RangeSamples {
    /// The floats.
    pub(super) floats: Samples,
    /// The histograms.
    pub(super) histograms: HistogramSamples,
}

impl RangeSamples {
    /// Sorts what a source has put into the floats. `neighbour` is the histogram right before the
    /// first sample, if it is known; with `no_buckets` nobody looks at buckets.
    pub(super) fn sort_out(
        &mut self,
        reader: &mut Reader,
        neighbour: Option<&Histogram>,
        no_buckets: bool,
    ) {
        self.histograms.clear();
        if !self.floats.histograms.is_empty() {
            self.split(reader, neighbour, no_buckets);
        }
        without_stale(&mut self.floats);
    }

    fn split(&mut self, reader: &mut Reader, neighbour: Option<&Histogram>, no_buckets: bool) {
        let found = std::mem::take(&mut self.floats.histograms);
        // The position after it comes first.
        let mut before: Option<(u32, &Histogram, Arc<FloatHistogram>)> =
            neighbour.map(|stored| (0, stored, Arc::new(reader.read(stored))));
        // Where nobody looks at buckets Prometheus compares what it reads one after the other,
        // whatever is in between.
        let mut earlier: Option<Arc<FloatHistogram>> = None;
        for (position, stored) in &found {
            let at = usize::try_from(*position).unwrap_or(usize::MAX);
            // Marked as what goes with the stale markers.
            if let Some(value) = self.floats.values.get_mut(at) {
                *value = crate::model::stale_nan();
            }
            if stored.is_stale() {
                before = None;
                continue;
            }
            let neighbour = before
                .as_ref()
                .filter(|(next, ..)| next == position)
                .map(|(_, stored, float)| (*stored, float.as_ref()));
            let histogram = Arc::new(reader.read_after(stored, neighbour));
            let timestamp = self.floats.timestamps.get(at).copied().unwrap_or(0);
            let start = self.floats.starts.get(at).copied();
            let shown = if no_buckets {
                Arc::new(histogram.without_buckets(earlier.as_deref()))
            } else {
                Arc::clone(&histogram)
            };
            earlier = Some(Arc::clone(&histogram));
            before = Some((position.saturating_add(1), stored, histogram));
            self.histograms.push(timestamp, start, shown);
        }
    }
}

/// Which windows are wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Windows {
    /// The end of the window of each step.
    pub(super) moment: Moment,
    /// Its length.
    pub(super) range_ms: i64,
    /// What else than the range it covers.
    pub(super) reach: Reach,
    /// At which steps.
    pub(super) steps: Steps,
}

impl Windows {
    /// The first and the last time that some window covers, at both ends one lookback further
    /// where the reach asks for it.
    pub(super) fn span(&self, lookback_ms: i64) -> TimeRange {
        let (first, last) = reach(self.moment, &self.steps);
        let (before, after) = self.margins(lookback_ms);
        TimeRange::new(
            TimestampMs(
                first
                    .saturating_sub(self.range_ms)
                    .saturating_sub(before)
                    .saturating_add(1),
            ),
            TimestampMs(last.saturating_add(after)),
        )
    }

    const fn margins(&self, lookback_ms: i64) -> (i64, i64) {
        match self.reach {
            Reach::Within => (0, 0),
            Reach::Anchored => (lookback_ms, 0),
            Reach::Smoothed => (lookback_ms, lookback_ms),
        }
    }
}

/// What a selector's edges mean to functions.
pub(super) const fn reach_of(edges: Edges) -> Reach {
    match edges {
        Edges::Plain => Reach::Within,
        Edges::Anchored => Reach::Anchored,
        Edges::Smoothed => Reach::Smoothed,
    }
}

/// Takes stale markers out, in place.
fn without_stale(samples: &mut Samples) {
    if !samples.values.iter().any(|value| is_stale(*value)) {
        return;
    }
    let keep: Vec<bool> = samples.values.iter().map(|v| !is_stale(*v)).collect();
    samples.retain(&keep);
}

/// Slides a window over one series.
pub(super) struct Walk<'a> {
    windows: &'a Windows,
    before: i64,
    after: i64,
    starts: bool,
    from: usize,
    to: usize,
    histograms: (usize, usize),
}

impl<'a> Walk<'a> {
    /// From the first step on.
    pub(super) const fn new(windows: &'a Windows, habits: Habits) -> Self {
        let (before, after) = windows.margins(habits.lookback_ms);
        Self {
            windows,
            before,
            after,
            starts: habits.start_timestamps,
            from: 0,
            to: 0,
            histograms: (0, 0),
        }
    }

    /// The window of a step, which must not be before the last one's; `None` if it is empty.
    pub(super) fn window<'s>(
        &mut self,
        step: usize,
        samples: &'s RangeSamples,
    ) -> Option<RangeWindow<'s>> {
        let step_time_ms = self.windows.steps.at(step).0;
        let range_end_ms = self.windows.moment.of(step_time_ms);
        let range_start_ms = range_end_ms.saturating_sub(self.windows.range_ms);
        let first = range_start_ms.saturating_sub(self.before);
        let last = range_end_ms.saturating_add(self.after);
        let floats = &samples.floats;
        let timestamps = floats.timestamps.as_slice();
        while timestamps.get(self.to).is_some_and(|at| *at <= last) {
            self.to += 1;
        }
        while self.from < self.to && timestamps.get(self.from).is_some_and(|at| *at <= first) {
            self.from += 1;
        }
        let histograms = match samples.histograms.values.is_empty() {
            true => HistogramWindow::default(),
            false => self.histograms(first, last, &samples.histograms),
        };
        if self.from >= self.to && histograms.values.is_empty() {
            return None;
        }
        let starts = if self.starts {
            floats.starts.get(self.from..self.to).unwrap_or_default()
        } else {
            &[]
        };
        Some(RangeWindow {
            timestamps: timestamps.get(self.from..self.to)?,
            values: floats.values.get(self.from..self.to)?,
            starts,
            range_start_ms,
            range_end_ms,
            step_time_ms,
            reach: self.windows.reach,
            histograms,
        })
    }

    fn histograms<'s>(
        &mut self,
        first: i64,
        last: i64,
        samples: &'s HistogramSamples,
    ) -> HistogramWindow<'s> {
        let (from, to) = &mut self.histograms;
        let timestamps = samples.timestamps.as_slice();
        while timestamps.get(*to).is_some_and(|at| *at <= last) {
            *to += 1;
        }
        while *from < *to && timestamps.get(*from).is_some_and(|at| *at <= first) {
            *from += 1;
        }
        let starts = if self.starts {
            samples.starts.get(*from..*to).unwrap_or_default()
        } else {
            &[]
        };
        HistogramWindow {
            timestamps: timestamps.get(*from..*to).unwrap_or_default(),
            values: samples.values.get(*from..*to).unwrap_or_default(),
            starts,
        }
    }

    /// What the window's floats stand for; `None`: only for themselves, as nearly always.
    #[inline]
    pub(super) fn folds<'s>(&self, samples: &'s RangeSamples) -> Option<FoldWindow<'s>> {
        let all = samples.floats.folds.as_slice();
        if all.is_empty() {
            return None;
        }
        let folds = FoldWindow::of(all, self.from, self.to);
        (!folds.folds.is_empty()).then_some(folds)
    }

    /// How many samples the floats and histograms of the window count for.
    pub(super) fn touched(&self, samples: &RangeSamples) -> usize {
        let (from, to) = self.histograms;
        self.to - self.from + samples.histograms.weight(from, to)
    }

    /// The same of those that were in no window before.
    pub(super) fn fresh(&self, seen: (usize, usize), samples: &RangeSamples) -> usize {
        let (from, to) = self.histograms;
        let histograms = samples.histograms.weight(seen.1.max(from), to);
        self.to - seen.0.max(self.from) + histograms
    }

    /// How many floats and histograms have been in windows or left behind.
    pub(super) const fn seen(&self) -> (usize, usize) {
        (self.to, self.histograms.1)
    }
}
