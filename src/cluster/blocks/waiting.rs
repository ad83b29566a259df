//! What an uploader works with: what it is made from, the blocks that the bucket does not have, and what
//! is remembered of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::archive::Archive;
use super::hurry::Hurry;
use crate::cluster::control::{BlockUploaded, Control, ControlState};
use crate::cluster::error::Error;
use crate::cluster::manifests::Manifests;
use crate::model::{BlockEntry, BlockId, Incarnation, RingArc, Uploaded};
use crate::runtime::{Backoff, CancelToken, Chance, Clock, Throttle};
use crate::store::Store;

/// Stages the file of a block that others have.
pub(in crate::cluster) type BringFile = Arc<
    dyn Fn(&ControlState, RingArc, &BlockEntry, &CancelToken) -> Result<(), Error> + Send + Sync,
>;

/// What an uploader is made from.
pub(in crate::cluster) struct UploaderParts {
    pub(in crate::cluster) store: Arc<Store>,
    pub(in crate::cluster) control: Arc<dyn Control>,
    pub(in crate::cluster) archive: Archive,
    pub(in crate::cluster) clock: Arc<dyn Clock>,
    pub(in crate::cluster) chance: Arc<dyn Chance>,
    pub(in crate::cluster) me: Incarnation,
    pub(in crate::cluster) throttle: Throttle,
    pub(in crate::cluster) manifests: Arc<Manifests>,
    /// Who is told to upload everything now.
    pub(in crate::cluster) hurry: Arc<Hurry>,
    /// What fetches files that are elsewhere.
    pub(in crate::cluster) bring: BringFile,
    /// How long a window waits for its first seal.
    pub(in crate::cluster) grace: Duration,
}

/// What is remembered between two rounds; nothing of it is needed after a restart.
pub(super) struct Remembered {
    /// Since when a block is known and not in the bucket.
    pub(super) since: BTreeMap<BlockId, Duration>,
    /// Since when it waits for no other block.
    pub(super) ripe: BTreeMap<BlockId, Duration>,
    /// When a block may be tried again that could not be uploaded for a reason of its own.
    pub(super) again: BTreeMap<BlockId, Duration>,
    /// When it was last seen that the bucket is this cluster's.
    pub(super) owned: Option<Duration>,
    pub(super) backoff: Backoff,
    pub(super) resume: Duration,
    pub(super) trouble: Option<String>,
}

/// A block that the bucket does not have.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Waiting {
    pub(super) arc: RingArc,
    pub(super) entry: BlockEntry,
    /// The state has to list it again before it can be noted that it is there.
    pub(super) of_manifest: bool,
}

/// What one pass uploads.
pub(super) struct Mine<'a> {
    /// Blocks whose files are here.
    pub(super) here: Vec<&'a Waiting>,
    /// Those whose files do not stay.
    pub(super) brought: Vec<BlockId>,
}

impl Waiting {
    pub(super) const fn lies(&self, uploaded: Uploaded) -> BlockUploaded {
        BlockUploaded {
            arc: self.arc,
            block: self.entry.id,
            uploaded,
        }
    }
}

impl Remembered {
    /// Learns what waits now, and forgets what does not any more.
    pub(super) fn follow(&mut self, waiting: &[Waiting], now: Duration) {
        let mut since = BTreeMap::new();
        for block in waiting {
            let id = block.entry.id;
            since.insert(id, self.since.get(&id).copied().unwrap_or(now));
        }
        self.since = since;
        let still = &self.since;
        self.ripe.retain(|id, _| still.contains_key(id));
        self.again.retain(|id, _| still.contains_key(id));
    }

    /// Notes those that wait for no other block.
    pub(super) fn ripen(
        &mut self,
        waiting: &[Waiting],
        now: Duration,
        mut holds: impl FnMut(&Waiting) -> bool,
    ) {
        for block in waiting {
            let id = block.entry.id;
            if !self.ripe.contains_key(&id) && !holds(block) {
                self.ripe.insert(id, now);
            }
        }
    }

    pub(super) fn oldest(&self, now: Duration) -> Duration {
        let oldest = self.since.values().min();
        oldest.map_or(Duration::ZERO, |since| now.saturating_sub(*since))
    }
}

/// The halves of a split both list a block of the whole.
pub(super) fn each_once(blocks: &[&Waiting]) -> Vec<(RingArc, BlockEntry)> {
    let by_id = blocks.iter().map(|block| (block.entry.id, *block));
    let once: BTreeMap<BlockId, &Waiting> = by_id.collect();
    let blocks = once.into_values();
    blocks
        .map(|block| (block.arc, block.entry.clone()))
        .collect()
}

pub(super) fn bytes_of(waiting: &[Waiting]) -> u64 {
    let sizes = waiting.iter().map(|block| block.entry.size);
    sizes.fold(0, u64::saturating_add)
}
