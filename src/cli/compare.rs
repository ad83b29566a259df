//! `cairn query --compare`: the answers of two servers to one query, and where they differ. For
//! those who move from another store and want to know whether the numbers stay.

use std::collections::BTreeMap;

use serde_json::Value;

/// Differences that are shown; then only their number.
const SHOWN_MAX: usize = 20;

/// Values are the same up to so much, relatively: servers may add in another order.
const TOLERANCE: f64 = 1e-9;

/// Compares the `data` of two answers, each under its server's name.
///
/// # Errors
/// The differences, for a person.
pub(super) fn compare(ours: (&str, &Value), theirs: (&str, &Value)) -> Result<String, String> {
    let kind = |data: &Value| data.get("resultType").cloned().unwrap_or_default();
    if kind(ours.1) != kind(theirs.1) {
        return Err(format!(
            "{} answers with a {}, {} with a {}",
            ours.0,
            kind(ours.1),
            theirs.0,
            kind(theirs.1)
        ));
    }
    let (one, other) = (points(ours.1), points(theirs.1));
    let mut found = Vec::new();
    let mut same = 0;
    for (labels, at_times) in &one {
        let Some(others) = other.get(labels) else {
            found.push(format!("{labels}: only {} has it", ours.0));
            continue;
        };
        let times: std::collections::BTreeSet<&String> =
            at_times.keys().chain(others.keys()).collect();
        let mut differ = times
            .iter()
            .filter(|time| !alike(at_times.get(**time), others.get(**time)));
        match differ.next() {
            None => same += 1,
            Some(time) => {
                let show = |value: Option<&Value>| value.map_or("nothing".to_owned(), text);
                found.push(format!(
                    "{labels}: at {time} {} has {}, {} has {} ({} of {} points differ)",
                    ours.0,
                    show(at_times.get(*time)),
                    theirs.0,
                    show(others.get(*time)),
                    differ.count() + 1,
                    times.len()
                ));
            }
        }
    }
    let extra = other.keys().filter(|labels| !one.contains_key(*labels));
    found.extend(extra.map(|labels| format!("{labels}: only {} has it", theirs.0)));
    if found.is_empty() {
        return Ok(format!("both answer the same: {same} series"));
    }
    let total = found.len();
    found.truncate(SHOWN_MAX);
    if total > SHOWN_MAX {
        found.push(format!("and {} more", total - SHOWN_MAX));
    }
    Err(format!(
        "{same} series are the same, {total} differ\n{}",
        found.join("\n")
    ))
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

type Points = BTreeMap<String, BTreeMap<String, Value>>;

/// Values and histograms by labels and time. A scalar or text is one series.
fn points(data: &Value) -> Points {
    let mut all = Points::new();
    let empty = Value::Null;
    let result = data.get("result").unwrap_or(&empty);
    let series = result.as_array().map_or(&[][..], Vec::as_slice);
    if series.iter().any(|one| !one.is_object()) {
        add(all.entry(String::new()).or_default(), result);
        return all;
    }
    for one in series {
        let labels = one.get("metric").map(Value::to_string).unwrap_or_default();
        let points = all.entry(labels).or_default();
        for name in ["value", "histogram"] {
            if let Some(pair) = one.get(name) {
                add(points, pair);
            }
        }
        for name in ["values", "histograms"] {
            let pairs = one.get(name).and_then(Value::as_array);
            pairs
                .into_iter()
                .flatten()
                .for_each(|pair| add(points, pair));
        }
    }
    all
}

fn add(points: &mut BTreeMap<String, Value>, pair: &Value) {
    if let (Some(time), Some(value)) = (pair.get(0), pair.get(1)) {
        points.insert(time.to_string(), value.clone());
    }
}

fn alike(one: Option<&Value>, other: Option<&Value>) -> bool {
    match (one, other) {
        (Some(Value::String(one)), Some(Value::String(other))) => {
            one == other
                || match (one.parse::<f64>(), other.parse::<f64>()) {
                    (Ok(a), Ok(b)) => (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()),
                    _ => false,
                }
        }
        (Some(Value::Array(one)), Some(Value::Array(other))) => {
            one.len() == other.len() && one.iter().zip(other).all(|(a, b)| alike(Some(a), Some(b)))
        }
        (Some(Value::Object(one)), Some(Value::Object(other))) => {
            one.len() == other.len() && one.iter().all(|(name, a)| alike(Some(a), other.get(name)))
        }
        (one, other) => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(one: &Value, other: &Value) -> Result<String, String> {
        compare(("here", one), ("there", other))
    }

    #[test]
    fn differences_are_named() {
        let matrix = |value: &str, job: &str| {
            json!({"resultType": "matrix", "result": [
                {"metric": {"job": job}, "values": [[1, "1"], [2, value]]},
                {"metric": {"job": "z"}, "histograms": [[1, {"count": "2", "buckets": [[0, "1", "2", value]]}]]}]})
        };
        let same = check(&matrix("0.3", "a"), &matrix("0.30000000000000004", "a"));
        assert_eq!(same.unwrap(), "both answer the same: 2 series");
        let error = check(&matrix("0.3", "a"), &matrix("0.4", "a")).unwrap_err();
        assert!(
            error.starts_with("0 series are the same, 2 differ\n"),
            "{error}"
        );
        assert!(
            error.contains(
                "{\"job\":\"a\"}: at 2 here has 0.3, there has 0.4 (1 of 2 points differ)"
            ),
            "{error}"
        );
        let error = check(&matrix("1", "a"), &matrix("1", "b")).unwrap_err();
        assert!(
            error.contains("{\"job\":\"a\"}: only here has it"),
            "{error}"
        );
        assert!(
            error.contains("{\"job\":\"b\"}: only there has it"),
            "{error}"
        );
        let scalar = |value: &str| json!({"resultType": "scalar", "result": [1, value]});
        assert!(check(&scalar("NaN"), &scalar("NaN")).is_ok());
        assert!(check(&scalar("1"), &scalar("2")).is_err());
        assert!(
            check(&scalar("1"), &matrix("1", "a"))
                .unwrap_err()
                .contains("matrix")
        );
    }
}
