//! Partitions that go on with less than they need.

use super::rig::{arc, change, history, recovered, refusal, seal, three};
use crate::cluster::control::command::*;
use crate::cluster::control::state::ControlState;
use crate::model::*;

/// Would catch a partition that gives up what an ordinary move could still save, and one that
/// leaves somebody out who could come back with what nobody else has.
#[test]
fn a_partition_goes_on_with_less_than_it_needs_only_when_the_others_are_gone() {
    let mut state = three();
    let range = Window::of(TimestampMs(0)).range();
    assert_eq!(state.apply(&seal(0, 1, range, 1, 5)), Outcome::Applied);
    let not_lost = Refusal::NotLost(arc(0));
    assert_eq!(refusal(&mut state, &recovered(&[3], &[], 1)), not_lost);
    state.apply(&Command::NodeDown(Incarnation(1)));
    state.apply(&Command::NodeDown(Incarnation(2)));
    assert_eq!(refusal(&mut state, &recovered(&[3], &[], 1)), not_lost);
    state.apply(&Command::NodeGone(Incarnation(1)));
    assert_eq!(refusal(&mut state, &recovered(&[3], &[], 1)), not_lost);
    state.apply(&Command::NodeGone(Incarnation(2)));
    let bad = Refusal::BadMove(arc(0));
    for members in [&[][..], &[4], &[3, 3], &[3, 1], &[3, 9]] {
        assert_eq!(refusal(&mut state, &recovered(members, &[], 1)), bad);
    }
    let old = Refusal::WrongEpoch { current: Epoch(1) };
    assert_eq!(refusal(&mut state, &recovered(&[3], &[], 0)), old);
    let command = recovered(&[3], &[5, 6], 1);
    assert_eq!(state.apply(&command), Outcome::Applied);
    let partition = state.partition(arc(0)).unwrap();
    assert_eq!((partition.epoch, partition.version), (Epoch(2), 2));
    assert_eq!(partition.members.len(), 1);
    assert!(partition.recent.is_empty() && partition.moving.is_none());
    // And as one goes on, it is moved like any other.
    assert_eq!(
        refusal(&mut state, &recovered(&[3], &[], 2)),
        Refusal::NotLost(arc(0))
    );
    assert_eq!(ControlState::decode(&state.encode()), Ok(state));
}

/// Would catch a partition that goes on with a manifest that nobody has.
#[test]
fn what_is_left_of_a_manifest_takes_its_place() {
    let mut state = three();
    state.apply(&Command::FeatureLevel(2));
    let range = Window::of(TimestampMs(0)).range();
    state.apply(&seal(0, 1, range, 1, 5));
    let moved = Command::ManifestChanged(change(None, Some(1), &[5], Vec::new()));
    assert_eq!(state.apply(&moved), Outcome::Applied);
    for gone in [1, 2] {
        state.apply(&Command::NodeGone(Incarnation(gone)));
    }
    let Command::Recovered(mut command) = recovered(&[3], &[], 1) else {
        unreachable!()
    };
    command.history = Some(HistoryLeft {
        base: history(2).digest,
        left: None,
    });
    let bad = Refusal::BadManifest(arc(0));
    assert_eq!(
        refusal(&mut state, &Command::Recovered(command.clone())),
        bad
    );
    command.history = Some(HistoryLeft {
        base: history(1).digest,
        left: Some(history(2)),
    });
    assert_eq!(state.apply(&Command::Recovered(command)), Outcome::Applied);
    let partition = state.partition(arc(0)).unwrap();
    assert_eq!(
        (partition.version, partition.history),
        (3, Some(history(2)))
    );
}
