//! Files of blocks that no catalog names: found in a bucket, known by their digest alone.

use std::fs;
use std::sync::Arc;

use super::block::{BlockProperties, BlockReader, verify_block};
use super::engine::{SstTable, Table, block_of_key};
use super::error::Error;
use super::whole::Store;
use crate::model::{BlockEntry, BlockId, Digest, Level, TimeRange, TimestampMs, Uploaded};
use crate::runtime::CancelToken;

/// An entry under which a file is received of which only digest and size are known; it is named by
/// its digest until [`Store::identify`] knows better.
#[must_use]
pub fn provisional(digest: Digest, size: u64) -> BlockEntry {
    let id = digest.0.first_chunk().copied().unwrap_or_default();
    BlockEntry {
        id: BlockId(u128::from_be_bytes(id)),
        range: TimeRange::new(TimestampMs(0), TimestampMs(0)),
        level: Level(0),
        round: 0,
        size,
        samples: 0,
        content_sum: 0,
        digest,
        uploaded: Uploaded::None,
    }
}

impl Store {
    /// Looks into a staged file that was received under a provisional entry, checks all of it, and
    /// stages it as the block that it is.
    ///
    /// # Errors
    /// When it is no block, is damaged, or the disk fails.
    pub fn identify(
        &self,
        provisional: &BlockEntry,
        cancel: &CancelToken,
    ) -> Result<(BlockProperties, BlockEntry), Error> {
        let path = self.staged(provisional.id);
        let table: Arc<dyn Table> = Arc::new(SstTable::open_file(&path)?);
        let first = table.scan(&[], None)?.into_iter().next();
        let id = first.and_then(|(key, _)| block_of_key(&key));
        let no_block = || Error::corrupt(path.display().to_string(), "it is no block");
        let id = id.ok_or_else(no_block)?;
        let reader = BlockReader::open(table, id)?;
        let properties = reader.properties().clone();
        let totals = reader.totals();
        let entry = BlockEntry {
            id,
            range: properties.range,
            level: properties.level,
            round: properties.round,
            size: provisional.size,
            samples: totals.samples,
            content_sum: totals.content_sum,
            digest: provisional.digest,
            uploaded: Uploaded::None,
        };
        let verified = verify_block(&path, id, Some(&entry), cancel)?;
        if let Some(fault) = verified.faults.into_iter().next() {
            return Err(Error::corrupt(path.display().to_string(), fault.problem));
        }
        let named = self.staged(id);
        fs::rename(&path, &named).map_err(Error::io("rename", &path))?;
        Ok((properties, entry))
    }
}
