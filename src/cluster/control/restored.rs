//! The control state that a restored cluster begins with: a cluster of one whose catalog is there
//! from the first moment.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::command::{ClusterId, Command, Found, Outcome};
use super::state::{ControlState, RangeKey, is_sealable};
use crate::model::{BlockEntry, FOUNDING_DEPTH, Incarnation, Level, RingArc, TimestampMs};

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

/// The state of a new cluster of one that holds some partitions' blocks.
///
/// # Errors
/// When the partitions make no ring; the text says so.
pub(in crate::cluster) fn restored_state(
    cluster: ClusterId,
    me: Incarnation,
    partitions: &BTreeMap<RingArc, RestoredPartition>,
) -> Result<ControlState, String> {
    let mut depths: Vec<u8> = partitions.keys().map(|arc| arc.depth()).collect();
    depths.sort_unstable();
    depths.dedup();
    let depth = match depths.as_slice() {
        [] => FOUNDING_DEPTH,
        [one] => *one,
        several => {
            return Err(format!(
                "the bucket holds partitions of several depths ({several:?}), which this version cannot restore: use a newer one"
            ));
        }
    };
    let mut state = ControlState::default();
    let found = Command::Found(Found {
        cluster,
        depth,
        founders: vec![me],
    });
    if let Outcome::Refused(refusal) = state.apply(&found) {
        return Err(refusal.to_string());
    }
    for (arc, restored) in partitions {
        let Some(partition) = state.partitions.get_mut(arc).map(Arc::make_mut) else {
            return Err(format!(
                "there is no partition {arc} in a ring of depth {depth}"
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
    Ok(state)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{BlockId, Digest, Uploaded, Window};

    fn entry(id: u128, round: u32) -> BlockEntry {
        BlockEntry {
            id: BlockId(id),
            range: Window(3).range(),
            level: Level(0),
            round,
            size: 1,
            samples: 1,
            content_sum: 1,
            digest: Digest([u8::try_from(id).unwrap(); 32]),
            uploaded: Uploaded::Object,
        }
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
        let state = restored_state(ClusterId(9), Incarnation(4), &partitions).unwrap();
        assert_eq!(
            (state.cluster, state.partitions.len()),
            (Some(ClusterId(9)), 16)
        );
        let partition = state.partition(arc).unwrap();
        assert_eq!((partition.version, partition.recent.len()), (7, 2));
        assert_eq!(partition.next_round(Window(3).range()), 3);
        assert_eq!(ControlState::decode(&state.encode()).unwrap(), state);
        let mut mixed = partitions.clone();
        let deeper = RingArc::new(0x3000_0000, 5).unwrap();
        mixed.insert(deeper, partitions[&arc].clone());
        let error = restored_state(ClusterId(9), Incarnation(4), &mixed).unwrap_err();
        assert!(error.contains("several depths"), "{error}");
    }
}
