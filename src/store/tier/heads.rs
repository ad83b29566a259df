//! What of a block says which series it has and where their samples lie: its *head*. When a block's file leaves this
//! disk the head stays, in the cache: so a query asks the bucket for samples alone, and for nothing where a
//! block has none of what it asks for.

use super::check::{Tail, tail_of};
use super::whole::Tier;
use crate::model::BlockEntry;
use crate::store::block::is_of_samples;
use crate::store::engine::{Handle, ReadAt, SstIndex, TRAILER_LEN, without_trailer};
use crate::store::error::Error;

/// A data block ends before it would have more, unless one value does. Files of earlier versions have larger ones at
/// the border; what is in them is fetched when a query asks.
const BORDER_BYTES_MAX: u64 = 6 << 10;

impl Tier {
    /// Keeps the head of a block whose file is still here. What is damaged is not kept.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(in crate::store) fn keep_head(
        &self,
        entry: &BlockEntry,
        file: &dyn ReadAt,
    ) -> Result<(), Error> {
        let damage = |problem: String| Error::corrupt(file.name(), problem);
        let read = |(at, len): (u64, u64)| file.read_at(at, usize::try_from(len).unwrap_or(0));
        let end = tail_of(entry);
        let tail = read(end)?;
        let found = Tail::read(&tail, entry.size).map_err(damage)?;
        let mut kept = vec![(end.0, tail)];
        let index = match found.index {
            Some(index) => index,
            None => {
                let bytes = read(part_of(found.at))?;
                let index = SstIndex::parse(without_trailer(&bytes).map_err(damage)?);
                kept.push((found.at.offset, bytes));
                index.map_err(damage)?
            }
        };
        for at in of_head(&index) {
            kept.push((at.offset, read(part_of(at))?));
        }
        let kept: Vec<(u64, &[u8])> = kept.iter().map(|(at, bytes)| (*at, &**bytes)).collect();
        self.cache.put(entry.id, &kept);
        Ok(())
    }
}

/// The data blocks that hold something else than samples. One at their border may hold both: a large one is
/// a page, or has one in it.
fn of_head(index: &SstIndex) -> impl Iterator<Item = Handle> {
    let of_head = index.bounded().filter(|(before, last, at)| {
        match (is_of_samples(before), is_of_samples(last)) {
            (true, true) => false,
            (false, false) => true,
            _ => at.size <= BORDER_BYTES_MAX,
        }
    });
    of_head.map(|(_, _, at)| at)
}

const fn part_of(at: Handle) -> (u64, u64) {
    (at.offset, at.size.saturating_add(TRAILER_LEN as u64))
}
