//! The window: two hours of sample time, aligned to UTC.
//!
//! A sample's own timestamp says to which window it belongs; no node's clock does.

use super::{TimeRange, TimestampMs};

/// The length of a window in milliseconds: two hours, as Prometheus' head blocks, so that a
/// column of samples every 15 s is 480 long, where the codecs reach most of their gain.
pub const WINDOW_MS: i64 = 2 * 60 * 60 * 1000;

/// A window, by its number: window 0 begins at the Unix epoch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Window(pub i64);

impl Window {
    /// The window to which a sample of time `at` belongs.
    #[must_use]
    pub const fn of(at: TimestampMs) -> Self {
        Self(at.0.div_euclid(WINDOW_MS))
    }

    /// The first millisecond of the window.
    #[must_use]
    pub const fn start(self) -> TimestampMs {
        TimestampMs(self.0.saturating_mul(WINDOW_MS))
    }

    /// The last millisecond of the window.
    #[must_use]
    pub const fn end(self) -> TimestampMs {
        TimestampMs(
            self.0
                .saturating_mul(WINDOW_MS)
                .saturating_add(WINDOW_MS - 1),
        )
    }

    /// The times of the window.
    #[must_use]
    pub const fn range(self) -> TimeRange {
        TimeRange::new(self.start(), self.end())
    }

    /// Whether times are just those of one window, and not of a day.
    #[must_use]
    pub fn is(range: TimeRange) -> bool {
        Self::of(range.start).range() == range
    }

    /// Milliseconds from the window's start to `at`, when `at` is in the window.
    #[must_use]
    pub fn offset_of(self, at: TimestampMs) -> Option<u32> {
        // The first and the last window reach beyond what 64 bits can say.
        let since = i128::from(at.0) - i128::from(self.0) * i128::from(WINDOW_MS);
        let offset = u32::try_from(since).ok()?;
        (i64::from(offset) < WINDOW_MS).then_some(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_before_1970_lies_in_a_negative_window() {
        assert_eq!(Window::of(TimestampMs(-1)), Window(-1));
        assert_eq!(Window(-1).range().end, TimestampMs(-1));
        assert_eq!(Window::of(TimestampMs(0)), Window(0));
        assert_eq!(Window(-1).offset_of(TimestampMs(-1)), Some(7_199_999));
        assert_eq!(Window(0).offset_of(TimestampMs(-1)), None);
    }

    #[test]
    fn a_window_is_told_from_what_holds_or_cuts_one() {
        for window in [-13, -1, 0, 5] {
            let whole = Window(window).range();
            assert!(Window::is(whole));
            let later = |at: TimestampMs, ms: i64| TimestampMs(at.0 + ms);
            assert!(!Window::is(TimeRange::new(
                whole.start,
                later(whole.end, WINDOW_MS)
            )));
            assert!(!Window::is(TimeRange::new(
                later(whole.start, 1),
                whole.end
            )));
            assert!(!Window::is(TimeRange::new(
                whole.start,
                later(whole.end, -1)
            )));
        }
    }

    #[test]
    fn the_ends_of_time_do_not_wrap() {
        for at in [TimestampMs::MIN, TimestampMs::MAX] {
            let window = Window::of(at);
            assert!(window.start() <= window.end());
            let offset = i128::from(at.0).rem_euclid(i128::from(WINDOW_MS));
            assert_eq!(window.offset_of(at).map(i128::from), Some(offset));
        }
        let last = Window::of(TimestampMs::MAX);
        assert_eq!(last.offset_of(TimestampMs::MIN), None);
        assert_eq!(
            Window::of(TimestampMs::MIN).offset_of(TimestampMs::MAX),
            None
        );
    }
}
