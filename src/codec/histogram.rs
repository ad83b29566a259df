//! One native histogram by itself, as log records and messages hold it.
//!
//! Every field comes back with its bits, also those of histograms that `model` would not accept;
//! whether a histogram makes sense is not asked here. Columns of histograms are in
//! [`super::histograms`].
//!
//! ```text
//! u8      bit 0: float, bits 1-2: reset hint, bit 3: zero threshold is the usual one,
//!         bit 4: has negative buckets or spans, bit 5: has custom values
//! i64 z   schema
//! 8 bytes zero threshold, unless bit 3
//! 8 bytes sum
//! count, zero count            varints, or floats
//! positive spans and buckets   count, (zigzag offset, length)*; count, zigzag or float each
//! negative spans and buckets   likewise, if bit 4
//! custom values                count, 8 bytes each, if bit 5
//! ```
//! A float is a varint: 2n for a whole number n below 2^53, or 1 and then its 8 bytes.

use super::Error;
use super::varint::{
    put_i64, put_len, put_u64, take_f64, take_i64, take_len, take_u8, take_u32, take_u64,
};
use crate::model::{Buckets, Histogram, ResetHint, Span};

/// What Prometheus' client libraries use, 2^-128: saves its 8 bytes.
const USUAL_ZERO_THRESHOLD: f64 = 2.938_735_877_055_719e-39;

const WHAT: &str = "a histogram";
const FLOAT: u8 = 1;
const HINT_SHIFT: u8 = 1;
const USUAL_THRESHOLD: u8 = 1 << 3;
const NEGATIVE: u8 = 1 << 4;
const CUSTOM: u8 = 1 << 5;
const ALL_FLAGS: u8 = 0x3f;

/// Appends a histogram.
pub(super) fn encode_one(histogram: &Histogram, out: &mut Vec<u8>) {
    let usual = histogram.zero_threshold.to_bits() == USUAL_ZERO_THRESHOLD.to_bits();
    let (float, negative_len) = match &histogram.buckets {
        Buckets::Integer { negative, .. } => (false, negative.len()),
        Buckets::Float { negative, .. } => (true, negative.len()),
    };
    let negative = negative_len > 0 || !histogram.negative_spans.is_empty();
    let custom = !histogram.custom_values.is_empty();
    let flag = |set: bool, bit: u8| if set { bit } else { 0 };
    out.push(
        flag(float, FLOAT)
            | hint_id(histogram.reset_hint) << HINT_SHIFT
            | flag(usual, USUAL_THRESHOLD)
            | flag(negative, NEGATIVE)
            | flag(custom, CUSTOM),
    );
    put_i64(out, i64::from(histogram.schema));
    if !usual {
        put_bits(out, histogram.zero_threshold);
    }
    put_bits(out, histogram.sum);
    match &histogram.buckets {
        Buckets::Integer {
            count,
            zero_count,
            positive,
            negative: below,
        } => {
            put_u64(out, *count);
            put_u64(out, *zero_count);
            put_spans(out, &histogram.positive_spans);
            put_list(out, positive, |out, delta| put_i64(out, *delta));
            if negative {
                put_spans(out, &histogram.negative_spans);
                put_list(out, below, |out, delta| put_i64(out, *delta));
            }
        }
        Buckets::Float {
            count,
            zero_count,
            positive,
            negative: below,
        } => {
            put_float(out, *count);
            put_float(out, *zero_count);
            put_spans(out, &histogram.positive_spans);
            put_list(out, positive, |out, count| put_float(out, *count));
            if negative {
                put_spans(out, &histogram.negative_spans);
                put_list(out, below, |out, count| put_float(out, *count));
            }
        }
    }
    if custom {
        put_list(out, &histogram.custom_values, |out, bound| {
            put_bits(out, *bound)
        });
    }
}

/// Takes a histogram from the front of bytes.
pub(super) fn decode_one(input: &mut &[u8]) -> Result<Histogram, Error> {
    let flags = take_u8(input, WHAT)?;
    if flags & !ALL_FLAGS != 0 {
        return Err(Error::invalid(WHAT, u64::from(flags)));
    }
    let has = |bit: u8| flags & bit != 0;
    let reset_hint = hint_of(flags >> HINT_SHIFT & 3);
    let schema = take_i64(input)?;
    let schema = i32::try_from(schema).map_err(|_| Error::invalid(WHAT, schema.cast_unsigned()))?;
    let zero_threshold = if has(USUAL_THRESHOLD) {
        USUAL_ZERO_THRESHOLD
    } else {
        take_f64(input, WHAT)?
    };
    let sum = take_f64(input, WHAT)?;
    let positive_spans;
    let mut negative_spans = Vec::new();
    let buckets = if has(FLOAT) {
        let (count, zero_count) = (take_float(input)?, take_float(input)?);
        positive_spans = take_spans(input)?;
        let positive = take_list(input, 1, take_float)?;
        let mut negative = Vec::new();
        if has(NEGATIVE) {
            negative_spans = take_spans(input)?;
            negative = take_list(input, 1, take_float)?;
        }
        Buckets::Float {
            count,
            zero_count,
            positive,
            negative,
        }
    } else {
        let (count, zero_count) = (take_u64(input)?, take_u64(input)?);
        positive_spans = take_spans(input)?;
        let positive = take_list(input, 1, take_i64)?;
        let mut negative = Vec::new();
        if has(NEGATIVE) {
            negative_spans = take_spans(input)?;
            negative = take_list(input, 1, take_i64)?;
        }
        Buckets::Integer {
            count,
            zero_count,
            positive,
            negative,
        }
    };
    let custom_values = if has(CUSTOM) {
        take_list(input, 8, |input| take_f64(input, WHAT))?
    } else {
        Vec::new()
    };
    Ok(Histogram {
        schema,
        zero_threshold,
        sum,
        buckets,
        positive_spans,
        negative_spans,
        custom_values,
        reset_hint,
    })
}

/// The number of a reset hint in every format of ours.
pub(super) fn hint_id(hint: ResetHint) -> u8 {
    match hint {
        ResetHint::Unknown => 0,
        ResetHint::Yes => 1,
        ResetHint::No => 2,
        ResetHint::Gauge => 3,
    }
}

/// The other way round; only the low two bits count.
pub(super) fn hint_of(id: u8) -> ResetHint {
    match id & 3 {
        0 => ResetHint::Unknown,
        1 => ResetHint::Yes,
        2 => ResetHint::No,
        _ => ResetHint::Gauge,
    }
}

pub(super) fn put_bits(out: &mut Vec<u8>, value: f64) {
    out.extend_from_slice(&value.to_bits().to_le_bytes());
}

/// Counts of float histograms are mostly whole numbers.
fn put_float(out: &mut Vec<u8>, value: f64) {
    match whole(value) {
        Some(number) => put_u64(out, number << 1),
        None => {
            put_u64(out, 1);
            put_bits(out, value);
        }
    }
}

fn take_float(input: &mut &[u8]) -> Result<f64, Error> {
    let head = take_u64(input)?;
    if head == 1 {
        return take_f64(input, WHAT);
    }
    let number = head >> 1;
    if head & 1 == 1 || number >= 1 << 53 {
        return Err(Error::invalid(WHAT, head));
    }
    Ok(number as f64)
}

/// The whole number below 2^53 that a float is, if it is one and not -0.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "in range and without fraction, as checked just before and after"
)]
fn whole(value: f64) -> Option<u64> {
    if !(0.0..9_007_199_254_740_992.0).contains(&value) {
        return None;
    }
    let number = value as u64;
    ((number as f64).to_bits() == value.to_bits()).then_some(number)
}

pub(super) fn put_spans(out: &mut Vec<u8>, spans: &[Span]) {
    put_list(out, spans, |out, span| {
        put_i64(out, i64::from(span.offset));
        put_u64(out, u64::from(span.length));
    });
}

pub(super) fn take_spans(input: &mut &[u8]) -> Result<Vec<Span>, Error> {
    take_list(input, 2, |input| {
        let offset = take_i64(input)?;
        let offset =
            i32::try_from(offset).map_err(|_| Error::invalid(WHAT, offset.cast_unsigned()))?;
        let length = take_u32(input, "the length of a span")?;
        Ok(Span { offset, length })
    })
}

pub(super) fn put_list<T>(out: &mut Vec<u8>, list: &[T], put: impl Fn(&mut Vec<u8>, &T)) {
    put_len(out, list.len());
    for item in list {
        put(out, item);
    }
}

/// Takes a count and that many items, of which each has at least `least` bytes: so no more is
/// allocated than the input can fill.
pub(super) fn take_list<T>(
    input: &mut &[u8],
    least: usize,
    take: impl Fn(&mut &[u8]) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    let len = take_len(input, WHAT, usize::MAX)?;
    if len > input.len() / least {
        return Err(Error::truncated(
            WHAT,
            len.saturating_mul(least).saturating_sub(input.len()),
        ));
    }
    let mut list = Vec::with_capacity(len);
    for _ in 0..len {
        list.push(take(input)?);
    }
    Ok(list)
}
