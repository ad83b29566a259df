//! Values that no arithmetic should see: stale markers, other NaNs, infinities, minus zero.
//!
//! They are taken out of a column before it is transformed and put back after it: a list of runs,
//! each a few bits of class and its distance to the one before.
//!
//! ```text
//! up to the end: varint regular values before the run
//!                varint (length of the run - 1) * 8 + class
//!                8 bytes, for class 7: the bits
//! ```

use std::ops::Range;

use super::Error;
use super::varint::{put_len, put_u64, take_array, take_u64};
use crate::model::STALE_NAN_BITS;

const WHAT: &str = "the exceptions of a column";

/// Bits by class; class 7 has its bits written out.
const CLASSES: [u64; 7] = [
    STALE_NAN_BITS,
    0x7ff8_0000_0000_0001, // what Prometheus writes for a NaN
    0x7ff8_0000_0000_0000, // what processors make
    0x7ff0_0000_0000_0000, // +Inf
    0xfff0_0000_0000_0000, // -Inf
    0x8000_0000_0000_0000, // -0
    0xfff8_0000_0000_0000, // what x86 makes of an invalid operation
];
const OTHER: u64 = 7;

/// Whether a value must not be transformed.
pub(super) fn is_exception(value: f64) -> bool {
    !value.is_finite() || value.to_bits() == 1 << 63
}

/// The exceptions of a column.
pub(super) fn encode(values: &[f64], out: &mut Vec<u8>) {
    let mut regular = 0;
    for run in
        values.chunk_by(|a, b| a.to_bits() == b.to_bits() || !is_exception(*a) && !is_exception(*b))
    {
        let Some(value) = run.first().filter(|value| is_exception(**value)) else {
            regular += run.len();
            continue;
        };
        put_len(out, std::mem::take(&mut regular));
        let bits = value.to_bits();
        let class = CLASSES.iter().zip(0..).find(|(known, _)| **known == bits);
        let class = class.map_or(OTHER, |(_, class)| class);
        put_u64(out, (run.len() as u64 - 1) << 3 | class);
        if class == OTHER {
            out.extend_from_slice(&bits.to_le_bytes());
        }
    }
}

/// Puts them back over what stands in their places.
pub(super) fn apply(input: &[u8], values: &mut [f64]) -> Result<(), Error> {
    each_run(input, values.len(), |run, value| {
        if let Some(run) = values.get_mut(run) {
            run.fill(value);
        }
    })
}

/// Puts those of a run of rows back, which have `values`, of a column of so many.
pub(super) fn apply_run(
    input: &[u8],
    (rows, count): (Range<usize>, usize),
    values: &mut [f64],
) -> Result<(), Error> {
    each_run(input, count, |run, value| {
        let inside = |row: usize| row.clamp(rows.start, rows.end) - rows.start;
        if let Some(run) = values.get_mut(inside(run.start)..inside(run.end)) {
            run.fill(value);
        }
    })
}

/// Puts those of some rows back: `rows` are rising, of a column of so many, and have `values`.
pub(super) fn apply_some(
    input: &[u8],
    (rows, count): (&[u32], usize),
    values: &mut [f64],
) -> Result<(), Error> {
    each_run(input, count, |run, value| {
        let before = |end: usize| rows.partition_point(|row| (*row as usize) < end);
        if let Some(run) = values.get_mut(before(run.start)..before(run.end)) {
            run.fill(value);
        }
    })
}

/// Calls `put` with the rows of each run and what they have.
fn each_run(
    mut input: &[u8],
    rows: usize,
    mut put: impl FnMut(Range<usize>, f64),
) -> Result<(), Error> {
    let input = &mut input;
    let mut at = 0usize;
    let mut skip = |count: u64| {
        let to = usize::try_from(count).ok().and_then(|n| at.checked_add(n));
        let to = to.filter(|to| *to <= rows);
        let to = to.ok_or_else(|| Error::invalid(WHAT, count))?;
        Ok::<Range<usize>, Error>(std::mem::replace(&mut at, to)..to)
    };
    while !input.is_empty() {
        let regular = take_u64(input)?;
        let head = take_u64(input)?;
        let bits = match CLASSES.get((head & 7) as usize) {
            Some(bits) => *bits,
            None => u64::from_le_bytes(take_array(input, WHAT)?),
        };
        skip(regular)?;
        put(skip((head >> 3) + 1)?, f64::from_bits(bits));
    }
    Ok(())
}
