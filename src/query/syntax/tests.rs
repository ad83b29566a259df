//! The parser as a whole: Prometheus' words, its test corpus, second opinions, and any text.

use super::*;

mod random;

/// What a text amounts to: it in one line, or the error.
fn verdict(text: &str, options: &ParseOptions) -> String {
    match parse(text, options) {
        Ok(expr) => expr.to_string(),
        Err(error) => error.to_string(),
    }
}

/// Would catch a query read otherwise than Prometheus reads it.
#[test]
fn queries_are_read_as_prometheus_reads_them() {
    let cases = [
        ("1 + 2 * 3 ^ 2 ^ 2", "1 + 2 * 3 ^ 2 ^ 2"),
        ("-1^2", "-1 ^ 2"),
        ("--5", "5"),
        ("-5m", "-5m"),
        (
            "0x1f + 0755 + 1_000 + Inf + nan",
            "31 + 493 + 1000 + +Inf + NaN",
        ),
        ("sum BY(a, \"b c\",) (x)", "sum by (a, \"b c\") (x)"),
        ("sum(x) without ()", "sum without () (x)"),
        ("topk by (sum) (5, x)", "topk by (sum) (5, x)"),
        (
            "{\"a.b\", c!=`\\d`, 'e'=~\"f\"}",
            r#"{__name__="a.b",c!="\\d",e=~"f"}"#,
        ),
        (
            "foo{b='1',a=\"2\",} @ end() offset -1h",
            r#"foo{a="2",b="1"} @ end() offset -1h"#,
        ),
        (
            "foo[1h30m] offset 90d @ 1.5",
            "foo[1h30m] @ 1.500 offset 90d",
        ),
        ("foo[300:1m] @ start()", "foo[5m:1m] @ start()"),
        ("(a+b)[1y:]", "(a + b)[1y:]"),
        (
            "sum + by + offset + start + min_of",
            "sum + by + offset + start + min_of",
        ),
        ("a and on (b) c or ignoring() d", "a and on (b) c or d"),
        (
            "a / on(x) group_left(y) b == bool 1",
            "a / on (x) group_left (y) b == bool 1",
        ),
        ("a + fill(0) b", "a + fill (0) b"),
        (
            "a + fill_left(1) fill_right(-2) b",
            "a + fill_left (1) fill_right (-2) b",
        ),
        ("fill + fill_left", "fill + fill_left"),
        (
            "foo[step()+1m:max_of(1m,range()/2)]",
            "foo[step() + 1m:max_of(1m, range() / 2)]",
        ),
        ("foo offset (5m)*2", "foo offset (5m) * 2"),
        ("foo offset 5m*2", "foo offset 5m * 2"),
        ("rate(foo[5m] anchored)", "rate(foo[5m] anchored)"),
        ("# comment\nfoo # another", "foo"),
        ("a </ 5 >/ 1", "a </ 5 >/ 1"),
        ("\"a\\x41\\u00e9\"", "\"aAé\""),
        (
            "step() + range() + max_of(1, 2)",
            "step() + range() + max_of(1, 2)",
        ),
        ("info(a, {x=~\".*\"})", "info(a, {x=~\".*\"})"),
        ("foo:bar{}", "foo:bar"),
    ];
    for (text, expected) in cases {
        assert_eq!(verdict(text, &ParseOptions::ALL), expected, "{text}");
    }
}

/// Would catch an error that reads, or points, otherwise than Prometheus' does.
#[test]
fn errors_are_those_of_prometheus() {
    for (text, expected) in ERRORS {
        let expected = expected.replacen(": ", ": parse error: ", 1);
        assert_eq!(verdict(text, &ParseOptions::ALL), expected, "{text}");
    }
    let empty = "unknown position: parse error: no expression found in input";
    assert_eq!(verdict("", &ParseOptions::ALL), empty);
}

const ERRORS: &[(&str, &str)] = &[
    ("1 +", "1:4: unexpected end of input"),
    ("\n\n  1 + )", "3:8: unexpected right parenthesis ')'"),
    ("(1", "1:3: unclosed left parenthesis"),
    ("*1", "1:1: unexpected <op:*>"),
    ("a b", "1:3: unexpected identifier \"b\""),
    ("a:b(c)", "1:4: unexpected \"(\""),
    ("foo{a>1}", "1:6: unexpected character inside braces: '>'"),
    (
        "foo{gibberish}",
        "1:14: unexpected \"}\" in label matching, expected label matching operator",
    ),
    (
        "foo{a=b}",
        "1:7: unexpected identifier \"b\" in label matching, expected string",
    ),
    (
        "foo{a=\"b\" c}",
        "1:11: unexpected identifier \"c\" in label matching, expected \",\" or \"}\"",
    ),
    (
        "foo{a=\"b\" or c=\"d\"}",
        "1:11: unexpected identifier \"or\" in label matching, expected \",\" or \"}\"",
    ),
    (
        "foo{,}",
        "1:5: unexpected \",\" in label matching, expected identifier or \"}\"",
    ),
    (
        "foo{a=~\"(\"}",
        "1:5: error parsing regexp: missing closing ): `(`",
    ),
    (
        "foo[]",
        "1:5: unexpected \"]\" in subquery or range selector, expected number, duration, step(), or range()",
    ),
    (
        "foo[5m 5m]",
        "1:8: unexpected duration \"5m\" in subquery or range, expected \":\" or \"]\"",
    ),
    (
        "foo[5m:1m 5]",
        "1:11: unexpected number \"5\" in subquery selector, expected \"]\"",
    ),
    ("foo[0]", "1:5: duration must be greater than 0"),
    ("foo[5m/0]", "1:7: division by zero"),
    ("foo[5mm]", "1:5: bad number or duration syntax: \"5mm\""),
    (
        "foo offset",
        "1:11: unexpected end of input in offset, expected number, duration, step(), or range()",
    ),
    (
        "foo offset 1m offset 2m",
        "1:1: offset may not be set multiple times",
    ),
    (
        "foo offset 1m[5m]",
        "1:14: no offset modifiers allowed before range",
    ),
    (
        "foo @ bar",
        "1:7: unexpected identifier \"bar\" in @, expected timestamp",
    ),
    (
        "foo @ inf",
        "1:1: timestamp out of bounds for @ modifier: +Inf",
    ),
    (
        "1 offset 5m",
        "1:1: offset modifier must be preceded by an instant vector selector or range vector selector or a subquery",
    ),
    ("(a+b)[5m]", "1:6: ranges only allowed for vector selectors"),
    (
        "sum(a b)",
        "1:7: unexpected identifier \"b\" in aggregation",
    ),
    (
        "sum by (1) (a)",
        "1:9: unexpected number \"1\" in grouping opts, expected label",
    ),
    (
        "sum(a) by b",
        "1:11: unexpected identifier \"b\" in grouping opts, expected \"(\"",
    ),
    (
        "sum()",
        "1:1: no arguments for aggregate expression provided",
    ),
    (
        "topk(a)",
        "1:1: wrong number of arguments for aggregate expression provided, expected 2, got 1",
    ),
    (
        "topk(a, b)",
        "1:6: expected type scalar in aggregation parameter, got instant vector",
    ),
    (
        "rate(a, )",
        "1:7: trailing commas not allowed in function call args",
    ),
    ("nope(a)", "1:1: unknown function with name \"nope\""),
    (
        "rate(a)",
        "1:6: expected type range vector in call to function \"rate\", got instant vector",
    ),
    (
        "time(1)",
        "1:1: expected 0 argument(s) in call to \"time\", got 1",
    ),
    (
        "hour(a, b)",
        "1:1: expected at most 1 argument(s) in call to \"hour\", got 2",
    ),
    (
        "label_join(a)",
        "1:1: expected at least 3 argument(s) in call to \"label_join\", got 1",
    ),
    (
        "1 == 1",
        "1:3: comparisons between scalars must use BOOL modifier",
    ),
    (
        "a + bool b",
        "1:3: bool modifier can only be used on comparison operators",
    ),
    (
        "a and 1",
        "1:1: set operator \"and\" not allowed in binary scalar expression",
    ),
    (
        "a + on(b) 1",
        "1:1: vector matching only allowed between instant vectors",
    ),
    (
        "a or on(b) group_left c",
        "1:1: no grouping allowed for \"or\" operation",
    ),
    (
        "a + on(b) group_left(b) c",
        "1:3: label \"b\" must not occur in ON and GROUP clause at once",
    ),
    ("a + group_left b", "1:5: unexpected <group_left>"),
    (
        "-\"a\"",
        "1:1: unary expression only allowed on expressions of type scalar or instant vector, got \"string\"",
    ),
    (
        "a[5m] + 1",
        "1:1: binary expression must contain only scalar and instant vector types",
    ),
    (
        "a[5m][1h:]",
        "1:1: subquery is only allowed on instant vector, got matrix instead",
    ),
    (
        "{a=\"\"}",
        "1:1: vector selector must contain at least one non-empty matcher",
    ),
    (
        "a{__name__=\"b\"}",
        "1:1: metric name must not be set twice: \"a\" or \"b\"",
    ),
    ("\"abc", "1:1: unterminated quoted string"),
    ("\"\\d\"", "1:1: unknown escape sequence U+0064 'd'"),
    ("\"a", "1:1: unterminated quoted string"),
    (
        "1e999",
        "1:1: error parsing number: strconv.ParseFloat: parsing \"1e999\": value out of range",
    ),
    ("ä", "1:1: unexpected character: 'ä'"),
    ("# nothing", "1:1: no expression found in input"),
];

/// Would catch an experiment that works without being switched on.
#[test]
fn experiments_are_refused_until_switched_on() {
    let functions = "promql-experimental-functions";
    let selectors = "promql-extended-range-selectors";
    let cases = [
        (
            "limitk(1, a)",
            functions,
            "1:1: parse error: limitk() is experimental and must be enabled with --enable-feature=promql-experimental-functions",
        ),
        (
            "mad_over_time(a[5m])",
            functions,
            "1:1: parse error: function \"mad_over_time\" is not enabled",
        ),
        (
            "a anchored",
            selectors,
            "1:1: parse error: anchored modifier is experimental and not enabled",
        ),
        (
            "a[5m] smoothed",
            selectors,
            "1:1: parse error: smoothed modifier is experimental and not enabled",
        ),
        (
            "a + fill (0) b",
            "promql-binop-fill-modifiers",
            "1:1: parse error: binop fill modifiers are experimental and not enabled",
        ),
    ];
    for (text, feature, refusal) in cases {
        assert_eq!(verdict(text, &ParseOptions::default()), refusal);
        for feature in [feature, "all"] {
            let options = ParseOptions::of_features(["exemplar-storage", feature]);
            assert_eq!(verdict(text, &options), text);
        }
    }
}

/// Would catch a bound that is not kept, and one too high for a thread's stack.
#[test]
fn depth_and_length_are_bounded() {
    let run = || {
        let deep: [fn(usize) -> String; 7] = [
            |n| format!("{}a{}", "(".repeat(n), ")".repeat(n)),
            |n| format!("{}a{}", "sum(".repeat(n), ")".repeat(n)),
            |n| format!("{}a{}", "abs(".repeat(n), ")".repeat(n)),
            |n| format!("{}a", "-".repeat(n)),
            |n| format!("1{}", "^1".repeat(n)),
            |n| format!("a{}", "[1m:]".repeat(n)),
            |n| format!("a[{}5m{}]", "(".repeat(n), ")".repeat(n)),
        ];
        for (at, text) in deep.iter().enumerate() {
            let fits = text(NESTING_MAX - 2);
            match parse(&fits, &ParseOptions::ALL) {
                Ok(expr) => drop((prettify(&expr), tree(&expr), expr.clone())),
                Err(error) => assert_eq!(at, 5, "{error}"), // A range of a range.
            }
            for n in [NESTING_MAX * 2, 100_000] {
                let error = verdict(&text(n), &ParseOptions::ALL);
                let range_of_range = at == 5 && error.contains("instant vector");
                let deep = error.contains("nests deeper than");
                assert!(deep || range_of_range, "{at}: {error:.200}");
            }
        }
        let chain = format!("a[5m{}]", "+1m".repeat(100_000));
        assert!(verdict(&chain, &ParseOptions::ALL).contains("nests deeper than"));
        let chain = format!("a{}", " or a".repeat(LEVELS_MAX));
        assert!(verdict(&chain, &ParseOptions::ALL).contains("nests deeper than"));
        let long = " ".repeat(QUERY_BYTES_MAX + 1);
        assert!(verdict(&long, &ParseOptions::ALL).contains("more than"));
    };
    #[allow(
        clippy::disallowed_methods,
        reason = "the stack's size is what is tested"
    )]
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(run);
    thread.unwrap().join().unwrap();
}

#[test]
fn selectors_of_series_stand_alone() {
    for text in ["up", "{}", "{a=\"b\"}", "sum{a=\"\"}", "{\"a b\"}"] {
        assert!(parse_selector(text).is_ok(), "{text}");
    }
    for text in ["", "up[5m]", "up offset 1m", "1", "up + up", "rate(up[5m])"] {
        assert!(parse_selector(text).is_err(), "{text}");
    }
}

/// One query of Prometheus' test files, and what it expects of a failure.
struct Case {
    place: String,
    query: String,
    fails: bool,
    message: Option<String>,
}

fn corpus() -> Vec<Case> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/promqltest/testdata");
    let Ok(files) = std::fs::read_dir(folder) else {
        println!("skipped: no test files of Prometheus at {folder}");
        return Vec::new();
    };
    let mut cases = Vec::new();
    for path in files.map(|file| file.unwrap().path()) {
        if path.extension().is_none_or(|extension| extension != "test") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let mut open = false;
        for (at, line) in text.lines().map(str::trim).enumerate() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let skipped = match words.as_slice() {
                ["eval", "instant", "at", ..] => 4,
                ["eval", "range", "from", _, "to", _, "step", ..] => 8,
                ["expect", "fail", ..] if open => {
                    let case: &mut Case = cases.last_mut().unwrap();
                    case.fails = true;
                    case.message = line
                        .split_once("msg:")
                        .map(|(_, text)| text.trim().to_owned());
                    continue;
                }
                _ => {
                    open &= !line.is_empty();
                    continue;
                }
            };
            let mut query = line;
            for _ in 0..skipped {
                query = query
                    .split_once(char::is_whitespace)
                    .unwrap()
                    .1
                    .trim_start();
            }
            open = true;
            cases.push(Case {
                place: format!("{}:{}", path.display(), at + 1),
                query: query.to_owned(),
                fails: false,
                message: None,
            });
        }
    }
    assert!(cases.len() > 1_500, "only {} cases were found", cases.len());
    cases
}

/// Would catch a construct of Prometheus that we do not know.
#[test]
fn every_query_of_prometheus_tests_parses() {
    for case in corpus() {
        match (parse(&case.query, &ParseOptions::ALL), &case.message) {
            (Ok(_), _) => {}
            (Err(error), Some(message)) => {
                assert!(
                    error.to_string().contains(message),
                    "{}: {error}",
                    case.place
                );
            }
            (Err(error), None) => assert!(case.fails, "{}: {error}", case.place),
        }
    }
}

/// Would catch a query that means something else once it is formatted: promql-parser, which
/// shares no code with ours, must see the same in both.
#[test]
fn another_parser_sees_the_same_in_what_we_format() {
    let mut compared = 0;
    for case in corpus() {
        let Ok(theirs) = promql_parser::parser::parse(&case.query) else {
            continue; // It lags behind: docs/decisions/0002 has the counts.
        };
        let Ok(ours) = parse(&case.query, &ParseOptions::ALL) else {
            assert!(case.fails, "{}: only promql-parser accepts it", case.place);
            continue;
        };
        for text in [ours.to_string(), prettify(&ours)] {
            let again = promql_parser::parser::parse(&text);
            let again = again.unwrap_or_else(|error| panic!("{}: {text}: {error}", case.place));
            // Its own printing drops what does not matter: the order of matchers, `by ()`.
            assert_eq!(normal(&again), normal(&theirs), "{}: {text}", case.place);
        }
        compared += 1;
    }
    println!("{compared} queries compared");
}

/// An expression as promql-parser prints it, with the matchers of each selector in order.
fn normal(expr: &promql_parser::parser::Expr) -> String {
    let printed = expr.to_string();
    let mut out = String::new();
    for part in printed.split_inclusive(['{', '}']) {
        match part.strip_suffix('}') {
            Some(inner) => {
                let mut matchers: Vec<&str> = inner.split(',').collect();
                matchers.sort_unstable();
                out.push_str(&matchers.join(","));
                out.push('}');
            }
            None => out.push_str(part),
        }
    }
    out
}

/// Would catch any difference to Prometheus' own parser, for whatever queries it was asked: each
/// line of the file that `CAIRN_PROMQL_ANSWERS` names is a JSON object with the query `q` and
/// either `err`, or `str`, `pretty` and `tree`.
#[test]
fn answers_as_prometheus_parser_did() {
    let Ok(path) = std::env::var("CAIRN_PROMQL_ANSWERS") else {
        println!("skipped: CAIRN_PROMQL_ANSWERS names no file of answers");
        return;
    };
    let answers = std::fs::read_to_string(path).unwrap();
    let mut wrong = 0;
    for line in answers.lines() {
        let answer: serde_json::Value = serde_json::from_str(line).unwrap();
        let query = answer["q"].as_str().unwrap();
        let mut check = |what: &str, expected: &str, found: &str| {
            if found != expected {
                wrong += 1;
                println!("{query:?}, {what}\n  expected {expected}\n  found    {found}");
            }
        };
        let expected = answer["err"].as_str().unwrap_or("none");
        match parse(query, &ParseOptions::ALL) {
            Err(error) => check("error", expected, &error.to_string()),
            Ok(_) if expected != "none" => check("error", expected, "none"),
            Ok(expr) => {
                check(
                    "one line",
                    answer["str"].as_str().unwrap(),
                    &expr.to_string(),
                );
                check(
                    "lines",
                    answer["pretty"].as_str().unwrap(),
                    &prettify(&expr),
                );
                let expected = with_floats(answer["tree"].clone());
                let found = with_floats(tree(&expr));
                check("tree", &expected.to_string(), &found.to_string());
            }
        }
    }
    assert_eq!(wrong, 0);
}

/// `3` and `3.0` are the same number, but not to `serde_json`.
fn with_floats(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::Number(number) => serde_json::json!(number.as_f64()),
        Value::Array(items) => items.into_iter().map(with_floats).collect(),
        Value::Object(members) => {
            let members = members.into_iter();
            Value::Object(
                members
                    .map(|(name, one)| (name, with_floats(one)))
                    .collect(),
            )
        }
        other => other,
    }
}

/// Would catch a tree whose parts or words are not as `/api/v1/parse_query` has them.
#[test]
fn trees_are_those_of_prometheus() {
    let expr = parse(
        "sum by (a) (rate(b{c=\"d\"}[5m] offset 1m)) > bool 0x1f",
        &ParseOptions::ALL,
    );
    let selector = serde_json::json!({
        "type": "matrixSelector", "name": "b", "range": 300_000, "rangeExpr": null,
        "offset": 60_000, "offsetExpr": null, "timestamp": null, "startOrEnd": null,
        "anchored": false, "smoothed": false,
        "matchers": [
            {"name": "c", "type": "=", "value": "d"},
            {"name": "__name__", "type": "=", "value": "b"},
        ],
    });
    let call = serde_json::json!({
        "type": "call", "args": [selector],
        "func": {"name": "rate", "argTypes": ["matrix"], "variadic": 0, "returnType": "vector"},
    });
    let sum = serde_json::json!({
        "type": "aggregation", "op": "sum", "expr": call, "param": null,
        "grouping": ["a"], "without": false,
    });
    let expected = serde_json::json!({
        "type": "binaryExpr", "op": ">", "lhs": sum, "matching": null, "bool": true,
        "rhs": {"type": "numberLiteral", "val": "31"},
    });
    assert_eq!(tree(&expr.unwrap()), expected);
}

#[test]
fn long_queries_are_split_into_lines() {
    let text = "sum by (job) (rate(http_requests_total{job=\"api\",code=~\"5..\"}[5m])) / on (job) group_left () sum by (job) (rate(http_requests_total[5m]))";
    let expected = "  sum by (job) (rate(http_requests_total{code=~\"5..\",job=\"api\"}[5m]))
/ on (job) group_left ()
  sum by (job) (rate(http_requests_total[5m]))";
    let expr = parse(text, &ParseOptions::ALL).unwrap();
    assert_eq!(prettify(&expr), expected);
}
