//! Aggregations that need all values of a group at one step side by side: quantile, count_values.

use std::collections::HashMap;

use crate::model::LabelSet;
use crate::query::annotations::Note;
use crate::query::error::Error;
use crate::query::function::quantile;
use crate::query::histogram_note::HistogramNote;
use crate::query::value::{ABSENT, StepSeries, is_absent};

use super::labels::{KeyIndex, LabelKey};
use super::operator::{Held, Input, Operator, Run, scalar_values};

/// What is made of a group's values.
pub(super) enum Tally {
    /// A quantile, given by a scalar whose text begins at a position.
    Quantile(Input, usize),
    /// For every value how often it occurs, under a label of this name.
    CountValues(String),
}

/// Gathers groups.
pub(super) struct Gather {
    tally: Tally,
    input: Input,
    key: Option<LabelKey>,
    steps: usize,
    /// Where what is gathered begins in the text.
    position: usize,
    done: Option<std::vec::IntoIter<StepSeries>>,
    held: Option<Held>,
}

impl Gather {
    /// By a key, over so many steps; the input's text begins at a position.
    pub(super) fn new(
        tally: Tally,
        (input, position): (Input, usize),
        key: LabelKey,
        steps: usize,
    ) -> Self {
        Self {
            tally,
            input,
            key: Some(key),
            steps,
            position,
            done: None,
            held: None,
        }
    }

    fn gather(&mut self, run: &Run<'_>) -> Result<Vec<StepSeries>, Error> {
        let Some(key) = self.key.take() else {
            return Ok(Vec::new());
        };
        match &mut self.tally {
            Tally::CountValues(label) => {
                let label = std::mem::take(label);
                count_values(&mut self.input, key, &label, self.steps, run)
            }
            Tally::Quantile(param, position) => {
                let params = scalar_values(param, run)?;
                let held = Held::all(&mut self.input, run)?;
                remark_quantiles(&params, *position, run);
                if held.series.iter().any(|one| !one.histograms.is_empty()) {
                    let note = HistogramNote::IgnoredInAggregation("quantile");
                    run.note(note.into(), self.position);
                }
                let series = quantiles(&held.series, key, &params, run);
                self.held = Some(held);
                series
            }
        }
    }
}

/// The note that Prometheus makes of a parameter over all steps.
fn remark_quantiles(params: &[f64], position: usize, run: &Run<'_>) {
    let any_nan = params.iter().any(|param| param.is_nan());
    let numbers = || params.iter().copied().filter(|param| !param.is_nan());
    let most = numbers().fold(f64::MIN, f64::max);
    let least = numbers().fold(f64::MAX, f64::min);
    let bad = [
        any_nan.then_some(f64::NAN),
        (most > 1.0).then_some(most),
        (least < 0.0).then_some(least),
    ];
    for quantile in bad.into_iter().flatten() {
        run.note(Note::InvalidQuantile(quantile), position);
    }
}

fn quantiles(
    all: &[StepSeries],
    key: LabelKey,
    params: &[f64],
    run: &Run<'_>,
) -> Result<Vec<StepSeries>, Error> {
    let mut index = KeyIndex::new(key);
    let mut groups: Vec<Vec<&StepSeries>> = Vec::new();
    for series in all {
        let at = index.number(&series.labels);
        if at == groups.len() {
            groups.push(Vec::new());
        }
        if let Some(group) = groups.get_mut(at) {
            group.push(series);
        }
    }
    let mut results = Vec::with_capacity(groups.len());
    let mut side_by_side = Vec::new();
    for group in groups {
        run.check()?;
        let mut values = run.values(params.len())?;
        for (step, (slot, param)) in values.iter_mut().zip(params).enumerate() {
            side_by_side.clear();
            let present = group.iter().filter_map(|one| one.values.get(step).copied());
            side_by_side.extend(present.filter(|value| !is_absent(*value)));
            if !side_by_side.is_empty() {
                *slot = quantile(*param, &mut side_by_side);
            }
        }
        let Some(first) = group.first() else {
            continue;
        };
        if values.iter().all(|value| is_absent(*value)) {
            run.recycle(values);
            continue;
        }
        let labels = index.key().project(&first.labels);
        let drop_name = group.iter().any(|one| one.drop_name);
        results.push(StepSeries::floats(labels, drop_name, values));
    }
    Ok(results)
}

fn count_values(
    input: &mut Input,
    key: LabelKey,
    label: &str,
    steps: usize,
    run: &Run<'_>,
) -> Result<Vec<StepSeries>, Error> {
    let mut held = run.reservation()?;
    let mut at: HashMap<LabelSet, usize> = HashMap::new();
    let mut results: Vec<StepSeries> = Vec::new();
    while let Some(series) = input.next(run)? {
        // The same value usually stands for many steps: its labels are made once.
        let mut last: Option<(u64, usize)> = None;
        for (step, value) in series.values.iter().enumerate() {
            let histogram = series.histograms.get(step);
            if is_absent(*value) && histogram.is_none() {
                continue;
            }
            let place = match last {
                Some((bits, place)) if bits == value.to_bits() && histogram.is_none() => place,
                _ => {
                    let text = match histogram {
                        Some(histogram) => histogram.to_string(),
                        None => plain(*value),
                    };
                    let mut builder = series.labels.to_builder();
                    let labels = key.project(&builder.set(label, &text).build());
                    *at.entry(labels.clone()).or_insert_with(|| {
                        results.push(StepSeries::floats(labels, false, Vec::new()));
                        results.len() - 1
                    })
                }
            };
            last = histogram.is_none().then_some((value.to_bits(), place));
            let Some(result) = results.get_mut(place) else {
                continue;
            };
            if result.values.is_empty() {
                let bytes = steps * size_of::<f64>() + result.labels.text_len() * 2 + 128;
                held.grow(u64::try_from(bytes).unwrap_or(u64::MAX), 1)?;
                result.values = vec![ABSENT; steps];
            }
            if let Some(count) = result.values.get_mut(step) {
                *count = if is_absent(*count) { 1.0 } else { *count + 1.0 };
            }
        }
        run.recycle(series.values);
    }
    Ok(results)
}

/// A float without exponent, as few digits as make it again.
fn plain(value: f64) -> String {
    match value {
        _ if value.is_nan() => "NaN".to_owned(),
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        _ => format!("{value}"),
    }
}

impl Operator for Gather {
    fn next(&mut self, run: &Run<'_>) -> Result<Option<StepSeries>, Error> {
        let mut done = match self.done.take() {
            Some(done) => done,
            None => self.gather(run)?.into_iter(),
        };
        let next = done.next();
        self.done = Some(done);
        Ok(next)
    }
}
