//! Chunks of native histograms (encoding 2: whole counts, 3: float counts).
//!
//! All histograms of a chunk have one layout (schema, zero threshold, spans, custom bounds). Every
//! count is stored by its difference to the same count one sample before, or the difference of
//! these. A stale marker in a histogram's clothes has no buckets, and none follow in its chunk.

use std::sync::Arc;

use super::layout::{Layout, read_layout};
use super::varbit::{Floats, read_int, read_uint};
use crate::codec::Error;
use crate::codec::bits::BitReader;
use crate::model::{Buckets, Histogram, ResetHint, is_stale};

/// What a chunk says of counter resets at its first histogram.
fn hint(flags: u64, first: bool) -> ResetHint {
    match (flags >> 6, first) {
        (0b11, _) => ResetHint::Gauge,
        (_, false) => ResetHint::No,
        (0b10, true) => ResetHint::Yes,
        // That there was none relies on a chunk before it, which may be gone.
        _ => ResetHint::Unknown,
    }
}

/// A whole number and how it changed last.
#[derive(Clone, Copy, Default)]
struct Counter {
    value: i64,
    delta: i64,
}

impl Counter {
    /// At the second sample the difference stands, later the difference of differences.
    fn read(&mut self, reader: &mut BitReader<'_>) -> Result<i64, Error> {
        self.delta = self.delta.wrapping_add(read_int(reader)?);
        self.value = self.value.wrapping_add(self.delta);
        Ok(self.value)
    }

    const fn at(value: i64) -> Self {
        Self { value, delta: 0 }
    }
}

/// What stands in every sample of a chunk, in order.
struct Columns {
    at: Counter,
    sum: Floats,
    counts: Counts,
}

enum Counts {
    /// Count, zero count, and all buckets: positive, then negative.
    Whole([Counter; 2], Vec<Counter>),
    Float([Floats; 2], Vec<Floats>),
}

/// Gives every histogram of a chunk to `each`.
pub(super) fn read(
    data: &[u8],
    float: bool,
    mut each: impl FnMut(i64, Arc<Histogram>),
) -> Result<(), Error> {
    let mut reader = BitReader::new(data);
    let count = reader.read(16)?;
    if count == 0 {
        return Ok(());
    }
    let flags = reader.read(8)?;
    let layout = read_layout(&mut reader)?;
    let (first, mut columns) = read_first(&mut reader, &layout, float)?;
    each(
        columns.at.value,
        Arc::new(layout.dress(first, hint(flags, true))),
    );
    for _ in 1..count {
        let values = read_next(&mut reader, &mut columns, &layout)?;
        let histogram = layout.dress(values, hint(flags, false));
        each(columns.at.value, Arc::new(histogram));
    }
    Ok(())
}

fn read_first(
    reader: &mut BitReader<'_>,
    layout: &Layout,
    float: bool,
) -> Result<((f64, Buckets), Columns), Error> {
    let at = Counter::at(read_int(reader)?);
    let float_here = |reader: &mut BitReader<'_>| reader.read(64).map(f64::from_bits);
    if float {
        let (count, zero_count) = (float_here(reader)?, float_here(reader)?);
        let sum = float_here(reader)?;
        let mut all = Vec::new();
        for _ in 0..layout.buckets() {
            all.push(float_here(reader)?);
        }
        let heads = [count, zero_count].map(Floats::behind);
        let counts = Counts::Float(heads, all.iter().copied().map(Floats::behind).collect());
        let negative = all.split_off(layout.positive_len().min(all.len()));
        let buckets = Buckets::Float {
            count,
            zero_count,
            positive: all,
            negative,
        };
        let sums = Floats::behind(sum);
        return Ok((
            (sum, buckets),
            Columns {
                at,
                sum: sums,
                counts,
            },
        ));
    }
    let (count, zero_count) = (read_uint(reader)?, read_uint(reader)?);
    let sum = float_here(reader)?;
    let mut all = Vec::new();
    for _ in 0..layout.buckets() {
        all.push(read_int(reader)?);
    }
    let heads = [count, zero_count].map(|value| Counter::at(value.cast_signed()));
    let counts = Counts::Whole(heads, all.iter().copied().map(Counter::at).collect());
    let negative = all.split_off(layout.positive_len().min(all.len()));
    let buckets = Buckets::Integer {
        count,
        zero_count,
        positive: all,
        negative,
    };
    let sums = Floats::behind(sum);
    Ok((
        (sum, buckets),
        Columns {
            at,
            sum: sums,
            counts,
        },
    ))
}

fn read_next(
    reader: &mut BitReader<'_>,
    columns: &mut Columns,
    layout: &Layout,
) -> Result<(f64, Buckets), Error> {
    columns.at.read(reader)?;
    match &mut columns.counts {
        Counts::Whole([count, zero_count], buckets) => {
            let count = count.read(reader)?.cast_unsigned();
            let zero_count = zero_count.read(reader)?.cast_unsigned();
            let sum = columns.sum.read(reader)?;
            let mut all = Vec::with_capacity(buckets.len());
            for bucket in buckets.iter_mut().filter(|_| !is_stale(sum)) {
                all.push(bucket.read(reader)?);
            }
            let negative = all.split_off(layout.positive_len().min(all.len()));
            let buckets = Buckets::Integer {
                count,
                zero_count,
                positive: all,
                negative,
            };
            Ok((sum, buckets))
        }
        Counts::Float([count, zero_count], buckets) => {
            let (count, zero_count) = (count.read(reader)?, zero_count.read(reader)?);
            let sum = columns.sum.read(reader)?;
            let mut all = Vec::with_capacity(buckets.len());
            for bucket in buckets.iter_mut().filter(|_| !is_stale(sum)) {
                all.push(bucket.read(reader)?);
            }
            let negative = all.split_off(layout.positive_len().min(all.len()));
            let buckets = Buckets::Float {
                count,
                zero_count,
                positive: all,
                negative,
            };
            Ok((sum, buckets))
        }
    }
}
