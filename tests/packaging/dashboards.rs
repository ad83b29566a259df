//! Dashboards, alerts and Grafana's provisioning: every expression names metrics that exist, and a live
//! cluster answers it.

use std::collections::BTreeSet;
use std::process::Command;

use regex::Regex;
use serde_json::Value;

use super::servers::{post_form, skip};
use super::tools::{program, read, root, succeed, yaml};

/// What an expression is called, and what it is.
pub struct Asked {
    pub name: String,
    pub expression: String,
}

/// The dashboard's expressions, with Grafana's variables filled in as Grafana would.
pub fn of_the_dashboard() -> Vec<Asked> {
    let dashboard: Value = serde_json::from_str(&read("docs/dashboards/cairn.json")).unwrap();
    let mut asked = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().unwrap();
            let filled = [
                ("$job", "cairn"),
                ("$instance", ".*"),
                ("$__rate_interval", "30s"),
            ]
            .iter()
            .fold(expression.to_owned(), |text, (variable, value)| {
                text.replace(variable, value)
            });
            assert!(
                !filled.contains('$'),
                "a variable that nobody defines: {filled}"
            );
            asked.push(Asked {
                name: panel["title"].as_str().unwrap().to_owned(),
                expression: filled,
            });
        }
    }
    asked
}

/// The alerts' expressions.
pub fn of_the_alerts() -> Option<Vec<Asked>> {
    let rules = yaml(&read("docs/dashboards/cairn-alerts.yml"))?;
    let rules = rules[0]["groups"][0]["rules"].as_array().unwrap().clone();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    Some(
        rules
            .iter()
            .map(|rule| {
                assert!(
                    rule["annotations"]["remedy"].is_string(),
                    "{rule}: what is to be done?"
                );
                Asked {
                    name: text(&rule["alert"]),
                    expression: text(&rule["expr"]),
                }
            })
            .collect(),
    )
}

/// The result of an instant query to a node.
pub fn answer(url: &str, asked: &Asked) -> Vec<Value> {
    let Asked { name, expression } = asked;
    let answer = post_form(&format!("{url}/api/v1/query"), &[("query", expression)]).unwrap();
    assert_eq!(
        answer.status,
        200,
        "{name}: {expression}: {}",
        answer.text()
    );
    let json = answer.json();
    assert!(
        json.get("warnings").is_none(),
        "{name}: {expression}: {json}"
    );
    json["data"]["result"].as_array().unwrap().clone()
}

#[test]
fn expressions_name_metrics_that_exist() {
    let reference = read("docs/reference/metrics.md");
    let name = Regex::new("(cairn|process)_[a-z_]+").unwrap();
    let mut known: BTreeSet<String> = BTreeSet::new();
    for line in reference.lines().filter(|line| line.starts_with("| `")) {
        let first = line.split('`').nth(1).unwrap();
        let (base, more) = first
            .split_once("_bucket, _sum")
            .map_or((first, false), |(base, _)| (base, true));
        if more {
            known.extend(["bucket", "sum", "count"].map(|end| format!("{base}_{end}")));
        } else {
            known.insert(base.to_owned());
        }
    }
    assert!(known.len() > 60, "{known:?}");
    let alerts = of_the_alerts().unwrap_or_default();
    let mut named = 0;
    for asked in of_the_dashboard().iter().chain(&alerts) {
        for found in name.find_iter(&asked.expression) {
            named += 1;
            assert!(
                known.contains(found.as_str()),
                "{}: {}",
                asked.name,
                asked.expression
            );
        }
    }
    assert!(named > 50, "{named}");
}

#[test]
fn the_dashboard_has_a_place_for_every_panel() {
    let dashboard: Value = serde_json::from_str(&read("docs/dashboards/cairn.json")).unwrap();
    let mut taken = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = &panel["title"];
        assert!(
            ids.insert(panel["id"].as_u64().unwrap()),
            "{title}: an id twice"
        );
        let at = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        assert!(at("x") + at("w") <= 24, "{title} is too wide");
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(taken.insert((x, y)), "{title} lies on another panel");
            }
        }
    }
}

/// Would catch an alert that never fires, and one that fires on a healthy node.
#[test]
fn alerts_fire_when_they_should() {
    let Some(promtool) = program("promtool") else {
        skip(
            "dashboards::alerts_fire_when_they_should",
            "there is no promtool (Debian's package prometheus)",
        );
        return;
    };
    succeed(
        Command::new(&promtool)
            .args(["check", "rules"])
            .arg(root().join("docs/dashboards/cairn-alerts.yml")),
    );
    succeed(
        Command::new(&promtool)
            .args(["test", "rules"])
            .arg(root().join("tests/packaging/alerts.test.yml")),
    );
    let tests = read("tests/packaging/alerts.test.yml");
    for asked in of_the_alerts().unwrap_or_default() {
        let tested = format!("alertname=\"{}\"", asked.name);
        assert!(tests.contains(&tested), "{} has no test", asked.name);
    }
}

#[test]
fn grafana_is_provisioned_with_what_is_there() {
    let Some(source) = yaml(&read("packaging/grafana/datasources/cairn.yaml")) else {
        skip(
            "dashboards::grafana_is_provisioned_with_what_is_there",
            "Python has no yaml",
        );
        return;
    };
    let source = &source[0]["datasources"][0];
    assert_eq!(
        (source["type"].as_str(), source["uid"].as_str()),
        (Some("prometheus"), Some("cairn"))
    );
    let provider =
        &yaml(&read("packaging/grafana/dashboards/cairn.yaml")).unwrap()[0]["providers"][0];
    let path = provider["options"]["path"].as_str().unwrap();
    // Where the package puts docs/dashboards.
    assert_eq!(path, "/usr/share/doc/cairn/dashboards");
    assert!(read("scripts/package").contains("\"$here/docs/dashboards\" \"$doc/\""));
}
