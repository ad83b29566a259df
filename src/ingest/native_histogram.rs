//! Native histograms as both versions of remote-write spell them: read, checked, and reduced to
//! the finest schema that is stored.
//!
//! The rules are those of Prometheus' `model/histogram` (its specification: prometheus/docs,
//! `docs/specs/native_histograms.md`). A histogram whose sum carries the stale marker's bits is
//! just a stale marker: nothing else of it is looked at or kept.

use crate::model::{
    Buckets, Histogram, HistogramError, ResetHint, SCHEMA_CUSTOM, SCHEMA_MAX, SCHEMA_MIN, Span,
    TimestampMs, is_stale, stale_nan,
};

use super::wire::{Field, Reader, WireError, repeated_double, repeated_varint, zigzag_64};

/// The finest schema that may come; those above [`SCHEMA_MAX`] are reduced to it.
const SCHEMA_WIRE_MAX: i32 = 52;

/// A histogram sample as it came.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct HistogramSample {
    pub(super) at: TimestampMs,
    /// When the interval began; 0: not said. Only 2.0 has it.
    pub(super) start: TimestampMs,
    /// The histogram, or why it is refused.
    pub(super) histogram: Result<Histogram, HistogramRefusal>,
}

/// Why a histogram is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(super) enum HistogramRefusal {
    #[error("its native histogram is invalid: {0}: fix the sender or its instrumentation library")]
    Invalid(#[from] HistogramError),
    #[error(
        "its native histogram has {count} buckets, at most {limit} are allowed: reduce its resolution at the sender, or raise ingest.max_native_histogram_buckets"
    )]
    TooManyBuckets { count: usize, limit: usize },
}

impl HistogramRefusal {
    /// The word that metrics count it under.
    pub(super) const fn reason(&self) -> &'static str {
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
pub(super) fn read(message: &[u8], buckets_max: usize) -> Result<HistogramSample, WireError> {
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
fn read_side(
    number: u32,
    which: u32,
    field: Field<'_>,
    side: &mut Side,
) -> Result<(), WireError> {
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
            return Ok(stale_histogram());
        }
        let custom = self.schema == SCHEMA_CUSTOM;
        if !custom && !(SCHEMA_MIN..=SCHEMA_WIRE_MAX).contains(&self.schema) {
            return Err(HistogramError::Schema(self.schema).into());
        }
        let sides = self.positive.largest().saturating_add(self.negative.largest());
        let count = sides.max(self.custom_values.count);
        if count > buckets_max {
            return Err(HistogramRefusal::TooManyBuckets {
                count,
                limit: buckets_max,
            });
        }
        let mut histogram = self.into_histogram();
        check_spans("positive", &histogram.positive_spans, buckets_of(&histogram).0)?;
        check_spans("negative", &histogram.negative_spans, buckets_of(&histogram).1)?;
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

/// A stale marker in a histogram's clothes: all of them are equal.
fn stale_histogram() -> Histogram {
    Histogram {
        schema: 0,
        zero_threshold: 0.0,
        sum: stale_nan(),
        buckets: Buckets::Integer {
            count: 0,
            zero_count: 0,
            positive: Vec::new(),
            negative: Vec::new(),
        },
        positive_spans: Vec::new(),
        negative_spans: Vec::new(),
        custom_values: Vec::new(),
        reset_hint: ResetHint::Unknown,
    }
}

/// Positive and negative buckets given.
fn buckets_of(histogram: &Histogram) -> (usize, usize) {
    match &histogram.buckets {
        Buckets::Integer {
            positive, negative, ..
        } => (positive.len(), negative.len()),
        Buckets::Float {
            positive, negative, ..
        } => (positive.len(), negative.len()),
    }
}

/// Spans name as many buckets as are given, go forwards, and stay where an index fits 32 bits.
fn check_spans(side: &'static str, spans: &[Span], buckets: usize) -> Result<(), HistogramError> {
    let (mut length, mut index) = (0u64, 0i64);
    for (at, span) in spans.iter().enumerate() {
        if at > 0 && span.offset < 0 {
            let offset = span.offset;
            return Err(HistogramError::SpanOffset { side, at, offset });
        }
        length += u64::from(span.length);
        index += i64::from(span.offset) + i64::from(span.length);
    }
    if length != buckets as u64 {
        return Err(HistogramError::SpanLength {
            side,
            spans: length,
            buckets,
        });
    }
    if i32::try_from(index).is_err() {
        let what = "the spans reach beyond what a bucket index can be";
        return Err(HistogramError::Custom(what));
    }
    Ok(())
}

fn check_counts(histogram: &Histogram) -> Result<(), HistogramError> {
    match &histogram.buckets {
        Buckets::Integer {
            count,
            zero_count,
            positive,
            negative,
        } => {
            let buckets = sum_of_deltas("a positive bucket", positive)?
                .saturating_add(sum_of_deltas("a negative bucket", negative)?)
                .saturating_add(*zero_count);
            // NaN observations are counted and lie in no bucket; they make the sum NaN.
            let more_allowed = histogram.sum.is_nan() && *count > buckets;
            if *count != buckets && !more_allowed {
                let count = *count;
                return Err(HistogramError::Count { buckets, count });
            }
        }
        Buckets::Float {
            count,
            zero_count,
            positive,
            negative,
        } => {
            let negative_count = |what, value: f64| match value < 0.0 {
                true => Err(HistogramError::NegativeCount { what, value }),
                false => Ok(()),
            };
            negative_count("the count", *count)?;
            negative_count("the zero bucket", *zero_count)?;
            for value in positive {
                negative_count("a positive bucket", *value)?;
            }
            for value in negative {
                negative_count("a negative bucket", *value)?;
            }
        }
    }
    Ok(())
}

/// The sum of the buckets that deltas describe; no bucket may be below zero.
fn sum_of_deltas(what: &'static str, deltas: &[i64]) -> Result<u64, HistogramError> {
    let (mut bucket, mut sum) = (0i64, 0u64);
    for delta in deltas {
        let next = bucket.checked_add(*delta);
        bucket = next.filter(|bucket| *bucket >= 0).ok_or_else(|| {
            let value = bucket as f64 + *delta as f64;
            HistogramError::NegativeCount { what, value }
        })?;
        sum = sum.saturating_add(bucket.unsigned_abs());
    }
    Ok(sum)
}

/// The rules of custom buckets.
fn check_custom(histogram: &Histogram) -> Result<(), HistogramError> {
    let wrong = |what| Err(HistogramError::Custom(what));
    let zero = match &histogram.buckets {
        Buckets::Integer { zero_count, .. } => *zero_count == 0,
        Buckets::Float { zero_count, .. } => *zero_count == 0.0,
    };
    if !zero || histogram.zero_threshold != 0.0 {
        return wrong("a histogram with custom buckets has a zero bucket or a zero threshold");
    }
    if !histogram.negative_spans.is_empty() || buckets_of(histogram).1 > 0 {
        return wrong("a histogram with custom buckets has negative buckets");
    }
    let bounds = &histogram.custom_values;
    if !bounds.iter().all(|bound| bound.is_finite()) {
        return wrong("custom bucket bounds must be finite (the last bucket's +Inf is implied)");
    }
    if !bounds.is_sorted_by(|low, high| low < high) {
        return wrong("custom bucket bounds must rise strictly");
    }
    if histogram.positive_spans.iter().any(|span| span.offset < 0) {
        return wrong("a span of custom buckets has a negative offset");
    }
    let reach: i64 = histogram
        .positive_spans
        .iter()
        .map(|span| i64::from(span.offset) + i64::from(span.length))
        .sum();
    if usize::try_from(reach).is_ok_and(|reach| reach > bounds.len() + 1) {
        return wrong("there are fewer custom bucket bounds than the spans need");
    }
    Ok(())
}

/// Merges neighbouring buckets until the schema is the finest that is stored.
fn reduce(histogram: &mut Histogram) {
    let shift = u32::try_from(histogram.schema - SCHEMA_MAX).unwrap_or(0);
    let (positive_spans, negative_spans) = (&histogram.positive_spans, &histogram.negative_spans);
    let (positive_spans, negative_spans) = match &mut histogram.buckets {
        Buckets::Integer {
            positive, negative, ..
        } => {
            let mut side = |spans: &[Span], deltas: &mut Vec<i64>| {
                let merged = merge(spans, shift, absolute(deltas), |sum, count| {
                    *sum = sum.saturating_add(count);
                });
                *deltas = differences(&merged.1);
                merged.0
            };
            (
                side(positive_spans, positive),
                side(negative_spans, negative),
            )
        }
        Buckets::Float {
            positive, negative, ..
        } => {
            let mut side = |spans: &[Span], counts: &mut Vec<f64>| {
                let merged = merge(spans, shift, std::mem::take(counts), |sum, count| {
                    *sum += count;
                });
                *counts = merged.1;
                merged.0
            };
            (
                side(positive_spans, positive),
                side(negative_spans, negative),
            )
        }
    };
    histogram.positive_spans = positive_spans;
    histogram.negative_spans = negative_spans;
    histogram.schema = SCHEMA_MAX;
}

fn absolute(deltas: &[i64]) -> Vec<i64> {
    deltas
        .iter()
        .scan(0i64, |bucket, delta| {
            *bucket = bucket.saturating_add(*delta);
            Some(*bucket)
        })
        .collect()
}

fn differences(counts: &[i64]) -> Vec<i64> {
    let before = std::iter::once(&0).chain(counts);
    counts.iter().zip(before).map(|(now, was)| now - was).collect()
}

/// Merges `2^shift` buckets into one. Bucket `i` of the finer schema lies in bucket
/// `ceil(i / 2^shift)` of the coarser one, since a bucket is named by its upper bound.
fn merge<T: Copy>(
    spans: &[Span],
    shift: u32,
    counts: Vec<T>,
    mut add: impl FnMut(&mut T, T),
) -> (Vec<Span>, Vec<T>) {
    let (mut out_spans, mut out_counts): (Vec<Span>, Vec<T>) = (Vec::new(), Vec::new());
    let (mut index, mut last) = (0i64, None);
    let mut counts = counts.into_iter();
    for span in spans {
        index += i64::from(span.offset);
        for count in counts.by_ref().take(span.length as usize) {
            let target = ((index - 1) >> shift) + 1;
            index += 1;
            if let (true, Some(sum)) = (last == Some(target), out_counts.last_mut()) {
                add(sum, count);
                continue;
            }
            let gap = last.map_or(target, |last: i64| target - last - 1);
            match out_spans.last_mut() {
                Some(open) if gap == 0 => open.length += 1,
                // The target lies between zero and an index that was checked to fit.
                _ => out_spans.push(Span {
                    offset: i32::try_from(gap).unwrap_or(i32::MAX),
                    length: 1,
                }),
            }
            out_counts.push(count);
            last = Some(target);
        }
    }
    (out_spans, out_counts)
}

#[cfg(test)]
mod tests;
