//! States and commands of a small world.

use crate::cluster::control::command::*;
use crate::cluster::control::state::ControlState;
use crate::model::*;

pub(super) fn founding() -> Command {
    Command::Found(Found {
        cluster: ClusterId(7),
        depth: FOUNDING_DEPTH,
        founders: vec![Incarnation(1)],
    })
}

pub(super) fn founded() -> ControlState {
    let mut state = ControlState::default();
    assert_eq!(state.apply(&founding()), Outcome::Applied);
    state
}

pub(super) fn node_up(starts: u64, nonce: u128) -> Command {
    Command::NodeUp(NodeUp {
        name: "one".to_owned(),
        session: Session { starts, nonce },
        version: "test".to_owned(),
        feature_level_max: 3,
        ..NodeUp::of(1)
    })
}

pub(super) fn arc(number: u32) -> RingArc {
    RingArc::all(FOUNDING_DEPTH).nth(number as usize).unwrap()
}

pub(super) fn entry(id: u128, range: TimeRange, round: u32) -> BlockEntry {
    BlockEntry {
        round,
        digest: Digest([3; 32]),
        ..BlockEntry::of(id, range)
    }
}

pub(super) fn seal(number: u32, epoch: u64, range: TimeRange, round: u32, id: u128) -> Command {
    Command::SealCommit(SealCommit {
        arc: arc(number),
        epoch: Epoch(epoch),
        range,
        round,
        entry: entry(id, range, round),
    })
}

pub(super) fn refusal(state: &mut ControlState, command: &Command) -> Refusal {
    let before = state.clone();
    let refusal = state.apply(command).into_result().unwrap_err();
    // A refused command changes nothing but the count of commands.
    assert_eq!(state.applied, before.applied + 1);
    state.applied = before.applied;
    assert_eq!(*state, before);
    refusal
}

pub(super) fn node(number: u128) -> Command {
    let Command::NodeUp(mut up) = node_up(1, number) else {
        unreachable!()
    };
    up.incarnation = Incarnation(number);
    Command::NodeUp(up)
}

pub(super) fn member(number: u128) -> MemberId {
    MemberId {
        incarnation: Incarnation(number),
        life: 0,
    }
}

pub(super) fn begin(number: u32, epoch: u64, join: Option<u128>, leave: Option<u128>) -> Command {
    Command::MoveBegin(MoveBegin {
        arc: arc(number),
        epoch: Epoch(epoch),
        join: join.map(member),
        leave: leave.map(member),
    })
}

pub(super) fn finish(number: u32, epoch: u64, version: u64) -> Command {
    Command::MoveFinish(MoveFinish {
        arc: arc(number),
        epoch: Epoch(epoch),
        version,
    })
}

pub(super) fn abort(number: u32, epoch: u64) -> Command {
    Command::MoveAbort(MoveAbort {
        arc: arc(number),
        epoch: Epoch(epoch),
    })
}

pub(super) fn split(arc: RingArc, epoch: u64) -> Command {
    Command::Split(Split {
        arc,
        epoch: Epoch(epoch),
    })
}

pub(super) fn change(
    base: Option<u8>,
    to: Option<u8>,
    moved: &[u128],
    back: Vec<BlockEntry>,
) -> ManifestChanged {
    ManifestChanged {
        arc: arc(0),
        epoch: Epoch(1),
        base: base.map(|number| history(number).digest),
        history: to.map(history),
        moved: moved
            .iter()
            .map(|id| (BlockId(*id), Uploaded::None))
            .collect(),
        back,
        rounds_before: TimestampMs::MIN,
    }
}

pub(super) fn history(number: u8) -> History {
    History {
        digest: Digest([number; 32]),
        blocks: number.into(),
        oldest_end: TimestampMs(number.into()),
    }
}

/// Three nodes hold everything; a state of them.
pub(super) fn three() -> ControlState {
    let mut state = ControlState::default();
    let founders = (1..=3).map(Incarnation).collect();
    state.apply(&Command::Found(Found {
        cluster: ClusterId(7),
        depth: FOUNDING_DEPTH,
        founders,
    }));
    for number in 1..=4 {
        let Command::NodeUp(up) = node_up(1, number) else {
            unreachable!()
        };
        let up = NodeUp {
            incarnation: Incarnation(number),
            name: format!("board-{number}"),
            ..up
        };
        assert_eq!(state.apply(&Command::NodeUp(up)), Outcome::Applied);
    }
    state
}

pub(super) fn recovered(members: &[u128], lost: &[u128], epoch: u64) -> Command {
    let member = |number: &u128| MemberId {
        incarnation: Incarnation(*number),
        life: 0,
    };
    Command::Recovered(Recovered {
        arc: arc(0),
        epoch: Epoch(epoch),
        members: members.iter().map(member).collect(),
        lost_blocks: lost.iter().map(|id| BlockId(*id)).collect(),
        history: None,
    })
}
