//! The timestamps of a window, shared by the series of a scrape target: a sample in a chunk names
//! only its row.

use parking_lot::{Mutex, MutexGuard};

use crate::codec::chunk;

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
        let table = self.0.lock();
        if let Some(rows) = table.0.get(target as usize) {
            let last = usize::from(last).min(rows.len().saturating_sub(1));
            into.extend_from_slice(rows.get(usize::from(first)..=last).unwrap_or_default());
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let table = self.0.lock();
        let rooms: usize = table.0.iter().map(Vec::capacity).sum();
        table.0.capacity() * size_of::<Vec<u32>>() + rooms * size_of::<u32>()
    }
}

impl RowTable {
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
