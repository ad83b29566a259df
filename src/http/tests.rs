//! The API over a real connection and a source of a few series. Would catch a path that is gone,
//! a status or envelope that is not Prometheus', work that goes on after its client left.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use prometheus_client::registry::Registry;
use tokio::sync::oneshot;

use super::*;
use crate::cluster::{ArchiveStatus, CancelQueries, ClusterStatus, FlushStatus, Loss, NodeQueries};
use crate::model::{
    BlockEntry, Exemplar, LabelSet, Metadata, MetricKind, RingArc, Samples, TenantId, TimestampMs,
    Value,
};
use crate::query::{Engine, InstantQuery, QueryMetrics, QuerySettings};
use crate::runtime::{Clock, ManualClock, Pool, Register, Underway};
use crate::source::{
    FamilyMetadata, LabelPairs, ReadContext, Selection, SeriesExemplars, SeriesStream, Source,
    SourceError,
};

/// Series with their samples.
struct Fixture {
    series: Vec<(LabelSet, Samples)>,
    /// Set when a query was told to stop.
    stopped: Arc<AtomicBool>,
}

impl Fixture {
    fn matching(&self, selection: &Selection) -> Vec<(LabelSet, Samples)> {
        let matches = |labels: &LabelSet| {
            selection
                .matchers
                .iter()
                .all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or_default()))
        };
        let mut found: Vec<(LabelSet, Samples)> = Vec::new();
        for (labels, samples) in self.series.iter().filter(|(labels, _)| matches(labels)) {
            let mut samples = samples.clone();
            samples.clip(selection.range);
            if !samples.is_empty() {
                found.push((labels.clone(), samples));
            }
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        found
    }
}

struct Stream(std::vec::IntoIter<(LabelSet, Samples)>);

impl SeriesStream for Stream {
    fn next(&mut self, samples: &mut Samples) -> Result<Option<LabelSet>, SourceError> {
        Ok(self.0.next().map(|(labels, found)| {
            *samples = found;
            labels
        }))
    }
}

fn first<T>(mut found: Vec<T>, limit: usize) -> Vec<T> {
    if limit > 0 {
        found.truncate(limit);
    }
    found
}

impl Source for Fixture {
    fn select(
        &self,
        selection: &Selection,
        context: &ReadContext,
    ) -> Result<Box<dyn SeriesStream>, SourceError> {
        let slow = |matcher: &crate::model::Matcher| matcher.value() == "slow";
        if selection.matchers.iter().any(slow) {
            // A query that only a cancelled token ends.
            while let Ok(()) = context.cancel.check() {
                std::thread::yield_now();
            }
            self.stopped.store(true, Ordering::Release);
        }
        context.cancel.check()?;
        Ok(Box::new(Stream(self.matching(selection).into_iter())))
    }

    fn series(
        &self,
        selection: &Selection,
        limit: usize,
        _: &ReadContext,
    ) -> Result<Vec<LabelSet>, SourceError> {
        let found = self.matching(selection);
        Ok(first(found.into_iter().map(|one| one.0).collect(), limit))
    }

    fn label_names(
        &self,
        selection: &Selection,
        limit: usize,
        context: &ReadContext,
    ) -> Result<Vec<String>, SourceError> {
        if let Some(partial) = &context.partial {
            partial.lacks("board-2 is away".to_owned());
        }
        let mut names: Vec<String> = Vec::new();
        for (labels, _) in self.matching(selection) {
            names.extend(labels.iter().map(|(name, _)| name.to_owned()));
        }
        names.sort_unstable();
        names.dedup();
        Ok(first(names, limit))
    }

    fn label_values(
        &self,
        name: &str,
        selection: &Selection,
        limit: usize,
        _: &ReadContext,
    ) -> Result<Vec<String>, SourceError> {
        let found = self.matching(selection);
        let mut values: Vec<String> = found
            .iter()
            .filter_map(|(labels, _)| labels.get(name).map(str::to_owned))
            .collect();
        values.sort_unstable();
        values.dedup();
        Ok(first(values, limit))
    }

    fn metadata(
        &self,
        _: &TenantId,
        family: Option<&str>,
        _: &ReadContext,
    ) -> Result<Vec<FamilyMetadata>, SourceError> {
        let of = |kind, help: &str| Metadata {
            kind,
            help: help.to_owned(),
            unit: String::new(),
        };
        let mut all = vec![
            (
                "a_total".to_owned(),
                vec![of(MetricKind::Counter, "A \"count\".")],
            ),
            (
                "up".to_owned(),
                vec![of(MetricKind::Gauge, "new"), of(MetricKind::Unknown, "old")],
            ),
        ];
        all.retain(|(name, _)| family.is_none_or(|family| family == name));
        Ok(all)
    }

    fn label_pairs(&self, _: &TenantId, _: &ReadContext) -> Result<LabelPairs, SourceError> {
        Ok(LabelPairs::default())
    }

    fn exemplars(
        &self,
        selection: &Selection,
        _: &ReadContext,
    ) -> Result<Vec<SeriesExemplars>, SourceError> {
        let exemplar = Exemplar {
            labels: labels(&[("trace_id", "abc")]),
            value: 0.25,
            timestamp: TimestampMs(1_500),
        };
        let found = self.matching(selection).into_iter();
        Ok(found.map(|one| (one.0, vec![exemplar.clone()])).collect())
    }
}

fn labels(pairs: &[(&str, &str)]) -> LabelSet {
    LabelSet::from_pairs(pairs).unwrap()
}

/// `up` of two jobs (values 1 and 0 every 10 s up to 300 s) and a name with dots.
fn fixture() -> Fixture {
    let every_ten = |value: f64| {
        let mut samples = Samples::default();
        for at in 0..=30 {
            let at = TimestampMs(at * 10_000);
            samples.push(at, Value::Float(value), TimestampMs(0));
        }
        samples
    };
    Fixture {
        series: vec![
            (labels(&[("__name__", "up"), ("job", "a")]), every_ten(1.0)),
            (labels(&[("__name__", "up"), ("job", "b")]), every_ten(0.0)),
            (
                labels(&[("__name__", "http.x"), ("http.route", "/")]),
                every_ten(0.5),
            ),
        ],
        stopped: Arc::new(AtomicBool::new(false)),
    }
}

struct Node {
    ready: Arc<AtomicBool>,
}

impl StatusProvider for Node {
    fn ready(&self) -> Result<(), String> {
        if self.ready.load(Ordering::Acquire) {
            Ok(())
        } else {
            Err("the log is being read".to_owned())
        }
    }

    fn runtime(&self) -> RuntimeStatus {
        RuntimeStatus {
            host: "board".to_owned(),
            series: 3,
            ..RuntimeStatus::default()
        }
    }

    fn flags(&self) -> Vec<(String, String)> {
        vec![("http.listen".to_owned(), "0.0.0.0:9009".to_owned())]
    }

    fn config(&self) -> String {
        "http.listen = \"x\"\n".to_owned()
    }

    fn head(&self, _: &TenantId, limit: usize, _: &ReadContext) -> Result<HeadStatus, SourceError> {
        Ok(HeadStatus {
            series: 3,
            series_by_metric: [("up".to_owned(), 2), ("http.x".to_owned(), 1)]
                .into_iter()
                .take(limit)
                .collect(),
            ..HeadStatus::default()
        })
    }

    fn blocks(&self) -> Vec<(RingArc, BlockEntry)> {
        Vec::new()
    }

    fn cluster(&self) -> ClusterStatus {
        ClusterStatus {
            cluster: "c0ffee".to_owned(),
            trouble: vec!["down: board-2".to_owned()],
            ..ClusterStatus::default()
        }
    }

    fn drain(&self, node: &str, _: bool) -> Result<(), String> {
        if node == "board-2" {
            return Ok(());
        }
        Err(format!("no node is called {node}"))
    }

    fn forget(&self, node: &str) -> Result<(), String> {
        self.drain(node, true)
    }

    fn split_ring(&self) -> Result<crate::model::RingArc, String> {
        "3-4".parse().map_err(|_| unreachable!())
    }

    fn recover_ring(&self, accept_loss: bool) -> Result<Loss, String> {
        Ok(Loss {
            nodes: vec!["board-2".to_owned()],
            done: accept_loss,
            ..Loss::default()
        })
    }

    fn replay(&self) -> ReplayStatus {
        ReplayStatus {
            first: 1,
            last: 3,
            current: 2,
            done: false,
        }
    }

    fn queries(&self, cancel: Option<&CancelQueries>) -> Vec<NodeQueries> {
        let query = Underway {
            id: 7,
            tenant: TenantId::anonymous(),
            text: "up".to_owned(),
            began: TimestampMs(1_500),
            took: Duration::from_millis(1_234),
            waiting: false,
            peak_memory_bytes: 99,
            samples_read: 3,
        };
        let meant = |cancel: &CancelQueries| cancel.id.is_none_or(|id| id == 7);
        vec![
            NodeQueries {
                node: "board-1".to_owned(),
                cancelled: usize::from(cancel.is_some_and(meant)),
                running: Ok(vec![query]),
            },
            NodeQueries {
                node: "board-2".to_owned(),
                cancelled: 0,
                running: Err("it is away".to_owned()),
            },
        ]
    }

    fn order_flush(&self) -> u64 {
        7
    }

    fn flush(&self) -> FlushStatus {
        FlushStatus {
            ordered: 7,
            archive: Some(ArchiveStatus {
                place: "the bucket".to_owned(),
                waiting_bytes: 5,
                trouble: Some("away".to_owned()),
                ..ArchiveStatus::default()
            }),
            ..FlushStatus::default()
        }
    }

    fn targets(&self) -> Vec<TargetStatus> {
        vec![TargetStatus {
            labels: labels(&[("job", "cairn")]),
            pool: "cairn".to_owned(),
            url: "http://127.0.0.1:9009/metrics".to_owned(),
            error: String::new(),
            scraped: TimestampMs(1_000),
            took_s: 0.001,
            interval_ms: 15_000,
        }]
    }

    fn reload(&self) -> Result<(), String> {
        Err("unknown key".to_owned())
    }
}

/// A server under test; it stops when dropped.
struct Running {
    base: String,
    client: Client<HttpConnector, Body>,
    ready: Arc<AtomicBool>,
    stopped: Arc<AtomicBool>,
    _stop: oneshot::Sender<()>,
}

async fn start(tenancy: bool) -> Running {
    let mut registry = Registry::default();
    let metrics = HttpMetrics::register(&mut registry);
    let ready = Arc::new(AtomicBool::new(true));
    let source = fixture();
    let stopped = source.stopped.clone();
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(TimestampMs(300_000)));
    let engine = Engine::new(
        QuerySettings::default(),
        clock.clone(),
        QueryMetrics::register(&mut registry),
    );
    let state = State {
        source: Arc::new(source),
        status: Arc::new(Node {
            ready: ready.clone(),
        }),
        registry: Arc::new(registry),
        metrics: metrics.clone(),
        pool: Pool::new("queries", 4, 16),
        engine: Arc::new(engine),
        read_timeout: Duration::from_secs(20),
        clock,
        tenancy,
    };
    let settings = HttpSettings {
        listen: "127.0.0.1:0".to_owned(),
        ..HttpSettings::default()
    };
    let server = Server::bind(settings, metrics).await.unwrap();
    let base = format!("http://{}", server.local_addr().unwrap());
    let (stop, stopping) = oneshot::channel::<()>();
    let router = routes::finish(routes::reads(), state);
    tokio::spawn(server.run(router.into(), async move {
        let _ = stopping.await;
    }));
    Running {
        base,
        client: Client::builder(TokioExecutor::new()).build_http(),
        ready,
        stopped,
        _stop: stop,
    }
}

mod peers;
mod queries;

struct Got {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Got {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

impl Running {
    async fn send(&self, request: Request<Body>) -> Got {
        let response = self.client.request(request).await.unwrap();
        let (parts, body) = response.into_parts();
        Got {
            status: parts.status,
            headers: parts.headers,
            body: body.collect().await.unwrap().to_bytes().to_vec(),
        }
    }

    async fn get(&self, path: &str) -> Got {
        let request = Request::get(format!("{}{path}", self.base));
        self.send(request.body(Body::empty()).unwrap()).await
    }

    async fn post(&self, path: &str, form: &str) -> Got {
        let request = Request::post(format!("{}{path}", self.base))
            .header("content-type", "application/x-www-form-urlencoded");
        self.send(request.body(Body::from(form.to_owned())).unwrap())
            .await
    }

    /// Asks, and compares status and body.
    async fn check(&self, path: &str, status: u16, want: &str) {
        let got = self.get(path).await;
        assert_eq!(got.text(), want, "{path}");
        assert_eq!(got.status.as_u16(), status, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn series_and_labels() {
    let server = start(false).await;
    let all = "start=0&end=300";
    for (path, status, want) in [
        (
            format!("/api/v1/series?match[]=up&{all}"),
            200,
            r#"{"status":"success","data":[{"__name__":"up","job":"a"},{"__name__":"up","job":"b"}]}"#,
        ),
        (
            format!("/api/v1/series?match[]=up&match[]=%7Bjob=%22a%22%7D&limit=1&{all}"),
            200,
            r#"{"status":"success","data":[{"__name__":"up","job":"a"}],"warnings":["results truncated due to limit"]}"#,
        ),
        (
            "/api/v1/series?match[]=up&start=400".to_owned(),
            200,
            r#"{"status":"success","data":[]}"#,
        ),
        (
            "/api/v1/series".to_owned(),
            400,
            r#"{"status":"error","errorType":"bad_data","error":"no match[] parameter provided"}"#,
        ),
        (
            "/api/v1/series?match[]=up&start=x".to_owned(),
            400,
            r#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"start\": invalid time value for 'start': cannot parse \"x\" to a valid timestamp"}"#,
        ),
        (
            "/api/v1/labels?match[]=%7Bjob=~%22.*%22%7D".to_owned(),
            400,
            r#"{"status":"error","errorType":"bad_data","error":"match[] must contain at least one non-empty matcher"}"#,
        ),
        (
            format!("/prometheus/api/v1/labels?{all}"),
            200,
            r#"{"status":"success","data":["__name__","http.route","job"]}"#,
        ),
        (
            "/api/v1/labels?match[]=up&limit=1".to_owned(),
            200,
            r#"{"status":"success","data":["__name__"],"warnings":["results truncated due to limit"]}"#,
        ),
        (
            "/api/v1/label/job/values".to_owned(),
            200,
            r#"{"status":"success","data":["a","b"]}"#,
        ),
        (
            "/api/v1/label/U__http_2e_route/values".to_owned(),
            200,
            r#"{"status":"success","data":["/"]}"#,
        ),
        (
            "/api/v1/label/__name__/values?match[]=up".to_owned(),
            200,
            r#"{"status":"success","data":["up"]}"#,
        ),
    ] {
        server.check(&path, status, want).await;
    }
    let got = server.post("/api/v1/series", "match[]=up&limit=1").await;
    assert!(got.text().contains("truncated"), "{}", got.text());
    let got = server.post("/api/v1/label/job/values", "").await;
    assert_eq!(got.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_exemplars_and_text() {
    let server = start(false).await;
    for (path, status, want) in [
        (
            "/api/v1/query_exemplars?query=up%7Bjob=%22a%22%7D",
            200,
            r#"{"status":"success","data":[{"seriesLabels":{"__name__":"up","job":"a"},"exemplars":[{"labels":{"trace_id":"abc"},"value":"0.25","timestamp":1.500}]}]}"#,
        ),
        ("/api/v1/query_exemplars?query=1", 204, ""),
        (
            "/api/v1/metadata",
            200,
            r#"{"status":"success","data":{"a_total":[{"type":"counter","help":"A \"count\".","unit":""}],"up":[{"type":"gauge","help":"new","unit":""},{"type":"unknown","help":"old","unit":""}]}}"#,
        ),
        (
            "/api/v1/metadata?metric=up&limit_per_metric=1",
            200,
            r#"{"status":"success","data":{"up":[{"type":"gauge","help":"new","unit":""}]}}"#,
        ),
        (
            "/api/v1/metadata?limit=0",
            200,
            r#"{"status":"success","data":{}}"#,
        ),
        (
            "/api/v1/metadata?limit=x",
            400,
            r#"{"status":"error","errorType":"bad_data","error":"limit must be a number"}"#,
        ),
        (
            "/api/v1/format_query?query=sum%20%20(up)by(job)",
            200,
            r#"{"status":"success","data":"sum by (job) (up)"}"#,
        ),
    ] {
        server.check(path, status, want).await;
    }
    let tree = server.post("/api/v1/parse_query", "query=1").await;
    assert!(tree.text().contains("numberLiteral"), "{}", tree.text());
    let error = server.get("/api/v1/format_query?query=sum(").await;
    assert_eq!(error.status, StatusCode::BAD_REQUEST);
    assert!(
        error
            .text()
            .contains(r#"invalid parameter \"query\": 1:5: parse error"#),
        "{}",
        error.text()
    );
}

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

/// Would catch an answer that lacks something and does not say so, and one that may lack something
/// without having been asked for.
#[tokio::test(flavor = "multi_thread")]
async fn a_partial_answer_is_asked_for_and_carries_a_warning() {
    let server = start(false).await;
    let whole = server.get("/api/v1/labels").await.text().to_owned();
    let warned = whole.replace("]}", r#"],"warnings":["board-2 is away"]}"#);
    for (asked, status, want) in [
        ("false", 200, whole.as_str()),
        ("", 200, whole.as_str()),
        ("true", 200, warned.as_str()),
        (
            "maybe",
            400,
            r#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"partial_response\": \"maybe\" is neither true nor false"}"#,
        ),
    ] {
        let path = format!("/api/v1/labels?partial_response={asked}");
        server.check(&path, status, want).await;
    }
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

#[tokio::test(flavor = "multi_thread")]
async fn queries_answer_as_prometheus_does() {
    let server = start(false).await;
    for (path, status, want) in [
        // What Grafana's "save & test" asks.
        (
            "query?query=1%2B1&time=4",
            200,
            r#"{"status":"success","data":{"resultType":"scalar","result":[4,"2"]}}"#,
        ),
        (
            "query?query=up&time=295.5",
            200,
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"up","job":"a"},"value":[295.500,"1"]},{"metric":{"__name__":"up","job":"b"},"value":[295.500,"0"]}]}}"#,
        ),
        (
            "query?query=up&limit=1",
            200,
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"up","job":"a"},"value":[300,"1"]}]},"warnings":["results truncated due to limit"]}"#,
        ),
        (
            "query?query=nothing",
            200,
            r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#,
        ),
        (
            "query?query=%22text%22&time=1",
            200,
            r#"{"status":"success","data":{"resultType":"string","result":[1,"text"]}}"#,
        ),
        (
            "query?query=%7B%22http.x%22%7D%5B15s%5D&time=30",
            200,
            r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__name__":"http.x","http.route":"/"},"values":[[20,"0.5"],[30,"0.5"]]}]}}"#,
        ),
        (
            "query_range?query=sum(up)&start=10&end=30&step=10",
            200,
            r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[10,"1"],[20,"1"],[30,"1"]]}]}}"#,
        ),
        (
            "query?query=sum(",
            400,
            r#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"query\": 1:5: parse error: unclosed left parenthesis"}"#,
        ),
        (
            "query_range?query=up&start=10&end=5&step=1",
            400,
            r#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"end\": end timestamp must not be before start time"}"#,
        ),
        (
            "query_range?query=up&start=0&end=5&step=0",
            400,
            r#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"step\": zero or negative query resolution step widths are not accepted. Try a positive integer"}"#,
        ),
        (
            "query_range?query=up&start=0&end=100000&step=1",
            400,
            r#"{"status":"error","errorType":"bad_data","error":"exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)"}"#,
        ),
        (
            "query_range?query=up%5B5m%5D&start=0&end=10&step=1",
            400,
            r#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"query\": invalid expression type \"range vector\" for range query, must be Scalar or instant Vector"}"#,
        ),
    ] {
        server.check(&format!("/api/v1/{path}"), status, want).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_by_form_with_stats_and_annotations() {
    let server = start(false).await;
    let got = server
        .post(
            "/prometheus/api/v1/query",
            "query=rate(up%5B1m%5D)&stats=true",
        )
        .await;
    let json: serde_json::Value = serde_json::from_slice(&got.body).unwrap();
    assert_eq!(json["data"]["result"][0]["metric"]["job"], "a");
    assert!(json["data"]["stats"]["samples"]["totalQueryableSamples"].as_u64() > Some(0));
    assert!(json["data"]["stats"]["timings"]["execTotalTime"].is_number());
    let info = json["infos"][0].as_str().unwrap();
    assert!(info.contains("metric might not be a counter"), "{info}");
    assert!(info.ends_with("\"up\" (1:6)"), "{info}");
    let got = server.post("/api/v1/query", "query=1&stats=yes").await;
    assert!(got.text().contains("deprecated"), "{}", got.text());
    let got = server
        .post("/api/v1/query", "query=up&time=350&lookback_delta=30s")
        .await;
    assert!(got.text().contains(r#""result":[]"#), "{}", got.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_past_its_time_is_ended() {
    let server = start(false).await;
    let got = server
        .post("/api/v1/query", "query=slow&timeout=0.05")
        .await;
    assert_eq!(got.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(
        got.text().contains(r#""errorType":"timeout""#),
        "{}",
        got.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_connection_ends_its_query() {
    use tokio::io::AsyncWriteExt;
    let server = start(false).await;
    let address = server.base.trim_start_matches("http://");
    let mut connection = tokio::net::TcpStream::connect(address).await.unwrap();
    connection
        .write_all(b"GET /api/v1/query?query=slow HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!server.stopped.load(Ordering::Acquire));
    drop(connection);
    for _ in 0..500 {
        if server.stopped.load(Ordering::Acquire) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the query went on after its client had left");
}
