//! Questions: what is asked, about which times.

use std::time::Duration;

use crate::model::{TenantId, TimestampMs};

use super::value::Steps;

/// A question about one moment.
#[derive(Clone, Debug)]
pub struct InstantQuery {
    /// Whose series.
    pub tenant: TenantId,
    /// The expression.
    pub text: String,
    /// The moment.
    pub time: TimestampMs,
    /// Another lookback than the server's.
    pub lookback: Option<Duration>,
    /// At most so many series are answered; 0: all.
    pub limit: usize,
}

/// A question about many moments.
#[derive(Clone, Debug)]
pub struct RangeQuery {
    /// Whose series.
    pub tenant: TenantId,
    /// The expression.
    pub text: String,
    /// The first moment.
    pub start: TimestampMs,
    /// No moment is after this one.
    pub end: TimestampMs,
    /// Between two moments.
    pub step_ms: i64,
    /// Another lookback than the server's.
    pub lookback: Option<Duration>,
    /// At most so many series are answered; 0: all.
    pub limit: usize,
    /// No kept answer is used, and this one is not kept.
    pub fresh: bool,
}

/// What is asked, in one form.
pub(super) struct Question<'a> {
    pub(super) tenant: &'a TenantId,
    pub(super) text: &'a str,
    pub(super) steps: Steps,
    pub(super) range: bool,
    pub(super) lookback: Option<Duration>,
    pub(super) limit: usize,
    pub(super) profiled: bool,
    pub(super) fresh: bool,
}
