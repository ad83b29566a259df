//! Would catch any departure from Prometheus 3's extrapolation, resets and regressions. Expected
//! values follow from the definitions by hand.

use super::super::shape::tests::{assert_close, evaluate};
use super::*;

type Function = fn(&RangeWindow<'_>, &[f64], &mut Workspace) -> Option<f64>;

/// (range, end) in seconds.
fn check(
    name: &str,
    function: Function,
    samples: &[(f64, f64)],
    range: (f64, f64),
    want: Option<f64>,
) {
    let got = evaluate(function, samples, range, &[]);
    assert_close(got, want, &format!("{name} {samples:?} {range:?}"));
}

fn every(step: f64, from: f64, values: &[f64]) -> Vec<(f64, f64)> {
    (0..)
        .map(|at| from + f64::from(at) * step)
        .zip(values.iter().copied())
        .collect()
}

#[test]
fn rates_extrapolate_to_the_ends_of_the_range() {
    // Samples at 15, 30, 45, 60 of (0, 60]: 45 s sampled, 15 s to the start, below 1.1 intervals.
    let steady = every(15.0, 15.0, &[100.0, 115.0, 130.0, 145.0]);
    check("increase", increase, &steady, (60.0, 60.0), Some(60.0));
    check("rate", rate, &steady, (60.0, 60.0), Some(1.0));
    // Far from both ends: half an interval each.
    check("increase", increase, &steady, (300.0, 150.0), Some(60.0));
    check("rate", rate, &steady, (300.0, 150.0), Some(0.2));
    check("delta", delta, &steady, (300.0, 150.0), Some(60.0));
    // 10 s to the end of the range.
    check("delta", delta, &steady, (70.0, 70.0), Some(70.0));
}

#[test]
fn counters_do_not_start_below_zero() {
    // Slope 1/s from 3 at 15 s: zero 3 s before, so 45 + 3 of 60 seconds.
    let young = every(15.0, 15.0, &[3.0, 18.0, 33.0, 48.0]);
    check("increase", increase, &young, (60.0, 60.0), Some(48.0));
    check("delta", delta, &young, (60.0, 60.0), Some(60.0));
    let from_zero = every(15.0, 15.0, &[0.0, 15.0, 30.0, 45.0]);
    check("increase", increase, &from_zero, (60.0, 60.0), Some(45.0));
    // No slope: nothing to clamp.
    let flat = every(15.0, 15.0, &[0.0, 0.0, 0.0, 0.0]);
    check("increase", increase, &flat, (60.0, 60.0), Some(0.0));
    // A negative first value is not a counter's; no clamp.
    let negative = every(15.0, 15.0, &[-30.0, -15.0, 0.0, 15.0]);
    check("increase", increase, &negative, (60.0, 60.0), Some(60.0));
}

#[test]
fn falls_are_resets() {
    let fallen = every(15.0, 15.0, &[100.0, 110.0, 5.0, 15.0]);
    // 15 − 100 + 110 = 25 over 45 s, extrapolated to 60.
    check(
        "increase",
        increase,
        &fallen,
        (60.0, 60.0),
        Some(25.0 * 60.0 / 45.0),
    );
    check(
        "delta",
        delta,
        &fallen,
        (60.0, 60.0),
        Some(-85.0 * 60.0 / 45.0),
    );
    check("resets", resets, &fallen, (60.0, 60.0), Some(1.0));
    check("changes", changes, &fallen, (60.0, 60.0), Some(3.0));
}

#[test]
fn too_few_samples_give_nothing() {
    for (name, function) in [
        ("rate", rate as Function),
        ("increase", increase),
        ("delta", delta),
        ("irate", irate),
        ("idelta", idelta),
        ("deriv", deriv),
    ] {
        check(name, function, &[], (60.0, 60.0), None);
        check(name, function, &[(10.0, 1.0)], (60.0, 60.0), None);
    }
    check("resets", resets, &[], (60.0, 60.0), None);
    check("resets", resets, &[(10.0, 1.0)], (60.0, 60.0), Some(0.0));
    check(
        "changes",
        changes,
        &[(10.0, f64::NAN)],
        (60.0, 60.0),
        Some(0.0),
    );
}

#[test]
fn the_last_two_samples_decide_irate() {
    let samples = [(10.0, 1.0), (20.0, 50.0), (25.0, 60.0)];
    check("irate", irate, &samples, (60.0, 60.0), Some(2.0));
    check("idelta", idelta, &samples, (60.0, 60.0), Some(10.0));
    let fallen = [(20.0, 50.0), (25.0, 10.0)];
    check("irate", irate, &fallen, (60.0, 60.0), Some(2.0));
    check("idelta", idelta, &fallen, (60.0, 60.0), Some(-40.0));
}

#[test]
fn lines_are_fitted() {
    let line = every(10.0, 1_700_000_000.0, &[3.0, 5.0, 7.0, 9.0]);
    let range = (60.0, 1_700_000_030.0);
    check("deriv", deriv, &line, range, Some(0.2));
    let in_a_minute = evaluate(predict_linear, &line, range, &[60.0]);
    assert_close(in_a_minute, Some(21.0), "predict_linear");
    let constant = every(10.0, 0.0, &[0.1, 0.1, 0.1]);
    check("deriv", deriv, &constant, (60.0, 20.0), Some(0.0));
    let infinite = every(10.0, 0.0, &[f64::INFINITY, f64::INFINITY]);
    check("deriv", deriv, &infinite, (60.0, 20.0), Some(f64::NAN));
    let unknown = every(10.0, 0.0, &[f64::NAN, 1.0]);
    check("deriv", deriv, &unknown, (60.0, 20.0), Some(f64::NAN));
}

#[test]
fn changes_take_nan_as_equal_to_nan() {
    let values = every(1.0, 1.0, &[1.0, f64::NAN, f64::NAN, 1.0, 1.0, -0.0, 0.0]);
    check("changes", changes, &values, (60.0, 60.0), Some(3.0));
}

fn window<'a>(
    timestamps: &'a [i64],
    values: &'a [f64],
    starts: &'a [i64],
    reach: Reach,
) -> RangeWindow<'a> {
    RangeWindow {
        timestamps,
        values,
        starts,
        range_start_ms: 10_000,
        range_end_ms: 20_000,
        step_time_ms: 20_000,
        reach,
        histograms: Default::default(),
    }
}

#[test]
fn start_timestamps_tell_of_resets() {
    let mut workspace = Workspace::default();
    let times = [12_000, 16_000, 20_000];
    // The counter began at 14 s, between the first samples, though the value did not fall.
    let values = [5.0, 7.0, 9.0];
    let starts = [1_000, 14_000, 14_000];
    let anew = window(&times, &values, &starts, Reach::Within);
    // 9 − 5 + 5 = 9 over 8 s; 2 s to the start, below 1.1 × 4.
    assert_close(
        increase(&anew, &[], &mut workspace),
        Some(9.0 * 10.0 / 8.0),
        "reset",
    );
    assert_eq!(resets(&anew, &[], &mut workspace), Some(1.0));
    // One sample suffices where the counter began within the range.
    let one = window(&times[..1], &values[..1], &[11_000], Reach::Within);
    assert_close(increase(&one, &[], &mut workspace), Some(5.0), "one sample");
    assert!(workspace.notes.take().is_empty());
    let odd = window(&times, &values, &[1_000, 2_000, 2_000], Reach::Within);
    assert_close(
        increase(&odd, &[], &mut workspace),
        Some(4.0 * 10.0 / 8.0),
        "overlap",
    );
    assert!(!workspace.notes.take().is_empty());
}

#[test]
fn anchored_and_smoothed_ranges_do_not_extrapolate() {
    let mut workspace = Workspace::default();
    let times = [8_000, 12_000, 18_000, 22_000];
    let values = [10.0, 14.0, 20.0, 28.0];
    let anchored = window(&times[..3], &values[..3], &[], Reach::Anchored);
    assert_eq!(increase(&anchored, &[], &mut workspace), Some(10.0));
    assert_eq!(rate(&anchored, &[], &mut workspace), Some(1.0));
    assert_eq!(changes(&anchored, &[], &mut workspace), Some(2.0));
    // 12 at the start of the range, 24 at its end.
    let smoothed = window(&times, &values, &[], Reach::Smoothed);
    assert_eq!(delta(&smoothed, &[], &mut workspace), Some(12.0));
    let before = window(&times[..1], &values[..1], &[], Reach::Anchored);
    assert_eq!(increase(&before, &[], &mut workspace), None);
    assert_eq!(resets(&before, &[], &mut workspace), None);
    let fallen = [10.0, 14.0, 2.0, 6.0];
    let smoothed = window(&times, &fallen, &[], Reach::Smoothed);
    // From 12 to 14, from 0 to 4.
    assert_eq!(increase(&smoothed, &[], &mut workspace), Some(6.0));
}
