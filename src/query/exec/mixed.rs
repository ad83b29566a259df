//! Binary operators where one operand, or both, are native histograms.

use std::sync::Arc;

use crate::model::ResetHint;
use crate::query::annotations::Note;
use crate::query::histogram::{FloatHistogram, Incompatible, Outcome};
use crate::query::histogram_note::{HistogramNote, Operation};
use crate::query::syntax::BinaryOp;
use crate::query::value::SampleValue;

/// What an operator makes of two samples.
pub(super) struct Made {
    /// The sample that stays, if one does.
    pub(super) kept: Option<SampleValue>,
    /// What is to be said.
    pub(super) note: Option<Note>,
    /// Nothing was calculated: also `bool` gives nothing.
    pub(super) failed: bool,
}

impl Made {
    fn kept(histogram: FloatHistogram) -> Self {
        Self {
            kept: Some(SampleValue::Histogram(Arc::new(histogram))),
            note: None,
            failed: false,
        }
    }

    fn failed(note: Note) -> Self {
        Self {
            kept: None,
            note: Some(note),
            failed: true,
        }
    }
}

const fn kind(sample: &SampleValue) -> &'static str {
    match sample {
        SampleValue::Float(_) => "float",
        SampleValue::Histogram(_) => "histogram",
    }
}

/// Applies an operator to two samples, of which at least one is a histogram.
pub(super) fn combined(op: BinaryOp, left: &SampleValue, right: &SampleValue) -> Made {
    use SampleValue::{Float, Histogram};
    let changed = |of: &Arc<FloatHistogram>, change: &dyn Fn(&mut FloatHistogram)| {
        let mut result = FloatHistogram::clone(of);
        change(&mut result);
        Made::kept(result)
    };
    match (op, left, right) {
        (BinaryOp::Mul, Float(factor), Histogram(of))
        | (BinaryOp::Mul, Histogram(of), Float(factor)) => changed(of, &|one| {
            one.multiply(*factor);
            one.compact();
        }),
        (BinaryOp::Div, Histogram(of), Float(divisor)) => changed(of, &|one| {
            one.divide(*divisor);
            one.compact();
        }),
        (BinaryOp::TrimUpper, Histogram(of), Float(at)) => changed(of, &|one| one.trim(*at, true)),
        (BinaryOp::TrimLower, Histogram(of), Float(at)) => changed(of, &|one| one.trim(*at, false)),
        (BinaryOp::Add, Histogram(one), Histogram(other)) => {
            let mut result = FloatHistogram::clone(one);
            let outcome = result.add(other);
            summed(op, result, outcome, Operation::Addition)
        }
        (BinaryOp::Sub, Histogram(one), Histogram(other)) => {
            let mut result = FloatHistogram::clone(one);
            let outcome = result.subtract(other);
            result.set_hint(ResetHint::Gauge);
            summed(op, result, outcome, Operation::Subtraction)
        }
        (BinaryOp::Equal | BinaryOp::NotEqual, Histogram(one), Histogram(other)) => {
            let holds = one.same(other) == (op == BinaryOp::Equal);
            Made {
                kept: holds.then(|| SampleValue::Histogram(Arc::clone(one))),
                note: None,
                failed: false,
            }
        }
        _ => Made::failed(Note::IncompatibleTypes {
            left: kind(left),
            operator: op.symbol(),
            right: kind(right),
        }),
    }
}

fn summed(
    op: BinaryOp,
    mut result: FloatHistogram,
    outcome: Result<Outcome, Incompatible>,
    operation: Operation,
) -> Made {
    match outcome {
        Err(Incompatible) => Made::failed(HistogramNote::IncompatibleLayout(op.symbol()).into()),
        Ok(outcome) if outcome.collision => {
            Made::failed(HistogramNote::ResetCollision(operation).into())
        }
        Ok(outcome) => {
            result.compact();
            let note = outcome
                .reconciled
                .then_some(HistogramNote::Reconciled(operation));
            Made {
                note: note.map(Note::from),
                ..Made::kept(result)
            }
        }
    }
}
