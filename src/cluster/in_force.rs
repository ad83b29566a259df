//! Which control state's epochs this node has taken part under, kept on disk.
//!
//! The control group's log is durable, but how much of it is committed is only buffered, and the
//! state that it led to is in memory. So a node that lost power could come back with an older state
//! than it had acted on: it would take writes under an epoch under which it had already handed its
//! head to a newcomer, and nobody would ever hand on what it then acknowledged. Therefore epochs come
//! into force only when what made them is durable. A synced write brings everything to disk that
//! was buffered before it, the commit index among it, so one small record is enough: a start finds
//! a state at least as new, and this module checks that it does.
//!
//! Key: `ring/in-force` in [`Space::Meta`], the count of applied commands, 8 bytes, most significant
//! first. Written when epochs or members change, which moves do; a quiet node writes nothing.

use std::sync::Arc;

use super::control::ControlState;
use super::error::Error;
use crate::store::{self, Batch, Durability, Engine, Space};

const KEY: &[u8] = b"ring/in-force";

/// The record of what was last in force.
pub(super) struct InForce {
    engine: Arc<dyn Engine>,
    /// What an earlier start had in force.
    before: u64,
}

impl InForce {
    /// Reads what an earlier start had in force.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub(super) fn open(engine: Arc<dyn Engine>) -> Result<Self, Error> {
        let before = match engine.get(Space::Meta, KEY)? {
            None => 0,
            Some(bytes) => {
                let bytes: [u8; 8] = bytes.as_slice().try_into().map_err(|_| {
                    store::Error::corrupt("the record ring/in-force", "it is not 8 bytes long")
                })?;
                u64::from_be_bytes(bytes)
            }
        };
        Ok(Self { engine, before })
    }

    /// Whether a start has found a state that is as new as what was in force before it.
    ///
    /// # Errors
    /// When it is older: parts of the data directory are from different times.
    pub(super) fn check(&self, state: &ControlState) -> Result<(), Error> {
        if state.applied >= self.before {
            return Ok(());
        }
        Err(Error::Ended(format!(
            "the control state in the data directory is at command {}, but this node had acted on command {}: \
             the directory was put together from copies of different times. Set it aside and start with an \
             empty one: the node joins as a new member, and the others bring it what it shall have",
            state.applied, self.before
        )))
    }

    /// Makes durable what a control state says; afterwards its epochs may come into force.
    ///
    /// # Errors
    /// When the disk fails.
    pub(super) fn secure(&self, state: &ControlState) -> Result<(), Error> {
        let mut batch = Batch::new();
        batch.put(Space::Meta, KEY, &state.applied.to_be_bytes());
        Ok(self.engine.write(batch, Durability::Synced)?)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::store::MemoryEngine;

    fn at(applied: u64) -> ControlState {
        ControlState {
            applied,
            ..ControlState::default()
        }
    }

    /// Would catch epochs in force whose commit a loss of power takes back.
    #[test]
    fn what_was_buffered_before_is_durable_with_it() {
        let disk = Arc::new(MemoryEngine::new(Path::new("unused")));
        let engine: Arc<dyn Engine> = disk.clone();
        let in_force = InForce::open(Arc::clone(&engine)).unwrap();
        in_force.check(&at(0)).unwrap();
        let mut committed = Batch::new();
        committed.put(Space::Control, b"raft/committed", b"9");
        engine.write(committed, Durability::Buffered).unwrap();
        in_force.secure(&at(9)).unwrap();
        disk.crash(0);
        let committed = engine.get(Space::Control, b"raft/committed").unwrap();
        assert_eq!(committed.as_deref(), Some(b"9".as_slice()));
        let again = InForce::open(engine).unwrap();
        again.check(&at(9)).unwrap();
        again.check(&at(10)).unwrap();
        let told = again.check(&at(8)).unwrap_err().to_string();
        assert!(told.contains("command 8"), "{told}");
    }

    #[test]
    fn a_damaged_record_is_an_error() {
        let engine: Arc<dyn Engine> = Arc::new(MemoryEngine::new(Path::new("unused")));
        let mut batch = Batch::new();
        batch.put(Space::Meta, KEY, b"short");
        engine.write(batch, Durability::Synced).unwrap();
        assert!(InForce::open(engine).is_err());
    }
}
