//! `cairn query --explain`: what a query is made of, and what each part of it did.

use serde_json::Value;

use super::client::{list, text};
use super::table;

/// The tree of operators as a table, and what all of them took.
pub(super) fn explain(data: &Value) -> String {
    let empty = Value::Null;
    let stats = data.get("stats").unwrap_or(&empty);
    let operators = list(stats, "operators");
    if operators.is_empty() {
        return "the server does not tell what its operators did: is it a Cairn of this version?"
            .to_owned();
    }
    let rows: Vec<Vec<String>> = operators
        .iter()
        .map(|operator| {
            let depth = operator.get("depth").and_then(Value::as_u64).unwrap_or(0);
            let indent = "  ".repeat(usize::try_from(depth.min(100)).unwrap_or(0));
            vec![
                milliseconds(operator.get("time")),
                milliseconds(operator.get("ownTime")),
                text(operator, "series"),
                text(operator, "samples"),
                text(operator, "bytes"),
                format!("{indent}{}", text(operator, "operator")),
            ]
        })
        .collect();
    let header = [
        "TIME ms", "OWN ms", "SERIES", "SAMPLES", "BYTES", "OPERATOR",
    ];
    let timings = stats.get("timings").unwrap_or(&empty);
    let samples = stats.get("samples").unwrap_or(&empty);
    format!(
        "{}\n\nwaited {} ms, prepared {} ms, evaluated {} ms, sorted {} ms; {} samples read, at most {} held",
        table::render(&header, &rows),
        milliseconds(timings.get("execQueueTime")),
        milliseconds(timings.get("queryPreparationTime")),
        milliseconds(timings.get("innerEvalTime")),
        milliseconds(timings.get("resultSortTime")),
        text(samples, "samplesRead"),
        text(samples, "peakSamples"),
    )
}

fn milliseconds(seconds: Option<&Value>) -> String {
    let seconds = seconds.and_then(Value::as_f64).unwrap_or(0.0);
    format!("{:.3}", seconds * 1000.0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn operators_become_a_tree() {
        let operator = |depth: u64, what: &str| {
            json!({"operator": what, "depth": depth, "series": 2, "samples": 20, "bytes": 400,
                "time": 0.0015, "ownTime": 0.001})
        };
        let data = json!({"stats": {
            "timings": {"execQueueTime": 0.001, "innerEvalTime": 0.002},
            "samples": {"samplesRead": 20, "peakSamples": 5},
            "operators": [operator(0, "sum by (job)"), operator(1, "rate")]}});
        let text = super::explain(&data);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[1],
            "1.500    1.000   2       20       400    sum by (job)"
        );
        assert_eq!(lines[2], "1.500    1.000   2       20       400      rate");
        assert!(
            lines[4].starts_with("waited 1.000 ms, prepared 0.000 ms"),
            "{text}"
        );
        assert!(super::explain(&json!({})).contains("does not tell"));
    }
}
