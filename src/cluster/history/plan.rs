//! Which entries change places, and when: a pure decision from a partition's catalog and the time.
//!
//! * What ended more than [`OLD_MS`] ago moves, where there is a bucket only what that has. Each
//!   arc waits a while longer, by its place in the ring, so that the ring's manifests are written
//!   over the whole day; then everything that is old moves at once, and not again before a day is
//!   over. Beyond [`MANY`] it moves without waiting.
//! * What the manifest lists and the bucket does not have comes back, because uploads are noted in
//!   the state; so it does when a bucket was set up late.
//! * What has expired is left out of the next manifest.
//!
//! The time decides nothing that could lose anything: a clock that is wrong moves entries early or
//! late, and they can be had in both places. A clock that is far ahead is not believed further than
//! [`IDLE_MS`] beyond the newest block, so that the rounds of what is still to be sealed are left
//! alone.

use std::collections::BTreeSet;

use crate::cluster::control::{DAY_MS, MOVED_MAX, Manifest, Partition};
use crate::model::{BlockEntry, BlockId, RingArc, TimestampMs, Uploaded};

/// So long an entry stays in the state: a day's blocks are merged within the day after.
const OLD_MS: i64 = 2 * DAY_MS;
/// Without newer blocks time is taken to go on for so long: then everything there is has moved.
const IDLE_MS: i64 = 3 * DAY_MS;
/// The arcs wait up to so much longer.
const SPREAD_MS: i64 = DAY_MS;
/// So many old entries, or rounds of old ranges, move without waiting: what a backfill leaves, some
/// 14 KB of state.
const MANY: usize = 128;
/// So many entries come back to be uploaded at a time.
const BACK_MAX: usize = 256;

/// A partition as it is now.
pub(super) struct Situation<'a> {
    pub(super) arc: RingArc,
    pub(super) partition: &'a Partition,
    pub(super) manifest: Option<&'a Manifest>,
    pub(super) now: TimestampMs,
    /// Whether its manifest has not changed for a day.
    pub(super) rested: bool,
    /// Whether there is a bucket.
    pub(super) bucket: bool,
}

/// What is to change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Change {
    pub(super) moved: Vec<(BlockId, Uploaded)>,
    pub(super) back: Vec<BlockEntry>,
    pub(super) rounds_before: TimestampMs,
    /// The manifest after it.
    pub(super) manifest: Manifest,
}

fn or_empty(arc: RingArc, manifest: Option<&Manifest>) -> Manifest {
    let empty = || Manifest {
        arc,
        blocks: Default::default(),
    };
    manifest.cloned().unwrap_or_else(empty)
}

/// What is due now.
pub(super) fn due(it: &Situation<'_>) -> Option<Change> {
    let mut manifest = or_empty(it.arc, it.manifest);
    let entries = it.partition.recent.values().chain(manifest.blocks.values());
    let newest = entries.map(|entry| entry.range.end).max()?;
    let old_before = it.now.min(newest.plus_ms(IDLE_MS)).plus_ms(-OLD_MS);
    // Whoever has no bucket may be among others that have one.
    let in_bucket = |entry: &BlockEntry| entry.uploaded != Uploaded::None;
    let mut entries = it.partition.recent.values().chain(manifest.blocks.values());
    let bucket = it.bucket || entries.any(in_bucket);
    let is_old = |entry: &&BlockEntry| entry.range.end < old_before;
    let old = it.partition.recent.values().filter(is_old);
    let mut old: Vec<&BlockEntry> = old.filter(|entry| !bucket || in_bucket(entry)).collect();
    old.sort_by_key(|entry| (entry.range.end, entry.id));
    let of_manifest = manifest.blocks.len();
    manifest
        .blocks
        .retain(|_, entry| entry.range.end >= it.partition.expired_before);
    let expired = of_manifest - manifest.blocks.len();
    let back: Vec<BlockEntry> = manifest
        .blocks
        .values()
        .filter(|entry| bucket && !in_bucket(entry))
        .take(BACK_MAX)
        .cloned()
        .collect();
    let rounds = it.partition.rounds.keys().map(|key| key.range().end);
    let old_rounds = rounds.filter(|end| *end < old_before).count();
    let delay = (i128::from(it.arc.prefix()) * i128::from(SPREAD_MS)) >> 32;
    let waited_before = old_before.plus_ms(-i64::try_from(delay).unwrap_or(SPREAD_MS));
    let ripe = old.first().is_some_and(|e| e.range.end < waited_before);
    let many = old.len() >= MANY || old_rounds >= MANY;
    if !(many || !back.is_empty() || (it.rested && (ripe || expired > 0))) {
        return None;
    }
    old.truncate(MOVED_MAX - back.len());
    for entry in &back {
        manifest.blocks.remove(&entry.id);
    }
    let moving = old.iter().map(|entry| (entry.id, (*entry).clone()));
    manifest.blocks.extend(moving);
    Some(Change {
        moved: old.iter().map(|entry| (entry.id, entry.uploaded)).collect(),
        back,
        rounds_before: old_before,
        manifest,
    })
}

/// The change that brings some entries back; `None`: one of them is not in the manifest.
pub(super) fn bring_back(
    arc: RingArc,
    manifest: Option<&Manifest>,
    ids: &BTreeSet<BlockId>,
) -> Option<Change> {
    let mut manifest = or_empty(arc, manifest);
    let back = ids.iter().map(|id| manifest.blocks.remove(id));
    let back: Vec<BlockEntry> = back.collect::<Option<_>>()?;
    let fits = !back.is_empty() && back.len() <= MOVED_MAX;
    fits.then_some(Change {
        moved: Vec::new(),
        back,
        rounds_before: TimestampMs::MIN,
        manifest,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::control::MemberId;
    use crate::model::{Epoch, Incarnation, Window};

    const NOW: Window = Window(100_000);

    fn entry(id: u128, ago: i64, uploaded: Uploaded) -> BlockEntry {
        BlockEntry {
            uploaded,
            ..BlockEntry::of(id, Window(NOW.0 - ago).range())
        }
    }

    fn partition(entries: &[BlockEntry]) -> Partition {
        let member = MemberId {
            incarnation: Incarnation(1),
            life: 0,
        };
        let mut partition = Partition::new(Epoch(1), vec![member]);
        for entry in entries {
            partition.recent.insert(entry.id, entry.clone());
            partition.rounds.insert(entry.range.into(), 1);
        }
        partition
    }

    fn check(
        partition: &Partition,
        manifest: Option<&Manifest>,
        (rested, bucket): (bool, bool),
    ) -> Option<(Vec<u128>, Vec<u128>, Vec<u128>)> {
        let situation = Situation {
            arc: RingArc::new(0x8000_0000, 4).unwrap(),
            partition,
            manifest,
            now: NOW.start(),
            rested,
            bucket,
        };
        let change = due(&situation)?;
        Some((
            change.moved.iter().map(|(id, _)| id.0).collect(),
            change.back.iter().map(|entry| entry.id.0).collect(),
            change.manifest.blocks.keys().map(|id| id.0).collect(),
        ))
    }

    /// Would catch a manifest that is written with every seal, and entries that never move.
    #[test]
    fn what_is_old_moves_once_a_day() {
        // The arc waits half a day beyond the two: 30 windows.
        let fresh = [entry(1, 30, Uploaded::None), entry(2, 3, Uploaded::None)];
        assert_eq!(check(&partition(&fresh), None, (true, false)), None);
        let ripe = [
            entry(1, 40, Uploaded::None),
            entry(2, 26, Uploaded::None),
            entry(3, 20, Uploaded::None),
        ];
        let ripe = partition(&ripe);
        assert_eq!(check(&ripe, None, (false, false)), None);
        let moved = (vec![1, 2], vec![], vec![1, 2]);
        assert_eq!(check(&ripe, None, (true, false)), Some(moved));
        // Nothing of it is in the bucket yet.
        assert_eq!(check(&ripe, None, (true, true)), None);
        let many = (0..128u32).map(|at| entry(u128::from(at), 50 + i64::from(at), Uploaded::None));
        let many = partition(&many.collect::<Vec<_>>());
        let (moved, _, _) = check(&many, None, (false, false)).unwrap();
        assert_eq!(moved.len(), 128);
        // Nothing newer came for a year, or the clock says so: the windows of tomorrow are not old.
        let mut idle = partition(&[entry(1, 12 * 365, Uploaded::None)]);
        idle.expired_before = TimestampMs::MIN;
        let situation = Situation {
            arc: RingArc::new(0, 4).unwrap(),
            partition: &idle,
            manifest: None,
            now: NOW.start(),
            rested: true,
            bucket: false,
        };
        let change = due(&situation).unwrap();
        assert_eq!(change.moved.len(), 1);
        let newest = Window(NOW.0 - 12 * 365).end();
        assert_eq!(change.rounds_before, newest.plus_ms(DAY_MS));
    }

    /// Would catch a block that is never uploaded because the state does not list it.
    #[test]
    fn what_a_late_bucket_lacks_comes_back_and_what_has_expired_goes() {
        let manifest = Manifest {
            arc: RingArc::new(0x8000_0000, 4).unwrap(),
            blocks: [
                entry(1, 500, Uploaded::Object),
                entry(2, 400, Uploaded::None),
                entry(3, 300, Uploaded::Object),
            ]
            .map(|entry| (entry.id, entry))
            .into(),
        };
        let mut partition = partition(&[entry(9, 60, Uploaded::Object)]);
        let back = Some((vec![9], vec![2], vec![1, 3, 9]));
        assert_eq!(check(&partition, Some(&manifest), (false, true)), back);
        // A node without a bucket among others that have one.
        assert_eq!(check(&partition, Some(&manifest), (false, false)), back);
        partition.expired_before = Window(NOW.0 - 350).start();
        assert_eq!(check(&partition, Some(&manifest), (false, true)), None);
        let left = Some((vec![9], vec![], vec![3, 9]));
        assert_eq!(check(&partition, Some(&manifest), (true, true)), left);
        let arc = manifest.arc;
        let ids = |ids: &[u128]| ids.iter().map(|id| BlockId(*id)).collect::<BTreeSet<_>>();
        let change = bring_back(arc, Some(&manifest), &ids(&[1, 3])).unwrap();
        assert_eq!((change.back.len(), change.manifest.blocks.len()), (2, 1));
        assert_eq!(bring_back(arc, Some(&manifest), &ids(&[1, 4])), None);
        assert_eq!(bring_back(arc, None, &ids(&[1])), None);
        assert_eq!(bring_back(arc, None, &ids(&[])), None);
    }
}
