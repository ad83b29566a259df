//! Reads of the newest samples alone: they are looked for wherever they may be.

use std::sync::Arc;

use super::rig::*;
use crate::cluster::control::ControlState;
use crate::model::*;
use crate::source::{Moments, Source, SourceError};

/// The newest samples an hour after the start, through a node.
fn newest(nodes: &Nodes, through: usize) -> Result<Contents, SourceError> {
    let moments = Moments {
        first: TimestampMs(START + 3_600_000),
        step_ms: 1,
        count: 1,
    };
    let source = &nodes.node(through).source;
    drain(source.select_newest(&everything(), moments, &context())?)
}

/// One node that is the only member of a partition.
fn give(state: &mut ControlState, arc: RingArc, to: usize) {
    let partition = state.partitions.get_mut(&arc).unwrap();
    Arc::make_mut(partition).members = vec![id(to)];
}

/// Would catch a node that answers from its own store alone though others may have more: where each
/// partition has several members, where one has another, where none is its own, where there is none.
#[test]
fn whoever_is_not_alone_asks_the_others() {
    let nodes = Nodes::new(3, &ring(&[1, 2, 3], 1, None), &quick());
    let (own, other) = (series(1), series(2));
    assert_ne!(arc_of(&own), arc_of(&other));
    nodes.write(&[2, 3], &own, &[(START, 1.0)]);
    nodes.write(&[2, 3], &other, &[(START, 1.0)]);
    nodes.write(&[1], &own, &[(START + 1, 2.0)]);
    let check = |state: ControlState, of_own: f64, others: usize| {
        for number in 1..=3 {
            nodes.node(number).ring.0.store(Arc::new(state.clone()));
        }
        let found = newest(&nodes, 1).unwrap();
        let last = pairs(&found, &own).last().map(|(_, value)| *value);
        assert_eq!(last, Some(of_own));
        assert_eq!(pairs(&found, &other).len(), others);
    };
    check(ring(&[1, 2, 3], 1, None), 2.0, 1);
    let alone = ring(&[1], 1, None);
    check(alone.clone(), 2.0, 0);
    let mut shared = alone;
    give(&mut shared, arc_of(&other), 2);
    check(shared, 2.0, 1);
    check(ring(&[2], 1, None), 1.0, 1);
    // Without partitions nobody is a member of anything.
    let nothing = ControlState {
        partitions: std::collections::BTreeMap::new(),
        ..ring(&[1], 1, None)
    };
    nodes.node(1).ring.0.store(Arc::new(nothing));
    let found = newest(&nodes, 1);
    assert!(found.is_err(), "{found:?}");
}
