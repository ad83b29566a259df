//! The control state that a restored cluster begins with: a cluster of one whose catalog is there
//! from the first moment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::command::{ClusterId, Command, Found, Outcome};
use super::state::{ControlState, RangeKey, is_sealable};
use super::tombstone::{Standing, TOMBSTONE_LEVEL, TombstoneId};
use crate::cluster::version::DENSE_FROM;
use crate::model::{BlockEntry, FOUNDING_DEPTH, Incarnation, Level, RingArc, TimestampMs, Window};

/// A partition as it was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::cluster) struct RestoredPartition {
    /// The version of its catalog.
    pub(in crate::cluster) version: u64,
    /// Everything before this has expired.
    pub(in crate::cluster) expired_before: TimestampMs,
    /// Its blocks.
    pub(in crate::cluster) entries: Vec<BlockEntry>,
}

/// The state of a new cluster of one that holds some partitions' blocks, with what is `deleted` of them.
///
/// # Errors
/// When the partitions make no ring; the text says so.
pub(in crate::cluster) fn restored_state(
    cluster: ClusterId,
    me: Incarnation,
    partitions: &BTreeMap<RingArc, RestoredPartition>,
    deleted: BTreeMap<TombstoneId, Standing>,
) -> Result<ControlState, String> {
    let depths = partitions.keys().map(|arc| arc.depth());
    let depth = depths.min().unwrap_or(FOUNDING_DEPTH);
    let mut state = ControlState::default();
    let found = Command::Found(Found {
        cluster,
        depth,
        founders: vec![me],
    });
    if let Outcome::Refused(refusal) = state.apply(&found) {
        return Err(refusal.to_string());
    }
    let ring: BTreeSet<RingArc> = partitions.keys().copied().collect();
    let whole = std::mem::take(&mut state.partitions);
    for (arc, partition) in whole {
        let parts = arc.parts(&ring).into_iter();
        let parts = parts.map(|part| (part, Arc::clone(&partition)));
        state.partitions.extend(parts);
    }
    for (arc, restored) in partitions {
        let Some(partition) = state.partitions.get_mut(arc).map(Arc::make_mut) else {
            return Err(format!(
                "there is no partition {arc} beside the others that were found"
            ));
        };
        partition.version = restored.version.max(1);
        partition.expired_before = restored.expired_before;
        for entry in &restored.entries {
            partition.recent.insert(entry.id, entry.clone());
            if entry.level == Level(0) && is_sealable(entry.range) {
                let round = partition
                    .rounds
                    .entry(RangeKey::from(entry.range))
                    .or_default();
                *round = entry.round.max(*round);
            }
        }
    }
    let mut entries = partitions.values().flat_map(|one| &one.entries);
    let may_be_dense = |entry: &BlockEntry| entry.level != Level(0) || !Window::is(entry.range);
    if entries.any(may_be_dense) {
        // What is merged may be downsampled, too: whoever does not know either cannot read it.
        state.feature_level = state.feature_level.max(DENSE_FROM);
    }
    if !deleted.is_empty() {
        // Whoever does not know deletes would show them.
        state.feature_level = state.feature_level.max(TOMBSTONE_LEVEL);
        state.tombstones = Arc::new(deleted);
    }
    Ok(state)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::control::utc_day;
    use crate::model::{Digest, Uploaded};

    fn entry(id: u128, round: u32) -> BlockEntry {
        BlockEntry {
            round,
            digest: Digest([u8::try_from(id).unwrap(); 32]),
            uploaded: Uploaded::Object,
            ..BlockEntry::of(id, Window(3).range())
        }
    }

    /// Would catch nodes that join and cannot read what is there.
    #[test]
    fn what_may_be_dense_asks_for_nodes_that_can_read_it() {
        let arc = RingArc::new(0x3000_0000, 4).unwrap();
        let level_with = |entry: BlockEntry| {
            let found = RestoredPartition {
                version: 7,
                expired_before: TimestampMs(5),
                entries: vec![entry],
            };
            let partitions = BTreeMap::from([(arc, found)]);
            let state =
                restored_state(ClusterId(9), Incarnation(4), &partitions, BTreeMap::new()).unwrap();
            state.feature_level
        };
        let level_of = |level: Level| {
            level_with(BlockEntry {
                level,
                ..entry(1, 2)
            })
        };
        assert!(level_of(Level(0)) < DENSE_FROM);
        let day = utc_day(Window(3).start());
        assert_eq!(level_with(BlockEntry::of(1, day)), DENSE_FROM);
        assert_eq!(level_of(Level(1)), DENSE_FROM);
        assert_eq!(
            level_of(Level(1).at(crate::model::Resolution::Hour)),
            DENSE_FROM
        );
    }

    #[test]
    fn a_restored_state_goes_on_where_the_old_one_was() {
        let arc = RingArc::new(0x3000_0000, 4).unwrap();
        let found = RestoredPartition {
            version: 7,
            expired_before: TimestampMs(5),
            entries: vec![entry(1, 2), entry(2, 1)],
        };
        let partitions = BTreeMap::from([(arc, found)]);
        let state =
            restored_state(ClusterId(9), Incarnation(4), &partitions, BTreeMap::new()).unwrap();
        assert_eq!(
            (state.cluster, state.partitions.len()),
            (Some(ClusterId(9)), 16)
        );
        let partition = state.partition(arc).unwrap();
        assert_eq!((partition.version, partition.recent.len()), (7, 2));
        assert_eq!(partition.next_round(Window(3).range()), 3);
        assert_eq!(ControlState::decode(&state.encode()).unwrap(), state);
        let mut mixed = partitions.clone();
        let deeper = RingArc::new(0x2800_0000, 6).unwrap();
        mixed.insert(deeper, partitions[&arc].clone());
        let state = restored_state(ClusterId(9), Incarnation(4), &mixed, BTreeMap::new()).unwrap();
        assert_eq!(state.partitions.len(), 18, "one of them is in three parts");
        assert_eq!(state.partition(deeper).unwrap().recent.len(), 2);
        assert_eq!(ControlState::decode(&state.encode()).unwrap(), state);
        mixed.insert(arc.halves().unwrap()[0], partitions[&arc].clone());
        let error =
            restored_state(ClusterId(9), Incarnation(4), &mixed, BTreeMap::new()).unwrap_err();
        assert!(error.contains("no partition 3-4"), "{error}");
    }
}
