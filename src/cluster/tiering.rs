//! Blocks leave this node's disk for the bucket: when they are past local retention, the catalog
//! says that the bucket has them, and this node has read there what it needs to read them there.
//!
//! Each node decides for itself, by its own settings. What leaves the catalog is retention's
//! business, what leaves the bucket the sweeper's.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::control::{Control, ControlState};
use super::error::Error;
use super::manifests::{Listed, Manifests, listed};
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
    manifests: Arc<Manifests>,
    control: Arc<dyn Control>,
    clock: Arc<dyn Clock>,
    me: Incarnation,
    settings: RetentionSettings,
    trouble: Mutex<Option<String>>,
    /// From when on all tenants in a block let it go.
    leaves: Mutex<BTreeMap<(RingArc, BlockId), TimestampMs>>,
}

impl Tiering {
    pub(super) fn new(
        store: Arc<Store>,
        manifests: Arc<Manifests>,
        control: Arc<dyn Control>,
        clock: Arc<dyn Clock>,
        me: Incarnation,
        settings: RetentionSettings,
    ) -> Self {
        Self {
            store,
            manifests,
            control,
            clock,
            me,
            settings,
            trouble: Mutex::default(),
            leaves: Mutex::default(),
        }
    }

    /// That of a member.
    pub(super) fn of(parts: &BuildParts<'_>, control: &Arc<dyn Control>) -> Self {
        Self::new(
            Arc::clone(parts.store),
            Arc::clone(parts.manifests),
            Arc::clone(control),
            Arc::clone(&parts.world.clock),
            parts.me,
            parts.settings.retention.clone(),
        )
    }

    /// Decides from when on blocks stay here. Before anything is fetched at a start.
    pub(super) fn decide(&self, state: &ControlState) {
        let sizes = self.sizes(state);
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
        let named = self.uploaded(state);
        for (arc, entry) in self.store.blocks_here() {
            if let Some(uploaded) = named.get(&(arc, entry.id)).copied() {
                let entry = BlockEntry { uploaded, ..entry };
                if self.store.need_not_be_here(&entry) || self.tenants_let_go(arc, &entry) {
                    going.entry(arc).or_default().push(entry);
                }
            }
        }
        let known = |key: &(RingArc, BlockId)| named.contains_key(key);
        self.leaves.lock().retain(|key, _| known(key));
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

    /// Whether all tenants that have something in a block let it leave, though others would not.
    fn tenants_let_go(&self, arc: RingArc, entry: &BlockEntry) -> bool {
        let Some(shortest) = self.settings.local_shortest() else {
            return false;
        };
        let now = self.clock.now();
        let after = |local: Duration| {
            let ms = i64::try_from(local.as_millis()).unwrap_or(i64::MAX);
            TimestampMs(entry.range.end.0.saturating_add(ms))
        };
        if !self.store.has_tier() || after(shortest) >= now {
            return false;
        }
        let key = (arc, entry.id);
        let known = self.leaves.lock().get(&key).copied();
        let leaves = known.or_else(|| {
            // One that cannot be read stays where it is.
            let tenants = self.store.tenants_of_block(arc, entry.id).ok()??;
            let locals = tenants.iter().map(|tenant| self.settings.local_of(tenant));
            let leaves = locals.map(|local| local.map_or(TimestampMs::MAX, after));
            let leaves = leaves.max().unwrap_or(TimestampMs::MAX);
            self.leaves.lock().insert(key, leaves);
            Some(leaves)
        });
        leaves.is_some_and(|leaves| leaves < now)
    }

    /// Blocks of the partitions that this node takes part in, of which the catalog says that they
    /// are in the bucket, and where.
    fn uploaded(&self, state: &ControlState) -> BTreeMap<(RingArc, BlockId), Uploaded> {
        let mut named = BTreeMap::new();
        for (arc, entries) in self.entries(state) {
            for entry in entries {
                if entry.uploaded != Uploaded::None {
                    named.insert((arc, entry.id), entry.uploaded);
                }
            }
        }
        named
    }

    /// What the catalog names of the partitions that this node takes part in.
    fn sizes(&self, state: &ControlState) -> BTreeMap<RingArc, Vec<(TimeRange, u64)>> {
        let of = |entry: BlockEntry| (entry.range, entry.size);
        let entries = self.entries(state);
        entries
            .map(|(arc, entries)| (arc, entries.into_iter().map(of).collect()))
            .collect()
    }

    /// The entries of those partitions; of one whose manifest is not here yet, what the state lists.
    fn entries<'a>(
        &'a self,
        state: &'a ControlState,
    ) -> impl Iterator<Item = (RingArc, Vec<BlockEntry>)> + 'a {
        let mine = state.partitions.iter();
        let mine = mine.filter(|(_, partition)| role_of(partition, self.me) != Role::Outside);
        mine.map(|(arc, partition)| {
            let listed = listed(&self.manifests, *arc, partition);
            let listed = listed.unwrap_or_else(|_| Listed::of(partition, None));
            (*arc, listed.blocks().values().cloned().collect())
        })
    }
}
