//! Samples: values at times, and the order that settles two values for one time.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::stale::is_stale;
use super::{Buckets, Fold, Histogram, ResetHint, Resolution, TimeRange, TimestampMs};

/// What a sample holds. A histogram is shared, never changed.
#[derive(Clone, Debug)]
pub enum Value {
    /// A float, or the stale marker.
    Float(f64),
    /// A native histogram, or a stale marker in its form.
    Histogram(Arc<Histogram>),
}

impl Value {
    /// Whether this is a stale marker of either kind.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        match self {
            Self::Float(value) => is_stale(*value),
            Self::Histogram(histogram) => histogram.is_stale(),
        }
    }

    /// The canonical encoding that decides between two values of one kind: a float's 64 bits, a
    /// histogram's fields, all big-endian. `docs/format.md` fixes it; it is hashed into digests.
    pub fn canonical(&self, out: &mut Vec<u8>) {
        match self {
            Self::Float(value) => out.extend_from_slice(&value.to_bits().to_be_bytes()),
            Self::Histogram(histogram) => canonical_histogram(histogram, out),
        }
    }
}

/// Kind (0 integer, 1 float), reset hint, schema with its sign flipped to sort, then every number
/// with its bits; lists with their length before them.
fn canonical_histogram(histogram: &Histogram, out: &mut Vec<u8>) {
    let list = |out: &mut Vec<u8>, len: usize| {
        out.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes());
    };
    let hint = match histogram.reset_hint {
        ResetHint::Unknown => 0,
        ResetHint::Yes => 1,
        ResetHint::No => 2,
        ResetHint::Gauge => 3,
    };
    out.push(u8::from(matches!(histogram.buckets, Buckets::Float { .. })));
    out.push(hint);
    out.extend_from_slice(&histogram.schema.wrapping_sub(i32::MIN).to_be_bytes());
    out.extend_from_slice(&histogram.zero_threshold.to_bits().to_be_bytes());
    out.extend_from_slice(&histogram.sum.to_bits().to_be_bytes());
    for spans in [&histogram.positive_spans, &histogram.negative_spans] {
        list(out, spans.len());
        for span in spans {
            out.extend_from_slice(&span.offset.to_be_bytes());
            out.extend_from_slice(&span.length.to_be_bytes());
        }
    }
    list(out, histogram.custom_values.len());
    for bound in &histogram.custom_values {
        out.extend_from_slice(&bound.to_bits().to_be_bytes());
    }
    match &histogram.buckets {
        Buckets::Integer {
            count,
            zero_count,
            positive,
            negative,
        } => {
            out.extend_from_slice(&count.to_be_bytes());
            out.extend_from_slice(&zero_count.to_be_bytes());
            for deltas in [positive, negative] {
                list(out, deltas.len());
                for delta in deltas {
                    out.extend_from_slice(&delta.to_be_bytes());
                }
            }
        }
        Buckets::Float {
            count,
            zero_count,
            positive,
            negative,
        } => {
            out.extend_from_slice(&count.to_bits().to_be_bytes());
            out.extend_from_slice(&zero_count.to_bits().to_be_bytes());
            for counts in [positive, negative] {
                list(out, counts.len());
                for count in counts {
                    out.extend_from_slice(&count.to_bits().to_be_bytes());
                }
            }
        }
    }
}

/// Which of two values of one series and timestamp is shown (`Greater`: the first): a real value
/// before a stale marker, then a histogram before a float, then the larger canonical encoding,
/// then the later start timestamp. `Equal` means that they are the same sample.
#[must_use]
pub fn settle(one: (&Value, TimestampMs), other: (&Value, TimestampMs)) -> Ordering {
    let rank = |value: &Value| (!value.is_stale(), matches!(value, Value::Histogram(_)));
    rank(one.0)
        .cmp(&rank(other.0))
        .then_with(|| match (one.0, other.0) {
            (Value::Float(a), Value::Float(b)) => a.to_bits().cmp(&b.to_bits()),
            (a, b) => {
                let (mut left, mut right) = (Vec::new(), Vec::new());
                a.canonical(&mut left);
                b.canonical(&mut right);
                left.cmp(&right)
            }
        })
        .then_with(|| one.1.cmp(&other.1))
}

/// The samples of one series, oldest first, one per timestamp, as columns.
///
/// Floats are the common case and cost 16 bytes each here. Where a histogram stands, `values` has
/// a zero and `histograms` the histogram with its position; `starts` is empty when no sample has
/// a start timestamp, else as long as the others (0: none). `folds` is empty but for samples that were
/// downsampled: no sample that has none lies in the interval before one that has.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    /// Milliseconds since the epoch, strictly rising.
    pub timestamps: Vec<i64>,
    /// Float values (stale markers included).
    pub values: Vec<f64>,
    /// Positions that hold a histogram instead, rising.
    pub histograms: Vec<(u32, Arc<Histogram>)>,
    /// Start timestamps in milliseconds, or empty.
    pub starts: Vec<i64>,
    /// Positions of samples that stand for others too, rising.
    pub folds: Vec<(u32, Fold)>,
}

impl Samples {
    /// Makes room for so many floats more.
    pub fn reserve(&mut self, more: usize) {
        self.timestamps.reserve(more);
        self.values.reserve(more);
    }

    /// A test's floats.
    #[cfg(test)]
    pub(crate) fn of_floats(pairs: &[(i64, f64)]) -> Self {
        let mut samples = Self::default();
        for (at, value) in pairs {
            samples.push(TimestampMs(*at), Value::Float(*value), TimestampMs(0));
        }
        samples
    }

    /// How many samples there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.timestamps.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.timestamps.is_empty()
    }

    /// Forgets all samples and keeps the memory.
    pub fn clear(&mut self) {
        self.timestamps.clear();
        self.values.clear();
        self.histograms.clear();
        self.starts.clear();
        self.folds.clear();
    }

    /// Adds a sample at the end; its timestamp must be later than the last one's.
    pub fn push(&mut self, at: TimestampMs, value: Value, start: TimestampMs) {
        debug_assert!(self.timestamps.last().is_none_or(|last| *last < at.0));
        if start.0 != 0 || !self.starts.is_empty() {
            self.starts.resize(self.timestamps.len(), 0);
            self.starts.push(start.0);
        }
        self.timestamps.push(at.0);
        match value {
            Value::Float(value) => self.values.push(value),
            Value::Histogram(histogram) => {
                let position = u32::try_from(self.values.len()).unwrap_or(u32::MAX);
                self.histograms.push((position, histogram));
                self.values.push(0.0);
            }
        }
    }

    /// The sample at a position, with its start timestamp (0: none).
    #[must_use]
    pub fn get(&self, at: usize) -> Option<(TimestampMs, Value, TimestampMs)> {
        let timestamp = TimestampMs(*self.timestamps.get(at)?);
        let start = TimestampMs(self.starts.get(at).copied().unwrap_or(0));
        let position = u32::try_from(at).ok()?;
        let value = match self
            .histograms
            .binary_search_by_key(&position, |entry| entry.0)
        {
            Ok(found) => Value::Histogram(self.histograms.get(found)?.1.clone()),
            Err(_) => Value::Float(*self.values.get(at)?),
        };
        Some((timestamp, value, start))
    }

    /// All samples in order.
    pub fn iter(&self) -> impl Iterator<Item = (TimestampMs, Value, TimestampMs)> + '_ {
        (0..self.len()).filter_map(|at| self.get(at))
    }

    /// The union of two sets of samples; [`settle`] decides where both have a timestamp, and what a fold
    /// of either covers goes. Returns how many timestamps had two different values.
    pub fn merge(&mut self, other: &Self) -> usize {
        if self.folds.is_empty() && other.folds.is_empty() {
            return self.merge_rows(other);
        }
        self.merge_folded(other)
    }

    /// [`Samples::merge`] where some samples have folds.
    fn merge_folded(&mut self, other: &Self) -> usize {
        let by_time = |samples: &Self| -> BTreeMap<i64, Fold> {
            let at = |row: u32| samples.timestamps.get(row as usize).copied();
            let folds = samples.folds.iter();
            folds
                .filter_map(|(row, fold)| Some((at(*row)?, *fold)))
                .collect()
        };
        let reaches_back = |(row, fold): &(u32, Fold)| {
            let at = other.timestamps.get(*row as usize);
            at.map(|at| fold.resolution.before_interval(*at)) < self.timestamps.last().copied()
        };
        let later = self.timestamps.last() < other.timestamps.first();
        if later && !other.folds.iter().any(reaches_back) {
            let offset = u32::try_from(self.len()).unwrap_or(u32::MAX);
            self.extend_later(other);
            let moved = other.folds.iter();
            self.folds
                .extend(moved.map(|(at, fold)| (at.saturating_add(offset), *fold)));
            return 0;
        }
        let mut folds = by_time(self);
        for (at, fold) in by_time(other) {
            let known = folds.entry(at).or_insert(fold);
            *known = known.settled(fold);
        }
        self.folds.clear();
        let conflicts = self.merge_rows(other);
        for (row, at) in (0u32..).zip(&self.timestamps) {
            if let Some(fold) = folds.get(at) {
                self.folds.push((row, *fold));
            }
        }
        self.leave_out_covered();
        conflicts
    }

    /// Leaves out what a fold stands for: samples before it in its interval, with no fold of their own or
    /// a finer one.
    fn leave_out_covered(&mut self) {
        let mut folds = self.folds.iter().rev().peekable();
        // From when on something is covered, by the resolution of what covers it.
        let mut from = [i64::MAX; Resolution::FOLDED.len()];
        let mut keep = vec![true; self.len()];
        for (row, (at, keep)) in self.timestamps.iter().zip(&mut keep).enumerate().rev() {
            let fold = folds.next_if(|(place, _)| *place as usize == row);
            let fold = fold.map(|(_, fold)| fold.resolution);
            let each = Resolution::FOLDED.iter().zip(&mut from);
            for (resolution, from) in each {
                *keep &= *at <= *from || fold.is_some_and(|fold| fold >= *resolution);
            }
            let each = Resolution::FOLDED.iter().zip(&mut from);
            for (_, from) in each.filter(|(of, _)| *keep && fold == Some(**of)) {
                *from = fold.map_or(*from, |fold| fold.before_interval(*at));
            }
        }
        self.retain(&keep);
    }

    /// Leaves out rows; there is a word for each.
    pub fn retain(&mut self, keep: &[bool]) {
        if keep.iter().all(|keep| *keep) {
            return;
        }
        let mut place = 0;
        let places: Vec<u32> = keep
            .iter()
            .map(|keep| {
                let at = place;
                place += u32::from(*keep);
                at
            })
            .collect();
        let kept = |row: usize| keep.get(row).copied().unwrap_or(false);
        let moved = |at: &mut u32| {
            let row = *at as usize;
            *at = places.get(row).copied().unwrap_or(*at);
            kept(row)
        };
        self.histograms.retain_mut(|(at, _)| moved(at));
        self.folds.retain_mut(|(at, _)| moved(at));
        for column in [&mut self.timestamps, &mut self.starts] {
            let mut row = 0..;
            column.retain(|_| row.next().is_some_and(kept));
        }
        let mut row = 0..;
        self.values.retain(|_| row.next().is_some_and(kept));
    }

    fn merge_rows(&mut self, other: &Self) -> usize {
        if other.is_empty() {
            return 0;
        }
        if self.timestamps.last() < other.timestamps.first() {
            self.extend_later(other);
            return 0;
        }
        if [&*self, other].iter().all(|samples| samples.are_floats()) {
            return self.merge_floats(other);
        }
        let (mut merged, mut conflicts) = (Self::default(), 0);
        let (mut ours, mut theirs) = (self.iter().peekable(), other.iter().peekable());
        loop {
            let next = match (ours.peek(), theirs.peek()) {
                (Some(a), Some(b)) => match a.0.cmp(&b.0) {
                    Ordering::Less => ours.next(),
                    Ordering::Greater => theirs.next(),
                    Ordering::Equal => {
                        let (a, b) = (ours.next(), theirs.next());
                        match (&a, &b) {
                            (Some(x), Some(y)) => match settle((&x.1, x.2), (&y.1, y.2)) {
                                Ordering::Equal => a,
                                Ordering::Greater => {
                                    conflicts += 1;
                                    a
                                }
                                Ordering::Less => {
                                    conflicts += 1;
                                    b
                                }
                            },
                            _ => a,
                        }
                    }
                },
                (Some(_), None) => ours.next(),
                (None, _) => theirs.next(),
            };
            let Some((at, value, start)) = next else {
                break;
            };
            merged.push(at, value, start);
        }
        drop((ours, theirs));
        *self = merged;
        conflicts
    }

    /// Whether there are neither histograms nor start timestamps.
    fn are_floats(&self) -> bool {
        self.histograms.is_empty() && self.starts.is_empty()
    }

    /// [`Samples::merge`] of floats alone, which nearly all samples are.
    fn merge_floats(&mut self, other: &Self) -> usize {
        let room = self.len() + other.len();
        let (mut timestamps, mut values) = (Vec::with_capacity(room), Vec::with_capacity(room));
        let mut conflicts = 0;
        let ours = self.timestamps.iter().zip(&self.values);
        let theirs = other.timestamps.iter().zip(&other.values);
        let (mut ours, mut theirs) = (ours.peekable(), theirs.peekable());
        loop {
            let next = match (ours.peek(), theirs.peek()) {
                (Some(a), Some(b)) => match a.0.cmp(b.0) {
                    Ordering::Less => ours.next(),
                    Ordering::Greater => theirs.next(),
                    Ordering::Equal => {
                        let (a, b) = (Value::Float(*a.1), Value::Float(*b.1));
                        let order = settle((&a, TimestampMs(0)), (&b, TimestampMs(0)));
                        conflicts += usize::from(order != Ordering::Equal);
                        let (ours, theirs) = (ours.next(), theirs.next());
                        if order == Ordering::Less {
                            theirs
                        } else {
                            ours
                        }
                    }
                },
                (Some(_), None) => ours.next(),
                (None, _) => theirs.next(),
            };
            let Some((at, value)) = next else {
                break;
            };
            timestamps.push(*at);
            values.push(*value);
        }
        (self.timestamps, self.values) = (timestamps, values);
        conflicts
    }

    /// Appends samples that all lie after the last one here.
    fn extend_later(&mut self, other: &Self) {
        let offset = u32::try_from(self.len()).unwrap_or(u32::MAX);
        if !self.starts.is_empty() || !other.starts.is_empty() {
            self.starts.resize(self.len(), 0);
            self.starts.extend_from_slice(&other.starts);
            self.starts.resize(self.len() + other.len(), 0);
        }
        self.timestamps.extend_from_slice(&other.timestamps);
        self.values.extend_from_slice(&other.values);
        self.histograms.extend(
            other
                .histograms
                .iter()
                .map(|(at, histogram)| (at.saturating_add(offset), histogram.clone())),
        );
    }

    /// Leaves out the samples in a range, and says how many it were.
    pub fn cut_out(&mut self, range: TimeRange) -> usize {
        let from = self.timestamps.partition_point(|at| *at < range.start.0);
        let to = self.timestamps.partition_point(|at| *at <= range.end.0);
        if to <= from {
            return 0;
        }
        self.timestamps.drain(from..to);
        self.values.drain(from..to);
        let starts = self.starts.len();
        self.starts.drain(from.min(starts)..to.min(starts));
        let gone = u32::try_from(to - from).unwrap_or(u32::MAX);
        let stays = |at: &mut u32| {
            let position = *at as usize;
            if position >= to {
                *at = at.wrapping_sub(gone);
            }
            !(from..to).contains(&position)
        };
        self.histograms.retain_mut(|(at, _)| stays(at));
        self.folds.retain_mut(|(at, _)| stays(at));
        to - from
    }

    /// Keeps only the samples in a range.
    pub fn clip(&mut self, range: TimeRange) {
        let from = self.timestamps.partition_point(|at| *at < range.start.0);
        let to = self
            .timestamps
            .partition_point(|at| *at <= range.end.0)
            .max(from);
        if from == 0 && to == self.len() {
            return;
        }
        let keep = |column: &mut Vec<i64>| {
            column.truncate(to);
            column.drain(..from.min(column.len()));
        };
        keep(&mut self.timestamps);
        keep(&mut self.starts);
        self.values.truncate(to);
        self.values.drain(..from.min(self.values.len()));
        let stays = |at: &mut u32| {
            let position = *at as usize;
            *at = at.wrapping_sub(u32::try_from(from).unwrap_or(u32::MAX));
            (from..to).contains(&position)
        };
        self.histograms.retain_mut(|(at, _)| stays(at));
        self.folds.retain_mut(|(at, _)| stays(at));
    }
}

/// Equal to the bit: NaNs with equal bits are equal here.
impl PartialEq for Samples {
    fn eq(&self, other: &Self) -> bool {
        let bits =
            |samples: &Self| -> Vec<u64> { samples.values.iter().map(|v| v.to_bits()).collect() };
        self.timestamps == other.timestamps
            && bits(self) == bits(other)
            && self.starts.iter().copied().filter(|s| *s != 0).eq(other
                .starts
                .iter()
                .copied()
                .filter(|s| *s != 0))
            && self
                .iter()
                .zip(other.iter())
                .all(|(a, b)| settle((&a.1, a.2), (&b.1, b.2)) == Ordering::Equal)
            && self.histograms.len() == other.histograms.len()
            && self.folds == other.folds
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::stale_nan;

    #[test]
    fn a_real_value_wins_over_a_stale_marker_and_the_larger_bits_win() {
        let none = TimestampMs(0);
        let check = |a: f64, b: f64, want| {
            assert_eq!(
                settle((&Value::Float(a), none), (&Value::Float(b), none)),
                want
            );
        };
        check(1.0, stale_nan(), Ordering::Greater);
        check(1.0, 2.0, Ordering::Less);
        check(-1.0, 2.0, Ordering::Greater);
        check(f64::NAN, f64::NAN, Ordering::Equal);
    }

    #[test]
    fn a_union_is_commutative_and_counts_conflicts() {
        let (a, b) = (
            Samples::of_floats(&[(1, 1.0), (3, 3.0)]),
            Samples::of_floats(&[(2, 2.0), (3, 4.0), (5, 5.0)]),
        );
        let (mut left, mut right) = (a.clone(), b.clone());
        assert_eq!(left.merge(&b), 1);
        assert_eq!(right.merge(&a), 1);
        assert_eq!(left, right);
        assert_eq!(
            left,
            Samples::of_floats(&[(1, 1.0), (2, 2.0), (3, 4.0), (5, 5.0)])
        );
    }

    proptest::proptest! {
        /// Floats alone are merged by themselves: against one sample after the other.
        #[test]
        fn floats_are_merged_as_single_samples_are(
            one in proptest::collection::btree_map(0i64..30, 0usize..3, 0..20),
            other in proptest::collection::btree_map(0i64..30, 0usize..3, 0..20),
        ) {
            let bits = [crate::model::STALE_NAN_BITS, f64::NAN.to_bits(), 1.0f64.to_bits()];
            let of = |map: &std::collections::BTreeMap<i64, usize>| {
                let pairs = map.iter().map(|(at, which)| (*at, f64::from_bits(bits[*which])));
                Samples::of_floats(&pairs.collect::<Vec<_>>())
            };
            let (one, other) = (of(&one), of(&other));
            let (mut single, mut conflicts) = (one.clone(), 0);
            for (at, value, start) in other.iter() {
                let place = single.timestamps.partition_point(|known| *known < at.0);
                if single.timestamps.get(place) != Some(&at.0) {
                    single.timestamps.insert(place, at.0);
                    single.values.insert(place, 0.0);
                } else {
                    let (_, known, began) = single.get(place).unwrap();
                    let order = settle((&known, began), (&value, start));
                    conflicts += usize::from(order != Ordering::Equal);
                    if order != Ordering::Less {
                        continue;
                    }
                }
                if let Value::Float(value) = value {
                    single.values[place] = value;
                }
            }
            let mut merged = one;
            proptest::prop_assert_eq!(merged.merge(&other), conflicts);
            proptest::prop_assert_eq!(merged, single);
        }
    }

    #[test]
    fn clipping_keeps_both_ends() {
        let mut samples = Samples::of_floats(&[(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0)]);
        samples.clip(TimeRange::new(TimestampMs(2), TimestampMs(3)));
        assert_eq!(samples, Samples::of_floats(&[(2, 2.0), (3, 3.0)]));
    }

    #[test]
    fn start_timestamps_appear_when_the_first_one_does() {
        let mut samples = Samples::of_floats(&[(1, 1.0)]);
        assert!(samples.starts.is_empty());
        samples.push(TimestampMs(2), Value::Float(2.0), TimestampMs(1));
        assert_eq!(samples.starts, [0, 1]);
    }
}
