//! Control commands and the control state: would catch a change of a field's number, type or
//! order, which would make nodes of two versions disagree about the same log.
//!
//! `golden/control.txt` has one line per case: its name and its bytes in hex. A line is never
//! changed; a new case is added with the line that the failing test prints.

use std::collections::BTreeMap;

use cairn::cluster::{
    BlockUploaded, ClusterId, Command, Compacted, ControlGeneration, ControlState, Drain, Expired,
    Found, History, HistoryLeft, Manifest, ManifestChanged, MemberId, MoveAbort, MoveBegin,
    MoveFinish, NodeUp, Recovered, SealCommit, Session, Split, Tombstone, TombstoneDone,
    TombstoneId, WireError,
};
use cairn::model::{
    BlockEntry, BlockId, Deletion, Digest, Epoch, Incarnation, Level, MatchOp, Matcher, RingArc,
    TenantId, TimeRange, TimestampMs, Uploaded, Window,
};

const GOLDEN: &str = include_str!("golden/control.txt");

fn golden() -> BTreeMap<&'static str, Vec<u8>> {
    GOLDEN
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let (name, hex) = line.split_once(' ').expect("a name and hex digits");
            let bytes = hex
                .as_bytes()
                .chunks(2)
                .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
                .collect();
            (name, bytes)
        })
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const INCARNATION: Incarnation = Incarnation(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10);

fn entry(id: u128, range: TimeRange, level: u8, round: u32, uploaded: Uploaded) -> BlockEntry {
    BlockEntry {
        id: BlockId(id),
        range,
        level: Level(level),
        round,
        size: 1_234_567,
        samples: 987_654,
        content_sum: 0xfedc_ba98_7654_3210_0123_4567_89ab_cdef,
        digest: Digest([0xab; 32]),
        uploaded,
    }
}

/// Every command, in an order in which all of them apply.
fn commands() -> Vec<(&'static str, Command)> {
    let arc = RingArc::new(0x3000_0000, 4).unwrap();
    let pack = Uploaded::Pack {
        pack: Digest([0xcd; 32]),
        offset: 4096,
    };
    let range = Window(240_000).range();
    let before_1970 = Window(-1).range();
    let seal = |range: TimeRange, round: u32, id: u128| {
        Command::SealCommit(SealCommit {
            arc,
            epoch: Epoch(1),
            range,
            round,
            entry: entry(id, range, 0, round, Uploaded::None),
        })
    };
    vec![
        (
            "found",
            Command::Found(Found {
                cluster: ClusterId(0xc0ff_ee00),
                depth: 4,
                founders: vec![INCARNATION],
            }),
        ),
        (
            "node_up",
            Command::NodeUp(NodeUp {
                name: "board-1".to_owned(),
                incarnation: INCARNATION,
                session: Session {
                    starts: 3,
                    nonce: 0x1111_2222_3333_4444,
                },
                addresses: vec!["10.0.0.1:9095".to_owned(), "[::1]:9095".to_owned()],
                zone: "shelf-a".to_owned(),
                capacity_bytes: 1 << 40,
                version: "0.1.0".to_owned(),
                feature_level_max: 1,
                life: 0,
            }),
        ),
        ("seal_commit", seal(range, 1, 0x51)),
        ("seal_commit_round_2", seal(range, 2, 0x52)),
        ("seal_commit_before_1970", seal(before_1970, 1, 0x50)),
        (
            "uploaded",
            Command::Uploaded(vec![
                BlockUploaded {
                    arc,
                    block: BlockId(0x51),
                    uploaded: Uploaded::Object,
                },
                BlockUploaded {
                    arc,
                    block: BlockId(0x52),
                    uploaded: pack,
                },
            ]),
        ),
        (
            "compacted",
            Command::Compacted(Compacted {
                arc,
                epoch: Epoch(1),
                inputs: vec![BlockId(0x51), BlockId(0x52)],
                outputs: vec![entry(0x53, range, 1, 0, pack)],
            }),
        ),
        (
            "expired",
            Command::Expired(Expired {
                arc,
                before: TimestampMs(1_000),
            }),
        ),
        ("feature_level", Command::FeatureLevel(1)),
    ]
}

/// The commands that change members and arcs, in an order in which all of them apply after
/// [`commands`]. At their end one partition is moving and one is split.
fn changes_of_members() -> Vec<(&'static str, Command)> {
    let arc = RingArc::new(0x3000_0000, 4).unwrap();
    let second = Incarnation(0xb0a2_d002 << 64);
    let member = |incarnation, life| MemberId { incarnation, life };
    let up = NodeUp {
        name: "board-2".to_owned(),
        incarnation: second,
        session: Session {
            starts: 1,
            nonce: 5,
        },
        addresses: vec!["10.0.0.2:9095".to_owned()],
        zone: "shelf-b".to_owned(),
        capacity_bytes: 0,
        version: "0.1.0".to_owned(),
        feature_level_max: 1,
        life: 0,
    };
    let begin = |epoch, join, leave| {
        Command::MoveBegin(MoveBegin {
            arc,
            epoch: Epoch(epoch),
            join,
            leave,
        })
    };
    let joining = Some(member(second, 0));
    let leaving = Some(member(INCARNATION, 0));
    let finish = |epoch| {
        Command::MoveFinish(MoveFinish {
            arc,
            epoch: Epoch(epoch),
            version: 5,
        })
    };
    let abort = Command::MoveAbort(MoveAbort {
        arc,
        epoch: Epoch(4),
    });
    let split = Command::Split(Split {
        arc: RingArc::new(0xf000_0000, 4).unwrap(),
        epoch: Epoch(1),
    });
    vec![
        ("node_up_second", Command::NodeUp(up)),
        ("node_down", Command::NodeDown(second)),
        ("node_live", Command::NodeLive(second)),
        ("move_begin_join", begin(1, joining, None)),
        ("move_finish", finish(2)),
        ("move_begin_leave", begin(3, None, joining)),
        ("move_abort", abort),
        ("move_begin_leave_again", begin(5, None, leaving)),
        ("move_finish_again", finish(6)),
        (
            "move_begin_both",
            begin(7, Some(member(INCARNATION, 0)), joining),
        ),
        ("split", split),
        ("node_gone", Command::NodeGone(second)),
    ]
}

/// What came after the ring, in its own place so that the golden states before it stay.
fn intents() -> Vec<(&'static str, Command)> {
    let drain = |drain| {
        Command::Drain(Drain {
            incarnation: INCARNATION,
            drain,
        })
    };
    vec![
        ("drain", drain(true)),
        ("drain_back", drain(false)),
        ("drain_again", drain(true)),
    ]
}

/// What a person gives up, as bytes alone: the states above have lost nothing.
fn given_up() -> Vec<(&'static str, Command)> {
    let member = |incarnation, life| MemberId { incarnation, life };
    let recovered = Command::Recovered(Recovered {
        arc: RingArc::new(0xa000_0000, 4).unwrap(),
        epoch: Epoch(9),
        members: vec![member(INCARNATION, 0), member(Incarnation(7), 2)],
        lost_blocks: vec![BlockId(5), BlockId(u128::MAX)],
        history: None,
    });
    let left = Command::Recovered(Recovered {
        arc: RingArc::new(0xa000_0000, 4).unwrap(),
        epoch: Epoch(9),
        members: vec![member(INCARNATION, 0)],
        lost_blocks: Vec::new(),
        history: Some(HistoryLeft {
            base: Digest([0xba; 32]),
            left: Some(history()),
        }),
    });
    let generation = Command::ControlGeneration(ControlGeneration {
        generation: 1,
        lost: vec![INCARNATION, Incarnation(8)],
    });
    vec![
        ("recovered", recovered),
        ("control_generation", generation),
        ("recovered_history", left),
    ]
}

fn history() -> History {
    History {
        digest: Digest([0xef; 32]),
        blocks: 2,
        oldest_end: TimestampMs(-1),
    }
}

/// What came with manifests, in an order in which all of them apply after [`intents`].
fn manifests() -> Vec<(&'static str, Command)> {
    let arc = RingArc::new(0x3000_0000, 4).unwrap();
    let range = Window(240_000).range();
    let pack = Uploaded::Pack {
        pack: Digest([0xcd; 32]),
        offset: 4096,
    };
    let changed = |base: Option<Digest>, history, moved, back| {
        Command::ManifestChanged(ManifestChanged {
            arc,
            epoch: Epoch(8),
            base,
            history,
            moved,
            back,
            rounds_before: Window(240_001).start(),
        })
    };
    let later = History {
        digest: Digest([0xee; 32]),
        ..history()
    };
    let again = vec![entry(0x53, range, 1, 0, pack)];
    let upgraded = Command::NodeUp(NodeUp {
        name: "board-1".to_owned(),
        incarnation: INCARNATION,
        session: Session {
            starts: 4,
            nonce: 0x5555,
        },
        addresses: vec!["10.0.0.1:9095".to_owned()],
        zone: "shelf-a".to_owned(),
        capacity_bytes: 0,
        version: "0.2.0".to_owned(),
        feature_level_max: 2,
        life: 0,
    });
    vec![
        ("node_up_upgraded", upgraded),
        ("feature_level_2", Command::FeatureLevel(2)),
        (
            "manifest_changed",
            changed(None, Some(history()), vec![(BlockId(0x53), pack)], vec![]),
        ),
        (
            "manifest_changed_back",
            changed(Some(history().digest), Some(later), vec![], again),
        ),
    ]
}

/// What came with deletes, in an order in which all of them apply after [`manifests`].
fn tombstones() -> Vec<(&'static str, Command)> {
    let upgraded = Command::NodeUp(NodeUp {
        name: "board-1".to_owned(),
        incarnation: INCARNATION,
        session: Session {
            starts: 5,
            nonce: 0x6666,
        },
        addresses: vec!["10.0.0.1:9095".to_owned()],
        zone: "shelf-a".to_owned(),
        capacity_bytes: 0,
        version: "0.3.0".to_owned(),
        feature_level_max: 4,
        life: 0,
    });
    let matchers = [
        ("__name__", MatchOp::Equal, "up"),
        ("job", MatchOp::NotEqual, ""),
        ("instance", MatchOp::Regex, "a.*"),
        ("zone", MatchOp::NotRegex, "b|c"),
    ];
    let tombstone = |id, start| {
        let matchers = matchers.iter();
        Command::Tombstone(Tombstone {
            id: TombstoneId(id),
            deletion: Deletion {
                tenant: TenantId::new("team-a").unwrap(),
                matchers: matchers
                    .map(|(name, op, value)| Matcher::new(name, *op, value).unwrap())
                    .collect(),
                range: TimeRange::new(start, TimestampMs(2_000)),
            },
            at: TimestampMs(3_000),
        })
    };
    let done = TombstoneDone {
        id: TombstoneId(0x71),
        by: MemberId {
            incarnation: INCARNATION,
            life: 0,
        },
        seen: 40,
    };
    vec![
        ("node_up_upgraded_again", upgraded),
        ("feature_level_4", Command::FeatureLevel(4)),
        ("tombstone", tombstone(0x71, TimestampMs(-1_000))),
        ("tombstone_of_all_time", tombstone(0x72, TimestampMs::MIN)),
        (
            "tombstone_begun",
            Command::TombstoneBegun(TombstoneId(0x71)),
        ),
        (
            "tombstone_undone",
            Command::TombstoneUndone(TombstoneId(0x72)),
        ),
        ("tombstone_done", Command::TombstoneDone(done)),
    ]
}

/// All commands, each golden file's part after the other.
fn everything() -> impl Iterator<Item = (&'static str, Command)> {
    let all = commands().into_iter();
    all.chain(changes_of_members())
        .chain(intents())
        .chain(given_up())
        .chain(manifests())
        .chain(tombstones())
}

#[test]
fn every_command_has_the_bytes_it_always_had() {
    let golden = golden();
    let mut missing = Vec::new();
    for (name, command) in everything() {
        let bytes = command.encode();
        assert_eq!(Command::decode(&bytes).as_ref(), Ok(&command), "{name}");
        match golden.get(name) {
            None => missing.push(format!("{name} {}", hex(&bytes))),
            Some(golden) => {
                assert_eq!(hex(&bytes), hex(golden), "{name}: the bytes have changed");
                assert_eq!(Command::decode(golden), Ok(command), "{name}");
            }
        }
    }
    assert!(
        missing.is_empty(),
        "add to golden/control.txt:\n{}",
        missing.join("\n")
    );
}

#[test]
fn the_same_commands_give_the_state_they_always_gave() {
    let golden = golden();
    let mut state = ControlState::default();
    for (case, commands) in [
        ("state", commands()),
        ("state_ring", changes_of_members()),
        ("state_drain", intents()),
        ("state_manifest", manifests()),
        ("state_tombstone", tombstones()),
    ] {
        for (name, command) in commands {
            let outcome = state.apply(&command);
            assert_eq!(outcome.into_result(), Ok(()), "{name}");
        }
        let bytes = state.encode();
        let Some(golden) = golden.get(case) else {
            panic!("add to golden/control.txt:\n{case} {}", hex(&bytes));
        };
        assert_eq!(hex(&bytes), hex(golden), "the state's bytes have changed");
        assert_eq!(ControlState::decode(golden).as_ref(), Ok(&state));
    }
}

/// A manifest is read for as long as its blocks are kept.
#[test]
fn a_manifest_has_the_bytes_it_always_had() {
    let pack = Uploaded::Pack {
        pack: Digest([0xcd; 32]),
        offset: 4096,
    };
    let day = TimeRange::new(TimestampMs(0), TimestampMs(86_399_999));
    let blocks = [
        entry(0x60, Window(-1).range(), 0, 3, Uploaded::Object),
        entry(0x61, day, 2, 1, pack),
        entry(0x62, day, 2, 1, Uploaded::None),
    ];
    let manifest = Manifest {
        arc: RingArc::new(0x3000_0000, 4).unwrap(),
        blocks: blocks.map(|entry| (entry.id, entry)).into(),
    };
    let bytes = manifest.encode();
    let golden = golden();
    let Some(golden) = golden.get("manifest") else {
        panic!("add to golden/control.txt:\nmanifest {}", hex(&bytes));
    };
    assert_eq!(
        hex(&bytes),
        hex(golden),
        "the manifest's bytes have changed"
    );
    assert_eq!(Manifest::decode(golden), Ok(manifest));
}

#[test]
fn a_command_of_a_newer_version_stops_the_node() {
    // Field 16 is reserved for Tenant, field 200 for nothing.
    for (bytes, number) in [(vec![0x82, 0x01, 0], 16), (vec![0xc2, 0x0c, 0], 200)] {
        let error = Command::decode(&bytes).unwrap_err();
        assert!(
            matches!(error, WireError::UnknownCommand { number: found, .. } if found == number),
            "{error}"
        );
    }
    // A merge that names a manifest: the field was planned and is not used.
    let Some((_, compacted)) = commands()
        .into_iter()
        .find(|(name, _)| *name == "compacted")
    else {
        panic!("there is such a case");
    };
    let mut bytes = compacted.encode();
    bytes.extend([0x62, 2, 0x2a, 0]);
    let error = Command::decode(&bytes).unwrap_err();
    assert!(matches!(error, WireError::Newer(_)), "{error}");
}

#[test]
fn every_prefix_of_a_command_is_refused_or_another_command() {
    for (name, command) in everything() {
        let bytes = command.encode();
        for len in 0..bytes.len() {
            let read = Command::decode(&bytes[..len]);
            assert_ne!(read.as_ref(), Ok(&command), "{name} cut to {len}");
        }
    }
}
