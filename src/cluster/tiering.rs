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
use crate::model::{BlockEntry, BlockId, Incarnation, RingArc, TimestampMs, Uploaded};
use crate::runtime::{CancelToken, Clock};
use crate::store::{RetentionSettings, Store, leave_by_age, leave_by_size};

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
    /// Before which time blocks leave because of their size, once that is known.
    by_size: Mutex<Option<TimestampMs>>,
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
            by_size: Mutex::default(),
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

    /// Decides from when on blocks stay here, before anything is fetched at a start: by what was noted of their sizes.
    ///
    /// # Errors
    /// When the note cannot be read.
    pub(super) fn begin(&self, state: &ControlState) -> Result<(), Error> {
        if let Some(bound) = self.settings.local_size {
            let Some(by_size) = self.store.noted_leave(bound.0)? else {
                return self.decide(state);
            };
            *self.by_size.lock() = Some(by_size);
        }
        self.keep();
        Ok(())
    }

    /// The same by what the catalog names.
    fn decide(&self, state: &ControlState) -> Result<(), Error> {
        if let Some(bound) = self.settings.local_size {
            let listed = self.listed(state);
            let entries = listed.values().flat_map(Listed::entries);
            let ends = entries.map(|entry| (entry.range.end, entry.size));
            let before = leave_by_size(ends, &self.settings).unwrap_or(TimestampMs::MIN);
            let was = self.by_size.lock().replace(before);
            if was != Some(before) {
                self.store.note_leave(bound.0, before)?;
            }
        }
        self.keep();
        Ok(())
    }

    fn keep(&self) {
        let by_age = leave_by_age(&self.settings, self.clock.now());
        let before = by_age.max(*self.by_size.lock());
        self.store.keep_from(before.unwrap_or(TimestampMs::MIN));
    }

    /// One look. Errors are logged here: nobody waits for it.
    pub(super) fn round(&self, cancel: &CancelToken) {
        let state = self.control.state();
        let passed = self.decide(&state);
        match passed.and_then(|()| self.pass(&state, cancel)) {
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
        let listed = self.listed(state);
        let uploaded = |arc: RingArc, id: BlockId| {
            let entry = listed.get(&arc).and_then(|listed| listed.get(id));
            let uploaded = entry.map(|entry| entry.uploaded);
            uploaded.filter(|uploaded| *uploaded != Uploaded::None)
        };
        for (arc, entry) in self.store.blocks_here() {
            if let Some(uploaded) = uploaded(arc, entry.id) {
                let entry = BlockEntry { uploaded, ..entry };
                if self.store.need_not_be_here(&entry) || self.tenants_let_go(arc, &entry) {
                    going.entry(arc).or_default().push(entry);
                }
            }
        }
        let known = |(arc, id): &(RingArc, BlockId)| uploaded(*arc, *id).is_some();
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

    /// The catalogs of the partitions that this node takes part in; of one whose manifest is not here yet, what the
    /// state lists.
    fn listed<'a>(&self, state: &'a ControlState) -> BTreeMap<RingArc, Listed<'a>> {
        let mine = state.partitions.iter();
        let mine = mine.filter(|(_, partition)| role_of(partition, self.me) != Role::Outside);
        mine.map(|(arc, partition)| {
            let listed = listed(&self.manifests, *arc, partition);
            let listed = listed.unwrap_or_else(|_| Listed::of(partition, None));
            (*arc, listed)
        })
        .collect()
    }
}
