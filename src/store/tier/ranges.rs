//! Which ranges are asked for: what lies close together is fetched at once, what is large in
//! several pieces.

use std::ops::Range;

/// A piece is not larger, unless one thing in it is: pieces are fetched side by side.
const PIECE_BYTES_MAX: u64 = 2 << 20;

/// What is fetched for nothing between two things is at most this part (a quarter) of what was
/// wanted before it and right after it. So of all that is fetched at most a fifth is for nothing.
const GAP_PART: u64 = 4;

/// And never more at a time: a request costs about as much as so many bytes.
const GAP_BYTES_MAX: u64 = 128 << 10;

/// A range to be fetched, and which of the wanted ones lie in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Run {
    pub(super) range: Range<u64>,
    /// Positions among the wanted ranges.
    pub(super) of: Range<usize>,
}

/// Joins wanted ranges of one block, which are in order and do not overlap.
pub(super) fn join(wanted: &[Range<u64>]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    // What is wanted in the last run, and what of its gaps has been paid for.
    let (mut useful, mut wasted) = (0u64, 0u64);
    for (at, range) in wanted.iter().enumerate() {
        let len = range.end.saturating_sub(range.start);
        if let Some(run) = runs.last_mut() {
            let gap = range.start.saturating_sub(run.range.end);
            let whole = range.end.saturating_sub(run.range.start);
            let allowed = (useful.saturating_add(len) / GAP_PART).saturating_sub(wasted);
            if gap <= allowed.min(GAP_BYTES_MAX) && whole <= PIECE_BYTES_MAX {
                run.range.end = range.end;
                run.of.end = at + 1;
                useful = useful.saturating_add(len);
                wasted = wasted.saturating_add(gap);
                continue;
            }
        }
        runs.push(Run {
            range: range.clone(),
            of: at..at + 1,
        });
        (useful, wasted) = (len, 0);
    }
    runs
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "one range is meant")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn neighbours_are_joined_and_strangers_are_not() {
        let check = |wanted: &[Range<u64>], want: &[Range<u64>]| {
            let got: Vec<_> = join(wanted).into_iter().map(|run| run.range).collect();
            assert_eq!(got, want);
        };
        let one = |range: Range<u64>| std::iter::once(range).collect::<Vec<_>>();
        check(&[], &[]);
        check(&[0..10, 10..20], &one(0..20));
        check(&[0..8000, 9000..17_000], &one(0..17_000));
        check(&[0..8000, 13_000..21_000], &[0..8000, 13_000..21_000]);
        let mib = 1 << 20;
        check(&[0..mib, mib..3 * mib], &[0..mib, mib..3 * mib]);
        check(&one(0..9 * mib), &one(0..9 * mib));
    }

    proptest! {
        /// Everything wanted is in the run that names it, and little else is fetched.
        #[test]
        fn little_is_fetched_for_nothing(
            parts in prop::collection::vec((0u64..20_000, 1u64..40_000), 0..60)
        ) {
            let mut wanted = Vec::new();
            let mut at = 0;
            for (gap, len) in parts {
                wanted.push(at + gap..at + gap + len);
                at += gap + len;
            }
            let runs = join(&wanted);
            let useful: u64 = wanted.iter().map(|r| r.end - r.start).sum();
            let fetched: u64 = runs.iter().map(|r| r.range.end - r.range.start).sum();
            prop_assert!(fetched <= useful + useful / 4);
            let mut next = 0;
            for run in &runs {
                prop_assert_eq!(run.of.start, next);
                next = run.of.end;
                for one in &wanted[run.of.clone()] {
                    prop_assert!(run.range.start <= one.start && one.end <= run.range.end);
                }
                prop_assert!(run.of.len() == 1 || run.range.end - run.range.start <= PIECE_BYTES_MAX);
            }
            prop_assert_eq!(next, wanted.len());
        }
    }
}
