//! What head, views, cuts and replay share: the shards, and who is looking.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;

use super::append::Appending;
use super::arcs::ArcTable;
use super::layer::Layer;
use super::settings::HeadSettings;
use super::shard::Shard;
use super::types::{AppendBatch, Appended, SHARDS_MAX, SeriesId};
use super::work::Spare;
use crate::model::{
    Buckets, Fingerprint, LabelSet, Metadata, RingArc, TenantId, TimestampMs, Value, Window,
    fingerprint,
};
use crate::store::digest::ContentHasher;
use crate::store::error::Error;
use crate::store::log::{Log, Record, RecordKind, encode_metadata};

/// Bytes of one series' labels, one family's metadata, or one exemplar's labels; entries of one
/// histogram are bounded by a sixteenth of it. A log record must hold any of them.
const ITEM_MAX: usize = 1 << 20;

/// Names of tenants, jobs and instances seldom have more bytes.
const TARGET_BYTES: usize = 256;

/// The memory of the head.
#[derive(Debug)]
pub(super) struct Core {
    pub shards: Vec<Shard>,
    /// The depth is that of the arcs in which series have their places.
    pub settings: HeadSettings,
    /// The arcs of layers. Swapped under the locks of all shards.
    arcs: ArcSwap<ArcTable>,
    pub registered: AtomicUsize,
    /// How often layers were given up: raised before they are.
    pub removals: AtomicU64,
    /// What the rosters say they take.
    registry_bytes: AtomicUsize,
    views: Mutex<Views>,
    /// Of the cluster whose id the settings have.
    pub hasher: ContentHasher,
    spare: Spare,
    /// What the rosters' changes came to when a view was asked last.
    pub looked_at: AtomicU64,
}

/// While it lives, no series is forgotten that a layer names which was there when it began.
#[derive(Debug)]
pub(super) struct Pin {
    core: Arc<Core>,
    epoch: u64,
}

impl Pin {
    pub(super) fn new(core: &Arc<Core>) -> Self {
        Self {
            core: Arc::clone(core),
            epoch: core.pin(),
        }
    }

    pub(super) const fn core(&self) -> &Arc<Core> {
        &self.core
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.core.unpin(self.epoch);
    }
}

/// Which views are alive, so that no series is forgotten that one of them can still read.
#[derive(Debug, Default)]
struct Views {
    /// Raised whenever series may have lost their last layer.
    epoch: u64,
    /// How many views of each epoch are alive.
    alive: BTreeMap<u64, usize>,
    /// Series without a layer, by the epoch in which they lost it.
    unheld: Vec<(u64, SeriesId)>,
}

impl Core {
    pub(super) fn new(settings: HeadSettings) -> Self {
        let settings = HeadSettings {
            shards: settings.shards.clamp(1, SHARDS_MAX),
            depth: settings.depth.min(RingArc::DEPTH_MAX),
            ..settings
        };
        Self {
            hasher: ContentHasher::new(settings.cluster_id),
            spare: Spare::default(),
            looked_at: AtomicU64::new(0),
            shards: (0..settings.shards).map(|_| Shard::default()).collect(),
            arcs: ArcSwap::from_pointee(ArcTable::even(settings.depth)),
            settings,
            registered: AtomicUsize::new(0),
            removals: AtomicU64::new(0),
            registry_bytes: AtomicUsize::new(0),
            views: Mutex::default(),
        }
    }

    /// The arcs of layers: as long as the lock of a shard is held, no others.
    pub(super) fn arcs(&self) -> Guard<Arc<ArcTable>> {
        self.arcs.load()
    }

    /// The same, to be kept.
    pub(super) fn arcs_now(&self) -> Arc<ArcTable> {
        self.arcs.load_full()
    }

    /// To be called with all shards locked.
    pub(super) fn set_arcs(&self, arcs: ArcTable) {
        self.arcs.store(Arc::new(arcs));
    }

    /// The shard of a series: that of its target; all of a tenant that have none are in one.
    fn shard_of(&self, tenant: &TenantId, labels: &LabelSet) -> usize {
        let mut bytes = Vec::with_capacity(TARGET_BYTES);
        bytes.extend_from_slice(tenant.as_str().as_bytes());
        for name in ["job", "instance"] {
            bytes.push(0);
            bytes.extend_from_slice(labels.get(name).unwrap_or_default().as_bytes());
        }
        let shards = self.shards.len() as u64;
        usize::try_from(xxhash_rust::xxh3::xxh3_64(&bytes) % shards.max(1)).unwrap_or(0)
    }

    /// The id of a series; a new one is refused when there are too many.
    pub(super) fn register(&self, tenant: &TenantId, labels: &LabelSet) -> Result<SeriesId, Error> {
        let of = (tenant, labels, fingerprint(tenant, labels));
        self.register_if(of, || self.check_new(labels))
    }

    /// The same for a series that was taken before: a bound that is lower today does not lose it.
    /// What no definition in the log has room for was never taken.
    pub(super) fn register_unbounded(
        &self,
        tenant: &TenantId,
        labels: &LabelSet,
    ) -> Result<SeriesId, Error> {
        let of = (tenant, labels, fingerprint(tenant, labels));
        self.register_if(of, || check_len(labels))
    }

    /// The same for one whose fingerprint is known.
    pub(super) fn register_known(
        &self,
        of: (&TenantId, &LabelSet, Fingerprint),
    ) -> Result<SeriesId, Error> {
        self.register_if(of, || Ok(()))
    }

    /// The tenant and labels of a series that is not forgotten.
    pub(super) fn describe(&self, series: SeriesId) -> Option<(TenantId, LabelSet)> {
        let roster = self.shards.get(series.shard())?.roster.read();
        let entry = roster.entry(series.slot)?;
        if entry.generation != series.generation() {
            return None;
        }
        roster.series(series.slot)
    }

    fn register_if(
        &self,
        (tenant, labels, fingerprint): (&TenantId, &LabelSet, Fingerprint),
        may_be_new: impl FnOnce() -> Result<(), Error>,
    ) -> Result<SeriesId, Error> {
        let number = self.shard_of(tenant, labels);
        let shard = self
            .shards
            .get(number)
            .ok_or_else(|| Error::Bug("a shard that is not there".to_owned()))?;
        let id = |roster: &super::roster::Roster, slot: u32| {
            let generation = roster.entry(slot).map_or(0, |entry| entry.generation);
            SeriesId::new(u8::try_from(number).unwrap_or(0), slot, generation)
        };
        {
            let roster = shard.roster.read();
            if let Some(slot) = roster.find(fingerprint, tenant, labels) {
                return Ok(id(&roster, slot));
            }
        }
        may_be_new()?;
        let mut roster = shard.roster.write();
        if let Some(slot) = roster.find(fingerprint, tenant, labels) {
            return Ok(id(&roster, slot));
        }
        let before = roster.live_bytes();
        let slot = roster
            .add(fingerprint, tenant, labels, self.settings.depth)
            .ok_or_else(|| self.full())?;
        self.registered.fetch_add(1, Ordering::AcqRel);
        self.count_bytes(before, roster.live_bytes());
        let id = id(&roster, slot);
        drop(roster);
        // Registered but without a sample: forgotten like one that lost its last.
        let mut views = self.views.lock();
        let epoch = views.epoch;
        views.unheld.push((epoch, id));
        Ok(id)
    }

    fn check_new(&self, labels: &LabelSet) -> Result<(), Error> {
        check_len(labels)?;
        if self.registered.load(Ordering::Acquire) >= self.settings.series_max {
            return Err(self.full());
        }
        let bytes = self.registry_bytes.load(Ordering::Acquire);
        let most = self.settings.registry_bytes_max;
        if most > 0 && bytes >= most {
            return Err(Error::Limit {
                what: "the memory of active series and their labels, in bytes,",
                value: bytes as u64,
                limit: most as u64,
                remedy: "series known already are still written; drop labels that multiply series, or raise memory_limit",
            });
        }
        Ok(())
    }

    /// Notes that a roster took `before` bytes and takes `after`.
    fn count_bytes(&self, before: usize, after: usize) {
        if after >= before {
            self.registry_bytes
                .fetch_add(after - before, Ordering::AcqRel);
        } else {
            self.registry_bytes
                .fetch_sub(before - after, Ordering::AcqRel);
        }
    }

    fn full(&self) -> Error {
        Error::Limit {
            what: "the number of active series",
            value: self.registered.load(Ordering::Acquire) as u64 + 1,
            limit: self.settings.series_max as u64,
            remedy: "series known already are still written; drop labels that multiply series, or raise ingest.max_series",
        }
    }

    pub(super) fn append(
        &self,
        batch: &AppendBatch<'_>,
        now: TimestampMs,
        log: Option<&Log>,
    ) -> Result<Appended, Error> {
        check_sizes(batch)?;
        let appending = Appending {
            shards: &self.shards,
            arcs: &self.arcs,
            now,
            exemplars_max: self.settings.exemplars_max,
            hasher: &self.hasher,
            spare: &self.spare,
            log,
        };
        let mut appended = appending.run(batch)?;
        for (tenant, family, metadata) in batch.metadata {
            let of = (tenant, family.as_str());
            if let Some(position) = self.metadata(of, metadata, Window::of(now), now, log)? {
                appended.position = appended.position.max(position);
            }
        }
        Ok(appended)
    }

    /// Adds metadata to the window of its arrival; it is sealed with that window's samples. The
    /// position of its record, when there is one.
    pub(super) fn metadata(
        &self,
        of: (&TenantId, &str),
        metadata: &Metadata,
        window: Window,
        now: TimestampMs,
        log: Option<&Log>,
    ) -> Result<Option<u64>, Error> {
        let labels = LabelSet::from_pairs(&[(crate::model::METRIC_NAME, of.1)]);
        let labels = labels.map_err(|error| Error::Bug(error.to_string()))?;
        // Any shard will do, but always the same.
        let number = self.shard_of(of.0, &labels);
        let Some(shard) = self.shards.get(number) else {
            return Ok(None);
        };
        let mut state = shard.state.lock();
        let arc = self.arcs().of(fingerprint(of.0, &labels));
        let open = state.window(window, &[arc]);
        let Some(layer) = open.open.get(&arc) else {
            return Ok(None);
        };
        let mut data = layer.lock();
        if !data.add_metadata(of, metadata) {
            // It is in the log, but perhaps not on the disk yet.
            return Ok(log.map(Log::position));
        }
        data.appended = now;
        drop(data);
        let Some(log) = log else {
            return Ok(None);
        };
        let mut payload = Vec::new();
        encode_metadata(of.0, of.1, metadata, &mut payload);
        let position = log.push(&[Record {
            window,
            shard: u8::try_from(number).unwrap_or(0),
            kind: RecordKind::Metadata,
            payload: &payload,
            arcs: &[arc],
        }])?;
        Ok(Some(position))
    }

    /// A view begins.
    fn pin(&self) -> u64 {
        let mut views = self.views.lock();
        let epoch = views.epoch;
        *views.alive.entry(epoch).or_default() += 1;
        epoch
    }

    /// A view ends.
    fn unpin(&self, epoch: u64) {
        let mut views = self.views.lock();
        if let Some(alive) = views.alive.get_mut(&epoch) {
            *alive -= 1;
            if *alive == 0 {
                views.alive.remove(&epoch);
            }
        }
    }

    /// Removes frozen layers, and lets go of the series that have nothing else.
    pub(super) fn remove(&self, number: usize, window: Window, layers: &[Arc<Layer>]) {
        self.removals.fetch_add(1, Ordering::AcqRel);
        let Some(shard) = self.shards.get(number) else {
            return;
        };
        let mut unheld = Vec::new();
        {
            let mut state = shard.state.lock();
            let roster = shard.roster.read();
            // Two cuts may have the same layers: only the first to go lets go of the series.
            let removed = state.remove(window, layers);
            let number = u8::try_from(number).unwrap_or(0);
            for layer in &removed {
                let present = layer.lock().present.clone();
                let slots = present
                    .iter()
                    .filter_map(|local| roster.slot_of(layer.arc, local));
                let released = slots.filter(|slot| state.release(*slot));
                unheld.extend(released.filter_map(|slot| {
                    let generation = roster.entry(slot)?.generation;
                    Some(SeriesId::new(number, slot, generation))
                }));
            }
        }
        let mut views = self.views.lock();
        let epoch = views.epoch;
        views
            .unheld
            .extend(unheld.into_iter().map(|id| (epoch, id)));
    }

    /// Forgets the series that no layer holds and no view can read any more. Those that lost
    /// their last layer since the call before get one more round, so that a series registered a
    /// moment ago lives to see its first sample.
    pub(super) fn forget_unheld(&self) {
        let due: Vec<SeriesId> = {
            let mut views = self.views.lock();
            let oldest = views.alive.keys().next().copied().unwrap_or(u64::MAX);
            let limit = oldest.min(views.epoch);
            let mut unheld = std::mem::take(&mut views.unheld);
            // What counts is when a series lost a layer last.
            unheld.sort_by_key(|(epoch, id)| (*id, std::cmp::Reverse(*epoch)));
            unheld.dedup_by_key(|(_, id)| *id);
            let (due, later): (Vec<_>, Vec<_>) =
                unheld.into_iter().partition(|(epoch, _)| *epoch < limit);
            views.unheld = later;
            views.epoch += 1;
            due.into_iter().map(|(_, id)| id).collect()
        };
        for id in due {
            let Some(shard) = self.shards.get(id.shard()) else {
                continue;
            };
            let mut state = shard.state.lock();
            let mut roster = shard.roster.write();
            let current = roster
                .entry(id.slot)
                .is_some_and(|entry| entry.generation == id.generation());
            if current && !state.holds(id.slot) {
                let before = roster.live_bytes();
                roster.forget(id.slot, self.settings.depth);
                state.free_number(id.slot);
                self.count_bytes(before, roster.live_bytes());
                self.registered.fetch_sub(1, Ordering::AcqRel);
            }
        }
    }
}

fn too_large(what: &'static str, bytes: usize) -> Error {
    Error::Limit {
        what,
        value: bytes as u64,
        limit: ITEM_MAX as u64,
        remedy: "shorten them at the sender",
    }
}

/// A definition has to fit into a record of the log.
fn check_len(labels: &LabelSet) -> Result<(), Error> {
    match labels.text_len() {
        bytes if bytes > ITEM_MAX => Err(too_large("the labels of a series", bytes)),
        _ => Ok(()),
    }
}

/// Nothing may be taken that no log record could hold.
fn check_sizes(batch: &AppendBatch<'_>) -> Result<(), Error> {
    for sample in batch.others {
        if let Value::Histogram(histogram) = &sample.value {
            let buckets = match &histogram.buckets {
                Buckets::Integer {
                    positive, negative, ..
                } => positive.len() + negative.len(),
                Buckets::Float {
                    positive, negative, ..
                } => positive.len() + negative.len(),
            };
            let spans = histogram.positive_spans.len() + histogram.negative_spans.len();
            let entries = buckets + spans + histogram.custom_values.len();
            if entries > ITEM_MAX / 16 {
                return Err(too_large("a histogram with its buckets", entries * 16));
            }
        }
    }
    for (_, family, metadata) in batch.metadata {
        let bytes = family.len() + metadata.help.len() + metadata.unit.len();
        if bytes > ITEM_MAX {
            return Err(too_large("the metadata of a metric family", bytes));
        }
    }
    for (_, exemplar) in batch.exemplars {
        if exemplar.labels.text_len() > ITEM_MAX {
            return Err(too_large("an exemplar", exemplar.labels.text_len()));
        }
    }
    Ok(())
}
