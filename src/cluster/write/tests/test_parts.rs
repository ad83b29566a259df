//! Partitions of different members: each member gets its own parts of a request and no others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::rig::*;
use crate::model::*;

/// Four nodes, each partition with two of them; and which two. Two is also the majority: what was
/// written is there.
fn by_twos() -> (World, BTreeMap<RingArc, [u128; 2]>) {
    let mut world = World::new(4, 3);
    world.ring(2, &[1, 2, 3], None);
    let mut members = BTreeMap::new();
    for (place, (arc, partition)) in (0u128..).zip(&mut world.state.partitions) {
        let two = [1 + place % 4, 1 + (place + 1) % 4];
        Arc::make_mut(partition).members = two.map(member).to_vec();
        members.insert(*arc, two);
    }
    world.tell_all();
    (world, members)
}

/// The members that hold what lies there.
fn holders(members: &BTreeMap<RingArc, [u128; 2]>, labels: &LabelSet) -> [u128; 2] {
    let fingerprint = fingerprint(&TenantId::anonymous(), labels);
    let mut all = members.iter();
    *all.find(|(arc, _)| arc.contains(fingerprint)).unwrap().1
}

/// Would catch a request of which a member gets a part not whole: where everybody is a member of
/// everything, as in a small cluster, that cannot be seen.
#[tokio::test(flavor = "multi_thread")]
async fn every_member_gets_its_parts_and_no_others() {
    let (world, members) = by_twos();
    let mut expected: BTreeMap<u128, BTreeMap<(u32, i64), f64>> = BTreeMap::new();
    for round in 0..3 {
        let sent = samples(0..60, round);
        // Through one: what another coordinator sends must not hide what this one leaves out.
        world.write(1, &sent).await.unwrap();
        for (series, at, value) in sent {
            for number in holders(&members, &labels(series)) {
                let of = expected.entry(number).or_default();
                of.insert((series, at), value);
            }
        }
    }
    for number in 1..=4 {
        world.until_held(number, expected[&number].len()).await;
        assert_eq!(world.held(number), expected[&number], "node {number}");
    }
}

/// The same of all that is no plain float.
#[tokio::test(flavor = "multi_thread")]
async fn samples_with_starts_exemplars_and_metadata_go_by_parts_too() {
    let (world, members) = by_twos();
    world.write_others(1, 0..60, 0).await.unwrap();
    for number in 1..=4 {
        let is_holder = |labels: &LabelSet| holders(&members, labels).contains(&number);
        let series: BTreeSet<u32> = (0..60).filter(|one| is_holder(&labels(*one))).collect();
        let held = world.held(number).into_keys().map(|(series, _)| series);
        assert_eq!(held.collect::<BTreeSet<u32>>(), series, "node {number}");
        assert_eq!(world.exemplar_series(number), series, "node {number}");
        let families = (0..60).map(|one| format!("family_{one}"));
        let families = families.filter(|family| {
            is_holder(&LabelSet::from_pairs(&[("__name__", family.as_str())]).unwrap())
        });
        let mut held = world.families(number);
        held.sort_unstable();
        let families: BTreeSet<String> = families.collect();
        assert_eq!(held, Vec::from_iter(families), "node {number}");
    }
}
