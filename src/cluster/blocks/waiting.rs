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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Window;

    fn waiting(id: u128) -> Waiting {
        Waiting {
            arc: RingArc::all(0).next().unwrap(),
            entry: BlockEntry {
                size: 10,
                ..BlockEntry::of(id, Window(1).range())
            },
            of_manifest: false,
        }
    }

    fn remembered() -> Remembered {
        Remembered {
            since: BTreeMap::new(),
            ripe: BTreeMap::new(),
            again: BTreeMap::new(),
            owned: None,
            backoff: Backoff::new(Duration::from_secs(1), Duration::from_secs(2)),
            resume: Duration::ZERO,
            trouble: None,
        }
    }

    /// Would catch a block whose time begins anew in every round, which nobody's turn ever comes to,
    /// and one that is remembered when it is gone.
    #[test]
    fn what_waits_is_remembered_from_the_first_time_until_it_waits_no_more() {
        let (one, two) = (BlockId(1), BlockId(2));
        let [at_5, at_7, at_9] = [5, 7, 9].map(Duration::from_secs);
        let mut known = remembered();
        let both = [waiting(1), waiting(2)];
        known.follow(&both, at_5);
        known.ripen(&both, at_5, |block| block.entry.id == two);
        assert_eq!(known.ripe, BTreeMap::from([(one, at_5)]));
        known.again.insert(one, at_9);
        known.again.insert(two, at_9);
        known.follow(&both, at_7);
        assert_eq!(known.since, BTreeMap::from([(one, at_5), (two, at_5)]));
        assert_eq!(known.oldest(at_9), Duration::from_secs(4));
        // Once ripe it is not asked for again, whatever is held now.
        known.ripen(&both, at_7, |block| block.entry.id == one);
        assert_eq!(known.ripe, BTreeMap::from([(one, at_5), (two, at_7)]));
        known.ripen(&both, at_9, |_| false);
        assert_eq!(known.ripe, BTreeMap::from([(one, at_5), (two, at_7)]));
        known.follow(&both[1..], at_9);
        assert_eq!(known.since, BTreeMap::from([(two, at_5)]));
        assert_eq!(known.ripe, BTreeMap::from([(two, at_7)]));
        assert_eq!(known.again, BTreeMap::from([(two, at_9)]));
        known.follow(&both, at_9);
        assert_eq!(known.since, BTreeMap::from([(one, at_9), (two, at_5)]));
        assert_eq!(remembered().oldest(at_9), Duration::ZERO);
    }

    #[test]
    fn a_block_that_two_halves_list_is_one_block() {
        let [low, high] = RingArc::all(0).next().unwrap().halves().unwrap();
        let of = |arc, id| Waiting { arc, ..waiting(id) };
        let blocks = [of(low, 1), of(high, 1), of(high, 2)];
        let once = each_once(&blocks.iter().collect::<Vec<_>>());
        let ids: Vec<BlockId> = once.iter().map(|(_, entry)| entry.id).collect();
        assert_eq!(ids, [BlockId(1), BlockId(2)]);
        assert_eq!(bytes_of(&blocks), 30);
    }
}
