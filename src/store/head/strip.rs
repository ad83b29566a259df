//! The samples of one series as a strip of bytes, for what does not live in chunks: late samples,
//! histograms, samples with start timestamps. In memory only.
//!
//! Count; flags; timestamps as differences of differences; which are histograms; values XORed with
//! their predecessor, zero bytes cut off at both ends; histograms; start timestamps.

use std::sync::Arc;

use crate::codec::{Error, histograms, varint};
use crate::model::{Samples, TimestampMs, Value};

const HAS_STARTS: u8 = 1;
const HAS_HISTOGRAMS: u8 = 2;

/// Appends samples as a strip.
pub(super) fn encode(samples: &Samples, out: &mut Vec<u8>) {
    varint::put_len(out, samples.len());
    let starts = samples.starts.iter().any(|start| *start != 0);
    let histograms = !samples.histograms.is_empty();
    out.push(u8::from(starts) * HAS_STARTS + u8::from(histograms) * HAS_HISTOGRAMS);
    let (mut last, mut step) = (0i64, 0i64);
    for at in &samples.timestamps {
        let next = at.wrapping_sub(last);
        varint::put_i64(out, next.wrapping_sub(step));
        (last, step) = (*at, next);
    }
    let mut bits = 0u64;
    if !starts && !histograms {
        for value in &samples.values {
            put_xor(out, bits ^ value.to_bits());
            bits = value.to_bits();
        }
        return;
    }
    for (at, value, start) in samples.iter() {
        if histograms {
            out.push(u8::from(matches!(value, Value::Histogram(_))));
        }
        match value {
            Value::Float(value) => {
                put_xor(out, bits ^ value.to_bits());
                bits = value.to_bits();
            }
            Value::Histogram(histogram) => histograms::encode_one(&histogram, out),
        }
        if starts {
            // 0 stays 0: most samples of a mixed strip have none.
            let distance = at.0.wrapping_sub(start.0);
            out.push(u8::from(start.0 != 0));
            if start.0 != 0 {
                varint::put_i64(out, distance);
            }
        }
    }
}

/// Zero, or a byte with the count of leading zero bytes and of significant ones, then those.
fn put_xor(out: &mut Vec<u8>, difference: u64) {
    if difference == 0 {
        out.push(0);
        return;
    }
    let leading = difference.leading_zeros() / 8;
    let trailing = difference.trailing_zeros() / 8;
    let significant = 8 - leading - trailing;
    out.push(u8::try_from(leading * 16 + significant).unwrap_or(0));
    let bytes = (difference << (leading * 8)).to_be_bytes();
    out.extend_from_slice(bytes.get(..significant as usize).unwrap_or_default());
}

fn take_xor(input: &mut &[u8]) -> Result<u64, Error> {
    let head = varint::take_u8(input, "a strip")?;
    let (leading, significant) = (usize::from(head >> 4), usize::from(head & 15));
    if leading + significant > 8 {
        return Err(Error::Invalid {
            what: "a strip",
            value: u64::from(head),
        });
    }
    let taken = varint::take_exact(input, significant, "a strip")?;
    let mut bytes = [0; 8];
    for (place, byte) in bytes.iter_mut().skip(leading).zip(taken) {
        *place = *byte;
    }
    Ok(u64::from_be_bytes(bytes))
}

/// Reads a strip and adds its samples.
///
/// # Errors
/// When the bytes are no strip, which only a bug can bring about.
pub(super) fn decode(mut input: &[u8], out: &mut Samples) -> Result<(), Error> {
    let input = &mut input;
    let count = varint::take_len(input, "a strip", input.len())?;
    let flags = varint::take_u8(input, "a strip")?;
    if flags == 0 && out.starts.is_empty() {
        return decode_floats(input, count, out);
    }
    let mut timestamps = Vec::with_capacity(count);
    let (mut last, mut step) = (0i64, 0i64);
    for _ in 0..count {
        step = step.wrapping_add(varint::take_i64(input)?);
        last = last.wrapping_add(step);
        timestamps.push(last);
    }
    let mut bits = 0u64;
    for at in timestamps {
        let histogram = flags & HAS_HISTOGRAMS != 0 && varint::take_u8(input, "a strip")? == 1;
        let value = if histogram {
            Value::Histogram(Arc::new(histograms::decode_one(input)?))
        } else {
            bits ^= take_xor(input)?;
            Value::Float(f64::from_bits(bits))
        };
        let mut start = 0;
        if flags & HAS_STARTS != 0 && varint::take_u8(input, "a strip")? == 1 {
            start = at.wrapping_sub(varint::take_i64(input)?);
        }
        out.push(TimestampMs(at), value, TimestampMs(start));
    }
    Ok(())
}

/// The rest of a strip of nothing but floats.
fn decode_floats(input: &mut &[u8], count: usize, out: &mut Samples) -> Result<(), Error> {
    out.timestamps.reserve(count);
    out.values.reserve(count);
    let (mut last, mut step) = (0i64, 0i64);
    for _ in 0..count {
        step = step.wrapping_add(varint::take_i64(input)?);
        last = last.wrapping_add(step);
        out.timestamps.push(last);
    }
    let mut bits = 0u64;
    for _ in 0..count {
        bits ^= take_xor(input)?;
        out.values.push(f64::from_bits(bits));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn strips_come_back(
            samples in proptest::collection::btree_map(
                any::<i64>(), (any::<u64>(), proptest::option::of(any::<i64>())), 0..50)
        ) {
            let mut before = Samples::default();
            for (at, (bits, start)) in samples {
                let value = Value::Float(f64::from_bits(bits));
                before.push(TimestampMs(at), value, TimestampMs(start.unwrap_or(0)));
            }
            let (mut bytes, mut after) = (Vec::new(), Samples::default());
            encode(&before, &mut bytes);
            decode(&bytes, &mut after).unwrap();
            prop_assert_eq!(before, after);
        }
    }
}
