//! Copies of the catalog in the bucket: of each partition one after a change of what is there, and its
//! manifest before the first copy that names it.
//!
//! A copy is put when none was for [`COPY_EVERY`]. What is newer is found without it: a restore looks
//! into every sealed block that was put since, and what a merge replaced stays in the bucket until the
//! newest copy names what took its place.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::archive::Archive;
use crate::archive::{
    CATALOG_BYTES_MAX, CatalogCopy, Listed, Named, Passed, catalog_name, catalog_prefix,
    manifest_name, manifests_prefix, parse_name, verify,
};
use crate::cluster::control::{ControlState, Partition};
use crate::cluster::error::Error;
use crate::cluster::manifests::Manifests;
use crate::cluster::turns::is_first;
use crate::cluster::version::PASSED_FROM;
use crate::model::{BlockEntry, Digest, Incarnation, RingArc, TimestampMs, Uploaded};
use crate::runtime::CancelToken;

/// Copies of a partition's catalog that stay in the bucket: for whoever restores while the newest is
/// damaged. So many are put between two looks at what there is.
const COPIES_KEPT: u32 = 8;

/// A partition's catalog is copied so often, whatever changes: objects cost, and a restore reads the
/// sealed blocks of so long, some megabytes of a small cluster.
const COPY_EVERY: Duration = Duration::from_secs(6 * 60 * 60);

/// Writes the copies.
pub(super) struct Mirror {
    archive: Archive,
    manifests: Arc<Manifests>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// The copies that the bucket has.
    copies: BTreeMap<RingArc, Digest>,
    /// How many of each this process has put.
    puts: BTreeMap<RingArc, u32>,
    /// When this process has put the last one.
    last: BTreeMap<RingArc, Duration>,
    /// The manifests that the bucket has.
    manifests: BTreeMap<RingArc, Digest>,
}

/// When it is asked what is due.
#[derive(Clone, Copy)]
pub(super) struct When {
    pub(super) now: Duration,
    /// Whether what has changed is copied at once.
    pub(super) hurry: bool,
}

impl Mirror {
    pub(super) fn new(archive: Archive, manifests: Arc<Manifests>) -> Self {
        Self {
            archive,
            manifests,
            known: Mutex::default(),
        }
    }

    /// What a member is to copy now; a partition that `waits` comes later.
    pub(super) fn due(
        &self,
        state: &ControlState,
        cluster: u128,
        (me, when): (Incarnation, When),
        waits: impl Fn(RingArc) -> bool,
    ) -> Vec<(RingArc, CatalogCopy)> {
        let known = self.known.lock();
        let mut copies = Vec::new();
        for (arc, partition) in &state.partitions {
            let last = known.last.get(arc);
            let soon = last.is_some_and(|last| when.now.saturating_sub(*last) < COPY_EVERY);
            if !is_first(state, (*arc, partition), me)
                || (soon && !when.hurry)
                || waits(*arc)
                || !self.is_here(partition)
            {
                continue;
            }
            let copy = copy_of(cluster, *arc, partition, state.feature_level);
            let nothing = copy.entries.is_empty() && copy.history.is_none();
            // Where there was something once, an older copy still names it.
            let never = partition.version == 0;
            let empty = nothing && never && copy.expired_before == TimestampMs::MIN;
            if !empty && known.copies.get(arc) != Some(&digest_of(&copy.encode())) {
                copies.push((*arc, copy));
            }
        }
        copies
    }

    /// Whether a partition's manifest is on this node: the copy that names it waits for that.
    fn is_here(&self, partition: &Partition) -> bool {
        let here = |digest| matches!(self.manifests.get(digest), Ok(Some(_)));
        partition.history.is_none_or(|history| here(history.digest))
    }

    /// Puts a copy, and reads it back; before it the manifest that it names.
    ///
    /// # Errors
    /// When the bucket does not take it.
    pub(super) fn put(
        &self,
        arc: RingArc,
        copy: &CatalogCopy,
        now: Duration,
        cancel: &CancelToken,
    ) -> Result<(), Error> {
        if let Some(digest) = copy.history {
            self.put_manifest(copy.cluster, arc, digest, cancel)?;
        }
        let bytes = copy.encode();
        let digest = digest_of(&bytes);
        let name = catalog_name(copy.cluster, arc, copy.version, digest);
        self.put_object(&name, bytes, digest, cancel)?;
        let puts = {
            let mut known = self.known.lock();
            known.copies.insert(arc, digest);
            known.last.insert(arc, now);
            let puts = known.puts.entry(arc).or_default();
            *puts += 1;
            *puts
        };
        if puts % COPIES_KEPT == 1 {
            self.thin(copy, arc, cancel)?;
        }
        Ok(())
    }

    fn put_object(
        &self,
        name: &str,
        bytes: Vec<u8>,
        digest: Digest,
        cancel: &CancelToken,
    ) -> Result<(), Error> {
        let (archive, bucket) = (&self.archive, &self.archive.bucket);
        let size = bytes.len() as u64;
        let check = || archive.wait(cancel, verify(bucket, name, size, digest));
        let there = archive.wait(cancel, bucket.size(name))?;
        if there != Some(size) || check().is_err() {
            archive.wait(cancel, bucket.put(name, bytes.into()))?;
            check()?;
        }
        Ok(())
    }

    fn put_manifest(
        &self,
        cluster: u128,
        arc: RingArc,
        digest: Digest,
        cancel: &CancelToken,
    ) -> Result<(), Error> {
        if self.known.lock().manifests.get(&arc) == Some(&digest) {
            return Ok(());
        }
        let bytes = self.manifests.bytes(digest)?;
        let bytes = bytes.ok_or_else(|| Error::NoManifest {
            arc,
            digest,
            reason: "it is not on this node yet".to_owned(),
        })?;
        let name = manifest_name(cluster, arc, digest);
        self.put_object(&name, bytes, digest, cancel)?;
        self.known.lock().manifests.insert(arc, digest);
        Ok(())
    }

    /// Removes the oldest copies of a partition's catalog, and the manifests that none of those that
    /// stay names. The newest are those that a restore looks at, and whoever else writes one writes
    /// a newer one.
    fn thin(&self, copy: &CatalogCopy, arc: RingArc, cancel: &CancelToken) -> Result<(), Error> {
        let archive = &self.archive;
        let prefix = format!("{}/{arc}", catalog_prefix(copy.cluster));
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
        let stay = copies.split_off(old);
        for (_, _, name) in copies {
            archive.wait(cancel, archive.bucket.delete(&name))?;
        }
        self.thin_manifests(copy, arc, &stay, cancel)
    }

    /// A manifest that is younger than the oldest copy that stays may be the one of a copy that
    /// somebody is just writing.
    fn thin_manifests(
        &self,
        copy: &CatalogCopy,
        arc: RingArc,
        stay: &[(u64, TimestampMs, String)],
        cancel: &CancelToken,
    ) -> Result<(), Error> {
        if copy.history.is_none() {
            return Ok(());
        }
        let archive = &self.archive;
        let prefix = format!("{}/{arc}", manifests_prefix(copy.cluster));
        let mut manifests: Vec<(Digest, TimestampMs, String)> = Vec::new();
        let visit = |listed: Listed| {
            if let Some(Named::Manifest { digest, .. }) = parse_name(&listed.name) {
                manifests.push((digest, listed.modified, listed.name));
            }
        };
        archive.wait(cancel, archive.bucket.list(&prefix, visit))?;
        let oldest = stay.iter().map(|(_, modified, _)| *modified).min();
        manifests.retain(|(digest, modified, _)| {
            Some(*digest) != copy.history && oldest.is_some_and(|oldest| *modified < oldest)
        });
        if manifests.is_empty() {
            return Ok(());
        }
        let mut named = BTreeSet::new();
        for (_, _, name) in stay {
            let bytes = archive.wait(cancel, archive.bucket.get(name, CATALOG_BYTES_MAX))?;
            let copy = bytes.and_then(|bytes| CatalogCopy::decode(&bytes).ok());
            named.extend(copy.and_then(|copy| copy.history));
        }
        for (_, _, name) in manifests
            .iter()
            .filter(|(digest, _, _)| !named.contains(digest))
        {
            archive.wait(cancel, archive.bucket.delete(name))?;
        }
        Ok(())
    }
}

fn copy_of(cluster: u128, arc: RingArc, partition: &Partition, level: u32) -> CatalogCopy {
    let (there, waiting): (Vec<&BlockEntry>, Vec<&BlockEntry>) = partition
        .recent
        .values()
        .partition(|entry| entry.uploaded != Uploaded::None);
    let passed = || {
        let rounds = partition.rounds.iter();
        let floor = partition.round_floor;
        Passed::new(
            (cluster, arc),
            rounds.map(|(range, round)| (range.range(), *round)),
            (floor.before, floor.sealed),
            waiting.iter().map(|entry| entry.digest).collect(),
        )
    };
    CatalogCopy {
        cluster,
        arc,
        version: partition.version,
        expired_before: partition.expired_before,
        history: partition.history.map(|history| history.digest),
        entries: there.into_iter().cloned().collect(),
        passed: (level >= PASSED_FROM).then(passed),
    }
}

fn digest_of(bytes: &[u8]) -> Digest {
    Digest(*blake3::hash(bytes).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::NamedBlock;
    use crate::cluster::control::RangeKey;
    use crate::model::{Epoch, Level, Window};

    /// Would catch a copy by which what is just being uploaded would be taken for replaced.
    #[test]
    fn a_copy_tells_what_waits_from_what_was_replaced() {
        let (arc, range) = (RingArc::new(0x3000_0000, 4).unwrap(), Window(5).range());
        let mut partition = Partition::new(Epoch(1), Vec::new());
        partition.rounds.insert(RangeKey::from(range), 3);
        for (id, uploaded) in [(1, Uploaded::Object), (2, Uploaded::None)] {
            let entry = BlockEntry {
                digest: Digest([id; 32]),
                uploaded,
                ..BlockEntry::of(id.into(), range)
            };
            partition.recent.insert(entry.id, entry);
        }
        let copy = copy_of(1, arc, &partition, PASSED_FROM);
        assert_eq!(copy.entries.len(), 1);
        let passed = copy.passed.unwrap();
        let had_left = |digest, round| {
            passed.had_left(&NamedBlock {
                cluster: 1,
                arc,
                level: Level(0),
                range,
                round,
                digest: Digest([digest; 32]),
            })
        };
        assert!(had_left(9, 3) && !had_left(9, 4) && !had_left(2, 3));
        assert_eq!(copy_of(1, arc, &partition, PASSED_FROM - 1).passed, None);
    }
}
