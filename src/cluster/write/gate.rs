//! Whether this node takes writes now, and under which ring.
//!
//! A write holds the gate while it takes its log position; whoever changes the ring or closes the
//! gate waits for the writes that are inside. So no write can be split by a change of epochs, and
//! after [`Gate::set_ring`] returns, everything that was let in under the old epochs is in the head.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::{RwLock, RwLockReadGuard};

use super::error::WriteError;
use crate::model::{Epoch, RingArc};

/// A reason for which writes are refused. Several may hold at once; each comes and goes alone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Refusing {
    /// The node is starting or stopping.
    NotReady,
    /// The disk is nearly full.
    Disk,
    /// More unsealed samples are in memory than may be.
    Memory,
    /// The clock cannot be believed.
    Clock,
}

/// The gate of all writes of this node.
#[derive(Debug, Default)]
pub struct Gate(RwLock<State>);

#[derive(Debug, Default)]
struct State {
    ring: Arc<BTreeMap<RingArc, Epoch>>,
    refusing: BTreeMap<Refusing, String>,
}

/// Leave to take a log position; to be held while that is done.
pub(super) struct Inside<'a>(RwLockReadGuard<'a, State>);

impl fmt::Debug for Inside<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inside")
    }
}

impl Inside<'_> {
    /// The epochs under which the write is taken.
    pub(super) fn ring(&self) -> Arc<BTreeMap<RingArc, Epoch>> {
        Arc::clone(&self.0.ring)
    }
}

impl Gate {
    /// A gate that is closed until the node is ready.
    #[must_use]
    pub fn closed(reason: &str) -> Self {
        let gate = Self::default();
        gate.refuse(Refusing::NotReady, Some(reason.to_owned()));
        gate
    }

    /// Begins or ends refusing writes for one reason; waits for the writes that are inside.
    pub fn refuse(&self, why: Refusing, reason: Option<String>) {
        let mut state = self.0.write();
        match reason {
            Some(reason) => state.refusing.insert(why, reason),
            None => state.refusing.remove(&why),
        };
    }

    /// Puts the epochs of a new ring into force; waits for the writes that are inside.
    pub fn set_ring(&self, ring: BTreeMap<RingArc, Epoch>) {
        self.0.write().ring = Arc::new(ring);
    }

    /// Why writes are refused now, if they are.
    #[must_use]
    pub fn refusing(&self) -> Option<String> {
        self.0.read().refusing.values().next().cloned()
    }

    /// Lets a write in.
    pub(super) fn enter(&self) -> Result<Inside<'_>, WriteError> {
        let state = self.0.read();
        match state.refusing.values().next() {
            Some(reason) => Err(WriteError::Unavailable {
                reason: reason.clone(),
            }),
            None => Ok(Inside(state)),
        }
    }
}
