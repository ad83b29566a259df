//! One histogram with float counts, and its buckets from the lowest to the highest.

use std::sync::Arc;

use crate::model::{ResetHint, SCHEMA_CUSTOM};

use super::bounds::upper_bound;
use super::sides::Side;

/// A native histogram to calculate with.
#[derive(Clone, Debug, Default)]
pub struct FloatHistogram {
    pub(super) schema: i32,
    pub(super) zero_threshold: f64,
    pub(super) zero_count: f64,
    pub(super) count: f64,
    pub(super) sum: f64,
    pub(super) positive: Side,
    pub(super) negative: Side,
    pub(super) custom_values: Arc<[f64]>,
    pub(super) hint: ResetHint,
}

/// One bucket.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Bucket {
    /// Where it begins.
    pub lower: f64,
    /// Where it ends.
    pub upper: f64,
    /// Its begin belongs to it.
    pub lower_inclusive: bool,
    /// Its end belongs to it.
    pub upper_inclusive: bool,
    /// The observations in it.
    pub count: f64,
}

impl FloatHistogram {
    /// 8 to −4, or −53 for custom buckets.
    #[must_use]
    pub const fn schema(&self) -> i32 {
        self.schema
    }

    /// All observations.
    #[must_use]
    pub const fn count(&self) -> f64 {
        self.count
    }

    /// The sum of all observations.
    #[must_use]
    pub const fn sum(&self) -> f64 {
        self.sum
    }

    /// Observations up to this distance from zero are in the zero bucket.
    #[must_use]
    pub const fn zero_threshold(&self) -> f64 {
        self.zero_threshold
    }

    /// Observations in the zero bucket.
    #[must_use]
    pub const fn zero_count(&self) -> f64 {
        self.zero_count
    }

    /// What is known of a counter reset before it.
    #[must_use]
    pub const fn hint(&self) -> ResetHint {
        self.hint
    }

    /// The bounds of custom buckets.
    #[must_use]
    pub fn custom_values(&self) -> &[f64] {
        &self.custom_values
    }

    /// Indexes and counts of the positive buckets, rising; also those that hold nothing.
    pub fn positive(&self) -> impl Iterator<Item = (i32, f64)> + '_ {
        self.positive.iter()
    }

    /// Indexes and counts of the negative buckets, from zero downwards; also those that hold
    /// nothing.
    pub fn negative(&self) -> impl Iterator<Item = (i32, f64)> + '_ {
        self.negative.iter()
    }

    /// Whether its buckets have bounds of their own.
    #[must_use]
    pub const fn is_custom(&self) -> bool {
        self.schema == SCHEMA_CUSTOM
    }

    /// With another hint.
    pub(in crate::query) const fn set_hint(&mut self, hint: ResetHint) {
        self.hint = hint;
    }

    /// How many float samples it counts for in statistics and limits: one for 16 bytes, as in
    /// Prometheus, whose sizes these are.
    #[must_use]
    pub fn weight(&self) -> usize {
        let spans = |side: &Side| {
            let gaps = side.at.windows(2).filter(|pair| match pair {
                [one, two] => one.saturating_add(1) != *two,
                _ => false,
            });
            usize::from(!side.is_empty()) + gaps.count()
        };
        let words = spans(&self.positive)
            + spans(&self.negative)
            + self.positive.len()
            + self.negative.len()
            + self.custom_values.len();
        (168 + 8 * words + 8) / 16
    }

    /// Bytes of memory that it takes, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        // Layouts and bounds are shared mostly, and counted as if half of them were not.
        size_of::<Self>()
            + 10 * (self.positive.len() + self.negative.len())
            + 4 * self.custom_values.len()
    }

    /// Scales all counts and the sum.
    pub(in crate::query) fn multiply(&mut self, factor: f64) {
        self.each(|number| *number *= factor);
        if factor < 0.0 {
            self.hint = ResetHint::Gauge;
        }
    }

    /// Scales all counts and the sum; by zero, no bucket is left.
    pub(in crate::query) fn divide(&mut self, divisor: f64) {
        if divisor == 0.0 {
            self.positive = Side::default();
            self.negative = Side::default();
        }
        self.each(|number| *number /= divisor);
        if divisor < 0.0 {
            self.hint = ResetHint::Gauge;
        }
    }

    fn each(&mut self, change: impl Fn(&mut f64)) {
        [&mut self.zero_count, &mut self.count, &mut self.sum]
            .into_iter()
            .for_each(&change);
        self.positive.counts.iter_mut().for_each(&change);
        self.negative.counts.iter_mut().for_each(&change);
    }

    /// Without buckets that hold nothing.
    pub(in crate::query) fn compact(&mut self) {
        self.positive.compact();
        self.negative.compact();
    }

    /// Whether both are the same to `==`: the same buckets, the same bits in every count.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        let bits = |one: f64, two: f64| one.to_bits() == two.to_bits();
        let side = |one: &Side, two: &Side| {
            one.same_layout(two)
                && one
                    .counts
                    .iter()
                    .zip(&two.counts)
                    .all(|(a, b)| bits(*a, *b))
        };
        self.schema == other.schema
            && bits(self.count, other.count)
            && bits(self.sum, other.sum)
            && (!self.is_custom() || self.same_bounds(other))
            && self.zero_threshold == other.zero_threshold
            && bits(self.zero_count, other.zero_count)
            && side(&self.negative, &other.negative)
            && side(&self.positive, &other.positive)
    }

    /// Whether both have the same custom bounds.
    pub(super) fn same_bounds(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.custom_values, &other.custom_values)
            || self.custom_values == other.custom_values
    }

    /// Whether something in it is infinite.
    pub(super) fn overflows(&self) -> bool {
        let sides = self.positive.counts.iter().chain(&self.negative.counts);
        [self.zero_count, self.count, self.sum]
            .iter()
            .chain(sides)
            .chain(self.custom_values.iter())
            .any(|number| number.is_infinite())
    }

    /// Only what `histogram_count`, `histogram_sum` and `histogram_avg` look at, and whether there
    /// was a reset since the histogram before it.
    pub(in crate::query) fn without_buckets(&self, before: Option<&Self>) -> Self {
        let hint = match (self.hint, before) {
            (ResetHint::Unknown, Some(before)) => match self.is_reset_since(before) {
                true => ResetHint::Yes,
                false => ResetHint::No,
            },
            (hint, _) => hint,
        };
        Self {
            schema: self.schema,
            count: self.count,
            sum: self.sum,
            hint,
            ..Self::default()
        }
    }

    /// The zero bucket.
    pub(super) const fn zero_bucket(&self) -> Bucket {
        Bucket {
            lower: -self.zero_threshold,
            upper: self.zero_threshold,
            lower_inclusive: true,
            upper_inclusive: true,
            count: self.zero_count,
        }
    }

    /// The positive bucket with an index, as wide as its schema says.
    pub(super) fn positive_bucket(&self, index: i32, count: f64) -> Bucket {
        let bound = |index| upper_bound(index, self.schema, &self.custom_values);
        let lower = bound(index.saturating_sub(1));
        let upper = bound(index);
        let (lower_inclusive, upper_inclusive) = match self.is_custom() {
            true => (index == 0, true),
            false => (lower < 0.0, upper > 0.0),
        };
        Bucket {
            lower,
            upper,
            lower_inclusive,
            upper_inclusive,
            count,
        }
    }

    /// The negative bucket with an index, as wide as its schema says.
    pub(super) fn negative_bucket(&self, index: i32, count: f64) -> Bucket {
        let mirrored = self.positive_bucket(index, count);
        let (lower, upper) = (-mirrored.upper, -mirrored.lower);
        Bucket {
            lower,
            upper,
            lower_inclusive: lower < 0.0,
            upper_inclusive: upper > 0.0,
            count,
        }
    }

    /// All buckets from the lowest to the highest, those that hold nothing included (but for the
    /// zero bucket). What would overlap with the zero bucket begins, or ends, where that ends.
    pub fn buckets(&self) -> impl DoubleEndedIterator<Item = Bucket> + '_ {
        let threshold = self.zero_threshold;
        let negative = self.negative.iter().rev().map(move |(index, count)| {
            let mut bucket = self.negative_bucket(index, count);
            if bucket.upper < 0.0 && bucket.upper > -threshold {
                bucket.upper = -threshold;
            }
            bucket
        });
        let positive = self.positive.iter().map(move |(index, count)| {
            let mut bucket = self.positive_bucket(index, count);
            if bucket.lower > 0.0 && bucket.lower < threshold {
                bucket.lower = threshold;
            }
            bucket
        });
        let zero = (self.zero_count > 0.0).then(|| self.zero_bucket());
        negative.chain(zero).chain(positive)
    }
}
