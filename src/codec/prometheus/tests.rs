//! Every chunk is read back by the slow obvious reader below. Would catch a bit in the wrong
//! place, a chunk that goes on over a reset, a sample that is lost between two chunks. That a real
//! Prometheus reads them too is shown by `tests/e2e`.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::too_many_lines,
    reason = "a reader that is meant to be obvious, of numbers that were just written"
)]

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::codec::bits::BitReader;
use crate::codec::varint::{take_i64, take_u64};
use crate::model::{
    Buckets, Histogram, ResetHint, SCHEMA_CUSTOM, Samples, Span, TimestampMs, Value, stale_nan,
};

fn prefix(bits: &mut BitReader<'_>, most: usize) -> usize {
    let mut ones = 0;
    while ones < most && bits.read_bit().unwrap() {
        ones += 1;
    }
    ones
}

fn signed(value: u64, len: u32) -> i64 {
    if len < 64 && value > 1 << (len - 1) {
        value.cast_signed() - (1 << len)
    } else {
        value.cast_signed()
    }
}

fn sized(bits: &mut BitReader<'_>, sizes: &[u32]) -> (u64, u32) {
    let size = sizes[prefix(bits, sizes.len() - 1)];
    (bits.read(size).unwrap(), size.max(1))
}

const VARBIT: [u32; 9] = [0, 3, 6, 9, 12, 18, 25, 56, 64];

fn int(bits: &mut BitReader<'_>) -> i64 {
    let (value, len) = sized(bits, &VARBIT);
    signed(value, len)
}

fn uint(bits: &mut BitReader<'_>) -> u64 {
    sized(bits, &VARBIT).0
}

#[derive(Clone, Copy, Default)]
struct Xor {
    bits: u64,
    leading: u32,
    trailing: u32,
}

impl Xor {
    fn next(&mut self, bits: &mut BitReader<'_>) -> f64 {
        if bits.read_bit().unwrap() {
            if bits.read_bit().unwrap() {
                self.leading = bits.read(5).unwrap() as u32;
                let len = match bits.read(6).unwrap() as u32 {
                    0 => 64,
                    len => len,
                };
                self.trailing = 64 - self.leading - len;
            }
            let len = 64 - self.leading - self.trailing;
            self.bits ^= bits.read(len).unwrap() << self.trailing;
        }
        f64::from_bits(self.bits)
    }
}

fn float(bits: &mut BitReader<'_>) -> f64 {
    f64::from_bits(bits.read(64).unwrap())
}

fn whole<T>(bits: &mut BitReader<'_>, take: impl Fn(&mut &[u8]) -> T) -> T {
    let mut bytes = Vec::new();
    loop {
        let byte = bits.read(8).unwrap() as u8;
        bytes.push(byte);
        if byte < 0x80 {
            return take(&mut &bytes[..]);
        }
    }
}

fn read_floats(chunk: &Chunk) -> Vec<(i64, Value)> {
    let mut bits = BitReader::new(&chunk.bytes);
    let len = bits.read(16).unwrap();
    let (mut time, mut delta, mut xor) = (0_i64, 0_i64, Xor::default());
    let mut found = Vec::new();
    for at in 0..len {
        match at {
            0 => time = whole(&mut bits, |bytes| take_i64(bytes).unwrap()),
            1 => delta = whole(&mut bits, |bytes| take_u64(bytes).unwrap()).cast_signed(),
            _ => {
                let (value, len) = sized(&mut bits, &[0, 14, 17, 20, 64]);
                delta = delta.wrapping_add(signed(value, len));
            }
        }
        time = time.wrapping_add(delta);
        let value = if at == 0 {
            xor.bits = bits.read(64).unwrap();
            f64::from_bits(xor.bits)
        } else {
            xor.next(&mut bits)
        };
        found.push((time, Value::Float(value)));
    }
    assert!(bits.left_bits() < 8);
    found
}

fn spans(bits: &mut BitReader<'_>) -> Vec<Span> {
    let spans = (0..uint(bits)).map(|_| Span {
        length: uint(bits) as u32,
        offset: int(bits) as i32,
    });
    spans.collect()
}

fn threshold(bits: &mut BitReader<'_>) -> f64 {
    match bits.read(8).unwrap() {
        0 => 0.0,
        255 => float(bits),
        byte => 2_f64.powi(byte as i32 - 244),
    }
}

fn bound(bits: &mut BitReader<'_>) -> f64 {
    match uint(bits) {
        0 => float(bits),
        thousandths => (thousandths - 1) as f64 / 1000.0,
    }
}

#[derive(Clone, Copy, Default)]
struct Whole(i64, i64);

impl Whole {
    fn next(&mut self, bits: &mut BitReader<'_>) -> i64 {
        self.1 = self.1.wrapping_add(int(bits));
        self.0 = self.0.wrapping_add(self.1);
        self.0
    }
}

fn read_histograms(chunk: &Chunk) -> Vec<(i64, Value)> {
    let mut bits = BitReader::new(&chunk.bytes);
    let len = bits.read(16).unwrap();
    let flags = bits.read(8).unwrap();
    let zero_threshold = threshold(&mut bits);
    let schema = int(&mut bits) as i32;
    let (positive_spans, negative_spans) = (spans(&mut bits), spans(&mut bits));
    let custom_values: Vec<f64> = if schema == SCHEMA_CUSTOM {
        (0..uint(&mut bits)).map(|_| bound(&mut bits)).collect()
    } else {
        Vec::new()
    };
    let count = |spans: &[Span]| spans.iter().map(|span| span.length as usize).sum::<usize>();
    let split = count(&positive_spans);
    let buckets = split + count(&negative_spans);
    let integer = chunk.kind == ChunkKind::Histograms;
    let mut time = Whole::default();
    let mut sum = Xor::default();
    let mut wholes = vec![Whole::default(); buckets + 2];
    let mut floats = vec![Xor::default(); buckets + 2];
    let mut found = Vec::new();
    for at in 0..len {
        let first = at == 0;
        if first {
            time.0 = int(&mut bits);
        } else {
            time.next(&mut bits);
        }
        for place in 0..buckets + 2 {
            if place == 2 {
                read_sum(&mut sum, first, &mut bits);
            }
            match (integer, first) {
                (true, true) if place < 2 => wholes[place].0 = uint(&mut bits).cast_signed(),
                (true, true) => wholes[place].0 = int(&mut bits),
                (true, false) => drop(wholes[place].next(&mut bits)),
                (false, true) => floats[place].bits = bits.read(64).unwrap(),
                (false, false) => drop(floats[place].next(&mut bits)),
            }
        }
        if buckets == 0 {
            read_sum(&mut sum, first, &mut bits);
        }
        let numbers: Vec<f64> = floats.iter().map(|one| f64::from_bits(one.bits)).collect();
        let deltas: Vec<i64> = wholes.iter().map(|one| one.0).collect();
        let buckets = if integer {
            Buckets::Integer {
                count: deltas[0].cast_unsigned(),
                zero_count: deltas[1].cast_unsigned(),
                positive: deltas[2..2 + split].to_vec(),
                negative: deltas[2 + split..].to_vec(),
            }
        } else {
            Buckets::Float {
                count: numbers[0],
                zero_count: numbers[1],
                positive: numbers[2..2 + split].to_vec(),
                negative: numbers[2 + split..].to_vec(),
            }
        };
        let histogram = Histogram {
            schema,
            zero_threshold,
            sum: f64::from_bits(sum.bits),
            buckets,
            positive_spans: positive_spans.clone(),
            negative_spans: negative_spans.clone(),
            custom_values: custom_values.clone(),
            reset_hint: match (flags, first) {
                (0b1100_0000, _) => ResetHint::Gauge,
                (0b1000_0000, true) => ResetHint::Yes,
                (_, true) => ResetHint::Unknown,
                (_, false) => ResetHint::No,
            },
        };
        found.push((time.0, Value::Histogram(Arc::new(histogram))));
    }
    assert!(bits.left_bits() < 8);
    found
}

fn read_sum(sum: &mut Xor, first: bool, bits: &mut BitReader<'_>) {
    if first {
        sum.bits = bits.read(64).unwrap();
    } else {
        sum.next(bits);
    }
}

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

/// Encodes, reads back, compares; gives the chunks.
fn check(samples: &[(i64, Value)]) -> Vec<Chunk> {
    let mut columns = Samples::default();
    for (at, value) in samples {
        columns.push(TimestampMs(*at), value.clone(), TimestampMs(0));
    }
    let encoded: Vec<Chunk> = chunks(&columns).collect();
    let mut back = Vec::new();
    for chunk in &encoded {
        let found = match chunk.kind {
            ChunkKind::Floats => read_floats(chunk),
            ChunkKind::Histograms | ChunkKind::FloatHistograms => read_histograms(chunk),
        };
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
