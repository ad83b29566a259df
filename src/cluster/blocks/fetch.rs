//! Blocks come back from the bucket: staged like those that a peer sends, and checked like them.

use super::archive::Archive;
use crate::archive::{self, ClusterRecord, Part, block_place, fetch_piece, manifest_name};
use crate::cluster::control::MANIFEST_BYTES_MAX;
use crate::cluster::error::Error;
use crate::model::{BlockEntry, Digest, RingArc, Uploaded};
use crate::runtime::{CancelToken, Throttle};
use crate::store::Store;

impl Archive {
    /// The clusters below whose names blocks of this one lie. Asked once: a cluster does not get
    /// other ancestors while it runs.
    ///
    /// # Errors
    /// When the bucket cannot be asked, or holds no cluster.
    fn homes(&self, cancel: &CancelToken) -> Result<Vec<u128>, Error> {
        if let Some(homes) = self.known_homes.lock().clone() {
            return Ok(homes);
        }
        let record = self.wait(cancel, ClusterRecord::read(&self.bucket))?;
        let record = record.ok_or_else(|| {
            archive::Error::Foreign(format!("{self} has no cluster.json: is it the right one?"))
        })?;
        let homes: Vec<u128> = record.homes().collect();
        *self.known_homes.lock() = Some(homes.clone());
        Ok(homes)
    }

    /// Fetches a block's file; it is staged then. Bytes are shown to `note` as they come.
    ///
    /// # Errors
    /// When the bucket has it not or not whole, or a disk fails.
    pub(in crate::cluster) fn fetch(
        &self,
        store: &Store,
        arc: RingArc,
        entry: &BlockEntry,
        cancel: &CancelToken,
        note: &dyn Fn(u64),
    ) -> Result<(), Error> {
        let part = self.find(arc, entry, cancel)?;
        self.fetch_part(store, &part, entry, cancel, note)
    }

    /// The bytes of a manifest; whether they are what the digest says is for the caller to see. The
    /// halves of a split share what lies below the whole's name.
    ///
    /// # Errors
    /// When the bucket has it not, or cannot be asked.
    pub(in crate::cluster) fn fetch_manifest(
        &self,
        arc: RingArc,
        digest: Digest,
        cancel: &CancelToken,
    ) -> Result<Vec<u8>, Error> {
        for home in self.homes(cancel)? {
            for wider in with_wider(arc) {
                let name = manifest_name(home, wider, digest);
                let bytes = self.bucket.get(&name, MANIFEST_BYTES_MAX as u64);
                if let Some(bytes) = self.wait(cancel, bytes)? {
                    return Ok(bytes.into());
                }
            }
        }
        Err(Error::Archive(archive::Error::Missing {
            bucket: self.to_string(),
            name: format!("of manifest {digest} of partition {arc}"),
        }))
    }

    /// Reads the object of a block, as fast as `throttle` lets it, and compares it with the catalog;
    /// the answer is how many bytes it has.
    ///
    /// # Errors
    /// When it is missing or another one, or the bucket cannot be asked.
    pub(in crate::cluster) fn check(
        &self,
        arc: RingArc,
        entry: &BlockEntry,
        throttle: &Throttle,
        cancel: &CancelToken,
    ) -> Result<u64, Error> {
        let part = self.find(arc, entry, cancel)?;
        let has = self.wait(cancel, self.bucket.size(&part.name))?;
        let in_pack = matches!(entry.uploaded, Uploaded::Pack { .. });
        let fits = in_pack || has == Some(entry.size);
        let mut hasher = blake3::Hasher::new();
        while fits && hasher.count() < entry.size {
            let piece = fetch_piece(&self.bucket, &part, hasher.count());
            let piece = self.wait(cancel, piece)?;
            throttle.take(piece.len() as u64);
            hasher.update(&piece);
        }
        if hasher.count() == entry.size && *hasher.finalize().as_bytes() == entry.digest.0 {
            return Ok(entry.size);
        }
        Err(Error::Archive(archive::Error::Corrupt {
            bucket: self.to_string(),
            name: part.name,
            problem: format!("block {} in it is not what the catalog says", entry.id),
        }))
    }

    /// Where a block lies.
    ///
    /// # Errors
    /// When it lies nowhere, or the bucket cannot be asked.
    pub(super) fn find(
        &self,
        arc: RingArc,
        entry: &BlockEntry,
        cancel: &CancelToken,
    ) -> Result<Part, Error> {
        for (home, arc) in candidates(&self.homes(cancel)?, arc, entry) {
            let (name, from) = block_place(home, arc, entry);
            if self.wait(cancel, self.bucket.size(&name))?.is_some() {
                let size = entry.size;
                return Ok(Part { name, from, size });
            }
        }
        Err(Error::Archive(archive::Error::Missing {
            bucket: self.to_string(),
            name: format!("of block {} of partition {arc}", entry.id),
        }))
    }

    /// The same of a block of which it is known where it lies.
    ///
    /// # Errors
    /// As [`Archive::fetch`].
    pub(super) fn fetch_part(
        &self,
        store: &Store,
        part: &Part,
        entry: &BlockEntry,
        cancel: &CancelToken,
        note: &dyn Fn(u64),
    ) -> Result<(), Error> {
        let Some(mut receiving) = store.receive(entry)? else {
            note(entry.size);
            return Ok(());
        };
        note(receiving.offset());
        while !receiving.is_complete() {
            let piece = fetch_piece(&self.bucket, part, receiving.offset());
            let piece = self.wait(cancel, piece)?;
            receiving.write(&piece)?;
            note(piece.len() as u64);
        }
        Ok(receiving.finish()?)
    }
}

/// Where a block may lie: below each cluster, and, when it has an object of its own and is older than
/// a split of its partition, under the name of the whole. The name of a pack has no arc.
pub(super) fn candidates(
    clusters: &[u128],
    arc: RingArc,
    entry: &BlockEntry,
) -> Vec<(u128, RingArc)> {
    let in_pack = matches!(entry.uploaded, Uploaded::Pack { .. });
    let arcs = with_wider(arc).take(if in_pack { 1 } else { usize::MAX });
    let arcs: Vec<RingArc> = arcs.collect();
    let of = |home: &u128| arcs.iter().map(|arc| (*home, *arc)).collect::<Vec<_>>();
    clusters.iter().flat_map(of).collect()
}

/// An arc, and those it was split from.
pub(super) fn with_wider(arc: RingArc) -> impl Iterator<Item = RingArc> {
    (0..=arc.depth()).rev().filter_map(move |depth| {
        let mask = u32::MAX.checked_shl(32 - u32::from(depth)).unwrap_or(0);
        RingArc::new(arc.prefix() & mask, depth)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arc_comes_before_those_it_was_split_from() {
        let arc = RingArc::new(0xb000_0000, 4).unwrap();
        let names: Vec<String> = with_wider(arc).map(|arc| arc.to_string()).collect();
        assert_eq!(names, ["b-4", "a-3", "8-2", "8-1", "0-0"]);
    }
}
