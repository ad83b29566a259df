//! What holds for all sequences of commands.

use proptest::prelude::*;

use super::rig::{abort, arc, begin, entry, finish, founded, history, node, node_up, seal, split};
use crate::cluster::control::command::*;
use crate::cluster::control::state::{ControlState, DAY_MS, utc_day};
use crate::model::*;

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
