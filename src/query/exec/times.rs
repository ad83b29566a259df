//! Times of steps and samples: which are looked at, and what lies between two.

use crate::query::plan::Moment;
use crate::query::value::Steps;

/// The first and the last moment that steps look at.
pub(super) fn reach(moment: Moment, steps: &Steps) -> (i64, i64) {
    (moment.of(steps.start.0), moment.of(steps.end().0))
}

/// The value at a time on the line between two points.
pub(super) fn between(one: (i64, f64), other: (i64, f64), at: i64) -> f64 {
    one.1 + (other.1 - one.1) * difference(at, one.0) / difference(other.0, one.0)
}

/// A difference of times as a float.
#[allow(
    clippy::cast_precision_loss,
    reason = "a difference of times in milliseconds is far below 2^53"
)]
pub(super) fn difference(one: i64, other: i64) -> f64 {
    one.saturating_sub(other) as f64
}

/// Milliseconds as seconds.
#[allow(
    clippy::cast_precision_loss,
    reason = "a time in milliseconds is far below 2^53"
)]
pub(super) fn seconds(ms: i64) -> f64 {
    ms as f64 / 1_000.0
}
