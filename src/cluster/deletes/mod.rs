//! Deletes: samples that are hidden at once, may be shown again for a day, and then go for good
//! (decision 20).
//!
//! What is deleted is a tombstone in the control state, so that all nodes agree on it. [`Hiding`]
//! stands in front of whatever gives samples, and leaves out what a tombstone hides; writes into its
//! range are refused until nobody holds any of it. Not here: how the state changes (`control`), and
//! how blocks are rewritten (`merging`).

mod hiding;
mod order;
mod removal;

pub(super) use hiding::Hiding;
pub(super) use order::rows;
pub use order::{DeleteRow, Deletes};
