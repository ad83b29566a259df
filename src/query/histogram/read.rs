//! What one histogram says: quantiles, fractions, variance.
//!
//! Within an exponential bucket observations are taken to be spread evenly on a logarithmic scale,
//! within the zero bucket and custom buckets on a linear one.

use crate::query::sum::Neumaier;

use super::float::{Bucket, FloatHistogram};

/// What observations that are no numbers do to a result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::query) enum NanRemark {
    /// The quantile lies among them.
    Result,
    /// They stand above all others and push the quantile up.
    Skew,
    /// They are in no fraction.
    Fraction,
}

impl Bucket {
    /// Which part of its width lies below a value within it.
    pub(super) fn fraction_below(&self, value: f64, linear: bool) -> f64 {
        if linear {
            return (value - self.lower) / (self.upper - self.lower);
        }
        let lower = self.lower.abs().log2();
        let upper = self.upper.abs().log2();
        let value_log = value.abs().log2();
        if value > 0.0 {
            (value_log - lower) / (upper - lower)
        } else {
            1.0 - (value_log - upper) / (lower - upper)
        }
    }
}

impl FloatHistogram {
    /// The zero bucket of a histogram that lies on one side of zero only ends there.
    fn one_sided(&self, bucket: &mut Bucket) {
        if self.negative.is_empty() && !self.positive.is_empty() {
            bucket.lower = 0.0;
        } else if self.positive.is_empty() && !self.negative.is_empty() {
            bucket.upper = 0.0;
        }
    }
}

/// A quantile of the observations, and what is to be said of it.
pub(in crate::query) fn quantile(q: f64, of: &FloatHistogram) -> (f64, Option<NanRemark>) {
    if q < 0.0 {
        return (f64::NEG_INFINITY, None);
    }
    if q > 1.0 {
        return (f64::INFINITY, None);
    }
    if of.count == 0.0 || q.is_nan() {
        return (f64::NAN, None);
    }
    if of.sum.is_nan() || q < 0.5 {
        ranked(q * of.count, false, of, of.buckets())
    } else {
        ranked((1.0 - q) * of.count, true, of, of.buckets().rev())
    }
}

/// The value at a rank, counted from the lowest bucket or, `from_above`, from the highest.
fn ranked(
    rank: f64,
    from_above: bool,
    of: &FloatHistogram,
    mut buckets: impl Iterator<Item = Bucket>,
) -> (f64, Option<NanRemark>) {
    let mut count = 0.0;
    let mut found = None;
    for bucket in buckets.by_ref() {
        found = Some(bucket);
        count += bucket.count;
        if bucket.count != 0.0 && count >= rank {
            break;
        }
    }
    let mut bucket = found.unwrap_or(Bucket {
        lower: 0.0,
        upper: 0.0,
        lower_inclusive: false,
        upper_inclusive: false,
        count: 0.0,
    });
    if of.is_custom() {
        if bucket.lower == f64::NEG_INFINITY {
            if bucket.upper <= 0.0 {
                return (bucket.upper, None);
            }
            bucket.lower = 0.0;
        } else if bucket.upper == f64::INFINITY {
            return (bucket.lower, None);
        }
    } else if bucket.lower < 0.0 && bucket.upper > 0.0 {
        of.one_sided(&mut bucket);
    }
    count = if count > of.count { of.count } else { count };
    if count < rank {
        return match of.sum.is_nan() {
            true => (f64::NAN, Some(NanRemark::Result)),
            false => (bucket.upper, None),
        };
    }
    let rank = match from_above {
        true => count - rank,
        false => rank - (count - bucket.count),
    };
    // Prometheus interpolates in the last bucket that it looked at.
    let remark = if of.sum.is_nan() {
        for rest in buckets {
            count += rest.count;
            bucket = rest;
        }
        (count < of.count).then_some(NanRemark::Skew)
    } else {
        None
    };
    (within(&bucket, rank / bucket.count, of), remark)
}

/// The value at a fraction of a bucket's observations.
fn within(bucket: &Bucket, fraction: f64, of: &FloatHistogram) -> f64 {
    if of.is_custom() || (bucket.lower <= 0.0 && bucket.upper >= 0.0) {
        return bucket.lower + (bucket.upper - bucket.lower) * fraction;
    }
    let lower = bucket.lower.abs().log2();
    let upper = bucket.upper.abs().log2();
    if bucket.lower > 0.0 {
        (lower + (upper - lower) * fraction).exp2()
    } else {
        -(upper + (lower - upper) * (1.0 - fraction)).exp2()
    }
}

/// The share of observations between two values, and what is to be said of it.
pub(in crate::query) fn fraction(
    lower: f64,
    upper: f64,
    of: &FloatHistogram,
) -> (f64, Option<NanRemark>) {
    if of.count == 0.0 || lower.is_nan() || upper.is_nan() {
        return (f64::NAN, None);
    }
    if lower >= upper {
        return (0.0, None);
    }
    let mut search = Search {
        of,
        rank: 0.0,
        lower: (lower, None),
        upper: (upper, None),
    };
    let mut count = 0.0;
    let mut buckets = of.buckets();
    for bucket in buckets.by_ref() {
        count += bucket.count;
        if search.look_at(bucket) {
            break;
        }
    }
    let remark = if of.sum.is_nan() {
        count += buckets.map(|bucket| bucket.count).sum::<f64>();
        (count < of.count).then_some(NanRemark::Fraction)
    } else {
        count = of.count;
        None
    };
    let bounded = |rank: Option<f64>| match rank {
        Some(rank) if rank <= count || rank.is_nan() => rank,
        _ => count,
    };
    let share = (bounded(search.upper.1) - bounded(search.lower.1)) / of.count;
    (share, remark)
}

/// Looks for the ranks of two values.
struct Search<'a> {
    of: &'a FloatHistogram,
    rank: f64,
    lower: (f64, Option<f64>),
    upper: (f64, Option<f64>),
}

impl Search<'_> {
    /// Whether both ranks are known.
    fn look_at(&mut self, mut bucket: Bucket) -> bool {
        let zero = bucket.lower <= 0.0 && bucket.upper >= 0.0;
        if zero {
            self.of.one_sided(&mut bucket);
        }
        let (rank, linear) = (self.rank, zero || self.of.is_custom());
        for (value, found) in [&mut self.lower, &mut self.upper] {
            if found.is_some() {
                continue;
            }
            if bucket.lower >= *value {
                *found = Some(rank);
            } else if bucket.upper > *value {
                *found = Some(if linear && bucket.lower == f64::NEG_INFINITY {
                    bucket.count
                } else {
                    rank + bucket.count * bucket.fraction_below(*value, linear)
                });
            }
        }
        self.rank += bucket.count;
        self.lower.1.is_some() && self.upper.1.is_some()
    }
}

/// The variance of the observations, each taken to be in the middle of its bucket.
pub(in crate::query) fn variance(of: &FloatHistogram) -> f64 {
    let mean = of.sum / of.count;
    let mut squares = Neumaier::default();
    for bucket in of.buckets().filter(|bucket| bucket.count != 0.0) {
        let middle = if of.is_custom() {
            (bucket.upper + bucket.lower) / 2.0
        } else if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
            0.0
        } else {
            let geometric = (bucket.upper * bucket.lower).sqrt();
            if bucket.upper < 0.0 {
                -geometric
            } else {
                geometric
            }
        };
        let distance = middle - mean;
        squares.add(bucket.count * distance * distance);
    }
    squares.plain_total() / of.count
}
