//! Are two query results the same, up to a relative tolerance?

use std::collections::BTreeMap;

use serde_json::Value;

/// Compares the `data` of two answers. Vectors and matrices are compared as sets of series unless
/// they are scalars or texts.
pub fn compare(want: &Value, got: &Value, tolerance: f64) -> Result<(), String> {
    let kind = |data: &Value| data["resultType"].as_str().unwrap_or_default().to_owned();
    if kind(want) != kind(got) {
        return Err(format!(
            "result types differ: want {}, got {}",
            kind(want),
            kind(got)
        ));
    }
    if matches!(kind(want).as_str(), "scalar" | "string") {
        return same_points(&want["result"], &got["result"], tolerance);
    }
    let (want, got) = (by_labels(want), by_labels(got));
    if let Some(missing) = want.keys().find(|labels| !got.contains_key(*labels)) {
        return Err(format!(
            "{} series wanted, {} got; missing {missing}",
            want.len(),
            got.len()
        ));
    }
    if let Some(extra) = got.keys().find(|labels| !want.contains_key(*labels)) {
        return Err(format!(
            "{} series wanted, {} got; too many: {extra}",
            want.len(),
            got.len()
        ));
    }
    for (labels, points) in &want {
        let other = &got[labels];
        if points.len() != other.len() {
            return Err(format!(
                "{labels}: {} points wanted, {} got",
                points.len(),
                other.len()
            ));
        }
        for (one, two) in points.iter().zip(other) {
            same_points(one, two, tolerance)
                .map_err(|difference| format!("{labels}: {difference}"))?;
        }
    }
    Ok(())
}

fn by_labels(data: &Value) -> BTreeMap<String, Vec<Value>> {
    let mut map = BTreeMap::new();
    for series in data["result"].as_array().into_iter().flatten() {
        let labels: BTreeMap<String, String> =
            serde_json::from_value(series["metric"].clone()).unwrap();
        let mut points: Vec<Value> = series["values"].as_array().cloned().unwrap_or_default();
        points.extend(series.get("value").cloned());
        points.extend(series.get("histogram").cloned());
        points.extend(series["histograms"].as_array().cloned().unwrap_or_default());
        map.insert(format!("{labels:?}"), points);
    }
    map
}

fn same_points(want: &Value, got: &Value, tolerance: f64) -> Result<(), String> {
    if want[0] != got[0] {
        return Err(format!("times differ: want {}, got {}", want[0], got[0]));
    }
    let (Some(a), Some(b)) = (want[1].as_str(), got[1].as_str()) else {
        return if want[1] == got[1] {
            Ok(())
        } else {
            Err(format!("at {}: want {}, got {}", want[0], want[1], got[1]))
        };
    };
    if a == b {
        return Ok(());
    }
    let (x, y): (f64, f64) = match (a.parse(), b.parse()) {
        (Ok(x), Ok(y)) => (x, y),
        _ => return Err(format!("at {}: want {a:?}, got {b:?}", want[0])),
    };
    let difference = (x - y).abs();
    if difference <= tolerance * x.abs().max(y.abs()) {
        return Ok(());
    }
    Err(format!("at {}: want {a}, got {b}", want[0]))
}

#[test]
fn differences_are_seen() {
    let vector = |value: &str| serde_json::json!({"resultType": "vector", "result": [{"metric": {"a": "b"}, "value": [1, value]}]});
    assert!(compare(&vector("1"), &vector("1.0000000000001"), 1e-12).is_ok());
    assert!(compare(&vector("1"), &vector("1.000001"), 1e-12).is_err());
    assert!(compare(&vector("NaN"), &vector("NaN"), 0.0).is_ok());
    assert!(compare(&vector("NaN"), &vector("1"), 0.1).is_err());
    let empty = serde_json::json!({"resultType": "vector", "result": []});
    assert!(
        compare(&vector("1"), &empty, 0.1).is_err() && compare(&empty, &vector("1"), 0.1).is_err()
    );
}
