//! Partitions change their members, and are split.

use super::rig::{abort, arc, begin, finish, founded, member, node, refusal, seal, split};
use crate::cluster::control::command::*;
use crate::cluster::control::state::ControlState;
use crate::model::*;

#[test]
fn a_move_is_joint_from_its_beginning_to_its_end_and_every_step_raises_the_epoch() {
    let mut state = founded();
    for number in 1..=3 {
        assert_eq!(state.apply(&node(number)), Outcome::Applied);
    }
    let sets = |state: &ControlState| {
        let partition = state.partition(arc(0)).unwrap();
        let sets = partition.sets().into_iter();
        let sets: Vec<Vec<u128>> = sets
            .map(|set| set.iter().map(|m| m.incarnation.0).collect())
            .collect();
        (partition.epoch.0, sets)
    };
    assert_eq!(state.apply(&begin(0, 1, Some(2), None)), Outcome::Applied);
    assert_eq!(sets(&state), (2, vec![vec![1], vec![1, 2]]));
    // One at a time, and every field must be current.
    assert_eq!(
        refusal(&mut state, &begin(0, 2, Some(3), None)),
        Refusal::Moving(arc(0))
    );
    assert_eq!(
        refusal(&mut state, &split(arc(0), 2)),
        Refusal::Moving(arc(0))
    );
    assert_eq!(
        refusal(&mut state, &finish(0, 1, 0)),
        Refusal::WrongEpoch { current: Epoch(2) }
    );
    // The catalog goes on during the move: the newcomer must apply that too.
    assert_eq!(
        state.apply(&seal(0, 2, Window(1).range(), 1, 1)),
        Outcome::Applied
    );
    assert_eq!(
        refusal(&mut state, &finish(0, 2, 0)),
        Refusal::WrongVersion { current: 1 }
    );
    assert_eq!(state.apply(&finish(0, 2, 1)), Outcome::Applied);
    assert_eq!(sets(&state), (3, vec![vec![1, 2]]));
    assert_eq!(
        refusal(&mut state, &finish(0, 3, 1)),
        Refusal::NotMoving(arc(0))
    );
    assert_eq!(
        refusal(&mut state, &abort(0, 3)),
        Refusal::NotMoving(arc(0))
    );
    // Who comes takes the place of who goes.
    assert_eq!(
        state.apply(&begin(0, 3, Some(3), Some(1))),
        Outcome::Applied
    );
    assert_eq!(sets(&state), (4, vec![vec![1, 2], vec![3, 2]]));
    assert_eq!(state.apply(&abort(0, 4)), Outcome::Applied);
    assert_eq!(sets(&state), (5, vec![vec![1, 2]]));
    assert_eq!(state.apply(&begin(0, 5, None, Some(1))), Outcome::Applied);
    assert_eq!(state.apply(&finish(0, 6, 1)), Outcome::Applied);
    assert_eq!(sets(&state), (7, vec![vec![2]]));
}

#[test]
fn a_move_that_does_not_fit_the_members_is_refused() {
    let mut state = founded();
    state.apply(&node(1));
    let bad = Refusal::BadMove(arc(0));
    let unknown = Refusal::NoNode(Incarnation(2));
    for (join, leave, expected) in [
        (None, None, bad),
        (None, Some(1), bad),
        (None, Some(2), bad),
        (Some(1), None, bad),
        (Some(1), Some(1), bad),
        (Some(2), None, unknown),
    ] {
        assert_eq!(refusal(&mut state, &begin(0, 1, join, leave)), expected);
    }
    // Another life of a member is the same data directory: it replaces, it never counts twice.
    state.members.get_mut(&Incarnation(1)).unwrap().life = 1;
    let life = |leave| {
        let mut join = member(1);
        join.life = 1;
        Command::MoveBegin(MoveBegin {
            arc: arc(0),
            epoch: Epoch(1),
            join: Some(join),
            leave,
        })
    };
    assert_eq!(refusal(&mut state, &life(None)), bad);
    assert_eq!(state.apply(&life(Some(member(1)))), Outcome::Applied);
    state.apply(&node(2));
    state.apply(&Command::NodeGone(Incarnation(2)));
    assert_eq!(
        refusal(&mut state, &begin(1, 1, Some(2), None)),
        Refusal::Gone(Incarnation(2))
    );
}

#[test]
fn both_halves_of_a_split_are_all_that_the_whole_was() {
    let mut state = founded();
    state.apply(&seal(3, 1, Window(1).range(), 1, 1));
    let whole = state.partition(arc(3)).unwrap().clone();
    assert_eq!(
        refusal(&mut state, &split(arc(3), 2)),
        Refusal::WrongEpoch { current: Epoch(1) }
    );
    assert_eq!(state.apply(&split(arc(3), 1)), Outcome::Applied);
    assert_eq!(state.partitions.len(), 17);
    assert_eq!(
        refusal(&mut state, &split(arc(3), 1)),
        Refusal::NoPartition(arc(3))
    );
    for half in arc(3).halves().unwrap() {
        let mut expected = whole.clone();
        expected.epoch = Epoch(2);
        assert_eq!(state.partition(half), Some(&expected));
    }
    let mut deep = founded();
    let deepest = RingArc::new(0, RingArc::DEPTH_MAX).unwrap();
    let partition = deep.partitions[&arc(0)].clone();
    deep.partitions = [(deepest, partition)].into();
    assert_eq!(
        refusal(&mut deep, &split(deepest, 1)),
        Refusal::TooDeep(deepest)
    );
}
