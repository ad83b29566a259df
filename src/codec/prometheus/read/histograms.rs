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

/// A number of a histogram, and how it goes on from one histogram of a chunk to the next.
trait Number: Copy {
    /// What is remembered of it.
    type Column;

    /// As it stands in the first histogram.
    fn first(reader: &mut BitReader<'_>) -> Result<Self, Error>;

    /// What follows it differs from it.
    fn column(self) -> Self::Column;

    fn next(column: &mut Self::Column, reader: &mut BitReader<'_>) -> Result<Self, Error>;
}

impl Number for i64 {
    type Column = Counter;

    fn first(reader: &mut BitReader<'_>) -> Result<Self, Error> {
        read_int(reader)
    }

    fn column(self) -> Counter {
        Counter::at(self)
    }

    fn next(column: &mut Counter, reader: &mut BitReader<'_>) -> Result<Self, Error> {
        column.read(reader)
    }
}

/// Differs from one with a sign in its first histogram only.
impl Number for u64 {
    type Column = Counter;

    fn first(reader: &mut BitReader<'_>) -> Result<Self, Error> {
        read_uint(reader)
    }

    fn column(self) -> Counter {
        Counter::at(self.cast_signed())
    }

    fn next(column: &mut Counter, reader: &mut BitReader<'_>) -> Result<Self, Error> {
        Ok(column.read(reader)?.cast_unsigned())
    }
}

impl Number for f64 {
    type Column = Floats;

    fn first(reader: &mut BitReader<'_>) -> Result<Self, Error> {
        reader.read(64).map(Self::from_bits)
    }

    fn column(self) -> Floats {
        Floats::behind(self)
    }

    fn next(column: &mut Floats, reader: &mut BitReader<'_>) -> Result<Self, Error> {
        column.read(reader)
    }
}

/// The kind of a chunk's histograms.
trait Kind {
    /// Of the count and the zero count.
    type Count: Number;
    type Bucket: Number;

    fn buckets(
        counts: [Self::Count; 2],
        positive: Vec<Self::Bucket>,
        negative: Vec<Self::Bucket>,
    ) -> Buckets;
}

struct Whole;

impl Kind for Whole {
    type Count = u64;
    type Bucket = i64;

    fn buckets([count, zero_count]: [u64; 2], positive: Vec<i64>, negative: Vec<i64>) -> Buckets {
        Buckets::Integer {
            count,
            zero_count,
            positive,
            negative,
        }
    }
}

struct Float;

impl Kind for Float {
    type Count = f64;
    type Bucket = f64;

    fn buckets([count, zero_count]: [f64; 2], positive: Vec<f64>, negative: Vec<f64>) -> Buckets {
        Buckets::Float {
            count,
            zero_count,
            positive,
            negative,
        }
    }
}

type Column<N> = <N as Number>::Column;

/// What stands in every sample of a chunk, in order.
struct Columns<K: Kind> {
    at: Counter,
    /// Count and zero count.
    counts: [Column<K::Count>; 2],
    sum: Floats,
    /// Positive, then negative.
    buckets: Vec<Column<K::Bucket>>,
}

/// Gives every histogram of a chunk to `each`.
pub(super) fn read(
    data: &[u8],
    float: bool,
    each: impl FnMut(i64, Arc<Histogram>),
) -> Result<(), Error> {
    if float {
        read_of::<Float>(data, each)
    } else {
        read_of::<Whole>(data, each)
    }
}

fn read_of<K: Kind>(data: &[u8], mut each: impl FnMut(i64, Arc<Histogram>)) -> Result<(), Error> {
    let mut reader = BitReader::new(data);
    let count = reader.read(16)?;
    if count == 0 {
        return Ok(());
    }
    let flags = reader.read(8)?;
    let layout = read_layout(&mut reader)?;
    let (first, mut columns) = Columns::<K>::first(&mut reader, &layout)?;
    each(
        columns.at.value,
        Arc::new(layout.dress(first, hint(flags, true))),
    );
    for _ in 1..count {
        let values = columns.next(&mut reader, &layout)?;
        let histogram = layout.dress(values, hint(flags, false));
        each(columns.at.value, Arc::new(histogram));
    }
    Ok(())
}

impl<K: Kind> Columns<K> {
    fn first(reader: &mut BitReader<'_>, layout: &Layout) -> Result<((f64, Buckets), Self), Error> {
        let at = Counter::at(read_int(reader)?);
        let counts = [K::Count::first(reader)?, K::Count::first(reader)?];
        let sum = f64::first(reader)?;
        let mut all = Vec::new();
        for _ in 0..layout.buckets() {
            all.push(K::Bucket::first(reader)?);
        }
        let columns = Self {
            at,
            counts: counts.map(Number::column),
            sum: sum.column(),
            buckets: all.iter().copied().map(Number::column).collect(),
        };
        Ok(((sum, in_two::<K>(counts, all, layout)), columns))
    }

    fn next(
        &mut self,
        reader: &mut BitReader<'_>,
        layout: &Layout,
    ) -> Result<(f64, Buckets), Error> {
        self.at.read(reader)?;
        let [count, zero_count] = &mut self.counts;
        let counts = [
            K::Count::next(count, reader)?,
            K::Count::next(zero_count, reader)?,
        ];
        let sum = self.sum.read(reader)?;
        let mut all = Vec::with_capacity(self.buckets.len());
        for bucket in self.buckets.iter_mut().filter(|_| !is_stale(sum)) {
            all.push(K::Bucket::next(bucket, reader)?);
        }
        Ok((sum, in_two::<K>(counts, all, layout)))
    }
}

/// The positive buckets, and behind them the negative ones.
fn in_two<K: Kind>(counts: [K::Count; 2], mut all: Vec<K::Bucket>, layout: &Layout) -> Buckets {
    let negative = all.split_off(layout.positive_len().min(all.len()));
    K::buckets(counts, all, negative)
}
