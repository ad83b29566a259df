//! The catalog of a partition: what the state lists, and what its manifest does.

use std::collections::BTreeMap;
use std::iter;
use std::sync::{Arc, OnceLock};

use super::kept::Manifests;
use crate::cluster::control::{ControlState, Manifest, Partition};
use crate::cluster::error::Error;
use crate::model::{BlockEntry, BlockId, Incarnation, RingArc};
use crate::store::Catalog;

/// All blocks of a partition, as of one control state.
pub(in crate::cluster) struct Listed<'a> {
    partition: &'a Partition,
    manifest: Option<Arc<Manifest>>,
    /// What both list, for who needs it as one.
    together: OnceLock<BTreeMap<BlockId, BlockEntry>>,
}

impl<'a> Listed<'a> {
    /// What a state and a manifest list together. What has expired is not rewritten for it: the
    /// manifest's entries of that time count no more. Where both list a block, the state's entry is
    /// the newer one.
    pub(in crate::cluster) fn of(
        partition: &'a Partition,
        manifest: Option<Arc<Manifest>>,
    ) -> Self {
        Self {
            partition,
            manifest,
            together: OnceLock::new(),
        }
    }

    /// As the store applies it.
    pub(in crate::cluster) fn catalog(&self) -> Catalog<'_> {
        Catalog {
            version: self.partition.version,
            blocks: self.blocks(),
        }
    }

    /// The blocks as one map: a copy of them where there is a manifest.
    pub(in crate::cluster) fn blocks(&self) -> &BTreeMap<BlockId, BlockEntry> {
        if self.manifest.is_none() {
            return &self.partition.recent;
        }
        let copy = || self.entries().map(|entry| (entry.id, entry.clone()));
        self.together.get_or_init(|| copy().collect())
    }

    /// The blocks in order of their ids, where they lie.
    pub(in crate::cluster) fn entries(&self) -> impl Iterator<Item = &BlockEntry> {
        let manifest = self.manifest.iter();
        let older = manifest.flat_map(|manifest| manifest.blocks.values());
        let mut older = older.filter(|entry| self.counts(entry)).peekable();
        let mut recent = self.partition.recent.values().peekable();
        iter::from_fn(move || match (older.peek(), recent.peek()) {
            (Some(old), Some(new)) if old.id > new.id => recent.next(),
            (Some(_), _) => older.next(),
            (None, _) => recent.next(),
        })
    }

    /// A block.
    pub(in crate::cluster) fn get(&self, id: BlockId) -> Option<&BlockEntry> {
        let older = || {
            let entry = self.manifest.as_ref()?.blocks.get(&id)?;
            self.counts(entry).then_some(entry)
        };
        self.partition.recent.get(&id).or_else(older)
    }

    /// Whether a manifest's entry says anything.
    fn counts(&self, entry: &BlockEntry) -> bool {
        entry.range.end >= self.partition.expired_before
            && !self.partition.recent.contains_key(&entry.id)
    }
}

/// All blocks of a partition.
///
/// # Errors
/// When its manifest is not here, or the disk fails.
pub(in crate::cluster) fn listed<'a>(
    manifests: &Manifests,
    arc: RingArc,
    partition: &'a Partition,
) -> Result<Listed<'a>, Error> {
    let Some(history) = partition.history else {
        return Ok(Listed::of(partition, None));
    };
    let manifest = manifests.get(history.digest)?;
    let manifest = manifest.ok_or_else(|| Error::NoManifest {
        arc,
        digest: history.digest,
        reason: "it is not on this node yet".to_owned(),
    })?;
    Ok(Listed::of(partition, Some(manifest)))
}

/// Every block that a state names of any partition, as far as a node has to know.
pub(in crate::cluster) struct Named<'a> {
    state: &'a ControlState,
    older: Vec<Arc<Manifest>>,
}

impl Named<'_> {
    /// Whether a block is named.
    pub(in crate::cluster) fn contains(&self, id: BlockId) -> bool {
        let mut partitions = self.state.partitions.values();
        let mut older = self.older.iter();
        older.any(|manifest| manifest.blocks.contains_key(&id))
            || partitions.any(|partition| partition.recent.contains_key(&id))
    }
}

/// Every block that a state names; `None`: a manifest of a partition that a node takes part in is
/// not here, so nobody may say that a block is not named.
///
/// # Errors
/// When the disk fails.
pub(in crate::cluster) fn named<'a>(
    manifests: &Manifests,
    state: &'a ControlState,
    me: Incarnation,
) -> Result<Option<Named<'a>>, Error> {
    let mut older = Vec::new();
    for partition in state.partitions.values() {
        let Some(history) = partition.history else {
            continue;
        };
        let sets = partition.sets();
        let takes_part = sets.iter().flatten().any(|member| member.incarnation == me);
        match manifests.get(history.digest)? {
            Some(manifest) => older.push(manifest),
            None if takes_part => return Ok(None),
            None => {}
        }
    }
    Ok(Some(Named { state, older }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::control::{History, MemberId};
    use crate::model::{Epoch, Uploaded, Window};
    use crate::store::MemoryEngine;

    fn entry(id: u128, window: i64) -> BlockEntry {
        BlockEntry::of(id, Window(window).range())
    }

    /// Would catch a catalog that loses its older blocks, and one that is taken for whole although
    /// its manifest is not here.
    #[test]
    fn the_catalog_is_what_state_and_manifest_list_together() {
        let arc = RingArc::new(0, 4).unwrap();
        let me = Incarnation(1);
        let member = MemberId {
            incarnation: me,
            life: 0,
        };
        let mut partition = Partition::new(Epoch(1), vec![member]);
        partition.recent.insert(BlockId(9), entry(9, 90));
        let manifest = Manifest {
            arc,
            blocks: [entry(1, 1), entry(2, 2), entry(9, 90)]
                .map(|entry| (entry.id, entry))
                .into(),
        };
        let bytes = manifest.encode();
        let history = manifest.history(&bytes);
        partition.history = Some(history);
        partition.expired_before = Window(2).start();
        let mut newer = entry(9, 90);
        newer.uploaded = Uploaded::Object;
        partition.recent.insert(BlockId(9), newer.clone());
        let manifests = Manifests::new(Arc::new(MemoryEngine::new(std::path::Path::new("-"))));
        let error = listed(&manifests, arc, &partition).err().unwrap();
        let text = error.to_string();
        assert!(text.contains(&history.digest.to_string()), "{text}");
        let state = ControlState {
            partitions: [(arc, Arc::new(partition.clone()))].into(),
            ..ControlState::default()
        };
        assert!(named(&manifests, &state, me).unwrap().is_none());
        // Whoever has nothing of the partition need not know.
        let other = named(&manifests, &state, Incarnation(2)).unwrap().unwrap();
        assert!(other.contains(BlockId(9)) && !other.contains(BlockId(2)));
        manifests.put(history.digest, &bytes).unwrap();
        let all = listed(&manifests, arc, &partition).unwrap();
        assert_eq!(
            all.blocks().values().collect::<Vec<_>>(),
            [&entry(2, 2), &newer]
        );
        assert_eq!(all.entries().collect::<Vec<_>>(), [&entry(2, 2), &newer]);
        assert_eq!(all.get(BlockId(9)), Some(&newer));
        assert_eq!(all.get(BlockId(2)), Some(&entry(2, 2)));
        assert!(all.get(BlockId(1)).is_none() && all.get(BlockId(7)).is_none());
        let mine = named(&manifests, &state, me).unwrap().unwrap();
        assert!([1, 2, 9].iter().all(|id| mine.contains(BlockId(*id))));
        assert!(!mine.contains(BlockId(3)));
        let History { blocks, .. } = history;
        assert_eq!(blocks, 3);
    }
}
