//! The rules of section 4, each broken once.

use prost::Message as _;

use super::*;
use crate::ingest::receive::test_messages::{self as wire, Count as WireCount, ZeroCount};
use crate::model::stale_nan;

fn span(offset: i32, length: u32) -> wire::Span {
    wire::Span { offset, length }
}

fn integer() -> wire::Histogram {
    wire::Histogram {
        count: Some(WireCount::Int(12)),
        sum: 18.5,
        schema: 1,
        zero_threshold: 0.001,
        zero_count: Some(ZeroCount::Int(2)),
        negative_spans: vec![span(-1, 1)],
        negative_deltas: vec![1],
        positive_spans: vec![span(0, 2), span(1, 2)],
        positive_deltas: vec![1, 1, -1, 4],
        reset_hint: 2,
        timestamp: 42,
        start_timestamp: 7,
        ..wire::Histogram::default()
    }
}

fn float() -> wire::Histogram {
    wire::Histogram {
        count: Some(WireCount::Float(6.5)),
        zero_count: Some(ZeroCount::Float(0.5)),
        negative_deltas: vec![],
        negative_counts: vec![1.5],
        positive_deltas: vec![],
        positive_counts: vec![1.0, 2.0, 0.5, 1.0],
        reset_hint: 3,
        ..integer()
    }
}

fn custom() -> wire::Histogram {
    wire::Histogram {
        count: Some(WireCount::Int(5)),
        sum: 1.0,
        schema: SCHEMA_CUSTOM,
        positive_spans: vec![span(0, 2), span(1, 1)],
        positive_deltas: vec![1, 1, 0],
        custom_values: vec![-1.0, 0.5, 10.0],
        ..wire::Histogram::default()
    }
}

fn read_back(message: &wire::Histogram) -> HistogramSample {
    read(&message.encode_to_vec(), 1_000).unwrap()
}

fn text(message: &wire::Histogram) -> String {
    match read_back(message).histogram {
        Ok(_) => "ok".to_owned(),
        Err(refusal) => refusal.to_string(),
    }
}

#[test]
fn all_four_kinds_come_through_as_they_were_sent() {
    let sample = read_back(&integer());
    assert_eq!((sample.at.0, sample.start.0), (42, 7));
    let histogram = sample.histogram.unwrap();
    assert_eq!(histogram.reset_hint, ResetHint::No);
    assert_eq!(
        histogram.buckets,
        Buckets::Integer {
            count: 12,
            zero_count: 2,
            positive: vec![1, 1, -1, 4],
            negative: vec![1],
        }
    );
    let histogram = read_back(&float()).histogram.unwrap();
    assert_eq!(histogram.reset_hint, ResetHint::Gauge);
    assert_eq!(
        histogram.buckets,
        Buckets::Float {
            count: 6.5,
            zero_count: 0.5,
            positive: vec![1.0, 2.0, 0.5, 1.0],
            negative: vec![1.5],
        }
    );
    let histogram = read_back(&custom()).histogram.unwrap();
    assert_eq!(histogram.custom_values, [-1.0, 0.5, 10.0]);
    let mut float_custom = custom();
    float_custom.count = Some(WireCount::Float(5.0));
    float_custom.positive_deltas = vec![];
    float_custom.positive_counts = vec![1.0, 2.0, 2.0];
    assert_eq!(text(&float_custom), "ok");
    for (hint, want) in [
        (0, ResetHint::Unknown),
        (1, ResetHint::Yes),
        (99, ResetHint::Unknown),
    ] {
        let message = wire::Histogram {
            reset_hint: hint,
            ..integer()
        };
        assert_eq!(read_back(&message).histogram.unwrap().reset_hint, want);
    }
    assert_eq!(text(&wire::Histogram::default()), "ok");
}

#[test]
fn a_stale_sum_makes_everything_else_irrelevant() {
    let mut stale = integer();
    stale.sum = stale_nan();
    stale.schema = 99;
    stale.positive_spans.clear();
    let sample = read_back(&stale);
    assert_eq!(sample.at.0, 42);
    assert!(sample.histogram.unwrap().is_stale());
}

/// A message, how to break it, and what is said then.
type Case = (
    fn() -> wire::Histogram,
    fn(&mut wire::Histogram),
    &'static str,
);

fn check(cases: &[Case]) {
    for (make, change, want) in cases {
        let mut message = make();
        change(&mut message);
        let got = text(&message);
        assert!(got.contains(want), "{want:?} in {got:?}");
    }
}

#[test]
fn every_broken_rule_is_refused_by_name() {
    let cases: &[Case] = &[
        (integer, |h| h.schema = -5, "schema -5 is not known"),
        (integer, |h| h.schema = 53, "schema 53 is not known"),
        (integer, |h| h.schema = -52, "schema -52"),
        (
            integer,
            |h| h.positive_deltas.push(0),
            "positive spans name 4 buckets, but 5",
        ),
        (
            integer,
            |h| h.negative_spans.push(span(0, u32::MAX)),
            "negative spans name 4294967296 buckets",
        ),
        (
            integer,
            |h| h.positive_spans[1].offset = -1,
            "span 1 has the negative offset -1",
        ),
        (
            integer,
            |h| h.positive_spans[1].offset = i32::MAX,
            "beyond what a bucket index can be",
        ),
        (
            integer,
            |h| h.positive_deltas[2] = -3,
            "a positive bucket is -1",
        ),
        (
            integer,
            |h| h.positive_deltas = vec![i64::MAX, i64::MAX, 0, 0],
            "a positive bucket is",
        ),
        (
            integer,
            |h| h.count = Some(WireCount::Int(11)),
            "the buckets hold 12 observations, but count says 11",
        ),
        (
            integer,
            |h| h.custom_values = vec![1.0],
            "custom bucket bounds came with an exponential schema",
        ),
    ];
    check(cases);
    // Against which NaN observations may be counted and lie nowhere.
    let mut nan = integer();
    nan.sum = f64::NAN;
    nan.count = Some(WireCount::Int(20));
    assert_eq!(text(&nan), "ok");
}

#[test]
fn every_broken_rule_of_floats_and_custom_buckets_is_refused_by_name() {
    check(&[
        (
            float,
            |h| h.count = Some(WireCount::Float(-1.0)),
            "the count is -1",
        ),
        (
            float,
            |h| h.zero_count = Some(ZeroCount::Float(-0.5)),
            "the zero bucket is -0.5",
        ),
        (
            float,
            |h| h.positive_counts[1] = -2.0,
            "a positive bucket is -2",
        ),
        (
            float,
            |h| h.negative_counts[0] = -2.0,
            "a negative bucket is -2",
        ),
        (
            custom,
            |h| h.zero_count = Some(ZeroCount::Int(1)),
            "the buckets hold 6 observations, but count says 5",
        ),
        (custom, |h| h.zero_threshold = 0.1, "zero threshold"),
        (
            custom,
            |h| {
                h.negative_spans = vec![span(0, 1)];
                h.negative_deltas = vec![0];
            },
            "has negative buckets",
        ),
        (custom, |h| h.custom_values[1] = 10.0, "must rise strictly"),
        (
            custom,
            |h| h.custom_values[2] = f64::INFINITY,
            "must be finite",
        ),
        (custom, |h| h.custom_values[1] = f64::NAN, "must be finite"),
        (
            custom,
            |h| h.custom_values.truncate(2),
            "fewer custom bucket bounds",
        ),
        (
            custom,
            |h| h.positive_spans[0].offset = -1,
            "negative offset",
        ),
    ]);
}

#[test]
fn buckets_are_bounded_before_they_are_kept() {
    let mut many = integer();
    many.positive_spans = vec![span(0, 999)];
    many.positive_deltas = vec![0; 999];
    many.count = Some(WireCount::Int(3));
    assert_eq!(text(&many), "ok");
    many.positive_spans = vec![span(0, 5_000)];
    many.positive_deltas = vec![0; 5_000];
    let got = text(&many);
    assert!(got.contains("5001 buckets, at most 1000"), "{got}");
    assert!(got.contains("ingest.max_native_histogram_buckets"), "{got}");
}

#[test]
fn fine_schemas_are_reduced_to_eight() {
    // Of schema 10, four buckets make one: indexes -3..=0 -> 0, 1..=4 -> 1, 5..=8 -> 2, 13 -> 4.
    let mut fine = wire::Histogram {
        count: Some(WireCount::Int(21)),
        schema: 10,
        positive_spans: vec![span(-1, 4), span(2, 2), span(6, 1)],
        positive_deltas: vec![1, 1, 1, 1, 1, 0, -4],
        ..wire::Histogram::default()
    };
    let want_spans = [(0, 3), (1, 1)].map(|(offset, length)| Span { offset, length });
    let histogram = read_back(&fine).histogram.unwrap();
    assert_eq!(histogram.schema, 8);
    assert_eq!(histogram.positive_spans, want_spans);
    // -1, 0 -> 1 + 2; 1, 2 -> 3 + 4; 5, 6 -> 5 + 5; 13 -> 1.
    let counts = [3, 7, 10, 1];
    let Buckets::Integer { positive, .. } = &histogram.buckets else {
        panic!("an integer histogram stays one");
    };
    assert_eq!(absolute_of(positive), counts);

    fine.count = Some(WireCount::Float(21.0));
    fine.positive_counts = vec![1.0, 2.0, 3.0, 4.0, 5.0, 5.0, 1.0];
    fine.positive_deltas.clear();
    let histogram = read_back(&fine).histogram.unwrap();
    assert_eq!(histogram.positive_spans, want_spans);
    let Buckets::Float { positive, .. } = &histogram.buckets else {
        panic!("a float histogram stays one");
    };
    assert_eq!(*positive, counts.map(f64::from));

    // The finest that may come: 2^44 buckets make one.
    fine.schema = 52;
    let histogram = read_back(&fine).histogram.unwrap();
    assert_eq!(histogram.schema, 8);
    let Buckets::Float { positive, .. } = &histogram.buckets else {
        panic!("a float histogram stays one");
    };
    assert_eq!(*positive, [3.0, 18.0]);
}

fn absolute_of(deltas: &[i64]) -> Vec<i32> {
    let mut bucket = 0;
    deltas
        .iter()
        .map(|delta| {
            bucket += i32::try_from(*delta).unwrap();
            bucket
        })
        .collect()
}

#[test]
fn packed_or_not_is_all_the_same() {
    let message = float();
    let mut unpacked = wire::Histogram {
        positive_counts: vec![],
        ..message.clone()
    }
    .encode_to_vec();
    for count in &message.positive_counts {
        unpacked.push(13 << 3 | 1);
        unpacked.extend(count.to_le_bytes());
    }
    assert_eq!(read(&unpacked, 100).unwrap(), read_back(&message));
}
