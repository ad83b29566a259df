//! Functions of classic histograms: the series of one histogram, told apart by `le`, are brought
//! together and evaluated at every step at which they have values.

use std::collections::HashMap;

use crate::model::{LabelSet, TimestampMs};
use crate::query::annotations::Note;
use crate::query::error::Error;
use crate::query::function::{
    BUCKET_LABEL, ClassicBucket, bucket_bound, bucket_fraction, bucket_quantile,
    format_open_metrics,
};
use crate::query::value::{ABSENT, StepSeries, Steps, is_absent};

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

/// One histogram: its labels without `le`, and its series with their upper bounds.
struct Classic {
    labels: LabelSet,
    series: Vec<(f64, StepSeries)>,
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
        for histogram in histograms {
            run.check()?;
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
                if series.values.iter().all(|value| is_absent(*value)) {
                    continue;
                }
                distinct.check(&series.labels, &series.values)?;
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

    fn bring_together(&mut self, held: &mut Held, run: &Run<'_>) -> Result<Vec<Classic>, Error> {
        let mut index = KeyIndex::new(LabelKey::all_but(BUCKET_LABEL));
        let mut histograms: Vec<Classic> = Vec::new();
        while let Some(series) = self.vector.next(run)? {
            let le = series.labels.get(BUCKET_LABEL).unwrap_or_default();
            let Some(bound) = bucket_bound(le) else {
                let metric = match run.habits.delayed_names {
                    true => series.labels.metric_name().unwrap_or_default(),
                    false => "",
                };
                let note = Note::BadBucketLabel {
                    metric: metric.to_owned(),
                    label: le.to_owned(),
                };
                run.note(note, self.vector_position);
                continue;
            };
            let at = index.number(&series.labels);
            if at == histograms.len() {
                histograms.push(Classic {
                    labels: index.key().project(&series.labels),
                    series: Vec::new(),
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
        Ok(histograms)
    }

    fn buckets(histogram: &Classic, step: usize, buckets: &mut Vec<ClassicBucket>) {
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
            let metric = match run.habits.delayed_names {
                true => labels.metric_name().unwrap_or_default(),
                false => "",
            };
            let note = Note::ForcedMonotonicity {
                metric: metric.to_owned(),
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
        histogram: &Classic,
        rows: &[f64],
        width: usize,
        run: &Run<'_>,
    ) -> Result<StepSeries, Error> {
        let mut values = run.values(self.steps.count)?;
        let mut buckets = Vec::with_capacity(histogram.series.len());
        for (step, slot) in values.iter_mut().enumerate() {
            Self::buckets(histogram, step, &mut buckets);
            if buckets.is_empty() {
                continue;
            }
            let row = rows.get(step * width..(step + 1) * width);
            *slot = match row.unwrap_or_default() {
                [lower, upper] => bucket_fraction(*lower, *upper, &mut buckets),
                [quantile] => {
                    self.quantile_at(*quantile, &mut buckets, step, &histogram.labels, run)
                }
                _ => ABSENT,
            };
        }
        Ok(StepSeries {
            labels: histogram.labels.clone(),
            drop_name: true,
            values,
        })
    }

    fn quantiles(
        &self,
        histogram: &Classic,
        rows: &[f64],
        width: usize,
        label: &str,
        run: &Run<'_>,
    ) -> Result<Vec<StepSeries>, Error> {
        let mut made: Vec<StepSeries> = Vec::new();
        let mut at: HashMap<u64, usize> = HashMap::new();
        let mut buckets = Vec::with_capacity(histogram.series.len());
        for step in 0..self.steps.count {
            Self::buckets(histogram, step, &mut buckets);
            if buckets.is_empty() {
                continue;
            }
            let whole = buckets.clone();
            let row = rows.get(step * width..(step + 1) * width);
            for quantile in row.unwrap_or_default() {
                buckets.clone_from(&whole);
                let value = self.quantile_at(*quantile, &mut buckets, step, &histogram.labels, run);
                let place = match at.get(&quantile.to_bits()) {
                    Some(place) => *place,
                    None => {
                        let text = format_open_metrics(*quantile);
                        let mut labels = histogram.labels.to_builder();
                        made.push(StepSeries {
                            labels: labels.set(label, &text).build(),
                            drop_name: true,
                            values: run.values(self.steps.count)?,
                        });
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
