//! Histograms of every kind come back with every bit; damaged ones are errors, never panics.

use proptest::prelude::*;

use super::*;
use crate::model::{Buckets, ResetHint, SCHEMA_CUSTOM, Span, stale_nan};

fn spans() -> impl Strategy<Value = Vec<Span>> {
    prop::collection::vec(
        (any::<i32>(), any::<u32>()).prop_map(|(offset, length)| Span { offset, length }),
        0..4,
    )
}

fn bits() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<u64>().prop_map(f64::from_bits),
        (0u32..1000).prop_map(f64::from),
        Just(stale_nan()),
        Just(-0.0),
    ]
}

fn buckets() -> impl Strategy<Value = Buckets> {
    prop_oneof![
        (
            any::<u64>(),
            any::<u64>(),
            prop::collection::vec(any::<i64>(), 0..6),
            prop::collection::vec(any::<i64>(), 0..6)
        )
            .prop_map(|(count, zero_count, positive, negative)| Buckets::Integer {
                count,
                zero_count,
                positive,
                negative
            }),
        (
            bits(),
            bits(),
            prop::collection::vec(bits(), 0..6),
            prop::collection::vec(bits(), 0..6)
        )
            .prop_map(|(count, zero_count, positive, negative)| Buckets::Float {
                count,
                zero_count,
                positive,
                negative
            }),
    ]
}

/// Any histogram at all, sensible or not.
pub(in crate::codec) fn histogram() -> impl Strategy<Value = Histogram> {
    (
        prop_oneof![-4..=8i32, Just(SCHEMA_CUSTOM), any::<i32>()],
        bits(),
        bits(),
        buckets(),
        spans(),
        spans(),
        prop::collection::vec(bits(), 0..4),
        prop::sample::select(vec![
            ResetHint::Unknown,
            ResetHint::Yes,
            ResetHint::No,
            ResetHint::Gauge,
        ]),
    )
        .prop_map(
            |(
                schema,
                zero_threshold,
                sum,
                buckets,
                positive_spans,
                negative_spans,
                custom_values,
                reset_hint,
            )| Histogram {
                schema,
                zero_threshold,
                sum,
                buckets,
                positive_spans,
                negative_spans,
                custom_values,
                reset_hint,
            },
        )
}

/// Equal to the bit: NaN payloads and the sign of zero count.
pub(in crate::codec) fn same(one: &Histogram, other: &Histogram) -> bool {
    let canonical = |histogram: &Histogram| {
        let mut out = Vec::new();
        crate::model::Value::Histogram(std::sync::Arc::new(histogram.clone())).canonical(&mut out);
        out
    };
    canonical(one) == canonical(other)
}

proptest! {
    #[test]
    fn any_single_histogram_comes_back(histogram in histogram()) {
        let mut out = Vec::new();
        encode_one(&histogram, &mut out);
        out.push(7);
        let mut input = &out[..];
        let back = decode_one(&mut input).unwrap();
        prop_assert!(same(&histogram, &back), "{:?} {:?}", histogram, back);
        prop_assert_eq!(input, &[7]);
    }

    #[test]
    fn a_damaged_single_histogram_never_panics(
        histogram in histogram(),
        at: prop::sample::Index,
        byte: u8,
        cut: prop::sample::Index,
    ) {
        let mut out = Vec::new();
        encode_one(&histogram, &mut out);
        let all = out.clone();
        let position = at.index(out.len());
        out[position] = byte;
        decode_one(&mut &out[..]).ok();
        prop_assert!(decode_one(&mut &all[..cut.index(all.len())]).is_err());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        decode_one(&mut &bytes[..]).ok();
    }
}
