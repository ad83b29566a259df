//! Partitions of different members: each member gets its own parts of a request and no others.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::rig::*;
use crate::model::*;

/// Would catch a request of which a member gets a part not whole: where everybody is a member of
/// everything, as in a small cluster, that cannot be seen.
#[tokio::test(flavor = "multi_thread")]
async fn every_member_gets_its_parts_and_no_others() {
    let mut world = World::new(4, 3);
    world.ring(2, &[1, 2, 3], None);
    let mut members: BTreeMap<RingArc, [u128; 2]> = BTreeMap::new();
    for (place, (arc, partition)) in (0u128..).zip(&mut world.state.partitions) {
        let two = [1 + place % 4, 1 + (place + 1) % 4];
        Arc::make_mut(partition).members = two.map(member).to_vec();
        members.insert(*arc, two);
    }
    world.tell_all();
    let mut expected: BTreeMap<u128, BTreeMap<(u32, i64), f64>> = BTreeMap::new();
    for round in 0..3 {
        let sent = samples(0..60, round);
        // Through one: what another coordinator sends must not hide what this one leaves out.
        world.write(1, &sent).await.unwrap();
        for (series, at, value) in sent {
            let fingerprint = fingerprint(&TenantId::anonymous(), &labels(series));
            let (_, two) = members
                .iter()
                .find(|(arc, _)| arc.contains(fingerprint))
                .unwrap();
            for number in two {
                let of = expected.entry(*number).or_default();
                of.insert((series, at), value);
            }
        }
    }
    for number in 1..=4 {
        world.until_held(number, expected[&number].len()).await;
        assert_eq!(world.held(number), expected[&number], "node {number}");
    }
}
