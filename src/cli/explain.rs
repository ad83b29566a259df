//! `cairn query --explain`: what a query is made of, and what each part of it did.

use serde_json::Value;

use super::client::{list, text};
use super::table;

/// The tree of operators as a table, and what all of them took.
pub(super) fn explain(data: &Value) -> String {
    let empty = Value::Null;
    let stats = data.get("stats").unwrap_or(&empty);
    let operators = list(stats, "operators");
    let known = stats.pointer("/cache/knownSteps").and_then(Value::as_u64);
    let known = known.filter(|known| *known > 0);
    if operators.is_empty()
        && let Some(known) = known
    {
        return format!(
            "all {known} steps were known from answers that are kept: nothing was read"
        );
    }
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
    let known = known.map_or_else(String::new, |known| {
        format!("; {known} steps were known from answers that are kept")
    });
    format!(
        "{}\n\nwaited {} ms, prepared {} ms, evaluated {} ms, sorted {} ms; {} samples read, at most {} held{known}",
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
        assert!(!text.contains("kept"));
        assert!(super::explain(&json!({})).contains("does not tell"));
        let mut cached = data;
        cached["stats"]["cache"] = json!({"knownSteps": 7});
        assert!(
            super::explain(&cached).ends_with("; 7 steps were known from answers that are kept")
        );
        cached["stats"]["operators"] = json!([]);
        assert!(super::explain(&cached).starts_with("all 7 steps were known"));
    }
}
