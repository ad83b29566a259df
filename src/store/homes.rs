//! Where an applied block is read: here, or in the bucket.

use std::sync::Arc;

use super::applied_block::AppliedBlock;
use super::block::DecodedParts;
use super::engine::Engine;
use super::tier::Tier;
use crate::model::{BlockEntry, RingArc, Uploaded};

/// Makes applied blocks what they are: here, or elsewhere.
pub(super) struct Homes<'a> {
    pub(super) engine: &'a Arc<dyn Engine>,
    pub(super) tier: Option<&'a Arc<Tier>>,
    pub(super) decoded: &'a Arc<DecodedParts>,
}

impl Homes<'_> {
    /// A block whose file may be here. One that is not here and that the bucket has is elsewhere;
    /// one that nobody is known to have is an error for who reads it.
    pub(super) fn block(&self, arc: RingArc, entry: BlockEntry, is_here: bool) -> AppliedBlock {
        let decoded = Arc::clone(self.decoded);
        match self.tier {
            Some(tier) if !is_here && entry.uploaded != Uploaded::None => {
                AppliedBlock::elsewhere(arc, entry, Arc::clone(tier), decoded)
            }
            _ => AppliedBlock::here(entry, Arc::clone(self.engine), decoded),
        }
    }
}
