//! The catalog: which blocks exist. Every change of a partition's blocks raises its version by
//! one, and every seal the round of its range; both only rise.

use super::partitions::{current, partition};
use super::tombstones::touched;
use crate::cluster::control::command::{BlockUploaded, Compacted, Expired, Refusal, SealCommit};
use crate::cluster::control::state::{ControlState, Partition, RangeKey, is_sealable};
use crate::model::{BlockEntry, Level, Uploaded};
use crate::runtime::{Rule, holds};

/// A sealed block enters the catalog, if neither members nor rounds have changed since it was made.
pub(super) fn seal_commit(state: &mut ControlState, commit: &SealCommit) -> Result<(), Refusal> {
    let partition = match current(state, commit.arc, commit.epoch) {
        Err(_) if !holds(Rule::SealsAreOfOneEpoch) => partition(state, commit.arc)?,
        current => current?,
    };
    let entry = &commit.entry;
    let before = partition.expired_before;
    if commit.range.end < before {
        return Err(Refusal::Expired { before });
    }
    let next = partition.next_round(commit.range);
    if commit.round != next && holds(Rule::SealsAreOfOneRound) {
        return Err(Refusal::WrongRound { next });
    }
    let fits = entry.range == commit.range
        && entry.round == commit.round
        && entry.level == Level(0)
        && is_sealable(commit.range);
    if !fits {
        return Err(Refusal::BadEntry);
    }
    if partition.recent.contains_key(&entry.id) {
        return Err(Refusal::KnownBlock(entry.id));
    }
    raise_version(partition)?;
    let range = RangeKey::from(commit.range);
    partition.rounds.insert(range, commit.round);
    partition.recent.insert(entry.id, entry.clone());
    touched(state, commit.arc, Some(commit.range));
    Ok(())
}

/// Blocks have reached the bucket. That changes no content and no version; a block that is gone
/// meanwhile is left out, the others are still worth knowing.
pub(super) fn uploaded(state: &mut ControlState, blocks: &[BlockUploaded]) -> Result<(), Refusal> {
    let mut missing = None;
    for block in blocks {
        let known = partition(state, block.arc)
            .ok()
            .filter(|partition| partition.recent.contains_key(&block.block))
            .and_then(|partition| partition.recent.get_mut(&block.block));
        match known {
            // What was once in the bucket never becomes "nowhere" again.
            Some(entry) if block.uploaded != Uploaded::None => entry.uploaded = block.uploaded,
            Some(_) => {}
            None => missing = Some(block.block),
        }
    }
    match missing {
        Some(block) if blocks.len() == 1 => Err(Refusal::NoBlock(block)),
        _ => Ok(()),
    }
}

/// Blocks were rewritten: all inputs must still be there, and none of the outputs.
pub(super) fn compacted(state: &mut ControlState, compacted: &Compacted) -> Result<(), Refusal> {
    let partition = current(state, compacted.arc, compacted.epoch)?;
    for input in &compacted.inputs {
        if !partition.recent.contains_key(input) {
            return Err(Refusal::NoBlock(*input));
        }
    }
    let mut new: Vec<&BlockEntry> = Vec::with_capacity(compacted.outputs.len());
    for output in &compacted.outputs {
        let twice = new.iter().any(|other| other.id == output.id);
        if twice || partition.recent.contains_key(&output.id) {
            return Err(Refusal::KnownBlock(output.id));
        }
        if output.range.is_empty() {
            return Err(Refusal::BadEntry);
        }
        new.push(output);
    }
    raise_version(partition)?;
    for input in &compacted.inputs {
        partition.recent.remove(input);
    }
    let entries = new.into_iter().map(|entry| (entry.id, entry.clone()));
    partition.recent.extend(entries);
    Ok(())
}

/// Everything before a time goes; of the manifest too, which is not rewritten for it: what it lists
/// of that time counts no more. The rounds of ranges that lie before it go with it, because no seal
/// of theirs can be committed any more.
pub(super) fn expired(state: &mut ControlState, expired: &Expired) -> Result<(), Refusal> {
    let partition = partition(state, expired.arc)?;
    let before = partition.expired_before;
    if expired.before <= before {
        return Err(Refusal::NotLater { before });
    }
    raise_version(partition)?;
    partition.expired_before = expired.before;
    let stays = |end: crate::model::TimestampMs| end >= expired.before;
    partition.recent.retain(|_, entry| stays(entry.range.end));
    partition.rounds.retain(|range, _| stays(range.range().end));
    Ok(())
}

pub(super) fn raise_version(partition: &mut Partition) -> Result<(), Refusal> {
    partition.version = partition.version.checked_add(1).ok_or(Refusal::Exhausted)?;
    Ok(())
}
