//! Columns of timestamps, pages of samples, and native histograms.

use std::sync::Arc;

use cairn::codec::varint;
use cairn::model::{
    Buckets, Histogram, ResetHint, Resolution, SCHEMA_CUSTOM, Samples, Span, TimestampMs, Value,
    downsample, stale_nan,
};

/// The page as the target takes it: rows, series, and what is behind the compression.
pub(super) fn opened(page: &[u8], series: &[Samples]) -> Vec<u8> {
    let mut body = &page[2..page.len() - 4];
    let how = varint::take_u8(&mut body, "seed").unwrap();
    let len = varint::take_len(&mut body, "seed", 1 << 20).unwrap();
    let raw = match how {
        0 => body.to_vec(),
        _ => zstd::bulk::decompress(body, len).unwrap(),
    };
    let rows = u16::try_from(series[0].values.len()).unwrap();
    let series = u8::try_from(series.len()).unwrap();
    [&rows.to_le_bytes()[..], &[series], &raw].concat()
}

/// The same of a coded page, which says how long its compressed part is.
pub(super) fn opened_coded(page: &[u8], series: &[Samples]) -> Vec<u8> {
    assert_eq!(
        page[0],
        2,
        "{} bytes, of {} rows",
        page.len(),
        series[0].values.len()
    );
    let mut streams = &page[2..page.len() - 4];
    let packed = varint::take_len(&mut streams, "seed", 1 << 20).unwrap();
    let packed = varint::take_exact(&mut streams, packed, "seed").unwrap();
    let head = [&[1, page[1]], packed, &[0; 4]].concat();
    let raw = opened(&head, series);
    let (rows, raw) = raw.split_at(2);
    let (count, raw) = raw.split_first().unwrap();
    let len = u8::try_from(raw.len()).unwrap();
    [rows, &[*count | 64, len], raw, streams].concat()
}

/// Noise, which is shorter coded; its path again; errors; and more rows than a segment has.
pub(super) fn dense_pages() -> Vec<(&'static str, Vec<Samples>)> {
    let of = |values: Vec<f64>| Samples {
        values,
        ..Samples::default()
    };
    let mut state = 5u64;
    let mut step = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        f64::from(u32::try_from(state >> 48).unwrap())
    };
    let noise: Vec<f64> = (0..220).map(|_| step()).collect();
    let moved = noise.iter().map(|value| 5.0 - value / 10.0).collect();
    let mut long: Vec<f64> = (0..4200u32).map(|row| f64::from(row / 500)).collect();
    for value in long.iter_mut().take(220) {
        *value = step();
    }
    let mut sum = 0.0;
    let sums = (0..40u32).map(|_| {
        sum += step() / 7e8;
        sum
    });
    let sums = sums.collect();
    vec![
        ("noise", vec![of(noise.clone()), of(moved)]),
        ("segments", vec![of(long)]),
        ("errors", vec![of(noise), of(sums)]),
    ]
}

pub(super) fn columns() -> Vec<(&'static str, Vec<i64>)> {
    let now = 1_760_000_000_000;
    let mut late: Vec<i64> = (0..40).map(|i| now + 15_000 * i).collect();
    late[7] += 3;
    late[20] -= 20;
    late.drain(30..33);
    let mut at = now;
    let jitter = (0..30)
        .map(|i| {
            at += 5000 + i * i * 7919 % 13;
            at
        })
        .collect();
    vec![
        ("empty", vec![]),
        ("grid", late),
        ("steps", jitter),
        (
            "steps-of-steps",
            (0..30).map(|i| now + 1000 * i * i).collect(),
        ),
        ("extremes", vec![i64::MIN, i64::MAX, 0, -1]),
    ]
}

pub(super) fn native() -> Vec<(&'static str, Histogram)> {
    let span = |offset, length| Span { offset, length };
    let integer = Histogram {
        schema: 3,
        zero_threshold: 1e-9,
        sum: 18.4,
        buckets: Buckets::Integer {
            count: 12,
            zero_count: 2,
            positive: vec![1, 1, -1, 0],
            negative: vec![1, 3],
        },
        positive_spans: vec![span(-2, 2), span(1, 2)],
        negative_spans: vec![span(0, 2)],
        custom_values: vec![],
        reset_hint: ResetHint::No,
    };
    let float = Histogram {
        schema: SCHEMA_CUSTOM,
        sum: stale_nan(),
        buckets: Buckets::Float {
            count: 3.5,
            zero_count: 0.0,
            positive: vec![1.0, 2.5],
            negative: vec![],
        },
        positive_spans: vec![span(0, 2)],
        negative_spans: vec![],
        custom_values: vec![0.1, 1.0],
        reset_hint: ResetHint::Gauge,
        ..integer.clone()
    };
    vec![("integer", integer), ("float", float)]
}

/// A counter that begins anew, or a gauge, at five minutes: nine samples.
fn downsampled(gauge: bool) -> Samples {
    let mut samples = Samples::default();
    for row in 1..=180i64 {
        let value = match gauge {
            true => row * row % 17,
            false => row % 100 * 3,
        };
        let at = TimestampMs(row * 15_000);
        samples.push(at, Value::Float(value as f64), TimestampMs(0));
    }
    downsample(&samples, Resolution::FiveMinutes).unwrap()
}

pub(super) fn pages() -> Vec<(&'static str, Vec<Samples>)> {
    let of = |values: Vec<f64>| Samples {
        values,
        ..Samples::default()
    };
    let rows = 0..24i32;
    let walk: Vec<f64> = rows
        .clone()
        .map(|i| f64::from(i * i * 7919 % 97 + i))
        .collect();
    let mut sum = 0.0;
    let sums = rows
        .clone()
        .map(|i| {
            sum += f64::from(i) * 0.000_001_237;
            sum
        })
        .collect();
    let mut marked = walk.clone();
    marked[0] = f64::NAN;
    marked[5] = f64::INFINITY;
    marked[7] = -0.0;
    marked[8] = f64::from_bits(0x7ff8_dead_beef_0000);
    marked[23] = stale_nan();
    let mut with_histograms = of(vec![0.0; 24]);
    for at in 0..20u32 {
        let (_, histogram) = &native()[usize::from(at > 12)];
        with_histograms
            .histograms
            .push((at, Arc::new(histogram.clone())));
    }
    let started = Samples {
        starts: (0..24).map(|i| 1_760_000_000_000 + i / 9).collect(),
        ..of(walk.clone())
    };
    let scaled = walk.iter().map(|v| 250.0 - 4.0 * v).collect();
    let thirds = rows.map(|i| 1.0 / f64::from(i + 1)).collect();
    vec![
        (
            "numbers",
            vec![
                of(vec![1.5; 24]),
                of(walk),
                of(scaled),
                of(sums),
                of(thirds),
            ],
        ),
        ("exceptions", vec![of(marked)]),
        ("histograms", vec![with_histograms, started]),
        ("folds", vec![downsampled(false), downsampled(true)]),
    ]
}
