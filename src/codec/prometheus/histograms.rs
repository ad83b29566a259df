//! A chunk of histograms that share their buckets: the layout once, then times and whole numbers
//! as differences of differences, floats XORed with the one before.

use super::super::bits::BitWriter;
use super::varbit::{Xor, put_int, put_uint};
use crate::model::{Buckets, Histogram, ResetHint, SCHEMA_CUSTOM, Span};

/// In the first byte after the number of samples.
const RESET: u64 = 0b1000_0000;
const GAUGE: u64 = 0b1100_0000;

/// Writes histograms of one kind and layout, at least one and at most 65,535. Of a stale marker
/// only the sum counts, and it is alone.
pub(super) fn encode<'a>(
    histograms: impl ExactSizeIterator<Item = (i64, &'a Histogram)>,
) -> Vec<u8> {
    let mut out = BitWriter::new();
    out.write(histograms.len() as u64, 16);
    let mut series = Series::default();
    for (at, (time, histogram)) in histograms.enumerate() {
        if at == 0 {
            out.write(
                match histogram.reset_hint {
                    ResetHint::Gauge => GAUGE,
                    ResetHint::Yes => RESET,
                    ResetHint::Unknown | ResetHint::No => 0,
                },
                8,
            );
            series.first(&mut out, time, histogram);
        } else {
            series.next(&mut out, time, histogram);
        }
    }
    out.finish()
}

/// A whole number and its last difference.
#[derive(Clone, Copy, Debug, Default)]
struct Whole {
    value: i64,
    delta: i64,
}

impl Whole {
    const fn after(value: i64) -> Self {
        Self { value, delta: 0 }
    }

    fn put(&mut self, out: &mut BitWriter, value: i64) {
        let delta = value.wrapping_sub(self.value);
        put_int(out, delta.wrapping_sub(self.delta));
        *self = Self { value, delta };
    }
}

/// What the next sample is written against.
#[derive(Debug, Default)]
struct Series {
    time: Whole,
    sum: Option<Xor>,
    /// Count, zero count and buckets of integer histograms.
    wholes: Vec<Whole>,
    /// The same of float histograms.
    floats: Vec<Xor>,
}

impl Series {
    fn first(&mut self, out: &mut BitWriter, time: i64, histogram: &Histogram) {
        let stale = histogram.is_stale();
        put_layout(out, histogram, stale);
        put_int(out, time);
        self.time = Whole::after(time);
        match &histogram.buckets {
            Buckets::Integer {
                count,
                zero_count,
                positive,
                negative,
            } => {
                let counts = if stale { [0, 0] } else { [*count, *zero_count] };
                for count in counts {
                    put_uint(out, count);
                    self.wholes.push(Whole::after(count.cast_signed()));
                }
                out.write(histogram.sum.to_bits(), 64);
                for delta in positive.iter().chain(negative).filter(|_| !stale) {
                    put_int(out, *delta);
                    self.wholes.push(Whole::after(*delta));
                }
            }
            Buckets::Float {
                count,
                zero_count,
                positive,
                negative,
            } => {
                let counts = if stale {
                    [0.0, 0.0]
                } else {
                    [*count, *zero_count]
                };
                let buckets = positive.iter().chain(negative).filter(|_| !stale);
                for count in counts {
                    out.write(count.to_bits(), 64);
                    self.floats.push(Xor::after(count));
                }
                out.write(histogram.sum.to_bits(), 64);
                for count in buckets {
                    out.write(count.to_bits(), 64);
                    self.floats.push(Xor::after(*count));
                }
            }
        }
        self.sum = Some(Xor::after(histogram.sum));
    }

    fn next(&mut self, out: &mut BitWriter, time: i64, histogram: &Histogram) {
        self.time.put(out, time);
        match &histogram.buckets {
            Buckets::Integer {
                count,
                zero_count,
                positive,
                negative,
            } => {
                let mut places = self.wholes.iter_mut();
                let counts = [count.cast_signed(), zero_count.cast_signed()];
                for (count, place) in counts.into_iter().zip(places.by_ref()) {
                    place.put(out, count);
                }
                if let Some(sum) = &mut self.sum {
                    sum.put(out, histogram.sum);
                }
                for (place, delta) in places.zip(positive.iter().chain(negative)) {
                    place.put(out, *delta);
                }
            }
            Buckets::Float {
                count,
                zero_count,
                positive,
                negative,
            } => {
                let mut places = self.floats.iter_mut();
                let counts = [*count, *zero_count];
                for (count, place) in counts.into_iter().zip(places.by_ref()) {
                    place.put(out, count);
                }
                if let Some(sum) = &mut self.sum {
                    sum.put(out, histogram.sum);
                }
                for (place, count) in places.zip(positive.iter().chain(negative)) {
                    place.put(out, *count);
                }
            }
        }
    }
}

fn put_layout(out: &mut BitWriter, histogram: &Histogram, stale: bool) {
    if stale {
        // No threshold, schema 0, no spans.
        out.write(0, 8 + 3);
        return;
    }
    put_threshold(out, histogram.zero_threshold);
    put_int(out, i64::from(histogram.schema));
    put_spans(out, &histogram.positive_spans);
    put_spans(out, &histogram.negative_spans);
    if histogram.schema == SCHEMA_CUSTOM {
        put_uint(out, histogram.custom_values.len() as u64);
        for bound in &histogram.custom_values {
            put_bound(out, *bound);
        }
    }
}

fn put_spans(out: &mut BitWriter, spans: &[Span]) {
    put_uint(out, spans.len() as u64);
    for span in spans {
        put_uint(out, u64::from(span.length));
        put_int(out, i64::from(span.offset));
    }
}

/// A power of two from 2^-243 to 2^10 is its exponent in one byte, and 0 a zero byte.
fn put_threshold(out: &mut BitWriter, threshold: f64) {
    let bits = threshold.to_bits();
    let (exponent, fraction) = (bits >> 52, bits & ((1 << 52) - 1));
    // The bits have 1023 added to the exponent, the byte 244.
    match exponent.checked_sub(1023 - 244) {
        _ if threshold == 0.0 => out.write(0, 8),
        Some(byte @ 1..=254) if fraction == 0 => out.write(byte, 8),
        _ => {
            out.write(255, 8);
            out.write(bits, 64);
        }
    }
}

/// The most thousandths that a bound may be to be written as such.
const THOUSANDTHS_MAX: f64 = 33_554_430.0;

/// A bound of whole thousandths is their number and one; others are a zero bit and their bits.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 0 and THOUSANDTHS_MAX"
)]
fn put_bound(out: &mut BitWriter, bound: f64) {
    let thousandths = bound * 1000.0;
    let rounded = thousandths.round();
    if (0.0..=THOUSANDTHS_MAX).contains(&thousandths) && (rounded / 1000.0) == bound {
        put_uint(out, rounded as u64 + 1);
        return;
    }
    out.write_bit(false);
    out.write(bound.to_bits(), 64);
}
