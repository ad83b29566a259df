//! Sum and difference of two histograms: to the coarser schema, the wider zero bucket, and the
//! custom bounds that both have.

use std::sync::Arc;

use crate::model::ResetHint;
use crate::query::sum::Neumaier;

use super::bounds::exponential_bound;
use super::float::FloatHistogram;
use super::sides::{Lost, Side};

/// Exponential and custom buckets cannot be combined.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::query) struct Incompatible;

/// What there is to say of a combination.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in crate::query) struct Outcome {
    /// One says that there was a reset, the other that there was none.
    pub(in crate::query) collision: bool,
    /// The custom bounds differed.
    pub(in crate::query) reconciled: bool,
}

impl FloatHistogram {
    /// Adds another one.
    ///
    /// # Errors
    /// When only one of them has custom buckets.
    pub(in crate::query) fn add(&mut self, other: &Self) -> Result<Outcome, Incompatible> {
        self.combine(other, 1.0)
    }

    /// Subtracts another one.
    ///
    /// # Errors
    /// When only one of them has custom buckets.
    pub(in crate::query) fn subtract(&mut self, other: &Self) -> Result<Outcome, Incompatible> {
        self.combine(other, -1.0)
    }

    /// The same in a schema that is not finer.
    pub(in crate::query) fn reduced_to(&self, schema: i32) -> Self {
        let mut result = self.clone();
        if schema < self.schema && !self.is_custom() {
            result.positive = self.positive.reduced(self.schema, schema);
            result.negative = self.negative.reduced(self.schema, schema);
            result.schema = schema;
            result.hint = ResetHint::Unknown;
        }
        result
    }

    /// Nothing, in the same buckets.
    pub(in crate::query) fn emptied(&self) -> Self {
        Self {
            schema: self.schema,
            custom_values: Arc::clone(&self.custom_values),
            ..Self::default()
        }
    }

    fn combine(&mut self, other: &Self, sign: f64) -> Result<Outcome, Incompatible> {
        let mut outcome = self.agree(other)?;
        if !self.is_custom() {
            let zero = self.widen_zero(other, None);
            self.zero_count += sign * zero.sum;
        }
        self.count += sign * other.count;
        self.sum += sign * other.sum;
        if self.is_custom() {
            if self.same_bounds(other) {
                add_side(&mut self.positive, &other.positive, 0, sign);
            } else {
                outcome.reconciled = true;
                self.meet_custom(other, sign, None);
            }
            return Ok(outcome);
        }
        let schema = self.schema.min(other.schema);
        let threshold = self.zero_threshold;
        let pairs = [
            (&mut self.positive, &other.positive),
            (&mut self.negative, &other.negative),
        ];
        for (ours, theirs) in pairs {
            if self.schema > schema {
                *ours = ours.reduced(self.schema, schema);
            }
            if other.schema > schema {
                let theirs = theirs.reduced(other.schema, schema);
                let skip = covered(&theirs, schema, threshold);
                add_side(ours, &theirs, skip, sign);
            } else {
                let skip = covered(theirs, schema, threshold);
                add_side(ours, theirs, skip, sign);
            }
        }
        self.schema = schema;
        Ok(outcome)
    }

    /// Sees whether both can be combined, and settles the reset hint.
    pub(super) fn agree(&mut self, other: &Self) -> Result<Outcome, Incompatible> {
        if self.is_custom() != other.is_custom() {
            return Err(Incompatible);
        }
        use ResetHint::{Gauge, Unknown};
        let (ours, theirs) = (self.hint, other.hint);
        let mut collision = false;
        self.hint = match (ours, theirs) {
            _ if ours == theirs => ours,
            (Gauge, _) | (_, Gauge) => Gauge,
            (Unknown, _) | (_, Unknown) => Unknown,
            _ => {
                collision = true;
                Unknown
            }
        };
        Ok(Outcome {
            collision,
            reconciled: false,
        })
    }

    /// Widens the zero bucket until it holds that of the other one, and ends in a populated bucket
    /// of neither. Gives what the other's zero bucket holds then.
    pub(super) fn widen_zero(&mut self, other: &Self, mut lost: Option<&mut Lost>) -> Neumaier {
        let mut theirs = Neumaier::from_value(other.zero_count);
        let mut threshold = other.zero_threshold;
        while threshold != self.zero_threshold {
            if self.zero_threshold > threshold {
                (theirs, threshold) = other.zero_within(self.zero_threshold, None);
            }
            if threshold > self.zero_threshold {
                let zero;
                (zero, self.zero_threshold) = self.zero_within(threshold, lost.as_deref());
                self.zero_count = zero.sum;
                if let Some(lost) = lost.as_deref_mut() {
                    lost.zero_count = zero.lost;
                }
                self.trim_covered(lost.as_deref_mut());
            }
        }
        theirs
    }

    /// What the zero bucket would hold if it reached to a threshold that is not below its own, and
    /// the threshold: moved outwards to the end of a populated bucket in which it would lie.
    pub(super) fn zero_within(&self, threshold: f64, lost: Option<&Lost>) -> (Neumaier, f64) {
        let mut threshold = threshold;
        let start = Neumaier {
            sum: self.zero_count,
            lost: lost.map_or(0.0, |lost| lost.zero_count),
        };
        if threshold == self.zero_threshold {
            return (start, threshold);
        }
        let no_loss: &[f64] = &[];
        loop {
            let mut zero = start;
            let positive = lost.map_or(no_loss, |lost| &lost.positive);
            threshold = self.swallow(&mut zero, &self.positive, positive, threshold);
            let negative = lost.map_or(no_loss, |lost| &lost.negative);
            let farther = self.swallow(&mut zero, &self.negative, negative, threshold);
            if farther == threshold {
                return (zero, threshold);
            }
            // More of the positive buckets lie within now.
            threshold = farther;
        }
    }

    /// Adds the buckets of one side that begin below a threshold; gives where the last of them
    /// ends, if that is beyond it and there is something in it.
    fn swallow(&self, zero: &mut Neumaier, side: &Side, lost: &[f64], threshold: f64) -> f64 {
        for (place, (index, count)) in side.iter().enumerate() {
            // Both sides are measured from zero outwards.
            let bucket = self.positive_bucket(index, count);
            if bucket.lower >= threshold {
                break;
            }
            zero.add(count);
            if let Some(lost) = lost.get(place) {
                zero.add(*lost);
            }
            if bucket.upper > threshold {
                return if count == 0.0 {
                    threshold
                } else {
                    bucket.upper
                };
            }
        }
        threshold
    }

    /// Removes the buckets that the zero bucket covers, and those that hold nothing.
    fn trim_covered(&mut self, lost: Option<&mut Lost>) {
        let (schema, threshold) = (self.schema, self.zero_threshold);
        let covered = |index: i32| exponential_bound(index.saturating_sub(1), schema) < threshold;
        let keep = |side: &mut Side, lost: Option<&mut Vec<f64>>| {
            let Some(lost) = lost else {
                *side = Side::of(
                    side.iter()
                        .filter(|(at, count)| *count != 0.0 && !covered(*at)),
                );
                return;
            };
            let kept: Vec<((i32, f64), f64)> = side
                .iter()
                .zip(lost.iter().copied())
                .filter(|((at, count), lost)| (*count != 0.0 || *lost != 0.0) && !covered(*at))
                .collect();
            *side = Side::of(kept.iter().map(|(bucket, _)| *bucket));
            *lost = kept.iter().map(|(_, lost)| *lost).collect();
        };
        match lost {
            None => {
                keep(&mut self.positive, None);
                keep(&mut self.negative, None);
            }
            Some(lost) => {
                keep(&mut self.positive, Some(&mut lost.positive));
                keep(&mut self.negative, Some(&mut lost.negative));
            }
        }
    }

    /// Combines custom buckets whose bounds differ: those are kept that both have.
    pub(super) fn meet_custom(&mut self, other: &Self, sign: f64, lost: Option<&mut Lost>) {
        let bounds = intersection(&self.custom_values, &other.custom_values);
        let mut sums = vec![Neumaier::default(); bounds.len() + 1];
        let no_loss: &[f64] = &[];
        let old_loss = lost.as_ref().map_or(no_loss, |lost| &lost.positive);
        for (at, (index, count)) in self.positive.iter().enumerate() {
            let target = target(index, &self.custom_values, &bounds);
            if let Some(sum) = sums.get_mut(target) {
                sum.add(count);
                if let Some(lost) = old_loss.get(at) {
                    sum.add(*lost);
                }
            }
        }
        for (index, count) in other.positive.iter() {
            let target = target(index, &other.custom_values, &bounds);
            if let Some(sum) = sums.get_mut(target) {
                sum.add(sign * count);
            }
        }
        let filled: Vec<(i32, Neumaier)> = (0..)
            .zip(sums)
            .filter(|(_, sum)| sum.sum != 0.0 || sum.lost != 0.0)
            .collect();
        self.positive = Side::of(filled.iter().map(|(at, sum)| (*at, sum.sum)));
        self.custom_values = bounds.into();
        if let Some(lost) = lost {
            lost.positive = filled.iter().map(|(_, sum)| sum.lost).collect();
        }
    }
}

/// How many buckets at the begin of a side the zero bucket covers.
pub(super) fn covered(side: &Side, schema: i32, threshold: f64) -> usize {
    if threshold == 0.0 {
        return 0;
    }
    side.at
        .iter()
        .take_while(|index| exponential_bound(**index, schema) <= threshold)
        .count()
}

/// Adds one side to another, but for some of its first buckets.
fn add_side(ours: &mut Side, theirs: &Side, skip: usize, sign: f64) {
    if skip == 0 && ours.same_layout(theirs) {
        for (ours, theirs) in ours.counts.iter_mut().zip(&theirs.counts) {
            *ours += sign * theirs;
        }
        return;
    }
    if theirs.len() <= skip {
        return;
    }
    if ours.is_empty() {
        if skip == 0 {
            ours.at = Arc::clone(&theirs.at);
            ours.counts = theirs.counts.iter().map(|count| sign * count).collect();
        } else {
            *ours = Side::of(
                theirs
                    .iter()
                    .skip(skip)
                    .map(|(at, count)| (at, sign * count)),
            );
        }
        return;
    }
    *ours = ours.united(theirs.iter().skip(skip), |one, two| match (one, two) {
        (Some(one), Some(two)) => one + sign * two,
        (one, two) => one.unwrap_or_else(|| sign * two.unwrap_or(0.0)),
    });
}

/// The bounds that are in both lists.
fn intersection(one: &[f64], other: &[f64]) -> Vec<f64> {
    let mut rest = other.iter().peekable();
    let both = one.iter().copied().filter(|bound| {
        while rest.next_if(|theirs| **theirs < *bound).is_some() {}
        rest.peek().is_some_and(|theirs| **theirs == *bound)
    });
    both.collect()
}

/// The bucket of fewer bounds that holds a bucket of more.
fn target(index: i32, bounds: &[f64], fewer: &[f64]) -> usize {
    let bound = usize::try_from(index).ok().and_then(|at| bounds.get(at));
    match bound {
        Some(bound) => fewer.partition_point(|one| one < bound),
        None => fewer.len(),
    }
}
