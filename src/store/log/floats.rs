//! Records of float samples, byte by byte as `docs/format.md` ("Log") has them.

use std::ops::Range;

use super::payload::{Packer, invalid, unwrap};
use crate::codec::{Error, varint};
use crate::model::WINDOW_MS;

/// Samples of one record at most.
pub(crate) const RECORD_SAMPLES_MAX: usize = 1 << 16;

/// A float sample as the log has it: the writer's number of the series, milliseconds from the
/// window's start, bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LoggedFloat {
    /// The number that a definition gave to the series.
    pub series: u32,
    /// Milliseconds from the start of the window.
    pub offset_ms: u32,
    /// The value's bits.
    pub bits: u64,
}

/// Makes payloads of float samples, with buffers that stay.
#[derive(Default)]
pub(crate) struct FloatsWriter {
    body: Vec<u8>,
    packer: Packer,
}

impl std::fmt::Debug for FloatsWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FloatsWriter")
    }
}

impl FloatsWriter {
    /// Appends the payload of float samples, at most [`RECORD_SAMPLES_MAX`] of them: runs of
    /// consecutive numbers with one timestamp, then the values' bytes by significance, so that the
    /// bytes that hardly differ stand together.
    pub(crate) fn put(&mut self, samples: &[LoggedFloat], out: &mut Vec<u8>) {
        let body = &mut self.body;
        body.clear();
        body.reserve(samples.len() * 9 + 16);
        put_runs(body, samples, |_, _| ());
        for shift in (0..64).step_by(8) {
            body.extend(samples.iter().map(|sample| low_byte(sample.bits >> shift)));
        }
        self.packer.wrap(body, out);
    }
}

/// Appends how many samples there are and their runs, each of which is shown to `each`.
pub(super) fn put_runs(
    body: &mut Vec<u8>,
    samples: &[LoggedFloat],
    mut each: impl FnMut(Range<u32>, &[LoggedFloat]),
) {
    varint::put_len(body, samples.len());
    let (mut expected, mut offset_ms, mut rest) = (0u32, 0u32, samples);
    while let Some(first) = rest.first() {
        let (run, later) = rest.split_at(run_length(rest));
        varint::put_i64(body, i64::from(first.series) - i64::from(expected));
        varint::put_i64(body, i64::from(first.offset_ms) - i64::from(offset_ms));
        varint::put_len(body, run.len());
        expected = first
            .series
            .wrapping_add(u32::try_from(run.len()).unwrap_or(u32::MAX));
        offset_ms = first.offset_ms;
        each(first.series..expected, run);
        rest = later;
    }
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "the low byte is what is wanted"
)]
const fn low_byte(bits: u64) -> u8 {
    bits as u8
}

fn run_length(samples: &[LoggedFloat]) -> usize {
    let Some(first) = samples.first() else {
        return 0;
    };
    let follows = |(at, sample): (u32, &LoggedFloat)| {
        sample.offset_ms == first.offset_ms && sample.series == first.series.wrapping_add(at)
    };
    (0u32..)
        .zip(samples)
        .take_while(|pair| follows(*pair))
        .count()
}

/// Samples of consecutive numbers at one time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FloatRun {
    /// The number of the first series.
    pub first: u32,
    /// How many they are.
    pub len: u32,
    /// Milliseconds from the start of the window.
    pub offset_ms: u32,
}

/// Reads the payload of float samples: their runs in order, and as many values, which are added to `values`; says how
/// many they are.
///
/// # Errors
/// When the payload is damaged; nothing is added then.
pub(crate) fn decode_floats(
    payload: &[u8],
    scratch: &mut Vec<u8>,
    runs: &mut Vec<FloatRun>,
    values: &mut Vec<u64>,
) -> Result<usize, Error> {
    const WHAT: &str = "logged floats";
    runs.clear();
    let mut body = unwrap(payload, scratch)?;
    let count = varint::take_len(&mut body, WHAT, RECORD_SAMPLES_MAX)?;
    take_runs(&mut body, count, runs)?;
    let bytes = varint::take_exact(&mut body, 8 * count, WHAT)?;
    varint::finished(body, WHAT)?;
    let plane = |number: usize| {
        bytes
            .get(number * count..(number + 1) * count)
            .unwrap_or_default()
    };
    let planes: [&[u8]; 8] = std::array::from_fn(plane);
    let value = |at: usize| planes.map(|plane| plane.get(at).copied().unwrap_or(0));
    let eights = count / 8 * 8;
    for at in (0..eights).step_by(8) {
        let eight = |plane: &[u8]| plane.get(at..).and_then(<[u8]>::first_chunk).copied();
        let rows = planes.map(|plane| u64::from_le_bytes(eight(plane).unwrap_or_default()));
        values.extend_from_slice(&transposed(rows));
    }
    values.extend((eights..count).map(|at| u64::from_le_bytes(value(at))));
    Ok(count)
}

/// Reads the runs of `count` samples.
pub(super) fn take_runs(
    body: &mut &[u8],
    count: usize,
    runs: &mut Vec<FloatRun>,
) -> Result<(), Error> {
    const WHAT: &str = "runs of logged floats";
    let (mut expected, mut offset_ms, mut left) = (0i64, 0i64, count);
    while left > 0 {
        let first = expected.wrapping_add(varint::take_i64(body)?);
        offset_ms = offset_ms.wrapping_add(varint::take_i64(body)?);
        let run = varint::take_len(body, WHAT, left)?;
        if run == 0 {
            return Err(invalid(WHAT, 0));
        }
        expected = first.wrapping_add(run as i64);
        if u32::try_from(expected).is_err() || !(0..WINDOW_MS).contains(&offset_ms) {
            return Err(invalid(WHAT, offset_ms.unsigned_abs()));
        }
        let number =
            |value: i64| u32::try_from(value).map_err(|_| invalid(WHAT, value.unsigned_abs()));
        runs.push(FloatRun {
            first: number(first)?,
            len: number(run as i64)?,
            offset_ms: number(offset_ms)?,
        });
        left -= run;
    }
    Ok(())
}

/// Eight times eight bytes, rows made columns: blocks of four, of two and of one byte change places.
const fn transposed([a, b, c, d, e, f, g, h]: [u64; 8]) -> [u64; 8] {
    const fn change(one: u64, other: u64, mask: u64) -> (u64, u64) {
        let shift = mask.trailing_ones();
        let lower = (one & mask) | ((other & mask) << shift);
        (lower, ((one >> shift) & mask) | (other & !mask))
    }
    const FOUR: u64 = 0x0000_0000_ffff_ffff;
    const TWO: u64 = 0x0000_ffff_0000_ffff;
    const ONE: u64 = 0x00ff_00ff_00ff_00ff;
    let ((a, e), (b, f)) = (change(a, e, FOUR), change(b, f, FOUR));
    let ((c, g), (d, h)) = (change(c, g, FOUR), change(d, h, FOUR));
    let ((a, c), (b, d)) = (change(a, c, TWO), change(b, d, TWO));
    let ((e, g), (f, h)) = (change(e, g, TWO), change(f, h, TWO));
    let ((a, b), (c, d)) = (change(a, b, ONE), change(c, d, ONE));
    let ((e, f), (g, h)) = (change(e, f, ONE), change(g, h, ONE));
    [a, b, c, d, e, f, g, h]
}

/// The samples of runs and as many values.
#[cfg(test)]
pub(super) fn together(runs: &[FloatRun], values: Vec<u64>) -> Vec<LoggedFloat> {
    let numbers = runs.iter().flat_map(|run| {
        let numbers = run.first..run.first + run.len;
        numbers.map(|series| (series, run.offset_ms))
    });
    let float = |((series, offset_ms), bits)| LoggedFloat {
        series,
        offset_ms,
        bits,
    };
    numbers.zip(values).map(float).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a payload says.
    fn read(payload: &[u8]) -> Result<Vec<LoggedFloat>, Error> {
        let (mut runs, mut values) = (Vec::new(), vec![77]);
        let decoded = decode_floats(payload, &mut Vec::new(), &mut runs, &mut values);
        let Ok(count) = decoded else {
            assert_eq!(values, [77], "nothing is added");
            return Err(decoded.unwrap_err());
        };
        let values = values.split_off(1);
        assert_eq!(values.len(), count);
        Ok(together(&runs, values))
    }

    fn floats() -> impl Strategy<Value = Vec<LoggedFloat>> {
        let run = (0..u32::MAX - 40, 0..7_200_000u32, 1usize..40, any::<u64>());
        let run = run.prop_map(|(first, offset_ms, len, bits)| {
            let one = |(series, at): (u32, u64)| LoggedFloat {
                series,
                offset_ms,
                bits: bits.wrapping_mul(at + 1),
            };
            (first..).zip(0u64..).take(len).map(one).collect::<Vec<_>>()
        });
        proptest::collection::vec(run, 0..12).prop_map(|runs| runs.concat())
    }

    proptest! {
        /// Would catch values whose bytes change places, also behind the last whole eight, and runs that are read as others.
        #[test]
        fn floats_come_back(floats in floats()) {
            let mut payload = Vec::new();
            FloatsWriter::default().put(&floats, &mut payload);
            prop_assert_eq!(read(&payload).unwrap(), floats);
        }

        /// Would catch a panic, and values that are added of a payload that is refused.
        #[test]
        fn a_damaged_payload_is_refused_or_read(
            floats in floats(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>(),
        ) {
            let mut payload = Vec::new();
            FloatsWriter::default().put(&floats, &mut payload);
            let at = at.index(payload.len());
            payload[at] = byte;
            if cut {
                payload.truncate(at);
            }
            drop(read(&payload));
        }
    }
}
