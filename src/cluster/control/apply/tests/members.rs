//! Nodes come, go, are drained and are given up; a group begins anew.

use super::rig::{founded, founding, node_up, refusal, three};
use crate::cluster::control::command::*;
use crate::cluster::control::state::{ControlState, Liveness};
use crate::model::*;

#[test]
fn nothing_happens_before_founding_and_founding_happens_once() {
    let mut state = ControlState::default();
    assert_eq!(refusal(&mut state, &node_up(1, 1)), Refusal::NotFounded);
    let mut state = founded();
    assert_eq!(state.partitions.len(), 16);
    assert_eq!(state.apply(&founding()), Outcome::Applied);
    let other = Command::Found(Found {
        cluster: ClusterId(8),
        depth: 4,
        founders: vec![Incarnation(2)],
    });
    assert_eq!(refusal(&mut state, &other), Refusal::Founded(ClusterId(7)));
    let nobody = Command::Found(Found {
        cluster: ClusterId(8),
        depth: 4,
        founders: Vec::new(),
    });
    assert_eq!(
        refusal(&mut ControlState::default(), &nobody),
        Refusal::BadFounding
    );
}

#[test]
fn a_copy_of_a_data_directory_is_refused() {
    let mut state = founded();
    assert_eq!(state.apply(&node_up(2, 20)), Outcome::Applied);
    assert_eq!(state.apply(&node_up(2, 20)), Outcome::Applied);
    let old = Refusal::OldSession { known: 2 };
    assert_eq!(refusal(&mut state, &node_up(2, 21)), old);
    assert_eq!(refusal(&mut state, &node_up(1, 20)), old);
    assert_eq!(state.apply(&node_up(3, 30)), Outcome::Applied);
}

#[test]
fn the_feature_level_waits_for_the_oldest_node() {
    let mut state = founded();
    state.apply(&node_up(1, 1));
    assert_eq!(state.apply(&Command::FeatureLevel(2)), Outcome::Applied);
    let bad = |current| Refusal::BadLevel {
        current,
        understood: 3,
    };
    assert_eq!(refusal(&mut state, &Command::FeatureLevel(4)), bad(2));
    assert_eq!(refusal(&mut state, &Command::FeatureLevel(1)), bad(2));
}

#[test]
fn who_is_gone_stays_gone() {
    let mut state = founded();
    let one = Incarnation(1);
    assert_eq!(
        refusal(&mut state, &Command::NodeDown(one)),
        Refusal::NoNode(one)
    );
    state.apply(&node_up(1, 1));
    for (command, liveness) in [
        (Command::NodeDown(one), Liveness::Down),
        (Command::NodeDown(one), Liveness::Down),
        (Command::NodeLive(one), Liveness::Live),
        (Command::NodeDown(one), Liveness::Down),
        (node_up(2, 2), Liveness::Live),
        (Command::NodeGone(one), Liveness::Gone),
        (Command::NodeGone(one), Liveness::Gone),
    ] {
        assert_eq!(state.apply(&command), Outcome::Applied);
        assert_eq!(state.members[&one].liveness, liveness);
    }
    for command in [
        Command::NodeLive(one),
        Command::NodeDown(one),
        node_up(3, 3),
    ] {
        assert_eq!(refusal(&mut state, &command), Refusal::Gone(one));
    }
}

#[test]
fn a_node_is_drained_until_it_is_taken_back_whatever_it_does_meanwhile() {
    let mut state = founded();
    let one = Incarnation(1);
    let drain = |drain| {
        Command::Drain(Drain {
            incarnation: one,
            drain,
        })
    };
    assert_eq!(refusal(&mut state, &drain(true)), Refusal::NoNode(one));
    for (command, draining) in [
        (node_up(1, 1), false),
        (drain(true), true),
        (Command::NodeDown(one), true),
        (node_up(2, 2), true),
        (drain(false), false),
        (drain(true), true),
    ] {
        assert_eq!(state.apply(&command), Outcome::Applied);
        assert_eq!(state.members[&one].draining, draining);
    }
    state.apply(&Command::NodeGone(one));
    assert_eq!(refusal(&mut state, &drain(false)), Refusal::Gone(one));
}

/// Would catch an epoch of the lost majority that is taken for one of the new generation.
#[test]
fn a_new_generation_voids_every_epoch_that_the_old_one_may_have_decided() {
    let mut state = three();
    let next = |generation, lost: &[u128]| {
        Command::ControlGeneration(ControlGeneration {
            generation,
            lost: lost.iter().map(|who| Incarnation(*who)).collect(),
        })
    };
    let old = Refusal::OldGeneration { current: 0 };
    assert_eq!(refusal(&mut state, &next(0, &[1])), old);
    assert_eq!(state.apply(&next(1, &[1, 2, 99])), Outcome::Applied);
    assert_eq!(state.generation, 1);
    let gone = |state: &ControlState, who| state.members[&Incarnation(who)].liveness;
    assert_eq!(gone(&state, 1), Liveness::Gone);
    assert_eq!(gone(&state, 3), Liveness::Live);
    assert!(state.partitions.values().all(|p| p.epoch == Epoch(1 << 32)));
    assert_eq!(state.apply(&next(2, &[])), Outcome::Applied);
    assert!(state.partitions.values().all(|p| p.epoch == Epoch(2 << 32)));
    assert_eq!(ControlState::decode(&state.encode()), Ok(state));
}
