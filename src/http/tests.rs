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
use crate::cluster::{
    ArchiveStatus, CancelQueries, ClusterStatus, FlushStatus, Loss, NodeQueries, NodeVerified,
    Verified, VerifyFault, VerifyOrder, VerifyReport, VerifyStanding,
};
use crate::model::{
    BlockEntry, BlockId, Exemplar, LabelSet, Metadata, MetricKind, RingArc, Samples, TenantId,
    TimestampMs, Value, Window,
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

    fn snapshot(&self) -> Result<String, String> {
        Ok("20010101T000000Z-1".to_owned())
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

    fn verification(&self, order: Option<VerifyOrder>) -> Verified {
        let Some(order) = order else {
            return Verified::default();
        };
        let rate = match order {
            VerifyOrder::Begin { bytes_per_second } => bytes_per_second,
            VerifyOrder::CallOff => 0,
        };
        let block = (BlockId(7), Window(0).range());
        let fault = VerifyFault {
            arc: RingArc::all(4).nth(3).unwrap(),
            block: Some(block),
            in_bucket: true,
            problem: "it is gone".to_owned(),
        };
        let report = VerifyReport {
            bytes_all: rate,
            faults: vec![fault],
            ..VerifyReport::default()
        };
        let standings = [
            VerifyStanding::Has(report),
            VerifyStanding::Silent("away".to_owned()),
        ];
        let nodes = standings.into_iter().zip(1..);
        let nodes = nodes.map(|(standing, number)| NodeVerified {
            node: format!("board-{number}"),
            standing,
        });
        Verified {
            order: 255,
            nodes: nodes.collect(),
            over: false,
            unseen: vec!["a partition".to_owned()],
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
        durations: Durations::default(),
        engine: Arc::new(engine),
        read_timeout: Duration::from_secs(20),
        clock,
        tenancy,
        admin: None,
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

mod paths;
mod peers;
mod promql;
mod queries;
mod series;
mod verify;

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
