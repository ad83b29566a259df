//! Any text, any words, any expression.

use proptest::prelude::*;

use super::*;

/// Words out of which queries are made, and some that only break them.
const WORDS: &[&str] = &[
    "sum",
    "topk",
    "count_values",
    "limitk",
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "bool",
    "offset",
    "@",
    "start",
    "end()",
    "step()",
    "range",
    "min_of(",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    "+",
    "-",
    "*",
    "/",
    "%",
    "^",
    "==",
    "!=",
    "<",
    "=",
    "=~",
    "!~",
    "</",
    "and",
    "or",
    "unless",
    "atan2",
    "5m",
    "1h30m",
    "5",
    "0x1f",
    "Inf",
    "NaN",
    "foo",
    "a:b",
    "rate(",
    "info(",
    "\"x\"",
    "'y'",
    "`z`",
    "fill(0)",
    "anchored",
    "smoothed",
    "#c\n",
    "[5m]",
    "[5m:1m]",
    "{a=\"b\"}",
    "é",
    "\"",
    "\\",
    "\n",
];

/// Not `0.0001`: Prometheus writes less than a millisecond as `0s`, and so do we.
const DURATIONS: &[&str] = &[
    "5m",
    "1h30m",
    "300",
    "1.5",
    "step()",
    "(5m)",
    "-(1m)",
    "max_of(1m, step())",
    "1m+2m*3",
    "((1h))",
    "range()^2",
    "90d",
    "1ms",
];

/// Not `Inf`: Prometheus writes it as `+Inf`, whose sign takes in what follows (`+Inf ^ 2`), and
/// so do we.
const LEAVES: &[&str] = &[
    "1",
    "-2.5",
    "1e30",
    "5m",
    "foo",
    "sum",
    "{\"a b\",c=~\"d|e.*\"}",
    "time()",
    "by{x!=\"\"}",
    "foo{a=\"\\\"\\n\"}",
    "vector(1)",
    "hour()",
    "fill",
    "a:b",
];

const OPERATORS: &[&str] = &[
    "+",
    "-",
    "*",
    "/",
    "%",
    "^",
    "atan2",
    "== bool",
    "!= bool",
    "> bool",
    "<",
    ">=",
    "and",
    "or",
    "unless",
    "</",
    "+ on(a)",
    "* ignoring(a, \"b c\") group_left(d)",
    "- on() group_right fill(3)",
    "/ fill_left(-1) fill_right(1e9)",
    "or on(x)",
];

const OPENINGS: &[&str] = &[
    "sum(",
    "sum by (a, sum) (",
    "avg without() (",
    "topk(3, ",
    "quantile by () (0.5, ",
    "count_values(\"x\", ",
    "limit_ratio(-0.5, ",
    "abs(",
    "(",
    "-",
    "+",
];

/// Expressions that make sense, most of them.
fn expression() -> impl Strategy<Value = String> {
    let duration = || prop::sample::select(DURATIONS);
    let leaf = prop_oneof![
        prop::sample::select(LEAVES).prop_map(str::to_owned),
        duration().prop_map(|range| format!("rate(foo[{range}])")),
        (duration(), duration()).prop_map(|(range, offset)| {
            format!("delta(foo{{a!~\"b\"}}[{range}] @ 1.25 offset {offset})")
        }),
        duration().prop_map(|offset| format!("(foo smoothed offset {offset})")),
    ];
    leaf.prop_recursive(5, 40, 3, move |inner| {
        let operator = prop::sample::select(OPERATORS);
        let opening = prop::sample::select(OPENINGS);
        prop_oneof![
            (inner.clone(), operator, inner.clone()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
            (opening, inner.clone()).prop_map(|(open, a)| {
                let close = if open.ends_with(['-', '+']) { "" } else { ")" };
                format!("{open} {a}{close}")
            }),
            (inner.clone(), duration())
                .prop_map(|(a, range)| format!("sum_over_time(({a})[{range}:1m])")),
            inner.prop_map(|a| format!("label_replace({a}, \"x\", '$1', `y`, \"(.*)\")")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Would catch a panic: whatever arrives over HTTP gets here.
    #[test]
    fn any_text_is_parsed_or_refused(text in "\\PC{0,80}") {
        let _ = parse(&text, &ParseOptions::ALL);
        let _ = parse_selector(&text);
    }

    #[test]
    fn any_words_are_parsed_or_refused(
        words in prop::collection::vec(prop::sample::select(WORDS), 0..25),
    ) {
        for separator in ["", " "] {
            let text = words.join(separator);
            match parse(&text, &ParseOptions::ALL) {
                Ok(expr) => prop_assert!(expr.span.end <= text.len()),
                Err(error) => prop_assert!(error.span.start <= text.len(), "{error}"),
            }
        }
    }

    /// Would catch a formatted query that is another query.
    #[test]
    fn formatting_keeps_the_tree(text in expression()) {
        let Ok(expr) = parse(&text, &ParseOptions::ALL) else {
            return Ok(()); // Types do not always fit.
        };
        let line = expr.to_string();
        for formatted in [line.clone(), prettify(&expr)] {
            let again = parse(&formatted, &ParseOptions::ALL);
            let again = again.map_err(|error| TestCaseError::fail(format!("{formatted}: {error}")))?;
            prop_assert_eq!(again.to_string(), line.clone());
            let same = tree(&again) == tree(&expr);
            prop_assert!(same, "{} became {}", text, formatted);
        }
    }
}
