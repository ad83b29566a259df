//! What needs no series: numbers, functions of the time or of other scalars; what is evaluated at
//! one step and stands for all; and the changed sign.

use std::sync::Arc;

use crate::model::LabelSet;
use crate::query::error::Error;
use crate::query::value::{StepSeries, Steps, is_absent};

use super::labels::{Distinct, drop_metric};
use super::operator::{Input, Operator, Run};
use super::range::side_by_side;

/// How a scalar comes about.
pub(super) enum Formula {
    /// It is this.
    Number(f64),
    /// Of the step's time in milliseconds.
    Time(fn(i64) -> f64),
    /// Of other scalars.
    Scalars(fn(&[f64]) -> f64, Vec<Input>),
}

/// What cannot be evaluated, whatever the data are.
pub(super) struct Refuse(pub(super) String);

impl Operator for Refuse {
    fn next(&mut self, _: &Run<'_>) -> Result<Option<StepSeries>, Error> {
        Err(Error::Execution(self.0.clone()))
    }
}

/// A scalar, or with `vector()` the same as a vector.
pub(super) struct Scalar {
    formula: Formula,
    steps: Steps,
    done: bool,
}

impl Scalar {
    /// At these steps.
    pub(super) const fn new(formula: Formula, steps: Steps) -> Self {
        Self {
            formula,
            steps,
            done: false,
        }
    }
}

impl Operator for Scalar {
    fn next(&mut self, run: &Run<'_>) -> Result<Option<StepSeries>, Error> {
        if std::mem::replace(&mut self.done, true) {
            return Ok(None);
        }
        let mut values = run.values(self.steps.count)?;
        match &mut self.formula {
            Formula::Number(number) => values.fill(*number),
            Formula::Time(function) => {
                for (slot, at) in values.iter_mut().zip(self.steps.iter()) {
                    *slot = function(at);
                }
            }
            Formula::Scalars(function, inputs) if inputs.is_empty() => values.fill(function(&[])),
            Formula::Scalars(function, inputs) => {
                let width = inputs.len();
                let rows = side_by_side(inputs, self.steps.count, run)?;
                for (slot, row) in values.iter_mut().zip(rows.chunks(width)) {
                    *slot = function(row);
                }
            }
        }
        Ok(Some(StepSeries::floats(LabelSet::empty(), false, values)))
    }
}

/// Evaluated at one step, the same at all.
pub(super) struct Once {
    /// Evaluated at the first step only.
    pub(super) input: Input,
    /// How many steps there are.
    pub(super) count: usize,
}

impl Operator for Once {
    fn next(&mut self, run: &Run<'_>) -> Result<Option<StepSeries>, Error> {
        let Some(mut series) = self.input.next(run)? else {
            return Ok(None);
        };
        let value = series.values.first().copied();
        let mut values = run.values(self.count)?;
        values.fill(value.unwrap_or(crate::query::value::ABSENT));
        run.recycle(std::mem::replace(&mut series.values, values));
        if let Some(histogram) = series.histograms.get(0).cloned() {
            for step in 0..self.count {
                let histogram = Arc::clone(&histogram);
                series.histograms.set(step, self.count, histogram);
            }
        }
        Ok(Some(series))
    }
}

/// The changed sign.
pub(super) struct Negate {
    /// Of what.
    pub(super) input: Input,
    /// Names that are dropped may leave equal label sets: seen to where there is something here.
    pub(super) distinct: Option<Distinct>,
}

impl Operator for Negate {
    fn next(&mut self, run: &Run<'_>) -> Result<Option<StepSeries>, Error> {
        let Some(mut series) = self.input.next(run)? else {
            return Ok(None);
        };
        for value in series.values.iter_mut().filter(|value| !is_absent(**value)) {
            *value = -*value;
        }
        series
            .histograms
            .change(|histogram| histogram.multiply(-1.0));
        lose_name(&mut series, run, self.distinct.as_mut())?;
        Ok(Some(series))
    }
}

/// Removes what says what the metric is, now or at the end.
pub(super) fn lose_name(
    series: &mut StepSeries,
    run: &Run<'_>,
    distinct: Option<&mut Distinct>,
) -> Result<(), Error> {
    series.drop_name = true;
    if run.habits.delayed_names {
        return Ok(());
    }
    series.labels = drop_metric(&series.labels);
    match distinct {
        Some(distinct) => distinct.check_series(series),
        None => Ok(()),
    }
}

/// No series.
pub(super) struct Empty;

impl Operator for Empty {
    fn next(&mut self, _: &Run<'_>) -> Result<Option<StepSeries>, Error> {
        Ok(None)
    }
}
