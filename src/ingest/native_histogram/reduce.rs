//! Fewer, wider buckets: from a schema finer than any that is stored to the finest that is.

use crate::model::{Buckets, Histogram, SCHEMA_MAX, Span};

/// Merges neighbouring buckets until the schema is the finest that is stored.
pub(super) fn reduce(histogram: &mut Histogram) {
    let shift = u32::try_from(histogram.schema - SCHEMA_MAX).unwrap_or(0);
    let (positive_spans, negative_spans) = (&histogram.positive_spans, &histogram.negative_spans);
    let (positive_spans, negative_spans) = match &mut histogram.buckets {
        Buckets::Integer {
            positive, negative, ..
        } => {
            let side = |spans: &[Span], deltas: &mut Vec<i64>| {
                let merged = merge(spans, shift, absolute(deltas), |sum, count| {
                    *sum = sum.saturating_add(count);
                });
                *deltas = differences(&merged.1);
                merged.0
            };
            (
                side(positive_spans, positive),
                side(negative_spans, negative),
            )
        }
        Buckets::Float {
            positive, negative, ..
        } => {
            let side = |spans: &[Span], counts: &mut Vec<f64>| {
                let merged = merge(spans, shift, std::mem::take(counts), |sum, count| {
                    *sum += count;
                });
                *counts = merged.1;
                merged.0
            };
            (
                side(positive_spans, positive),
                side(negative_spans, negative),
            )
        }
    };
    histogram.positive_spans = positive_spans;
    histogram.negative_spans = negative_spans;
    histogram.schema = SCHEMA_MAX;
}

fn absolute(deltas: &[i64]) -> Vec<i64> {
    deltas
        .iter()
        .scan(0i64, |bucket, delta| {
            *bucket = bucket.saturating_add(*delta);
            Some(*bucket)
        })
        .collect()
}

fn differences(counts: &[i64]) -> Vec<i64> {
    let before = std::iter::once(&0).chain(counts);
    counts
        .iter()
        .zip(before)
        .map(|(now, was)| now - was)
        .collect()
}

/// Merges `2^shift` buckets into one. Bucket `i` of the finer schema lies in bucket
/// `ceil(i / 2^shift)` of the coarser one, since a bucket is named by its upper bound.
fn merge<T: Copy>(
    spans: &[Span],
    shift: u32,
    counts: Vec<T>,
    mut add: impl FnMut(&mut T, T),
) -> (Vec<Span>, Vec<T>) {
    let (mut out_spans, mut out_counts): (Vec<Span>, Vec<T>) = (Vec::new(), Vec::new());
    let (mut index, mut last) = (0i64, None);
    let mut counts = counts.into_iter();
    for span in spans {
        index += i64::from(span.offset);
        for count in counts.by_ref().take(span.length as usize) {
            let target = ((index - 1) >> shift) + 1;
            index += 1;
            if let (true, Some(sum)) = (last == Some(target), out_counts.last_mut()) {
                add(sum, count);
                continue;
            }
            let gap = last.map_or(target, |last: i64| target - last - 1);
            match out_spans.last_mut() {
                Some(open) if gap == 0 => open.length += 1,
                // The target lies between zero and an index that was checked to fit.
                _ => out_spans.push(Span {
                    offset: i32::try_from(gap).unwrap_or(i32::MAX),
                    length: 1,
                }),
            }
            out_counts.push(count);
            last = Some(target);
        }
    }
    (out_spans, out_counts)
}
