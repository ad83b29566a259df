//! Durations as expressions (`[5m + step()]`, `offset max_of(1m, range() / 2)`): their tree, and
//! what they amount to once the query's step and range are known.
//!
//! Every place that takes a duration holds a [`DurationExpr`]; most are one number. Values are
//! seconds in floating point, as in Prometheus, and become whole milliseconds at the end.

use super::span::Span;

/// A number.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct NumberLiteral {
    /// Its value, in seconds if it was written as a duration.
    pub value: f64,
    /// It was written as a duration (`5m`).
    pub duration: bool,
}

/// A duration as it was written, and where it stands.
#[derive(Clone, Debug)]
pub struct DurationExpr {
    /// What it is.
    pub kind: DurationKind,
    /// Where it stands, as Prometheus counts it.
    pub span: Span,
}

/// What a duration is made of.
#[derive(Clone, Debug)]
pub enum DurationKind {
    /// `5m` or `300`, its sign included.
    Number(NumberLiteral),
    /// `step()`: the query's step; 0 in an instant query.
    Step,
    /// `range()`: from the query's start to its end.
    Range,
    /// `+x` before `step()` and its like in an offset; elsewhere `+` leaves no trace.
    Plus(Box<DurationExpr>),
    /// `-x`.
    Negate(Box<DurationExpr>),
    /// `(x)`; never one directly within another.
    Paren(Box<DurationExpr>),
    /// `x op y`.
    Binary(DurationOp, Box<DurationExpr>, Box<DurationExpr>),
}

/// What joins two durations.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DurationOp {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`
    Mod,
    /// `^`
    Pow,
    /// `min_of(x, y)`
    MinOf,
    /// `max_of(x, y)`
    MaxOf,
}

impl DurationOp {
    /// As it is written.
    #[must_use]
    pub const fn symbol(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
            Self::MinOf => "min_of",
            Self::MaxOf => "max_of",
        }
    }
}

/// Why a duration has no value; the text is Prometheus'.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}:{}: {reason}", span.start, span.end)]
pub struct DurationError {
    /// Where the part at fault stands.
    pub span: Span,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// More seconds than this overflow the nanoseconds in 63 bits that Prometheus counts in.
const SECONDS_MAX: f64 = 9_223_372_036.854_776;

/// Whether a literal is too long to be a duration. NaN is not: it is refused when it is evaluated.
pub(super) fn out_of_range(seconds: f64) -> bool {
    seconds.abs() > SECONDS_MAX
}

impl DurationExpr {
    /// The duration in milliseconds if it is a plain number: it needs no query to be known.
    #[must_use]
    pub fn literal_ms(&self) -> Option<i64> {
        match &self.kind {
            DurationKind::Number(number) if !number.value.is_nan() => {
                Some(literal_ms(number.value))
            }
            _ => None,
        }
    }

    /// The duration in milliseconds, of a range or a step: it must be above 0.
    ///
    /// # Errors
    /// If it is not above 0, not finite, out of range, or divides by zero.
    pub fn positive_ms(&self, step_ms: i64, range_ms: i64) -> Result<i64, DurationError> {
        self.resolve(step_ms, range_ms, false)
    }

    /// The duration in milliseconds, of an offset: any sign.
    ///
    /// # Errors
    /// If it is not finite, out of range, or divides by zero.
    pub fn offset_ms(&self, step_ms: i64, range_ms: i64) -> Result<i64, DurationError> {
        self.resolve(step_ms, range_ms, true)
    }

    fn resolve(&self, step_ms: i64, range_ms: i64, negative: bool) -> Result<i64, DurationError> {
        if let Some(ms) = self.literal_ms() {
            return Ok(ms); // The parser has checked it.
        }
        let seconds = self.seconds(step_ms, range_ms)?;
        let refuse = |reason| Err(self.refused(reason));
        if !seconds.is_finite() {
            return refuse("duration is NaN or infinite");
        }
        if seconds <= 0.0 && !negative {
            return refuse("duration must be greater than 0");
        }
        if out_of_range(seconds) {
            return refuse("duration is out of range");
        }
        Ok(truncated(seconds * 1_000.0))
    }

    fn refused(&self, reason: &'static str) -> DurationError {
        DurationError {
            span: self.span,
            reason,
        }
    }

    fn seconds(&self, step_ms: i64, range_ms: i64) -> Result<f64, DurationError> {
        Ok(match &self.kind {
            DurationKind::Number(number) => number.value,
            DurationKind::Step => milliseconds_as_seconds(step_ms),
            DurationKind::Range => milliseconds_as_seconds(range_ms),
            DurationKind::Negate(inner) => -inner.seconds(step_ms, range_ms)?,
            DurationKind::Plus(inner) | DurationKind::Paren(inner) => {
                inner.seconds(step_ms, range_ms)?
            }
            DurationKind::Binary(op, left, right) => {
                let left = left.seconds(step_ms, range_ms)?;
                let right = right.seconds(step_ms, range_ms)?;
                match op {
                    DurationOp::Div if right == 0.0 => {
                        return Err(self.refused("division by zero"));
                    }
                    DurationOp::Mod if right == 0.0 => return Err(self.refused("modulo by zero")),
                    _ => op.apply(left, right),
                }
            }
        })
    }
}

impl DurationOp {
    fn apply(self, left: f64, right: f64) -> f64 {
        match self {
            Self::Add => left + right,
            Self::Sub => left - right,
            Self::Mul => left * right,
            Self::Div => left / right,
            Self::Mod => left % right,
            Self::Pow => left.powf(right),
            // Unlike Rust's, these give NaN if either is NaN.
            Self::MinOf if left.is_nan() || right.is_nan() => f64::NAN,
            Self::MaxOf if left.is_nan() || right.is_nan() => f64::NAN,
            Self::MinOf => left.min(right),
            Self::MaxOf => left.max(right),
        }
    }
}

/// A literal goes through whole nanoseconds, rounded, to whole milliseconds, cut off.
fn literal_ms(seconds: f64) -> i64 {
    truncated((seconds * 1e9).round()) / 1_000_000
}

#[allow(
    clippy::cast_precision_loss,
    reason = "a query's step and range are far below 2^53 ms"
)]
fn milliseconds_as_seconds(ms: i64) -> f64 {
    ms as f64 / 1_000.0
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "the cut towards zero is what is asked for; `as` saturates"
)]
const fn truncated(value: f64) -> i64 {
    value as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(value: f64) -> DurationExpr {
        DurationExpr {
            kind: DurationKind::Number(NumberLiteral {
                value,
                duration: true,
            }),
            span: Span::new(0, 1),
        }
    }

    fn joined(op: DurationOp, left: DurationExpr, right: DurationExpr) -> DurationExpr {
        DurationExpr {
            kind: DurationKind::Binary(op, Box::new(left), Box::new(right)),
            span: Span::new(2, 7),
        }
    }

    #[test]
    fn durations_become_milliseconds() {
        let step = || DurationExpr {
            kind: DurationKind::Step,
            span: Span::default(),
        };
        let cases = [
            (number(300.0), 300_000),
            (number(0.001), 1),
            (number(0.0015), 1),
            (
                joined(DurationOp::Add, number(300.0), number(60.0)),
                360_000,
            ),
            (joined(DurationOp::MaxOf, number(1.0), step()), 15_000),
            (joined(DurationOp::Mod, number(100.0), step()), 10_000),
        ];
        for (expr, expected) in cases {
            assert_eq!(
                expr.positive_ms(15_000, 3_600_000),
                Ok(expected),
                "{expr:?}"
            );
        }
    }

    #[test]
    fn durations_without_value_are_refused_in_prometheus_words() {
        let below = joined(DurationOp::Sub, number(1.0), number(2.0));
        assert_eq!(below.offset_ms(0, 0), Ok(-1_000));
        let cases = [
            (below, "2:7: duration must be greater than 0"),
            (
                joined(DurationOp::Div, number(1.0), number(0.0)),
                "2:7: division by zero",
            ),
            (
                joined(DurationOp::Mod, number(1.0), number(0.0)),
                "2:7: modulo by zero",
            ),
            (
                joined(DurationOp::Pow, number(10.0), number(12.0)),
                "2:7: duration is out of range",
            ),
            (
                joined(DurationOp::Pow, number(10.0), number(999.0)),
                "2:7: duration is NaN or infinite",
            ),
        ];
        for (expr, expected) in cases {
            let error = expr.positive_ms(0, 0).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
    }
}
