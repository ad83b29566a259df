//! Random columns and histograms for the tests of several files.

use proptest::prelude::*;

use crate::model::{Buckets, Histogram, ResetHint, SCHEMA_CUSTOM, Span, Value, stale_nan};

/// Columns of every kind: raw bits, decimals, exceptions, constants.
pub(super) fn column() -> impl Strategy<Value = Vec<f64>> {
    let raw = any::<u64>().prop_map(f64::from_bits);
    let decimal = (any::<i32>(), 0u8..14).prop_map(|(m, e)| f64::from(m) / 10f64.powi(e.into()));
    let special = prop::sample::select(vec![
        stale_nan(),
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        -0.0,
        0.0,
    ]);
    let mixed = prop_oneof![2 => raw, 2 => decimal.clone(), 1 => special.clone()];
    let near = (0u32..50).prop_map(|n| f64::from(n) * 0.1);
    prop_oneof![
        prop::collection::vec(mixed, 0..40),
        prop::collection::vec(decimal, 0..40),
        prop::collection::vec(prop_oneof![9 => near, 1 => special], 0..200),
        (any::<f64>(), 0usize..50).prop_map(|(value, len)| vec![value; len]),
    ]
}

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
pub(super) fn histogram() -> impl Strategy<Value = Histogram> {
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
pub(super) fn same(one: &Histogram, other: &Histogram) -> bool {
    let canonical = |histogram: &Histogram| {
        let mut out = Vec::new();
        Value::Histogram(std::sync::Arc::new(histogram.clone())).canonical(&mut out);
        out
    };
    canonical(one) == canonical(other)
}
