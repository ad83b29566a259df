//! Functions over instant vectors, one series at a time: those that change every value, and those
//! that change labels, presence or type.

use crate::model::LabelSet;
use crate::query::error::Error;
use crate::query::function::{LabelJoin, LabelReplace};
use crate::query::histogram::FloatHistogram;
use crate::query::value::{ABSENT, StepSeries, Steps, is_absent};

use super::constant::lose_name;
use super::labels::Distinct;
use super::operator::{Input, Operator, Run, earlier_failure};
use super::range::side_by_side;

/// What is made of a value.
pub(super) enum Change {
    /// A function of it and of the scalar arguments of the step.
    Sample(fn(f64, &[f64]) -> f64),
    /// A function of it alone.
    Value(fn(f64) -> f64),
    /// The step's time takes its place, also of a histogram.
    StepTime,
    /// A number of every histogram; floats go.
    Histogram(fn(&FloatHistogram) -> f64),
}

/// A function of every value.
pub(super) struct Map {
    /// The function.
    pub(super) change: Change,
    /// The vector.
    pub(super) vector: Input,
    /// The scalar arguments.
    pub(super) scalars: Vec<Input>,
    /// The steps.
    pub(super) steps: Steps,
    /// Names that are dropped may leave equal label sets: seen to where there is something here.
    pub(super) distinct: Option<Distinct>,
    /// The scalars' values, once they are known.
    pub(super) rows: Option<Vec<f64>>,
}

impl Map {
    /// What becomes of histograms. Most functions know nothing of them: they go.
    fn apply_to_histograms(&self, series: &mut StepSeries) {
        if matches!(self.change, Change::Histogram(_)) {
            series.values.fill(ABSENT);
        }
        for (step, histogram) in series.histograms.iter() {
            let value = match self.change {
                Change::Histogram(function) => function(histogram),
                Change::StepTime => super::times::seconds(self.steps.at(step).0),
                Change::Sample(_) | Change::Value(_) => continue,
            };
            if let Some(slot) = series.values.get_mut(step) {
                *slot = value;
            }
        }
        series.histograms.clear();
    }

    fn apply(&self, values: &mut [f64]) {
        let width = self.scalars.len();
        let rows = self.rows.as_deref().unwrap_or_default();
        for (step, value) in values.iter_mut().enumerate() {
            if is_absent(*value) {
                continue;
            }
            *value = match self.change {
                Change::Value(function) => function(*value),
                Change::Histogram(_) => ABSENT,
                Change::StepTime => super::times::seconds(self.steps.at(step).0),
                Change::Sample(function) => {
                    let row = rows.get(step * width..(step + 1) * width);
                    function(*value, row.unwrap_or_default())
                }
            };
        }
    }
}

impl Operator for Map {
    fn next(&mut self, run: &Run<'_>) -> Result<Option<StepSeries>, Error> {
        if self.rows.is_none() {
            let read = side_by_side(&mut self.scalars, self.steps.count, run);
            self.rows = Some(read.map_err(|error| earlier_failure(error, &mut self.vector, run))?);
        }
        loop {
            let Some(mut series) = self.vector.next(run)? else {
                return Ok(None);
            };
            if series.histograms.is_empty() {
                self.apply(&mut series.values);
            } else {
                if !matches!(self.change, Change::Histogram(_)) {
                    self.apply(&mut series.values);
                }
                self.apply_to_histograms(&mut series);
            }
            if series.values.iter().all(|value| is_absent(*value)) {
                run.recycle(series.values);
                continue;
            }
            lose_name(&mut series, run, self.distinct.as_mut())?;
            return Ok(Some(series));
        }
    }
}

/// Only the name goes: for scans whose values are made as they are read.
pub(super) struct Nameless {
    /// The vector.
    pub(super) vector: Input,
    /// Names that are dropped may leave equal label sets: seen to where there is something here.
    pub(super) distinct: Option<Distinct>,
}

impl Operator for Nameless {
    fn next(&mut self, run: &Run<'_>) -> Result<Option<StepSeries>, Error> {
        let Some(mut series) = self.vector.next(run)? else {
            return Ok(None);
        };
        lose_name(&mut series, run, self.distinct.as_mut())?;
        Ok(Some(series))
    }
}

/// `scalar`: the value of the only series that has one, else NaN.
pub(super) struct Only {
    /// The vector.
    pub(super) vector: Input,
    /// How many steps there are.
    pub(super) count: usize,
    /// It has been answered.
    pub(super) done: bool,
}

impl Operator for Only {
    fn next(&mut self, run: &Run<'_>) -> Result<Option<StepSeries>, Error> {
        if std::mem::replace(&mut self.done, true) {
            return Ok(None);
        }
        let mut values = run.values(self.count)?;
        while let Some(series) = self.vector.next(run)? {
            let slots = values.iter_mut().zip(&series.values);
            for (slot, value) in slots.filter(|(_, value)| !is_absent(**value)) {
                *slot = match is_absent(*slot) {
                    true => *value,
                    false => f64::NAN,
                };
            }
            run.recycle(series.values);
        }
        for value in values.iter_mut().filter(|value| is_absent(**value)) {
            *value = f64::NAN;
        }
        Ok(Some(StepSeries::floats(LabelSet::empty(), false, values)))
    }
}

/// How labels change.
pub(super) enum Relabel {
    /// `label_replace`.
    Replace(LabelReplace),
    /// `label_join`.
    Join(LabelJoin),
}

/// Changes labels.
pub(super) struct Labels {
    /// How.
    pub(super) relabel: Relabel,
    /// The vector.
    pub(super) vector: Input,
    /// Label sets that become equal must not meet at a step.
    pub(super) distinct: Distinct,
}

impl Operator for Labels {
    fn next(&mut self, run: &Run<'_>) -> Result<Option<StepSeries>, Error> {
        let Some(mut series) = self.vector.next(run)? else {
            return Ok(None);
        };
        let (changed, names) = match &self.relabel {
            Relabel::Replace(replace) => {
                (replace.apply(&series.labels), replace.sets_metric_name())
            }
            Relabel::Join(join) => (Some(join.apply(&series.labels)), join.sets_metric_name()),
        };
        if let Some(labels) = changed {
            series.labels = labels;
            series.drop_name &= !names;
        }
        self.distinct.check_series(&series)?;
        Ok(Some(series))
    }
}

/// What nothing comes out of, whatever goes in.
pub(super) struct Swallow {
    /// The vector.
    pub(super) vector: Input,
}

impl Operator for Swallow {
    fn next(&mut self, run: &Run<'_>) -> Result<Option<StepSeries>, Error> {
        while let Some(series) = self.vector.next(run)? {
            run.recycle(series.values);
        }
        Ok(None)
    }
}
