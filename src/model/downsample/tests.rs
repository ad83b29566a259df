//! What a folded stretch still says is what all of its samples said.

use proptest::prelude::*;

use super::*;
use crate::model::{TimeRange, stale_nan};

const FIVE: Resolution = Resolution::FiveMinutes;
const HOUR: Resolution = Resolution::Hour;

fn folded(samples: &Samples, to: Resolution) -> Samples {
    downsample(samples, to).unwrap_or_else(|| samples.clone())
}

/// What the samples of a time (open at its start) come to, with what they stand for.
#[derive(PartialEq, Debug, Default)]
struct Total {
    count: u64,
    sum: f64,
    least: Option<u64>,
    most: Option<u64>,
    last: Option<u64>,
    /// From the first sample to the last, falls made good; and since when.
    increase: f64,
    first: Option<(i64, u64)>,
}

fn total(samples: &Samples, after: i64, until: i64) -> Total {
    let mut samples = samples.clone();
    samples.clip(TimeRange::new(TimestampMs(after + 1), TimestampMs(until)));
    let mut total = Total::default();
    let (mut least, mut most) = (f64::NAN, f64::NAN);
    let mut last: Option<f64> = None;
    for (row, (at, value, _)) in samples.iter().enumerate() {
        let Value::Float(value) = value else {
            unreachable!()
        };
        if is_stale(value) {
            continue;
        }
        total.count += 1;
        total.sum += value;
        least = extreme(least, value, value < least);
        most = extreme(most, value, value > most);
        let place = u32::try_from(row).unwrap();
        let fold = samples.folds.iter().find(|(at, _)| *at == place);
        let mut first = (at.0, value);
        let mut lost = 0.0;
        if let Some((_, fold)) = fold {
            total.count += u64::from(fold.count);
            total.sum += fold.sum;
            least = extreme(least, fold.min, fold.min < least);
            most = extreme(most, fold.max, fold.max > most);
            if let Some(counter) = fold.counter {
                first = (at.0 - i64::from(counter.first_before_ms), counter.first);
                lost = counter.lost;
            }
        }
        if let Some(last) = last.filter(|last| first.1 < *last) {
            lost += last;
        }
        total.increase += lost;
        if total.first.is_none() {
            total.first = Some((first.0, first.1.to_bits()));
            total.increase -= first.1;
        }
        last = Some(value);
    }
    total.increase += last.unwrap_or(0.0);
    let bits = |value: f64| (total.count > 0).then_some(value.to_bits());
    (total.least, total.most) = (bits(least), bits(most));
    total.last = last.map(f64::to_bits);
    total
}

/// A counter of whole numbers that is scraped now and then, restarted now and then, with stale
/// markers; or a gauge that goes up and down.
fn series() -> impl Strategy<Value = Samples> {
    let step = prop_oneof![8 => Just(15_000i64), 1 => 1i64..1000, 1 => 100_000i64..5_000_000];
    let next = (step, 0u8..200, 0u32..50);
    let all = (
        -9_000_000i64..9_000_000,
        prop::collection::vec(next, 0..300),
        any::<bool>(),
    );
    all.prop_map(|(start, steps, gauge)| {
        let (mut at, mut value) = (start, 1000.0);
        let mut pairs = Vec::new();
        for (step, event, more) in steps {
            at += step;
            value = match event {
                0 => f64::from(more),
                _ if gauge => f64::from(more) - 25.0,
                _ => value + f64::from(more),
            };
            pairs.push((at, if event == 1 { stale_nan() } else { value }));
        }
        Samples::of_floats(&pairs)
    })
}

fn hours(samples: &Samples) -> Vec<(i64, i64)> {
    let (Some(first), Some(last)) = (samples.timestamps.first(), samples.timestamps.last()) else {
        return Vec::new();
    };
    let from = HOUR.before_interval(*first);
    let ends = (0..).map(|hour| from + hour * HOUR.ms());
    let ends = ends.take_while(|end| end < last);
    let mut all: Vec<(i64, i64)> = ends.map(|end| (end, end + HOUR.ms())).collect();
    all.push((from, last + HOUR.ms()));
    all
}

/// Whether the increase can be told: nothing folded lacks what a counter's has.
fn tells_increase(samples: &Samples) -> bool {
    samples.folds.iter().all(|(_, fold)| fold.counter.is_some())
}

proptest! {
    /// Would catch a sample that is lost, or counted twice, and a fall that goes unseen.
    #[test]
    fn what_lies_between_ends_of_intervals_comes_to_the_same(raw in series()) {
        for to in Resolution::FOLDED {
            let thin = folded(&raw, to);
            prop_assert_eq!(weight(&thin), weight(&raw));
            for (after, until) in hours(&raw) {
                let mut want = total(&raw, after, until);
                let mut got = total(&thin, after, until);
                if !tells_increase(&thin) {
                    for one in [&mut want, &mut got] {
                        (one.increase, one.first) = (0.0, None);
                    }
                }
                prop_assert_eq!(got, want);
            }
        }
    }

    /// Would catch folds that depend on the way to them.
    #[test]
    fn a_fold_of_folds_is_the_fold(raw in series()) {
        let five = folded(&raw, FIVE);
        prop_assert_eq!(downsample(&five, FIVE), None);
        let (direct, stepwise) = (folded(&raw, HOUR), folded(&five, HOUR));
        prop_assert_eq!(&stepwise, &direct);
        prop_assert_eq!(downsample(&direct, FIVE), None);
        prop_assert_eq!(downsample(&direct, HOUR), None);
    }

    /// What was cut in two by time, folded, merged and folded again.
    #[test]
    fn halves_that_were_folded_come_to_the_whole(raw in series(), cut in -9_000_000i64..9_000_000) {
        let (mut early, mut late) = (raw.clone(), raw.clone());
        early.clip(TimeRange::new(TimestampMs(i64::MIN), TimestampMs(cut)));
        late.clip(TimeRange::new(TimestampMs(cut + 1), TimestampMs(i64::MAX)));
        // Only where blocks are cut: at the end of an interval.
        let cut_inside = FIVE.before_interval(cut) + FIVE.ms() != cut;
        let (mut merged, late) = (folded(&early, FIVE), folded(&late, FIVE));
        merged.merge(&late);
        if cut_inside {
            return Ok(());
        }
        prop_assert_eq!(weight(&merged), weight(&raw));
    }

    /// Would catch samples that are counted again: whatever part of what was folded comes back.
    #[test]
    fn what_was_folded_and_comes_back_changes_nothing(
        raw in series(),
        which in prop::collection::vec(any::<bool>(), 300),
        first in any::<bool>(),
    ) {
        for to in Resolution::FOLDED {
            let thin = folded(&raw, to);
            let mut back = raw.clone();
            let keep: Vec<bool> = raw.values.iter().zip(&which)
                .map(|(value, which)| *which && !is_stale(*value))
                .collect();
            back.retain(&keep);
            let (mut one, other) = if first { (back, thin.clone()) } else { (thin.clone(), back) };
            one.merge(&other);
            prop_assert_eq!(&one, &thin);
        }
    }

    /// A row by row list says which rows stay.
    #[test]
    fn rows_are_left_out_with_all_that_is_theirs(raw in series(), which in prop::collection::vec(any::<bool>(), 300)) {
        let mut thin = folded(&raw, FIVE);
        let mut want = Samples::default();
        for (row, (at, value, start)) in thin.iter().enumerate() {
            if which[row] {
                let place = u32::try_from(row).unwrap();
                if let Some((_, fold)) = thin.folds.iter().find(|(at, _)| *at == place) {
                    want.folds.push((u32::try_from(want.len()).unwrap(), *fold));
                }
                want.push(at, value, start);
            }
        }
        thin.retain(&which[..thin.len()]);
        prop_assert_eq!(thin, want);
    }
}

#[test]
fn a_counter_is_told_from_a_gauge() {
    let check = |values: &[f64], want: bool| {
        let pairs: Vec<(i64, f64)> = (1..)
            .map(|n| n * 1000)
            .zip(values.iter().copied())
            .collect();
        let thin = downsample(&Samples::of_floats(&pairs), FIVE).unwrap();
        assert_eq!(tells_increase(&thin), want, "{values:?}");
    };
    check(&[1.0, 2.0, 3.0], true);
    check(&[1.0, 2.0, 0.0, 1.0], true);
    check(&[1.0, 0.0, 1.0, 0.0], false);
}

#[test]
fn a_run_ends_with_its_stale_marker() {
    let raw = Samples::of_floats(&[
        (1_000, 1.0),
        (2_000, stale_nan()),
        (3_000, 2.0),
        (4_000, stale_nan()),
        (400_000, stale_nan()),
    ]);
    let thin = downsample(&raw, FIVE).unwrap();
    assert_eq!(thin.timestamps, [3_000, 4_000, 400_000]);
    assert_eq!(thin.folds.len(), 1);
    assert_eq!((thin.folds[0].0, thin.folds[0].1.count), (0, 1));
}

/// What comes to an interval after its kept sample is new; what comes before it is not.
#[test]
fn late_samples_are_new_only_behind_a_fold() {
    let raw = Samples::of_floats(&[(1_000, 1.0), (61_000, 2.0), (301_000, 9.0)]);
    let mut thin = folded(&raw, FIVE);
    assert_eq!(thin.timestamps, [61_000, 301_000]);
    thin.merge(&Samples::of_floats(&[
        (31_000, 7.0),
        (91_000, 3.0),
        (300_500, 4.0),
    ]));
    assert_eq!(thin.timestamps, [61_000, 91_000, 300_500, 301_000]);
    let again = folded(&thin, FIVE);
    assert_eq!(again.timestamps, [91_000, 301_000]);
    assert_eq!(weight(&again), 5);
    // A coarser fold stands for finer ones.
    let hour = folded(&raw, HOUR);
    let mut both = hour.clone();
    both.merge(&folded(&raw, FIVE));
    assert_eq!(both, hour);
}
