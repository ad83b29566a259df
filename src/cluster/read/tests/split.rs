//! Partitions that the ring has split and a member has not yet.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::rig::*;
use crate::cluster::control::ControlState;
use crate::model::*;

/// The ring, every partition of it in two.
fn halved(of: &ControlState) -> ControlState {
    let mut state = of.clone();
    let partitions = of.partitions.iter().flat_map(|(arc, partition)| {
        let mut half = partition.as_ref().clone();
        half.epoch = Epoch(partition.epoch.0 + 1);
        let half = Arc::new(half);
        arc.halves().unwrap().map(|arc| (arc, Arc::clone(&half)))
    });
    state.partitions = partitions.collect();
    state
}

/// Would catch a member that answers for a half while it still keeps the whole: of the half it seems
/// to hold nothing, and whoever asks would be told so by a majority.
#[test]
fn a_half_is_not_read_where_the_whole_is_not_divided_yet() {
    let whole = ring(&[1, 2, 3], 1, None);
    let nodes = Nodes::new(3, &whole, &quick());
    let mut wanted = BTreeSet::new();
    for number in 0..20 {
        nodes.write(&[1, 2, 3], &series(number), &[(START, 1.0)]);
        wanted.insert((series(number), START));
    }
    let halves = Arc::new(halved(&whole));
    for number in 1..=3 {
        nodes.node(number).ring.0.store(Arc::clone(&halves));
    }
    let read_all = || read(nodes.node(1).source.as_ref()).map(|found| all_of(&found));
    assert!(read_all().is_err(), "nobody can say what the halves hold");
    let arcs: BTreeSet<RingArc> = halves.partitions.keys().copied().collect();
    for number in [2, 3] {
        nodes.node(number).store.align(&arcs).unwrap();
    }
    assert_eq!(read_all().unwrap(), wanted, "two of three");
    nodes.node(1).store.align(&arcs).unwrap();
    assert_eq!(read_all().unwrap(), wanted);
}
