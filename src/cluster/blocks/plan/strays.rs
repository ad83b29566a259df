//! Blocks that a partition's catalog does not name: put after it, or shortly before it, or replaced since.

use std::collections::BTreeSet;

use super::{Inventory, Lying};
use crate::archive::CatalogCopy;
use crate::model::{Digest, Level, TimestampMs};

/// A block that was put shortly before a catalog was copied may have missed it.
pub(in crate::cluster::blocks) const SLACK_MS: i64 = 15 * 60 * 1000;

impl Inventory {
    /// Sealed blocks of a partition that its catalog does not name and that are not older; `merged`
    /// ones too where nobody knows which there were.
    ///
    /// ▲ What the catalog says was replaced is left out only if all is there that it names: else what took its
    /// place may be lost, and it is all that is left of it.
    pub(super) fn strays(
        &self,
        copy: &CatalogCopy,
        since: Option<TimestampMs>,
        (merged, missing): (bool, usize),
    ) -> Vec<Lying> {
        let passed = copy.passed.as_ref().filter(|_| !merged && missing == 0);
        let named: BTreeSet<Digest> = copy.entries.iter().map(|entry| entry.digest).collect();
        let of_arc = self.blocks.values().filter(|lying| {
            let block = &lying.named;
            block.arc.meets(copy.arc)
                && (merged || block.level == Level(0))
                && block.range.end >= copy.expired_before
                && since.is_none_or(|since| lying.modified >= since.plus_ms(-SLACK_MS))
                && !named.contains(&block.digest)
                && !passed.is_some_and(|passed| passed.had_left(block))
        });
        of_arc.cloned().collect()
    }
}
