//! Copies of the catalog in the bucket: of each partition one after every change of what is there.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::archive::Archive;
use super::turn::is_first;
use crate::archive::{
    CatalogCopy, Listed, Named, catalog_name, catalog_prefix, parse_name, verify,
};
use crate::cluster::control::{ControlState, Partition};
use crate::cluster::error::Error;
use crate::model::{Digest, Incarnation, RingArc, TimestampMs, Uploaded};
use crate::runtime::CancelToken;

/// Copies of a partition's catalog that stay in the bucket: for whoever restores while the newest is
/// damaged. So many are put between two looks at what there is.
const COPIES_KEPT: u32 = 8;

/// Writes the copies.
pub(super) struct Mirror {
    archive: Archive,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// The copies that the bucket has.
    copies: BTreeMap<RingArc, Digest>,
    /// How many of each this process has put.
    puts: BTreeMap<RingArc, u32>,
}

impl Mirror {
    pub(super) fn new(archive: Archive) -> Self {
        Self {
            archive,
            known: Mutex::default(),
        }
    }

    /// What a member is to copy now; a partition that `waits` comes later.
    pub(super) fn due(
        &self,
        state: &ControlState,
        cluster: u128,
        me: Incarnation,
        waits: impl Fn(RingArc) -> bool,
    ) -> Vec<(RingArc, CatalogCopy)> {
        let known = self.known.lock();
        let mut copies = Vec::new();
        for (arc, partition) in &state.partitions {
            if !is_first(state, partition, me) || waits(*arc) {
                continue;
            }
            let copy = copy_of(cluster, *arc, partition);
            let empty = copy.entries.is_empty() && copy.expired_before == TimestampMs::MIN;
            if !empty && known.copies.get(arc) != Some(&digest_of(&copy.encode())) {
                copies.push((*arc, copy));
            }
        }
        copies
    }

    /// Puts a copy, and reads it back.
    ///
    /// # Errors
    /// When the bucket does not take it.
    pub(super) fn put(
        &self,
        arc: RingArc,
        copy: &CatalogCopy,
        cancel: &CancelToken,
    ) -> Result<(), Error> {
        let archive = &self.archive;
        let bucket = &archive.bucket;
        let bytes = copy.encode();
        let (digest, size) = (digest_of(&bytes), bytes.len() as u64);
        let name = catalog_name(copy.cluster, arc, copy.version, digest);
        let check = || archive.wait(cancel, verify(bucket, &name, size, digest));
        let there = archive.wait(cancel, bucket.size(&name))?;
        if there != Some(size) || check().is_err() {
            archive.wait(cancel, bucket.put(&name, bytes.into()))?;
            check()?;
        }
        let puts = {
            let mut known = self.known.lock();
            known.copies.insert(arc, digest);
            let puts = known.puts.entry(arc).or_default();
            *puts += 1;
            *puts
        };
        if puts % COPIES_KEPT == 1 {
            self.thin(copy.cluster, arc, cancel)?;
        }
        Ok(())
    }

    /// Removes the oldest copies of a partition's catalog. The newest are those that a restore
    /// looks at, and whoever else writes one writes a newer one.
    fn thin(&self, cluster: u128, arc: RingArc, cancel: &CancelToken) -> Result<(), Error> {
        let archive = &self.archive;
        let prefix = format!("{}/{arc}", catalog_prefix(cluster));
        let mut copies: Vec<(u64, TimestampMs, String)> = Vec::new();
        let visit = |listed: Listed| {
            if let Some(Named::Catalog { version, .. }) = parse_name(&listed.name) {
                copies.push((version, listed.modified, listed.name));
            }
        };
        archive.wait(cancel, archive.bucket.list(&prefix, visit))?;
        copies.sort();
        let kept = usize::try_from(COPIES_KEPT).unwrap_or(usize::MAX);
        let old = copies.len().saturating_sub(kept);
        for (_, _, name) in copies.into_iter().take(old) {
            archive.wait(cancel, archive.bucket.delete(&name))?;
        }
        Ok(())
    }
}

fn copy_of(cluster: u128, arc: RingArc, partition: &Partition) -> CatalogCopy {
    let entries = partition.recent.values();
    let entries = entries.filter(|entry| entry.uploaded != Uploaded::None);
    CatalogCopy {
        cluster,
        arc,
        version: partition.version,
        expired_before: partition.expired_before,
        history: partition.history,
        entries: entries.cloned().collect(),
    }
}

fn digest_of(bytes: &[u8]) -> Digest {
    Digest(*blake3::hash(bytes).as_bytes())
}
