//! One change at a time: nodes that come, go, are wiped, are down; moves that are under way.

use std::collections::BTreeSet;

use super::rig::*;
use crate::cluster::control::{Command, MemberId};
use crate::cluster::ring::{DesiredMove, Plan, Why};
use crate::model::{Incarnation, RingArc};

/// 1, 2, 3, 6 nodes and back with the replication factor that a small cluster has: every step
/// copies what the newcomers' shares are and not one replica more.
#[test]
fn a_small_cluster_grows_and_shrinks_with_the_fewest_copies() {
    let mut world = World::new(3);
    assert_eq!(world.settle(2), 0);
    world.grow(1);
    assert_eq!(world.settle(2), 16);
    world.grow(1);
    assert_eq!(world.settle(2), 16);
    world.grow(3);
    assert_eq!(world.settle(2), 24);
    assert_eq!(world.state.partitions.len(), 16);
    // Six nodes hold eight each; the seventh halves all arcs.
    world.grow(1);
    assert_eq!(world.settle(2), 13);
    assert_eq!(world.state.partitions.len(), 32);
    for (left, copies) in [(6, 13), (5, 16), (4, 19), (3, 24), (2, 0), (1, 0)] {
        let leaving = world.nodes()[0];
        world.wish.draining.insert(leaving);
        assert_eq!(world.nodes().len(), left);
        let made = world.settle(2);
        assert!(made.abs_diff(copies) <= 1, "{made} copies for {left} nodes");
        world.gone(leaving);
    }
}

#[test]
fn the_replication_factor_goes_up_and_down_by_joins_or_leaves_alone() {
    let mut world = World::new(1);
    world.grow(5);
    world.settle(4);
    // One replica each would be less than three arcs a node: the ring has become finer.
    assert_eq!(world.state.partitions.len(), 64);
    for (factor, copies) in [(2, 64), (3, 64), (6, 192), (3, 0), (2, 0), (1, 0), (3, 128)] {
        world.wish.replication_factor = factor;
        let plan = world.plan();
        assert_eq!(plan.copies, copies, "to {factor}");
        let single = |step: &DesiredMove| step.begin.join.is_none() || step.begin.leave.is_none();
        assert!(plan.moves.iter().all(single));
        world.settle(4);
    }
}

/// Who replaces whom, when it is clear: the heir takes the very places, at once and before all
/// else moves.
#[test]
fn a_wiped_disk_and_a_new_life_take_the_places_of_the_old() {
    let mut world = World::new(3);
    world.grow(5);
    world.settle(4);
    let old = world.nodes()[2];
    let held = world.plan().holdings[&MemberId {
        incarnation: old,
        life: 0,
    }]
        .holds;
    let name = world.state.members[&old].name.clone();
    // The board comes back with an empty disk; until the old incarnation is known to be down, two
    // nodes bear the name, and nothing is decided.
    let new = spread_out(1000);
    world.up(&name, new, "", 0);
    world.apply(&Command::NodeDown(old));
    let plan = world.plan();
    assert_eq!(plan.copies, held as usize);
    for step in &plan.moves {
        let ends = (step.begin.leave.unwrap(), step.begin.join.unwrap());
        assert_eq!((ends.0.incarnation, ends.1.incarnation), (old, new));
        assert_eq!(step.why, Why::Lost);
    }
    world.settle(3);
    // Partial amnesia: the same directory in its next life.
    world.state.members.get_mut(&new).unwrap().life = 1;
    let plan = world.plan();
    assert_eq!(plan.copies, held as usize);
    for step in &plan.moves {
        let ends = (step.begin.leave.unwrap(), step.begin.join.unwrap());
        assert_eq!((ends.0.incarnation, ends.0.life), (new, 0));
        assert_eq!((ends.1.incarnation, ends.1.life), (new, 1));
        assert_eq!(step.why, Why::Lost);
    }
    world.settle(3);
}

#[test]
fn who_is_down_keeps_what_it_has_and_gets_nothing_until_it_is_replaced() {
    let mut world = World::new(3);
    world.grow(3);
    world.settle(4);
    let down = world.nodes()[0];
    world.apply(&Command::NodeDown(down));
    assert_eq!(world.plan().moves, []);
    // Others come: what is too much for the others goes to them, nothing to the one that is away.
    world.grow(2);
    let plan = world.plan();
    assert!(!plan.moves.is_empty());
    let joins = |plan: &Plan, who: Incarnation| {
        let joins = plan.moves.iter().filter_map(|step| step.begin.join);
        joins.filter(|member| member.incarnation == who).count()
    };
    assert_eq!(joins(&plan, down), 0);
    while world.step(3) {}
    // It does not come back.
    world.wish.replaced.insert(down);
    let plan = world.plan();
    let lost = plan
        .moves
        .iter()
        .filter(|step| step.why == Why::Lost)
        .count();
    let has = |partition: &crate::cluster::control::Partition| {
        partition.members.iter().any(|m| m.incarnation == down)
    };
    assert_eq!(
        lost,
        world.state.partitions.values().filter(|p| has(p)).count()
    );
    while world.step(3) {}
    assert!(!world.state.partitions.values().any(|p| has(p)));
    // It does, after all, as an empty node whose places are taken.
    world.wish.replaced.clear();
    world.apply(&Command::NodeLive(down));
    assert!(joins(&world.plan(), down) > 0);
    world.settle(3);
}

#[test]
fn a_move_to_a_node_that_is_gone_is_aborted_and_the_partition_is_moved_elsewhere() {
    let mut world = World::new(3);
    world.grow(3);
    world.settle(4);
    let new = world.join("", 0);
    let begun = world.plan().moves[0].begin;
    world.apply(&Command::MoveBegin(begun));
    assert_eq!(begun.join.map(|member| member.incarnation), Some(new));
    assert_eq!(world.plan().aborts, []);
    world.gone(new);
    let aborts = world.plan().aborts;
    assert_eq!(
        aborts.iter().map(|abort| abort.arc).collect::<Vec<_>>(),
        [begun.arc]
    );
    assert_eq!(world.settle(4), 0);
}

/// Two empty nodes are alike: whichever of them was chosen, what is being fetched already stays.
#[test]
fn a_plan_made_anew_goes_on_with_what_is_being_prepared() {
    let mut world = World::new(3);
    world.grow(2);
    world.settle(4);
    let new = [world.join("", 0), world.join("", 0)];
    let joins = |world: &World| -> BTreeSet<(RingArc, MemberId)> {
        let moves = world.plan().moves;
        let joins = moves
            .iter()
            .filter_map(|step| Some((step.begin.arc, step.begin.join?)));
        joins.collect()
    };
    let swapped: BTreeSet<_> = joins(&world)
        .into_iter()
        .map(|(arc, member)| {
            let other = new[usize::from(member.incarnation == new[0])];
            (
                arc,
                MemberId {
                    incarnation: other,
                    life: 0,
                },
            )
        })
        .collect();
    world.wish.preparing.clone_from(&swapped);
    assert!(swapped.len() >= 8);
    assert!(joins(&world).is_superset(&swapped));
    let copies = world.plan().copies;
    world.wish.preparing.clear();
    assert_eq!(world.plan().copies, copies);
}
