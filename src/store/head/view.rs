//! Reading the head: a view pins the layers that there are, so that what it saw stays readable
//! while cuts are given up. Appends to open layers go on and may show in a view.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::core::Core;
use super::layer::{Layer, add_unknown};
use super::types::SeriesId;
use crate::model::{
    Exemplar, Fingerprint, LabelSet, Metadata, RingArc, Samples, TenantId, TimeRange,
};
use crate::source::Selection;

/// A pinned view of the head.
#[derive(Debug)]
pub struct HeadView {
    core: Arc<Core>,
    epoch: u64,
    /// Per shard all layers by arc, then window, then age.
    layers: Vec<Arc<[Arc<Layer>]>>,
}

/// A series that a view found.
#[derive(Clone, Debug)]
pub struct HeadSeries {
    /// Its id.
    pub id: SeriesId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Its labels.
    pub labels: LabelSet,
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
    pub(super) local: u32,
    pub(super) target: u32,
}

impl HeadView {
    pub(super) fn new(core: Arc<Core>) -> Self {
        // First the pin, then the layers: what is in these layers cannot be forgotten meanwhile.
        let epoch = core.pin();
        let layers = core
            .shards
            .iter()
            .map(|shard| shard.state.lock().listed())
            .collect();
        Self {
            core,
            epoch,
            layers,
        }
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

    /// Whether the head may hold something of a series in `range`: true for every window in the
    /// range that it has a sample in.
    #[must_use]
    pub fn may_have(&self, series: &HeadSeries, range: TimeRange) -> bool {
        self.layers_of(series).iter().any(|layer| {
            layer.window.range().overlaps(range) && layer.lock().present.contains(series.local)
        })
    }

    fn layers_of(&self, series: &HeadSeries) -> &[Arc<Layer>] {
        let arc = RingArc::of(series.fingerprint, self.core.settings.depth);
        let Some(layers) = self.layers.get(series.id.shard()) else {
            return &[];
        };
        let from = layers.partition_point(|layer| layer.arc < arc);
        let to = layers.partition_point(|layer| layer.arc <= arc);
        layers.get(from..to).unwrap_or_default()
    }

    /// Calls `each` with every label pair of a tenant and how many series have it, once per shard;
    /// returns how many series there are.
    pub fn each_pair(
        &self,
        tenant: &TenantId,
        mut each: impl FnMut(&Arc<str>, &Arc<str>, u64),
    ) -> u64 {
        let shards = self.core.shards.iter();
        shards
            .map(|shard| shard.roster.read().each_pair(tenant, &mut each))
            .sum()
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
        (!selection.matchers.is_empty())
            .then(|| roster.select(&selection.tenant, &selection.matchers))
    }

    /// Metadata of one family, or of all, each family's newest first.
    #[must_use]
    pub fn metadata(
        &self,
        tenant: &TenantId,
        family: Option<&str>,
    ) -> BTreeMap<String, Vec<Metadata>> {
        let mut layers: Vec<&Arc<Layer>> = self.layers.iter().flat_map(|all| all.iter()).collect();
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

impl Drop for HeadView {
    fn drop(&mut self) {
        self.core.unpin(self.epoch);
    }
}
