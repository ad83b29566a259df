//! The timestamps of a window, shared by the series of a scrape target: a sample in a chunk names
//! only its row.

use parking_lot::{Mutex, MutexGuard};

use crate::codec::chunk;
use crate::model::{TimestampMs, WINDOW_MS, Window};

/// Time `offset_ms` of a window, exact also in the first window of all, whose start lies before
/// what 64 bits can say.
pub(super) const fn time_in(window: Window, offset_ms: u32) -> TimestampMs {
    TimestampMs(
        window
            .0
            .wrapping_mul(WINDOW_MS)
            .wrapping_add(offset_ms as i64),
    )
}

/// Room that a target's rows grow by.
const STEP: usize = 60;

/// The rows of all targets of one shard in one window. Rows are only ever added at the end, so a
/// row number once given stays right for as long as any layer of the window lives.
#[derive(Debug, Default)]
pub(super) struct Rows(Mutex<RowTable>);

/// Per target its timestamps, in milliseconds from the window's start, rising.
#[derive(Debug, Default)]
pub(super) struct RowTable(Vec<Vec<u32>>);

impl Rows {
    pub(super) fn lock(&self) -> MutexGuard<'_, RowTable> {
        self.0.lock()
    }

    /// Copies the timestamps of a target from row `first` to row `last`.
    pub(super) fn copy(&self, target: u32, first: u16, last: u16, into: &mut Vec<u32>) {
        into.clear();
        into.extend_from_slice(self.0.lock().of(target, first, last));
    }

    pub(super) fn bytes(&self) -> usize {
        let table = self.0.lock();
        let rooms: usize = table.0.iter().map(Vec::capacity).sum();
        table.0.capacity() * size_of::<Vec<u32>>() + rooms * size_of::<u32>()
    }
}

impl RowTable {
    /// The timestamps of a target from row `first` to row `last`.
    pub(super) fn of(&self, target: u32, first: u16, last: u16) -> &[u32] {
        let Some(rows) = self.0.get(target as usize) else {
            return &[];
        };
        let last = usize::from(last).min(rows.len().saturating_sub(1));
        rows.get(usize::from(first)..=last).unwrap_or_default()
    }

    /// The row of a timestamp; `None` when it is older than the last row and on no row, or when
    /// the table is full.
    #[inline]
    pub(super) fn row(&mut self, target: u32, offset_ms: u32) -> Option<u16> {
        let at = target as usize;
        if self.0.len() <= at {
            self.0.resize_with(at + 1, Vec::new);
        }
        let rows = self.0.get_mut(at)?;
        let found = match rows.last() {
            Some(last) if *last == offset_ms => rows.len() - 1,
            Some(last) if *last > offset_ms => rows.binary_search(&offset_ms).ok()?,
            _ => {
                if rows.len() > usize::from(chunk::ROW_MAX) {
                    return None;
                }
                if rows.len() == rows.capacity() {
                    rows.reserve_exact(STEP);
                }
                rows.push(offset_ms);
                rows.len() - 1
            }
        };
        u16::try_from(found).ok()
    }
}
