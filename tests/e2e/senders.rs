//! Everybody may write: Debian's Prometheus by version 1.0, vmagent, and the OpenTelemetry
//! Collector by both versions.

use std::time::Duration;

use super::remote_write::now_ms;
use super::servers::{
    Cairn, NodeExporter, OtelCollector, Prometheus, PrometheusKind, VmAgent, eventually, free_port,
    skip,
};

/// Waits until a query has a value of at least `least`.
fn wait_for(cairn: &Cairn, expression: &str, least: f64) {
    eventually(expression, Duration::from_secs(60), || {
        let result = cairn.query(expression);
        let value: Option<f64> = result[0]["value"][1]
            .as_str()
            .and_then(|value| value.parse().ok());
        match value {
            Some(value) if value >= least => Ok(()),
            other => Err(format!("{other:?}, at least {least} wanted")),
        }
    });
}

fn debian_prometheus() -> Result<(), &'static str> {
    let folder = tempfile::tempdir().unwrap();
    let exporter = NodeExporter::start(folder.path())?;
    let cairn = Cairn::start(folder.path(), &[]);
    let remote_write = format!("url: {}/api/v1/push", cairn.url());
    let prometheus = Prometheus::start(
        PrometheusKind::Debian,
        folder.path(),
        &[("node", exporter.port)],
        &remote_write,
    )?;
    wait_for(&cairn, "count({job=\"node\"})", 300.0);
    wait_for(&cairn, "count_over_time(up{job=\"node\"}[1m])", 5.0);
    // Metadata comes in requests of its own; in 2.42 after the first minute.
    assert!(
        !prometheus.server.output().contains("non-recoverable error"),
        "{}",
        prometheus.server.output()
    );
    Ok(())
}

#[test]
fn debians_prometheus_writes_version_one() {
    if let Err(reason) = debian_prometheus() {
        skip("senders::debians_prometheus_writes_version_one", reason);
    }
}

fn vmagent() -> Result<(), &'static str> {
    let folder = tempfile::tempdir().unwrap();
    let exporter = NodeExporter::start(folder.path())?;
    let cairn = Cairn::start(folder.path(), &[]);
    let agent = VmAgent::start(
        folder.path(),
        exporter.port,
        &format!("{}/prometheus/api/v1/write", cairn.url()),
    )?;
    wait_for(&cairn, "count({job=\"vmagent-node\"})", 300.0);
    wait_for(
        &cairn,
        "sum(count_over_time(up{job=\"vmagent-node\"}[1m]))",
        3.0,
    );
    drop(agent);
    Ok(())
}

#[test]
fn vmagent_writes() {
    if let Err(reason) = vmagent() {
        skip("senders::vmagent_writes", reason);
    }
}

fn collector() -> Result<(), &'static str> {
    let folder = tempfile::tempdir().unwrap();
    let exporter = NodeExporter::start(folder.path())?;
    let cairn = Cairn::start(folder.path(), &[]);
    let (health, telemetry) = (free_port(), free_port());
    let exporters: String = [("one", "prometheus.WriteRequest"), ("two", "io.prometheus.write.v2.Request")]
        .map(|(name, message)| {
            format!(
                "  prometheus_remote_write/{name}:\n    endpoint: {}/api/v1/write\n    protobuf_message: {message}\n    external_labels: {{ way: {name} }}\n",
                cairn.url()
            )
        })
        .concat();
    let config = format!(
        "receivers:\n  prometheus:\n    config:\n      scrape_configs:\n        - job_name: otel-node\n          scrape_interval: 1s\n          static_configs:\n            - targets: ['127.0.0.1:{}']\n\
         exporters:\n{exporters}\
         extensions:\n  health_check:\n    endpoint: 127.0.0.1:{health}\n\
         service:\n  extensions: [health_check]\n  telemetry:\n    metrics:\n      readers:\n        - pull:\n            exporter:\n              prometheus:\n                host: 127.0.0.1\n                port: {telemetry}\n  pipelines:\n    metrics:\n      receivers: [prometheus]\n      exporters: [prometheus_remote_write/one, prometheus_remote_write/two]\n",
        exporter.port
    );
    let collector = OtelCollector::start(folder.path(), &config, health)?;
    for way in ["one", "two"] {
        wait_for(
            &cairn,
            &format!("count({{job=\"otel-node\", way=\"{way}\"}})"),
            300.0,
        );
        wait_for(
            &cairn,
            &format!("count_over_time(node_load1{{way=\"{way}\"}}[1m])"),
            4.0,
        );
    }
    // A receiver that forgets the headers of version 2 is warned about.
    assert!(
        !collector.server.output().contains("Written"),
        "{}",
        collector.server.output()
    );
    let start = now_ms() / 1000 - 60;
    let same = cairn.api(
        "query",
        &[("query", "count(node_boot_time_seconds{way=\"one\"} == on (instance) node_boot_time_seconds{way=\"two\"})"), ("time", &(start + 60).to_string())],
    );
    assert_eq!(
        same.json()["data"]["result"][0]["value"][1],
        "1",
        "{}",
        same.text()
    );
    Ok(())
}

#[test]
fn the_opentelemetry_collector_writes_both_versions() {
    if let Err(reason) = collector() {
        skip(
            "senders::the_opentelemetry_collector_writes_both_versions",
            reason,
        );
    }
}
