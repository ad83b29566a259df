//! What all histograms of a chunk share: schema, zero threshold, spans, custom bounds.

use super::varbit::{read_int, read_uint};
use crate::codec::Error;
use crate::codec::bits::BitReader;
use crate::model::{Buckets, Histogram, ResetHint, SCHEMA_CUSTOM, Span};

/// Buckets of one side that a chunk may have: far above what any sender makes, and what bounds the
/// memory that a damaged file takes.
const BUCKETS_MAX: u64 = 1 << 16;

/// The shared fields.
#[derive(Debug)]
pub(super) struct Layout {
    schema: i32,
    zero_threshold: f64,
    positive: Vec<Span>,
    negative: Vec<Span>,
    custom: Vec<f64>,
}

fn buckets(spans: &[Span]) -> usize {
    spans.iter().map(|span| span.length as usize).sum()
}

impl Layout {
    pub(super) fn positive_len(&self) -> usize {
        buckets(&self.positive)
    }

    /// Buckets of both sides.
    pub(super) fn buckets(&self) -> usize {
        buckets(&self.positive) + buckets(&self.negative)
    }

    /// A histogram of this layout. A stale marker is stripped: all of them are equal.
    pub(super) fn dress(&self, (sum, buckets): (f64, Buckets), hint: ResetHint) -> Histogram {
        if crate::model::is_stale(sum) {
            return Histogram::stale();
        }
        Histogram {
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            sum,
            buckets,
            positive_spans: self.positive.clone(),
            negative_spans: self.negative.clone(),
            custom_values: self.custom.clone(),
            reset_hint: hint,
        }
    }
}

pub(super) fn read_layout(reader: &mut BitReader<'_>) -> Result<Layout, Error> {
    let zero_threshold = read_zero_threshold(reader)?;
    let schema = narrow(read_int(reader)?, "a histogram's schema")?;
    let positive = read_spans(reader)?;
    let negative = read_spans(reader)?;
    let mut custom = Vec::new();
    if schema == SCHEMA_CUSTOM {
        for _ in 0..bounded(read_uint(reader)?, "a histogram's custom bounds")? {
            custom.push(read_bound(reader)?);
        }
    }
    Ok(Layout {
        schema,
        zero_threshold,
        positive,
        negative,
        custom,
    })
}

fn narrow(value: i64, what: &'static str) -> Result<i32, Error> {
    i32::try_from(value).map_err(|_| Error::Invalid {
        what,
        value: value.cast_unsigned(),
    })
}

fn bounded(value: u64, what: &'static str) -> Result<u64, Error> {
    if value <= BUCKETS_MAX {
        return Ok(value);
    }
    Err(Error::TooLarge {
        what,
        value,
        max: BUCKETS_MAX,
    })
}

fn read_spans(reader: &mut BitReader<'_>) -> Result<Vec<Span>, Error> {
    let mut spans = Vec::new();
    let mut buckets = 0;
    for _ in 0..bounded(read_uint(reader)?, "a histogram's spans")? {
        let length = bounded(read_uint(reader)?, "a histogram's span")?;
        buckets = bounded(buckets + length, "a histogram's buckets")?;
        spans.push(Span {
            length: u32::try_from(length).unwrap_or(u32::MAX),
            offset: narrow(read_int(reader)?, "a histogram's span's offset")?,
        });
    }
    Ok(spans)
}

/// One byte for zero (0), for powers of two from 2^-243 to 2^10 (1 to 254), or 255 and the float.
fn read_zero_threshold(reader: &mut BitReader<'_>) -> Result<f64, Error> {
    match reader.read(8)? {
        0 => Ok(0.0),
        255 => reader.read(64).map(f64::from_bits),
        power => Ok(2_f64.powi(i32::try_from(power).unwrap_or(0) - 244)),
    }
}

/// Thousandths and one, as most bounds are short decimal numbers; or a zero bit and the float.
fn read_bound(reader: &mut BitReader<'_>) -> Result<f64, Error> {
    match read_uint(reader)? {
        0 => reader.read(64).map(f64::from_bits),
        #[allow(
            clippy::cast_precision_loss,
            reason = "a writer puts at most 33,554,431 here; any other number is only inexact"
        )]
        more => Ok((more - 1) as f64 / 1000.0),
    }
}
