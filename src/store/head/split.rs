//! Dividing arcs: what a layer holds goes to a layer for each part of its arc, series by series,
//! as it stands encoded. Nothing is decoded, so replicas that compare encoded series find them
//! equal before and after.
//!
//! All shards are locked meanwhile: a view, cut or append sees the arc or its parts, never both.
//! Whoever holds a layer of the arc from before reads on in it; series keep their places in it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::arcs::ArcTable;
use super::core::Core;
use super::late::Run;
use super::layer::{Layer, LayerData};
use super::roster::Roster;
use super::shard::State;
use crate::model::{RingArc, Window, fingerprint_of_family};
use crate::store::log::{Log, Mark};

/// What is held of which arcs after a split, over all shards.
#[derive(Default)]
struct Divided {
    /// Arcs that are no more, in which windows.
    before: BTreeSet<(Window, RingArc)>,
    /// Their parts of which something is held.
    held: BTreeSet<(Window, RingArc)>,
}

impl Core {
    /// Divides arcs so that each wanted one is one of the head's; whether there was anything to do.
    pub(super) fn refine(&self, wanted: &BTreeSet<RingArc>, log: &Log) -> bool {
        let mut states: Vec<_> = self.shards.iter().map(|shard| shard.state.lock()).collect();
        let Some(table) = self.arcs().refined(wanted) else {
            return false;
        };
        let position = log.position();
        let mut divided = Divided::default();
        for (shard, state) in self.shards.iter().zip(&mut states) {
            let roster = shard.roster.read();
            state.divide(&table, |layer| {
                divided.before.insert((layer.window, layer.arc));
                let parts = divide(layer, &table, &roster);
                let arcs = parts.iter().map(|part| (part.window, part.arc));
                divided.held.extend(arcs);
                parts
            });
        }
        self.set_arcs(table.clone());
        drop(states);
        // A part of which nothing is held is never cut, and so never marked: what the log has of it
        // was given up with earlier layers. Marks in the store say so of the whole arc, or do not
        // matter.
        for (window, arc) in &divided.before {
            for part in table.all().filter(|part| arc.covers(*part)) {
                if !divided.held.contains(&(*window, part)) {
                    log.mark(Mark {
                        arc: part,
                        window: *window,
                        position,
                    });
                }
            }
        }
        true
    }
}

impl State {
    /// Puts other layers in the place of those whose arc a table does not have.
    fn divide(&mut self, table: &ArcTable, mut divide: impl FnMut(&Layer) -> Vec<Layer>) {
        for state in self.windows.values_mut() {
            for (arc, layer) in std::mem::take(&mut state.open) {
                if table.has(arc) {
                    state.open.insert(arc, layer);
                } else {
                    let parts = divide(&layer).into_iter();
                    let parts = parts.map(|part| (part.arc, Arc::new(part)));
                    state.open.extend(parts);
                }
            }
            for layer in std::mem::take(&mut state.frozen) {
                if table.has(layer.arc) {
                    state.frozen.push(layer);
                } else {
                    state
                        .frozen
                        .extend(divide(&layer).into_iter().map(Arc::new));
                }
            }
        }
        self.windows
            .retain(|_, state| !state.open.is_empty() || !state.frozen.is_empty());
        self.relist();
    }
}

/// The parts of a layer that have something.
fn divide(layer: &Layer, table: &ArcTable, roster: &Roster) -> Vec<Layer> {
    let data = layer.lock();
    let mut parts: BTreeMap<RingArc, Part> = BTreeMap::new();
    // Where each series goes.
    let mut of_local: BTreeMap<u32, RingArc> = BTreeMap::new();
    for local in data.present.iter() {
        let slot = roster.slot_of(layer.arc, local);
        let Some(entry) = slot.and_then(|slot| roster.entry(slot)) else {
            continue;
        };
        let arc = table.of(entry.fingerprint);
        of_local.insert(local, arc);
        parts.entry(arc).or_default().take_series(&data, local);
    }
    for late in &data.late {
        if let Some(part) = of_local.get(&late.local).and_then(|arc| parts.get_mut(arc)) {
            part.weight += 1;
            part.data.push_late(late.clone());
        }
    }
    for run in &data.runs {
        let mut runs: BTreeMap<RingArc, Run> = BTreeMap::new();
        for one in run.series() {
            if let Some(arc) = of_local.get(&one.local) {
                let samples = run.read(one.local);
                if let Some(part) = parts.get_mut(arc) {
                    part.weight += samples.len() as u64;
                }
                let run = runs.entry(*arc).or_default();
                run.push(layer.window, one.local, &samples);
            }
        }
        for (arc, mut run) in runs {
            run.shrink();
            if let Some(part) = parts.get_mut(&arc) {
                part.data.runs.push(Arc::new(run));
            }
        }
    }
    for (tenant, families) in data.metadata() {
        for (family, list) in families {
            let arc = table.of(fingerprint_of_family(tenant, family));
            let part = parts.entry(arc).or_default();
            for metadata in list.iter().rev() {
                part.data.add_metadata((tenant, family), metadata);
            }
        }
    }
    finish(layer, &data, parts)
}

/// What becomes a layer.
#[derive(Default)]
struct Part {
    data: LayerData,
    /// Samples, about.
    weight: u64,
}

impl Part {
    /// Takes the chunk of a series, and that it is here.
    fn take_series(&mut self, from: &LayerData, local: u32) {
        self.data.present.insert(local);
        if from.defined.contains(local) {
            self.data.defined.insert(local);
        }
        if let Some(chunk) = from.chunk(local) {
            self.weight += u64::from(chunk.next_row() - chunk.first_row());
            let copy = chunk.copied(&from.slabs, &mut self.data.slabs);
            self.data.put_chunk(local, copy);
        }
    }
}

/// The layers, with the numbers of the whole shared out among them.
fn finish(layer: &Layer, whole: &LayerData, parts: BTreeMap<RingArc, Part>) -> Vec<Layer> {
    let (mut samples, mut repeats, mut conflicts) = (whole.samples, whole.repeats, whole.conflicts);
    let mut weight: u64 = parts.values().map(|part| part.weight).sum();
    let mut layers = Vec::with_capacity(parts.len());
    for (arc, part) in parts {
        let share = |left: &mut u64| {
            let mine = u128::from(*left) * u128::from(part.weight) / u128::from(weight.max(1));
            let mine = u64::try_from(mine).unwrap_or(*left).min(*left);
            *left -= mine;
            mine
        };
        let mut data = part.data;
        // Whoever has samples counts at least one.
        data.samples = share(&mut samples).max(u64::from(part.weight > 0));
        data.repeats = share(&mut repeats);
        data.conflicts = share(&mut conflicts);
        data.appended = whole.appended;
        weight -= part.weight;
        layers.push(Layer::with(
            arc,
            layer.window,
            Arc::clone(&layer.rows),
            data,
        ));
    }
    layers
}
