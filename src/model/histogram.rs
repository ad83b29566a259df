//! Native histograms: integer or float, exponential or custom buckets, counter or gauge.
//!
//! The shape is Prometheus' (`docs/specs/native_histograms.md` of prometheus/docs). Integer and
//! float histograms are kept apart, because they must come back as they were sent.

/// The schema number of histograms with custom bucket bounds.
pub const SCHEMA_CUSTOM: i32 = -53;
/// The coarsest exponential schema that is stored.
pub const SCHEMA_MIN: i32 = -4;
/// The finest exponential schema that is stored; finer ones are reduced to it on arrival.
pub const SCHEMA_MAX: i32 = 8;

/// A run of consecutive buckets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Span {
    /// Buckets left out between the previous span's end and this one's begin; for the first span
    /// the index of its first bucket.
    pub offset: i32,
    /// Buckets in the span.
    pub length: u32,
}

/// What the sender knows of a counter reset before this histogram.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord, Default)]
pub enum ResetHint {
    /// Nothing: compare with the previous sample.
    #[default]
    Unknown,
    /// There was a reset.
    Yes,
    /// There was none.
    No,
    /// This is a gauge histogram, which has no resets.
    Gauge,
}

/// Counts: whole numbers with bucket counts as differences to the bucket before, or floats with
/// absolute bucket counts, just as the wire has them.
#[derive(Clone, PartialEq, Debug)]
pub enum Buckets {
    /// Of an integer histogram.
    Integer {
        /// All observations.
        count: u64,
        /// Observations in the zero bucket.
        zero_count: u64,
        /// Positive buckets, each as the difference to the one before.
        positive: Vec<i64>,
        /// Negative buckets, each as the difference to the one before.
        negative: Vec<i64>,
    },
    /// Of a float histogram.
    Float {
        /// All observations.
        count: f64,
        /// Observations in the zero bucket.
        zero_count: f64,
        /// Positive buckets.
        positive: Vec<f64>,
        /// Negative buckets.
        negative: Vec<f64>,
    },
}

/// One native histogram.
#[derive(Clone, PartialEq, Debug)]
pub struct Histogram {
    /// −4 to 8: exponential buckets, each `2^(2^-schema)` times as wide as the one before;
    /// [`SCHEMA_CUSTOM`]: the bounds are in `custom_values`.
    pub schema: i32,
    /// Observations up to this distance from zero are in the zero bucket.
    pub zero_threshold: f64,
    /// Sum of all observations; the stale marker's bits make the whole histogram a stale marker.
    pub sum: f64,
    /// The counts.
    pub buckets: Buckets,
    /// Where the positive buckets lie.
    pub positive_spans: Vec<Span>,
    /// Where the negative buckets lie.
    pub negative_spans: Vec<Span>,
    /// Upper bounds of custom buckets, strictly rising, without +Inf; empty for other schemas.
    pub custom_values: Vec<f64>,
    /// What is known of counter resets.
    pub reset_hint: ResetHint,
}

/// Why a histogram is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum HistogramError {
    /// A schema that nobody defined.
    #[error(
        "schema {0} is not known: {SCHEMA_MIN} to {SCHEMA_MAX} or {SCHEMA_CUSTOM} (custom buckets)"
    )]
    Schema(i32),
    /// Spans and buckets disagree.
    #[error("{side} spans name {spans} buckets, but {buckets} are given")]
    SpanLength {
        /// "positive" or "negative".
        side: &'static str,
        /// Sum of the spans' lengths.
        spans: u64,
        /// Buckets that came.
        buckets: usize,
    },
    /// A span after the first goes backwards.
    #[error("{side} span {at} has the negative offset {offset}: only the first span may")]
    SpanOffset {
        /// "positive" or "negative".
        side: &'static str,
        /// Which span.
        at: usize,
        /// Its offset.
        offset: i32,
    },
    /// A bucket, zero bucket or the count is below zero (or not a number).
    #[error("{what} is {value}: counts cannot be negative or NaN")]
    NegativeCount {
        /// Which count.
        what: &'static str,
        /// Its value.
        value: f64,
    },
    /// The count is not what the buckets add up to.
    #[error("the buckets hold {buckets} observations, but count says {count}")]
    Count {
        /// Sum of all buckets.
        buckets: u64,
        /// The count field.
        count: u64,
    },
    /// Rules of custom buckets are broken, or custom bounds came with another schema.
    #[error("{0}")]
    Custom(&'static str),
}

impl Histogram {
    /// A stale marker in a histogram's clothes, with nothing else kept: all of them are equal.
    #[must_use]
    pub const fn stale() -> Self {
        Self {
            schema: 0,
            zero_threshold: 0.0,
            sum: super::stale_nan(),
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

    /// A test's histogram: one bucket, and so many observations in it.
    #[cfg(test)]
    pub(crate) fn counting(count: u32) -> Self {
        Self {
            schema: 1,
            zero_threshold: 0.001,
            sum: 3.5,
            buckets: Buckets::Integer {
                count: count.into(),
                zero_count: 0,
                positive: vec![count.into()],
                negative: Vec::new(),
            },
            positive_spans: vec![Span {
                offset: 0,
                length: 1,
            }],
            ..Self::stale()
        }
    }

    /// Whether this is a stale marker in a histogram's clothes.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        super::is_stale(self.sum)
    }
}
