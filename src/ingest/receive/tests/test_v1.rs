//! Remote-write 1.0.

use super::test_messages::{Exemplar, Label, MetricMetadata, Sample, TimeSeries, WriteRequest};
use super::test_rig::{NOW, Rig, V1_TYPE, snappy, written};
use crate::model::STALE_NAN_BITS;

pub(super) fn label(name: &str, value: &str) -> Label {
    Label {
        name: name.as_bytes().to_vec(),
        value: value.as_bytes().to_vec(),
    }
}

pub(super) fn series(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> TimeSeries {
    TimeSeries {
        labels: labels.iter().map(|(n, v)| label(n, v)).collect(),
        samples: samples
            .iter()
            .map(|(timestamp, value)| Sample {
                value: *value,
                timestamp: *timestamp,
            })
            .collect(),
        ..TimeSeries::default()
    }
}

pub(super) fn request(timeseries: Vec<TimeSeries>) -> WriteRequest {
    WriteRequest {
        timeseries,
        metadata: Vec::new(),
    }
}

fn stored(name: &str, at: i64, value: &str) -> (String, i64, String) {
    (name.to_owned(), at, value.to_owned())
}

#[tokio::test]
async fn samples_come_in_and_the_second_time_nothing_is_parsed() {
    let rig = Rig::new();
    for (round, skip) in (0..3i64).zip([0usize, 4, 8]) {
        let at = NOW + round;
        let answer = rig
            .send(
                V1_TYPE,
                &request(vec![
                    series(&[("__name__", "up"), ("job", "a")], &[(at, 1.5)]),
                    series(&[("__name__", "up"), ("job", "b")], &[(at, 0.0)]),
                    series(
                        &[("__name__", "up"), ("job", "c")],
                        &[(at, 2.0), (at - 9, 3.0)],
                    ),
                ]),
            )
            .await;
        assert_eq!((answer.status, answer.body.as_str()), (204, ""));
        // 2.0's headers would make a sender of 1.0 believe in 2.0.
        assert_eq!(answer.headers, []);
        assert_eq!(
            rig.double.samples()[skip..],
            [
                stored("up{job=\"a\"}", at, "1.5"),
                stored("up{job=\"b\"}", at, "0.0"),
                stored("up{job=\"c\"}", at, "2.0"),
                stored("up{job=\"c\"}", at - 9, "3.0"),
            ]
        );
    }
    let registers = rig
        .double
        .registers
        .load(std::sync::atomic::Ordering::SeqCst);
    assert_eq!(registers, 3);
}

#[tokio::test]
async fn every_bit_of_every_nan_survives() {
    let rig = Rig::new();
    let bits = [
        STALE_NAN_BITS,
        0x7ff8_0000_0000_0001,
        0xfff8_0000_0000_0000,
        0x7ff0_0000_0000_0001,
    ];
    for _ in 0..2 {
        let all = bits.map(|bits| {
            let name = format!("n{bits:x}");
            series(&[("__name__", &name)], &[(NOW, f64::from_bits(bits))])
        });
        assert_eq!(rig.send(V1_TYPE, &request(all.to_vec())).await.status, 204);
    }
    let want: Vec<String> = bits
        .iter()
        .chain(&bits)
        .map(|b| format!("NaN:{b:x}"))
        .collect();
    let got: Vec<String> = rig.double.samples().into_iter().map(|s| s.2).collect();
    assert_eq!(got, want);
}

#[tokio::test]
async fn labels_are_mended_where_they_can_be() {
    let rig = Rig::new();
    let answer = rig
        .send(
            V1_TYPE,
            &request(vec![
                series(
                    &[("z", "1"), ("__name__", "up"), ("empty", "")],
                    &[(NOW, 1.0)],
                ),
                series(&[("__name__", "up"), ("z", "1")], &[(NOW, 2.0)]),
            ]),
        )
        .await;
    assert_eq!(answer.status, 204);
    assert_eq!(
        rig.double.samples(),
        [
            stored("up{z=\"1\"}", NOW, "1.0"),
            stored("up{z=\"1\"}", NOW, "2.0")
        ]
    );
    assert_eq!(rig.double.kept.lock().series.len(), 1);
}

#[tokio::test]
async fn bad_series_are_named_and_the_good_ones_stored() {
    let rig = Rig::new();
    let mut not_utf8 = series(&[("__name__", "up"), ("a", "")], &[(NOW, 1.0)]);
    not_utf8.labels[1].value = vec![0xff];
    let bad = [
        (
            series(&[("a", "1")], &[(NOW, 1.0)]),
            "metric name is missing",
        ),
        (
            series(
                &[("__name__", "dup"), ("a", "1"), ("a", "2")],
                &[(NOW, 1.0)],
            ),
            "dup{a=\"1\", a=\"2\"}: the label \"a\" occurs twice",
        ),
        (
            series(&[("__name__", "noname"), ("", "1")], &[(NOW, 1.0)]),
            "empty name",
        ),
        (not_utf8, "not valid UTF-8"),
        (
            series(
                &[("__name__", "early")],
                &[(NOW + 600_001, 1.0), (NOW, 7.0)],
            ),
            "early: the timestamp 1700000600001 is 600 s ahead",
        ),
    ];
    for (bad, text) in bad {
        // Twice: a refusal must be the same at the second try.
        for _ in 0..2 {
            let good = series(&[("__name__", "good")], &[(NOW, 5.0)]);
            let before = rig.double.samples().len();
            let answer = rig.send(V1_TYPE, &request(vec![bad.clone(), good])).await;
            assert_eq!(answer.status, 400);
            assert!(answer.body.contains(text), "{} in {}", text, answer.body);
            assert_eq!(written(&answer), None);
            let after = rig.double.samples();
            assert_eq!(after.last(), Some(&stored("good", NOW, "5.0")));
            let early = usize::from(bad.samples.len() == 2);
            assert_eq!(after.len(), before + 1 + early);
        }
    }
}

#[tokio::test]
async fn a_refusal_is_bounded() {
    let rig = Rig::new();
    let all = (0..500)
        .map(|i| series(&[("l", &"x".repeat(3_000 + i))], &[(NOW, 1.0)]))
        .collect();
    let answer = rig.send(V1_TYPE, &request(all)).await;
    assert_eq!(answer.status, 400);
    assert!(answer.body.len() < 8_000, "{}", answer.body.len());
    assert!(answer.body.contains("refused 500 samples"));
    assert!(answer.body.ends_with("and 490 more series\n"));
}

#[tokio::test]
async fn metadata_comes_alone_or_beside_samples_and_is_offered_once() {
    let rig = Rig::new();
    let metadata = |kind, family: &str, help: &str, unit: &str| MetricMetadata {
        kind,
        family: family.to_owned(),
        help: help.to_owned(),
        unit: unit.to_owned(),
    };
    let message = WriteRequest {
        timeseries: Vec::new(),
        metadata: vec![
            metadata(1, "requests_total", "Requests.", ""),
            metadata(3, "took_seconds", "How long.", "seconds"),
            metadata(0, "silent", "", ""),
            metadata(99, "odd", "An unknown kind.", ""),
        ],
    };
    for _ in 0..2 {
        assert_eq!(rig.send(V1_TYPE, &message).await.status, 204);
    }
    assert_eq!(
        rig.double.kept.lock().metadata,
        [
            "anonymous requests_total counter \"Requests.\" \"\"",
            "anonymous took_seconds histogram \"How long.\" \"seconds\"",
            "anonymous odd unknown \"An unknown kind.\" \"\"",
        ]
    );
}

#[tokio::test]
async fn metadata_that_was_not_durable_is_offered_again() {
    let rig = Rig::new();
    let message = WriteRequest {
        timeseries: Vec::new(),
        metadata: vec![MetricMetadata {
            kind: 1,
            family: "a_total".to_owned(),
            ..MetricMetadata::default()
        }],
    };
    rig.double
        .log_fails
        .store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(rig.send(V1_TYPE, &message).await.status, 503);
    rig.double
        .log_fails
        .store(false, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(rig.send(V1_TYPE, &message).await.status, 204);
    assert_eq!(rig.double.kept.lock().metadata.len(), 2);
}

#[tokio::test]
async fn exemplars_are_stored_and_their_faults_passed_over() {
    let rig = Rig::new();
    let exemplar = |id: &str, timestamp| Exemplar {
        labels: vec![label("trace_id", id)],
        value: 0.5,
        timestamp,
    };
    let mut with = series(&[("__name__", "took")], &[(NOW, 1.0)]);
    with.exemplars = vec![
        exemplar("abc", NOW - 5),
        exemplar("none", 0),
        exemplar(&"x".repeat(200), NOW),
        exemplar("late", NOW + 900_000),
    ];
    let mut alone = series(&[("__name__", "alone")], &[]);
    alone.exemplars = vec![exemplar("def", 1)];
    for _ in 0..2 {
        let answer = rig
            .send(V1_TYPE, &request(vec![with.clone(), alone.clone()]))
            .await;
        assert_eq!((answer.status, answer.body.as_str()), (204, ""));
    }
    let took = format!("took # {{trace_id=\"abc\"}} 0.5 {}", NOW - 5);
    let alone = "alone # {trace_id=\"def\"} 0.5 1";
    assert_eq!(
        rig.double.kept.lock().exemplars,
        [took.as_str(), alone, &took, alone]
    );
}

#[tokio::test]
async fn fields_may_stand_in_any_order_and_unknown_ones_are_skipped() {
    use prost::Message as _;
    let rig = Rig::new();
    let (name, job) = (label("__name__", "up"), label("job", "a"));
    let sample = |at, value| Sample {
        value,
        timestamp: at,
    };
    let field = |tag: u8, message: Vec<u8>| {
        let mut bytes = vec![tag, u8::try_from(message.len()).unwrap()];
        bytes.extend_from_slice(&message);
        bytes
    };
    let unknown: Vec<u8> = vec![0xa8, 0x06, 0x01]; // 101: varint
    let mut out = Vec::new();
    let orders: Vec<Vec<Vec<u8>>> = vec![
        // Samples before labels; labels around samples; unknown fields everywhere.
        vec![
            field(0x12, sample(NOW, 1.0).encode_to_vec()),
            field(0x0a, name.encode_to_vec()),
            field(0x0a, job.encode_to_vec()),
        ],
        vec![
            field(0x0a, name.encode_to_vec()),
            field(0x12, sample(NOW, 2.0).encode_to_vec()),
            field(0x0a, job.encode_to_vec()),
        ],
        vec![
            unknown.clone(),
            field(0x0a, name.encode_to_vec()),
            unknown.clone(),
            field(0x0a, job.encode_to_vec()),
            field(0x12, sample(NOW, 3.0).encode_to_vec()),
        ],
        vec![
            field(0x0a, name.encode_to_vec()),
            field(0x0a, job.encode_to_vec()),
            // A sample whose fields come twice and backwards: the last ones win.
            field(0x12, {
                let mut twice = sample(1, 9.0).encode_to_vec();
                twice.extend(sample(NOW, 4.0).encode_to_vec());
                twice
            }),
            unknown,
        ],
    ];
    for fields in orders {
        out.extend(field(0x0a, fields.concat()));
    }
    for _ in 0..2 {
        let answer = rig.send_body(Some(V1_TYPE), None, snappy(&out)).await;
        assert_eq!((answer.status, answer.body.as_str()), (204, ""));
    }
    let want: Vec<_> = (1..=4)
        .map(|i| stored("up{job=\"a\"}", NOW, &format!("{i}.0")))
        .collect();
    assert_eq!(rig.double.samples(), [want.clone(), want].concat());
    assert_eq!(rig.double.kept.lock().series.len(), 1);
}
