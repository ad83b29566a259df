//! What a node says of itself, what is not there, and who may ask from where.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn status_and_what_is_not_there() {
    let server = start(false).await;
    let success = |data: &str| format!("{{\"status\":\"success\",\"data\":{data}}}");
    for (path, data) in [
        ("rules", r#"{"groups":[]}"#),
        ("alerts", r#"{"alerts":[]}"#),
        (
            "alertmanagers",
            r#"{"activeAlertmanagers":[],"droppedAlertmanagers":[]}"#,
        ),
        ("notifications", "[]"),
        ("targets/metadata", "[]"),
        ("scrape_pools", r#"{"scrapePools":["cairn"]}"#),
        (
            "targets?state=active",
            r#"{"activeTargets":[{"discoveredLabels":{"job":"cairn"},"labels":{"job":"cairn"},"scrapePool":"cairn","scrapeUrl":"http://127.0.0.1:9009/metrics","globalUrl":"http://127.0.0.1:9009/metrics","lastError":"","lastScrape":"1970-01-01T00:00:01Z","lastScrapeDuration":0.001000,"health":"up","scrapeInterval":"15s","scrapeTimeout":"15s"}],"droppedTargets":[],"droppedTargetCounts":{"cairn":0}}"#,
        ),
        ("status/flags", r#"{"http.listen":"0.0.0.0:9009"}"#),
        ("status/config", r#"{"yaml":"http.listen = \"x\"\n"}"#),
        ("status/tsdb/blocks", r#"{"blocks":[]}"#),
        (
            "status/walreplay",
            r#"{"min":1,"max":3,"current":2,"state":"in progress"}"#,
        ),
        (
            "status/tsdb?limit=1",
            r#"{"headStats":{"numSeries":3,"numLabelPairs":0,"chunkCount":0,"minTime":0,"maxTime":0},"seriesCountByMetricName":[{"name":"up","value":2}],"labelValueCountByLabelName":[],"memoryInBytesByLabelName":[],"seriesCountByLabelValuePair":[]}"#,
        ),
    ] {
        server
            .check(&format!("/api/v1/{path}"), 200, &success(data))
            .await;
    }
    let deletes = server.get("/api/v1/admin/tsdb/tombstones").await;
    let off = StatusCode::SERVICE_UNAVAILABLE;
    assert_eq!(deletes.status, off, "deletes are off unless enabled");
    let snapshot = server.post("/api/v1/admin/tsdb/snapshot", "").await;
    assert_eq!(snapshot.status, off, "and so are snapshots");
    let build = server.get("/api/v1/status/buildinfo").await;
    assert!(
        build.text().contains(r#""version":"3."#),
        "{}",
        build.text()
    );
    let runtime = server.get("/prometheus/api/v1/status/runtimeinfo").await;
    assert!(
        runtime
            .text()
            .contains(r#""serverTime":"1970-01-01T00:05:00Z""#)
    );
    for limit in ["0", "10001", "x"] {
        let got = server
            .get(&format!("/api/v1/status/tsdb?limit={limit}"))
            .await;
        assert_eq!(got.status, StatusCode::BAD_REQUEST);
    }
    server.check("/-/healthy", 200, "Cairn is healthy.\n").await;
    server.check("/ready", 200, "Cairn is ready.\n").await;
    server.ready.store(false, Ordering::Release);
    server
        .check("/-/ready", 503, "the log is being read\n")
        .await;
    let got = server.get("/api/v1/labels").await;
    assert_eq!(got.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(got.headers.contains_key("retry-after"));
    let got = server.get("/api/v1/status/walreplay").await;
    assert_eq!(got.status, StatusCode::OK);
    let got = server.post("/-/reload", "").await;
    assert_eq!(got.text(), "failed to reload config: unknown key\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_paths_say_what_to_do() {
    let server = start(false).await;
    for (path, word) in [
        ("/api/v1/nothing", "page not found"),
        ("/prometheus/config/v1/rules", "page not found"),
        ("/otlp/v1/metrics", "Collector"),
        ("/prometheus/api/v1/otlp/v1/metrics", "Collector"),
        ("/write?db=x", "Telegraf"),
        ("/api/put", "Vector"),
    ] {
        let got = server.get(path).await;
        assert_eq!(got.status, StatusCode::NOT_FOUND, "{path}");
        assert!(got.text().contains("page not found"), "{path}");
        assert!(got.text().contains(word), "{path}: {}", got.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tenancy_needs_its_header() {
    let server = start(true).await;
    let got = server.get("/api/v1/labels").await;
    assert_eq!(got.status, StatusCode::UNAUTHORIZED);
    assert!(got.text().contains("X-Scope-OrgID"));
    let request = Request::get(format!("{}/api/v1/labels", server.base))
        .header("X-Scope-OrgID", "team")
        .body(Body::empty());
    assert_eq!(server.send(request.unwrap()).await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn browsers_head_and_options() {
    let server = start(false).await;
    let ask = |method: &str| {
        Request::builder()
            .method(method)
            .uri(format!("{}/api/v1/labels", server.base))
            .header("origin", "http://grafana")
            .body(Body::empty())
            .unwrap()
    };
    let got = server.send(ask("OPTIONS")).await;
    assert_eq!(got.status, StatusCode::NO_CONTENT);
    assert_eq!(got.headers["access-control-allow-origin"], "*");
    let got = server.send(ask("HEAD")).await;
    assert_eq!((got.status, got.body.len()), (StatusCode::OK, 0));
    let got = server.get("/metrics").await;
    assert!(
        got.text()
            .contains("cairn_http_requests_total{path=\"/api/v1/labels\",code=\"200\"} 1"),
        "{}",
        got.text()
    );
}
