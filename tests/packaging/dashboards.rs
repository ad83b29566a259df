//! Dashboards, alerts and Grafana's provisioning: every expression names metrics that exist, and a live
//! cluster answers it.

use std::collections::BTreeSet;
use std::process::Command;

use regex::Regex;
use serde_json::Value;

use super::remote_write::{body, now_ms, send, series};
use super::servers::{Cairn, post_form, skip};
use super::tools::{program, read, root, succeed, yaml};

/// What an expression is called, and what it is.
pub struct Asked {
    pub name: String,
    pub expression: String,
}

/// The dashboard's expressions.
pub fn of_the_dashboard() -> Vec<Asked> {
    of_dashboard("docs/dashboards/cairn.json")
}

/// A dashboard's expressions, with Grafana's variables filled in as Grafana would.
fn of_dashboard(file: &str) -> Vec<Asked> {
    let dashboard: Value = serde_json::from_str(&read(file)).unwrap();
    let mut asked = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().unwrap();
            let filled = [
                ("$job", "cairn"),
                ("$instance", ".*"),
                ("$zrepl_job", ".*"),
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
fn the_dashboards_have_a_place_for_every_panel() {
    for file in ["cairn.json", "zrepl.json"] {
        let dashboard: Value =
            serde_json::from_str(&read(&format!("docs/dashboards/{file}"))).unwrap();
        let mut taken = BTreeSet::new();
        let mut ids = BTreeSet::new();
        for panel in dashboard["panels"].as_array().unwrap() {
            let title = &panel["title"];
            assert!(
                ids.insert(panel["id"].as_u64().unwrap()),
                "{file}, {title}: an id twice"
            );
            let at = |name: &str| panel["gridPos"][name].as_u64().unwrap();
            assert!(at("x") + at("w") <= 24, "{file}: {title} is too wide");
            for x in at("x")..at("x") + at("w") {
                for y in at("y")..at("y") + at("h") {
                    assert!(
                        taken.insert((x, y)),
                        "{file}: {title} lies on another panel"
                    );
                }
            }
        }
    }
}

/// What zrepl exposes, as its sources have it (`internal/daemon`), of two jobs in the last ten minutes.
fn zrepl(now: i64) -> Vec<u8> {
    let mut all = Vec::new();
    for job in ["to-nas", "to-cellar"] {
        let mut push = |name: &str, more: &[(&str, &str)], value: &dyn Fn(i64) -> f64| {
            let mut labels = vec![
                ("__name__", name),
                ("instance", "nas:9811"),
                ("zrepl_job", job),
            ];
            labels.extend(more);
            let samples: Vec<(i64, f64)> = (0..60i64)
                .map(|at| (now - (59 - at) * 10_000, value(at)))
                .collect();
            all.push(series(&labels, &samples));
        };
        push("zrepl_replication_filesystem_errors", &[], &|_| 0.0);
        let success = (now / 1000 - 300) as f64;
        push("zrepl_replication_last_successful", &[], &|_| success);
        for filesystem in ["tank/home", "tank/vm"] {
            let labels = [("filesystem", filesystem)];
            let bytes = |at: i64| at as f64 * 1e6;
            push("zrepl_replication_bytes_replicated", &labels, &bytes);
        }
        let count = |at: i64| at as f64;
        let state = [("state", "working")];
        push("zrepl_replication_state_time_sum", &state, &count);
        let side = [("prune_side", "sender")];
        push("zrepl_pruning_time_sum", &side, &count);
        push("zrepl_pruning_time_count", &side, &count);
        push("zrepl_daemon_log_entries", &[("level", "warn")], &count);
    }
    body(all)
}

/// Would catch an expression of the ZFS dashboard that names what zrepl does not have, or cannot be asked.
#[test]
fn the_zfs_dashboard_shows_what_zrepl_exposes() {
    let folder = tempfile::tempdir().unwrap();
    let node = Cairn::start(folder.path(), &[]);
    let written = send(&node.url(), &zrepl(now_ms())).unwrap();
    assert!(written.status / 100 == 2, "{}", written.text());
    let panels = of_dashboard("docs/dashboards/zrepl.json");
    assert_eq!(panels.len(), 8);
    for asked in &panels {
        let shown = answer(&node.url(), asked);
        assert!(!shown.is_empty(), "{}: {}", asked.name, asked.expression);
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
