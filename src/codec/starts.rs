//! Start timestamps of a series' samples. Most series have none and then nothing is written at
//! all (the page knows); most others have one for the whole column.
//!
//! ```text
//! u8 encoding: 1 one value: zigzag
//!              2 runs: varint count; each zigzag difference to the run before, varint length - 1
//!              3 a timestamp column without checksum (starts that follow the samples)
//! ```

use super::varint::{finished, put_i64, put_len, take_i64, take_len, take_u8};
use super::version::{STARTS_COLUMN, STARTS_ONE, STARTS_RUNS};
use super::{Error, ROWS_MAX, timestamps};

const WHAT: &str = "a column of start timestamps";

/// Appends a column that is not empty.
pub(super) fn encode(starts: &[i64], out: &mut Vec<u8>) {
    let runs: Vec<&[i64]> = starts.chunk_by(|a, b| a == b).collect();
    if let [run] = runs.as_slice() {
        out.push(STARTS_ONE);
        put_i64(out, run.first().copied().unwrap_or(0));
        return;
    }
    let mut by_runs = vec![STARTS_RUNS];
    put_len(&mut by_runs, runs.len());
    let mut before = 0i64;
    for run in &runs {
        let start = run.first().copied().unwrap_or(0);
        put_i64(&mut by_runs, start.wrapping_sub(before));
        put_len(&mut by_runs, run.len() - 1);
        before = start;
    }
    // A column of its own can only be shorter when runs are many.
    if runs.len() > 4 {
        let mut column = vec![STARTS_COLUMN];
        timestamps::encode_body(starts, &mut column);
        if column.len() < by_runs.len() {
            by_runs = column;
        }
    }
    out.extend_from_slice(&by_runs);
}

/// The column of `rows` starts that `bytes` are.
pub(super) fn decode(mut bytes: &[u8], rows: usize) -> Result<Vec<i64>, Error> {
    Error::bound("rows of a column of start timestamps", rows, ROWS_MAX)?;
    let input = &mut bytes;
    let out = match take_u8(input, WHAT)? {
        STARTS_ONE => vec![take_i64(input)?; rows],
        STARTS_RUNS => take_runs(input, rows)?,
        STARTS_COLUMN => timestamps::decode_body(std::mem::take(input))?,
        id => return Err(Error::UnknownEncoding { what: WHAT, id }),
    };
    finished(input, WHAT)?;
    if out.len() == rows {
        return Ok(out);
    }
    Err(Error::invalid(WHAT, out.len() as u64))
}

fn take_runs(input: &mut &[u8], rows: usize) -> Result<Vec<i64>, Error> {
    let runs = take_len(input, WHAT, rows)?;
    let (mut out, mut start) = (Vec::new(), 0i64);
    for _ in 0..runs {
        start = start.wrapping_add(take_i64(input)?);
        // `rows - len` is what is left; a run needs at least one of it.
        let len = take_len(input, WHAT, rows.saturating_sub(out.len() + 1))? + 1;
        out.resize(out.len() + len, start);
    }
    Error::bound(WHAT, out.len(), rows)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(starts: &[i64], bytes_max: usize) {
        let mut out = Vec::new();
        encode(starts, &mut out);
        assert_eq!(decode(&out, starts.len()).as_deref(), Ok(starts));
        assert!(decode(&out, starts.len() + 1).is_err() || out[0] == STARTS_ONE);
        assert!(out.len() <= bytes_max, "{} bytes", out.len());
    }

    #[test]
    fn starts_of_every_kind_are_short() {
        let now = 1_760_000_000_000;
        check(&vec![now; 480], 8);
        check(&[&vec![now; 400][..], &vec![now + 77; 80]].concat(), 16);
        check(&[0, 0, 0, now, now, now], 20);
        let following: Vec<i64> = (0..480).map(|i| now + i * 15_000).collect();
        check(&following, 20);
        check(&[i64::MIN, i64::MAX, i64::MIN], 40);
    }

    proptest! {
        #[test]
        fn any_starts_come_back(
            starts in prop_oneof![
                prop::collection::vec(any::<i64>(), 1..40),
                prop::collection::vec(0i64..3, 1..200),
            ],
            at: prop::sample::Index,
            byte: u8,
            any: Vec<u8>,
        ) {
            let mut out = Vec::new();
            encode(&starts, &mut out);
            prop_assert_eq!(decode(&out, starts.len()), Ok(starts.clone()));
            let at = at.index(out.len());
            out[at] = byte;
            decode(&out, starts.len()).ok();
            decode(&any, starts.len()).ok();
        }
    }
}
