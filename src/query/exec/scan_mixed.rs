//! Instant selectors over series that hold histograms: which histogram stands at a step, and what
//! lies between two (the modifier `smoothed`).

use std::sync::Arc;

use crate::model::{Histogram, ResetHint, Samples};
use crate::query::function::interpolated;
use crate::query::histogram::{FloatHistogram, Incompatible, Outcome, Reader};
use crate::query::histogram_note::{HistogramNote, Operation};
use crate::query::value::StepSeries;

use super::times::between;
use super::window::RangeSamples;

/// Reads the histograms that steps choose, each once.
pub(super) struct Chooser<'a> {
    samples: &'a Samples,
    reader: &'a mut Reader,
    no_buckets: bool,
    neighbour: Option<&'a Histogram>,
    last: Option<Chosen>,
    /// From when on Prometheus has read one sample after the other, and the time of the last that
    /// it has read.
    read_from: i64,
    reached: i64,
}

/// What was chosen last.
struct Chosen {
    entry: usize,
    /// As it was read.
    whole: Arc<FloatHistogram>,
    /// As it is shown.
    shown: Arc<FloatHistogram>,
}

impl<'a> Chooser<'a> {
    /// Of these samples. `neighbour` is the histogram right before the first of them, if it is
    /// known; with `no_buckets` nobody looks at buckets.
    pub(super) const fn new(
        samples: &'a Samples,
        (reader, no_buckets): (&'a mut Reader, bool),
        neighbour: Option<&'a Histogram>,
    ) -> Self {
        Self {
            samples,
            reader,
            no_buckets,
            neighbour,
            last: None,
            read_from: i64::MIN,
            reached: i64::MIN,
        }
    }

    /// Goes on to a moment. Prometheus reads on from sample to sample, unless there is none within the
    /// lookback: then it jumps. Where nobody looks at buckets it compares what it has read one after the
    /// other, so it matters where it jumped to (`MemoizedSeriesIterator`, `HistogramStatsIterator`).
    pub(super) fn go_to(&mut self, moment: i64, lookback_ms: i64) {
        if !self.no_buckets {
            return;
        }
        let from = moment.saturating_sub(lookback_ms).saturating_add(1);
        if from > self.reached {
            self.read_from = from;
        }
        let timestamps = &self.samples.timestamps;
        let at = timestamps.partition_point(|at| *at < moment);
        self.reached = timestamps.get(at).copied().unwrap_or(i64::MAX);
    }

    /// The last histogram before one that has been read, whatever is in between.
    fn earlier(&mut self, entry: usize) -> Option<FloatHistogram> {
        let before = self.samples.histograms.get(..entry)?;
        let (position, stored) = before.iter().rfind(|(_, stored)| !stored.is_stale())?;
        let at = self.samples.timestamps.get(*position as usize)?;
        (*at >= self.read_from).then(|| self.reader.read(stored))
    }

    /// The histogram at a position, if there is one and no float.
    pub(super) fn histogram(&mut self, at: usize) -> Option<Arc<FloatHistogram>> {
        let position = u32::try_from(at).ok()?;
        let all = &self.samples.histograms;
        let entry = all.binary_search_by_key(&position, |entry| entry.0).ok()?;
        if let Some(last) = self.last.as_ref().filter(|last| last.entry == entry) {
            return Some(Arc::clone(&last.shown));
        }
        let (_, stored) = all.get(entry)?;
        let neighbour = match position {
            0 => self.neighbour,
            _ => entry
                .checked_sub(1)
                .and_then(|before| all.get(before))
                .filter(|(place, _)| place.saturating_add(1) == position)
                .map(|(_, stored)| stored.as_ref()),
        };
        let before = neighbour.map(|before| match self.last.take() {
            Some(last) if last.entry + 1 == entry => (before, last.whole),
            _ => (before, Arc::new(self.reader.read(before))),
        });
        let before = before
            .as_ref()
            .map(|(stored, float)| (*stored, float.as_ref()));
        let whole = Arc::new(self.reader.read_after(stored, before));
        let shown = if self.no_buckets {
            let right_before = position.checked_sub(1);
            let at = right_before.and_then(|at| self.samples.timestamps.get(at as usize));
            let is_read = at.is_some_and(|at| *at >= self.read_from);
            let earlier = match before {
                Some(_) if is_read => None,
                _ => self.earlier(entry),
            };
            let compared = before.filter(|_| is_read).map(|(_, float)| float);
            Arc::new(whole.without_buckets(compared.or(earlier.as_ref())))
        } else {
            Arc::clone(&whole)
        };
        let result = Arc::clone(&shown);
        self.last = Some(Chosen {
            entry,
            whole,
            shown,
        });
        Some(result)
    }
}

/// Fills in what lies between neighbours.
pub(super) struct SmoothMixed {
    samples: RangeSamples,
    lookback_ms: i64,
    mixed: bool,
    schemas: bool,
    reconciled: [bool; 2],
}

impl SmoothMixed {
    /// Of these samples, which are taken.
    pub(super) fn new(
        samples: &mut Samples,
        (reader, no_buckets): (&mut Reader, bool),
        lookback_ms: i64,
    ) -> Self {
        let mut sorted = RangeSamples {
            floats: std::mem::take(samples),
            ..RangeSamples::default()
        };
        sorted.sort_out(reader, None, no_buckets);
        Self {
            samples: sorted,
            lookback_ms,
            mixed: false,
            schemas: false,
            reconciled: [false; 2],
        }
    }

    /// What there is to say, of a metric.
    pub(super) fn notes(&self, metric: &str) -> Vec<HistogramNote> {
        let [subtracted, added] = self.reconciled;
        let said = [
            (self.mixed, HistogramNote::MixedRange(metric.to_owned())),
            (self.schemas, HistogramNote::MixedSchemas(metric.to_owned())),
            (
                subtracted,
                HistogramNote::Reconciled(Operation::Subtraction),
            ),
            (added, HistogramNote::Reconciled(Operation::Addition)),
        ];
        let said = said.into_iter().filter(|(is, _)| *is);
        said.map(|(_, note)| note).collect()
    }

    /// At each moment.
    pub(super) fn fill(&mut self, series: &mut StepSeries, moments: impl Iterator<Item = i64>) {
        let steps = series.values.len();
        for (step, moment) in moments.enumerate() {
            let floats = self.near(&self.samples.floats.timestamps, moment);
            let histograms = self.near(&self.samples.histograms.timestamps, moment);
            match (floats.any, histograms.any) {
                (true, true) => self.mixed = true,
                (true, false) => {
                    let value = self.float(&floats, moment);
                    if let (Some(slot), Some(value)) = (series.values.get_mut(step), value) {
                        *slot = value;
                    }
                }
                (false, true) => {
                    if let Some(histogram) = self.histogram(&histograms, moment) {
                        series.histograms.set(step, steps, histogram);
                    }
                }
                (false, false) => {}
            }
        }
    }

    fn near(&self, timestamps: &[i64], moment: i64) -> Near {
        let first = timestamps.partition_point(|at| *at <= moment.saturating_sub(self.lookback_ms));
        let after = timestamps.partition_point(|at| *at < moment);
        let last = moment.saturating_add(self.lookback_ms);
        let has_next = timestamps.get(after).is_some_and(|at| *at <= last);
        Near {
            any: after > first || has_next,
            previous: after.checked_sub(1).filter(|at| *at >= first),
            next: has_next.then_some(after),
        }
    }

    fn float(&self, near: &Near, moment: i64) -> Option<f64> {
        let floats = &self.samples.floats;
        let point = |at: usize| Some((*floats.timestamps.get(at)?, *floats.values.get(at)?));
        let previous = near.previous.and_then(point);
        match (previous, near.next.and_then(point)) {
            (_, Some(next)) if next.0 == moment => Some(next.1),
            (Some(previous), Some(next)) => Some(between(previous, next, moment)),
            (previous, _) => previous.map(|previous| previous.1),
        }
    }

    fn histogram(&mut self, near: &Near, moment: i64) -> Option<Arc<FloatHistogram>> {
        let all = &self.samples.histograms;
        let point = |at: usize| Some((*all.timestamps.get(at)?, all.values.get(at)?));
        let previous = near.previous.and_then(point);
        let (previous, next) = match (previous, near.next.and_then(point)) {
            (_, Some(next)) if next.0 == moment => return Some(Arc::clone(next.1)),
            (Some(previous), Some(next)) => (previous, next),
            (previous, _) => {
                // A hint tells of two samples, and this one stands alone.
                let mut histogram = FloatHistogram::clone(previous?.1);
                histogram.set_hint(ResetHint::Unknown);
                return Some(Arc::new(histogram));
            }
        };
        let gauge = |one: &FloatHistogram| one.hint() == ResetHint::Gauge;
        let counter = !(gauge(previous.1) && gauge(next.1));
        let (schemas, reconciled) = (&mut self.schemas, &mut self.reconciled);
        let combined = |outcome: Result<Outcome, Incompatible>, operation| {
            let Ok(outcome) = outcome else {
                *schemas = true;
                return None;
            };
            let [subtracted, added] = reconciled;
            match operation {
                Operation::Subtraction => *subtracted |= outcome.reconciled,
                _ => *added |= outcome.reconciled,
            }
            Some(())
        };
        if previous.1.is_custom() != next.1.is_custom() {
            self.schemas = true;
            return None;
        }
        interpolated((previous, next), moment, counter, combined).map(Arc::new)
    }
}

/// What lies around a moment, within the lookback.
struct Near {
    any: bool,
    previous: Option<usize>,
    next: Option<usize>,
}
