//! The control log of a single node: commands in the engine's control space, applied in order.
//!
//! Keys: `log/` and the index (8 bytes, most significant first) hold a command; `state` holds the
//! state up to some index. A command is durable before it is applied. Every
//! [`SNAPSHOT_EVERY`] commands the state is written and the log before it removed, in one batch.
//!
//! Not here: what commands mean. With peers there is a control group (`raft`) instead, which takes
//! over what this file kept.

use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::command::{Command, Outcome};
use super::error::ControlError;
use super::state::ControlState;
use super::{Confirmed, Control, wire, wire_state};
use crate::model::Incarnation;
use crate::store::{Batch, Durability, Engine, Space, for_each};

/// Commands between two snapshots. A start applies at most so many again (microseconds each), and
/// the state is rewritten so seldom that it does not count beside the blocks it names.
const SNAPSHOT_EVERY: u64 = 256;

const LOG_PREFIX: &[u8] = b"log/";
const STATE_KEY: &[u8] = b"state";

/// What a control group keeps beside: all of it, and the one key that binds to nothing yet.
const GROUP_PREFIX: &[u8] = b"raft/";
const GROUP_AGREED_KEY: &[u8] = b"raft/agreed";

fn log_key(index: u64) -> Vec<u8> {
    [LOG_PREFIX, &index.to_be_bytes()].concat()
}

/// A control group of one.
pub struct LocalControl {
    engine: Arc<dyn Engine>,
    state: ArcSwap<ControlState>,
    applied: watch::Sender<u64>,
    writer: Mutex<LogEnd>,
}

struct LogEnd {
    /// The first index that the log still holds.
    first: u64,
    /// A write has failed: whether its command is in the log is known only after a restart.
    failed: bool,
}

impl LocalControl {
    /// Reads snapshot and log, and applies what is to be applied.
    ///
    /// # Errors
    /// When something is missing, damaged or from a newer version, or the directory belongs to a
    /// control group: beside its log this one would begin another cluster.
    pub fn open(engine: Arc<dyn Engine>) -> Result<Self, ControlError> {
        let kept = engine.scan(Space::Control, GROUP_PREFIX, None)?;
        if kept.iter().any(|(key, _)| key != GROUP_AGREED_KEY) {
            return Err(ControlError::Mixed(
                "it belongs to a cluster of several nodes: set discovery.kind as it was, or start with an empty directory".to_owned(),
            ));
        }
        Self::read(engine)
    }

    /// Writes the state that a directory begins with: one that was restored.
    ///
    /// # Errors
    /// When the engine fails, or keeps a state already.
    pub fn begin(engine: &dyn Engine, state: &ControlState) -> Result<(), ControlError> {
        let kept = engine.scan(Space::Control, b"", None)?;
        if !kept.is_empty() {
            return Err(ControlError::Mixed(
                "it has a control state already".to_owned(),
            ));
        }
        let mut batch = Batch::new();
        batch.put(Space::Control, STATE_KEY, &state.encode());
        Ok(engine.write(batch, Durability::Synced)?)
    }

    /// The same, whatever else the directory belongs to.
    pub(super) fn read(engine: Arc<dyn Engine>) -> Result<Self, ControlError> {
        let mut state = match engine.get(Space::Control, STATE_KEY)? {
            Some(bytes) => wire_state::decode_state(&bytes)
                .map_err(|error| ControlError::Unreadable { index: 0, error })?,
            None => ControlState::default(),
        };
        let first = state.applied.saturating_add(1);
        let mut problem = None;
        for_each(
            |after| engine.scan(Space::Control, LOG_PREFIX, after),
            |key, value| {
                if problem.is_none() {
                    problem = replay(&mut state, key, value).err();
                }
                Ok(())
            },
        )?;
        if let Some(problem) = problem {
            return Err(problem);
        }
        Ok(Self {
            engine,
            applied: watch::Sender::new(state.applied),
            state: ArcSwap::from_pointee(state),
            writer: Mutex::new(LogEnd {
                first,
                failed: false,
            }),
        })
    }

    /// Removes all that it keeps, as a part of a batch: something else keeps the state from then on.
    ///
    /// # Errors
    /// When the engine cannot be read.
    pub(super) fn forget(&self, batch: &mut Batch) -> Result<(), ControlError> {
        self.writer.lock().failed = true;
        batch.delete(Space::Control, STATE_KEY);
        for_each(
            |after| self.engine.scan(Space::Control, LOG_PREFIX, after),
            |key, _| {
                batch.delete(Space::Control, key);
                Ok(())
            },
        )?;
        Ok(())
    }

    fn append(&self, end: &mut LogEnd, command: &Command) -> Result<Outcome, ControlError> {
        let mut state = ControlState::clone(&self.state.load());
        let index = state.applied.saturating_add(1);
        let mut batch = Batch::new();
        batch.put(
            Space::Control,
            &log_key(index),
            &wire::encode_command(command),
        );
        self.engine.write(batch, Durability::Synced)?;
        let outcome = state.apply(command);
        if index.saturating_sub(end.first) >= SNAPSHOT_EVERY {
            self.snapshot(end, &state)?;
        }
        self.state.store(Arc::new(state));
        self.applied.send_replace(index);
        tracing::debug!(index, command = command.name(), ?outcome, "control command");
        Ok(outcome)
    }

    fn snapshot(&self, end: &mut LogEnd, state: &ControlState) -> Result<(), ControlError> {
        let mut batch = Batch::new();
        batch.put(Space::Control, STATE_KEY, &state.encode());
        for index in end.first..=state.applied {
            batch.delete(Space::Control, &log_key(index));
        }
        self.engine.write(batch, Durability::Synced)?;
        end.first = state.applied.saturating_add(1);
        Ok(())
    }
}

/// Applies one entry of the log, unless the snapshot holds it already.
fn replay(state: &mut ControlState, key: &[u8], value: &[u8]) -> Result<(), ControlError> {
    let expected = state.applied.saturating_add(1);
    let index = key
        .get(LOG_PREFIX.len()..)
        .and_then(|rest| rest.try_into().ok())
        .map(u64::from_be_bytes)
        .ok_or(ControlError::Gap { index: expected })?;
    if index < expected {
        return Ok(());
    }
    if index > expected {
        return Err(ControlError::Gap { index: expected });
    }
    let command =
        wire::decode_command(value).map_err(|error| ControlError::Unreadable { index, error })?;
    state.apply(&command);
    Ok(())
}

impl Control for LocalControl {
    fn propose(&self, command: &Command) -> Result<Outcome, ControlError> {
        let mut end = self.writer.lock();
        if end.failed {
            return Err(ControlError::Stopped);
        }
        let result = self.append(&mut end, command);
        end.failed = result.is_err();
        result
    }

    fn state(&self) -> Arc<ControlState> {
        self.state.load_full()
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    fn leader(&self) -> Option<Incarnation> {
        let state = self.state.load();
        let ring = state.partitions.values().next()?;
        ring.members.first().map(|member| member.incarnation)
    }

    fn is_leader(&self) -> bool {
        true
    }

    fn confirmed(&self) -> Option<Confirmed> {
        Some(Confirmed {
            state: self.state(),
            voters: self.leader().into_iter().collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::founding::{Introduction, join_or_found};
    use super::*;
    use crate::cluster::control::{Liveness, Refusal, SealCommit};
    use crate::model::{BlockEntry, Epoch, FOUNDING_DEPTH};
    use crate::model::{RingArc, Window};
    use crate::runtime::SeededChance;
    use crate::store::MemoryEngine;

    fn start(
        engine: &Arc<MemoryEngine>,
        seed: u64,
        incarnation: u128,
    ) -> Result<LocalControl, ControlError> {
        let control = LocalControl::open(engine.clone())?;
        join_or_found(
            &control,
            engine.as_ref(),
            Incarnation(incarnation),
            &Introduction::default(),
            &SeededChance::new(seed),
        )?;
        Ok(control)
    }

    fn seal(number: i64) -> Command {
        let range = Window(number).range();
        let arc = RingArc::all(FOUNDING_DEPTH).next().unwrap();
        Command::SealCommit(SealCommit {
            arc,
            epoch: Epoch(1),
            range,
            round: 1,
            entry: BlockEntry::of(number.unsigned_abs().into(), range),
        })
    }

    /// Would catch a lost command, one applied twice, and a snapshot that drops too much.
    #[test]
    fn the_state_after_a_restart_is_the_state_before() {
        let engine = Arc::new(MemoryEngine::new(std::path::Path::new("unused")));
        let mut number = 0;
        for starts in 1..=6u64 {
            let control = start(&engine, starts, 1).unwrap();
            let member = control.state().members[&Incarnation(1)].clone();
            assert_eq!(
                (member.session.starts, member.liveness),
                (starts, Liveness::Live)
            );
            assert_eq!(
                control.state().feature_level,
                crate::cluster::version::FEATURE_LEVEL
            );
            for _ in 0..100 {
                number += 1;
                assert_eq!(control.propose(&seal(number)).unwrap(), Outcome::Applied);
                let again = control.propose(&seal(number)).unwrap();
                assert_eq!(again, Outcome::Refused(Refusal::WrongRound { next: 2 }));
            }
            let before = control.state();
            drop(control);
            let after = LocalControl::open(engine.clone()).unwrap().state();
            assert_eq!(before, after);
        }
        // The log stays bounded: what a snapshot holds is gone from it.
        let mut entries = 0;
        for_each(
            |after| engine.scan(Space::Control, LOG_PREFIX, after),
            |_, _| {
                entries += 1;
                Ok(())
            },
        )
        .unwrap();
        assert!(entries <= SNAPSHOT_EVERY + 1, "{entries}");
    }

    #[test]
    fn another_identity_and_a_gap_in_the_log_are_refused() {
        let engine = Arc::new(MemoryEngine::new(std::path::Path::new("unused")));
        drop(start(&engine, 1, 1).unwrap());
        let error = start(&engine, 2, 2).err().unwrap();
        assert!(matches!(error, ControlError::Mixed(_)), "{error}");
        let mut batch = Batch::new();
        batch.delete(Space::Control, &log_key(2));
        engine.write(batch, Durability::Synced).unwrap();
        let error = LocalControl::open(engine).err().unwrap();
        assert!(matches!(error, ControlError::Gap { index: 2 }), "{error}");
    }
}
