//! The rules of native histograms, as Prometheus' `Validate` has them.

use crate::model::{Buckets, Histogram, HistogramError, Span};

/// Positive and negative buckets given.
pub(super) fn buckets_of(histogram: &Histogram) -> (usize, usize) {
    match &histogram.buckets {
        Buckets::Integer {
            positive, negative, ..
        } => (positive.len(), negative.len()),
        Buckets::Float {
            positive, negative, ..
        } => (positive.len(), negative.len()),
    }
}

/// Spans name as many buckets as are given, go forwards, and stay where an index fits 32 bits.
pub(super) fn check_spans(
    side: &'static str,
    spans: &[Span],
    buckets: usize,
) -> Result<(), HistogramError> {
    let (mut length, mut index) = (0u64, 0i64);
    for (at, span) in spans.iter().enumerate() {
        if at > 0 && span.offset < 0 {
            let offset = span.offset;
            return Err(HistogramError::SpanOffset { side, at, offset });
        }
        length += u64::from(span.length);
        index += i64::from(span.offset) + i64::from(span.length);
    }
    if length != buckets as u64 {
        return Err(HistogramError::SpanLength {
            side,
            spans: length,
            buckets,
        });
    }
    if i32::try_from(index).is_err() {
        let what = "the spans reach beyond what a bucket index can be";
        return Err(HistogramError::Custom(what));
    }
    Ok(())
}

pub(super) fn check_counts(histogram: &Histogram) -> Result<(), HistogramError> {
    match &histogram.buckets {
        Buckets::Integer {
            count,
            zero_count,
            positive,
            negative,
        } => {
            let buckets = sum_of_deltas("a positive bucket", positive)?
                .saturating_add(sum_of_deltas("a negative bucket", negative)?)
                .saturating_add(*zero_count);
            // NaN observations are counted and lie in no bucket; they make the sum NaN.
            let more_allowed = histogram.sum.is_nan() && *count > buckets;
            if *count != buckets && !more_allowed {
                let count = *count;
                return Err(HistogramError::Count { buckets, count });
            }
        }
        Buckets::Float {
            count,
            zero_count,
            positive,
            negative,
        } => {
            let negative_count = |what, value: f64| match value < 0.0 {
                true => Err(HistogramError::NegativeCount { what, value }),
                false => Ok(()),
            };
            negative_count("the count", *count)?;
            negative_count("the zero bucket", *zero_count)?;
            for value in positive {
                negative_count("a positive bucket", *value)?;
            }
            for value in negative {
                negative_count("a negative bucket", *value)?;
            }
        }
    }
    Ok(())
}

/// The sum of the buckets that deltas describe; no bucket may be below zero.
fn sum_of_deltas(what: &'static str, deltas: &[i64]) -> Result<u64, HistogramError> {
    let (mut bucket, mut sum) = (0i64, 0u64);
    for delta in deltas {
        let next = bucket.checked_add(*delta);
        bucket = next.filter(|bucket| *bucket >= 0).ok_or_else(|| {
            let value = bucket as f64 + *delta as f64;
            HistogramError::NegativeCount { what, value }
        })?;
        sum = sum.saturating_add(bucket.unsigned_abs());
    }
    Ok(sum)
}

/// The rules of custom buckets.
pub(super) fn check_custom(histogram: &Histogram) -> Result<(), HistogramError> {
    let wrong = |what| Err(HistogramError::Custom(what));
    let zero = match &histogram.buckets {
        Buckets::Integer { zero_count, .. } => *zero_count == 0,
        Buckets::Float { zero_count, .. } => *zero_count == 0.0,
    };
    if !zero || histogram.zero_threshold != 0.0 {
        return wrong("a histogram with custom buckets has a zero bucket or a zero threshold");
    }
    if !histogram.negative_spans.is_empty() || buckets_of(histogram).1 > 0 {
        return wrong("a histogram with custom buckets has negative buckets");
    }
    let bounds = &histogram.custom_values;
    if !bounds.iter().all(|bound| bound.is_finite()) {
        return wrong("custom bucket bounds must be finite (the last bucket's +Inf is implied)");
    }
    if !bounds.is_sorted_by(|low, high| low < high) {
        return wrong("custom bucket bounds must rise strictly");
    }
    if histogram.positive_spans.iter().any(|span| span.offset < 0) {
        return wrong("a span of custom buckets has a negative offset");
    }
    let reach: i64 = histogram
        .positive_spans
        .iter()
        .map(|span| i64::from(span.offset) + i64::from(span.length))
        .sum();
    if usize::try_from(reach).is_ok_and(|reach| reach > bounds.len() + 1) {
        return wrong("there are fewer custom bucket bounds than the spans need");
    }
    Ok(())
}
