//! Applying commands: the state machine that the control log drives.
//!
//! Deterministic to the bit: no clock, no chance, no order of a hash map, no I/O. It never fails
//! and never panics; a command whose conditions do not hold is refused, which is an outcome like
//! any other, and counts as applied in the log's order. One file per kind of state.

mod catalog;
mod manifest;
mod members;
mod moves;
mod partitions;
mod recovery;
mod tombstones;

#[cfg(test)]
mod tests;

use super::command::{Command, Outcome, Refusal};
use super::state::{ControlState, Liveness};

/// Applies one command as the next of the log.
pub(super) fn apply(state: &mut ControlState, command: &Command) -> Outcome {
    state.applied = state.applied.saturating_add(1);
    let result = match command {
        Command::Found(found) => partitions::found(state, found),
        _ if state.cluster.is_none() => Err(Refusal::NotFounded),
        Command::NodeUp(node) => members::node_up(state, node),
        Command::NodeDown(node) => members::liveness(state, *node, Liveness::Down),
        Command::NodeLive(node) => members::liveness(state, *node, Liveness::Live),
        Command::NodeGone(node) => members::liveness(state, *node, Liveness::Gone),
        Command::Drain(drain) => members::drain(state, *drain),
        Command::MoveBegin(begin) => moves::begin(state, begin),
        Command::MoveFinish(finish) => moves::finish(state, finish),
        Command::MoveAbort(abort) => moves::abort(state, abort),
        Command::Split(split) => partitions::split(state, split),
        Command::FeatureLevel(level) => members::feature_level(state, *level),
        Command::Recovered(recovered) => recovery::recovered(state, recovered),
        Command::ControlGeneration(next) => recovery::generation(state, next),
        Command::SealCommit(commit) => catalog::seal_commit(state, commit),
        Command::Uploaded(blocks) => catalog::uploaded(state, blocks),
        Command::Compacted(compacted) => catalog::compacted(state, compacted),
        Command::Expired(expired) => catalog::expired(state, expired),
        Command::ManifestChanged(changed) => manifest::changed(state, changed),
        Command::Tombstone(tombstone) => tombstones::stand(state, tombstone),
        Command::TombstoneBegun(id) => tombstones::begin(state, *id),
        Command::TombstoneUndone(id) => tombstones::undo(state, *id),
        Command::TombstoneDone(done) => tombstones::done(state, done),
    };
    match result {
        Ok(()) => Outcome::Applied,
        Err(refusal) => Outcome::Refused(refusal),
    }
}
