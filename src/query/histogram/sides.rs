//! The buckets on one side of zero: sorted indexes, and a count for each.
//!
//! The indexes are shared: histograms of one series, and what is calculated from them, have the
//! same ones nearly always, and then counts are added without looking at any index. A bucket may
//! be there with a count of zero, which is not the same to `==` as a bucket that is not there.

use std::sync::Arc;

use super::bounds::coarser;

/// The buckets on one side of zero, from zero outwards.
#[derive(Clone, Debug, Default)]
pub(super) struct Side {
    /// Rising.
    pub(super) at: Arc<[i32]>,
    /// As many.
    pub(super) counts: Vec<f64>,
}

impl Side {
    /// Of pairs with rising indexes.
    pub(super) fn of(pairs: impl Iterator<Item = (i32, f64)>) -> Self {
        let (at, counts): (Vec<i32>, Vec<f64>) = pairs.unzip();
        Self {
            at: at.into(),
            counts,
        }
    }

    /// How many buckets there are, those with a count of zero included.
    pub(super) fn len(&self) -> usize {
        self.counts.len()
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// Indexes and counts.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (i32, f64)> + '_ {
        self.at.iter().copied().zip(self.counts.iter().copied())
    }

    /// Whether both have the same buckets.
    pub(super) fn same_layout(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.at, &other.at) || self.at == other.at
    }

    /// Without buckets whose count is zero.
    pub(super) fn compact(&mut self) {
        if self.counts.iter().all(|count| *count != 0.0) {
            return;
        }
        *self = Self::of(self.iter().filter(|(_, count)| *count != 0.0));
    }

    /// The same in a coarser schema.
    pub(super) fn reduced(&self, from: i32, to: i32) -> Self {
        if from == to || self.is_empty() {
            return self.clone();
        }
        let (mut at, mut counts): (Vec<i32>, Vec<f64>) = (Vec::new(), Vec::new());
        for (index, count) in self.iter() {
            let index = coarser(index, from, to);
            match counts.last_mut() {
                Some(last) if at.last() == Some(&index) => *last += count,
                _ => {
                    at.push(index);
                    counts.push(count);
                }
            }
        }
        Self {
            at: at.into(),
            counts,
        }
    }

    /// Bucket by bucket what `both` makes of the two counts (`None`: no such bucket there).
    pub(super) fn united(
        &self,
        other: impl Iterator<Item = (i32, f64)>,
        mut both: impl FnMut(Option<f64>, Option<f64>) -> f64,
    ) -> Self {
        let mut at = Vec::with_capacity(self.len() + 4);
        let mut counts = Vec::with_capacity(self.len() + 4);
        let mut ours = self.iter().peekable();
        let mut theirs = other.peekable();
        loop {
            let (index, left, right) = match (ours.peek(), theirs.peek()) {
                (None, None) => break,
                (Some(one), None) => (one.0, Some(one.1), None),
                (None, Some(two)) => (two.0, None, Some(two.1)),
                (Some(one), Some(two)) if one.0 < two.0 => (one.0, Some(one.1), None),
                (Some(one), Some(two)) if one.0 > two.0 => (two.0, None, Some(two.1)),
                (Some(one), Some(two)) => (one.0, Some(one.1), Some(two.1)),
            };
            if left.is_some() {
                ours.next();
            }
            if right.is_some() {
                theirs.next();
            }
            at.push(index);
            counts.push(both(left, right));
        }
        Self {
            at: at.into(),
            counts,
        }
    }
}

/// What rounding has lost of each number of a histogram, bucket by bucket.
#[derive(Clone, Debug, Default)]
pub(super) struct Lost {
    /// Of the zero bucket.
    pub(super) zero_count: f64,
    /// Of the number of observations.
    pub(super) count: f64,
    /// Of their sum.
    pub(super) sum: f64,
    /// Of the positive buckets.
    pub(super) positive: Vec<f64>,
    /// Of the negative buckets.
    pub(super) negative: Vec<f64>,
}

impl Lost {
    /// Changes every number.
    pub(super) fn each(&mut self, change: impl Fn(&mut f64)) {
        [&mut self.zero_count, &mut self.count, &mut self.sum]
            .into_iter()
            .for_each(&change);
        self.positive.iter_mut().for_each(&change);
        self.negative.iter_mut().for_each(&change);
    }
}
