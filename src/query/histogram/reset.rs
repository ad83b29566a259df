//! Counter resets: whether a histogram began anew since the one before it.

use crate::model::ResetHint;

use super::combine::covered;
use super::float::FloatHistogram;
use super::sides::Side;

impl FloatHistogram {
    /// Whether there was a reset since another one. The hint decides, if it says anything; else
    /// any count that fell, any bucket that is gone, a finer schema, a narrower zero bucket.
    #[must_use]
    pub(in crate::query) fn is_reset_since(&self, before: &Self) -> bool {
        match self.hint {
            ResetHint::Yes => return true,
            ResetHint::No => return false,
            ResetHint::Unknown | ResetHint::Gauge => {}
        }
        if self.count < before.count {
            return true;
        }
        if self.is_custom() {
            if !before.is_custom() {
                return true;
            }
            if !self.same_bounds(before) {
                return self.fell_between_common_bounds(before);
            }
        }
        if self.schema > before.schema || self.zero_threshold < before.zero_threshold {
            return true;
        }
        let (zero, threshold) = before.zero_within(self.zero_threshold, None);
        if threshold != self.zero_threshold || self.zero_count < zero.sum {
            return true;
        }
        if self.is_custom() {
            return fell(&self.positive, &before.positive, (0, 0));
        }
        [
            (&self.positive, &before.positive),
            (&self.negative, &before.negative),
        ]
        .into_iter()
        .any(|(now, then)| self.side_fell(now, then, before.schema))
    }

    /// Whether a side fell beyond the zero bucket.
    fn side_fell(&self, now: &Side, then: &Side, schema: i32) -> bool {
        let cover = |side: &Side| covered(side, self.schema, self.zero_threshold);
        if schema == self.schema {
            return fell(now, then, (cover(now), cover(then)));
        }
        let then = then.reduced(schema, self.schema);
        fell(now, &then, (cover(now), cover(&then)))
    }

    /// Custom buckets with other bounds: whether the counts between bounds that both have fell.
    fn fell_between_common_bounds(&self, before: &Self) -> bool {
        let (mut now, mut then) = (Rollup::of(self), Rollup::of(before));
        let mut theirs = before.custom_values.iter().copied().peekable();
        let ours = self.custom_values.iter().copied();
        for bound in ours {
            while theirs.next_if(|theirs| *theirs < bound).is_some() {}
            if theirs.peek() == Some(&bound) && now.up_to(bound) < then.up_to(bound) {
                return true;
            }
        }
        now.up_to(f64::INFINITY) < then.up_to(f64::INFINITY)
    }
}

/// Adds up buckets from bound to bound.
struct Rollup<'a> {
    bounds: &'a [f64],
    buckets: std::iter::Peekable<Box<dyn Iterator<Item = (i32, f64)> + 'a>>,
}

impl<'a> Rollup<'a> {
    fn of(histogram: &'a FloatHistogram) -> Self {
        let buckets: Box<dyn Iterator<Item = (i32, f64)> + 'a> = Box::new(histogram.positive());
        Self {
            bounds: &histogram.custom_values,
            buckets: buckets.peekable(),
        }
    }

    /// The buckets that have not been added up yet and end at or below a bound.
    fn up_to(&mut self, bound: f64) -> f64 {
        let bounds = self.bounds;
        let end = |index: i32| {
            let at = usize::try_from(index).unwrap_or(usize::MAX);
            bounds.get(at).copied().unwrap_or(f64::INFINITY)
        };
        let mut sum = 0.0;
        while let Some((_, count)) = self.buckets.next_if(|(index, _)| end(*index) <= bound) {
            sum += count;
        }
        sum
    }
}

/// Whether some bucket fell or is gone, but for some first ones of either side.
fn fell(now: &Side, then: &Side, skip: (usize, usize)) -> bool {
    if skip.0 == skip.1 && now.same_layout(then) {
        let pairs = now.counts.iter().zip(&then.counts).skip(skip.0);
        return pairs.into_iter().any(|(now, then)| now < then);
    }
    let mut now = now.iter().skip(skip.0).peekable();
    then.iter().skip(skip.1).any(|(index, count)| {
        while now.next_if(|(at, _)| *at < index).is_some() {}
        match now.peek() {
            Some((at, current)) if *at == index => *current < count,
            _ => count != 0.0,
        }
    })
}
