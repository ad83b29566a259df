//! Milliseconds since the Unix epoch, and ranges of them.

use std::fmt;

/// A point in time: milliseconds since 1970-01-01 UTC, negative before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct TimestampMs(pub i64);

impl TimestampMs {
    /// The earliest time that can be written down; also "since ever" in a [`TimeRange`].
    pub const MIN: Self = Self(i64::MIN);
    /// The latest time that can be written down.
    pub const MAX: Self = Self(i64::MAX);

    /// This time moved by `ms` (either way), stopping at the ends instead of wrapping.
    #[must_use]
    pub const fn plus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

impl fmt::Display for TimestampMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}

/// A range of time with both ends in it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TimeRange {
    /// The first millisecond of the range.
    pub start: TimestampMs,
    /// The last millisecond of the range.
    pub end: TimestampMs,
}

impl TimeRange {
    /// All of time.
    pub const ALL: Self = Self {
        start: TimestampMs::MIN,
        end: TimestampMs::MAX,
    };

    /// The range from `start` to `end`, both in it. It is empty when `end` is before `start`.
    #[must_use]
    pub const fn new(start: TimestampMs, end: TimestampMs) -> Self {
        Self { start, end }
    }

    /// Whether no time is in it.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.end.0 < self.start.0
    }

    /// Whether `at` is in it.
    #[must_use]
    pub const fn contains(self, at: TimestampMs) -> bool {
        self.start.0 <= at.0 && at.0 <= self.end.0
    }

    /// Whether some time is in both.
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        !self.is_empty()
            && !other.is_empty()
            && self.start.0 <= other.end.0
            && other.start.0 <= self.end.0
    }

    /// The times that are in both.
    #[must_use]
    pub fn intersect(self, other: Self) -> Self {
        Self::new(self.start.max(other.start), self.end.min(other.end))
    }
}
