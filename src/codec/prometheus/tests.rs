//! Every chunk that is written is read back. Would catch a bit in the wrong place, a chunk that
//! goes on over a reset, a sample that is lost between two chunks. That a real Prometheus reads what
//! is written and writes what is read is shown by `tests/e2e`.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::model::{
    Buckets, Histogram, ResetHint, SCHEMA_CUSTOM, Samples, Span, TimestampMs, Value, stale_nan,
};

/// What readers are told of a sample, the hint apart, as bytes.
fn canonical(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    match value {
        Value::Histogram(histogram) if histogram.is_stale() => out.push(1),
        Value::Histogram(histogram) => {
            let mut histogram = histogram.as_ref().clone();
            if histogram.reset_hint != ResetHint::Gauge {
                histogram.reset_hint = ResetHint::Unknown;
            }
            Value::Histogram(Arc::new(histogram)).canonical(&mut out);
        }
        Value::Float(_) => value.canonical(&mut out),
    }
    out
}

/// The samples of a chunk.
fn read(chunk: &Chunk) -> Vec<(i64, Value)> {
    let mut samples = Samples::default();
    let encoding = u8::try_from(chunk.kind.number()).unwrap();
    read_chunk(encoding, &chunk.bytes, &mut samples).unwrap();
    let all = samples.iter().map(|(at, value, _)| (at.0, value));
    all.collect()
}

/// Encodes, reads back, compares; gives the chunks.
fn check(samples: &[(i64, Value)]) -> Vec<Chunk> {
    let mut columns = Samples::default();
    for (at, value) in samples {
        columns.push(TimestampMs(*at), value.clone(), TimestampMs(0));
    }
    let encoded: Vec<Chunk> = chunks(&columns).collect();
    let mut back = Vec::new();
    for chunk in &encoded {
        let found = read(chunk);
        assert_eq!(found.first().map(|one| one.0), Some(chunk.first));
        assert_eq!(found.last().map(|one| one.0), Some(chunk.last));
        back.extend(found);
    }
    let plain = |samples: &[(i64, Value)]| -> Vec<(i64, Vec<u8>)> {
        samples
            .iter()
            .map(|(at, one)| (*at, canonical(one)))
            .collect()
    };
    assert_eq!(plain(&back), plain(samples));
    encoded
}

fn counter(scale: u64, float: bool) -> Histogram {
    let (count, positive) = (10 * scale, vec![scale.cast_signed(), 2, -1]);
    Histogram {
        schema: 3,
        zero_threshold: 2_f64.powi(-128),
        sum: 1.5 * scale as f64,
        buckets: if float {
            Buckets::Float {
                count: count as f64,
                zero_count: 0.5,
                positive: vec![scale as f64, 2.5, 3.5],
                negative: Vec::new(),
            }
        } else {
            Buckets::Integer {
                count,
                zero_count: 1,
                positive,
                negative: Vec::new(),
            }
        },
        positive_spans: vec![
            Span {
                offset: -2,
                length: 1,
            },
            Span {
                offset: 3,
                length: 2,
            },
        ],
        negative_spans: Vec::new(),
        custom_values: Vec::new(),
        reset_hint: ResetHint::Unknown,
    }
}

#[test]
fn chunks_end_where_prometheus_ends_them() {
    for float in [false, true] {
        let value = |histogram: Histogram| Value::Histogram(Arc::new(histogram));
        let grown = |scale| value(counter(scale, float));
        let stale = || {
            value(Histogram {
                sum: stale_nan(),
                ..counter(9, float)
            })
        };
        let gauge = |scale| {
            value(Histogram {
                reset_hint: ResetHint::Gauge,
                ..counter(scale, float)
            })
        };
        let custom = value(Histogram {
            schema: SCHEMA_CUSTOM,
            zero_threshold: 0.0,
            custom_values: vec![0.005, 0.1, 1e9, -1.0, 1.0 / 3.0],
            ..counter(7, float)
        });
        let samples = [
            grown(1),
            grown(2),
            grown(2),
            // A reset, a stale marker, gauges that fall, another layout, floats between.
            grown(1),
            stale(),
            grown(3),
            gauge(9),
            gauge(1),
            custom.clone(),
            Value::Float(1.0),
            Value::Float(stale_nan()),
            custom,
        ];
        let timed: Vec<(i64, Value)> = (0..).step_by(15_000).zip(samples).collect();
        let lengths: Vec<usize> = check(&timed)
            .iter()
            .map(|chunk| usize::from(chunk.bytes[0]) << 8 | usize::from(chunk.bytes[1]))
            .collect();
        assert_eq!(lengths, [3, 1, 1, 1, 2, 1, 2, 1]);
    }
}

#[test]
fn long_series_are_cut_and_nothing_gives_nothing() {
    let many: Vec<(i64, Value)> = (0..1_000).map(|at| (at, Value::Float(0.1))).collect();
    assert_eq!(check(&many).len(), 9);
    let many: Vec<(i64, Value)> = (0..500)
        .map(|at| (at, Value::Histogram(Arc::new(counter(4, true)))))
        .collect();
    assert_eq!(check(&many).len(), 5);
    assert!(check(&[]).is_empty());
}

/// Bytes that were put together by hand from the description of the format: would catch a writer
/// and a reader that err alike.
#[test]
fn chunks_are_as_they_are_described() {
    let one = 1_f64.to_be_bytes();
    let floats = [
        // Three samples, the first time with its sign in the last bit, the first value.
        &[0x00, 0x03, 0xd0, 0x0f][..],
        &one,
        // The difference of times; bits: the same value; no more difference; another value, one
        // bit of 11 behind the first.
        &[0x98, 0x75, 0x30, 0x97, 0xff, 0xc0],
    ];
    let samples = [(1_000, 1.0), (16_000, 1.0), (31_000, 2.0)];
    let samples = samples.map(|(at, value)| (at, Value::Float(value)));
    assert_eq!(check(&samples)[0].bytes, floats.concat());
    let histogram = Histogram {
        schema: 0,
        zero_threshold: 0.0,
        sum: 1.0,
        buckets: Buckets::Integer {
            count: 3,
            zero_count: 1,
            positive: vec![1, 0],
            negative: Vec::new(),
        },
        positive_spans: vec![Span {
            offset: 0,
            length: 2,
        }],
        negative_spans: Vec::new(),
        custom_values: Vec::new(),
        reset_hint: ResetHint::Unknown,
    };
    let histograms = [
        // One sample, no reset, no threshold; bits: schema, spans, time, counts.
        &[0x00, 0x01, 0x00, 0x00, 0x46, 0x42, 0x71][..],
        &one,
        // Buckets: one, and no difference.
        &[0x88],
    ];
    let samples = [(0, Value::Histogram(Arc::new(histogram)))];
    assert_eq!(check(&samples)[0].bytes, histograms.concat());
}

fn any_float() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>(),
        any::<u64>().prop_map(f64::from_bits),
        (0..99).prop_map(f64::from)
    ]
}

fn any_histogram() -> impl Strategy<Value = Histogram> {
    let span = (-9..9i32, 0..4u32).prop_map(|(offset, length)| Span { offset, length });
    (
        (
            -4..=8i32,
            any::<bool>(),
            prop::sample::select(vec![0.0, 1.0, 0.001, 2e-128]),
        ),
        prop::collection::vec(span, 0..3),
        prop::collection::vec((any::<i64>(), any_float()), 8),
        (any::<u64>(), any_float(), any::<bool>()),
    )
        .prop_map(
            |((schema, integer, zero_threshold), spans, numbers, last)| {
                let (count, sum, gauge) = last;
                let len: u32 = spans.iter().map(|span| span.length).sum();
                let len = len as usize;
                let buckets = if integer {
                    Buckets::Integer {
                        count,
                        zero_count: count / 3,
                        positive: numbers.iter().map(|one| one.0).take(len).collect(),
                        negative: Vec::new(),
                    }
                } else {
                    Buckets::Float {
                        count: sum,
                        zero_count: -sum,
                        positive: Vec::new(),
                        negative: numbers.iter().map(|one| one.1).take(len).collect(),
                    }
                };
                Histogram {
                    schema,
                    zero_threshold,
                    sum,
                    buckets,
                    positive_spans: if integer { spans.clone() } else { Vec::new() },
                    negative_spans: if integer { Vec::new() } else { spans },
                    custom_values: Vec::new(),
                    reset_hint: if gauge {
                        ResetHint::Gauge
                    } else {
                        ResetHint::Unknown
                    },
                }
            },
        )
}

proptest! {
    #[test]
    fn anything_comes_back(
        start in any::<i32>(),
        steps in prop::collection::vec((1..100_000_000i64, prop_oneof![
            3 => any_float().prop_map(Value::Float),
            1 => any_histogram().prop_map(|one| Value::Histogram(Arc::new(one))),
        ], 1..4usize), 0..80),
    ) {
        let mut time = i64::from(start);
        let mut samples = Vec::new();
        for (step, value, times) in steps {
            // The same again, so that chunks of histograms grow.
            for _ in 0..times {
                time += step;
                samples.push((time, value.clone()));
            }
        }
        check(&samples);
    }
}
