//! Manifests on this node's disk: staged for a command that may name them, and those that the
//! control state names.
//!
//! Key: `manifest/` and the digest's 32 bytes in [`Space::Meta`]; value: the manifest's bytes. A
//! value that is not what its digest says is as good as none: it is fetched again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::cluster::control::{MANIFEST_BYTES_MAX, Manifest};
use crate::cluster::error::Error;
use crate::model::Digest;
use crate::store::{self, Batch, Durability, Engine, Space};

const PREFIX: &[u8] = b"manifest/";

/// A manifest that no state names is kept so long: whoever is behind may ask for it, and a control
/// group that goes on from an older log names it again. They are small.
const KEPT_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// The manifests of this node.
pub(in crate::cluster) struct Manifests {
    engine: Arc<dyn Engine>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Those that were read: each partition's blocks are in memory anyway.
    read: BTreeMap<Digest, Arc<Manifest>>,
    /// Since when one is named by nobody.
    unnamed: BTreeMap<Digest, Duration>,
}

fn key(digest: Digest) -> Vec<u8> {
    [PREFIX, &digest.0].concat()
}

fn digest_of(bytes: &[u8]) -> Digest {
    Digest(*blake3::hash(bytes).as_bytes())
}

impl Manifests {
    pub(in crate::cluster) fn new(engine: Arc<dyn Engine>) -> Self {
        Self {
            engine,
            known: Mutex::default(),
        }
    }

    /// A manifest's bytes, if they are here and are what the digest says.
    ///
    /// # Errors
    /// When the disk cannot be read.
    pub(in crate::cluster) fn bytes(&self, digest: Digest) -> Result<Option<Vec<u8>>, Error> {
        let bytes = self.engine.get(Space::Meta, &key(digest))?;
        Ok(bytes.filter(|bytes| digest_of(bytes) == digest))
    }

    /// A manifest, if it is here.
    ///
    /// # Errors
    /// When the disk cannot be read, or it is from a newer version.
    pub(in crate::cluster) fn get(&self, digest: Digest) -> Result<Option<Arc<Manifest>>, Error> {
        if let Some(manifest) = self.known.lock().read.get(&digest) {
            return Ok(Some(Arc::clone(manifest)));
        }
        let Some(bytes) = self.bytes(digest)? else {
            return Ok(None);
        };
        let manifest = Arc::new(decode(digest, &bytes)?);
        let mut known = self.known.lock();
        known.read.insert(digest, Arc::clone(&manifest));
        Ok(Some(manifest))
    }

    /// Keeps a manifest durably.
    ///
    /// # Errors
    /// When the bytes are none, or not those of the digest, or the disk fails.
    pub(in crate::cluster) fn put(&self, digest: Digest, bytes: &[u8]) -> Result<(), Error> {
        if digest_of(bytes) != digest || bytes.len() > MANIFEST_BYTES_MAX {
            return Err(Error::Store(store::Error::corrupt(
                format!("the received manifest {digest}"),
                "its bytes are not those of the digest",
            )));
        }
        decode(digest, bytes)?;
        // What was counted as named by nobody may be named by who stages it again.
        self.known.lock().unnamed.remove(&digest);
        let mut batch = Batch::new();
        batch.put(Space::Meta, &key(digest), bytes);
        Ok(self.engine.write(batch, Durability::Synced)?)
    }

    /// Removes what nobody has named for [`KEPT_FOR`], as far as this process knows.
    ///
    /// # Errors
    /// When the disk fails.
    pub(in crate::cluster) fn sweep(
        &self,
        named: &BTreeSet<Digest>,
        now: Duration,
    ) -> Result<(), Error> {
        let mut here = BTreeSet::new();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let pairs = self.engine.scan(Space::Meta, PREFIX, after.as_deref())?;
            for (key, _) in &pairs {
                let digest = key
                    .get(PREFIX.len()..)
                    .and_then(|rest| rest.try_into().ok());
                here.extend(digest.map(Digest));
            }
            match pairs.into_iter().next_back() {
                Some((last, _)) => after = Some(last),
                None => break,
            }
        }
        let mut batch = Batch::new();
        {
            let mut known = self.known.lock();
            known.read.retain(|digest, _| named.contains(digest));
            known
                .unnamed
                .retain(|digest, _| here.contains(digest) && !named.contains(digest));
            for digest in here.difference(named) {
                let since = *known.unnamed.entry(*digest).or_insert(now);
                if now.saturating_sub(since) >= KEPT_FOR {
                    batch.delete(Space::Meta, &key(*digest));
                }
            }
        }
        if batch.is_empty() {
            return Ok(());
        }
        Ok(self.engine.write(batch, Durability::Buffered)?)
    }
}

fn decode(digest: Digest, bytes: &[u8]) -> Result<Manifest, Error> {
    Manifest::decode(bytes).map_err(|error| {
        Error::Store(store::Error::corrupt(
            format!("the manifest {digest}"),
            error.to_string(),
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::RingArc;
    use crate::store::MemoryEngine;

    fn manifest(depth: u8) -> (Digest, Vec<u8>) {
        let manifest = Manifest {
            arc: RingArc::new(0, depth).unwrap(),
            blocks: BTreeMap::new(),
        };
        let bytes = manifest.encode();
        (digest_of(&bytes), bytes)
    }

    /// Would catch a manifest that is believed although its bytes have rotted, one that goes while
    /// it is named, and one that stays for ever.
    #[test]
    fn what_is_kept_is_what_was_put_and_goes_when_nobody_names_it() {
        let engine = Arc::new(MemoryEngine::new(std::path::Path::new("unused")));
        let manifests = Manifests::new(engine.clone());
        let ((one, bytes), (two, other)) = (manifest(1), manifest(2));
        assert!(manifests.put(one, &other).is_err());
        assert!(manifests.put(digest_of(b"x"), b"x").is_err());
        assert!(manifests.get(one).unwrap().is_none());
        manifests.put(one, &bytes).unwrap();
        manifests.put(two, &other).unwrap();
        assert_eq!(manifests.bytes(one).unwrap(), Some(bytes.clone()));
        assert_eq!(manifests.get(two).unwrap().unwrap().arc.depth(), 2);
        let named = BTreeSet::from([one]);
        let begun = Duration::from_secs(7);
        manifests.sweep(&named, begun).unwrap();
        manifests.sweep(&named, begun + KEPT_FOR / 2).unwrap();
        assert!(manifests.get(two).unwrap().is_some());
        manifests.sweep(&named, begun + KEPT_FOR).unwrap();
        assert!(manifests.get(two).unwrap().is_none());
        assert!(manifests.get(one).unwrap().is_some());
        // A flipped bit, seen by the next process.
        let mut rotten = bytes;
        rotten[10] ^= 1;
        let mut batch = Batch::new();
        batch.put(Space::Meta, &key(one), &rotten);
        engine.write(batch, Durability::Synced).unwrap();
        let again = Manifests::new(engine);
        assert!(again.get(one).unwrap().is_none() && again.bytes(one).unwrap().is_none());
    }
}
