//! What many nodes agree on, and how samples get to them: control commands, writes, seals.
//!
//! Knows nothing of PromQL or HTTP. On one node every rule of the replication protocol holds with
//! n = 1: one member per partition, W = R = C = 1.

mod control;
mod error;

pub use control::{BlockUploaded, ClusterId, Command, Compacted, Control, ControlState, DAY_MS};
pub use control::{
    ControlError, LocalControl, RangeKey, Refusal, SealCommit, Session, WireError, is_sealable,
    utc_day,
};
pub use control::{Expired, Found, Liveness, Member, MemberId, NodeUp, Outcome, Partition};
pub use error::Error;
