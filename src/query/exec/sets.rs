//! `and`, `or`, `unless`: series are let through, or not, by whether the other side has one with
//! the same key at the same step.

use crate::query::annotations::Annotations;
use crate::query::error::Error;
use crate::query::syntax::{BinaryOp, Matching};
use crate::query::value::{ABSENT, StepSeries, is_absent};

use super::join::matching_key;
use super::labels::{KeyIndex, StepSet};
use super::operator::{Input, Operator, Run, earlier_failure};

/// A set operator.
pub(super) struct Sets {
    op: BinaryOp,
    left: Input,
    right: Input,
    index: KeyIndex,
    /// By key the steps at which the deciding side has a series.
    present: Vec<StepSet>,
    /// The deciding side has been read.
    decided: bool,
    /// What was said of the right operand, to be repeated after the left one.
    said: Option<Annotations>,
}

impl Sets {
    /// Of two operands.
    pub(super) fn new(op: BinaryOp, matching: &Matching, left: Input, right: Input) -> Self {
        Self {
            op,
            left,
            right,
            index: KeyIndex::new(matching_key(matching)),
            present: Vec::new(),
            decided: false,
            said: None,
        }
    }

    fn take_in(&mut self, series: &StepSeries) {
        let at = self.index.number(&series.labels);
        let steps = StepSet::of_series(series);
        match self.present.get_mut(at) {
            Some(present) => {
                present.add(&steps);
            }
            None => self.present.push(steps),
        }
    }

    /// Removes the steps at which the deciding side's presence is not as wanted; false if nothing
    /// is left.
    fn filter(&self, series: &mut StepSeries, wanted: bool) -> bool {
        let steps = self
            .index
            .find(&series.labels)
            .and_then(|at| self.present.get(at));
        let Some(steps) = steps else {
            return !wanted;
        };
        let mut some = false;
        for (step, value) in series.values.iter_mut().enumerate() {
            if steps.has(step) != wanted {
                *value = ABSENT;
            }
            some |= !is_absent(*value);
        }
        series.histograms.retain(|step| steps.has(step) == wanted);
        some || !series.histograms.is_empty()
    }

    /// The right side decides what is let through.
    fn read_right(&mut self, run: &Run<'_>) -> Result<(), Error> {
        while let Some(series) = self.right.next(run)? {
            self.take_in(&series);
            run.recycle(series.values);
        }
        Ok(())
    }

    /// The left side decides what of the right side is let through after it.
    fn next_or(&mut self, run: &Run<'_>) -> Result<Option<StepSeries>, Error> {
        if !self.decided {
            if let Some(series) = self.left.next(run)? {
                self.take_in(&series);
                return Ok(Some(series));
            }
            self.decided = true;
        }
        while let Some(mut series) = self.right.next(run)? {
            if self.filter(&mut series, false) {
                return Ok(Some(series));
            }
            run.recycle(series.values);
        }
        if let Some(said) = self.said.take() {
            run.repeat(said);
        }
        Ok(None)
    }
}

impl Operator for Sets {
    fn next(&mut self, run: &Run<'_>) -> Result<Option<StepSeries>, Error> {
        if self.op == BinaryOp::Or {
            return self.next_or(run);
        }
        if !self.decided {
            let (read, said) = run.early(|| self.read_right(run));
            self.said = Some(said);
            read.map_err(|error| earlier_failure(error, &mut self.left, run))?;
            self.decided = true;
        }
        while let Some(mut series) = self.left.next(run)? {
            if self.filter(&mut series, self.op == BinaryOp::And) {
                return Ok(Some(series));
            }
            run.recycle(series.values);
        }
        if let Some(said) = self.said.take() {
            run.repeat(said);
        }
        Ok(None)
    }
}
