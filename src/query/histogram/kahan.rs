//! Sums and means of many histograms, with what rounding loses of every count kept beside it.

use super::bounds::coarser;
use super::combine::{Incompatible, Outcome, covered};
use super::float::FloatHistogram;
use super::sides::{Lost, Side};
use crate::query::sum::Neumaier;

/// A sum of histograms.
#[derive(Clone, Debug)]
pub(in crate::query) struct HistogramSum {
    total: FloatHistogram,
    /// None while there is one histogram only.
    lost: Option<Box<Lost>>,
}

fn increase(number: &mut f64, lost: &mut f64, value: f64) {
    let mut sum = Neumaier {
        sum: *number,
        lost: *lost,
    };
    sum.add(value);
    (*number, *lost) = (sum.sum, sum.lost);
}

impl HistogramSum {
    /// The sum of one.
    pub(in crate::query) fn of(first: FloatHistogram) -> Self {
        Self {
            total: first,
            lost: None,
        }
    }

    /// Adds another one.
    ///
    /// # Errors
    /// When only one of them has custom buckets; the sum is as before then.
    pub(in crate::query) fn add(
        &mut self,
        other: &FloatHistogram,
    ) -> Result<Outcome, Incompatible> {
        let total = &mut self.total;
        let mut outcome = total.agree(other)?;
        let lost = self.lost.get_or_insert_with(|| {
            Box::new(Lost {
                positive: vec![0.0; total.positive.len()],
                negative: vec![0.0; total.negative.len()],
                ..Lost::default()
            })
        });
        if !total.is_custom() {
            let zero = total.widen_zero(other, Some(lost));
            increase(&mut total.zero_count, &mut lost.zero_count, zero.sum);
            increase(&mut total.zero_count, &mut lost.zero_count, zero.lost);
        }
        increase(&mut total.count, &mut lost.count, other.count);
        increase(&mut total.sum, &mut lost.sum, other.sum);
        if total.is_custom() {
            if total.same_bounds(other) {
                let none = Reduced::default();
                add_side(
                    &mut total.positive,
                    &mut lost.positive,
                    &other.positive,
                    &none,
                    0,
                );
            } else {
                outcome.reconciled = true;
                total.meet_custom(other, 1.0, Some(lost));
            }
            return Ok(outcome);
        }
        let (from, schema) = (total.schema, total.schema.min(other.schema));
        let threshold = total.zero_threshold;
        for (ours, lost, theirs) in [
            (&mut total.positive, &mut lost.positive, &other.positive),
            (&mut total.negative, &mut lost.negative, &other.negative),
        ] {
            if from > schema {
                let less = reduced(ours, lost, from, schema);
                (*ours, *lost) = (less.side, less.lost);
            }
            if other.schema > schema {
                let zeros = vec![0.0; theirs.len()];
                let theirs = reduced(theirs, &zeros, other.schema, schema);
                let skip = covered(&theirs.side, schema, threshold);
                add_side(ours, lost, &theirs.side, &theirs, skip);
            } else {
                let skip = covered(theirs, schema, threshold);
                add_side(ours, lost, theirs, &Reduced::default(), skip);
            }
        }
        total.schema = schema;
        Ok(outcome)
    }

    /// Whether some number of it became infinite.
    pub(in crate::query) fn overflows(&self) -> bool {
        self.total.overflows()
    }

    fn multiply(&mut self, factor: f64) {
        self.total.multiply(factor);
        if let Some(lost) = &mut self.lost {
            lost.each(|number| *number *= factor);
        }
    }

    fn divide(&mut self, divisor: f64) {
        self.total.divide(divisor);
        if let Some(lost) = &mut self.lost {
            lost.each(|number| *number /= divisor);
        }
    }

    /// The sum with what was lost.
    pub(in crate::query) fn total(self) -> FloatHistogram {
        let mut total = self.total;
        if let Some(lost) = self.lost {
            total.zero_count += lost.zero_count;
            total.count += lost.count;
            total.sum += lost.sum;
            for (side, lost) in [
                (&mut total.positive, &lost.positive),
                (&mut total.negative, &lost.negative),
            ] {
                for (count, lost) in side.counts.iter_mut().zip(lost) {
                    *count += lost;
                }
            }
        }
        total
    }

    /// Bytes of memory that it takes, about.
    pub(in crate::query) fn bytes(&self) -> usize {
        2 * self.total.bytes()
    }
}

/// A mean of histograms: their sum, divided at the end; a running mean from the histogram on at
/// which the sum would overflow.
#[derive(Clone, Debug)]
pub(in crate::query) struct HistogramMean {
    sum: HistogramSum,
    count: f64,
    running: bool,
}

impl HistogramMean {
    /// The mean of one.
    pub(in crate::query) fn of(first: FloatHistogram) -> Self {
        Self {
            sum: HistogramSum::of(first),
            count: 1.0,
            running: false,
        }
    }

    /// Takes another one in.
    ///
    /// # Errors
    /// When only one of them has custom buckets.
    pub(in crate::query) fn add(
        &mut self,
        other: &FloatHistogram,
    ) -> Result<Outcome, Incompatible> {
        self.count += 1.0;
        if !self.running {
            let before = self.may_overflow(other).then(|| self.sum.clone());
            let outcome = self.sum.add(other)?;
            match before {
                Some(before) if self.sum.overflows() => self.sum = before,
                _ => return Ok(outcome),
            }
            self.running = true;
            self.sum.divide(self.count - 1.0);
        }
        self.sum.multiply((self.count - 1.0) / self.count);
        let mut share = other.clone();
        share.divide(self.count);
        self.sum.add(&share)
    }

    /// Whether the next sum could be infinite: a copy is kept only then.
    fn may_overflow(&self, other: &FloatHistogram) -> bool {
        const LARGE: f64 = f64::MAX / 65_536.0;
        let large = |histogram: &FloatHistogram| {
            // Any bucket may be larger than the count, which is only what the sender says.
            let sides = histogram.positive.counts.iter();
            let sides = sides.chain(&histogram.negative.counts);
            [histogram.zero_count, histogram.count, histogram.sum]
                .iter()
                .chain(sides)
                .chain(histogram.custom_values.iter())
                .any(|number| number.abs() >= LARGE)
        };
        large(&self.sum.total) || large(other)
    }

    /// The mean of all.
    pub(in crate::query) fn mean(mut self) -> FloatHistogram {
        if !self.running {
            self.sum.divide(self.count);
        }
        self.sum.total()
    }

    /// Bytes of memory that it takes, about.
    pub(in crate::query) fn bytes(&self) -> usize {
        self.sum.bytes()
    }
}

/// A side in a coarser schema, and what was lost.
#[derive(Default)]
struct Reduced {
    side: Side,
    lost: Vec<f64>,
}

fn reduced(side: &Side, lost: &[f64], from: i32, to: i32) -> Reduced {
    let (mut at, mut counts, mut rest): (Vec<i32>, Vec<f64>, Vec<f64>) = Default::default();
    for ((index, count), lost) in side.iter().zip(lost) {
        let index = coarser(index, from, to);
        match (counts.last_mut(), rest.last_mut()) {
            (Some(sum), Some(kept)) if at.last() == Some(&index) => {
                increase(sum, kept, count);
                increase(sum, kept, *lost);
            }
            _ => {
                at.push(index);
                counts.push(count);
                rest.push(*lost);
            }
        }
    }
    Reduced {
        side: Side {
            at: at.into(),
            counts,
        },
        lost: rest,
    }
}

/// Adds a side, and what had been lost of it if anything was, but for its first buckets.
fn add_side(ours: &mut Side, lost: &mut Vec<f64>, theirs: &Side, extra: &Reduced, skip: usize) {
    let extra = |at: usize| extra.lost.get(at).copied().unwrap_or(0.0);
    if skip == 0 && ours.same_layout(theirs) {
        let pairs = ours.counts.iter_mut().zip(lost.iter_mut());
        for (at, ((ours, lost), theirs)) in pairs.zip(&theirs.counts).enumerate() {
            increase(ours, lost, *theirs);
            let extra = extra(at);
            if extra != 0.0 {
                increase(ours, lost, extra);
            }
        }
        return;
    }
    if theirs.len() <= skip {
        return;
    }
    let mut both = Vec::with_capacity(lost.len() + 4);
    let (mut our_place, mut their_place) = (0, skip);
    let united = ours.united(theirs.iter().skip(skip), |one, two| {
        let mut sum = match one {
            Some(sum) => Neumaier {
                sum,
                lost: lost.get(our_place).copied().unwrap_or(0.0),
            },
            None => Neumaier {
                sum: two.unwrap_or(0.0),
                lost: extra(their_place),
            },
        };
        if let (Some(_), Some(two)) = (one, two) {
            sum.add(two);
            let extra = extra(their_place);
            if extra != 0.0 {
                sum.add(extra);
            }
        }
        our_place += usize::from(one.is_some());
        their_place += usize::from(two.is_some());
        both.push(sum.lost);
        sum.sum
    });
    *ours = united;
    *lost = both;
}
