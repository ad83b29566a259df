//! What is asked and answered comes back, and bad bytes are refused.

use proptest::prelude::*;

use super::*;
use crate::model::FOUNDING_DEPTH;

fn leaf_set() -> impl Strategy<Value = LeafSet> {
    any::<[u16; SLOTS as usize]>().prop_map(LeafSet::of_slots)
}

fn sums() -> impl Strategy<Value = WindowSums> {
    let leaves = (leaf_set(), any::<u128>()).prop_map(|(set, seed)| {
        let sum = |(at, leaf)| (leaf, ContentSum(seed.wrapping_mul(at)));
        WindowSums::Leaves((1u128..).zip(set.iter()).map(sum).collect())
    });
    let some = |sums: &WindowSums| !matches!(sums, WindowSums::Leaves(l) if l.is_empty());
    prop_oneof![
        any::<u128>().prop_map(|sum| WindowSums::Whole(ContentSum(sum))),
        leaves.prop_filter("a window that holds something", some),
    ]
}

fn arc() -> impl Strategy<Value = RingArc> {
    (0usize..16).prop_map(|at| RingArc::all(FOUNDING_DEPTH).nth(at).unwrap())
}

fn asked() -> impl Strategy<Value = Asked> {
    let leaves = prop::collection::btree_map(any::<i64>().prop_map(Window), leaf_set(), 0..4);
    (arc(), any::<u64>(), leaves).prop_map(|(arc, epoch, leaves)| Asked {
        arc,
        epoch: Epoch(epoch),
        leaves,
    })
}

fn selection() -> impl Strategy<Value = Selection> {
    let op = prop_oneof![
        Just(MatchOp::Equal),
        Just(MatchOp::NotEqual),
        Just(MatchOp::Regex),
        Just(MatchOp::NotRegex),
    ];
    let matcher = (op, "[a-z]{0,5}", "[a-z|]{0,5}")
        .prop_map(|(op, name, value)| Matcher::new(&name, op, &value).unwrap());
    let matchers = prop::collection::vec(matcher, 0..4);
    ("[a-z]{1,9}", matchers, any::<[i64; 2]>()).prop_map(|(tenant, matchers, [start, end])| {
        Selection {
            tenant: TenantId::new(&tenant).unwrap(),
            matchers,
            range: TimeRange::new(TimestampMs(start), TimestampMs(end)),
        }
    })
}

fn state() -> impl Strategy<Value = State> {
    let heads = prop::collection::btree_map(any::<i64>().prop_map(Window), sums(), 0..4);
    let answer = (any::<u64>(), any::<u64>(), heads, 0u32..4, any::<bool>());
    let answer = answer.prop_map(|(epoch, version, heads, sets, encoded)| PartitionAnswer {
        epoch: Epoch(epoch),
        held: HeldHere {
            version,
            heads: HeadSums(heads),
            encoded,
        },
        sets,
    });
    let partitions = prop::collection::btree_map(arc(), answer, 0..4);
    let of = |(incarnation, life, applied, run, partitions)| State {
        member: MemberId {
            incarnation: Incarnation(incarnation),
            life,
        },
        applied,
        run,
        partitions,
    };
    (
        any::<u128>(),
        any::<u32>(),
        any::<u64>(),
        any::<u64>(),
        partitions,
    )
        .prop_map(of)
}

fn names() -> impl Strategy<Value = NamesKind> {
    prop_oneof![
        Just(NamesKind::Series),
        Just(NamesKind::LabelNames),
        "[a-z]{0,5}".prop_map(NamesKind::LabelValues),
        prop::option::of("[a-z]{1,5}").prop_map(NamesKind::Metadata),
        Just(NamesKind::Exemplars),
        Just(NamesKind::LabelPairs),
    ]
}

/// Partitions that are asked for, a selection, and a state.
fn seed() -> (Vec<Asked>, Selection, State) {
    let arc = RingArc::all(FOUNDING_DEPTH).nth(3).unwrap();
    let mut set = LeafSet::default();
    (2..5).for_each(|slot| set.insert(Leaf::new(slot, 7).unwrap()));
    let partitions = vec![Asked {
        arc,
        epoch: Epoch(4),
        leaves: Leaves::from([(Window(236_111), set)]),
    }];
    let selection = Selection {
        tenant: TenantId::anonymous(),
        matchers: vec![Matcher::new("job", MatchOp::Regex, "a|b").unwrap()],
        range: TimeRange::new(TimestampMs(0), TimestampMs(1_700_000_000_000)),
    };
    let sums = set
        .iter()
        .map(|leaf| (leaf, ContentSum(u128::MAX / 3)))
        .collect();
    let windows = [
        (Window(1), WindowSums::Whole(ContentSum(5))),
        (Window(236_111), WindowSums::Leaves(sums)),
    ];
    let answer = PartitionAnswer {
        epoch: Epoch(4),
        held: HeldHere {
            version: 9,
            heads: HeadSums(windows.into_iter().collect()),
            encoded: false,
        },
        sets: 3,
    };
    let state = State {
        member: MemberId {
            incarnation: Incarnation(u128::MAX / 7),
            life: 1,
        },
        applied: 77,
        run: 5,
        partitions: BTreeMap::from([(arc, answer)]),
    };
    (partitions, selection, state)
}

/// `CAIRN_CORPUS=seed` writes the seeds of the fuzz target `read` again.
#[test]
fn seeds_are_read() {
    use crate::cluster::read::batch::BatchWriter;
    use crate::model::{LabelSet, Samples, Value, stale_nan};
    let (partitions, selection, state) = seed();
    let mut samples = Samples::default();
    for (i, value) in [1.0, 1.5, stale_nan()].into_iter().enumerate() {
        let at = TimestampMs(1_700_000_000_000 + 15_000 * i64::try_from(i).unwrap());
        samples.push(at, Value::Float(value), TimestampMs(0));
    }
    let labels = LabelSet::from_pairs(&[("__name__", "up"), ("job", "a")]).unwrap();
    let mut writer = BatchWriter::default();
    writer.add(&labels, &samples, |_| {});
    samples.values.fill(2.0);
    writer.add(&labels, &samples, |_| {});
    let part = wire::Part {
        opened: Some(state.to_wire()),
        batch: Some(writer.take()),
        texts: vec!["instance".to_owned()],
        end: Some(wire::End {
            count: 2,
            fetched_bytes: 1 << 40,
            lacks: vec!["a block".to_owned()],
            resolution: 2,
        }),
        ..wire::Part::default()
    };
    let ask = StateRequest {
        partitions: partitions.clone(),
        selection: selection.clone(),
        encoded: false,
    };
    let select = SelectRequest {
        selection: selection.clone(),
        partitions: partitions.clone(),
        heads_only: true,
        partial: false,
        newest: None,
    };
    let names = NamesRequest {
        kind: NamesKind::LabelValues("job".to_owned()),
        selection,
        partitions,
        limit: 10,
    };
    let part = Bytes::from(part.encode_to_vec());
    let bodies = [
        ask.encode(),
        select.encode(),
        names.encode(),
        state.encode(),
        part,
    ];
    for (kind, body) in (0u8..).zip(bodies) {
        let seed = [&[kind][..], &body].concat();
        assert!(crate::cluster::reread_message(&seed), "{kind}");
        if std::env::var("CAIRN_CORPUS").is_ok_and(|value| value == "seed") {
            let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/read");
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(format!("message-{kind}")), seed).unwrap();
        }
    }
}

proptest! {
    #[test]
    fn messages_come_back(
        partitions in prop::collection::vec(asked(), 0..4),
        selection in selection(),
        state in state(),
        kind in names(),
        limit in 0usize..9,
        heads_only: bool,
    ) {
        prop_assert_eq!(State::decode(state.encode()), Ok(state.clone()));
        let ask = StateRequest {
            partitions: partitions.clone(),
            selection: selection.clone(),
            encoded: !heads_only,
        };
        prop_assert_eq!(StateRequest::decode(ask.encode()), Ok(ask.clone()));
        let ask = SelectRequest {
            selection: selection.clone(),
            partitions: partitions.clone(),
            heads_only,
            partial: heads_only,
            newest: (limit > 4).then_some(Moments {
                first: selection.range.start,
                step_ms: 1 + selection.range.end.0.rem_euclid(9),
                count: limit,
            }),
        };
        prop_assert_eq!(SelectRequest::decode(ask.encode()), Ok(ask.clone()));
        let ask = NamesRequest { kind, selection, partitions, limit };
        prop_assert_eq!(NamesRequest::decode(ask.encode()), Ok(ask.clone()));
    }

    #[test]
    fn no_bytes_do_harm(state in state(), at: prop::sample::Index, byte: u8, any: Vec<u8>) {
        let mut bytes = state.encode().to_vec();
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        for bytes in [bytes, any] {
            let bytes = Bytes::from(bytes);
            State::decode(bytes.clone()).ok();
            StateRequest::decode(bytes.clone()).ok();
            SelectRequest::decode(bytes.clone()).ok();
            NamesRequest::decode(bytes).ok();
        }
    }
}
