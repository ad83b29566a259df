//! What is counted of the applied blocks, over and over: gone through anew only when a view has changed, so that a
//! round of work in the background costs nothing where nothing happens.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};

use super::view::ArcView;
use crate::model::{RingArc, TimeRange};

/// The times and sizes of blocks, by partition.
pub type BlockSizes = BTreeMap<RingArc, Vec<(TimeRange, u64)>>;

/// What was counted of some views.
#[derive(Default)]
pub(super) struct Counts {
    /// Whether that is still so: a view that lives on keeps its address.
    of: Vec<(RingArc, Weak<ArcView>)>,
    pub(super) all: (u64, u64),
    pub(super) elsewhere: (u64, u64),
    pub(super) sizes: Arc<BlockSizes>,
    /// Whether the cache has forgotten what these views do not list.
    pub(super) tidied: bool,
}

impl Counts {
    /// Whether they can be kept: everything had been read.
    pub(super) const fn are_whole(&self) -> bool {
        !self.of.is_empty()
    }

    pub(super) fn are_of(&self, views: &[(RingArc, Arc<ArcView>)]) -> bool {
        let mut both = self.of.iter().zip(views);
        self.of.len() == views.len()
            && both.all(|((arc, was), (of, is))| arc == of && was.as_ptr() == Arc::as_ptr(is))
    }

    /// Partitions that were one list the same blocks: each counts in the first.
    pub(super) fn count(views: &[(RingArc, Arc<ArcView>)]) -> Self {
        let mut counts = Self::default();
        let (mut seen, mut sizes) = (BTreeSet::new(), BlockSizes::new());
        let add = |sum: &mut (u64, u64), size: u64| *sum = (sum.0 + 1, sum.1.saturating_add(size));
        for (arc, view) in views {
            let of_arc = sizes.entry(*arc).or_default();
            for block in view.blocks_readable() {
                let entry = block.entry();
                if !seen.insert(entry.id) {
                    continue;
                }
                of_arc.push((entry.range, entry.size));
                add(&mut counts.all, entry.size);
                if !block.is_here() {
                    add(&mut counts.elsewhere, entry.size);
                }
            }
        }
        if views.iter().all(|(_, view)| view.is_whole()) {
            counts.of = views
                .iter()
                .map(|(arc, view)| (*arc, Arc::downgrade(view)))
                .collect();
        }
        counts.sizes = Arc::new(sizes);
        counts
    }
}
