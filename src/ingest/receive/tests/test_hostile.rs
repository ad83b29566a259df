//! Bytes that nobody should send: never a panic, never a series that breaks the rules, always an
//! answer that says something.

use std::collections::BTreeSet;

use proptest::prelude::*;
use prost::Message as _;

use super::test_messages::Exemplar;
use super::test_rig::{NOW, Rig, V1_TYPE, V2_TYPE, snappy};
use super::test_v1::{label, request, series};
use super::test_v2::{Builder, small_histogram};

/// A request of each version with one of everything.
fn bodies() -> [(&'static str, Vec<u8>); 2] {
    let labels = [("__name__", "up"), ("job", "node"), ("instance", "a:9100")];
    let mut first = series(&labels, &[(NOW, 1.5), (NOW + 1, f64::NAN)]);
    first.exemplars = vec![Exemplar {
        labels: vec![label("trace_id", "abc")],
        value: 1.0,
        timestamp: NOW,
    }];
    let mut second = series(&[("__name__", "h"), ("job", "node")], &[]);
    second.histograms = vec![small_histogram(NOW)];
    let third = series(&[("__name__", "plain"), ("job", "node")], &[(NOW, 1.0)]);
    let v1 = request(vec![first, second, third.clone(), third]);

    let mut builder = Builder::new();
    builder.float(&labels, NOW, 1.0);
    builder.series(&[("__name__", "h")]).histograms = vec![small_histogram(NOW)];
    builder.float(&[("__name__", "plain"), ("job", "node")], NOW, 2.0);
    [
        (V1_TYPE, v1.encode_to_vec()),
        (V2_TYPE, builder.request.encode_to_vec()),
    ]
}

fn check_kept(rig: &Rig) {
    for (_, labels) in &rig.double.kept.lock().series {
        let names: Vec<&str> = labels.iter().map(|(name, _)| name).collect();
        assert!(names.is_sorted_by(|a, b| a < b), "{labels}");
        assert!(labels.iter().all(|(n, v)| !n.is_empty() && !v.is_empty()));
        assert!(labels.metric_name().is_some(), "{labels}");
    }
}

#[tokio::test]
async fn a_truncated_message_stores_nothing() {
    for (content_type, body) in bodies() {
        let rig = Rig::new();
        let mut whole = BTreeSet::new();
        for len in 1..body.len() {
            let sent = snappy(&body[..len]);
            let answer = rig.send_body(Some(content_type), None, sent).await;
            if answer.status == 204 {
                // Cut exactly between two parts: a message of its own.
                whole.insert(len);
            } else {
                assert_eq!(answer.status, 400, "{len}: {}", answer.body);
            }
        }
        assert!(whole.len() < 20, "{whole:?}");
        check_kept(&rig);
    }
}

#[tokio::test]
async fn foreign_bytes_are_refused() {
    let rig = Rig::new();
    for content_type in [V1_TYPE, V2_TYPE] {
        for (encoding, body) in [
            ("snappy", b"hello, world".to_vec()),
            ("snappy", snappy(b"hello, world")),
            ("snappy", one_framed()),
            ("zstd", b"hello".to_vec()),
            ("gzip", b"hello".to_vec()),
            ("snappy", vec![0xff; 100]),
            ("snappy", snappy(&[0x0b; 1000])),
            ("snappy", snappy(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f])),
        ] {
            let answer = rig
                .send_body(Some(content_type), Some(encoding), body)
                .await;
            assert_eq!(answer.status, 400, "{}", answer.body);
            assert!(answer.body.contains("the body is no "), "{}", answer.body);
        }
    }
    assert_eq!(rig.double.samples(), []);
}

/// The framed format of snappy, which remote-write never uses.
fn one_framed() -> Vec<u8> {
    let mut framed = Vec::new();
    let mut encoder = snap::write::FrameEncoder::new(&mut framed);
    std::io::Write::write_all(&mut encoder, &bodies()[0].1).unwrap();
    drop(encoder);
    framed
}

#[tokio::test]
async fn small_messages_that_unfold_are_bounded() {
    let rig = Rig::new();
    // Two bytes a series, a symbol, a sample: more of them than are taken, or taken in parts.
    let series = [0x0a, 0x00].repeat(3 << 19);
    let symbols = [0x22, 0x00].repeat(3 << 19);
    let answers = [
        rig.send_body(Some(V1_TYPE), None, snappy(&series)).await,
        rig.send_body(Some(V2_TYPE), None, snappy(&symbols)).await,
    ];
    for answer in answers {
        assert_eq!(answer.status, 413, "{}", answer.body);
    }
    let mut one = vec![
        0x0a, 0x0e, 0x0a, 0x08, b'_', b'_', b'n', b'a', b'm', b'e', b'_', b'_', 0x12, 0x02, b'u',
        b'p',
    ];
    one.extend([0x12, 0x00].repeat(200_000));
    let mut body = vec![0x0a];
    prost::encoding::encode_varint(one.len() as u64, &mut body);
    body.extend(one);
    let answer = rig.send_body(Some(V1_TYPE), None, snappy(&body)).await;
    assert_eq!(answer.status, 204, "{}", answer.body);
    assert_eq!(rig.double.samples().len(), 200_000);
}

fn run(content_type: &str, rig: &Rig, body: Vec<u8>) -> u16 {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime
        .block_on(rig.send_body(Some(content_type), None, body))
        .status
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn mutated_bytes_store_only_what_is_in_order(
        version in 0usize..2,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        compress_first in any::<bool>(),
    ) {
        let (content_type, body) = bodies()[version].clone();
        let mut body = if compress_first { snappy(&body) } else { body };
        for (at, byte) in changes {
            let at = at.index(body.len());
            body[at] = byte;
        }
        let body = if compress_first { body } else { snappy(&body) };
        let rig = Rig::new();
        // Known series first, so that the quick way is tried as well.
        for (content_type, good) in bodies() {
            prop_assert_eq!(run(content_type, &rig, snappy(&good)), 204);
        }
        for _ in 0..2 {
            let status = run(content_type, &rig, body.clone());
            prop_assert!(matches!(status, 204 | 400 | 413), "{}", status);
        }
        check_kept(&rig);
    }

    #[test]
    fn any_bytes_get_an_answer(body in prop::collection::vec(any::<u8>(), 0..300)) {
        let rig = Rig::new();
        for content_type in [V1_TYPE, V2_TYPE] {
            let status = run(content_type, &rig, snappy(&body));
            prop_assert!(matches!(status, 204 | 400), "{}", status);
            run(content_type, &rig, body.clone());
        }
        check_kept(&rig);
    }
}
