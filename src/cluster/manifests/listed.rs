//! The catalog of a partition: what the state lists, and what its manifest does.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::kept::Manifests;
use crate::cluster::control::{ControlState, Manifest, Partition};
use crate::cluster::error::Error;
use crate::model::{BlockEntry, BlockId, Incarnation, RingArc};
use crate::store::Catalog;

/// All blocks of a partition, as of one control state.
pub(in crate::cluster) struct Listed<'a> {
    version: u64,
    blocks: Cow<'a, BTreeMap<BlockId, BlockEntry>>,
}

impl<'a> Listed<'a> {
    /// What a state and a manifest list together. What has expired is not rewritten for it: the
    /// manifest's entries of that time count no more. Where both list a block, the state's entry is
    /// the newer one.
    pub(in crate::cluster) fn of(partition: &'a Partition, manifest: Option<&Manifest>) -> Self {
        let mut blocks = Cow::Borrowed(&partition.recent);
        if let Some(manifest) = manifest {
            let kept = manifest.blocks.values();
            let kept = kept.filter(|entry| entry.range.end >= partition.expired_before);
            let mut all: BTreeMap<_, _> = kept.map(|entry| (entry.id, entry.clone())).collect();
            let recent = partition.recent.iter();
            all.extend(recent.map(|(id, entry)| (*id, entry.clone())));
            blocks = Cow::Owned(all);
        }
        Self {
            version: partition.version,
            blocks,
        }
    }

    /// As the store applies it.
    pub(in crate::cluster) fn catalog(&self) -> Catalog<'_> {
        Catalog {
            version: self.version,
            blocks: &self.blocks,
        }
    }

    /// The blocks.
    pub(in crate::cluster) fn blocks(&self) -> &BTreeMap<BlockId, BlockEntry> {
        &self.blocks
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
    Ok(Listed::of(partition, Some(&manifest)))
}

/// Every block that a state names of any partition, as far as a node has to know.
pub(in crate::cluster) struct Named<'a> {
    state: &'a ControlState,
    older: BTreeSet<BlockId>,
}

impl Named<'_> {
    /// Whether a block is named.
    pub(in crate::cluster) fn contains(&self, id: BlockId) -> bool {
        let mut partitions = self.state.partitions.values();
        self.older.contains(&id) || partitions.any(|partition| partition.recent.contains_key(&id))
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
    let mut older = BTreeSet::new();
    for partition in state.partitions.values() {
        let Some(history) = partition.history else {
            continue;
        };
        let sets = partition.sets();
        let takes_part = sets.iter().flatten().any(|member| member.incarnation == me);
        match manifests.get(history.digest)? {
            Some(manifest) => older.extend(manifest.blocks.keys()),
            None if takes_part => return Ok(None),
            None => {}
        }
    }
    Ok(Some(Named { state, older }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

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
        let mine = named(&manifests, &state, me).unwrap().unwrap();
        assert!([1, 2, 9].iter().all(|id| mine.contains(BlockId(*id))));
        assert!(!mine.contains(BlockId(3)));
        let History { blocks, .. } = history;
        assert_eq!(blocks, 3);
    }
}
