//! Functions of histograms. The series of a classic one, told apart by `le`, are brought together
//! and evaluated at every step at which they have values; a native one is a series by itself. Where
//! both stand under one name, neither is evaluated.

use std::collections::HashMap;

use crate::model::{LabelSet, TimestampMs};
use crate::query::annotations::Note;
use crate::query::error::Error;
use crate::query::function::{
    BUCKET_LABEL, ClassicBucket, bucket_bound, bucket_fraction, bucket_quantile,
    format_open_metrics,
};
use crate::query::histogram::{FloatHistogram, NanRemark, fraction, quantile};
use crate::query::histogram_note::HistogramNote;
use crate::query::value::{ABSENT, StepHistograms, StepSeries, Steps, is_absent};

use super::labels::{Distinct, KeyIndex, LabelKey, drop_metric};
use super::operator::{Held, Input, Operator, Run};
use super::range::side_by_side;

/// What is asked of histograms.
pub(super) enum Asked {
    /// `histogram_quantile`.
    Quantile,
    /// `histogram_quantiles`, told apart by a label.
    Quantiles(String),
    /// `histogram_fraction`.
    Fraction,
}

/// Evaluates histograms.
pub(super) struct Histograms {
    /// What is asked.
    pub(super) asked: Asked,
    /// The series.
    pub(super) vector: Input,
    /// The quantiles, or the ends of the fraction.
    pub(super) scalars: Vec<Input>,
    /// The steps.
    pub(super) steps: Steps,
    /// Where the vector begins in the text.
    pub(super) vector_position: usize,
    /// Where the scalars begin in the text.
    pub(super) scalar_positions: Vec<usize>,
    /// What is still to come.
    pub(super) done: Option<std::vec::IntoIter<StepSeries>>,
}

/// One histogram in both forms: its labels without `le`, the classic series with their upper
/// bounds, the native ones.
struct OneHistogram {
    labels: LabelSet,
    series: Vec<(f64, StepSeries)>,
    native: StepHistograms,
}

impl OneHistogram {
    /// Takes in another piece of the native one.
    fn take(&mut self, other: Self) {
        for (step, histogram) in other.native.iter() {
            self.native.set(step, step + 1, histogram.clone());
        }
    }

    /// Removes what stands in both forms at one step; whether there was any.
    fn drop_conflicts(&mut self) -> bool {
        let both: Vec<usize> = self
            .native
            .iter()
            .map(|(step, _)| step)
            .filter(|step| self.series.iter().any(|(_, one)| one.has(*step)))
            .collect();
        for step in &both {
            let slots = self.series.iter_mut().map(|(_, one)| &mut one.values);
            for slot in slots.filter_map(|values| values.get_mut(*step)) {
                *slot = ABSENT;
            }
        }
        self.native.retain(|step| !both.contains(&step));
        !both.is_empty()
    }
}

/// The metric that a remark is about: its name, as long as it stays.
fn shown_metric<'a>(labels: &'a LabelSet, run: &Run<'_>) -> &'a str {
    match run.habits.delayed_names {
        true => labels.metric_name().unwrap_or_default(),
        false => "",
    }
}

impl Histograms {
    fn evaluate(&mut self, run: &Run<'_>) -> Result<Vec<StepSeries>, Error> {
        let width = self.scalars.len();
        let rows = side_by_side(&mut self.scalars, self.steps.count, run)?;
        if !matches!(self.asked, Asked::Fraction) {
            self.remark_quantiles(&rows, width, run);
        }
        let mut held = Held::new(run)?;
        let histograms = self.bring_together(&mut held, run)?;
        let mut results = Vec::new();
        let mut distinct = Distinct::default();
        for mut histogram in histograms {
            run.check()?;
            if !histogram.native.is_empty() && histogram.drop_conflicts() {
                let metric = shown_metric(&histogram.labels, run).to_owned();
                let note = HistogramNote::MixedClassicNative(metric);
                run.note(note.into(), self.vector_position);
            }
            let made = match &self.asked {
                Asked::Quantiles(label) => self.quantiles(&histogram, &rows, width, label, run)?,
                Asked::Quantile | Asked::Fraction => {
                    vec![self.single(&histogram, &rows, width, run)?]
                }
            };
            for mut series in made {
                series.drop_name = true;
                if !run.habits.delayed_names {
                    series.labels = drop_metric(&series.labels);
                }
                if series.is_empty() {
                    continue;
                }
                distinct.check_series(&series)?;
                results.push(series);
            }
        }
        Ok(results)
    }

    fn remark_quantiles(&self, rows: &[f64], width: usize, run: &Run<'_>) {
        for (at, value) in rows.iter().enumerate() {
            if value.is_nan() || *value < 0.0 || *value > 1.0 {
                let scalar = at.checked_rem(width).unwrap_or(0);
                let position = self.scalar_positions.get(scalar).copied().unwrap_or(0);
                run.note(Note::InvalidQuantile(*value), position);
            }
        }
    }

    fn bring_together(
        &mut self,
        held: &mut Held,
        run: &Run<'_>,
    ) -> Result<Vec<OneHistogram>, Error> {
        let mut index = KeyIndex::new(LabelKey::all_but(BUCKET_LABEL));
        let mut histograms: Vec<OneHistogram> = Vec::new();
        let mut lone: Vec<OneHistogram> = Vec::new();
        while let Some(mut series) = self.vector.next(run)? {
            if !series.histograms.is_empty() {
                held.push(StepSeries {
                    values: Vec::new(),
                    ..series.clone()
                })?;
                let native = OneHistogram {
                    labels: series.labels.clone(),
                    series: Vec::new(),
                    native: std::mem::take(&mut series.histograms),
                };
                if series.labels.get(BUCKET_LABEL).is_some() {
                    // No classic histogram has these labels.
                    lone.push(native);
                } else {
                    let at = index.number(&series.labels);
                    match histograms.get_mut(at) {
                        None => histograms.push(native),
                        Some(known) => known.take(native),
                    }
                }
                if series.is_empty() {
                    run.recycle(series.values);
                    continue;
                }
            }
            let le = series.labels.get(BUCKET_LABEL).unwrap_or_default();
            let Some(bound) = bucket_bound(le) else {
                let note = Note::BadBucketLabel {
                    metric: shown_metric(&series.labels, run).to_owned(),
                    label: le.to_owned(),
                };
                run.note(note, self.vector_position);
                continue;
            };
            let at = index.number(&series.labels);
            if at == histograms.len() {
                histograms.push(OneHistogram {
                    labels: index.key().project(&series.labels),
                    series: Vec::new(),
                    native: StepHistograms::none(),
                });
            }
            // The values move on; what they take stays accounted for.
            held.push(StepSeries {
                values: Vec::new(),
                ..series.clone()
            })?;
            if let Some(histogram) = histograms.get_mut(at) {
                histogram.series.push((bound, series));
            }
        }
        histograms.append(&mut lone);
        Ok(histograms)
    }

    fn buckets(histogram: &OneHistogram, step: usize, buckets: &mut Vec<ClassicBucket>) {
        buckets.clear();
        let present = histogram.series.iter().filter_map(|(bound, series)| {
            let count = *series.values.get(step)?;
            (!is_absent(count)).then_some(ClassicBucket {
                upper_bound: *bound,
                count,
            })
        });
        buckets.extend(present);
    }

    fn quantile_at(
        &self,
        quantile: f64,
        buckets: &mut Vec<ClassicBucket>,
        step: usize,
        labels: &LabelSet,
        run: &Run<'_>,
    ) -> f64 {
        let (value, forced) = bucket_quantile(quantile, buckets);
        if let Some(forced) = forced {
            let note = Note::ForcedMonotonicity {
                metric: shown_metric(labels, run).to_owned(),
                at: TimestampMs(self.steps.at(step).0),
                bucket_min: forced.bucket_min,
                bucket_max: forced.bucket_max,
                difference_max: forced.difference_max,
            };
            run.note(note, self.vector_position);
        }
        value
    }

    fn single(
        &self,
        histogram: &OneHistogram,
        rows: &[f64],
        width: usize,
        run: &Run<'_>,
    ) -> Result<StepSeries, Error> {
        let mut values = run.values(self.steps.count)?;
        let mut buckets = Vec::with_capacity(histogram.series.len());
        for (step, slot) in values.iter_mut().enumerate() {
            let row = rows.get(step * width..(step + 1) * width);
            let row = row.unwrap_or_default();
            if let Some(native) = histogram.native.get(step) {
                *slot = match row {
                    [lower, upper] => {
                        let (value, remark) = fraction(*lower, *upper, native);
                        self.remark(remark, &histogram.labels, run);
                        value
                    }
                    [asked] => self.native_quantile(*asked, native, &histogram.labels, run),
                    _ => ABSENT,
                };
                continue;
            }
            Self::buckets(histogram, step, &mut buckets);
            if buckets.is_empty() {
                continue;
            }
            *slot = match row {
                [lower, upper] => bucket_fraction(*lower, *upper, &mut buckets),
                [quantile] => {
                    self.quantile_at(*quantile, &mut buckets, step, &histogram.labels, run)
                }
                _ => ABSENT,
            };
        }
        Ok(StepSeries::floats(histogram.labels.clone(), true, values))
    }

    /// Says what observations that are no numbers did.
    fn remark(&self, remark: Option<NanRemark>, labels: &LabelSet, run: &Run<'_>) {
        let note: fn(String) -> HistogramNote = match remark {
            None => return,
            Some(NanRemark::Result) => HistogramNote::QuantileNan,
            Some(NanRemark::Skew) => HistogramNote::QuantileSkew,
            Some(NanRemark::Fraction) => HistogramNote::FractionNan,
        };
        let metric = shown_metric(labels, run).to_owned();
        run.note(note(metric).into(), self.vector_position);
    }

    fn native_quantile(
        &self,
        asked: f64,
        native: &FloatHistogram,
        labels: &LabelSet,
        run: &Run<'_>,
    ) -> f64 {
        let (value, remark) = quantile(asked, native);
        self.remark(remark, labels, run);
        value
    }

    fn quantiles(
        &self,
        histogram: &OneHistogram,
        rows: &[f64],
        width: usize,
        label: &str,
        run: &Run<'_>,
    ) -> Result<Vec<StepSeries>, Error> {
        let mut made: Vec<StepSeries> = Vec::new();
        let mut at: HashMap<u64, usize> = HashMap::new();
        let mut buckets = Vec::with_capacity(histogram.series.len());
        for step in 0..self.steps.count {
            let native = histogram.native.get(step);
            Self::buckets(histogram, step, &mut buckets);
            if buckets.is_empty() && native.is_none() {
                continue;
            }
            let whole = buckets.clone();
            let labels = &histogram.labels;
            let row = rows.get(step * width..(step + 1) * width);
            for quantile in row.unwrap_or_default() {
                let value = if let Some(native) = native {
                    self.native_quantile(*quantile, native, labels, run)
                } else {
                    buckets.clone_from(&whole);
                    self.quantile_at(*quantile, &mut buckets, step, labels, run)
                };
                let place = match at.get(&quantile.to_bits()) {
                    Some(place) => *place,
                    None => {
                        let text = format_open_metrics(*quantile);
                        let mut labels = histogram.labels.to_builder();
                        let labels = labels.set(label, &text).build();
                        let values = run.values(self.steps.count)?;
                        made.push(StepSeries::floats(labels, true, values));
                        at.insert(quantile.to_bits(), made.len() - 1);
                        made.len() - 1
                    }
                };
                let slot = made
                    .get_mut(place)
                    .and_then(|series| series.values.get_mut(step));
                if let Some(slot) = slot {
                    *slot = value;
                }
            }
        }
        Ok(made)
    }
}

impl Operator for Histograms {
    fn next(&mut self, run: &Run<'_>) -> Result<Option<StepSeries>, Error> {
        let mut done = match self.done.take() {
            Some(done) => done,
            None => self.evaluate(run)?.into_iter(),
        };
        let next = done.next();
        self.done = Some(done);
        Ok(next)
    }
}
