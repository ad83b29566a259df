//! Links and nodes fail by chance; what was acknowledged stays.

use std::sync::Arc;
use std::time::Duration;

use super::super::RaftControl;
use super::rig::{Way, World, harmless, is_same, runtime, three};
use crate::cluster::control::Control;
use crate::cluster::control::command::{Command, Outcome, SealCommit};
use crate::model::{BlockEntry, BlockId, Epoch, FOUNDING_DEPTH, Incarnation};
use crate::model::{RingArc, Window};
use crate::runtime::{Chance, SeededChance};

fn seal(number: u64) -> Command {
    let range = Window(i64::try_from(number).unwrap()).range();
    Command::SealCommit(SealCommit {
        arc: RingArc::all(FOUNDING_DEPTH).next().unwrap(),
        epoch: Epoch(1),
        range,
        round: 1,
        entry: BlockEntry::of(number.into(), range),
    })
}

async fn propose_seal(control: Arc<RaftControl>, number: u64) -> (u64, bool) {
    let outcome = control.propose_soon(&seal(number)).await;
    let applied = outcome.is_ok_and(|outcome| outcome == Outcome::Applied);
    (number, applied)
}

impl World {
    /// Something fails or comes back, or nothing; gives a node at random.
    async fn disturb(&mut self, chance: &SeededChance) -> u128 {
        let (from, to) = (chance.below(3) + 1, chance.below(3) + 1);
        let (from, to) = (u128::from(from), u128::from(to));
        let away = (1..=3).find(|number| !self.nodes.contains_key(number));
        match (chance.below(6), away) {
            (0, _) => self.network.cut(Incarnation(from), Incarnation(to), true),
            (1 | 2, _) => self.network.cut(Incarnation(from), Incarnation(to), false),
            (3, None) => {
                self.kill(from).await;
                self.disks[&from].crash(0);
            }
            (4, Some(away)) => self.start(away).await,
            _ => {}
        }
        to
    }
}

/// Links fail in one direction or both, nodes lose power and come back; whatever was acknowledged
/// is there in the end, on all nodes.
#[test]
fn what_was_committed_stays_whatever_happens() {
    for seed in 1..=3 {
        runtime().block_on(async {
            let chance = SeededChance::new(seed);
            let mut world = three(Way::Record).await;
            let mut acknowledged = Vec::new();
            let mut waiting = tokio::task::JoinSet::new();
            for number in 0..60u64 {
                let asked = world.disturb(&chance).await;
                if let Some(node) = world.nodes.get(&asked) {
                    let control = Arc::clone(&node.control);
                    waiting.spawn(propose_seal(control, number));
                }
                tokio::time::sleep(Duration::from_millis(chance.below(40))).await;
            }
            for from in 1..=3 {
                for to in 1..=3 {
                    world.network.cut(Incarnation(from), Incarnation(to), false);
                }
            }
            for number in 1..=3 {
                if !world.nodes.contains_key(&number) {
                    world.start(number).await;
                }
            }
            world.joined().await;
            while let Some(ended) = waiting.join_next().await {
                let (number, applied) = ended.unwrap();
                acknowledged.extend(applied.then_some(number));
            }
            world.control(1).propose_soon(&harmless()).await.unwrap();
            world.until("equal states", is_same).await;
            let state = world.control(2).state();
            let ring = state.partitions.values().next().unwrap();
            assert!(acknowledged.len() > 10, "{}", acknowledged.len());
            for number in acknowledged {
                assert!(
                    ring.recent.contains_key(&BlockId(number.into())),
                    "{number}"
                );
            }
        });
    }
}
