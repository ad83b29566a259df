//! Native histograms as both versions of remote-write spell them: read, checked, and reduced to
//! the finest schema that is stored.
//!
//! The rules are those of Prometheus' `model/histogram` (its specification: prometheus/docs,
//! `docs/specs/native_histograms.md`). A histogram whose sum carries the stale marker's bits is
//! just a stale marker: nothing else of it is looked at or kept.

mod check;
mod reduce;

use crate::codec::protobuf::{
    Field, Reader, WireError, repeated_double, repeated_varint, zigzag_64,
};
use crate::model::{
    Buckets, Histogram, HistogramError, ResetHint, SCHEMA_CUSTOM, SCHEMA_MAX, SCHEMA_MIN, Span,
    TimestampMs, is_stale,
};

use check::{buckets_of, check_counts, check_custom, check_spans};
use reduce::reduce;

/// The finest schema that may come; those above [`SCHEMA_MAX`] are reduced to it.
const SCHEMA_WIRE_MAX: i32 = 52;

/// A histogram sample as it came.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::ingest) struct HistogramSample {
    pub(in crate::ingest) at: TimestampMs,
    /// When the interval began; 0: not said. Only 2.0 has it.
    pub(in crate::ingest) start: TimestampMs,
    /// The histogram, or why it is refused.
    pub(in crate::ingest) histogram: Result<Histogram, HistogramRefusal>,
}

/// Why a histogram is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(in crate::ingest) enum HistogramRefusal {
    #[error("its native histogram is invalid: {0}: fix the sender or its instrumentation library")]
    Invalid(#[from] HistogramError),
    #[error(
        "its native histogram has {count} buckets, at most {limit} are allowed: reduce its resolution at the sender, or raise ingest.max_native_histogram_buckets"
    )]
    TooManyBuckets { count: usize, limit: usize },
}

impl HistogramRefusal {
    /// The word that metrics count it under.
    pub(in crate::ingest) const fn reason(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid_native_histogram",
            Self::TooManyBuckets { .. } => "max_native_histogram_buckets",
        }
    }
}

/// A list that stops growing at a bound, and goes on counting.
struct Bounded<T> {
    items: Vec<T>,
    count: usize,
    limit: usize,
}

impl<T> Bounded<T> {
    const fn new(limit: usize) -> Self {
        Self {
            items: Vec::new(),
            count: 0,
            limit,
        }
    }

    fn push(&mut self, item: T) {
        self.count += 1;
        if self.count <= self.limit {
            self.items.push(item);
        }
    }
}

/// The counts of one kind as they stand on the wire.
#[derive(Clone, Copy)]
enum Count {
    Integer(u64),
    Float(f64),
}

impl Count {
    fn integer(self) -> u64 {
        match self {
            Self::Integer(count) => count,
            Self::Float(_) => 0,
        }
    }

    fn float(self) -> f64 {
        match self {
            Self::Float(count) => count,
            Self::Integer(_) => 0.0,
        }
    }
}

/// One side of a histogram as it stands on the wire.
struct Side {
    spans: Bounded<Span>,
    deltas: Bounded<i64>,
    counts: Bounded<f64>,
}

impl Side {
    const fn new(limit: usize) -> Self {
        Self {
            spans: Bounded::new(limit),
            deltas: Bounded::new(limit),
            counts: Bounded::new(limit),
        }
    }

    fn largest(&self) -> usize {
        self.spans
            .count
            .max(self.deltas.count)
            .max(self.counts.count)
    }
}

/// The whole message as it stands on the wire.
struct Message {
    count: Count,
    zero_count: Count,
    sum: f64,
    schema: i32,
    zero_threshold: f64,
    negative: Side,
    positive: Side,
    reset_hint: ResetHint,
    at: TimestampMs,
    start: TimestampMs,
    custom_values: Bounded<f64>,
}

/// Reads a `Histogram` message. The error is a message that cannot be read at all; one that breaks
/// a rule of histograms is in the result, with its timestamp.
pub(in crate::ingest) fn read(
    message: &[u8],
    buckets_max: usize,
) -> Result<HistogramSample, WireError> {
    let message = read_message(message, buckets_max)?;
    Ok(HistogramSample {
        at: message.at,
        start: message.start,
        histogram: message.check(buckets_max),
    })
}

fn read_message(bytes: &[u8], buckets_max: usize) -> Result<Message, WireError> {
    let mut message = Message {
        count: Count::Integer(0),
        zero_count: Count::Integer(0),
        sum: 0.0,
        schema: 0,
        zero_threshold: 0.0,
        negative: Side::new(buckets_max),
        positive: Side::new(buckets_max),
        reset_hint: ResetHint::Unknown,
        at: TimestampMs(0),
        start: TimestampMs(0),
        custom_values: Bounded::new(buckets_max),
    };
    let mut reader = Reader::new(bytes);
    while let Some((number, field)) = reader.field()? {
        match number {
            1 => message.count = Count::Integer(field.varint(number)?),
            2 => message.count = Count::Float(field.double(number)?),
            3 => message.sum = field.double(number)?,
            4 => message.schema = field.sint32(number)?,
            5 => message.zero_threshold = field.double(number)?,
            6 => message.zero_count = Count::Integer(field.varint(number)?),
            7 => message.zero_count = Count::Float(field.double(number)?),
            8..=10 => read_side(number, number - 8, field, &mut message.negative)?,
            11..=13 => read_side(number, number - 11, field, &mut message.positive)?,
            14 => message.reset_hint = reset_hint(field.varint(number)?),
            15 => message.at = TimestampMs(field.int64(number)?),
            16 => repeated_double(number, field, |bound| message.custom_values.push(bound))?,
            17 => message.start = TimestampMs(field.int64(number)?),
            _ => {}
        }
    }
    Ok(message)
}

/// The three fields of a side: spans, deltas, counts.
fn read_side(number: u32, which: u32, field: Field<'_>, side: &mut Side) -> Result<(), WireError> {
    match which {
        0 => {
            side.spans.push(read_span(field.bytes(number)?)?);
            Ok(())
        }
        1 => repeated_varint(number, field, |value| side.deltas.push(zigzag_64(value))),
        _ => repeated_double(number, field, |value| side.counts.push(value)),
    }
}

fn read_span(bytes: &[u8]) -> Result<Span, WireError> {
    let (mut offset, mut length) = (0, 0);
    let mut reader = Reader::new(bytes);
    while let Some((number, field)) = reader.field()? {
        match number {
            1 => offset = field.sint32(number)?,
            2 => length = u32::try_from(field.varint(number)?).unwrap_or(u32::MAX),
            _ => {}
        }
    }
    Ok(Span { offset, length })
}

const fn reset_hint(number: u64) -> ResetHint {
    match number {
        1 => ResetHint::Yes,
        2 => ResetHint::No,
        3 => ResetHint::Gauge,
        _ => ResetHint::Unknown,
    }
}

impl Message {
    fn check(self, buckets_max: usize) -> Result<Histogram, HistogramRefusal> {
        if is_stale(self.sum) {
            return Ok(Histogram::stale());
        }
        let custom = self.schema == SCHEMA_CUSTOM;
        if !custom && !(SCHEMA_MIN..=SCHEMA_WIRE_MAX).contains(&self.schema) {
            return Err(HistogramError::Schema(self.schema).into());
        }
        let sides = self
            .positive
            .largest()
            .saturating_add(self.negative.largest());
        let count = sides.max(self.custom_values.count);
        if count > buckets_max {
            return Err(HistogramRefusal::TooManyBuckets {
                count,
                limit: buckets_max,
            });
        }
        let mut histogram = self.into_histogram();
        check_spans(
            "positive",
            &histogram.positive_spans,
            buckets_of(&histogram).0,
        )?;
        check_spans(
            "negative",
            &histogram.negative_spans,
            buckets_of(&histogram).1,
        )?;
        check_counts(&histogram)?;
        if custom {
            check_custom(&histogram)?;
        } else if !histogram.custom_values.is_empty() {
            let what = "custom bucket bounds came with an exponential schema";
            return Err(HistogramError::Custom(what).into());
        }
        if histogram.schema > SCHEMA_MAX {
            reduce(&mut histogram);
        }
        Ok(histogram)
    }

    fn into_histogram(self) -> Histogram {
        let buckets = match self.count {
            Count::Float(count) => Buckets::Float {
                count,
                zero_count: self.zero_count.float(),
                positive: self.positive.counts.items,
                negative: self.negative.counts.items,
            },
            Count::Integer(count) => Buckets::Integer {
                count,
                zero_count: self.zero_count.integer(),
                positive: self.positive.deltas.items,
                negative: self.negative.deltas.items,
            },
        };
        Histogram {
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            sum: self.sum,
            buckets,
            positive_spans: self.positive.spans.items,
            negative_spans: self.negative.spans.items,
            custom_values: self.custom_values.items,
            reset_hint: self.reset_hint,
        }
    }
}

#[cfg(test)]
mod tests;
