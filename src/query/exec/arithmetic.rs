//! Operators on two numbers, and between a vector and a scalar.

use crate::query::annotations::Note;
use crate::query::error::Error;
use crate::query::syntax::BinaryOp;
use crate::query::value::{ABSENT, SampleValue, StepHistograms, StepSeries, is_absent};

use super::constant::lose_name;
use super::labels::Distinct;
use super::mixed::combined;
use super::operator::{Input, Operator, Run, earlier_failure, scalar_values};

/// What an operator makes of two numbers; of a comparison whether it holds.
#[derive(Clone, Copy)]
pub(super) enum Calculation {
    /// A new number.
    Number(fn(f64, f64) -> f64),
    /// Whether they compare so.
    Comparison(fn(f64, f64) -> bool),
    /// Nothing between floats: the operator is for histograms.
    Nothing,
}

/// What an operator does.
pub(super) fn calculation(op: BinaryOp) -> Calculation {
    use Calculation::{Comparison, Nothing, Number};
    match op {
        BinaryOp::Add => Number(|a, b| a + b),
        BinaryOp::Sub => Number(|a, b| a - b),
        BinaryOp::Mul => Number(|a, b| a * b),
        BinaryOp::Div => Number(|a, b| a / b),
        BinaryOp::Mod => Number(|a, b| a % b),
        BinaryOp::Pow => Number(f64::powf),
        BinaryOp::Atan2 => Number(f64::atan2),
        BinaryOp::Equal => Comparison(|a, b| a == b),
        BinaryOp::NotEqual => Comparison(|a, b| a != b),
        BinaryOp::Greater => Comparison(|a, b| a > b),
        BinaryOp::Less => Comparison(|a, b| a < b),
        BinaryOp::GreaterEqual => Comparison(|a, b| a >= b),
        BinaryOp::LessEqual => Comparison(|a, b| a <= b),
        BinaryOp::TrimUpper
        | BinaryOp::TrimLower
        | BinaryOp::And
        | BinaryOp::Or
        | BinaryOp::Unless => Nothing,
    }
}

/// Whether the result is another quantity than the operands.
pub(super) const fn changes_quantity(op: BinaryOp) -> bool {
    matches!(
        op,
        BinaryOp::Add
            | BinaryOp::Sub
            | BinaryOp::Mul
            | BinaryOp::Div
            | BinaryOp::Mod
            | BinaryOp::Pow
            | BinaryOp::Atan2
    )
}

fn truth(holds: bool) -> f64 {
    if holds { 1.0 } else { 0.0 }
}

/// Two scalars.
pub(super) struct Scalars {
    /// The operator; a comparison gives 0 or 1.
    pub(super) op: BinaryOp,
    /// The left operand.
    pub(super) left: Input,
    /// The right operand.
    pub(super) right: Input,
}

impl Operator for Scalars {
    fn next(&mut self, run: &Run<'_>) -> Result<Option<StepSeries>, Error> {
        let (Some(mut left), Some(right)) = (self.left.next(run)?, self.right.next(run)?) else {
            return Ok(None);
        };
        let calculation = calculation(self.op);
        for (one, other) in left.values.iter_mut().zip(&right.values) {
            *one = match calculation {
                Calculation::Number(number) => number(*one, *other),
                Calculation::Comparison(holds) => truth(holds(*one, *other)),
                Calculation::Nothing => f64::NAN,
            };
        }
        run.recycle(right.values);
        Ok(Some(left))
    }
}

/// What every pair of operators between floats is asked.
#[derive(Clone, Copy)]
pub(super) struct Pairing {
    /// The operator.
    pub(super) op: BinaryOp,
    /// 0 or 1 instead of filtering.
    pub(super) return_bool: bool,
    /// Where the expression begins in the text.
    pub(super) position: usize,
}

/// The other operand of a series: a number, a histogram or nothing for every step.
#[derive(Clone, Copy)]
pub(super) struct Partner<'a> {
    /// Its numbers, or one number at all steps.
    pub(super) values: Result<&'a [f64], f64>,
    /// Its histograms.
    pub(super) histograms: &'a StepHistograms,
}

impl Partner<'_> {
    fn at(&self, step: usize) -> Option<SampleValue> {
        sample(self.value(step), self.histograms, step)
    }

    fn value(&self, step: usize) -> f64 {
        match self.values {
            Ok(values) => values.get(step).copied().unwrap_or(ABSENT),
            Err(number) => number,
        }
    }
}

fn sample(value: f64, histograms: &StepHistograms, step: usize) -> Option<SampleValue> {
    match histograms.get(step) {
        Some(histogram) => Some(SampleValue::Histogram(histogram.clone())),
        None => (!is_absent(value)).then_some(SampleValue::Float(value)),
    }
}

impl Pairing {
    /// Calculates in place: every step of a series, which stands left (or right, if `swapped`),
    /// with its partner's. A filter lets the left operand through, or the right one. Gives the
    /// steps at which the operator knows nothing to do with what it meets.
    pub(super) fn join(
        self,
        series: &mut StepSeries,
        partner: &Partner<'_>,
        (swapped, keeps_right): (bool, bool),
        run: &Run<'_>,
    ) -> Vec<usize> {
        let kept = |left, right| if keeps_right { right } else { left };
        let mut failed = Vec::new();
        let mixed = if series.histograms.is_empty() && partner.histograms.is_empty() {
            Vec::new()
        } else {
            self.mixed(series, partner, swapped, (run, &mut failed))
        };
        if matches!(calculation(self.op), Calculation::Nothing) {
            let steps = series.values.iter().enumerate();
            let both = steps
                .filter(|(step, value)| !is_absent(**value) && !is_absent(partner.value(*step)));
            failed.extend(both.map(|(step, _)| step));
        }
        match partner.values {
            Ok(values) => {
                let partners = values.iter().copied();
                self.apply(&mut series.values, partners, swapped, kept, run);
            }
            Err(number) => {
                let partners = std::iter::repeat(number);
                self.apply(&mut series.values, partners, swapped, kept, run);
            }
        }
        let steps = series.values.len();
        for (step, sample) in mixed {
            match sample {
                SampleValue::Histogram(histogram) => series.histograms.set(step, steps, histogram),
                SampleValue::Float(value) => {
                    if let Some(slot) = series.values.get_mut(step) {
                        *slot = value;
                    }
                }
            }
        }
        failed
    }

    /// The steps at which one of both is a histogram: taken out of the series, and what becomes of
    /// them.
    fn mixed(
        self,
        series: &mut StepSeries,
        partner: &Partner<'_>,
        swapped: bool,
        (run, failed): (&Run<'_>, &mut Vec<usize>),
    ) -> Vec<(usize, SampleValue)> {
        let mut results = Vec::new();
        let ours = std::mem::take(&mut series.histograms);
        for (step, slot) in series.values.iter_mut().enumerate() {
            if !ours.has(step) && !partner.histograms.has(step) {
                continue;
            }
            let one = sample(std::mem::replace(slot, ABSENT), &ours, step);
            let (Some(one), Some(other)) = (one, partner.at(step)) else {
                continue;
            };
            let (left, right) = if swapped { (other, one) } else { (one, other) };
            let made = combined(self.op, &left, &right);
            failed.extend(made.failed.then_some(step));
            if let Some(note) = made.note {
                run.note(note, self.position);
            }
            let result = match (self.return_bool, made.failed) {
                (true, false) => Some(SampleValue::Float(truth(made.kept.is_some()))),
                _ => made.kept,
            };
            results.extend(result.map(|result| (step, result)));
        }
        results
    }

    /// Calculates in place: each of `values`, which stand left (or right, if `swapped`), with its
    /// partner. `kept` is what a filter lets through.
    fn apply(
        self,
        values: &mut [f64],
        partners: impl Iterator<Item = f64>,
        swapped: bool,
        kept: impl Fn(f64, f64) -> f64,
        run: &Run<'_>,
    ) {
        let calculation = calculation(self.op);
        let mut nothing = false;
        for (value, partner) in values.iter_mut().zip(partners) {
            if is_absent(*value) || is_absent(partner) {
                *value = ABSENT;
                continue;
            }
            let (left, right) = if swapped {
                (partner, *value)
            } else {
                (*value, partner)
            };
            *value = match calculation {
                Calculation::Number(number) => number(left, right),
                Calculation::Comparison(holds) if self.return_bool => truth(holds(left, right)),
                Calculation::Comparison(holds) if holds(left, right) => kept(left, right),
                Calculation::Comparison(_) => ABSENT,
                Calculation::Nothing => {
                    nothing = true;
                    ABSENT
                }
            };
        }
        if nothing {
            let note = Note::IncompatibleTypes {
                left: "float",
                operator: self.op.symbol(),
                right: "float",
            };
            run.note(note, self.position);
        }
    }
}

/// A vector and a scalar.
pub(super) struct WithScalar {
    /// What is calculated.
    pub(super) pairing: Pairing,
    /// The vector.
    pub(super) vector: Input,
    /// The scalar.
    pub(super) scalar: Input,
    /// The scalar stands on the left.
    pub(super) scalar_left: bool,
    /// Names that are dropped may leave equal label sets: seen to where there is something here.
    pub(super) distinct: Option<Distinct>,
    /// The scalar's values, once they are known.
    pub(super) scalars: Option<Vec<f64>>,
}

impl Operator for WithScalar {
    fn next(&mut self, run: &Run<'_>) -> Result<Option<StepSeries>, Error> {
        if self.scalars.is_none() {
            let read = scalar_values(&mut self.scalar, run);
            self.scalars = Some(match read {
                Err(error) if !self.scalar_left => {
                    return Err(earlier_failure(error, &mut self.vector, run));
                }
                read => read?,
            });
        }
        let Some(scalars) = &self.scalars else {
            return Ok(None);
        };
        let none = StepHistograms::none();
        loop {
            let Some(mut series) = self.vector.next(run)? else {
                return Ok(None);
            };
            let partner = Partner {
                values: Ok(scalars),
                histograms: &none,
            };
            // A filter lets the vector's value through, on whichever side it stands.
            let sides = (self.scalar_left, self.scalar_left);
            self.pairing.join(&mut series, &partner, sides, run);
            if series.is_empty() {
                run.recycle(series.values);
                continue;
            }
            if changes_quantity(self.pairing.op) || self.pairing.return_bool {
                lose_name(&mut series, run, self.distinct.as_mut())?;
            }
            return Ok(Some(series));
        }
    }
}
