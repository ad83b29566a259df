//! The parser as a whole, against Prometheus' words.

use super::*;

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
