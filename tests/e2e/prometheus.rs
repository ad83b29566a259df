//! The main story: a real Prometheus scrapes node_exporter, itself and Cairn every second and
//! remote-writes to Cairn. Both are asked the same questions; Cairn is killed in the middle.

use std::time::Duration;

use serde_json::Value;

use super::compare::compare;
use super::queries::{COLLECTORS, QUERIES};
use super::remote_write::now_ms;
use super::servers::{
    Cairn, NodeExporter, Prometheus, PrometheusKind, eventually, post_form, skip,
};

/// How far the two servers' answers may differ, relatively.
const TOLERANCE: f64 = 1e-12;

fn ask(url: &str, endpoint: &str, form: &[(&str, &str)]) -> Value {
    let answer = post_form(&format!("{url}/api/v1/{endpoint}"), form).unwrap();
    assert_eq!(answer.status, 200, "{url} {form:?}: {}", answer.text());
    answer.json()["data"].clone()
}

fn seconds(ms: i64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

/// Waits until Cairn holds samples newer than `ms` of every job.
fn wait_for(cairn: &Cairn, jobs: usize, ms: i64) {
    eventually("samples arrive", Duration::from_secs(90), || {
        let expression = format!("count(timestamp(up) > {})", seconds(ms));
        let data = ask(&cairn.url(), "query", &[("query", &expression)]);
        match data["result"][0]["value"][1].as_str() {
            Some(count) if count.parse() == Ok(jobs) => Ok(()),
            other => Err(format!(
                "{other:?} of {jobs} jobs are there: {}",
                cairn.server.output()
            )),
        }
    });
}

/// Asks both every question, at and up to a time that both hold.
fn agree(cairn: &Cairn, prometheus: &Prometheus, end: i64) -> Vec<String> {
    let mut differences = Vec::new();
    for query in QUERIES.iter().chain(COLLECTORS) {
        let instant = [("query", *query), ("time", &seconds(end))];
        let range = [
            ("query", *query),
            ("start", &seconds(end - 15_000)),
            ("end", &seconds(end)),
            ("step", "3"),
        ];
        for (endpoint, form) in [("query", &instant[..]), ("query_range", &range[..])] {
            let (want, got) = (
                ask(&prometheus.url(), endpoint, form),
                ask(&cairn.url(), endpoint, form),
            );
            if let Err(difference) = compare(&want, &got, TOLERANCE) {
                differences.push(format!("{endpoint} {query}: {difference}"));
            }
        }
    }
    differences
}

/// Every raw sample of a range, from both, bit for bit (as far as JSON shows bits).
fn same_samples(cairn: &Cairn, prometheus: &Prometheus, end: i64, length: &str) -> usize {
    let expression = format!("{{__name__=~\".+\"}}[{length}]");
    let form = [("query", expression.as_str()), ("time", &seconds(end))];
    let (want, got) = (
        ask(&prometheus.url(), "query", &form),
        ask(&cairn.url(), "query", &form),
    );
    compare(&want, &got, 0.0)
        .unwrap_or_else(|difference| panic!("raw samples differ: {difference}"));
    want["result"]
        .as_array()
        .unwrap()
        .iter()
        .map(|series| series["values"].as_array().map_or(0, Vec::len))
        .sum()
}

fn story() -> Result<(), &'static str> {
    let folder = tempfile::tempdir().unwrap();
    let exporter = NodeExporter::start(folder.path())?;
    // Without its own scrape: what the two hold must be the same.
    let mut cairn = Cairn::start(folder.path(), &["ingest.self_scrape_interval=0s"]);
    let remote_write = format!(
        "url: {}/api/v1/write\nprotobuf_message: io.prometheus.write.v2.Request\nsend_exemplars: true\nqueue_config:\n  batch_send_deadline: 500ms\n  min_backoff: 100ms\n  max_backoff: 500ms",
        cairn.url()
    );
    let targets = [("node", exporter.port), ("cairn", cairn.port)];
    let prometheus = Prometheus::start(
        PrometheusKind::Three,
        folder.path(),
        &targets,
        &remote_write,
    )?;
    let begun = now_ms();
    wait_for(&cairn, 3, begun + 45_000);
    let end = (begun + 45_000) / 1000 * 1000;
    let differences = agree(&cairn, &prometheus, end);
    assert!(
        differences.is_empty(),
        "{} of {} answers differ:\n{}",
        differences.len(),
        (QUERIES.len() + COLLECTORS.len()) * 2,
        differences.join("\n")
    );

    cairn = cairn.crash_and_restart();
    let restarted = now_ms();
    wait_for(&cairn, 3, restarted + 8_000);
    let end = (restarted + 8_000) / 1000 * 1000;
    // Everything from before the kill, from the time of it, and from after it.
    let length = format!("{}s", (end - begun) / 1000 - 5);
    let samples = same_samples(&cairn, &prometheus, end, &length);
    println!(
        "{} queries agree; {samples} samples are the same after kill -9",
        (QUERIES.len() + COLLECTORS.len()) * 2
    );
    assert!(samples > 20_000, "only {samples} samples were compared");
    Ok(())
}

#[test]
fn a_real_prometheus_writes_in_and_promql_comes_out() {
    assert!(QUERIES.len() * 2 >= 100);
    if let Err(reason) = story() {
        skip(
            "prometheus::a_real_prometheus_writes_in_and_promql_comes_out",
            reason,
        );
    }
}
