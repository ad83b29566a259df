//! Quantiles and fractions of classic histograms: one series per upper bound, told apart by `le`.

use crate::query::number::parse_float;

/// The label with the upper bound.
pub const BUCKET_LABEL: &str = "le";

/// Relative differences of counts up to this are taken as rounding and smoothed silently.
const SMALL_FALL: f64 = 1e-12;

/// One histogram bucket: observations up to and including a bound.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ClassicBucket {
    /// The bound.
    pub upper_bound: f64,
    /// Observations up to it, those of lower histogram buckets included.
    pub count: f64,
}

/// Where and how much bucket counts had to be lifted, for `Note::ForcedMonotonicity`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ForcedMonotonicity {
    /// The lowest upper bound of a lifted histogram bucket.
    pub bucket_min: f64,
    /// The highest upper bound of a lifted histogram bucket.
    pub bucket_max: f64,
    /// The largest fall.
    pub difference_max: f64,
}

/// The upper bound that the value of a `le` label says; nothing where it is malformed.
#[must_use]
pub fn bucket_bound(le: &str) -> Option<f64> {
    parse_float(le)
}

/// Sorts by bound and adds up counts of equal bounds; false if the highest bound is not +Inf.
fn prepare(buckets: &mut Vec<ClassicBucket>) -> bool {
    buckets.sort_by(|a, b| {
        a.upper_bound
            .partial_cmp(&b.upper_bound)
            .unwrap_or(std::cmp::Ordering::Equal)
    });
    if buckets
        .last()
        .is_none_or(|last| last.upper_bound != f64::INFINITY)
    {
        return false;
    }
    buckets.dedup_by(|next, kept| {
        let same = next.upper_bound == kept.upper_bound;
        if same {
            kept.count += next.count;
        }
        same
    });
    true
}

/// The quantile `q`, linear within a histogram bucket, and what had to be mended to have one. The
/// buckets are reordered and mended in place.
#[must_use]
pub fn bucket_quantile(
    q: f64,
    buckets: &mut Vec<ClassicBucket>,
) -> (f64, Option<ForcedMonotonicity>) {
    if q.is_nan() {
        return (f64::NAN, None);
    }
    if q < 0.0 {
        return (f64::NEG_INFINITY, None);
    }
    if q > 1.0 {
        return (f64::INFINITY, None);
    }
    if !prepare(buckets) {
        return (f64::NAN, None);
    }
    let forced = force_rising(buckets);
    (quantile_of_rising(q, buckets), forced)
}

fn quantile_of_rising(q: f64, buckets: &[ClassicBucket]) -> f64 {
    let [finite @ .., all] = buckets else {
        return f64::NAN;
    };
    let Some(highest) = finite.last() else {
        return f64::NAN;
    };
    if all.count == 0.0 {
        return f64::NAN;
    }
    let rank = q * all.count;
    // Not `partition_point(count < rank)`: a NaN rank must fall behind all.
    let found = finite
        .partition_point(|bucket| !matches!(bucket.count.partial_cmp(&rank), Some(o) if o.is_ge()));
    let Some(bucket) = finite.get(found) else {
        return highest.upper_bound;
    };
    let below = found.checked_sub(1).and_then(|at| finite.get(at));
    match below {
        None if bucket.upper_bound <= 0.0 => bucket.upper_bound,
        None => bucket.upper_bound * (rank / bucket.count),
        Some(below) => {
            let share = (rank - below.count) / (bucket.count - below.count);
            below.upper_bound + (bucket.upper_bound - below.upper_bound) * share
        }
    }
}

/// Lifts counts that fall, and levels those that differ by no more than rounding. Only the former
/// are remarked upon.
fn force_rising(buckets: &mut [ClassicBucket]) -> Option<ForcedMonotonicity> {
    let (first, rest) = buckets.split_first_mut()?;
    let mut before = first.count;
    let mut forced: Option<ForcedMonotonicity> = None;
    for bucket in rest {
        let now = bucket.count;
        if now == before {
            continue;
        }
        if almost_equal(before, now) {
            bucket.count = before;
        } else if now < before {
            bucket.count = before;
            let remark = forced.get_or_insert(ForcedMonotonicity {
                bucket_min: f64::INFINITY,
                bucket_max: f64::NEG_INFINITY,
                difference_max: 0.0,
            });
            remark.bucket_min = remark.bucket_min.min(bucket.upper_bound);
            remark.bucket_max = remark.bucket_max.max(bucket.upper_bound);
            remark.difference_max = remark.difference_max.max(before - now);
        } else {
            before = now;
        }
    }
    forced
}

/// Whether two counts differ by less than [`SMALL_FALL`] of their sum.
fn almost_equal(a: f64, b: f64) -> bool {
    if (a.is_nan() && b.is_nan()) || a == b {
        return true;
    }
    let sum = a.abs() + b.abs();
    let difference = (a - b).abs();
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < SMALL_FALL * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < SMALL_FALL
}

/// The share of observations between two values, linear within a histogram bucket. The buckets
/// are reordered in place.
#[must_use]
pub fn bucket_fraction(lower: f64, upper: f64, buckets: &mut Vec<ClassicBucket>) -> f64 {
    if !prepare(buckets) {
        return f64::NAN;
    }
    let all = buckets.last().map_or(0.0, |last| last.count);
    if all == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let (lower, upper) = (rank_of(lower, buckets, all), rank_of(upper, buckets, all));
    (upper - lower) / all
}

/// How many observations lie up to a value. A histogram bucket without finite width counts for
/// nothing below its upper bound if it is the last, and whole if it is the first.
fn rank_of(value: f64, buckets: &[ClassicBucket], all: f64) -> f64 {
    let mut low = match buckets.first() {
        Some(first) if first.upper_bound <= 0.0 => f64::NEG_INFINITY,
        _ => 0.0,
    };
    let mut rank = 0.0;
    for bucket in buckets {
        let found = if low >= value {
            Some(rank)
        } else if bucket.upper_bound > value {
            Some(if low == f64::NEG_INFINITY {
                bucket.count
            } else {
                rank + (bucket.count - rank) * (value - low) / (bucket.upper_bound - low)
            })
        } else {
            None
        };
        if let Some(found) = found {
            return if found > all { all } else { found };
        }
        rank = bucket.count;
        low = bucket.upper_bound;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::shape::tests::assert_close;
    use super::*;

    const INF: f64 = f64::INFINITY;
    const NAN: f64 = f64::NAN;

    fn buckets(pairs: &[(f64, f64)]) -> Vec<ClassicBucket> {
        pairs
            .iter()
            .map(|&(upper_bound, count)| ClassicBucket { upper_bound, count })
            .collect()
    }

    #[test]
    fn quantiles_of_classic_histograms() {
        let plain = &[(0.1, 1.0), (0.2, 3.0), (1.0, 3.0), (INF, 4.0)][..];
        let below_zero = &[(-0.2, 1.0), (-0.1, 1.0), (0.3, 2.0), (INF, 2.0)][..];
        for (pairs, q, want) in [
            (plain, 0.0, 0.0),
            (plain, 0.25, 0.1),
            (plain, 0.5, 0.15),
            (plain, 0.75, 0.2),
            (plain, 0.9, 1.0),
            (plain, 1.0, 1.0),
            (plain, -0.1, -INF),
            (plain, 1.1, INF),
            (plain, NAN, NAN),
            (below_zero, 0.1, -0.2),
            (below_zero, 0.75, 0.1),
            (&[(0.1, 1.0), (0.2, 2.0)], 0.5, NAN),
            (&[(INF, 2.0)], 0.5, NAN),
            (&[(0.1, 0.0), (INF, 0.0)], 0.5, NAN),
            (&[(INF, 2.0), (0.1, 1.0), (0.1, 1.0)], 0.5, 0.05),
            (&[], 0.5, NAN),
        ] {
            let (got, forced) = bucket_quantile(q, &mut buckets(pairs));
            assert_close(Some(got), Some(want), &format!("{pairs:?} {q}"));
            assert_eq!(forced, None);
        }
    }

    #[test]
    fn falling_counts_are_lifted_and_said() {
        let mut falling = buckets(&[(1.0, 4.0), (2.0, 3.0), (3.0, 6.0), (INF, 5.0)]);
        let (got, forced) = bucket_quantile(0.5, &mut falling);
        assert_close(Some(got), Some(0.75), "lifted");
        let forced = forced.unwrap();
        assert_eq!((forced.bucket_min, forced.bucket_max), (2.0, INF));
        assert_eq!(forced.difference_max, 1.0);
        let rounding = 1.0 - 1e-14;
        let mut nearly = buckets(&[(1.0, 1.0), (2.0, rounding), (INF, 2.0)]);
        let (_, forced) = bucket_quantile(0.5, &mut nearly);
        assert_eq!(forced, None);
    }

    #[test]
    fn fractions_of_classic_histograms() {
        let plain = &[(1.0, 2.0), (2.0, 6.0), (INF, 8.0)][..];
        let below_zero = &[(-1.0, 2.0), (1.0, 6.0), (INF, 8.0)][..];
        for (pairs, lower, upper, want) in [
            (plain, 0.0, 1.0, 0.25),
            (plain, 0.5, 1.5, 0.375),
            (plain, -INF, INF, 1.0),
            (plain, 2.0, INF, 0.25),
            (plain, 3.0, INF, 0.25),
            (plain, -5.0, 0.0, 0.0),
            (plain, 1.0, 1.0, 0.0),
            (plain, 2.0, 1.0, 0.0),
            (plain, NAN, 1.0, NAN),
            (below_zero, -INF, 0.0, 0.5),
            (below_zero, -7.0, 0.0, 0.25),
            (&[(1.0, 2.0)], 0.0, 1.0, NAN),
            (&[(1.0, 0.0), (INF, 0.0)], 0.0, 1.0, NAN),
        ] {
            let got = bucket_fraction(lower, upper, &mut buckets(pairs));
            assert_close(Some(got), Some(want), &format!("{pairs:?} {lower} {upper}"));
        }
    }

    #[test]
    fn bounds_are_read_from_labels() {
        assert_eq!(bucket_bound("+Inf"), Some(INF));
        assert_eq!(bucket_bound("0.5"), Some(0.5));
        assert_eq!(bucket_bound(""), None);
        assert_eq!(bucket_bound("a"), None);
    }
}
