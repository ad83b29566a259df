//! What the cluster needs of its objects: the one place that says which of them nobody needs any
//! more, and so the one that must know wherever entries are kept.
//!
//! What is a leftover stays one: a block that has left the catalog never comes back under its
//! digest, and what was never in it cannot come once its round has passed. So it does not matter
//! how old the word is on which one is removed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::archive::Archive;
use crate::archive::{CatalogCopy, NamedBlock, PackedBlock};
use crate::cluster::control::{ControlState, Manifest, Partition};
use crate::cluster::error::Error;
use crate::cluster::manifests::Manifests;
use crate::model::{BlockEntry, Digest, Level, RingArc, Uploaded};
use crate::runtime::CancelToken;

/// The catalog, for whoever asks about objects.
pub(super) struct Known {
    state: Arc<ControlState>,
    /// The manifests of partitions that have one; of one that could not be had nothing is known.
    older: BTreeMap<RingArc, Arc<Manifest>>,
    digests: BTreeSet<Digest>,
    /// The packs in which its blocks lie.
    packs: BTreeSet<Digest>,
}

impl Known {
    /// What a state and its manifests name; `manifest` gives one by its digest, if it can be had.
    pub(super) fn of<E>(
        state: Arc<ControlState>,
        mut manifest: impl FnMut(RingArc, Digest) -> Result<Option<Arc<Manifest>>, E>,
    ) -> Result<Self, E> {
        let mut older = BTreeMap::new();
        for (arc, partition) in &state.partitions {
            if let Some(history) = partition.history
                && let Some(manifest) = manifest(*arc, history.digest)?
            {
                older.insert(*arc, manifest);
            }
        }
        let mut known = Self {
            state,
            older,
            digests: BTreeSet::new(),
            packs: BTreeSet::new(),
        };
        let packs = known.entries().filter_map(|(_, entry)| pack_of(entry));
        (known.digests, known.packs) = (
            known.entries().map(|(_, entry)| entry.digest).collect(),
            packs.map(|(pack, _)| pack).collect(),
        );
        Ok(known)
    }

    /// What a state names, with the manifests of the whole ring: those that this node does not keep
    /// are read from the bucket.
    ///
    /// # Errors
    /// When the bucket cannot be asked.
    pub(super) fn read(
        archive: &Archive,
        manifests: &Manifests,
        state: Arc<ControlState>,
        cancel: &CancelToken,
    ) -> Result<Self, Error> {
        Self::of(state, |arc, digest| {
            manifest(archive, manifests, arc, digest, cancel)
        })
    }

    fn entries(&self) -> impl Iterator<Item = (RingArc, &BlockEntry)> {
        let partitions = self.state.partitions.iter();
        partitions.flat_map(|(arc, partition)| {
            let entries = self.entries_of(*arc, partition);
            entries.map(move |entry| (*arc, entry))
        })
    }

    /// Whether a block of the catalog lies in a pack.
    pub(super) fn names_pack(&self, pack: Digest) -> bool {
        self.packs.contains(&pack)
    }

    /// The blocks of the catalog that lie in a pack, in the order in which they do.
    pub(super) fn in_pack(&self, pack: Digest) -> Vec<PackedBlock> {
        let mut blocks = BTreeMap::new();
        for (arc, entry) in self.entries() {
            if let Some((_, offset)) = pack_of(entry).filter(|(of, _)| *of == pack) {
                let entry = entry.clone();
                blocks.insert(offset, PackedBlock { arc, offset, entry });
            }
        }
        blocks.into_values().collect()
    }

    /// All entries of a partition that can be read here; those of the manifest that have expired
    /// are no harm.
    fn entries_of<'a>(
        &'a self,
        arc: RingArc,
        partition: &'a Partition,
    ) -> impl Iterator<Item = &'a BlockEntry> {
        let older = self.older.get(&arc).into_iter();
        let older = older.flat_map(|manifest| manifest.blocks.values());
        let kept = older.filter(|entry| entry.range.end >= partition.expired_before);
        partition.recent.values().chain(kept)
    }

    /// Whether these are all that it has.
    fn is_whole(&self, arc: RingArc, partition: &Partition) -> bool {
        partition.history.is_none() || self.older.contains_key(&arc)
    }

    /// Those that may hold what a block holds.
    fn entries_beside<'a>(
        &'a self,
        arc: RingArc,
        partition: &'a Partition,
        block: &'a NamedBlock,
    ) -> impl Iterator<Item = &'a BlockEntry> {
        let entries = self.entries_of(arc, partition);
        entries.filter(|entry| entry.range.overlaps(block.range))
    }

    /// The partitions whose blocks may hold what a block of an arc holds.
    pub(super) fn meeting(&self, arc: RingArc) -> impl Iterator<Item = (RingArc, &Partition)> {
        let partitions = self.state.partitions.iter();
        let partitions = partitions.map(|(other, partition)| (*other, partition.as_ref()));
        partitions.filter(move |(other, _)| other.meets(arc))
    }

    /// Whether nobody needs a block's object any more, nor ever will: the catalog does not name it,
    /// no seal can commit it, and what took its place is in the bucket.
    pub(super) fn is_leftover(&self, block: &NamedBlock) -> bool {
        if self.digests.contains(&block.digest) {
            return false;
        }
        let mut partitions = self.meeting(block.arc).peekable();
        partitions.peek().is_some()
            && partitions.all(|(arc, partition)| {
                self.is_whole(arc, partition)
                    && has_passed(arc, partition, block)
                    && self
                        .entries_beside(arc, partition, block)
                        .all(|e| e.uploaded != Uploaded::None)
            })
    }

    /// Whether a restore from a copy of a partition's catalog would do without a block: the copy
    /// names all that lies beside it, and not the block. A copy whose manifest was not read with it
    /// says nothing.
    pub(super) fn replaced_in(&self, copy: &CatalogCopy, block: &NamedBlock) -> bool {
        let named: BTreeSet<Digest> = copy.entries.iter().map(|entry| entry.digest).collect();
        let Some(partition) = self.state.partition(copy.arc) else {
            return false;
        };
        copy.history.is_none()
            && !named.contains(&block.digest)
            && self
                .entries_beside(copy.arc, partition, block)
                .all(|entry| named.contains(&entry.digest))
    }
}

/// The pack in which a block lies, and where in it.
const fn pack_of(entry: &BlockEntry) -> Option<(Digest, u64)> {
    match entry.uploaded {
        Uploaded::None | Uploaded::Object => None,
        Uploaded::Pack { pack, offset } => Some((pack, offset)),
    }
}

/// A manifest, from here or from the bucket; `None`: it cannot be had, and nothing of its partition
/// may be removed.
///
/// # Errors
/// When the bucket cannot be asked.
pub(super) fn manifest(
    archive: &Archive,
    manifests: &Manifests,
    arc: RingArc,
    digest: Digest,
    cancel: &CancelToken,
) -> Result<Option<Arc<Manifest>>, Error> {
    if let Some(manifest) = manifests.get(digest)? {
        return Ok(Some(manifest));
    }
    match archive.fetch_manifest(arc, digest, cancel) {
        Ok(bytes) if *blake3::hash(&bytes).as_bytes() == digest.0 => {
            Ok(Manifest::decode(&bytes).ok().map(Arc::new))
        }
        Ok(_) => Ok(None),
        Err(Error::Archive(error)) if error.is_of_object() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether no seal can commit a block any more, however long its sealer slept. What is merged is put
/// after it was committed, and its inputs are gone then.
fn has_passed(arc: RingArc, partition: &Partition, block: &NamedBlock) -> bool {
    let expired = block.range.end < partition.expired_before;
    // Arcs are split and never united: nothing is committed to a wider one any more.
    let split = arc.depth() > block.arc.depth();
    let same = arc == block.arc;
    let round = same && partition.next_round(block.range) > block.round;
    expired || split || round || (same && block.level > Level(0))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::cluster::control::{History, RangeKey};
    use crate::model::{Epoch, TimeRange, TimestampMs, Window};

    fn arc(prefix: u32, depth: u8) -> RingArc {
        RingArc::new(prefix << 28, depth).unwrap()
    }

    fn entry(id: u128, range: TimeRange, uploaded: Uploaded) -> BlockEntry {
        BlockEntry {
            digest: Digest([u8::try_from(id).unwrap(); 32]),
            uploaded,
            ..BlockEntry::of(id, range)
        }
    }

    fn named(digest: u8, level: u8, round: u32, range: TimeRange) -> NamedBlock {
        NamedBlock {
            cluster: 1,
            arc: arc(3, 4),
            level: Level(level),
            range,
            round,
            digest: Digest([digest; 32]),
        }
    }

    fn known(arcs: &[RingArc], change: impl Fn(&mut Partition)) -> Known {
        let partitions = arcs.iter().map(|arc| {
            let mut partition = Partition::new(Epoch(1), Vec::new());
            change(&mut partition);
            (*arc, Arc::new(partition))
        });
        let state = Arc::new(ControlState {
            partitions: partitions.collect(),
            ..ControlState::default()
        });
        // Of all manifests only one can be had: it lists one block.
        let window = Window(5).range();
        let one = entry(9, window, Uploaded::Object);
        let listing = Arc::new(Manifest {
            arc: arc(3, 4),
            blocks: [(one.id, one)].into(),
        });
        let known = Known::of(state, |_, digest| {
            Ok::<_, ()>((digest == Digest([2; 32])).then(|| Arc::clone(&listing)))
        });
        known.unwrap()
    }

    fn history(digest: u8) -> Option<History> {
        Some(History {
            digest: Digest([digest; 32]),
            blocks: 1,
            oldest_end: TimestampMs(0),
        })
    }

    /// Each rule alone keeps the object. Would catch a sweeper that removes what a sealer that slept
    /// commits afterwards, an input whose output is not uploaded, or what a manifest may name.
    #[test]
    fn nothing_is_a_leftover_that_may_be_needed() {
        let (window, next) = (Window(5).range(), Window(6).range());
        let sealed = |partition: &mut Partition| {
            partition.rounds = BTreeMap::from([(RangeKey::from(window), 2)]);
        };
        let here = [arc(3, 4)];
        let block = named(9, 0, 2, window);
        assert!(known(&here, sealed).is_leftover(&block));
        let coming = named(9, 0, 3, window);
        assert!(
            !known(&here, sealed).is_leftover(&coming),
            "it may be committed"
        );
        assert!(!known(&here, sealed).is_leftover(&named(9, 0, 1, next)));
        let expired = |partition: &mut Partition| {
            partition.expired_before = TimestampMs(window.end.0 + 1);
        };
        assert!(known(&here, expired).is_leftover(&coming));
        assert!(!known(&here, expired).is_leftover(&named(9, 0, 1, next)));
        let named_there = |partition: &mut Partition| {
            sealed(partition);
            let entry = entry(9, window, Uploaded::Object);
            partition.recent.insert(entry.id, entry);
        };
        assert!(!known(&here, named_there).is_leftover(&block));
        let beside = |uploaded: Uploaded, range: TimeRange| {
            known(&here, move |partition| {
                sealed(partition);
                let entry = entry(8, range, uploaded);
                partition.recent.insert(entry.id, entry);
            })
        };
        assert!(!beside(Uploaded::None, window).is_leftover(&block));
        assert!(beside(Uploaded::None, next).is_leftover(&block));
        assert!(beside(Uploaded::Object, window).is_leftover(&block));
        let opaque = |partition: &mut Partition| {
            sealed(partition);
            partition.history = history(1);
        };
        assert!(!known(&here, opaque).is_leftover(&block));
        let listed = |partition: &mut Partition| {
            sealed(partition);
            partition.history = history(2);
        };
        assert!(
            !known(&here, listed).is_leftover(&block),
            "a manifest has it"
        );
        assert!(known(&here, listed).is_leftover(&named(7, 0, 2, window)));
        assert!(known(&here, |_| ()).is_leftover(&named(9, 1, 7, window)));
    }

    #[test]
    fn arcs_that_were_split_are_passed_and_unknown_ones_are_not() {
        let window = Window(5).range();
        let block = named(9, 0, 1, window);
        let halves: Vec<RingArc> = arc(3, 4).halves().unwrap().to_vec();
        assert!(known(&halves, |_| ()).is_leftover(&block));
        let one_waits = known(&halves, |partition| {
            let entry = entry(8, window, Uploaded::None);
            partition.recent.insert(entry.id, entry);
        });
        assert!(!one_waits.is_leftover(&block));
        assert!(
            !known(&[arc(2, 4)], |_| ()).is_leftover(&block),
            "no such arc"
        );
        assert!(
            !known(&[arc(2, 3)], |_| ()).is_leftover(&block),
            "it may be split"
        );
    }

    #[test]
    fn a_copy_that_names_it_or_lacks_what_replaced_it_keeps_it() {
        let window = Window(5).range();
        let known = known(&[arc(3, 4)], |partition| {
            let entry = entry(8, window, Uploaded::Object);
            partition.recent.insert(entry.id, entry);
        });
        let copy = |entries: Vec<BlockEntry>| CatalogCopy {
            cluster: 1,
            arc: arc(3, 4),
            version: 1,
            expired_before: TimestampMs::MIN,
            history: None,
            entries,
            passed: None,
        };
        let (new, old) = (
            entry(8, window, Uploaded::Object),
            entry(9, window, Uploaded::Object),
        );
        let block = named(9, 0, 1, window);
        assert!(known.replaced_in(&copy(vec![new.clone()]), &block));
        assert!(!known.replaced_in(&copy(vec![]), &block));
        assert!(!known.replaced_in(&copy(vec![new.clone(), old]), &block));
        let opaque = CatalogCopy {
            history: Some(Digest([0; 32])),
            ..copy(vec![new])
        };
        assert!(!known.replaced_in(&opaque, &block));
    }
}
