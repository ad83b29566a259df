//! What is written is read, and nothing else is.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::model::*;
use crate::store::{DigestTree, Leaves, Pulled, PulledSeries};

fn arc() -> RingArc {
    RingArc::new(0x3000_0000, 4).unwrap()
}

fn tree(leaves: &[(u8, u8, u128)], metadata: u128) -> DigestTree {
    let mut tree = DigestTree::default();
    for (slot, sub_arc, sum) in leaves {
        tree.add(slot % 12, sub_arc % 16, *sum);
    }
    tree.add_metadata(metadata);
    tree
}

proptest! {
    #[test]
    fn answers_to_cuts_come_back(
        leaves in proptest::collection::vec((any::<u8>(), any::<u8>(), any::<u128>()), 0..40),
        metadata in any::<u128>(), version in any::<u64>(), token in any::<u64>()
    ) {
        let range = Some(Window(-1).range());
        let request = CutRequest { arc: arc(), epoch: Epoch(7), range, round: 3, remains: range.is_none() };
        prop_assert_eq!(CutRequest::decode(request.encode()).unwrap(), request);
        let tree = tree(&leaves, metadata);
        let all = CutRequest { range: None, ..request };
        prop_assert_eq!(CutRequest::decode(all.encode()).unwrap(), all);
        let windows = vec![(Window(-3), tree.clone()), (Window(i64::MAX), tree.clone())];
        for (request, held) in [
            (request, CutHeld::Empty),
            (request, CutHeld::Cut { token, tree }),
            (all, CutHeld::Windows(windows)),
            (all, CutHeld::Windows(Vec::new())),
        ] {
            let answer = CutAnswer::Held { epoch: Epoch(7), version, held };
            let bytes = answer.encode();
            prop_assert_eq!(CutAnswer::decode(bytes.clone(), &request).unwrap(), answer);
            let later = CutRequest { epoch: Epoch(8), ..request };
            let wrong = CutAnswer::WrongEpoch(Epoch(7));
            prop_assert_eq!(CutAnswer::decode(bytes, &later).unwrap(), wrong);
        }
        let wrong = CutAnswer::WrongEpoch(Epoch(9));
        prop_assert_eq!(CutAnswer::decode(wrong.encode(), &request).unwrap(), wrong);
    }

    #[test]
    fn requests_come_back(slots in any::<[u16; 12]>(), metadata in any::<bool>(), number in any::<u64>()) {
        let leaves = Leaves::new(slots, metadata);
        for of in [PullOf::Cut(number), PullOf::Window(Window(-5)), PullOf::Everything] {
            for purpose in (0..8).map(Purpose::of) {
                let request = PullRequest { arc: arc(), epoch: Epoch(number), purpose, of, leaves };
                prop_assert_eq!(PullRequest::decode(request.encode()).unwrap(), request);
            }
        }
        let stage = StageRequest {
            arc: arc(),
            epoch: Epoch(2),
            entry: BlockEntry {
                id: BlockId(u128::from(number) << 9),
                range: Window(-3).range(),
                level: Level(2),
                round: 7,
                size: number,
                samples: 99,
                content_sum: u128::MAX - 5,
                digest: Digest([4; 32]),
                uploaded: Uploaded::None,
            },
            release: vec![number, 0],
        };
        prop_assert_eq!(StageRequest::decode(stage.encode()).unwrap(), stage);
        let staged = StageAnswer { epoch: Epoch(number), staged: metadata };
        prop_assert_eq!(StageAnswer::decode(staged.encode()).unwrap(), staged);
        let fetch = FetchRequest { id: BlockId(5), offset: number, len: 3 };
        prop_assert_eq!(FetchRequest::decode(fetch.encode()).unwrap(), fetch);
        let answer = FetchAnswer(Bytes::from_static(b"abc"));
        prop_assert_eq!(&FetchAnswer::decode(answer.encode(), &fetch).unwrap(), &answer);
        let shorter = FetchRequest { len: 2, ..fetch };
        prop_assert!(FetchAnswer::decode(answer.encode(), &shorter).is_err());
    }
}

fn histogram(count: u64) -> Value {
    Value::Histogram(std::sync::Arc::new(Histogram::counting(
        u32::try_from(count).unwrap(),
    )))
}

fn items() -> impl Strategy<Value = Vec<Pulled>> {
    let value = prop_oneof![
        4 => any::<u64>().prop_map(|bits| Value::Float(f64::from_bits(bits))),
        1 => (1u64..4).prop_map(histogram),
    ];
    let samples = proptest::collection::btree_map(
        any::<i64>(),
        (value, prop_oneof![4 => Just(0), 1 => any::<i64>()]),
        1..30,
    );
    let labels = proptest::collection::btree_map("[a-c]{1,2}", "[a-z]{1,3}", 0..4);
    let tenant = (0..2).prop_map(|number| TenantId::new(&format!("t{number}")).unwrap());
    let series = (tenant.clone(), labels, samples).prop_map(|(tenant, labels, samples)| {
        let mut all = Samples::default();
        for (at, (value, start)) in samples {
            all.push(TimestampMs(at), value, TimestampMs(start));
        }
        let labels: Vec<_> = labels.into_iter().collect();
        Pulled::Series(PulledSeries {
            tenant,
            labels: LabelSet::from_pairs(&labels).unwrap(),
            samples: all,
        })
    });
    let family = (tenant, "[a-z]{1,5}", "[ a-z]{0,9}").prop_map(|(tenant, name, help)| {
        let metadata = Metadata {
            kind: MetricKind::Info,
            help,
            unit: "s".to_owned(),
        };
        Pulled::Metadata(tenant, name, vec![metadata])
    });
    proptest::collection::vec(prop_oneof![4 => series, 1 => family], 0..12)
}

fn write(items: &[Pulled]) -> Vec<Bytes> {
    let (mut writer, mut messages) = (ContentWriter::default(), Vec::new());
    for item in items {
        writer
            .add(item, |message| {
                messages.push(message);
                Ok::<_, ()>(())
            })
            .unwrap();
    }
    messages.push(writer.finish());
    messages
}

proptest! {
    /// Metadata come first in a message; else the order stays.
    #[test]
    fn content_comes_back(items in items()) {
        let messages = write(&items);
        let decoded: Vec<Content> = messages
            .iter()
            .map(|message| decode_content(message.clone()).unwrap())
            .collect();
        prop_assert!(decoded.iter().rev().skip(1).all(|content| !content.last));
        prop_assert!(decoded.last().unwrap().last);
        let got: Vec<Pulled> = decoded.into_iter().flat_map(|content| content.items).collect();
        let (families, series): (Vec<_>, Vec<_>) =
            items.into_iter().partition(|item| matches!(item, Pulled::Metadata(..)));
        prop_assert_eq!(got, [families, series].concat());
    }

    /// Whatever the bytes, the answer is content that could have been written, or an error.
    #[test]
    fn damaged_content_is_an_error_or_content(
        items in items(), at in any::<proptest::sample::Index>(), value in any::<u8>()
    ) {
        for message in write(&items) {
            let mut bytes = message.to_vec();
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            if let Ok(content) = decode_content(Bytes::from(bytes)) {
                for item in &content.items {
                    if let Pulled::Series(one) = item {
                        prop_assert!(one.samples.timestamps.is_sorted_by(|a, b| a < b));
                    }
                }
                let again: Vec<Pulled> = write(&content.items)
                    .into_iter()
                    .flat_map(|message| decode_content(message).unwrap().items)
                    .filter(|item| !matches!(item, Pulled::Metadata(..)))
                    .collect();
                let series = content.items.into_iter();
                let series: Vec<Pulled> = series
                    .filter(|item| matches!(item, Pulled::Series(one) if !one.samples.is_empty()))
                    .collect();
                prop_assert_eq!(again, series);
            }
        }
    }
}

/// Catches messages that grow beyond what peers carry.
#[test]
fn long_content_comes_in_many_messages() {
    let mut samples = Samples::default();
    for at in 0..200_000 {
        samples.push(TimestampMs(at), Value::Float(at as f64), TimestampMs(0));
    }
    let labels = LabelSet::from_pairs(&[("a", "x".repeat(1000))]).unwrap();
    let series = PulledSeries {
        tenant: TenantId::anonymous(),
        labels,
        samples,
    };
    let messages = write(&[Pulled::Series(series.clone())]);
    assert!(messages.len() > 4);
    let mut all = Samples::default();
    for message in messages {
        assert!(message.len() < 1 << 20, "{}", message.len());
        for item in decode_content(message).unwrap().items {
            let Pulled::Series(one) = item else {
                panic!("metadata");
            };
            assert_eq!(one.labels, series.labels);
            all.merge(&one.samples);
        }
    }
    assert_eq!(all, series.samples);
}

#[test]
fn what_is_said_of_a_manifest_is_heard() {
    let digest = crate::model::Digest([7; 32]);
    let arc = RingArc::new(0xa000_0000, 4).unwrap();
    for request in [
        ManifestRequest::Keep {
            digest,
            arc,
            epoch: Epoch(3),
        },
        ManifestRequest::Read {
            digest,
            offset: 1 << 33,
            len: 9,
        },
    ] {
        assert_eq!(ManifestRequest::decode(request.encode()), Ok(request));
    }
    let answer = ManifestAnswer {
        epoch: Epoch(3),
        kept: true,
        size: 5,
        bytes: Bytes::from_static(b"bytes"),
    };
    assert_eq!(ManifestAnswer::decode(answer.encode()), Ok(answer));
    assert!(ManifestRequest::decode(Bytes::from_static(&[0x0a, 1, 7])).is_err());
    assert!(ManifestAnswer::decode(Bytes::from_static(&[0xff])).is_err());
}
