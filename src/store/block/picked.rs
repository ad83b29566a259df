//! Which rows of a column are wanted: picked once for all series that share it.

use std::ops::Range;

use super::layout::Rows;
use crate::model::TimeRange;
use crate::source::Moments;

/// Rows of a group that are the newest at some moments: neighbours have the same.
pub(super) struct Picked {
    pub(super) of: (u32, Rows, TimeRange, Moments),
    pub(super) rows: Vec<u32>,
    pub(super) times: Vec<i64>,
}

impl Picked {
    /// Picks of the rows in a run; the memory of the last pick is used again.
    pub(super) fn of(
        of: (u32, Rows, TimeRange, Moments),
        (times, run): (&[i64], Range<usize>),
        last: Option<Self>,
    ) -> Self {
        let (mut rows, mut picked) =
            last.map_or_else(Default::default, |last| (last.rows, last.times));
        let skipped = u32::try_from(run.start).unwrap_or(u32::MAX);
        of.3.newest(times.get(run).unwrap_or_default(), &mut rows);
        rows.iter_mut()
            .for_each(|row| *row = row.saturating_add(skipped));
        picked.clear();
        picked.extend(rows.iter().filter_map(|row| times.get(*row as usize)));
        Self {
            of,
            rows,
            times: picked,
        }
    }
}
