//! Real senders through a real HAProxy before three boards, one of which is killed meanwhile:
//! nothing that was scraped is missing.

use std::time::Duration;

use serde_json::Value;

use super::lab::Lab;
use super::stories::three;
use crate::compare::compare;
use crate::remote_write::now_ms;
use crate::servers::{
    HaProxy, NodeExporter, OtelCollector, Prometheus, PrometheusKind, eventually, free_port, long,
    post_form, skip,
};

const PATIENCE: Duration = Duration::from_secs(90);

fn ask(url: &str, expression: &str, at_ms: i64) -> Result<Value, String> {
    let time = format!("{}.{:03}", at_ms / 1000, at_ms % 1000);
    let form = [("query", expression), ("time", &time)];
    let answer = post_form(&format!("{url}/api/v1/query"), &form)?;
    if answer.status != 200 {
        return Err(format!("{url}: {} {}", answer.status, answer.text()));
    }
    Ok(answer.json()["data"].clone())
}

/// Waits until there are samples newer than a time of every target of a job.
fn arrived(url: &str, matcher: &str, ms: i64) {
    let expression = format!(
        "count(timestamp(up{{{matcher}}}) > {}.{:03})",
        ms / 1000,
        ms % 1000
    );
    eventually("samples arrive", PATIENCE, || {
        let data = ask(url, &expression, now_ms())?;
        let value = data["result"][0]["value"][1].as_str();
        value
            .map(drop)
            .ok_or_else(|| format!("{expression}: {data}"))
    });
}

/// One board is killed for some seconds, while everybody sends.
fn lose_a_board(lab: &mut Lab, board: usize) {
    std::thread::sleep(Duration::from_secs(4));
    lab.boards[board].kill();
    std::thread::sleep(Duration::from_secs(6));
    lab.start(board);
    lab.wait_ready(PATIENCE);
}

/// Every sample that one has of a job and range, the other has too, bit for bit.
fn same(reference: &str, boards: &Lab, matcher: &str, begun: i64, end: i64) -> usize {
    let seconds = (end - begun) / 1000;
    let expression = format!("{{__name__=~\".+\",{matcher}}}[{seconds}s]");
    let want = ask(reference, &expression, end).unwrap();
    for board in &boards.boards {
        let got = ask(&board.url(), &expression, end).unwrap();
        compare(&want, &got, 0.0).unwrap_or_else(|difference| {
            panic!("{} and the sender's own data: {difference}", board.name)
        });
    }
    let series = want["result"].as_array().unwrap().iter();
    series
        .map(|series| series["values"].as_array().map_or(0, Vec::len))
        .sum()
}

fn prometheus(lab: &mut Lab, folder: &std::path::Path) -> Result<(), &'static str> {
    let exporter = NodeExporter::start(folder)?;
    let proxy = HaProxy::start(folder, &lab.urls())?;
    let remote_write = format!(
        "url: {}/api/v1/write\nqueue_config:\n  batch_send_deadline: 500ms\n  min_backoff: 100ms\n  max_backoff: 1s",
        proxy.url()
    );
    let targets = [("node", exporter.port)];
    let sender = Prometheus::start(PrometheusKind::Three, folder, &targets, &remote_write)?;
    let matcher = "job=~\"node|prometheus\"";
    // What it scraped before it had read its own log again is not sent: from here on all is.
    arrived(&proxy.url(), matcher, now_ms());
    let begun = now_ms();
    lose_a_board(lab, 1);
    let end = now_ms();
    for board in &lab.boards {
        arrived(&board.url(), matcher, end);
    }
    let samples = same(&sender.url(), lab, matcher, begun, end);
    println!("{samples} samples are what Prometheus scraped, on each board");
    assert!(samples > 2_000, "only {samples} samples were compared");
    Ok(())
}

/// Would catch a write that is refused for good (400) where it should be sent again, one that is
/// acknowledged and not kept, and a proxy's health check that says what is not so.
#[test]
fn prometheus_writes_through_a_proxy_while_a_board_is_killed() {
    let story = "cluster::prometheus_through_haproxy";
    let folder = tempfile::tempdir().unwrap();
    let Some(mut lab) = three(story, folder.path(), &["ingest.self_scrape_interval=0s"]) else {
        return;
    };
    lab.start_all();
    if let Err(reason) = prometheus(&mut lab, folder.path()) {
        skip(story, reason);
    }
}

/// The Collector keeps nothing itself: what it sends goes to a Prometheus that receives, too.
fn collector(lab: &mut Lab, folder: &std::path::Path) -> Result<(), &'static str> {
    let exporter = NodeExporter::start(folder)?;
    let proxy = HaProxy::start(folder, &lab.urls())?;
    let reference = Prometheus::receiving(folder)?;
    let (health, telemetry) = (free_port(), free_port());
    let to = |name: &str, url: &str| {
        format!(
            "  prometheus_remote_write/{name}:\n    endpoint: {url}/api/v1/write\n    retry_on_failure: {{ enabled: true, initial_interval: 200ms, max_interval: 1s, max_elapsed_time: 120s }}\n"
        )
    };
    let exporters = to("boards", &proxy.url()) + &to("reference", &reference.url());
    let config = format!(
        "receivers:\n  prometheus:\n    config:\n      scrape_configs:\n        - job_name: otel-node\n          scrape_interval: 1s\n          static_configs:\n            - targets: ['127.0.0.1:{}']\n\
         exporters:\n{exporters}\
         extensions:\n  health_check:\n    endpoint: 127.0.0.1:{health}\n\
         service:\n  extensions: [health_check]\n  telemetry:\n    metrics:\n      readers:\n        - pull:\n            exporter:\n              prometheus:\n                host: 127.0.0.1\n                port: {telemetry}\n  pipelines:\n    metrics:\n      receivers: [prometheus]\n      exporters: [prometheus_remote_write/boards, prometheus_remote_write/reference]\n",
        exporter.port
    );
    let collector = OtelCollector::start(folder, &config, health)?;
    let matcher = "job=\"otel-node\"";
    arrived(&proxy.url(), matcher, now_ms());
    let begun = now_ms();
    lose_a_board(lab, 2);
    let end = now_ms();
    arrived(&reference.url(), matcher, end);
    for board in &lab.boards {
        arrived(&board.url(), matcher, end);
    }
    let samples = same(&reference.url(), lab, matcher, begun, end);
    println!("{samples} samples are what the Collector scraped, on each board");
    assert!(samples > 2_000, "only {samples} samples were compared");
    let output = collector.server.output();
    assert!(!output.contains("Dropping data"), "{output}");
    Ok(())
}

/// The same with the OpenTelemetry Collector, which gives up on what Prometheus tries again.
#[test]
fn the_collector_writes_through_a_proxy_while_a_board_is_killed() {
    let story = "cluster::collector_through_haproxy";
    if !long(story) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let Some(mut lab) = three(story, folder.path(), &["ingest.self_scrape_interval=0s"]) else {
        return;
    };
    lab.start_all();
    if let Err(reason) = collector(&mut lab, folder.path()) {
        skip(story, reason);
    }
}
