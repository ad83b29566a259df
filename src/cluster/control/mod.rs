//! The control state, its commands, and the log that orders them.
//!
//! Everything that nodes must agree on changes by [`Command`]s that are applied in one order.
//! On a single node [`LocalControl`] keeps that order in the engine's control space; Raft takes
//! its place when there are peers, and nothing else changes.

mod apply;
mod command;
mod deletes_copy;
mod error;
mod founding;
mod hidden;
mod local;
mod manifest;
mod member_id;
mod raft;
mod restored;
mod state;
mod tombstone;
mod wire;
mod wire_manifest;
mod wire_parts;
mod wire_recovery;
mod wire_ring;
mod wire_state;
mod wire_tombstone;

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::watch;

use crate::model::Incarnation;

pub use command::{BlockUploaded, ClusterId, Command, Compacted, ControlGeneration, Drain};
pub use command::{Expired, Found, History, HistoryLeft, ManifestChanged, MemberId, Recovered};
pub use command::{MoveAbort, MoveBegin, MoveFinish, NodeUp, Outcome, Refusal, SealCommit};
pub use command::{Session, Split};
pub use deletes_copy::{DELETES_BYTES_MAX, DeletesCopy, Ended};
pub use error::ControlError;
pub use founding::{Introduction, begin_session, join_or_found};
pub use hidden::Hidden;
pub use local::LocalControl;
pub use manifest::{MANIFEST_BYTES_MAX, Manifest};
pub(in crate::cluster) use raft::can_be_spared;
pub(in crate::cluster) use raft::rebuild;
pub(in crate::cluster) use raft::why_aside;
pub use raft::{
    ControlMetrics, Ending, FoundingLeave, Greeting, GroupParts, Position, RaftControl, Survivor,
    Timings,
};
pub(in crate::cluster) use restored::{RestoredPartition, restored_state};
pub use state::{ControlState, DAY_MS, Liveness, MANIFEST_LEVEL, MOVED_MAX, Member};
pub use state::{Move, Partition, RangeKey};
pub use state::{is_sealable, utc_day};
pub use tombstone::{
    MATCHERS_BYTES_MAX, Removal, Standing, TOMBSTONE_LEVEL, TOMBSTONES_MAX, Tombstone,
    TombstoneDone, TombstoneId,
};
pub use wire_parts::WireError;

impl Command {
    /// The command as bytes; `docs/format.md` describes them.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        wire::encode_command(self)
    }

    /// The command of some bytes.
    ///
    /// # Errors
    /// When they are damaged or from a newer version.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        wire::decode_command(bytes)
    }
}

impl ControlState {
    /// The state as bytes; equal states are equal bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        wire_state::encode_state(self)
    }

    /// The state of some bytes.
    ///
    /// # Errors
    /// When they are damaged or from a newer version.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        wire_state::decode_state(bytes)
    }

    /// Applies one command as the next of the log.
    pub fn apply(&mut self, command: &Command) -> Outcome {
        apply::apply(self, command)
    }
}

/// The control group as its leader has it, confirmed by a majority of the voters.
#[derive(Clone, Debug)]
pub struct Confirmed {
    /// The state: no change that was committed before it was asked for is missing.
    pub state: Arc<ControlState>,
    /// Who votes.
    pub voters: BTreeSet<Incarnation>,
}

/// The control group as the rest of the node sees it.
pub trait Control: Send + Sync + 'static {
    /// Proposes a command and waits until it is durable and applied here.
    ///
    /// # Errors
    /// When the group cannot be reached or the log cannot be written; the command may have been
    /// applied all the same, so whoever repeats it must do it by state.
    fn propose(&self, command: &Command) -> Result<Outcome, ControlError>;

    /// The state as of the last command that was applied here.
    fn state(&self) -> Arc<ControlState>;

    /// The index of the last command that was applied here; it wakes with each further one. The
    /// state is at least as new.
    fn changed(&self) -> watch::Receiver<u64>;

    /// Who leads the control group, as far as is known here. A leader names itself only as long as
    /// a majority confirms it: left alone there is nobody who could tell what is lost.
    fn leader(&self) -> Option<Incarnation>;

    /// Whether this node leads it and a majority has confirmed that lately: for that long one that
    /// was cut off goes on believing so, and what it proposes then is not committed.
    fn is_leader(&self) -> bool;
    /// The state as it is, where this node leads and a majority of the voters confirms that after
    /// the call; what cannot be undone is done on its word alone. `None`: nobody confirms it.
    /// Blocks; not for tasks of the runtime.
    fn confirmed(&self) -> Option<Confirmed>;
}
