//! Expressions as long and as deep as they may be, on a stack as large as the node gives: nothing may
//! overflow it, without optimisation either.

use cairn::query::STACK_BYTES;
use cairn::query::syntax::{LEVELS_MAX, NESTING_MAX, ParseOptions, parse, prettify, tree};

use super::engine::{engine, instant, range};
use super::memory::MemorySource;

const CHAINS: &[&str] = &[
    "+ 1",
    "+ a",
    "- on (job) a",
    "or a",
    "and a",
    "unless on (job) b",
    "> 0",
    "== bool 1",
    "* scalar(a)",
    "+ on (job) group_left () a",
    "/ on (job) group_right () a",
    "or vector(1)",
    "atan2 rate(a[5m])",
];
const NESTED: &[(&str, &str)] = &[
    ("(", ")"),
    ("sum(", ")"),
    ("sum by (job) (", ")"),
    ("abs(", ")"),
    ("-", ""),
    ("1 + (", ")"),
    ("a + on (job) (", ")"),
    ("topk(1, ", ")"),
    ("quantile(0.5, ", ")"),
    ("count_values by (job) (\"x\", ", ")"),
    ("sort(", ")"),
    ("round(", ", 1)"),
    ("label_replace(", ", \"x\", \"\", \"job\", \"a\")"),
    ("vector(scalar(", "))"),
    ("absent(", ")"),
    ("timestamp(", ")"),
    ("max_over_time((", ")[1m:1m])"),
    ("histogram_quantile(0.5, ", ")"),
    ("clamp(", ", 0, scalar(a))"),
    ("limitk(1, ", ")"),
];

fn evaluates(text: &str) {
    let mut source = MemorySource::default();
    for (series, value) in [("a{job=\"x\"}", 1.0), ("a{job=\"y\"}", 2.0)] {
        source.add(series, 0, value);
        source.add(series, 60_000, value);
    }
    let engine = engine(&["all"]);
    let context = engine.context(None);
    let shown: String = text.chars().take(60).collect();
    drop(parse(text, &ParseOptions::ALL).unwrap_or_else(|error| panic!("{shown}: {error}")));
    // It need not have an answer: equal label sets may meet on the way.
    let _ = engine.instant(&source, &instant(text, 60_000), &context);
    let _ = engine.range(&source, &range(text, 0, 60_000, 30_000), &context);
}

/// Would catch an operator whose frames grow, and a bound that is set too high.
#[test]
fn the_deepest_expressions_fit_the_stack() {
    let run = || {
        let text = format!("a{}", " + a".repeat(LEVELS_MAX - 3));
        let expr = parse(&text, &ParseOptions::ALL).unwrap();
        drop((prettify(&expr), tree(&expr), expr.clone()));
        for link in CHAINS {
            evaluates(&format!("a {}", format!("{link} ").repeat(LEVELS_MAX - 3)));
        }
        for (before, after) in NESTED {
            // A pair may take several levels.
            let text = |n: usize| format!("{}a{}", before.repeat(n), after.repeat(n));
            let parses = |n: &usize| parse(&text(*n), &ParseOptions::ALL).is_ok();
            let most = (0..NESTING_MAX).rev().find(parses).unwrap();
            assert!(most > 40, "{before}: {most}");
            evaluates(&text(most));
        }
    };
    let bytes = std::env::var("CAIRN_STACK").map_or(STACK_BYTES, |text| text.parse().unwrap());
    let thread = std::thread::Builder::new().stack_size(bytes).spawn(run);
    thread.unwrap().join().unwrap();
}

/// Prometheus has no bound; a thousand links are more than anybody writes.
#[test]
fn chains_of_a_thousand_terms_are_answered() {
    let run = || {
        let engine = engine(&[]);
        let text = format!("1{}", " + 1".repeat(1_000));
        let output = engine.instant(
            &MemorySource::default(),
            &instant(&text, 0),
            &engine.context(None),
        );
        let value = output.unwrap().value;
        assert!(matches!(value, cairn::query::QueryValue::Scalar(_, value) if value == 1_001.0));
    };
    let thread = std::thread::Builder::new()
        .stack_size(STACK_BYTES)
        .spawn(run);
    thread.unwrap().join().unwrap();
}
