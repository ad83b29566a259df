//! The arithmetic of histograms, where the published cases do not look: layouts, losses of
//! rounding, text, and what comes from outside.

use std::sync::Arc;

use crate::model::{Buckets, Histogram, ResetHint, SCHEMA_CUSTOM, Span};

use super::{FloatHistogram, HistogramMean, HistogramSum, Incompatible, Reader, quantile};

/// An exponential histogram of schema 0 with positive buckets from an index on.
fn stored(from: i32, counts: &[f64]) -> Histogram {
    let length = u32::try_from(counts.len()).unwrap();
    // The sum of nothing would be -0.
    let sum = counts.iter().fold(0.0, |sum, count| sum + count);
    Histogram {
        schema: 0,
        zero_threshold: 0.0,
        sum,
        buckets: Buckets::Float {
            count: sum,
            zero_count: 0.0,
            positive: counts.to_vec(),
            negative: Vec::new(),
        },
        positive_spans: vec![Span {
            offset: from,
            length,
        }],
        negative_spans: Vec::new(),
        custom_values: Vec::new(),
        reset_hint: ResetHint::Unknown,
    }
}

fn float(from: i32, counts: &[f64]) -> FloatHistogram {
    Reader::default().read(&stored(from, counts))
}

fn buckets(of: &FloatHistogram) -> Vec<(i32, f64)> {
    of.positive().collect()
}

#[test]
fn integer_buckets_are_differences_and_neighbours_share_their_layout() {
    let mut one = stored(1, &[]);
    one.positive_spans = vec![
        Span {
            offset: -1,
            length: 2,
        },
        Span {
            offset: 3,
            length: 1,
        },
    ];
    one.buckets = Buckets::Integer {
        count: 10,
        zero_count: 0,
        positive: vec![2, 1, 2],
        negative: Vec::new(),
    };
    let mut reader = Reader::default();
    let (first, second) = (reader.read(&one), reader.read(&one));
    assert_eq!(buckets(&first), [(-1, 2.0), (0, 3.0), (4, 5.0)]);
    assert!(Arc::ptr_eq(&first.positive.at, &second.positive.at));
    assert_eq!(
        first.to_string(),
        "{count:10, sum:0, (0.25,0.5]:2, (0.5,1]:3, (8,16]:5}"
    );
}

#[test]
fn sums_unite_layouts_and_differences_keep_empty_buckets_until_compacted() {
    let mut sum = float(0, &[1.0, 2.0]);
    sum.add(&float(2, &[4.0])).unwrap();
    assert_eq!(buckets(&sum), [(0, 1.0), (1, 2.0), (2, 4.0)]);
    sum.subtract(&float(1, &[2.0])).unwrap();
    assert_eq!(buckets(&sum), [(0, 1.0), (1, 0.0), (2, 4.0)]);
    sum.compact();
    assert_eq!(buckets(&sum), [(0, 1.0), (2, 4.0)]);
}

#[test]
fn small_counts_are_not_lost_in_a_sum() {
    let mut sum = HistogramSum::of(float(0, &[1.0]));
    for counts in [[1e100], [1.0], [-1e100]] {
        sum.add(&float(0, &counts)).unwrap();
    }
    let total = sum.total();
    assert_eq!(buckets(&total), [(0, 2.0)]);
    assert_eq!(total.count(), 2.0);
}

#[test]
fn a_mean_does_not_overflow() {
    let mut mean = HistogramMean::of(float(0, &[f64::MAX]));
    for _ in 0..3 {
        mean.add(&float(0, &[f64::MAX])).unwrap();
    }
    let mean = mean.mean();
    assert!(
        (mean.count() - f64::MAX).abs() <= f64::MAX * 1e-15,
        "{mean}"
    );
}

#[test]
fn custom_and_exponential_buckets_do_not_meet() {
    let mut custom = stored(0, &[1.0]);
    custom.schema = SCHEMA_CUSTOM;
    custom.custom_values = vec![5.0];
    let mut custom = Reader::default().read(&custom);
    assert_eq!(custom.add(&float(0, &[1.0])), Err(Incompatible));
    assert!(custom.is_reset_since(&float(0, &[1.0])));
}

/// Would catch a loop that never ends: no threshold of an outside may keep two zero buckets apart.
#[test]
fn odd_thresholds_from_outside_end() {
    for threshold in [f64::NAN, f64::INFINITY, -1.0, 0.3] {
        let mut odd = stored(0, &[1.0, 1.0]);
        odd.zero_threshold = threshold;
        let odd = Reader::default().read(&odd);
        let mut sum = float(-3, &[1.0, 1.0, 1.0, 1.0]);
        sum.add(&odd).unwrap();
        let _ = sum.is_reset_since(&odd) | odd.is_reset_since(&sum);
    }
}

#[test]
fn spans_that_promise_too_much_are_read_as_far_as_they_go() {
    let mut damaged = stored(i32::MAX, &[1.0, 2.0]);
    damaged.positive_spans.push(Span {
        offset: i32::MAX,
        length: 3,
    });
    let read = Reader::default().read(&damaged);
    assert_eq!(read.positive().count(), 2);
    let _ = (
        read.to_string(),
        quantile(0.5, &read),
        read.buckets().count(),
    );
}

#[test]
fn resets_are_falls_and_buckets_that_are_gone() {
    let check = |before: &FloatHistogram, now: &FloatHistogram, want: bool| {
        assert_eq!(now.is_reset_since(before), want, "{before} to {now}");
    };
    let before = float(0, &[1.0, 2.0]);
    check(&before, &float(0, &[1.0, 2.0]), false);
    check(&before, &float(0, &[1.0, 2.0, 1.0]), false);
    check(&before, &float(-1, &[5.0, 1.0, 2.0]), false);
    check(&before, &float(0, &[2.0, 1.0]), true);
    check(&before, &float(1, &[4.0]), true);
    check(&before, &float(0, &[0.5, 0.5]), true);
}

#[test]
fn hints_follow_from_neighbours() {
    let read = |now: &Histogram, before: &Histogram| {
        let mut reader = Reader::default();
        let float = reader.read(before);
        reader.read_after(now, Some((before, &float))).hint()
    };
    let (one, two) = (stored(0, &[1.0, 1.0]), stored(0, &[2.0, 2.0]));
    assert_eq!(read(&two, &one), ResetHint::No);
    assert_eq!(read(&one, &two), ResetHint::Unknown);
    let gauge = Histogram {
        reset_hint: ResetHint::Gauge,
        ..two.clone()
    };
    assert_eq!(read(&gauge, &one), ResetHint::Gauge);
    assert_eq!(read(&two, &gauge), ResetHint::Unknown);
    let mut reader = Reader::default();
    let float = reader.read(&two);
    let counted = reader.read_after(&one, Some((&two, &float)));
    let counted = counted.without_buckets(Some(&float));
    assert_eq!((counted.hint(), counted.count()), (ResetHint::Yes, 2.0));
}
