//! Functions over windows of downsampled samples, by what these stand for (`model::Fold`).
//!
//! A fold counts for the window in which its sample lies, so where both ends of a window are ends of intervals
//! these give what the samples that went would have given: sums to rounding, the rest exactly. A window that cuts
//! intervals gives what the whole intervals come to that end in it, as a window a little earlier would: rates
//! and increases are those of the time that these cover, so that they do not fall short by what is cut away.

use super::rate::{Covered, DELTA, INCREASE, Kind, RATE};
use super::shape::{RangeWindow, Reach};
use crate::model::{Fold, Resolution, extreme};
use crate::query::sum::Neumaier;

/// The folds of a window's samples.
#[derive(Clone, Copy, Debug)]
pub struct FoldWindow<'a> {
    /// The position in the series of the window's first sample.
    pub first_row: usize,
    /// Folds with their samples' positions in the series.
    pub folds: &'a [(u32, Fold)],
}

/// What comes of a window with folds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Folded {
    /// The result, if there is one, made from all samples.
    OfAll(Option<f64>),
    /// These folds do not say enough: it is to be made from the samples that are left, as if they were all.
    TooLittle,
}

/// What a function makes of a window with folds.
pub type OverFolds = fn(&RangeWindow<'_>, &FoldWindow<'_>) -> Folded;

impl<'a> FoldWindow<'a> {
    /// Folds of a window that begins and ends at these positions.
    pub(in crate::query) fn of(all: &'a [(u32, Fold)], from: usize, to: usize) -> Self {
        let place = |row: usize| all.partition_point(|(at, _)| (*at as usize) < row);
        Self {
            first_row: from,
            folds: all.get(place(from)..place(to)).unwrap_or_default(),
        }
    }

    /// The coarsest resolution of them.
    pub(in crate::query) fn coarsest(&self) -> Resolution {
        let all = self.each().map(|fold| fold.resolution);
        all.max().unwrap_or_default()
    }

    fn each(&self) -> impl Iterator<Item = &'a Fold> {
        self.folds.iter().map(|(_, fold)| fold)
    }

    fn counted(&self) -> f64 {
        self.each().map(|fold| f64::from(fold.count)).sum()
    }
}

pub(super) fn count(window: &RangeWindow<'_>, folds: &FoldWindow<'_>) -> Folded {
    Folded::OfAll(counted(window, folds))
}

fn counted(window: &RangeWindow<'_>, folds: &FoldWindow<'_>) -> Option<f64> {
    let shown = window.values.len() as f64;
    (shown > 0.0).then_some(shown + folds.counted())
}

fn total(window: &RangeWindow<'_>, folds: &FoldWindow<'_>) -> f64 {
    let mut sum = Neumaier::default();
    window.values.iter().for_each(|value| sum.add(*value));
    folds.each().for_each(|fold| sum.add(fold.sum));
    sum.total()
}

pub(super) fn sum(window: &RangeWindow<'_>, folds: &FoldWindow<'_>) -> Folded {
    let any = !window.values.is_empty();
    Folded::OfAll(any.then(|| total(window, folds)))
}

pub(super) fn avg(window: &RangeWindow<'_>, folds: &FoldWindow<'_>) -> Folded {
    Folded::OfAll(counted(window, folds).map(|count| total(window, folds) / count))
}

pub(super) fn max(window: &RangeWindow<'_>, folds: &FoldWindow<'_>) -> Folded {
    let all = window.values.iter().copied();
    let all = all.chain(folds.each().map(|fold| fold.max));
    Folded::OfAll(all.reduce(|best, value| extreme(best, value, value > best)))
}

pub(super) fn min(window: &RangeWindow<'_>, folds: &FoldWindow<'_>) -> Folded {
    let all = window.values.iter().copied();
    let all = all.chain(folds.each().map(|fold| fold.min));
    Folded::OfAll(all.reduce(|best, value| extreme(best, value, value < best)))
}

pub(super) fn last(window: &RangeWindow<'_>, _: &FoldWindow<'_>) -> Folded {
    Folded::OfAll(window.values.last().copied())
}

pub(super) fn present(window: &RangeWindow<'_>, _: &FoldWindow<'_>) -> Folded {
    Folded::OfAll(window.values.first().map(|_| 1.0))
}

pub(super) fn rate(window: &RangeWindow<'_>, folds: &FoldWindow<'_>) -> Folded {
    extrapolated(window, folds, RATE)
}

pub(super) fn increase(window: &RangeWindow<'_>, folds: &FoldWindow<'_>) -> Folded {
    extrapolated(window, folds, INCREASE)
}

pub(super) fn delta(window: &RangeWindow<'_>, folds: &FoldWindow<'_>) -> Folded {
    extrapolated(window, folds, DELTA)
}

/// What is gathered along a window.
#[derive(Default)]
struct Chain {
    first: Option<(i64, f64)>,
    last: Option<(i64, f64)>,
    lost: f64,
    samples: u64,
}

impl Chain {
    /// Adds a sample and what it stands for.
    fn add(&mut self, (at, value): (i64, f64), fold: Option<&Fold>) {
        self.samples += 1;
        let counter = fold.and_then(|fold| Some((fold, fold.counter?)));
        let mut first = (at, value);
        if let Some((fold, counter)) = counter {
            let span = i64::from(counter.first_before_ms);
            first = (at.saturating_sub(span), counter.first);
            self.fall_to(counter.first);
            self.lost += counter.lost;
            self.samples += u64::from(fold.count);
        } else {
            self.fall_to(value);
        }
        self.first.get_or_insert(first);
        self.last = Some((at, value));
    }

    fn fall_to(&mut self, value: f64) {
        if let Some((_, last)) = self.last.filter(|(_, last)| value < *last) {
            self.lost += last;
        }
    }
}

/// The window of the whole intervals that end in a window that cuts some: it begins where the interval of its first
/// sample does, and ends where that of its last one does.
fn whole<'a>(window: &RangeWindow<'a>, folds: &FoldWindow<'_>) -> RangeWindow<'a> {
    let mut whole = *window;
    let last_row = folds.first_row + window.values.len().saturating_sub(1);
    let of_row = |fold: Option<&(u32, Fold)>, row: usize| {
        let (place, fold) = *fold?;
        (place as usize == row).then_some(fold)
    };
    let first = of_row(folds.folds.first(), folds.first_row).zip(window.timestamps.first());
    if let Some((fold, at)) = first {
        let span = fold.counter.map_or(0, |counter| counter.first_before_ms);
        if at.saturating_sub(i64::from(span)) <= window.range_start_ms {
            whole.range_start_ms = fold.resolution.before_interval(*at);
        }
    }
    let last = of_row(folds.folds.last(), last_row).zip(window.timestamps.last());
    if let Some((fold, at)) = last {
        // A series that has ended before is not made longer.
        let cut = window.range_end_ms.rem_euclid(fold.resolution.ms());
        let end = fold.resolution.before_interval(*at) + fold.resolution.ms();
        if cut > 0 && end == window.range_end_ms.saturating_sub(cut) {
            whole.range_end_ms = end;
        }
    }
    whole
}

fn extrapolated(window: &RangeWindow<'_>, folds: &FoldWindow<'_>, kind: Kind) -> Folded {
    let counters = folds.each().all(|fold| fold.counter.is_some());
    if !counters || window.reach != Reach::Within || !window.starts.is_empty() {
        return Folded::TooLittle;
    }
    let whole = whole(window, folds);
    let mut chain = Chain::default();
    let mut next = folds.folds.iter().peekable();
    let samples = window.timestamps.iter().zip(window.values);
    for (row, (at, value)) in (folds.first_row..).zip(samples) {
        let fold = next.next_if(|(place, _)| *place as usize == row);
        let fold = fold.map(|(_, fold)| fold);
        chain.add((*at, *value), fold);
    }
    // A whole window's increase, for as long as the one that was asked for.
    let share = match kind.per_second {
        true => 1.0,
        false => window.range_seconds() / whole.range_seconds(),
    };
    let value = chain.extrapolated(&whole, kind);
    Folded::OfAll(value.map(|value| value * share))
}

impl Chain {
    fn extrapolated(&self, window: &RangeWindow<'_>, kind: Kind) -> Option<f64> {
        let ((first_at, first), (last_at, last)) = self.first.zip(self.last)?;
        let intervals = usize::try_from(self.samples).ok()?.checked_sub(1)?;
        if intervals == 0 {
            return None;
        }
        let lost = if kind.counter { self.lost } else { 0.0 };
        let change = last - first + lost;
        let zero_share = kind.counter && change > 0.0 && first >= 0.0;
        let covered = Covered {
            first_at,
            last_at,
            intervals,
            started_at: None,
            zero_share: zero_share.then(|| first / change),
        };
        Some(change * covered.factor(window, kind.per_second))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::shape::{HistogramWindow, Workspace};
    use super::super::{lookup, shape::Evaluate};
    use super::*;
    use crate::model::{Samples, downsample};

    /// What a function makes of the samples in (after, until], with folds or without.
    fn evaluated(name: &str, samples: &Samples, after: i64, until: i64) -> (Option<f64>, bool) {
        let from = samples.timestamps.partition_point(|at| *at <= after);
        let to = samples.timestamps.partition_point(|at| *at <= until);
        if from == to {
            return (None, true);
        }
        let window = RangeWindow {
            timestamps: &samples.timestamps[from..to],
            values: &samples.values[from..to],
            starts: &[],
            range_start_ms: after,
            range_end_ms: until,
            step_time_ms: until,
            reach: Reach::Within,
            histograms: HistogramWindow::default(),
        };
        let function = lookup(name).unwrap();
        if samples.folds.is_empty() {
            let Evaluate::Range(floats, _) = function.evaluate else {
                unreachable!()
            };
            return (floats(&window, &[], &mut Workspace::default()), true);
        }
        let folds = FoldWindow::of(&samples.folds, from, to);
        match (function.folded.unwrap())(&window, &folds) {
            Folded::OfAll(value) => (value, true),
            Folded::TooLittle => (None, false),
        }
    }

    const NAMES: [&str; 10] = [
        "avg_over_time",
        "count_over_time",
        "delta",
        "increase",
        "last_over_time",
        "max_over_time",
        "min_over_time",
        "present_over_time",
        "rate",
        "sum_over_time",
    ];

    proptest! {
        /// Against the same functions over the samples themselves.
        #[test]
        fn windows_between_ends_of_intervals_are_as_if_nothing_had_gone(
            steps in prop::collection::vec(
                (prop_oneof![8 => Just(15_000i64), 1 => 1i64..900_000], 0u32..40, 0u8..100), 1..500),
            start in 0i64..3_600_000,
            first in 0i64..12,
            len in 1i64..12,
            gauge in any::<bool>(),
        ) {
            let (mut at, mut value, mut pairs) = (start, 100.0, Vec::new());
            for (step, more, event) in steps {
                at += step;
                value = match event {
                    0 => f64::from(more),
                    _ if gauge => f64::from(more),
                    _ => value + f64::from(more),
                };
                pairs.push((at, value));
            }
            let raw = Samples::of_floats(&pairs);
            for to in Resolution::FOLDED {
                let Some(thin) = downsample(&raw, to) else {
                    continue;
                };
                let (after, until) = (first * to.ms(), (first + len) * to.ms());
                for name in NAMES {
                    let (want, _) = evaluated(name, &raw, after, until);
                    let (got, of_all) = evaluated(name, &thin, after, until);
                    if !of_all {
                        prop_assert!(["delta", "increase", "rate"].contains(&name));
                        continue;
                    }
                    match (got, want) {
                        (Some(got), Some(want)) => {
                            let off = (got - want).abs() / want.abs().max(1e-9);
                            prop_assert!(off < 1e-12, "{} {} {}", name, got, want);
                        }
                        (got, want) => prop_assert_eq!(got, want, "{}", name),
                    }
                }
            }
        }
    }

    /// Would catch a rate that is too small by what a window cuts away: half of it where the range is as long as the
    /// intervals.
    #[test]
    fn windows_that_cut_intervals_have_the_rates_of_whole_ones() {
        let pairs: Vec<(i64, f64)> = (1..=240).map(|n| (n * 15_000, (n * 10) as f64)).collect();
        let raw = Samples::of_floats(&pairs);
        let thin = downsample(&raw, Resolution::FiveMinutes).unwrap();
        for (after, until) in [
            (450_000, 750_000),
            (600_001, 900_001),
            (599_999, 899_999),
            (450_000, 1_200_000),
            (600_000, 1_000_000),
            (700_000, 1_200_000),
        ] {
            for name in ["increase", "rate", "delta"] {
                let (got, of_all) = evaluated(name, &thin, after, until);
                let (want, _) = evaluated(name, &raw, after, until);
                let (got, want) = (got.unwrap(), want.unwrap());
                let off = (got - want).abs() / want;
                assert!(of_all && off < 0.04, "{name} {after} {until}: {got} {want}");
            }
        }
        assert_eq!(
            evaluated("count_over_time", &thin, 150_000, 900_000).0,
            Some(60.0)
        );
        assert_eq!(
            evaluated("rate", &thin, 0, 300_000),
            evaluated("rate", &raw, 0, 300_000)
        );
        // It has ended: what is asked for after that is as Prometheus has it.
        let (got, _) = evaluated("increase", &thin, 3_300_000, 4_350_000);
        let (want, _) = evaluated("increase", &raw, 3_300_000, 4_350_000);
        assert_eq!(got, want);
    }

    #[test]
    fn every_function_that_knows_folds_is_compared() {
        let known = super::super::all()
            .iter()
            .filter(|one| one.folded.is_some());
        let known: Vec<&str> = known.map(|one| one.name).collect();
        assert_eq!(known, NAMES);
    }
}
