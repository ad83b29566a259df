//! `</` and `>/`: a histogram without the observations above, or below, a value. A bucket that
//! holds the value is cut where it would lie; the sum is estimated from the middles of what is left.

use super::float::{Bucket, FloatHistogram};

/// What is left of a bucket: how many observations, and where their middle is.
type Left = (f64, f64);

/// Which side is cut off, and where.
#[derive(Clone, Copy)]
struct Cut {
    at: f64,
    /// What is above goes.
    upper: bool,
    /// Buckets are linear.
    linear: bool,
}

impl FloatHistogram {
    /// Without the observations above a value, or (`upper` false) below it.
    pub(in crate::query) fn trim(&mut self, at: f64, upper: bool) {
        let cut = Cut {
            at,
            upper,
            linear: self.is_custom(),
        };
        let (mut count, mut sum, mut changed) = (0.0, 0.0, false);
        let mut populated = [false, false];
        for positive in [true, false] {
            let buckets: Vec<Bucket> = if positive {
                let all = self.positive.iter();
                all.map(|(at, count)| self.positive_bucket(at, count))
                    .collect()
            } else {
                let all = self.negative.iter();
                all.map(|(at, count)| self.negative_bucket(at, count))
                    .collect()
            };
            let counts = match positive {
                true => &mut self.positive.counts,
                false => &mut self.negative.counts,
            };
            for (slot, bucket) in counts.iter_mut().zip(buckets) {
                if bucket.count == 0.0 {
                    continue;
                }
                if let Some(seen) = populated.get_mut(usize::from(positive)) {
                    *seen = true;
                }
                let (left, middle) = cut.of(&bucket, positive);
                changed |= left != bucket.count || cut.discards(&bucket);
                *slot = left;
                count += left;
                sum += middle * left;
            }
        }
        if self.zero_count > 0.0 {
            let [negative, positive] = populated;
            let (left, middle) = cut.of_zero(&self.zero_bucket(), negative, positive);
            changed |= left != self.zero_count;
            self.zero_count = left;
            count += left;
            sum += middle * left;
        }
        if changed {
            (self.count, self.sum) = (count, sum);
            self.compact();
        }
    }
}

impl Cut {
    /// Whether a bucket lies beyond the value as a whole.
    fn discards(self, bucket: &Bucket) -> bool {
        match self.upper {
            true => !(bucket.upper <= self.at || bucket.lower < self.at),
            false => !(bucket.lower >= self.at || bucket.upper > self.at),
        }
    }

    fn of(self, bucket: &Bucket, positive: bool) -> Left {
        if self.discards(bucket) {
            return (0.0, 0.0);
        }
        let whole = match self.upper {
            true => bucket.upper <= self.at,
            false => bucket.lower >= self.at,
        };
        if whole {
            let middle = self.middle(bucket.lower, bucket.upper, positive);
            return (bucket.count, middle);
        }
        if bucket.lower == f64::NEG_INFINITY {
            return self.of_lowest(bucket);
        }
        if bucket.upper == f64::INFINITY {
            return self.of_highest(bucket);
        }
        let below = if self.at <= bucket.lower {
            0.0
        } else if self.at >= bucket.upper {
            bucket.count
        } else {
            bucket.count * bucket.fraction_below(self.at, self.linear)
        };
        match self.upper {
            true => (below, self.middle(bucket.lower, self.at, positive)),
            false => (
                bucket.count - below,
                self.middle(self.at, bucket.upper, positive),
            ),
        }
    }

    /// Of a bucket without begin: nothing is known of what is in it, but that what begins below a
    /// positive end is taken to begin at zero.
    fn of_lowest(self, bucket: &Bucket) -> Left {
        let end = if bucket.upper.is_infinite() {
            0.0
        } else {
            bucket.upper
        };
        let finite = bucket.upper != f64::INFINITY;
        if self.upper {
            if self.at >= bucket.upper {
                (bucket.count, 0.0)
            } else if self.at > 0.0 && bucket.upper > 0.0 && finite {
                (bucket.count * self.at / bucket.upper, self.at / 2.0)
            } else if bucket.upper <= 0.0 {
                (bucket.count, self.at)
            } else {
                (0.0, end)
            }
        } else if self.at <= bucket.lower {
            (bucket.count, 0.0)
        } else if self.at >= 0.0 && bucket.upper > self.at && finite {
            (
                bucket.count * (1.0 - self.at / bucket.upper),
                (self.at + bucket.upper) / 2.0,
            )
        } else {
            (0.0, end)
        }
    }

    /// Of a bucket without end.
    fn of_highest(self, bucket: &Bucket) -> Left {
        let begin = if bucket.lower.is_infinite() {
            0.0
        } else {
            bucket.lower
        };
        if !self.upper && self.at >= bucket.lower {
            (bucket.count, self.at)
        } else {
            (0.0, begin)
        }
    }

    /// Of the zero bucket, which ends at zero where nothing lies beyond.
    fn of_zero(self, bucket: &Bucket, negative: bool, positive: bool) -> Left {
        let (mut lower, mut upper) = (bucket.lower, bucket.upper);
        if negative && !positive {
            upper = 0.0;
        }
        if positive && !negative {
            lower = 0.0;
        }
        let at = self.at;
        let whole = (bucket.count, (lower + upper) / 2.0);
        match self.upper {
            true if at <= lower => (0.0, 0.0),
            true if at >= upper => whole,
            true => (
                bucket.count * ((at - lower) / (upper - lower)),
                (lower + at) / 2.0,
            ),
            false if at <= lower => whole,
            false if at >= upper => (0.0, 0.0),
            false => (
                bucket.count * ((upper - at) / (upper - lower)),
                (at + upper) / 2.0,
            ),
        }
    }

    /// The middle between two bounds, on the scale of the buckets.
    fn middle(self, lower: f64, upper: f64, positive: bool) -> f64 {
        if lower.is_infinite() {
            return match upper {
                _ if upper.is_infinite() => 0.0,
                _ if upper > 0.0 => upper / 2.0,
                _ => upper,
            };
        }
        if upper.is_infinite() {
            return lower;
        }
        if self.linear {
            return (lower + upper) / 2.0;
        }
        let geometric = (lower * upper).abs().sqrt();
        if positive { geometric } else { -geometric }
    }
}
