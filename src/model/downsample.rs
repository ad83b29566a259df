//! Downsampling a series: of every interval the last sample stays, true to its timestamp, and what was
//! before it becomes its fold.
//!
//! Folding what was folded is the same as folding what it came from: counts and sums add up, the
//! smallest of the smallest is the smallest, and falls are found between the last of one fold and the
//! first of the next. Sums are floats: they agree as far as their additions are exact.
//!
//! A stale marker stays where it ends an interval, behind the last sample; one with samples after it
//! in its interval goes and is counted nowhere.

use super::fold::{CounterFold, Fold, Resolution, extreme};
use super::{Samples, TimestampMs, Value, is_stale};

/// A counter falls when its process begins anew. A series that falls more often than once in so many
/// samples (and once more) is none.
const COUNTER_FALLS: usize = 64;

/// The samples of a series at a resolution. `None`: it stays as it is, because it holds
/// native histograms, or there is nothing to fold.
#[must_use]
pub fn downsample(samples: &Samples, to: Resolution) -> Option<Samples> {
    if to == Resolution::Raw || !samples.histograms.is_empty() {
        return None;
    }
    let mut thinning = Thinning {
        samples,
        to,
        counter: looks_like_counter(samples),
        passed: 0,
        out: Samples::default(),
    };
    let mut from = 0;
    while let Some(first) = samples.timestamps.get(from) {
        let rest = samples.timestamps.get(from..).unwrap_or_default();
        let end = to.before_interval(*first).saturating_add(to.ms());
        let len = rest.partition_point(|at| *at <= end).max(1);
        thinning.interval(from, from + len);
        from += len;
    }
    let out = thinning.out;
    (out.len() < samples.len() || out.folds != samples.folds).then_some(out)
}

/// How many samples these are and stand for, stale markers not counted.
#[must_use]
pub fn weight(samples: &Samples) -> u64 {
    let shown = samples.values.iter().filter(|value| !is_stale(**value));
    let folded = samples.folds.iter().map(|(_, fold)| u64::from(fold.count));
    shown.count() as u64 + folded.sum::<u64>()
}

/// Whether what is not folded yet looks like a counter: what is folded is one, or it hardly ever falls.
fn looks_like_counter(samples: &Samples) -> bool {
    if !samples.folds.is_empty() {
        return samples.folds.iter().all(|(_, fold)| fold.counter.is_some());
    }
    let mut real = samples.values.iter().filter(|value| !is_stale(**value));
    let Some(mut last) = real.next() else {
        return false;
    };
    let (mut pairs, mut falls) = (0, 0);
    for value in real {
        pairs += 1;
        falls += usize::from(value < last);
        last = value;
    }
    falls <= 1 + pairs / COUNTER_FALLS
}

struct Thinning<'a> {
    samples: &'a Samples,
    to: Resolution,
    /// What is not folded yet is a counter.
    counter: bool,
    /// Folds of rows that were looked at.
    passed: usize,
    out: Samples,
}

impl Thinning<'_> {
    /// Folds some rows: those of an interval.
    fn interval(&mut self, from: usize, to: usize) {
        let samples = self.samples;
        let value = |row: usize| samples.values.get(row).copied();
        let kept = (from..to)
            .rev()
            .find(|row| value(*row).is_some_and(|value| !is_stale(value)));
        let mut gathered = Gathered::new(self.to, self.counter);
        for row in from..to {
            let fold = self.fold_of(row);
            let (Some(at), Some(value)) = (samples.timestamps.get(row), value(row)) else {
                continue;
            };
            if kept.is_some_and(|kept| row <= kept) {
                gathered.add((*at, value), fold, kept == Some(row));
            }
            if kept == Some(row) || (row + 1 == to && is_stale(value)) {
                let fold = gathered.take().filter(|_| kept == Some(row));
                if let Some(fold) = fold {
                    let place = u32::try_from(self.out.len()).unwrap_or(u32::MAX);
                    self.out.folds.push((place, fold));
                }
                let start = samples.starts.get(row).copied().unwrap_or(0);
                self.out
                    .push(TimestampMs(*at), Value::Float(value), TimestampMs(start));
            }
        }
    }

    /// The fold of a row; rows are asked for in order.
    fn fold_of(&mut self, row: usize) -> Option<Fold> {
        let (at, fold) = self.samples.folds.get(self.passed)?;
        if *at as usize != row {
            return None;
        }
        self.passed += 1;
        Some(*fold)
    }
}

/// The fold that is being made.
struct Gathered {
    resolution: Resolution,
    count: u32,
    sum: f64,
    min: f64,
    max: f64,
    counter: bool,
    /// What is not folded yet is a counter.
    plain_counter: bool,
    kept_at: i64,
    first: Option<(i64, f64)>,
    last: Option<f64>,
    lost: f64,
}

impl Gathered {
    const fn new(resolution: Resolution, plain_counter: bool) -> Self {
        Self {
            resolution,
            count: 0,
            sum: 0.0,
            min: f64::NAN,
            max: f64::NAN,
            counter: true,
            plain_counter,
            kept_at: 0,
            first: None,
            last: None,
            lost: 0.0,
        }
    }

    /// Adds a sample with its fold; of the one that is kept only the fold is counted.
    fn add(&mut self, (at, value): (i64, f64), fold: Option<Fold>, kept: bool) {
        if let Some(fold) = fold {
            self.resolution = self.resolution.max(fold.resolution);
            self.count(fold.count, fold.sum, (fold.min, fold.max));
        }
        if is_stale(value) {
            return;
        }
        self.chain((at, value), fold);
        if kept {
            self.kept_at = at;
        } else {
            self.counter &= fold.is_some() || self.plain_counter;
            self.count(1, value, (value, value));
        }
    }

    fn count(&mut self, count: u32, sum: f64, (min, max): (f64, f64)) {
        self.min = extreme(self.min, min, min < self.min);
        self.max = extreme(self.max, max, max > self.max);
        self.sum = if self.count == 0 { sum } else { self.sum + sum };
        self.count = self.count.saturating_add(count);
    }

    /// What rates need, sample after sample.
    fn chain(&mut self, (at, value): (i64, f64), fold: Option<Fold>) {
        let folded = fold.map(|fold| fold.counter);
        let (first_at, first) = match folded {
            Some(Some(counter)) => (at - i64::from(counter.first_before_ms), counter.first),
            Some(None) => {
                self.counter = false;
                (at, value)
            }
            None => (at, value),
        };
        if let Some(last) = self.last.filter(|last| first < *last) {
            self.lost += last;
        }
        if let Some(Some(counter)) = folded {
            self.lost += counter.lost;
        }
        self.first.get_or_insert((first_at, first));
        self.last = Some(value);
    }

    fn take(&mut self) -> Option<Fold> {
        let first = self.first.filter(|_| self.counter);
        let counter = first.and_then(|(at, first)| {
            Some(CounterFold {
                first_before_ms: u32::try_from(self.kept_at.checked_sub(at)?).ok()?,
                first,
                lost: self.lost,
            })
        });
        (self.count > 0).then_some(Fold {
            resolution: self.resolution,
            count: self.count,
            sum: self.sum,
            min: self.min,
            max: self.max,
            counter,
        })
    }
}

#[cfg(test)]
mod tests;
