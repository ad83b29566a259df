//! Digest trees of layers: begun by reading a layer once, then kept (`kept.rs`).
//!
//! Layers of one shard, arc and window that hold the same series (a cut that was not given up, and
//! what came after it) are corrected where their times meet, so that a tree is that of what is
//! shown, however it is laid out.
//!
//! Locks, always in this order: a layer's `building`, the roster, the window's rows, the layers
//! from the oldest on.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::MutexGuard;

use super::core::Core;
use super::kept::{Counter, Names};
use super::layer::{Layer, LayerData, add_unknown};
use super::pieces::Bits;
use super::rows::RowTable;
use crate::model::{Metadata, Samples, TenantId, TimeRange};
use crate::store::tree::DigestTree;

/// The tree of what a shard's layers of one arc and window show now, the oldest layer first.
pub(super) fn tree_of(core: &Core, number: usize, layers: &[Arc<Layer>]) -> DigestTree {
    let mut tree = DigestTree::default();
    let (Some(shard), Some(first)) = (core.shards.get(number), layers.first()) else {
        return tree;
    };
    for layer in layers {
        keep(core, number, layer);
    }
    let roster = shard.roster.read();
    let names = Names {
        roster: &roster,
        hasher: &core.hasher,
    };
    // All layers of a window in a shard share their rows.
    let rows = first.rows.lock();
    let mut locked: Vec<MutexGuard<'_, LayerData>> = layers.iter().map(|one| one.lock()).collect();
    for (layer, data) in layers.iter().zip(&mut locked) {
        layer.add_tree(data, &rows, names, &mut tree);
    }
    if layers.len() > 1 {
        correct(layers, &mut locked, &rows, names, &mut tree);
    }
    add_metadata(&locked, names, &mut tree);
    tree
}

/// Lets a layer keep a tree from now on. It is read once, outside of its lock.
fn keep(core: &Core, number: usize, layer: &Layer) {
    let Some(shard) = core.shards.get(number) else {
        return;
    };
    let _building = layer.building.lock();
    let found = {
        let roster = shard.roster.read();
        let names = Names {
            roster: &roster,
            hasher: &core.hasher,
        };
        let mut data = layer.lock();
        if data.is_kept() {
            return;
        }
        layer.begin_keeping(&mut data, names)
    };
    let mut before = DigestTree::default();
    layer.count(&found, &core.hasher, &mut before);
    layer.lock().add_to_kept(&before);
}

/// Corrects a sum of layers' trees for the series that several of them have.
fn correct(
    layers: &[Arc<Layer>],
    locked: &mut [MutexGuard<'_, LayerData>],
    rows: &RowTable,
    names: Names<'_>,
    tree: &mut DigestTree,
) {
    let (mut once, mut again) = (Bits::default(), Bits::default());
    for data in locked.iter() {
        for local in data.present.iter() {
            if !once.insert(local) {
                again.insert(local);
            }
        }
    }
    for local in again.iter() {
        if are_apart(locked, local) {
            continue;
        }
        let Some(named) = layers.first().and_then(|layer| names.of(layer.arc, local)) else {
            continue;
        };
        let mut shown = Samples::default();
        for (layer, data) in layers.iter().zip(locked.iter_mut()) {
            let counter = Counter::new(names.hasher, layer.arc, layer.window, named.fingerprint);
            let own = layer.all_of(data, rows, local, named.target, TimeRange::ALL);
            counter.subtract_all(tree, &own);
            shown.merge(&own);
        }
        if let Some(layer) = layers.first() {
            let counter = Counter::new(names.hasher, layer.arc, layer.window, named.fingerprint);
            counter.add_all(tree, &shown);
        }
    }
}

/// Whether a series is in chunks alone, and its rows in one layer are all after those in the layer
/// before.
fn are_apart(locked: &[MutexGuard<'_, LayerData>], local: u32) -> bool {
    let mut next = 0;
    for data in locked {
        if !data.present.contains(local) {
            continue;
        }
        match data.rows_of(local) {
            Some((first, end)) if first >= next => next = end,
            _ => return false,
        }
    }
    true
}

/// Adds the metadata of all layers, each once.
fn add_metadata(locked: &[MutexGuard<'_, LayerData>], names: Names<'_>, tree: &mut DigestTree) {
    let mut with = locked.iter().filter(|data| !data.metadata().is_empty());
    let (Some(first), more) = (with.next(), with.next()) else {
        return;
    };
    let mut add = |tenant: &TenantId, family: &str, list: &[Metadata]| {
        for metadata in list {
            tree.add_metadata(names.hasher.metadata(tenant, family, metadata));
        }
    };
    if more.is_none() {
        for (tenant, families) in first.metadata() {
            families
                .iter()
                .for_each(|(family, list)| add(tenant, family, list));
        }
        return;
    }
    let mut all: BTreeMap<(&TenantId, &str), Vec<Metadata>> = BTreeMap::new();
    for data in locked.iter().rev() {
        for (tenant, families) in data.metadata() {
            for (family, list) in families {
                add_unknown(all.entry((tenant, family)).or_default(), list);
            }
        }
    }
    all.iter()
        .for_each(|((tenant, family), list)| add(tenant, family, list));
}
