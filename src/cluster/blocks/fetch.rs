//! Blocks come back from the bucket: staged like those that a peer sends, and checked like them.

use super::archive::Archive;
use crate::archive::{self, ClusterRecord, block_name, fetch_piece, manifest_name};
use crate::cluster::control::MANIFEST_BYTES_MAX;
use crate::cluster::error::Error;
use crate::model::{BlockEntry, Digest, RingArc};
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
        let name = self.find(arc, entry, cancel)?;
        self.fetch_object(store, &name, entry, cancel, note)
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
        let name = self.find(arc, entry, cancel)?;
        let has = self.wait(cancel, self.bucket.size(&name))?;
        let mut hasher = blake3::Hasher::new();
        while has == Some(entry.size) && hasher.count() < entry.size {
            let piece = fetch_piece(&self.bucket, &name, hasher.count(), entry.size);
            let piece = self.wait(cancel, piece)?;
            throttle.take(piece.len() as u64);
            hasher.update(&piece);
        }
        if hasher.count() == entry.size && *hasher.finalize().as_bytes() == entry.digest.0 {
            return Ok(entry.size);
        }
        Err(Error::Archive(archive::Error::Corrupt {
            bucket: self.to_string(),
            name,
            problem: "it is not what the catalog says".to_owned(),
        }))
    }

    /// The object of a block.
    fn find(
        &self,
        arc: RingArc,
        entry: &BlockEntry,
        cancel: &CancelToken,
    ) -> Result<String, Error> {
        for home in self.homes(cancel)? {
            // A block that is older than a split of its partition has the name of the whole.
            let mut wider = Some(arc);
            while let Some(arc) = wider {
                let name = block_name(home, arc, entry);
                if self.wait(cancel, self.bucket.size(&name))?.is_some() {
                    return Ok(name);
                }
                wider = arc.parent();
            }
        }
        Err(Error::Archive(archive::Error::Missing {
            bucket: self.to_string(),
            name: format!("of block {} of partition {arc}", entry.id),
        }))
    }

    /// The same of an object whose name is known.
    ///
    /// # Errors
    /// As [`Archive::fetch`].
    pub(super) fn fetch_object(
        &self,
        store: &Store,
        name: &str,
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
            let piece = fetch_piece(&self.bucket, name, receiving.offset(), entry.size);
            let piece = self.wait(cancel, piece)?;
            receiving.write(&piece)?;
            note(piece.len() as u64);
        }
        Ok(receiving.finish()?)
    }
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
