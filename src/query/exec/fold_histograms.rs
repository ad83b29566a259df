//! What aggregations make of native histograms: sum and mean of a group's, step by step.

use std::sync::Arc;

use crate::model::ResetHint;
use crate::query::error::Error;
use crate::query::histogram::{FloatHistogram, HistogramMean, HistogramSum, Incompatible};
use crate::query::histogram_note::{HistogramNote, Operation};
use crate::query::syntax::AggregateOp;
use crate::query::value::{ABSENT, StepHistograms, StepSeries, is_absent};
use crate::runtime::Reservation;

use super::operator::Run;

/// The histograms of one group; none while no histogram has come.
#[derive(Default)]
pub(super) struct Histograms(Vec<Option<Cell>>);

/// What is kept of one step.
struct Cell {
    state: State,
    reset: bool,
    no_reset: bool,
    reconciled: bool,
}

enum State {
    Sum(Box<HistogramSum>),
    Mean(Box<HistogramMean>),
    /// Exponential and custom buckets met, in a series of this name.
    Broken(String),
}

impl Cell {
    fn new(op: AggregateOp, first: &FloatHistogram) -> Self {
        let first = first.clone();
        let state = match op {
            AggregateOp::Sum => State::Sum(Box::new(HistogramSum::of(first))),
            _ => State::Mean(Box::new(HistogramMean::of(first))),
        };
        Self {
            state,
            reset: false,
            no_reset: false,
            reconciled: false,
        }
    }

    fn look_at(&mut self, histogram: &FloatHistogram) {
        self.reset |= histogram.hint() == ResetHint::Yes;
        self.no_reset |= histogram.hint() == ResetHint::No;
    }

    fn bytes(&self) -> usize {
        let state = match &self.state {
            State::Sum(sum) => sum.bytes(),
            State::Mean(mean) => mean.bytes(),
            State::Broken(_) => 0,
        };
        size_of::<Self>() + state
    }
}

impl Histograms {
    /// Folds those of a series in. `position` is where the aggregated expression begins.
    pub(super) fn fold(
        &mut self,
        op: AggregateOp,
        series: &StepSeries,
        held: &mut Reservation,
        (run, position): (&Run<'_>, usize),
    ) -> Result<(), Error> {
        if let Some(name) = ignoring(op) {
            run.note(HistogramNote::IgnoredInAggregation(name).into(), position);
            return Ok(());
        }
        self.0.resize_with(series.values.len(), || None);
        for (step, histogram) in series.histograms.iter() {
            let Some(slot) = self.0.get_mut(step) else {
                continue;
            };
            let Some(cell) = slot else {
                let cell = slot.insert(Cell::new(op, histogram));
                cell.look_at(histogram);
                held.grow(u64::try_from(cell.bytes()).unwrap_or(u64::MAX), 0)?;
                continue;
            };
            cell.look_at(histogram);
            let outcome = match &mut cell.state {
                State::Sum(sum) => sum.add(histogram),
                State::Mean(mean) => mean.add(histogram),
                State::Broken(_) => continue,
            };
            match outcome {
                Ok(outcome) => cell.reconciled |= outcome.reconciled,
                Err(Incompatible) => {
                    let metric = series.labels.metric_name().unwrap_or_default();
                    cell.state = State::Broken(metric.to_owned());
                }
            }
        }
        Ok(())
    }

    /// The result; a step at which `floats` were aggregated, too, has none.
    pub(super) fn finish(
        self,
        floats: &mut [f64],
        (run, position): (&Run<'_>, usize),
    ) -> StepHistograms {
        let mut results = StepHistograms::none();
        let steps = floats.len();
        let (mut mixed, mut collision, mut reconciled) = (false, false, false);
        for (step, (cell, float)) in self.0.into_iter().zip(floats).enumerate() {
            let Some(cell) = cell else {
                continue;
            };
            if !is_absent(*float) {
                *float = ABSENT;
                mixed = true;
                continue;
            }
            reconciled |= cell.reconciled;
            let mut result = match cell.state {
                State::Sum(sum) => sum.total(),
                State::Mean(mean) => mean.mean(),
                State::Broken(metric) => {
                    run.note(HistogramNote::MixedSchemas(metric).into(), position);
                    continue;
                }
            };
            collision |= cell.reset && cell.no_reset;
            result.compact();
            results.set(step, steps, Arc::new(result));
        }
        if mixed {
            run.note(HistogramNote::MixedAggregation.into(), position);
        }
        if reconciled {
            let note = HistogramNote::Reconciled(Operation::Aggregation);
            run.note(note.into(), position);
        }
        if collision {
            let note = HistogramNote::ResetCollision(Operation::Aggregation);
            run.note(note.into(), position);
        }
        results
    }
}

/// The name of an aggregation that leaves histograms out.
const fn ignoring(op: AggregateOp) -> Option<&'static str> {
    match op {
        AggregateOp::Min => Some("min"),
        AggregateOp::Max => Some("max"),
        AggregateOp::Stddev => Some("stddev"),
        AggregateOp::Stdvar => Some("stdvar"),
        _ => None,
    }
}
