//! The invariants of the protocol's section 12.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::board::Up;
use super::workload::{Content, context, drain, everything, held, partition_of, wins};
use super::world::World;
use crate::cluster::control::MemberId;
use crate::cluster::manifests::{Listed, Manifests};
use crate::cluster::quorum::Quorum;
use crate::model::RingArc;
use crate::store::Engine;

/// What a node's store holds, apart by where.
struct Holding {
    all: Content,
    head: Content,
}

fn holding(up: &Up) -> Holding {
    let store = up.member.store();
    let state = up.member.control().state();
    let arcs: Vec<RingArc> = state.partitions.keys().copied().collect();
    let pinned = store.pin(&arcs);
    let head = pinned.select_heads(None, &everything(), &context());
    let head = drain(head.unwrap()).unwrap();
    Holding {
        all: held(up),
        head,
    }
}

/// What a node is in a quorum.
fn member_of(up: &Up) -> MemberId {
    MemberId {
        incarnation: up.incarnation,
        life: up.life,
    }
}

impl World {
    /// Everything that must hold at any moment.
    pub(super) fn check(&mut self) {
        self.check_states();
        self.check_blocks();
        self.check_samples();
    }

    /// Equal control logs make equal states.
    fn check_states(&mut self) {
        for (at, up) in self.ups() {
            let state = up.member.control().state();
            let bytes = state.encode();
            let known = self.history.states.entry(state.applied);
            let known = known.or_insert_with(|| bytes.clone());
            if *known != bytes {
                self.fail(&format!(
                    "node {} has another control state at {} than was seen before",
                    at + 1,
                    state.applied
                ));
            }
        }
    }

    /// Equal versions are equal sets of blocks, and every catalogued block can be had.
    fn check_blocks(&mut self) {
        let Some(newest) = self.newest_state() else {
            return;
        };
        for (at, up) in self.ups() {
            for arc in newest.partitions.keys() {
                let (version, blocks) = up.member.store().blocks_of(*arc);
                let known = self.history.blocks.entry((*arc, version));
                let known = known.or_insert_with(|| blocks.clone());
                // Who has forgotten the partition has nothing at no version.
                if *known != blocks {
                    let known = known.clone();
                    self.fail(&format!(
                        "node {} has blocks {blocks:?} of {arc} at version {version}, and {known:?} were seen there",
                        at + 1
                    ));
                }
            }
        }
        for (arc, partition) in &newest.partitions {
            let manifest = partition.history.map(|history| {
                let boards = self.boards.iter();
                let mut kept = boards.filter_map(|board| {
                    let engine = Arc::clone(&board.engine) as Arc<dyn Engine>;
                    Manifests::new(engine).get(history.digest).unwrap()
                });
                kept.next()
            });
            if manifest.as_ref().is_some_and(Option::is_none) {
                self.fail(&format!("the manifest of {arc} is nowhere"));
            }
            let listed = Listed::of(partition, manifest.flatten());
            for id in listed.blocks().keys() {
                if !self.boards.iter().any(|board| board.has_file(*id)) {
                    self.fail(&format!(
                        "block {id} of {arc} is in the catalog and nowhere else"
                    ));
                }
            }
        }
    }

    /// Nothing is there that nobody wrote, and what was acknowledged is in a block or with enough
    /// members.
    fn check_samples(&mut self) {
        let Some(newest) = self.newest_state() else {
            return;
        };
        let all: BTreeMap<_, _> = self
            .ups()
            .into_iter()
            .map(|(at, up)| (member_of(&up), (at, holding(&up))))
            .collect();
        let model = Arc::clone(&self.model);
        let model = model.lock();
        for (at, holding) in all.values() {
            if let Some(wrong) = model.judge(&holding.all, None) {
                self.fail(&format!("node {}: {wrong}", at + 1));
            }
        }
        let has = |content: &Content, key, value: &f64| {
            let found = content.get(&key);
            found.is_some_and(|found| !wins(*value, *found))
        };
        for (key, value) in &model.acknowledged {
            let Some((arc, partition)) = partition_of(&newest, key.0) else {
                continue;
            };
            // Who has lost a part of its memory is another than the member that it was.
            let members: BTreeSet<_> = partition.members.iter().copied().collect();
            let living = all.iter().filter(|(who, _)| members.contains(who));
            let lacking: Vec<usize> = living
                .filter(|(_, (_, holding))| !has(&holding.all, *key, value))
                .map(|(_, (at, _))| at + 1)
                .collect();
            let enough = Quorum::of(members.len()).meeting();
            let is_in_block = all.values().any(|(_, holding)| {
                has(&holding.all, *key, value) && !holding.head.contains_key(key)
            });
            if lacking.len() >= enough && !is_in_block {
                self.fail(&format!(
                    "{key:?} = {value} of {arc} was acknowledged, is in no block, and members {lacking:?} lack it"
                ));
            }
        }
    }
}
