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
        let expected = answer["err"].as_str().unwrap_or("parses");
        let found = match parse(query, &ParseOptions::ALL) {
            Ok(_) => "parses".to_owned(),
            Err(error) => error.to_string(),
        };
        if found != expected {
            wrong += 1;
            println!("{query:?}\n  expected {expected}\n  found    {found}");
        }
    }
    assert_eq!(wrong, 0);
}
