//! Blocks leave this node's disk for the bucket: when they are past local retention, the catalog
//! says that the bucket has them, and this node has read there what it needs to read them there.
//!
//! Each node decides for itself, by its own settings. What leaves the catalog is retention's
//! business, what leaves the bucket the sweeper's.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::control::{Control, ControlState};
use super::error::Error;
use super::moves::role_of;
use super::quorum::Role;
use super::ways::BuildParts;
use crate::model::{BlockEntry, BlockId, Incarnation, RingArc, TimeRange, TimestampMs, Uploaded};
use crate::runtime::{CancelToken, Clock};
use crate::store::{RetentionSettings, Store, leave_before};

/// Blocks of one partition whose files go at a time.
const BATCH_BLOCKS: usize = 64;

/// Lets blocks go that the bucket has.
pub(super) struct Tiering {
    store: Arc<Store>,
    control: Arc<dyn Control>,
    clock: Arc<dyn Clock>,
    me: Incarnation,
    settings: RetentionSettings,
    trouble: Mutex<Option<String>>,
}

impl Tiering {
    pub(super) fn new(
        store: Arc<Store>,
        control: Arc<dyn Control>,
        clock: Arc<dyn Clock>,
        me: Incarnation,
        settings: RetentionSettings,
    ) -> Self {
        Self {
            store,
            control,
            clock,
            me,
            settings,
            trouble: Mutex::default(),
        }
    }

    /// That of a member.
    pub(super) fn of(parts: &BuildParts<'_>, control: &Arc<dyn Control>) -> Self {
        Self::new(
            Arc::clone(parts.store),
            Arc::clone(control),
            Arc::clone(&parts.world.clock),
            parts.me,
            parts.settings.retention.clone(),
        )
    }

    /// Decides from when on blocks stay here. Before anything is fetched at a start.
    pub(super) fn decide(&self, state: &ControlState) {
        let sizes = sizes(state, self.me);
        let before = leave_before(&sizes, &self.settings, self.clock.now());
        self.store.keep_from(before.unwrap_or(TimestampMs::MIN));
    }

    /// One look. Errors are logged here: nobody waits for it.
    pub(super) fn round(&self, cancel: &CancelToken) {
        let state = self.control.state();
        self.decide(&state);
        match self.pass(&state, cancel) {
            Ok(gone) => {
                *self.trouble.lock() = None;
                if gone > 0 {
                    tracing::info!(blocks = gone, "blocks are only in the bucket from now on");
                }
            }
            Err(error) => {
                let text = error.to_string();
                let mut trouble = self.trouble.lock();
                if trouble.as_ref() != Some(&text) {
                    tracing::warn!(%error, "blocks stay on the disk until the bucket can be read");
                    *trouble = Some(text);
                }
            }
        }
        self.store.tidy_cache();
        if let Some(metrics) = self.store.tier_metrics() {
            let (blocks, bytes) = self.store.elsewhere_totals();
            metrics.elsewhere(blocks, bytes);
        }
    }

    /// Lets go of what may go. Says how many blocks went.
    pub(super) fn pass(&self, state: &ControlState, cancel: &CancelToken) -> Result<usize, Error> {
        let mut going: BTreeMap<RingArc, Vec<BlockEntry>> = BTreeMap::new();
        for (arc, entry) in self.store.blocks_here() {
            if let Some(uploaded) = uploaded(state, arc, entry.id) {
                let entry = BlockEntry { uploaded, ..entry };
                if self.store.need_not_be_here(&entry) {
                    going.entry(arc).or_default().push(entry);
                }
            }
        }
        let mut gone = 0;
        let mut failure = None;
        for (arc, mut entries) in going {
            entries.truncate(BATCH_BLOCKS);
            entries.retain(|entry| {
                if cancel.check().is_err() {
                    return false;
                }
                let readable = self.store.open_elsewhere(arc, entry);
                let is_readable = readable.is_ok();
                if let Err(error) = readable {
                    failure.get_or_insert(Error::Store(error));
                }
                is_readable
            });
            gone += self.store.let_go(arc, &entries)?;
        }
        failure.map_or(Ok(gone), Err)
    }
}

/// Where the catalog says that a block is; `None`: it does not name it, or nowhere but here.
fn uploaded(state: &ControlState, arc: RingArc, id: BlockId) -> Option<Uploaded> {
    let entry = state.partition(arc)?.recent.get(&id)?;
    (entry.uploaded != Uploaded::None).then_some(entry.uploaded)
}

/// What the catalog names of the partitions that a node takes part in.
fn sizes(state: &ControlState, me: Incarnation) -> BTreeMap<RingArc, Vec<(TimeRange, u64)>> {
    let mine = state.partitions.iter();
    let mine = mine.filter(|(_, partition)| role_of(partition, me) != Role::Outside);
    let of = |entry: &BlockEntry| (entry.range, entry.size);
    mine.map(|(arc, partition)| (*arc, partition.recent.values().map(of).collect()))
        .collect()
}
