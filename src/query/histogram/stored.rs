//! From stored histograms to those that are calculated with.
//!
//! Neighbours of a series have the same buckets nearly always: the indexes of the last one are
//! kept and shared. What the reset hint of a sample is follows from its neighbour too, as in
//! Prometheus, whose storage finds it out when samples are written.

use std::sync::Arc;

use crate::model::{Buckets, Histogram, ResetHint, Span};

use super::float::FloatHistogram;
use super::sides::Side;

/// Reads the histograms of series.
#[derive(Debug, Default)]
pub(in crate::query) struct Reader {
    positive: Layout,
    negative: Layout,
    custom_values: Arc<[f64]>,
}

/// The spans that were met last, and the indexes of their buckets.
#[derive(Debug, Default)]
struct Layout {
    spans: Vec<Span>,
    at: Arc<[i32]>,
}

impl Layout {
    fn of(&mut self, spans: &[Span]) -> Arc<[i32]> {
        if self.spans != spans {
            let mut at = Vec::new();
            let mut next = 0_i32;
            for span in spans {
                next = next.saturating_add(span.offset);
                for _ in 0..span.length {
                    at.push(next);
                    next = next.saturating_add(1);
                }
            }
            self.at = at.into();
            self.spans.clear();
            self.spans.extend_from_slice(spans);
        }
        Arc::clone(&self.at)
    }

    fn side(&mut self, spans: &[Span], counts: Vec<f64>) -> Side {
        let at = self.of(spans);
        if at.len() == counts.len() {
            return Side { at, counts };
        }
        // Only what is damaged gets here: as much of it as makes sense.
        Side::of(at.iter().copied().zip(counts))
    }
}

/// Differences to the bucket before as counts.
#[allow(clippy::cast_precision_loss, reason = "counts become floats here")]
fn absolute(deltas: &[i64]) -> Vec<f64> {
    let mut count = 0_i64;
    let counts = deltas.iter().map(|delta| {
        count = count.wrapping_add(*delta);
        count as f64
    });
    counts.collect()
}

impl Reader {
    /// A histogram as it was sent, its hint included.
    #[allow(clippy::cast_precision_loss, reason = "counts become floats here")]
    pub(in crate::query) fn read(&mut self, stored: &Histogram) -> FloatHistogram {
        let (count, zero_count, positive, negative) = match &stored.buckets {
            Buckets::Integer {
                count,
                zero_count,
                positive,
                negative,
            } => (
                *count as f64,
                *zero_count as f64,
                absolute(positive),
                absolute(negative),
            ),
            Buckets::Float {
                count,
                zero_count,
                positive,
                negative,
            } => (*count, *zero_count, positive.clone(), negative.clone()),
        };
        if *self.custom_values != *stored.custom_values {
            self.custom_values = stored.custom_values.as_slice().into();
        }
        FloatHistogram {
            schema: stored.schema,
            // What compares with nothing, not even itself, would never be reconciled.
            zero_threshold: stored.zero_threshold.max(0.0),
            zero_count,
            count,
            sum: stored.sum,
            positive: self.positive.side(&stored.positive_spans, positive),
            negative: self.negative.side(&stored.negative_spans, negative),
            custom_values: Arc::clone(&self.custom_values),
            hint: stored.reset_hint,
        }
    }

    /// A histogram with what is known of a reset since its neighbour: the sample right before it,
    /// if that is a histogram and no stale marker. As in Prometheus, where storage tells whether
    /// there was none and never that there was one: then what is asked compares for itself.
    pub(in crate::query) fn read_after(
        &mut self,
        stored: &Histogram,
        before: Option<(&Histogram, &FloatHistogram)>,
    ) -> FloatHistogram {
        let mut histogram = self.read(stored);
        if histogram.hint == ResetHint::Gauge {
            return histogram;
        }
        let explicit = histogram.hint == ResetHint::Yes;
        histogram.hint = ResetHint::Unknown;
        if let Some((before, float)) = before
            && !explicit
            && comparable(stored, before)
            && !histogram.is_reset_since(float)
        {
            histogram.hint = ResetHint::No;
        }
        histogram
    }
}

/// Whether Prometheus would keep two neighbours in one chunk, if there was no reset.
fn comparable(one: &Histogram, before: &Histogram) -> bool {
    let integer = |histogram: &Histogram| matches!(histogram.buckets, Buckets::Integer { .. });
    integer(one) == integer(before)
        && before.reset_hint != ResetHint::Gauge
        && one.schema == before.schema
        && one.zero_threshold == before.zero_threshold
        && one.custom_values == before.custom_values
}
