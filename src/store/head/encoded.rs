//! Sums over the selected series as they stand encoded: what replicas compare before any of them
//! decodes a sample.
//!
//! Replicas are sent the same samples in the same order nearly always, and then their chunks are
//! the same bits. Equal sums prove equal contents. Different ones say nothing, because the same
//! samples may stand encoded in other ways (a late sample here is none there): then the samples
//! themselves are compared. A series that is not in one chunk alone is decoded here.
//!
//! What is summed up is a series' whole window, whatever part of it a selection's range is.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::core::Core;
use super::layer::{Layer, LayerData};
use super::rows::RowTable;
use super::view::HeadView;
use crate::model::{Fingerprint, RingArc, Samples, TimeRange, Window};
use crate::source::Selection;
use crate::store::digest::{ContentHasher, ContentSum};
use crate::store::tree::TREE_SUB_ARCS;

/// Series hashed under one lock of their layer: some ten microseconds.
const TOGETHER: usize = 64;

/// The sums of a window's sub-arcs.
type SubArcSums = [ContentSum; TREE_SUB_ARCS];

/// Sums by partition and window, of its sub-arcs.
pub type EncodedSums = BTreeMap<RingArc, BTreeMap<Window, [ContentSum; TREE_SUB_ARCS]>>;

/// A series to be summed up.
struct Place {
    arc: RingArc,
    target: u32,
    local: u32,
    fingerprint: Fingerprint,
}

impl HeadView {
    /// The sums of the series that match, of every window that overlaps the selection's range and
    /// holds something of them. What is read through this view afterwards has all that was summed
    /// up, or what wins over it. `go_on` is asked now and then.
    pub(in crate::store) fn encoded_sums<E>(
        &self,
        selection: &Selection,
        mut go_on: impl FnMut() -> Result<(), E>,
    ) -> Result<EncodedSums, E> {
        let mut all = EncodedSums::new();
        for number in 0..self.core().shards.len() {
            let places = self.places(number, selection);
            for of_arc in places.chunk_by(|a, b| a.arc == b.arc) {
                self.sum_arc(number, of_arc, selection.range, &mut all, &mut go_on)?;
            }
        }
        all.retain(|_, windows| {
            windows.retain(|_, sums| sums.iter().any(|sum| sum.0 != 0));
            !windows.is_empty()
        });
        Ok(all)
    }

    /// Sums up series of one shard and arc.
    fn sum_arc<E>(
        &self,
        number: usize,
        places: &[Place],
        range: TimeRange,
        all: &mut EncodedSums,
        go_on: &mut impl FnMut() -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(arc) = places.first().map(|place| place.arc) else {
            return Ok(());
        };
        let layers = self.layers_in(number, arc);
        for own in layers.chunk_by(|a, b| a.window == b.window) {
            let window = own.first().map(|layer| layer.window);
            let Some(window) = window.filter(|window| window.range().overlaps(range)) else {
                continue;
            };
            let sums = all.entry(arc).or_default().entry(window).or_default();
            for some in places.chunks(TOGETHER) {
                go_on()?;
                Summing::new(self.core(), own, sums).add(some);
            }
        }
        Ok(())
    }

    /// Where the selected series of a shard are, target by target within an arc.
    fn places(&self, number: usize, selection: &Selection) -> Vec<Place> {
        let Some(shard) = self.core().shards.get(number) else {
            return Vec::new();
        };
        let roster = shard.roster.read();
        let slots = roster.select(&selection.tenant, &selection.matchers);
        let mut places = Vec::new();
        for entry in slots.iter().filter_map(|slot| roster.entry(slot)) {
            let arc = self.arcs().of(entry.fingerprint);
            if self.sees_arc(arc) {
                places.push(Place {
                    arc,
                    target: entry.target,
                    local: entry.local,
                    fingerprint: entry.fingerprint,
                });
            }
        }
        drop(roster);
        places.sort_unstable_by_key(|place| (place.arc, place.target, place.local));
        places
    }
}

/// Sums up series in the layers of one shard, arc and window.
struct Summing<'a> {
    hasher: &'a ContentHasher,
    layers: &'a [Arc<Layer>],
    sums: &'a mut SubArcSums,
    bytes: Vec<u8>,
    /// The hash of the times of some rows of a target: neighbours have the same.
    times: Option<((u32, u16, u16), u128)>,
}

impl<'a> Summing<'a> {
    fn new(core: &'a Core, layers: &'a [Arc<Layer>], sums: &'a mut SubArcSums) -> Self {
        Self {
            hasher: &core.hasher,
            layers,
            sums,
            bytes: Vec::new(),
            times: None,
        }
    }

    fn add(&mut self, places: &[Place]) {
        // A frozen layer takes nothing more, so who is in one layer now has been in that one alone.
        let mut holders = vec![0u32; places.len()];
        for layer in self.layers {
            let data = layer.lock();
            for (count, place) in holders.iter_mut().zip(places) {
                *count += u32::from(data.present.contains(place.local));
            }
        }
        let layers = self.layers;
        let mut decoded: Vec<&Place> = Vec::new();
        for layer in layers {
            // First the rows, then the layer: the order of all locks.
            let rows = layer.rows.lock();
            let mut data = layer.lock();
            data.sort_late();
            let here = |place: &Place| data.present.contains(place.local);
            let alone = holders.iter().zip(places);
            let alone = alone.filter(|(count, place)| **count == 1 && here(place));
            for (_, place) in alone {
                if data.is_chunk_alone(place.local) {
                    self.add_chunk(&data, &rows, place);
                } else {
                    decoded.push(place);
                }
            }
        }
        decoded.extend(
            holders
                .iter()
                .zip(places)
                .filter(|(count, _)| **count > 1)
                .map(|(_, place)| place),
        );
        for place in decoded {
            self.add_decoded(place);
        }
    }

    fn add_chunk(&mut self, data: &LayerData, rows: &RowTable, place: &Place) {
        let Some(chunk) = data.chunk(place.local) else {
            return;
        };
        let last = chunk.next_row().saturating_sub(1);
        let key = (place.target, chunk.first_row(), last);
        let times = match self.times {
            Some((of, hash)) if of == key => hash,
            _ => {
                self.bytes.clear();
                for offset in rows.of(place.target, chunk.first_row(), last) {
                    self.bytes.extend_from_slice(&offset.to_le_bytes());
                }
                let hash = self.hasher.times(&self.bytes);
                self.times = Some((key, hash));
                hash
            }
        };
        self.bytes.clear();
        chunk.put_content(&data.slabs, &mut self.bytes);
        let hash = self.hasher.encoded(place.fingerprint, times, &self.bytes);
        self.count(place, hash);
    }

    fn add_decoded(&mut self, place: &Place) {
        let mut samples = Samples::default();
        for layer in self.layers {
            layer.read(place.local, place.target, TimeRange::ALL, &mut samples);
        }
        let sum = self.hasher.samples(place.fingerprint, &samples);
        let hash = self.hasher.shown(place.fingerprint, sum);
        self.count(place, hash);
    }

    fn count(&mut self, place: &Place, hash: u128) {
        let sub_arc = usize::from(place.arc.sub_arc(place.fingerprint));
        if let Some(sum) = self.sums.get_mut(sub_arc) {
            sum.add(hash);
        }
    }
}
