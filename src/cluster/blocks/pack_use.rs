//! What of a pack is still needed: its directory says what was put into it, the catalog what it still
//! names there. Who rewrites the rest of one of which little is needed is `merging`'s business.
//!
//! Whatever cannot be found out counts as needed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;

use super::archive::Archive;
use super::known::manifest;
use crate::archive::PackDirectory;
use crate::cluster::control::{ControlState, Partition};
use crate::cluster::error::Error;
use crate::cluster::manifests::{Listed, Manifests, listed};
use crate::model::{BlockEntry, Digest, RingArc, TimeRange, Uploaded};
use crate::runtime::CancelToken;

/// Blocks of directories that are remembered, each some 60 bytes. A small node's packs of three years
/// have 20,000.
const BLOCKS_MAX: usize = 1 << 16;

/// Whoever asks how much of a pack is needed.
pub(in crate::cluster) struct PackUse {
    archive: Archive,
    manifests: Arc<Manifests>,
    read: Mutex<Remembered>,
}

/// What packs hold, by their names' digests; that never changes.
#[derive(Default)]
struct Remembered {
    packs: BTreeMap<Digest, Arc<Held>>,
    blocks: usize,
}

/// What was put into a pack.
struct Held {
    /// Bytes before its directory.
    bytes: u64,
    /// Arc, digest and size of its blocks.
    blocks: Vec<(RingArc, Digest, u64)>,
}

/// How much of a pack is needed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::cluster) struct Share {
    /// The bytes of all that was put into it.
    pub(in crate::cluster) bytes: u64,
    /// Those of it that the catalog does not name any more.
    pub(in crate::cluster) dead: u64,
}

/// One look at several packs, as of one state.
pub(in crate::cluster) struct PackLook<'a> {
    of: &'a PackUse,
    state: &'a ControlState,
    /// By partition what it names and where that lies; `None`: its manifest cannot be had.
    named: BTreeMap<RingArc, Option<Names>>,
}

/// Digests of blocks, each with the pack in which it lies.
type Names = BTreeSet<(Digest, Option<Digest>)>;

impl PackUse {
    pub(in crate::cluster) fn new(archive: &Archive, manifests: &Arc<Manifests>) -> Self {
        Self {
            archive: archive.clone(),
            manifests: Arc::clone(manifests),
            read: Mutex::default(),
        }
    }

    /// Looks at packs as a state names what is in them.
    pub(in crate::cluster) fn look<'a>(&'a self, state: &'a ControlState) -> PackLook<'a> {
        PackLook {
            of: self,
            state,
            named: BTreeMap::new(),
        }
    }

    /// Whether a block of a partition with some times lies in a pack that holds something that nobody
    /// needs any more.
    ///
    /// # Errors
    /// When the bucket cannot be asked, or the partition's manifest is not here.
    pub(in crate::cluster) fn has_dead(
        &self,
        state: &ControlState,
        arc: RingArc,
        range: TimeRange,
        cancel: &CancelToken,
    ) -> Result<bool, Error> {
        let Some(partition) = state.partition(arc) else {
            return Ok(false);
        };
        let listed = listed(&self.manifests, arc, partition)?;
        let mut look = self.look(state);
        let entries = listed.entries();
        for entry in entries.filter(|entry| entry.range.overlaps(range)) {
            let share = look.share(arc, entry, cancel)?;
            if share.is_some_and(|share| share.dead > 0) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What was put into the pack in which a block lies.
    fn held(
        &self,
        pack: Digest,
        arc: RingArc,
        entry: &BlockEntry,
        cancel: &CancelToken,
    ) -> Result<Arc<Held>, Error> {
        if let Some(held) = self.read.lock().packs.get(&pack) {
            return Ok(Arc::clone(held));
        }
        let (archive, bucket) = (&self.archive, &self.archive.bucket);
        let name = archive.find(arc, entry, cancel)?.name;
        let size = archive.wait(cancel, bucket.size(&name))?.unwrap_or(0);
        let directory = PackDirectory::read(bucket, &name, size);
        let directory = archive.wait(cancel, directory)?;
        let blocks = directory.blocks.iter();
        let held = Arc::new(Held {
            bytes: size.saturating_sub(directory.encode().len() as u64),
            blocks: blocks
                .map(|one| (one.arc, one.entry.digest, one.entry.size))
                .collect(),
        });
        let mut read = self.read.lock();
        if read.blocks >= BLOCKS_MAX {
            *read = Remembered::default();
        }
        read.blocks += held.blocks.len();
        read.packs.insert(pack, Arc::clone(&held));
        Ok(held)
    }

    /// The digests that a partition names, each with the pack in which it lies.
    fn names(
        &self,
        arc: RingArc,
        partition: &Partition,
        cancel: &CancelToken,
    ) -> Result<Option<Names>, Error> {
        let older = match partition.history {
            None => None,
            Some(history) => {
                let (archive, manifests) = (&self.archive, &self.manifests);
                let Some(older) = manifest(archive, manifests, arc, history.digest, cancel)? else {
                    return Ok(None);
                };
                Some(older)
            }
        };
        let listed = Listed::of(partition, older);
        let entries = listed.entries();
        let names = entries.map(|entry| match entry.uploaded {
            Uploaded::Pack { pack, .. } => (entry.digest, Some(pack)),
            // It may be on its way into any.
            Uploaded::None => (entry.digest, None),
            // What was once put into a pack is not needed there.
            Uploaded::Object => (entry.digest, Some(entry.digest)),
        });
        Ok(Some(names.collect()))
    }
}

impl PackLook<'_> {
    /// How much is needed of the pack in which a block lies; `None`: it lies in none, or what is in that
    /// cannot be read.
    ///
    /// # Errors
    /// When the bucket cannot be asked.
    pub(in crate::cluster) fn share(
        &mut self,
        arc: RingArc,
        entry: &BlockEntry,
        cancel: &CancelToken,
    ) -> Result<Option<Share>, Error> {
        let Uploaded::Pack { pack, .. } = entry.uploaded else {
            return Ok(None);
        };
        let held = match self.of.held(pack, arc, entry, cancel) {
            Ok(held) => held,
            // Nobody knows what else is in it: it stays, as the sweeper leaves it.
            Err(Error::Archive(error)) if error.is_of_object() => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut needed = 0u64;
        for (arc, digest, size) in &held.blocks {
            if self.is_needed(pack, *arc, *digest, cancel)? {
                needed = needed.saturating_add(*size);
            }
        }
        Ok(Some(Share {
            bytes: held.bytes,
            dead: held.bytes.saturating_sub(needed),
        }))
    }

    fn is_needed(
        &mut self,
        pack: Digest,
        of: RingArc,
        digest: Digest,
        cancel: &CancelToken,
    ) -> Result<bool, Error> {
        let meeting = self.state.partitions.iter();
        let mut known = false;
        for (arc, partition) in meeting.filter(|(arc, _)| arc.meets(of)) {
            known = true;
            if !self.named.contains_key(arc) {
                let names = self.of.names(*arc, partition, cancel)?;
                self.named.insert(*arc, names);
            }
            let names = self.named.get(arc).and_then(Option::as_ref);
            let needs = names.is_none_or(|names| {
                names.contains(&(digest, Some(pack))) || names.contains(&(digest, None))
            });
            if needs {
                return Ok(true);
            }
        }
        Ok(!known)
    }
}
