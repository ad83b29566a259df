//! The control log of a single node: commands in the engine's control space, applied in order.
//!
//! Keys: `log/` and the index (8 bytes, most significant first) hold a command; `state` holds the
//! state up to some index. A command is durable before it is applied. Every
//! [`SNAPSHOT_EVERY`] commands the state is written and the log before it removed, in one batch.
//!
//! Not here: what commands mean. Raft replaces this file, and nothing above it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::command::{Command, Outcome};
use super::error::ControlError;
use super::state::ControlState;
use super::{Control, wire, wire_state};
use crate::store::{Batch, Durability, Engine, Space, for_each};

/// Commands between two snapshots. A start applies at most so many again (microseconds each), and
/// the state is rewritten so seldom that it does not count beside the blocks it names.
const SNAPSHOT_EVERY: u64 = 256;

const LOG_PREFIX: &[u8] = b"log/";
const STATE_KEY: &[u8] = b"state";

fn log_key(index: u64) -> Vec<u8> {
    [LOG_PREFIX, &index.to_be_bytes()].concat()
}

/// A control group of one.
pub struct LocalControl {
    engine: Arc<dyn Engine>,
    state: ArcSwap<ControlState>,
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
    /// When something is missing, damaged or from a newer version.
    pub fn open(engine: Arc<dyn Engine>) -> Result<Self, ControlError> {
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
            state: ArcSwap::from_pointee(state),
            writer: Mutex::new(LogEnd {
                first,
                failed: false,
            }),
        })
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
}
