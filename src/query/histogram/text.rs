//! A histogram as text: what `count_values` puts into a label, and what tables show.

use std::fmt::{Display, Formatter, Result};

use crate::query::number::format_general;

use super::float::{Bucket, FloatHistogram};

/// `{count:6, sum:8.4, [-2,-1):1, (1,2]:5}`, as Prometheus writes it.
impl Display for FloatHistogram {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        write!(
            out,
            "{{count:{}, sum:{}",
            format_general(self.count),
            format_general(self.sum)
        )?;
        let negative = self.negative.iter().rev();
        let negative = negative.map(|(index, count)| self.negative_bucket(index, count));
        let positive = self.positive.iter();
        let positive = positive.map(|(index, count)| self.positive_bucket(index, count));
        let all = negative.chain([self.zero_bucket()]).chain(positive);
        for bucket in all.filter(|bucket| bucket.count != 0.0) {
            write!(out, ", {bucket}")?;
        }
        write!(out, "}}")
    }
}

/// `(1,2]:5`.
impl Display for Bucket {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        write!(
            out,
            "{}{},{}{}:{}",
            if self.lower_inclusive { '[' } else { '(' },
            format_general(self.lower),
            format_general(self.upper),
            if self.upper_inclusive { ']' } else { ')' },
            format_general(self.count)
        )
    }
}
