//! Entries on their way between the state and the manifest of older blocks (decision 15).
//!
//! The manifest itself is no part of the state: `apply` sees its digest and the entries that move,
//! each by name, so that a seal or an upload that was ordered in between cannot be lost with them.

use std::collections::BTreeSet;

use super::catalog::raise_version;
use super::partitions::current;
use crate::cluster::control::command::{ManifestChanged, Refusal};
use crate::cluster::control::state::{ControlState, MANIFEST_LEVEL, MOVED_MAX, Partition};
use crate::model::TimestampMs;

/// Entries change places, if nothing of them has changed since the manifest was made.
pub(super) fn changed(state: &mut ControlState, changed: &ManifestChanged) -> Result<(), Refusal> {
    let bad = Refusal::BadManifest(changed.arc);
    if state.feature_level < MANIFEST_LEVEL {
        return Err(bad);
    }
    let partition = current(state, changed.arc, changed.epoch)?;
    let digest = partition.history.map(|history| history.digest);
    let count = changed.moved.len().saturating_add(changed.back.len());
    let nowhere = changed.history.is_none() && !changed.moved.is_empty();
    if digest != changed.base || count > MOVED_MAX || nowhere {
        return Err(bad);
    }
    let mut seen = BTreeSet::new();
    for (id, uploaded) in &changed.moved {
        let entry = partition.recent.get(id).ok_or(Refusal::NoBlock(*id))?;
        if entry.uploaded != *uploaded || !seen.insert(*id) {
            return Err(bad);
        }
    }
    for entry in &changed.back {
        if partition.recent.contains_key(&entry.id) || !seen.insert(entry.id) {
            return Err(Refusal::KnownBlock(entry.id));
        }
        if entry.range.is_empty() {
            return Err(Refusal::BadEntry);
        }
    }
    if digest != changed.history.map(|history| history.digest) {
        raise_version(partition)?;
    } else if count > 0 {
        return Err(bad);
    }
    for (id, _) in &changed.moved {
        partition.recent.remove(id);
    }
    let back = changed.back.iter().map(|entry| (entry.id, entry.clone()));
    partition.recent.extend(back);
    partition.history = changed.history;
    forget_rounds(partition, changed.rounds_before);
    Ok(())
}

/// Rounds of ranges that end before a time are counted by the floor from now on. It is as high as
/// the highest of them, so every seal of such a range that was begun before meets a higher round.
fn forget_rounds(partition: &mut Partition, before: TimestampMs) {
    let floor = &mut partition.round_floor;
    floor.before = floor.before.max(before);
    let before = floor.before;
    partition.rounds.retain(|range, sealed| {
        let stays = range.range().end >= before;
        if !stays {
            floor.sealed = floor.sealed.max(*sealed);
        }
        stays
    });
}
