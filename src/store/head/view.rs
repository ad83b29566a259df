//! Reading the head: a view pins the layers that there are, so that what it saw stays readable
//! while cuts are given up. Appends to open layers go on and may show in a view.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use roaring::RoaringBitmap;
use xxhash_rust::xxh3::Xxh3;

use super::arcs::ArcTable;
use super::core::{Core, Pin};
use super::extent::{Extent, ShardLayers};
use super::layer::{Layer, add_unknown};
use super::settings::HeadSettings;
use super::types::HeadSeries;
use super::types::SeriesId;
use crate::model::{
    Exemplar, Fingerprint, LabelSet, Metadata, RingArc, Samples, TenantId, TimeRange, Window,
};
use crate::source::{Moments, Selection};
use crate::store::tree::DigestTree;

/// A pinned view of the head.
#[derive(Debug)]
pub struct HeadView {
    core: Arc<Core>,
    pin: Arc<Pin>,
    /// The arcs of the layers.
    arcs: Arc<ArcTable>,
    /// Per shard all layers by arc, then window, then age.
    layers: Vec<Arc<[Arc<Layer>]>>,
    /// The arcs whose series are seen; `None`: all.
    only: Option<BTreeSet<RingArc>>,
    removals: u64,
}

impl HeadView {
    pub(super) fn new(core: &Arc<Core>, only: Option<&[RingArc]>) -> Self {
        // First the pin, then the layers: what is in these layers cannot be forgotten meanwhile.
        let pin = Arc::new(Pin::new(core));
        let arcs = core.arcs_now();
        let layers = core
            .shards
            .iter()
            .map(|shard| shard.state.lock().listed())
            .collect();
        // After the layers: whatever is missing from them has been counted.
        let removals = core.removals.load(Ordering::Acquire);
        let only: Option<BTreeSet<RingArc>> = only.map(|arcs| arcs.iter().copied().collect());
        let all = |seen: &BTreeSet<RingArc>| seen.iter().copied().eq(arcs.all());
        let only = only.filter(|seen| !all(seen));
        Self {
            core: Arc::clone(core),
            pin,
            arcs,
            layers,
            only,
            removals,
        }
    }

    /// A view of a head that holds nothing and never will.
    #[must_use]
    pub(in crate::store) fn empty() -> Self {
        Self::new(&Arc::new(Core::new(HeadSettings::default())), None)
    }

    /// The digests of what is held of an arc, window by window; those of empty windows are left
    /// out.
    #[must_use]
    pub fn trees(&self, arc: RingArc, range: TimeRange) -> Vec<(Window, DigestTree)> {
        let extents = self.extents(arc, range).into_iter();
        extents
            .map(|extent| (extent.window(), extent.tree()))
            .filter(|(_, tree)| !tree.is_empty())
            .collect()
    }

    /// How often the head had given something up when this view was taken.
    #[must_use]
    pub(in crate::store) const fn removals(&self) -> u64 {
        self.removals
    }

    /// The windows overlapping a range in which something is held, whoever's it is.
    #[must_use]
    pub(in crate::store) fn windows_held(&self, range: TimeRange) -> BTreeSet<Window> {
        let mut held = BTreeSet::new();
        for layer in self.layers.iter().flat_map(|layers| layers.iter()) {
            let is_new = layer.window.range().overlaps(range) && !held.contains(&layer.window);
            if is_new && self.sees_arc(layer.arc) && !layer.lock().present.is_empty() {
                held.insert(layer.window);
            }
        }
        held
    }

    /// The same view of fewer arcs.
    #[must_use]
    pub(in crate::store) fn only(&self, arcs: &[RingArc]) -> Self {
        let seen = arcs.iter().copied().filter(|arc| self.sees_arc(*arc));
        Self {
            core: Arc::clone(&self.core),
            pin: Arc::clone(&self.pin),
            arcs: Arc::clone(&self.arcs),
            layers: self.layers.clone(),
            only: Some(seen.collect()),
            removals: self.removals,
        }
    }

    /// The arc of a series.
    #[must_use]
    pub(in crate::store) fn arc_of(&self, series: &HeadSeries) -> RingArc {
        self.arcs.of(series.fingerprint)
    }

    fn sees(&self, fingerprint: Fingerprint) -> bool {
        self.sees_arc(self.arcs.of(fingerprint))
    }

    pub(super) fn arcs(&self) -> &ArcTable {
        &self.arcs
    }

    pub(super) const fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// The layers of a shard and arc, window by window, the oldest of each first.
    pub(super) fn layers_in(&self, number: usize, arc: RingArc) -> &[Arc<Layer>] {
        let layers = self.layers.get(number);
        layers.map_or(&[], |layers| of_arc(layers, arc))
    }

    pub(super) fn sees_arc(&self, arc: RingArc) -> bool {
        self.only.as_ref().is_none_or(|only| only.contains(&arc))
    }

    /// What is held of an arc in the windows that overlap a range, window by window.
    #[must_use]
    pub(in crate::store) fn extents(&self, arc: RingArc, range: TimeRange) -> Vec<Extent> {
        let mut windows: BTreeMap<Window, ShardLayers> = BTreeMap::new();
        for (number, layers) in self.layers.iter().enumerate() {
            let wanted = |layer: &&Arc<Layer>| layer.window.range().overlaps(range);
            for layer in of_arc(layers, arc).iter().filter(wanted) {
                let shards = windows.entry(layer.window).or_default();
                match shards.last_mut() {
                    Some((last, own)) if *last == number => own.push(Arc::clone(layer)),
                    _ => shards.push((number, vec![Arc::clone(layer)])),
                }
            }
        }
        let extent = |(window, layers)| Extent::new(Arc::clone(&self.pin), arc, window, layers);
        windows.into_iter().map(extent).collect()
    }

    /// The registered series that match, in no particular order. Some may have no samples in the
    /// range: reading tells.
    #[must_use]
    pub fn select(&self, selection: &Selection) -> Vec<HeadSeries> {
        let mut found = Vec::new();
        for number in 0..self.core.shards.len() {
            self.each_selected(number, selection, |series| found.push(series));
        }
        found
    }

    /// A hash of what [`Self::select`] depends on beside the selection, and whether series came or went since this was asked
    /// last, of this view or another.
    pub(in crate::store) fn registered(&self) -> (u128, bool) {
        let mut hash = Xxh3::new();
        let rosters = self
            .core
            .shards
            .iter()
            .map(|shard| shard.roster.read().changes());
        rosters.for_each(|changes| hash.update(&changes.to_le_bytes()));
        let changes = hash.digest();
        let same = self.core.looked_at.swap(changes, Ordering::Relaxed) == changes;
        if let Some(only) = &self.only {
            hash.update(&only.len().to_le_bytes());
            for arc in only.iter().copied().chain(self.arcs.all()) {
                hash.update(&arc.prefix().to_le_bytes());
                hash.update(&[arc.depth()]);
            }
        }
        (hash.digest128(), same)
    }

    fn each_selected(
        &self,
        number: usize,
        selection: &Selection,
        mut each: impl FnMut(HeadSeries),
    ) {
        let Some(shard) = self.core.shards.get(number) else {
            return;
        };
        let roster = shard.roster.read();
        let slots = roster.select(&selection.tenant, &selection.matchers);
        for slot in &slots {
            let (Some(entry), Some((tenant, labels))) = (roster.entry(slot), roster.series(slot))
            else {
                continue;
            };
            if !self.sees(entry.fingerprint) {
                continue;
            }
            each(HeadSeries {
                id: SeriesId::new(u8::try_from(number).unwrap_or(0), slot, entry.generation),
                tenant,
                labels,
                fingerprint: entry.fingerprint,
                local: entry.local,
                target: entry.target,
            });
        }
    }

    /// Adds the samples of a series in `range` to `samples`, duplicates settled.
    pub fn read(&self, series: &HeadSeries, range: TimeRange, samples: &mut Samples) {
        for layer in self.layers_of(series) {
            if layer.window.range().overlaps(range) {
                layer.read(series.local, series.target, range, samples);
            }
        }
    }

    /// The same for who looks only at the newest sample at or before each of some moments. Says
    /// whether others may have been left out.
    pub(in crate::store) fn read_newest(
        &self,
        series: &HeadSeries,
        range: TimeRange,
        moments: Moments,
        samples: &mut Samples,
    ) -> bool {
        let mut left_out = false;
        for layer in self.layers_of(series) {
            if !layer.window.range().overlaps(range) {
                continue;
            }
            if layer.read_newest(series, range, moments, samples) {
                left_out = true;
            } else {
                layer.read(series.local, series.target, range, samples);
            }
        }
        left_out
    }

    /// Whether the head may hold something of a series in `range`: true for every window in the
    /// range that it has a sample in.
    #[must_use]
    pub fn may_have(&self, series: &HeadSeries, range: TimeRange) -> bool {
        self.layers_of(series).iter().any(|layer| {
            layer.window.range().overlaps(range) && layer.lock().present.contains(series.local)
        })
    }

    fn layers_of(&self, series: &HeadSeries) -> &[Arc<Layer>] {
        let arc = self.arcs.of(series.fingerprint);
        self.layers_in(series.id.shard(), arc)
    }

    /// Calls `each` with every label pair of a tenant and how many series have it, once per shard;
    /// returns how many series there are.
    pub fn each_pair(
        &self,
        tenant: &TenantId,
        mut each: impl FnMut(&Arc<str>, &Arc<str>, u64),
    ) -> u64 {
        let mut series = 0;
        for shard in &self.core.shards {
            let roster = shard.roster.read();
            let everything = Selection {
                tenant: tenant.clone(),
                matchers: Vec::new(),
                range: TimeRange::ALL,
            };
            let seen = self.slots(&roster, &everything);
            series += roster.each_pair(tenant, seen.as_ref(), &mut each);
        }
        series
    }

    /// The label names of the series that match, sorted.
    #[must_use]
    pub fn label_names(&self, selection: &Selection) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for shard in &self.core.shards {
            let roster = shard.roster.read();
            let slots = self.slots(&roster, selection);
            let found = roster.label_names(&selection.tenant, slots.as_ref());
            names.extend(found.iter().map(|name| name.to_string()));
        }
        names
    }

    /// The values of one label over the series that match, sorted.
    #[must_use]
    pub fn label_values(&self, name: &str, selection: &Selection) -> BTreeSet<String> {
        let mut values = BTreeSet::new();
        for shard in &self.core.shards {
            let roster = shard.roster.read();
            let slots = self.slots(&roster, selection);
            let found = roster.label_values(&selection.tenant, name, slots.as_ref());
            values.extend(found.iter().map(|value| value.to_string()));
        }
        values
    }

    /// The selected slots; `None` when everything of the tenant is.
    fn slots(
        &self,
        roster: &super::roster::Roster,
        selection: &Selection,
    ) -> Option<RoaringBitmap> {
        if selection.matchers.is_empty() && self.only.is_none() {
            return None;
        }
        let mut slots = roster.select(&selection.tenant, &selection.matchers);
        if self.only.is_some() {
            let seen = |slot: &u32| {
                let entry = roster.entry(*slot);
                entry.is_some_and(|entry| self.sees(entry.fingerprint))
            };
            slots = slots.iter().filter(seen).collect();
        }
        Some(slots)
    }

    /// Metadata of one family, or of all, each family's newest first.
    #[must_use]
    pub fn metadata(
        &self,
        tenant: &TenantId,
        family: Option<&str>,
    ) -> BTreeMap<String, Vec<Metadata>> {
        let mut layers: Vec<&Arc<Layer>> = self.layers.iter().flat_map(|all| all.iter()).collect();
        layers.retain(|layer| self.sees_arc(layer.arc));
        layers.sort_by_key(|layer| std::cmp::Reverse(layer.window));
        let mut all: BTreeMap<String, Vec<Metadata>> = BTreeMap::new();
        for layer in layers {
            let data = layer.lock();
            let Some(families) = data.metadata().get(tenant) else {
                continue;
            };
            for (name, list) in families {
                if family.is_some_and(|wanted| wanted != name) {
                    continue;
                }
                add_unknown(all.entry(name.clone()).or_default(), list);
            }
        }
        all
    }

    /// Exemplars in the selection's range of the series that match, oldest first.
    #[must_use]
    pub fn exemplars(&self, selection: &Selection) -> Vec<(LabelSet, Vec<Exemplar>)> {
        let mut found = Vec::new();
        for (number, shard) in self.core.shards.iter().enumerate() {
            if shard.state.lock().exemplars.is_empty() {
                continue;
            }
            let mut selected = Vec::new();
            self.each_selected(number, selection, |series| selected.push(series));
            let state = shard.state.lock();
            for series in selected {
                let mut own: Vec<Exemplar> = state
                    .exemplars
                    .of(series.id)
                    .filter(|one| selection.range.contains(one.timestamp))
                    .cloned()
                    .collect();
                if !own.is_empty() {
                    own.sort_by_key(|one| one.timestamp);
                    found.push((series.labels, own));
                }
            }
        }
        found
    }
}

/// The layers of an arc, in a list that is sorted by it.
fn of_arc(layers: &[Arc<Layer>], arc: RingArc) -> &[Arc<Layer>] {
    let from = layers.partition_point(|layer| layer.arc < arc);
    let to = layers.partition_point(|layer| layer.arc <= arc);
    layers.get(from..to).unwrap_or_default()
}
