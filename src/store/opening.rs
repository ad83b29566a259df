//! What blocks are made of when a store has been opened, at once and later.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::applied_block::AppliedBlock;
use super::block::DecodedParts;
use super::engine::Engine;
use super::homes::Homes;
use super::tier::Tier;
use crate::model::{BlockEntry, BlockId, RingArc};

/// Makes blocks of what is noted of them, as the disk was when the store was opened.
pub(super) struct Opening {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) tier: Option<Arc<Tier>>,
    pub(super) decoded: Arc<DecodedParts>,
    /// The blocks whose files were here. Partitions that were one list the same blocks, and a file goes when the
    /// last of them has let go of the one block of all.
    pub(super) here: Mutex<BTreeMap<BlockId, Weak<AppliedBlock>>>,
}

impl Opening {
    pub(super) fn block(&self, arc: RingArc, entry: BlockEntry) -> Arc<AppliedBlock> {
        let homes = Homes {
            engine: &self.engine,
            tier: self.tier.as_ref(),
            decoded: &self.decoded,
        };
        let mut here = self.here.lock();
        let Some(known) = here.get_mut(&entry.id) else {
            return Arc::new(homes.block(arc, entry, false));
        };
        known.upgrade().unwrap_or_else(|| {
            let block = Arc::new(homes.block(arc, entry, true));
            *known = Arc::downgrade(&block);
            block
        })
    }
}
