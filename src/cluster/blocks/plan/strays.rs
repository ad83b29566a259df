//! Blocks that a partition's catalog does not name: put after it, or shortly before it, or replaced since.

use std::collections::BTreeSet;

use super::{Inventory, Lying, read};
use crate::archive::{CatalogCopy, Error, Listed};
use crate::cluster::blocks::archive::Archive;
use crate::model::{Digest, Level, TimestampMs};
use crate::runtime::CancelToken;

/// A block that was put shortly before a catalog was copied may have missed it.
pub(in crate::cluster::blocks) const SLACK_MS: i64 = 15 * 60 * 1000;

/// Older copies of a partition's catalog that are read, at most: as many as are kept of it.
const COPIES_READ: usize = 8;

impl Inventory {
    /// Sealed blocks of a partition that its catalog does not name and that are not older; `merged`
    /// ones too where nobody knows which there were.
    pub(super) fn strays(
        &self,
        copy: &CatalogCopy,
        since: Option<TimestampMs>,
        merged: bool,
    ) -> Vec<Lying> {
        let named: BTreeSet<Digest> = copy.entries.iter().map(|entry| entry.digest).collect();
        let of_arc = self.blocks.values().filter(|lying| {
            let block = &lying.named;
            block.arc.meets(copy.arc)
                && (merged || block.level == Level(0))
                && block.range.end >= copy.expired_before
                && since.is_none_or(|since| lying.modified >= since.plus_ms(-SLACK_MS))
                && !named.contains(&block.digest)
        });
        of_arc.cloned().collect()
    }

    /// ▲ Leaves out what an older copy of a whole catalog names: it has not missed this one, but was merged,
    /// rewritten or expired meanwhile. What replaced it holds all that is to be shown of it.
    /// An older copy that cannot be read says of none that it was replaced.
    pub(super) fn leave_out_replaced(
        &self,
        archive: &Archive,
        copy: &CatalogCopy,
        put: TimestampMs,
        cancel: &CancelToken,
        strays: &mut Vec<Lying>,
    ) -> Result<(), Error> {
        let of_home = self.copies.iter();
        let of_home =
            of_home.filter(|((of, home), _)| *home == copy.cluster && of.covers(copy.arc));
        let mut older: Vec<_> = of_home
            .flat_map(|((of, _), copies)| copies.iter().map(|(version, one)| (*version, *of, one)))
            .filter(|(version, _, _)| *version < copy.version)
            .collect();
        older.sort_by_key(|(version, _, _)| std::cmp::Reverse(*version));
        for (_, of, listed) in older.into_iter().take(COPIES_READ) {
            let listed: &Listed = listed;
            // What was put later than all copies is in none of them.
            if strays.iter().all(|lying| lying.modified > put) {
                return Ok(());
            }
            let before = read(archive, listed, copy.cluster, of, cancel, &mut Vec::new())?;
            let entries = before.iter().flat_map(|before| &before.entries);
            let named: BTreeSet<Digest> = entries.map(|entry| entry.digest).collect();
            strays.retain(|lying| !named.contains(&lying.named.digest));
        }
        Ok(())
    }
}
