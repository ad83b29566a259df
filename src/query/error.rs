//! How a query fails, in the words that Prometheus' users know where Prometheus has such a failure.
//!
//! Each variant belongs to one [`ErrorClass`]; `http` alone turns classes into status codes.

use crate::runtime::{BudgetError, Cancelled};
use crate::source::SourceError;

use super::syntax::{DurationError, ParseError};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is no PromQL.
    #[error(transparent)]
    Parse(ParseError),
    /// The text is PromQL but cannot be asked like this.
    #[error("{0}")]
    Invalid(String),
    /// More points a series than anyone can look at.
    #[error(
        "exceeded maximum resolution of {} points per timeseries. Try decreasing the query \
         resolution (?step=XX)",
        thousands(*.0)
    )]
    TooManyPoints(u64),
    /// The data do not allow it: many-to-many matches, equal label sets, impossible parameters.
    #[error("{0}")]
    Execution(String),
    /// It would use more memory or samples than it may.
    #[error(transparent)]
    Budget(#[from] BudgetError),
    /// Something of PromQL that this build lacks.
    #[error("{0} is not supported by this build of Cairn yet")]
    Unsupported(String),
    /// It took too long.
    #[error("query timed out in {0}")]
    TimedOut(&'static str),
    /// Nobody waits for it any more.
    #[error("query was canceled in {0}")]
    Cancelled(&'static str),
    /// Data that should be there cannot be had now.
    #[error("expanding series: {0}")]
    Unavailable(String),
    /// Data on disk are damaged.
    #[error("expanding series: {0}")]
    Corrupt(String),
}

/// What a failure means to the one who asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorClass {
    /// The question is wrong (`bad_data`).
    BadData,
    /// The question cannot be answered over these data or within these limits (`execution`).
    Execution,
    /// Nobody waits for the answer (`canceled`).
    Cancelled,
    /// It took too long (`timeout`).
    Timeout,
    /// Try again later (`unavailable`).
    Unavailable,
    /// Something is broken (`internal`).
    Internal,
}

impl Error {
    /// What the failure means to the one who asked.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Parse(_) | Self::Invalid(_) | Self::TooManyPoints(_) => ErrorClass::BadData,
            Self::Budget(BudgetError::Shared { .. }) => ErrorClass::Unavailable,
            Self::Execution(_) | Self::Budget(_) | Self::Unsupported(_) => ErrorClass::Execution,
            Self::TimedOut(_) => ErrorClass::Timeout,
            Self::Cancelled(_) => ErrorClass::Cancelled,
            Self::Unavailable(_) => ErrorClass::Unavailable,
            Self::Corrupt(_) => ErrorClass::Internal,
        }
    }

    /// The end of a token, at a place that Prometheus names.
    #[must_use]
    pub const fn stopped(why: Cancelled, place: &'static str) -> Self {
        match why {
            Cancelled::Cancelled => Self::Cancelled(place),
            Cancelled::TimedOut(_) => Self::TimedOut(place),
        }
    }
}

impl From<SourceError> for Error {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::Cancelled(why) => Self::stopped(why, "expression evaluation"),
            SourceError::Budget(error) => Self::Budget(error),
            SourceError::Unavailable(text) => Self::Unavailable(text),
            SourceError::Corrupt(text) => Self::Corrupt(text),
        }
    }
}

impl From<ParseError> for Error {
    fn from(error: ParseError) -> Self {
        if error.position.is_empty() {
            Self::Execution(error.message)
        } else {
            Self::Parse(error)
        }
    }
}

impl From<DurationError> for Error {
    fn from(error: DurationError) -> Self {
        Self::Invalid(error.to_string())
    }
}

/// A number with commas between its thousands.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_hold_is_no_fault_of_a_query() {
        let shared = Error::Budget(BudgetError::Shared { limit: 5 });
        assert_eq!(shared.class(), ErrorClass::Unavailable);
        let own = Error::Budget(BudgetError::Memory { limit: 5 });
        assert_eq!(own.class(), ErrorClass::Execution);
    }

    #[test]
    fn the_resolution_is_refused_in_prometheus_words() {
        assert_eq!(
            Error::TooManyPoints(11_000).to_string(),
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the \
             query resolution (?step=XX)"
        );
    }
}
