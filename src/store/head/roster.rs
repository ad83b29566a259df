//! Who is registered in a shard: series, their scrape targets, and their places in their arcs.
//!
//! A series has a *slot* in the shard (what ids and postings name) and a *local* number in its arc
//! (what layers are indexed by, so that a layer of one arc has no holes). Both are used again
//! after the series was forgotten; the slot's generation tells an old id from a new one.
//!
//! Local numbers are given in the arcs of the depth that the head was opened with. When an arc is
//! split, its series keep theirs: layers of its parts have holes until the next start.

use std::collections::{BTreeMap, HashMap};

use hashbrown::HashTable;
use roaring::RoaringBitmap;

use super::pieces::Pieces;
use super::postings::Postings;
use super::symbols::{LabelArena, TenantNumber};
use crate::model::{Fingerprint, LabelSet, Matcher, RingArc, TenantId};

/// A registered series.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub fingerprint: Fingerprint,
    pub generation: u32,
    pub target: u32,
    /// Its place among the series of its arc.
    pub local: u32,
    /// Where its labels are; [`FREE`] when the slot is nobody's.
    labels: u32,
}

/// No labels: the slot is free.
const FREE: u32 = u32::MAX;
/// Generations use the bits that ids have for them.
const GENERATION_MASK: u32 = (1 << 26) - 1;
/// Series without job and instance that share timestamps: those that register one after the
/// other, as the series of one request do.
const GROUP_SERIES: u32 = 256;

/// What a series costs besides its labels: entry, table, place in its arc, counter, postings.
const SERIES_BYTES: usize = size_of::<Entry>() + 40;
/// What a target costs.
const TARGET_BYTES: usize = 160;

/// A scrape target: tenant, job, instance; or a group of series that have neither.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum TargetKey {
    Scraped(TenantNumber, Box<str>, Box<str>),
    Group(u64),
}

#[derive(Debug)]
struct Target {
    key: TargetKey,
    series: u32,
}

/// The series of an arc by their local numbers.
#[derive(Debug, Default)]
struct ArcRoster {
    slots: Pieces<u32>,
    free: Vec<u32>,
}

/// Everything registered in one shard, and the index over its labels.
#[derive(Debug, Default)]
pub(super) struct Roster {
    entries: Pieces<Entry>,
    free_slots: Vec<u32>,
    table: HashTable<u32>,
    arcs: BTreeMap<RingArc, ArcRoster>,
    targets: Pieces<Target>,
    target_numbers: HashMap<TargetKey, u32>,
    free_targets: Vec<u32>,
    group: u64,
    group_series: u32,
    labels: LabelArena,
    postings: Postings,
    /// How often a series came or went.
    changes: u64,
}

impl Roster {
    /// Another number whenever other series are registered than before.
    pub(super) const fn changes(&self) -> u64 {
        self.changes
    }

    pub(super) fn entry(&self, slot: u32) -> Option<&Entry> {
        self.entries
            .get(slot as usize)
            .filter(|entry| entry.labels != FREE)
    }

    /// The slot of a series of an arc, which may be a part of one that places are given in.
    pub(super) fn slot_of(&self, arc: RingArc, local: u32) -> Option<u32> {
        let (home, roster) = self.arcs.range(..=arc).next_back()?;
        if !home.covers(arc) {
            return None;
        }
        roster.slots.get(local as usize).copied()
    }

    /// The tenant and labels of a slot.
    pub(super) fn series(&self, slot: u32) -> Option<(TenantId, LabelSet)> {
        let entry = self.entry(slot)?;
        self.labels.read(entry.labels)
    }

    /// The slots of a tenant's series that match.
    pub(super) fn select(&self, tenant: &TenantId, matchers: &[Matcher]) -> RoaringBitmap {
        self.postings.select(&self.labels, tenant, matchers)
    }

    /// The label names of the selected series, `None` meaning all of the tenant's.
    pub(super) fn label_names(
        &self,
        tenant: &TenantId,
        selected: Option<&RoaringBitmap>,
    ) -> Vec<std::sync::Arc<str>> {
        self.postings.label_names(&self.labels, tenant, selected)
    }

    /// The values of a label over the selected series, `None` meaning all of the tenant's.
    pub(super) fn label_values(
        &self,
        tenant: &TenantId,
        name: &str,
        selected: Option<&RoaringBitmap>,
    ) -> Vec<std::sync::Arc<str>> {
        self.postings
            .label_values(&self.labels, tenant, name, selected)
    }

    /// Every label pair of a tenant with its number of series; how many series there are. Of the
    /// slots `within`, if they are named.
    pub(super) fn each_pair(
        &self,
        tenant: &TenantId,
        within: Option<&RoaringBitmap>,
        each: impl FnMut(&std::sync::Arc<str>, &std::sync::Arc<str>, u64),
    ) -> u64 {
        self.postings.each_pair(&self.labels, tenant, within, each)
    }

    /// The slot of a series, if it is registered.
    pub(super) fn find(
        &self,
        fingerprint: Fingerprint,
        tenant: &TenantId,
        labels: &LabelSet,
    ) -> Option<u32> {
        let same = |slot: &u32| {
            self.entry(*slot)
                .filter(|entry| entry.fingerprint == fingerprint)
                .and_then(|entry| self.labels.read(entry.labels))
                .is_some_and(|(owner, set)| owner == *tenant && set == *labels)
        };
        self.table.find(hash(fingerprint), same).copied()
    }

    /// Registers a series that is not registered yet. `None` when numbers run out.
    pub(super) fn add(
        &mut self,
        fingerprint: Fingerprint,
        tenant: &TenantId,
        labels: &LabelSet,
        depth: u8,
    ) -> Option<u32> {
        self.changes += 1;
        let (number, pairs) = self.labels.intern(tenant, labels);
        let place = self.labels.store(number, &pairs)?;
        let target = self.target(number, labels)?;
        let slot = match self.free_slots.pop() {
            Some(slot) => slot,
            None => u32::try_from(self.entries.len()).ok()?,
        };
        let arc = self
            .arcs
            .entry(RingArc::of(fingerprint, depth))
            .or_default();
        let local = match arc.free.pop() {
            Some(local) => {
                *arc.slots.get_mut(local as usize)? = slot;
                local
            }
            None => {
                let local = u32::try_from(arc.slots.len()).ok()?;
                arc.slots.push(slot);
                local
            }
        };
        let mut entry = Entry {
            fingerprint,
            generation: 0,
            target,
            local,
            labels: place,
        };
        if let Some(before) = self.entries.get_mut(slot as usize) {
            entry.generation = (before.generation + 1) & GENERATION_MASK;
            *before = entry;
        } else {
            self.entries.push(entry);
        }
        self.postings.insert(number, &pairs, slot);
        let entries = &self.entries;
        let rehash = |slot: &u32| {
            let entry = entries.get(*slot as usize);
            entry.map_or(0, |entry| hash(entry.fingerprint))
        };
        self.table.insert_unique(hash(fingerprint), slot, rehash);
        Some(slot)
    }

    /// The number of a series' target.
    fn target(&mut self, tenant: TenantNumber, labels: &LabelSet) -> Option<u32> {
        let (job, instance) = (labels.get("job"), labels.get("instance"));
        let key = if job.is_none() && instance.is_none() {
            if self.group_series == GROUP_SERIES {
                (self.group, self.group_series) = (self.group + 1, 0);
            }
            self.group_series += 1;
            TargetKey::Group(self.group)
        } else {
            let text = |label: Option<&str>| Box::from(label.unwrap_or_default());
            TargetKey::Scraped(tenant, text(job), text(instance))
        };
        if let Some(number) = self.target_numbers.get(&key) {
            self.targets.get_mut(*number as usize)?.series += 1;
            return Some(*number);
        }
        let target = Target {
            key: key.clone(),
            series: 1,
        };
        let number = match self.free_targets.pop() {
            Some(number) => {
                *self.targets.get_mut(number as usize)? = target;
                number
            }
            None => {
                let number = u32::try_from(self.targets.len()).ok()?;
                self.targets.push(target);
                number
            }
        };
        self.target_numbers.insert(key, number);
        Some(number)
    }

    /// Forgets a series.
    pub(super) fn forget(&mut self, slot: u32, depth: u8) {
        let Some(entry) = self.entry(slot).copied() else {
            return;
        };
        self.changes += 1;
        let hashed = hash(entry.fingerprint);
        if let Ok(found) = self.table.find_entry(hashed, |other| *other == slot) {
            found.remove();
        }
        let (number, pairs) = self.labels.pairs(entry.labels);
        let orphans = self.postings.remove(number, &pairs, slot);
        self.labels.forget(entry.labels, &orphans);
        if let Some(arc) = self.arcs.get_mut(&RingArc::of(entry.fingerprint, depth)) {
            arc.free.push(entry.local);
        }
        self.leave_target(entry.target);
        if let Some(place) = self.entries.get_mut(slot as usize) {
            place.labels = FREE;
        }
        self.free_slots.push(slot);
        if self.labels.wants_compaction() {
            self.compact_labels();
        }
    }

    fn leave_target(&mut self, number: u32) {
        let Some(target) = self.targets.get_mut(number as usize) else {
            return;
        };
        target.series = target.series.saturating_sub(1);
        if target.series == 0 {
            self.target_numbers.remove(&target.key);
            self.free_targets.push(number);
        }
    }

    fn compact_labels(&mut self) {
        let mut fresh = self.labels.start_compaction();
        for slot in 0..self.entries.len() {
            let Some(entry) = self.entries.get_mut(slot) else {
                continue;
            };
            if entry.labels != FREE {
                entry.labels = self.labels.copy_to(&mut fresh, entry.labels);
            }
        }
        self.labels.finish_compaction(fresh);
    }

    /// Bytes that registered series take, about: kept small to compute, since every new series
    /// asks. What was forgotten does not count, because its room is used again.
    pub(super) fn live_bytes(&self) -> usize {
        let series = self.entries.len().saturating_sub(self.free_slots.len());
        series * SERIES_BYTES + self.target_numbers.len() * TARGET_BYTES + self.labels.live_bytes()
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        let arcs: usize = self
            .arcs
            .values()
            .map(|arc| arc.slots.bytes() + arc.free.capacity() * 4)
            .sum();
        self.entries.bytes()
            + self.free_slots.capacity() * 4
            + self.table.capacity() * 8
            + arcs
            + self.targets.len() * TARGET_BYTES
            + self.labels.bytes()
            + self.postings.bytes()
    }
}

/// The low bits of a fingerprint are a hash already.
#[allow(clippy::cast_possible_truncation, reason = "64 of the 96 hashed bits")]
const fn hash(fingerprint: Fingerprint) -> u64 {
    fingerprint.0 as u64
}
