//! What a run has seen, for what must not be different when it is seen again.

use std::collections::BTreeMap;

use crate::model::{BlockId, RingArc};

/// What has been seen so far, of which later sights must not differ.
#[derive(Default)]
pub(super) struct History {
    /// Blocks of a partition at a version.
    pub(super) blocks: BTreeMap<(RingArc, u64), Vec<BlockId>>,
    /// The control state after so many commands.
    pub(super) states: BTreeMap<u64, Vec<u8>>,
}
