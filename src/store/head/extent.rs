//! An extent: the layers that the head has of one arc and window, pinned; what digests are made of
//! and what pulls read.
//!
//! Its open layers may grow while it is read. A tree that is taken first and content that is read
//! afterwards fit together: the content has everything that the tree counts, or what wins over it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::core::Pin;
use super::digests;
use super::kept::Names;
use super::layer::{Layer, add_unknown};
use super::pieces::Bits;
use super::roster::Roster;
use super::types::HeadSeries;
use super::types::SeriesId;
use crate::model::{Metadata, RingArc, Samples, TenantId, TimeRange, Window};
use crate::store::tree::{DigestTree, Leaves, TREE_SLOTS, slot_in_window, slot_range};

/// Layers by shard, the oldest of each first.
pub(super) type ShardLayers = Vec<(usize, Vec<Arc<Layer>>)>;

/// What the head holds of an arc and window.
#[derive(Clone, Debug)]
pub(in crate::store) struct Extent {
    /// Keeps the series that the layers name.
    pin: Arc<Pin>,
    arc: RingArc,
    window: Window,
    /// The layers of each shard, the oldest first.
    layers: ShardLayers,
}

impl Extent {
    pub(super) fn new(
        pin: Arc<Pin>,
        arc: RingArc,
        window: Window,
        mut layers: ShardLayers,
    ) -> Self {
        layers.retain(|(_, own)| !own.is_empty());
        Self {
            pin,
            arc,
            window,
            layers,
        }
    }

    pub(super) const fn arc(&self) -> RingArc {
        self.arc
    }

    pub(in crate::store) const fn window(&self) -> Window {
        self.window
    }

    pub(super) fn layers(&self) -> &[(usize, Vec<Arc<Layer>>)] {
        &self.layers
    }

    /// Settles the late buffers of layers that take no appends any more.
    pub(super) fn settle(&self) {
        for (number, own) in &self.layers {
            if let Some(shard) = self.pin.core().shards.get(*number) {
                let roster = shard.roster.read();
                let names = Names {
                    roster: &roster,
                    hasher: &self.pin.core().hasher,
                };
                own.iter().for_each(|layer| layer.settle(names));
            }
        }
    }

    /// The series that have something in it, target by target.
    pub(super) fn series(&self) -> Vec<HeadSeries> {
        let mut series = Vec::new();
        for (number, own) in &self.layers {
            if let Some(shard) = self.pin.core().shards.get(*number) {
                collect_series(*number, self.arc, own, &shard.roster.read(), &mut series);
            }
        }
        series
    }

    /// Adds a series' samples in a range to `samples`, duplicates settled.
    pub(super) fn read(&self, series: &HeadSeries, range: TimeRange, samples: &mut Samples) {
        let of_shard = |(number, _): &&(usize, _)| *number == series.id.shard();
        let own = self.layers.iter().filter(of_shard);
        for layer in own.flat_map(|(_, layers)| layers) {
            layer.read(series.local, series.target, range, samples);
        }
    }

    /// Metadata that came with the window, each family's newest first.
    pub(in crate::store) fn metadata(&self) -> BTreeMap<(TenantId, String), Vec<Metadata>> {
        let mut all: BTreeMap<(TenantId, String), Vec<Metadata>> = BTreeMap::new();
        for layer in self.layers.iter().flat_map(|(_, own)| own.iter().rev()) {
            for (tenant, families) in layer.lock().metadata() {
                for (family, list) in families {
                    let known = all.entry((tenant.clone(), family.clone())).or_default();
                    add_unknown(known, list);
                }
            }
        }
        all
    }

    /// The digests of what is in it now.
    pub(in crate::store) fn tree(&self) -> DigestTree {
        let mut tree = DigestTree::default();
        for (number, own) in &self.layers {
            tree.add_tree(&digests::tree_of(self.pin.core(), *number, own));
        }
        tree
    }

    /// The series that may have something in some leaves.
    pub(in crate::store) fn series_of(&self, leaves: &Leaves) -> Vec<HeadSeries> {
        let mut series = self.series();
        series.retain(|one| leaves.slots_of(self.arc.sub_arc(one.fingerprint)) != 0);
        series
    }

    /// Adds what a series has in some leaves.
    pub(in crate::store) fn read_leaves(
        &self,
        series: &HeadSeries,
        leaves: &Leaves,
        samples: &mut Samples,
    ) {
        let slots = leaves.slots_of(self.arc.sub_arc(series.fingerprint));
        if slots != 0 {
            self.read(series, range_of(self.window, slots), samples);
            clip(samples, self.window, slots);
        }
    }
}

/// The times from the first to the last of some slots.
fn range_of(window: Window, slots: u16) -> TimeRange {
    let first = i64::from(slots.trailing_zeros());
    let last = i64::from(u16::BITS - 1 - slots.leading_zeros().min(15));
    let last = last.min(TREE_SLOTS as i64 - 1);
    TimeRange::new(
        slot_range(window, first.min(last)).start,
        slot_range(window, last).end,
    )
}

/// Leaves only the samples of some slots.
fn clip(samples: &mut Samples, window: Window, slots: u16) {
    let holes = slots.checked_shr(slots.trailing_zeros()).unwrap_or(0);
    if holes & holes.wrapping_add(1) == 0 {
        // One run of slots: the range said it all.
        return;
    }
    let mut kept = Samples::default();
    for (at, value, start) in samples.iter() {
        let offset_ms = window.offset_of(at).unwrap_or(0);
        if slots >> slot_in_window(offset_ms) & 1 == 1 {
            kept.push(at, value, start);
        }
    }
    *samples = kept;
}

fn collect_series(
    number: usize,
    arc: RingArc,
    layers: &[Arc<Layer>],
    roster: &Roster,
    series: &mut Vec<HeadSeries>,
) {
    let mut present = Bits::default();
    for layer in layers {
        for local in layer.lock().present.iter() {
            present.insert(local);
        }
    }
    let first = series.len();
    for local in present.iter() {
        let Some(slot) = roster.slot_of(arc, local) else {
            continue;
        };
        let (Some(entry), Some((tenant, labels))) = (roster.entry(slot), roster.series(slot))
        else {
            continue;
        };
        series.push(HeadSeries {
            id: SeriesId::new(u8::try_from(number).unwrap_or(0), slot, entry.generation),
            tenant,
            labels,
            fingerprint: entry.fingerprint,
            local,
            target: entry.target,
        });
    }
    if let Some(fresh) = series.get_mut(first..) {
        fresh.sort_by_key(|one| one.target);
    }
}
