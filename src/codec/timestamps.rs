//! A column of timestamps, stored once for all series that were scraped together.
//!
//! A scrape target is read on a grid, with a late scrape here and there: then only those are
//! written. Any other column of 64-bit numbers comes back too; differences wrap around, so the
//! ends of time are numbers like others.
//!
//! ```text
//! u8      encoding: 1 grid, 2 steps, 3 steps of steps
//! varint  rows; nothing more when 0
//! zigzag  first timestamp; nothing more when rows = 1
//! zigzag  step: the commonest difference (not for 3)
//! 1:      up to the end, for each difference that is not the step:
//!             varint 2 * (on-grid differences before it) + 1 if the next makes up for it exactly
//!             zigzag (difference - step)
//! 2:      compressed: zigzag varint (difference - step), for each difference
//! 3:      compressed: zigzag varint (difference - difference before it), the first before 0
//! u32     checksum
//! ```

use super::varint::{finished, put_i64, put_len, put_u64, take_i64, take_len, take_u8, take_u64};
use super::version::{TIMESTAMPS_GRID, TIMESTAMPS_STEPS, TIMESTAMPS_STEPS_OF_STEPS};
use super::{Error, ROWS_MAX, frame};

const WHAT: &str = "a timestamp column";

/// Appends a column.
///
/// # Errors
/// Refuses more than [`ROWS_MAX`] timestamps.
pub fn encode(timestamps: &[i64], out: &mut Vec<u8>) -> Result<(), Error> {
    Error::bound("rows of a timestamp column", timestamps.len(), ROWS_MAX)?;
    let start = out.len();
    encode_body(timestamps, out);
    frame::seal(out, start);
    Ok(())
}

/// The column without its checksum, for sections that have one of their own.
pub(super) fn encode_body(timestamps: &[i64], out: &mut Vec<u8>) {
    let differences: Vec<i64> = timestamps
        .windows(2)
        .filter_map(|pair| match pair {
            [a, b] => Some(b.wrapping_sub(*a)),
            _ => None,
        })
        .collect();
    let step = commonest(&differences);
    let off_grid = differences.iter().filter(|d| **d != step).count();
    let head = |id: u8| {
        let mut head = vec![id];
        put_len(&mut head, timestamps.len());
        if let Some(first) = timestamps.first() {
            put_i64(&mut head, *first);
        }
        head
    };
    let mut best = head(TIMESTAMPS_GRID);
    if differences.is_empty() {
        out.extend_from_slice(&best);
        return;
    }
    put_i64(&mut best, step);
    put_grid(&mut best, &differences, step);
    // Where more than an eighth is off the grid, the other two may be shorter.
    if off_grid > differences.len() / 8 {
        let mut steps = head(TIMESTAMPS_STEPS);
        put_i64(&mut steps, step);
        let residuals = differences.iter().map(|d| d.wrapping_sub(step));
        frame::compress(&varints(residuals), &mut steps);
        let mut second = head(TIMESTAMPS_STEPS_OF_STEPS);
        let mut before = 0;
        let residuals = differences
            .iter()
            .map(|d| d.wrapping_sub(std::mem::replace(&mut before, *d)));
        frame::compress(&varints(residuals), &mut second);
        for other in [steps, second] {
            if other.len() < best.len() {
                best = other;
            }
        }
    }
    out.extend_from_slice(&best);
}

fn varints(values: impl Iterator<Item = i64>) -> Vec<u8> {
    let mut out = Vec::new();
    for value in values {
        put_i64(&mut out, value);
    }
    out
}

/// The value that occurs most often; of equals the smallest.
fn commonest(values: &[i64]) -> i64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let mut best = (0, 0);
    for run in sorted.chunk_by(|a, b| a == b) {
        if let Some(value) = run.first()
            && run.len() > best.0
        {
            best = (run.len(), *value);
        }
    }
    best.1
}

fn put_grid(out: &mut Vec<u8>, differences: &[i64], step: i64) {
    let mut on_grid = 0u64;
    let mut rest = differences;
    while let Some((difference, after)) = rest.split_first() {
        rest = after;
        let off = difference.wrapping_sub(step);
        if off == 0 {
            on_grid += 1;
            continue;
        }
        let makes_up = rest
            .first()
            .is_some_and(|next| next.wrapping_sub(step) == off.wrapping_neg());
        if makes_up {
            rest = rest.get(1..).unwrap_or_default();
        }
        put_u64(out, on_grid << 1 | u64::from(makes_up));
        put_i64(out, off);
        on_grid = 0;
    }
}

/// Decodes a column.
///
/// # Errors
/// When the bytes are not what [`encode`] writes.
pub fn decode(bytes: &[u8]) -> Result<Vec<i64>, Error> {
    decode_body(frame::open(bytes, WHAT)?)
}

/// A column without its checksum, up to the end of the bytes.
pub(super) fn decode_body(mut input: &[u8]) -> Result<Vec<i64>, Error> {
    let input = &mut input;
    let id = take_u8(input, WHAT)?;
    let rows = take_len(input, WHAT, ROWS_MAX)?;
    if !(TIMESTAMPS_GRID..=TIMESTAMPS_STEPS_OF_STEPS).contains(&id) {
        return Err(Error::UnknownEncoding { what: WHAT, id });
    }
    let mut out = Vec::new();
    if rows > 0 {
        out.push(take_i64(input)?);
    }
    if rows > 1 {
        match id {
            TIMESTAMPS_GRID => take_grid(input, rows, &mut out)?,
            TIMESTAMPS_STEPS => take_steps(input, rows, &mut out)?,
            _ => take_steps_of_steps(input, rows, &mut out)?,
        }
    }
    finished(input, WHAT)?;
    Ok(out)
}

fn take_grid(input: &mut &[u8], rows: usize, out: &mut Vec<i64>) -> Result<(), Error> {
    let step = take_i64(input)?;
    let mut at = out.last().copied().unwrap_or(0);
    out.reserve_exact(rows - out.len());
    let mut go = |by: i64, out: &mut Vec<i64>| {
        at = at.wrapping_add(by);
        out.push(at);
    };
    while !input.is_empty() {
        let head = take_u64(input)?;
        let (on_grid, makes_up) = (head >> 1, head & 1 == 1);
        let off = take_i64(input)?;
        let left = (rows - out.len()) as u64;
        if off == 0 || on_grid.saturating_add(1 + u64::from(makes_up)) > left {
            return Err(Error::invalid(WHAT, on_grid));
        }
        for _ in 0..on_grid {
            go(step, out);
        }
        go(step.wrapping_add(off), out);
        if makes_up {
            go(step.wrapping_sub(off), out);
        }
    }
    while out.len() < rows {
        go(step, out);
    }
    Ok(())
}

fn take_steps(input: &mut &[u8], rows: usize, out: &mut Vec<i64>) -> Result<(), Error> {
    let step = take_i64(input)?;
    let raw = residuals(input, rows)?;
    let mut raw = &raw[..];
    let mut at = out.last().copied().unwrap_or(0);
    for _ in 1..rows {
        at = at.wrapping_add(step).wrapping_add(take_i64(&mut raw)?);
        out.push(at);
    }
    finished(raw, WHAT)
}

fn take_steps_of_steps(input: &mut &[u8], rows: usize, out: &mut Vec<i64>) -> Result<(), Error> {
    let raw = residuals(input, rows)?;
    let mut raw = &raw[..];
    let (mut at, mut step) = (out.last().copied().unwrap_or(0), 0i64);
    for _ in 1..rows {
        step = step.wrapping_add(take_i64(&mut raw)?);
        at = at.wrapping_add(step);
        out.push(at);
    }
    finished(raw, WHAT)
}

/// The residuals' bytes: at least one for each difference, so that `out` may grow to `rows`.
fn residuals(input: &mut &[u8], rows: usize) -> Result<Vec<u8>, Error> {
    let max = rows.saturating_mul(super::varint::VARINT_LEN_MAX);
    let raw = frame::decompress(input, WHAT, max)?;
    if raw.len() < rows - 1 {
        return Err(Error::truncated(WHAT, rows - 1 - raw.len()));
    }
    Ok(raw)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(timestamps: &[i64]) -> Vec<u8> {
        let mut out = vec![9];
        encode(timestamps, &mut out).unwrap();
        out.split_off(1)
    }

    /// The column comes back, in at most so many bytes.
    fn check(timestamps: &[i64], bytes_max: usize) {
        let bytes = encoded(timestamps);
        assert_eq!(decode(&bytes).as_deref(), Ok(timestamps));
        assert!(bytes.len() <= bytes_max, "{} bytes", bytes.len());
    }

    #[test]
    fn a_grid_is_nearly_free() {
        let now = 1_760_000_000_000;
        check(&[], 6);
        check(&[now], 12);
        let mut grid: Vec<i64> = (0..480).map(|i| now + 15_000 * i).collect();
        check(&grid, 16);
        grid[17] += 3;
        grid[200] -= 20;
        check(&grid, 22);
        grid.drain(300..310);
        check(&grid, 28);
    }

    #[test]
    fn jitter_and_extremes_come_back() {
        let jitter: Vec<i64> = (0..480i64)
            .map(|i| i * 15_000 + i * i * 7919 % 13)
            .collect();
        check(&jitter, 600);
        check(&[i64::MIN, i64::MAX], 40);
        check(&[i64::MAX, i64::MIN, 0, i64::MAX, i64::MIN], 80);
        check(&[5, 5, 5, 4, 3, 3], 40);
        check(&[0, 1, i64::MIN, 0, 0], 60);
    }

    #[test]
    fn too_many_rows_are_refused() {
        let long = vec![0; ROWS_MAX + 1];
        assert!(matches!(
            encode(&long, &mut Vec::new()),
            Err(Error::TooLarge { .. })
        ));
        check(&long[1..], 20);
    }

    fn column() -> impl Strategy<Value = Vec<i64>> {
        prop_oneof![
            prop::collection::vec(any::<i64>(), 0..50),
            prop::collection::vec(0i64..20, 0..300),
            (
                any::<i64>(),
                1i64..100_000,
                prop::collection::vec((0i64..9, 0usize..20), 0..300)
            )
                .prop_map(|(first, step, jitter)| {
                    let mut at = first;
                    jitter
                        .iter()
                        .map(|(by, often)| {
                            at = at.wrapping_add(step);
                            if *often == 0 {
                                at.wrapping_add(*by)
                            } else {
                                at
                            }
                        })
                        .collect()
                }),
        ]
    }

    proptest! {
        #[test]
        fn any_column_comes_back(timestamps in column()) {
            let bytes = encoded(&timestamps);
            prop_assert_eq!(decode(&bytes), Ok(timestamps));
        }

        #[test]
        fn damage_is_noticed(timestamps in column(), at: prop::sample::Index, bit in 0..8) {
            let mut bytes = encoded(&timestamps);
            let at = at.index(bytes.len());
            bytes[at] ^= 1u8 << bit;
            prop_assert!(decode(&bytes).is_err());
        }

        /// Without the checksum's help.
        #[test]
        fn no_body_panics(timestamps in column(), at: prop::sample::Index, byte: u8, any: Vec<u8>) {
            let mut bytes = Vec::new();
            encode_body(&timestamps, &mut bytes);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            decode_body(&bytes).ok();
            decode_body(&any).ok();
        }
    }
}
