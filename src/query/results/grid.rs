//! Pieces of the steps of range queries: which lie where.
//!
//! A step belongs to a piece by its own time, whatever query it is a step of. Queries with the same
//! step share pieces if their steps fall on the same times: the *phase* says which.

use std::ops::Range;

use crate::model::TimestampMs;
use crate::query::value::Steps;

/// A piece has the steps of two hours, as blocks have, ...
const PIECE_MS: i64 = 2 * 3_600_000;
/// ... or so many where they are far apart.
const PIECE_STEPS_MIN: i64 = 32;

/// How the steps of a query are divided.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    steps: Steps,
    piece_steps: i64,
}

impl Grid {
    pub(super) fn of(steps: Steps) -> Self {
        let piece_steps = (PIECE_MS / steps.step_ms.max(1)).max(PIECE_STEPS_MIN);
        Self { steps, piece_steps }
    }

    /// On which times the steps fall, within one step.
    pub(super) const fn phase(&self) -> i64 {
        self.steps.start.0.rem_euclid(self.steps.step_ms)
    }

    /// The number of the query's first step, counted from the first of all time.
    const fn first(&self) -> i64 {
        self.steps.start.0.div_euclid(self.steps.step_ms)
    }

    fn count(&self) -> i64 {
        i64::try_from(self.steps.count).unwrap_or(i64::MAX)
    }

    /// The pieces that have some of the query's steps.
    pub(super) fn pieces(&self) -> Range<i64> {
        let last = self.first() + self.count() - 1;
        self.first().div_euclid(self.piece_steps)..last.div_euclid(self.piece_steps) + 1
    }

    /// Which of the query's steps a piece has, and which of its own the first of those is.
    pub(super) fn shared(&self, piece: i64) -> (Range<usize>, usize) {
        let from = piece.saturating_mul(self.piece_steps);
        let first = from.max(self.first());
        let end = (from + self.piece_steps).min(self.first() + self.count());
        let place = |step: i64| usize::try_from(step - self.first()).unwrap_or(0);
        let skipped = usize::try_from(first - from).unwrap_or(0);
        (place(first)..place(end.max(first)), skipped)
    }

    /// Whether all steps of a piece are steps of the query.
    pub(super) fn is_whole(&self, piece: i64) -> bool {
        let (steps, _) = self.shared(piece);
        i64::try_from(steps.len()).is_ok_and(|len| len == self.piece_steps)
    }

    /// When the first and the last step of a piece are.
    pub(super) fn times(&self, piece: i64) -> (TimestampMs, TimestampMs) {
        let at = |step: i64| {
            let time = step.saturating_mul(self.steps.step_ms);
            TimestampMs(time.saturating_add(self.phase()))
        };
        let from = piece.saturating_mul(self.piece_steps);
        (at(from), at(from + self.piece_steps - 1))
    }

    /// Some of the query's steps, as steps of a query of their own.
    pub(super) fn steps(&self, range: &Range<usize>) -> Steps {
        let start = self.steps.at(range.start);
        let part = Steps {
            start,
            step_ms: self.steps.step_ms,
            count: range.len().max(1),
            until: start,
        };
        // One step of a range is no instant query.
        let until = part.end().max(start.plus_ms(1));
        Steps { until, ..part }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pieces_have_each_step_once_and_know_its_time(
            start in -100_000_000i64..100_000_000,
            step_ms in 1i64..2_000_000,
            count in 1usize..3_000,
        ) {
            let start = TimestampMs(start);
            let mut steps = Steps { start, step_ms, count, until: start };
            steps.until = steps.end();
            let grid = Grid::of(steps);
            let mut next = 0;
            for piece in grid.pieces() {
                let (range, skipped) = grid.shared(piece);
                prop_assert_eq!(range.start, next);
                prop_assert!(!range.is_empty());
                next = range.end;
                let (first, last) = grid.times(piece);
                let own = |step: usize| first.plus_ms(step_ms * i64::try_from(step).unwrap());
                prop_assert_eq!(own(skipped), steps.at(range.start));
                let whole = range.len() == usize::try_from(grid.piece_steps).unwrap();
                prop_assert_eq!(grid.is_whole(piece), whole);
                prop_assert_eq!(whole, first == steps.at(range.start) && last == steps.at(range.end - 1));
                let part = grid.steps(&range);
                prop_assert_eq!((part.start, part.end()), (steps.at(range.start), steps.at(range.end - 1)));
                prop_assert!(!part.is_instant());
            }
            prop_assert_eq!(next, count);
        }
    }
}
