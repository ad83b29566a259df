//! Queries that several threads evaluate. (All of Prometheus' cases are evaluated so as well: a
//! [`MemorySource`] gives each series in a stream of its own.)

use cairn::model::Resolution;
use cairn::query::QueryOutput;

use super::engine::{engine, range};
use super::memory::{MemorySource, labels};
use super::random_query::dice::Dice;

const SERIES: u64 = 200;
const END_MS: i64 = 3_600_000;

/// Values whose sums depend on the order in which they are added.
fn source() -> MemorySource {
    let (mut source, mut dice) = (MemorySource::default(), Dice(7));
    for number in 0..SERIES {
        let series = format!("m{{job=\"{}\",number=\"{number}\"}}", number % 7);
        for at in (0..END_MS).step_by(60_000) {
            let value = dice.below(1000) as f64 * 1.1f64.powi(dice.below(90) as i32 - 45);
            source.add(&series, at, value);
        }
    }
    source
}

fn shown(output: &QueryOutput) -> String {
    let (stats, said) = (&output.stats, &output.annotations);
    let counts = (stats.total_queryable_samples, stats.samples_read);
    format!("{:?} {said:?} {counts:?}", output.value)
}

/// Would catch sums that are added up in another order, series that are lost or come twice between two threads,
/// remarks that are lost, and samples that are not counted.
#[test]
fn several_threads_make_what_one_makes_to_the_bit() {
    compare(&source());
}

/// Would catch folds, or what is said of them, that get lost between threads.
#[test]
fn so_they_do_with_downsampled_samples() {
    let mut folded = source();
    folded.downsample(Resolution::FiveMinutes);
    let said = compare(&folded);
    for part in [
        "Downsampled(FiveMinutes)",
        "OfSamplesLeft { function: \"quantile_over_time\", resolution: FiveMinutes }",
        "CutsIntervals { function: \"max_over_time\", resolution: FiveMinutes }",
    ] {
        assert!(said.contains(part), "{part}");
    }
}

/// Says what one thread has made, and several as well.
fn compare(source: &MemorySource) -> String {
    let engine = engine(&["all"]);
    let mut all = String::new();
    for text in [
        "m",
        "sum(m)",
        "avg by (job) (rate(m[5m]))",
        "stddev(quantile_over_time(0.3, m[10m]))",
        "sum({job=~\"[1-4]\"} offset 5m) / count(m)",
        "max_over_time(sum by (job) (m)[10m:1m])",
        "topk(3, sum by (job) (increase(m[7m])))",
        "quantile_over_time(7, m[10m])",
        "sum(max_over_time(m[7m]))",
    ] {
        let query = range(text, 0, END_MS, 90_000);
        let ask = |profiled| {
            let context = engine.context(None);
            let output = engine.range_with(source, &query, &context, profiled);
            let output = output.unwrap();
            let shown = shown(&output);
            drop(output);
            assert_eq!(
                context.budget.memory_bytes(),
                0,
                "{text}: everything is given back"
            );
            shown
        };
        // What is profiled is evaluated by one thread.
        let alone = ask(true);
        for _ in 0..3 {
            assert_eq!(ask(false), alone, "{text}");
        }
        all.push_str(&alone);
    }
    all
}

/// Would catch a thread that makes all that there is of a long stream before anybody uses it, and series that are
/// lost where another goes on with them.
#[test]
fn what_is_held_does_not_grow_with_what_is_made() {
    const STEP_MS: i64 = 400;
    const MIB: u64 = 1 << 20;
    let (engine, mut source) = (engine(&[]), source());
    source.more_in_stream = 99;
    let all = SERIES * (END_MS / STEP_MS) as u64 * 8;
    assert!(all > 13 * MIB);
    let query = range("sum by (job) (m)", 0, END_MS, STEP_MS);
    let ask = |profiled| {
        let context = engine.context(None);
        let output = engine.range_with(&source, &query, &context, profiled);
        (shown(&output.unwrap()), context.budget.peak_memory_bytes())
    };
    let ((alone, _), (together, peak)) = (ask(true), ask(false));
    assert!(alone == together);
    assert!(peak < 10 * MIB, "{peak} bytes at a time");
}

/// Would catch a failure of one thread that passes for the end of its series.
#[test]
fn what_one_thread_cannot_read_fails_the_query() {
    let (engine, mut source) = (engine(&[]), source());
    for number in [0, SERIES / 2, SERIES - 1] {
        let broken = format!("m{{job=\"{}\",number=\"{number}\"}}", number % 7);
        source.broken = Some(labels(&broken));
        for text in ["sum(m)", "count(rate(m[5m]))"] {
            let context = engine.context(None);
            let query = range(text, 0, END_MS, 90_000);
            let error = engine.range(&source, &query, &context).unwrap_err();
            assert!(error.to_string().contains("is broken"), "{text}: {error}");
            assert_eq!(
                context.budget.memory_bytes(),
                0,
                "{text}: everything is given back"
            );
        }
    }
}
