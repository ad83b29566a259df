//! Whatever happens to links and rings, an acknowledged sample is with a majority of every set
//! under which it was acknowledged. `CAIRN_SEED` repeats one run.

use std::collections::BTreeMap;
use std::time::Duration;

use super::rig::*;
use crate::runtime::{Chance, SeededChance};

async fn run(seed: u64) {
    let mut world = World::new(5, 3);
    let chance = SeededChance::new(seed);
    let mut acknowledged: BTreeMap<(u32, i64), (f64, Vec<u128>)> = BTreeMap::new();
    let mut members: Vec<u128> = vec![1, 2, 3];
    let mut epoch = 1;
    for round in 0..60 {
        match chance.below(8) {
            0 => {
                let (from, to) = (chance.below(5) + 1, chance.below(5) + 1);
                let is_cut = chance.below(2) == 0;
                world.cut(u128::from(from), u128::from(to), is_cut);
            }
            1 => {
                for node in 1..=5 {
                    world.isolate(node, false);
                }
            }
            // Another epoch, the same members: everybody hears of it at some time.
            2 => {
                epoch += 1;
                world.ring(epoch, &members, None);
                let first = u128::from(chance.below(5) + 1);
                world.tell(first);
                if chance.below(2) == 0 {
                    world.tell_all();
                }
            }
            3 => {
                members.rotate_left(1);
                world.tell_all();
            }
            4 => {
                let node = u128::from(chance.below(5) + 1);
                world.restart_network(node);
                world.back(node);
            }
            _ => {}
        }
        let coordinator = u128::from(chance.below(5) + 1);
        let first = any(&chance, 300);
        let batch = samples(first..first + any(&chance, 60) + 1, round);
        if world.write(coordinator, &batch).await.is_ok() {
            for (series, at, value) in batch {
                acknowledged.insert((series, at), (value, members.clone()));
            }
        }
    }
    let held: BTreeMap<u128, _> = (1..=5).map(|node| (node, world.held(node))).collect();
    let mut holders = 0;
    for (key, (value, members)) in &acknowledged {
        let having = members.iter().filter(|node| {
            let got = held[node].get(key);
            assert!(got.is_none_or(|got| got.to_bits() == value.to_bits()));
            got.is_some()
        });
        let having = having.count();
        assert!(having >= 2, "seed {seed}: {key:?} is with {having}");
        holders += having;
    }
    assert!(!acknowledged.is_empty(), "seed {seed}");
    println!(
        "seed {seed}: {} acknowledged, {holders} copies",
        acknowledged.len()
    );
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_with_a_majority() {
    let seeds = match std::env::var("CAIRN_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => vec![1, 2, 3],
    };
    for seed in seeds {
        run(seed).await;
    }
}
