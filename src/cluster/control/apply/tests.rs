//! What the state machine promises, for all command sequences and for the ones that matter.

use proptest::prelude::*;

use crate::cluster::control::command::*;
use crate::cluster::control::state::{ControlState, DAY_MS, Liveness, MOVED_MAX, utc_day};
use crate::model::*;

fn founding() -> Command {
    Command::Found(Found {
        cluster: ClusterId(7),
        depth: FOUNDING_DEPTH,
        founders: vec![Incarnation(1)],
    })
}

fn founded() -> ControlState {
    let mut state = ControlState::default();
    assert_eq!(state.apply(&founding()), Outcome::Applied);
    state
}

fn node_up(starts: u64, nonce: u128) -> Command {
    Command::NodeUp(NodeUp {
        name: "one".to_owned(),
        incarnation: Incarnation(1),
        session: Session { starts, nonce },
        addresses: Vec::new(),
        zone: String::new(),
        capacity_bytes: 0,
        version: "test".to_owned(),
        feature_level_max: 3,
        life: 0,
    })
}

fn arc(number: u32) -> RingArc {
    RingArc::all(FOUNDING_DEPTH).nth(number as usize).unwrap()
}

fn entry(id: u128, range: TimeRange, round: u32) -> BlockEntry {
    BlockEntry {
        id: BlockId(id),
        range,
        level: Level(0),
        round,
        size: 10,
        samples: 5,
        content_sum: 99,
        digest: Digest([3; 32]),
        uploaded: Uploaded::None,
    }
}

fn seal(number: u32, epoch: u64, range: TimeRange, round: u32, id: u128) -> Command {
    Command::SealCommit(SealCommit {
        arc: arc(number),
        epoch: Epoch(epoch),
        range,
        round,
        entry: entry(id, range, round),
    })
}

fn refusal(state: &mut ControlState, command: &Command) -> Refusal {
    let before = state.clone();
    let refusal = state.apply(command).into_result().unwrap_err();
    // A refused command changes nothing but the count of commands.
    assert_eq!(state.applied, before.applied + 1);
    state.applied = before.applied;
    assert_eq!(*state, before);
    refusal
}

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
fn a_seal_is_refused_when_epoch_round_or_entry_do_not_fit() {
    let mut state = founded();
    let range = Window(10).range();
    assert_eq!(
        refusal(&mut state, &seal(0, 2, range, 1, 1)),
        Refusal::WrongEpoch { current: Epoch(1) }
    );
    assert_eq!(
        refusal(&mut state, &seal(0, 1, range, 2, 1)),
        Refusal::WrongRound { next: 1 }
    );
    assert_eq!(state.apply(&seal(0, 1, range, 1, 1)), Outcome::Applied);
    // The second of two sealers.
    assert_eq!(
        refusal(&mut state, &seal(0, 1, range, 1, 2)),
        Refusal::WrongRound { next: 2 }
    );
    assert_eq!(
        refusal(&mut state, &seal(0, 1, range, 2, 1)),
        Refusal::KnownBlock(BlockId(1))
    );
    assert_eq!(state.apply(&seal(0, 1, range, 2, 2)), Outcome::Applied);
    let odd = TimeRange::new(TimestampMs(5), TimestampMs(9));
    assert_eq!(
        refusal(&mut state, &seal(0, 1, odd, 1, 3)),
        Refusal::BadEntry
    );
    let partition = state.partition(arc(0)).unwrap();
    assert_eq!((partition.version, partition.recent.len()), (2, 2));
    // A UTC day has rounds of its own.
    let day = utc_day(range.start);
    assert_eq!(state.apply(&seal(0, 1, day, 1, 4)), Outcome::Applied);
    // Another partition is untouched.
    assert_eq!(state.partition(arc(1)).unwrap().version, 0);
}

#[test]
fn what_has_expired_is_gone_and_cannot_be_sealed_again() {
    let mut state = founded();
    for window in 0i64..24 {
        let block = u128::from(window.unsigned_abs()) + 1;
        let outcome = state.apply(&seal(3, 1, Window(window).range(), 1, block));
        assert_eq!(outcome, Outcome::Applied);
    }
    let expired = |before| {
        Command::Expired(Expired {
            arc: arc(3),
            before: TimestampMs(before),
        })
    };
    assert_eq!(state.apply(&expired(DAY_MS)), Outcome::Applied);
    let partition = state.partition(arc(3)).unwrap();
    assert_eq!((partition.recent.len(), partition.rounds.len()), (12, 12));
    assert_eq!(partition.version, 25);
    let before = TimestampMs(DAY_MS);
    assert_eq!(
        refusal(&mut state, &seal(3, 1, Window(11).range(), 1, 100)),
        Refusal::Expired { before }
    );
    assert_eq!(
        refusal(&mut state, &expired(DAY_MS)),
        Refusal::NotLater { before }
    );
    assert_eq!(
        state.apply(&seal(3, 1, Window(12).range(), 2, 100)),
        Outcome::Applied
    );
}

#[test]
fn compaction_wants_all_its_inputs_and_changes_the_version_once() {
    let mut state = founded();
    let (one, two) = (Window(0).range(), Window(1).range());
    state.apply(&seal(0, 1, one, 1, 1));
    state.apply(&seal(0, 1, two, 1, 2));
    let whole = TimeRange::new(one.start, two.end);
    let mut output = entry(9, whole, 0);
    output.level = Level(1);
    let compacted = |inputs: &[u128]| {
        Command::Compacted(Compacted {
            arc: arc(0),
            epoch: Epoch(1),
            inputs: inputs.iter().copied().map(BlockId).collect(),
            outputs: vec![output.clone()],
        })
    };
    assert_eq!(
        refusal(&mut state, &compacted(&[1, 3])),
        Refusal::NoBlock(BlockId(3))
    );
    assert_eq!(state.apply(&compacted(&[1, 2])), Outcome::Applied);
    let partition = state.partition(arc(0)).unwrap();
    assert_eq!(partition.version, 3);
    assert_eq!(partition.recent.keys().collect::<Vec<_>>(), [&BlockId(9)]);
}

#[test]
fn an_upload_changes_no_version_and_is_never_forgotten() {
    let mut state = founded();
    state.apply(&seal(0, 1, Window(0).range(), 1, 1));
    let uploaded = |uploaded, block| {
        Command::Uploaded(vec![BlockUploaded {
            arc: arc(0),
            block: BlockId(block),
            uploaded,
        }])
    };
    let object = uploaded(Uploaded::Object, 1);
    assert_eq!(state.apply(&object), Outcome::Applied);
    assert_eq!(state.apply(&uploaded(Uploaded::None, 1)), Outcome::Applied);
    let partition = state.partition(arc(0)).unwrap();
    assert_eq!(partition.version, 1);
    assert_eq!(partition.recent[&BlockId(1)].uploaded, Uploaded::Object);
    assert_eq!(
        refusal(&mut state, &uploaded(Uploaded::Object, 2)),
        Refusal::NoBlock(BlockId(2))
    );
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

fn node(number: u128) -> Command {
    let Command::NodeUp(mut up) = node_up(1, number) else {
        unreachable!()
    };
    up.incarnation = Incarnation(number);
    Command::NodeUp(up)
}

fn member(number: u128) -> MemberId {
    MemberId {
        incarnation: Incarnation(number),
        life: 0,
    }
}

fn begin(number: u32, epoch: u64, join: Option<u128>, leave: Option<u128>) -> Command {
    Command::MoveBegin(MoveBegin {
        arc: arc(number),
        epoch: Epoch(epoch),
        join: join.map(member),
        leave: leave.map(member),
    })
}

fn finish(number: u32, epoch: u64, version: u64) -> Command {
    Command::MoveFinish(MoveFinish {
        arc: arc(number),
        epoch: Epoch(epoch),
        version,
    })
}

fn abort(number: u32, epoch: u64) -> Command {
    Command::MoveAbort(MoveAbort {
        arc: arc(number),
        epoch: Epoch(epoch),
    })
}

fn split(arc: RingArc, epoch: u64) -> Command {
    Command::Split(Split {
        arc,
        epoch: Epoch(epoch),
    })
}

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

fn change(
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

/// Would catch an entry that leaves the state without being in the manifest, and a manifest that is
/// changed under the feet of whoever made the next one.
#[test]
fn entries_change_places_only_as_they_were_when_the_manifest_was_made() {
    let mut state = founded();
    let changed = |c: &ManifestChanged| Command::ManifestChanged(c.clone());
    let (one, two) = (Window(0).range(), Window(1).range());
    state.apply(&seal(0, 1, one, 1, 1));
    state.apply(&seal(0, 1, two, 1, 2));
    let bad = Refusal::BadManifest(arc(0));
    let first = change(None, Some(1), &[1], Vec::new());
    assert_eq!(
        refusal(&mut state, &changed(&first)),
        bad,
        "the feature level"
    );
    state.apply(&node_up(1, 1));
    assert_eq!(state.apply(&Command::FeatureLevel(2)), Outcome::Applied);
    for (wrong, expected) in [
        (change(Some(9), Some(1), &[1], Vec::new()), bad),
        (change(None, None, &[1], Vec::new()), bad),
        (change(None, Some(1), &[1, 1], Vec::new()), bad),
        (change(None, None, &[], vec![entry(7, one, 1)]), bad),
        (
            change(None, Some(1), &[1, 3], Vec::new()),
            Refusal::NoBlock(BlockId(3)),
        ),
        (
            change(None, Some(1), &[], vec![entry(2, two, 1)]),
            Refusal::KnownBlock(BlockId(2)),
        ),
    ] {
        assert_eq!(refusal(&mut state, &changed(&wrong)), expected);
    }
    let mut late = first.clone();
    late.epoch = Epoch(2);
    let current = Refusal::WrongEpoch { current: Epoch(1) };
    assert_eq!(refusal(&mut state, &changed(&late)), current);
    let mut many = first.clone();
    let more = (100..).map(|id| (BlockId(id), Uploaded::None));
    many.moved = more.take(MOVED_MAX + 1).collect();
    assert_eq!(refusal(&mut state, &changed(&many)), bad);
    // An upload that came in between is not lost.
    let mut uploaded = state.clone();
    uploaded.apply(&Command::Uploaded(vec![BlockUploaded {
        arc: arc(0),
        block: BlockId(1),
        uploaded: Uploaded::Object,
    }]));
    assert_eq!(refusal(&mut uploaded, &changed(&first)), bad);
    assert_eq!(state.apply(&changed(&first)), Outcome::Applied);
    let partition = state.partition(arc(0)).unwrap();
    assert_eq!(
        (partition.version, partition.history),
        (3, Some(history(1)))
    );
    assert_eq!(partition.recent.keys().collect::<Vec<_>>(), [&BlockId(2)]);
    assert_eq!(refusal(&mut state, &changed(&first)), bad, "once more");
    let back = change(Some(1), None, &[], vec![entry(1, one, 1)]);
    assert_eq!(state.apply(&changed(&back)), Outcome::Applied);
    let partition = state.partition(arc(0)).unwrap();
    assert_eq!((partition.version, partition.history), (4, None));
    assert_eq!(partition.recent.len(), 2);
}

/// Would catch a sealer that slept until its round was forgotten and then commits a block whose
/// file has been swept.
#[test]
fn a_round_that_is_forgotten_is_still_over() {
    let mut state = founded();
    state.apply(&node_up(1, 1));
    state.apply(&Command::FeatureLevel(2));
    for (window, round, id) in [(0, 1, 1), (1, 1, 2), (1, 2, 3), (9, 1, 4)] {
        let seal = seal(0, 1, Window(window).range(), round, id);
        assert_eq!(state.apply(&seal), Outcome::Applied);
    }
    let mut forget = change(None, Some(1), &[1, 2, 3], Vec::new());
    forget.rounds_before = Window(5).start();
    let forget = Command::ManifestChanged(forget);
    assert_eq!(state.apply(&forget), Outcome::Applied);
    let partition = state.partition(arc(0)).unwrap();
    assert_eq!(partition.rounds.len(), 1);
    // Whoever began round 2 of the first window, or round 1 of one that nobody has sealed.
    let next = Refusal::WrongRound { next: 3 };
    for (window, round) in [(0, 1), (0, 2), (1, 2), (2, 1)] {
        let late = seal(0, 1, Window(window).range(), round, 50);
        assert_eq!(refusal(&mut state, &late), next, "{window}, {round}");
    }
    for (window, round, id) in [(0, 3, 60), (0, 4, 61), (5, 1, 62), (9, 2, 63)] {
        let seal = seal(0, 1, Window(window).range(), round, id);
        assert_eq!(state.apply(&seal), Outcome::Applied);
    }
    assert_eq!(ControlState::decode(&state.encode()), Ok(state));
}

/// Commands from a small world, so that most of them meet something that is there.
fn any_command() -> impl Strategy<Value = Command> {
    let range = prop_oneof![
        (0i64..30).prop_map(|window| Window(window).range()),
        (0i64..3).prop_map(|day| utc_day(TimestampMs(day * DAY_MS))),
        (any::<i64>(), any::<i64>())
            .prop_map(|(start, end)| TimeRange::new(TimestampMs(start), TimestampMs(end))),
        any::<i64>().prop_map(|at| Window::of(TimestampMs(at)).range()),
    ];
    let place = prop_oneof![
        Just(Uploaded::None),
        Just(Uploaded::Object),
        (any::<u64>()).prop_map(|offset| Uploaded::Pack {
            pack: Digest([8; 32]),
            offset
        }),
    ];
    prop_oneof![
        (0u128..3, 0u8..6, prop::collection::vec(0u128..3, 0..3)).prop_map(
            |(cluster, depth, founders)| Command::Found(Found {
                cluster: ClusterId(cluster),
                depth,
                founders: founders.into_iter().map(Incarnation).collect(),
            })
        ),
        (0u64..5, 0u128..3).prop_map(|(starts, nonce)| node_up(starts, nonce)),
        (0u32..4, 0u64..3, range, 0u32..4, 0u128..40)
            .prop_map(|(number, epoch, range, round, id)| seal(number, epoch, range, round, id)),
        (0u32..4, 0u128..40, place).prop_map(|(number, id, uploaded)| {
            Command::Uploaded(vec![BlockUploaded {
                arc: arc(number),
                block: BlockId(id),
                uploaded,
            }])
        }),
        (
            0u32..4,
            prop::collection::vec(0u128..40, 0..3),
            prop::collection::vec(0u128..40, 0..3)
        )
            .prop_map(|(number, inputs, outputs)| Command::Compacted(Compacted {
                arc: arc(number),
                epoch: Epoch(1),
                inputs: inputs.into_iter().map(BlockId).collect(),
                outputs: outputs
                    .into_iter()
                    .map(|id| entry(id, utc_day(TimestampMs(0)), 0))
                    .collect(),
            })),
        (0u32..4, -1i64..40).prop_map(|(number, window)| Command::Expired(Expired {
            arc: arc(number),
            before: Window(window).start(),
        })),
        (0u32..5).prop_map(Command::FeatureLevel),
        any_change_of_a_manifest(),
        any_change_of_members(),
    ]
}

fn history(number: u8) -> History {
    History {
        digest: Digest([number; 32]),
        blocks: number.into(),
        oldest_end: TimestampMs(number.into()),
    }
}

fn any_change_of_a_manifest() -> impl Strategy<Value = Command> {
    let history = || prop::option::of((1u8..3).prop_map(history));
    let ids = prop::collection::vec((0u128..40, any::<bool>()), 0..3);
    let back = prop::collection::vec(0u128..40, 0..3);
    (0u32..4, history(), history(), ids, back, -1i64..40).prop_map(
        |(number, base, history, ids, back, window)| {
            let place = |uploaded| match uploaded {
                true => Uploaded::Object,
                false => Uploaded::None,
            };
            let day = utc_day(TimestampMs(0));
            Command::ManifestChanged(ManifestChanged {
                arc: arc(number),
                epoch: Epoch(1),
                base: base.map(|history| history.digest),
                history,
                moved: ids
                    .into_iter()
                    .map(|(id, uploaded)| (BlockId(id), place(uploaded)))
                    .collect(),
                back: back.into_iter().map(|id| entry(id, day, 0)).collect(),
                rounds_before: Window(window).start(),
            })
        },
    )
}

fn any_change_of_members() -> impl Strategy<Value = Command> {
    let who = || prop::option::of(0u128..4);
    prop_oneof![
        (0u128..4).prop_map(node),
        (0u128..4, 0u8..8).prop_map(|(number, how)| match how {
            0 => Command::NodeGone(Incarnation(number)),
            1..4 => Command::NodeDown(Incarnation(number)),
            _ => Command::NodeLive(Incarnation(number)),
        }),
        (0u32..4, 0u64..5, who(), who())
            .prop_map(|(number, epoch, join, leave)| begin(number, epoch, join, leave)),
        (0u32..4, 0u64..5, 0u64..2)
            .prop_map(|(number, epoch, version)| finish(number, epoch, version)),
        (0u32..4, 0u64..5).prop_map(|(number, epoch)| abort(number, epoch)),
        (0u32..4, 0u64..5).prop_map(|(number, epoch)| split(arc(number), epoch)),
    ]
}

/// Versions, epochs, horizons, sessions and the feature level only rise, and so does the round of
/// every range that has not expired.
fn check_only_rises(before: &ControlState, after: &ControlState) {
    assert_eq!(after.applied, before.applied + 1);
    assert!(after.feature_level >= before.feature_level);
    for (arc, old) in &before.partitions {
        let Some(new) = after.partition(*arc) else {
            for half in arc.halves().unwrap() {
                assert!(after.partition(half).unwrap().epoch > old.epoch);
            }
            continue;
        };
        assert!(new.epoch >= old.epoch);
        // Nobody's answers count in two sets: no change of members without a new epoch.
        assert!(new.epoch > old.epoch || new.sets() == old.sets());
        let distinct: std::collections::BTreeSet<_> =
            new.members.iter().map(|m| m.incarnation).collect();
        assert!(!new.members.is_empty() && distinct.len() == new.members.len());
        assert!(new.version == old.version || new.version == old.version + 1);
        assert!(new.expired_before >= old.expired_before);
        for range in old.rounds.keys().map(|key| key.range()) {
            let expired = range.end < new.expired_before;
            assert!(expired || new.next_round(range) >= old.next_round(range));
        }
        let ids = |partition: &crate::cluster::control::Partition| {
            partition.recent.keys().copied().collect::<Vec<_>>()
        };
        assert!(new.version > old.version || ids(new) == ids(old));
        for entry in new.recent.values().filter(|entry| entry.round > 0) {
            assert!(new.next_round(entry.range) > entry.round);
        }
    }
    for (incarnation, old) in &before.members {
        assert!(after.members[incarnation].session.starts >= old.session.starts);
    }
}

proptest! {
    #[test]
    fn apply_never_panics_and_numbers_only_rise(
        commands in prop::collection::vec(any_command(), 1..60)
    ) {
        let mut state = founded();
        for command in &commands {
            let before = state.clone();
            state.apply(command);
            check_only_rises(&before, &state);
        }
        prop_assert_eq!(ControlState::decode(&state.encode()), Ok(state));
    }

    #[test]
    fn the_same_commands_give_the_same_bytes_from_any_snapshot_on(
        commands in prop::collection::vec(any_command(), 1..40),
        at in 0usize..40,
    ) {
        let mut whole = ControlState::default();
        let mut resumed = ControlState::default();
        for (index, command) in commands.iter().enumerate() {
            whole.apply(command);
            let command = Command::decode(&command.encode()).unwrap();
            resumed.apply(&command);
            if index == at {
                resumed = ControlState::decode(&resumed.encode()).unwrap();
            }
        }
        prop_assert_eq!(whole.encode(), resumed.encode());
    }

    #[test]
    fn any_bytes_are_a_command_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Command::decode(&bytes);
        let _ = ControlState::decode(&bytes);
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

/// Three nodes hold everything; a state of them.
fn three() -> ControlState {
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

fn recovered(members: &[u128], lost: &[u128], epoch: u64) -> Command {
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
