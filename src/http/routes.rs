//! Every path on one page.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, MatchedPath, Path, Request, State as Handed};
use axum::http::header::{CONTENT_TYPE, HeaderName, ORIGIN};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, get, on, post};
use http_body_util::{BodyExt, Limited};

use crate::ingest::{RECEIVERS, Receiver};
use crate::runtime::CancelToken;

use super::answer::answer;
use super::api;
use super::api::call::{Call, Endpoint};
use super::api::write::Writes;
use super::encoding::Encoding;
use super::health;
use super::params::{Params, parse_duration};
use super::reply::{ApiError, Kind, plain};
use super::state::State;
use super::tenant::tenant_of;
use super::ui;

/// Where the API stands: as in Prometheus, and as in Mimir.
const PREFIXES: [&str; 2] = ["/api/v1", "/prometheus/api/v1"];

/// Which methods an endpoint takes.
#[derive(Clone, Copy)]
enum Takes {
    /// GET alone.
    Get,
    /// GET, or a form by POST.
    Form,
}

/// An endpoint below the prefixes.
#[derive(Clone, Copy)]
struct ApiRoute {
    path: &'static str,
    takes: Takes,
    endpoint: Endpoint,
}

const fn form(path: &'static str, endpoint: Endpoint) -> ApiRoute {
    ApiRoute {
        path,
        takes: Takes::Form,
        endpoint,
    }
}

const fn by_get(path: &'static str, endpoint: Endpoint) -> ApiRoute {
    ApiRoute {
        path,
        takes: Takes::Get,
        endpoint,
    }
}

/// A line each: a table that can be read at a glance.
#[rustfmt::skip]
const API: &[ApiRoute] = &[
    form("/query", api::query::instant),
    form("/query_range", api::query::range),
    form("/format_query", api::text::format),
    form("/parse_query", api::text::parsed),
    form("/query_exemplars", api::series::exemplars),
    form("/series", api::series::series),
    form("/labels", api::series::labels),
    by_get("/label/{name}/values", api::series::label_values),
    by_get("/metadata", api::metadata::metadata),
    by_get("/rules", api::empty::rules),
    by_get("/alerts", api::empty::alerts),
    by_get("/alertmanagers", api::empty::alertmanagers),
    by_get("/notifications", api::empty::list),
    by_get("/targets", api::status::targets),
    by_get("/targets/metadata", api::empty::list),
    by_get("/scrape_pools", api::status::scrape_pools),
    by_get("/status/buildinfo", api::status::build),
    by_get("/status/runtimeinfo", api::status::runtime),
    by_get("/status/flags", api::status::flags),
    by_get("/status/config", api::status::config),
    by_get("/status/tsdb", api::status::tsdb),
    by_get("/status/tsdb/blocks", api::status::blocks),
    by_get(REPLAY, api::status::replay),
];

/// Answers even while the node is not ready.
const REPLAY: &str = "/status/walreplay";

/// All paths of a node.
pub fn router(state: State, receiver: Receiver) -> Router {
    let writes = Writes {
        receiver,
        tenancy: state.tenancy,
        read_timeout: state.read_timeout,
    };
    let mut routes = Router::new();
    for path in RECEIVERS.iter().flat_map(|receiver| receiver.paths) {
        for prefix in ["", "/prometheus"] {
            let writes = writes.clone();
            let take = move |request: Request| api::write::write(writes.clone(), request);
            routes = routes.route(&format!("{prefix}{path}"), post(take));
        }
    }
    finish(routes.merge(reads()), state)
}

/// All paths that change nothing.
pub(super) fn reads() -> Router<State> {
    let mut router = Router::new();
    for prefix in PREFIXES {
        for route in API {
            router = router.route(&format!("{prefix}{}", route.path), handler(*route));
        }
    }
    let reload = MethodFilter::POST.or(MethodFilter::PUT);
    router
        .route("/-/healthy", get(health::healthy))
        .route("/-/ready", get(health::ready))
        .route("/-/reload", on(reload, health::reload))
        .route("/health", get(health::healthy))
        .route("/ready", get(health::ready))
        .route("/metrics", get(health::metrics))
        // `/` and `/ui/{version}/...`.
        .merge(ui::routes())
}

/// Routes with what stands around them.
pub(super) fn finish(routes: Router<State>, state: State) -> Router {
    routes
        .fallback(unknown)
        .layer(from_fn_with_state(state.clone(), around))
        .with_state(state)
}

fn handler(route: ApiRoute) -> MethodRouter<State> {
    let methods = match route.takes {
        Takes::Get => MethodFilter::GET,
        Takes::Form => MethodFilter::GET.or(MethodFilter::POST),
    };
    on(
        methods,
        move |Handed(state): Handed<State>, request: Request| async move {
            match serve(state, route, request).await {
                Ok(response) => response,
                Err(error) => error.into_response(),
            }
        },
    )
}

/// The largest form that is read, as Go's `ParseForm` has it.
const FORM_BYTES_MAX: usize = 10 << 20;

/// Prepares a call, and runs its endpoint on the pool.
async fn serve(state: State, route: ApiRoute, request: Request) -> Result<Response, ApiError> {
    if route.path != REPLAY {
        state
            .status
            .ready()
            .map_err(|reason| ApiError::new(Kind::Unavailable, reason))?;
    }
    let (mut parts, body) = request.into_parts();
    let tenant = tenant_of(&parts.headers, state.tenancy)?;
    let form = if parts.method == Method::POST && is_form(&parts.headers) {
        read_body(body, FORM_BYTES_MAX, state.read_timeout).await?
    } else {
        Bytes::new()
    };
    let params = Params::parse(&form, parts.uri.query().unwrap_or_default())?;
    let cancel = CancelToken::with_timeout(timeout(&params, state.engine.settings().timeout)?);
    let encoding = Encoding::accepted(&parts.headers);
    let call = Call {
        tenant,
        params,
        name: open_part(&mut parts).await,
        cancel: cancel.clone(),
        state,
    };
    let pool = call.state.pool.clone();
    let endpoint = route.endpoint;
    let run = move |sink: &mut super::answer::Sink| endpoint(&call, sink);
    Ok(answer(&pool, encoding, cancel, run).await)
}

/// What the route leaves open, decoded.
async fn open_part(parts: &mut Parts) -> String {
    Path::<String>::from_request_parts(parts, &())
        .await
        .map(|Path(name)| name)
        .unwrap_or_default()
}

fn is_form(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .is_some_and(|kind| {
            let media = kind.split(';').next().unwrap_or_default().trim();
            media.eq_ignore_ascii_case("application/x-www-form-urlencoded")
        })
}

/// The `timeout` parameter, at most the node's.
fn timeout(params: &Params, most: Duration) -> Result<Duration, ApiError> {
    match params.get("timeout") {
        "" => Ok(most),
        text => {
            let ms =
                parse_duration(text).map_err(|reason| ApiError::parameter("timeout", reason))?;
            let ms = u64::try_from(ms).unwrap_or(0);
            Ok(Duration::from_millis(ms).min(most))
        }
    }
}

/// Reads a whole body within bounds of size and time.
async fn read_body(body: Body, most: usize, within: Duration) -> Result<Bytes, ApiError> {
    let read = Limited::new(body, most).collect();
    match tokio::time::timeout(within, read).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) => Err(ApiError::bad_data(format!(
            "error parsing form values: {error} (at most {most} bytes are read)"
        ))),
        Err(_) => Err(ApiError::bad_data(format!(
            "the body did not arrive within {within:?}"
        ))),
    }
}

/// Around every request: metrics, and what browsers on other sites need.
async fn around(Handed(state): Handed<State>, request: Request, next: Next) -> Response {
    let from = state.clock.elapsed();
    let path = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("other", MatchedPath::as_str)
        .to_owned();
    let foreign = request.headers().contains_key(ORIGIN);
    let mut response = if request.method() == Method::OPTIONS {
        StatusCode::NO_CONTENT.into_response()
    } else {
        next.run(request).await
    };
    if foreign {
        allow_origins(response.headers_mut());
    }
    let took = state.clock.elapsed().saturating_sub(from);
    let code = response.status().as_u16();
    state.metrics.answered(path, code, took);
    response
}

/// As Prometheus does by default: pages of any origin may read.
fn allow_origins(headers: &mut HeaderMap) {
    for (name, value) in [
        ("access-control-allow-origin", "*"),
        (
            "access-control-allow-headers",
            "Accept, Authorization, Content-Type, Origin",
        ),
        ("access-control-allow-methods", "GET, POST, OPTIONS"),
        ("access-control-expose-headers", "Date"),
    ] {
        headers.insert(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
}

/// Paths of protocols that are not taken, and what to put in front.
const ELSEWHERE: &[(&[&str], &str)] = &[
    (
        &["/otlp", "/api/v1/otlp", "/opentelemetry", "/v1/metrics"],
        "OTLP is not taken by this release: let an OpenTelemetry Collector send with its prometheusremotewrite exporter to /api/v1/write",
    ),
    (
        &["/write", "/api/v2/write", "/influx", "/api/v1/push/influx"],
        "Influx line protocol is not taken by this release: let Telegraf (outputs.http with data_format = \"prometheusremotewrite\") send to /api/v1/write",
    ),
    (
        &[
            "/api/put",
            "/opentsdb",
            "/datadog",
            "/graphite",
            "/render",
            "/statsd",
            "/zabbix",
        ],
        "this protocol is not Cairn's: put an OpenTelemetry Collector, Telegraf or Vector in front, sending Prometheus remote-write to /api/v1/write",
    ),
    (
        &[
            "/api/v1/import",
            "/api/v1/read",
            "/federate",
            "/api/v1/export",
        ],
        "this way in or out is not there in this release: write by Prometheus remote-write to /api/v1/write, read by /api/v1/query",
    ),
];

/// Grafana recognises a missing API by this very text.
const NOT_FOUND: &str = "page not found";

async fn unknown(request: Request) -> Response {
    let path = request.uri().path();
    let inner = path.strip_prefix("/prometheus").unwrap_or(path);
    let hint = ELSEWHERE
        .iter()
        .find(|(starts, _)| {
            starts.iter().any(|start| {
                inner
                    .strip_prefix(start)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
        })
        .map(|(_, hint)| *hint);
    let text = hint.map_or_else(
        || format!("404 {NOT_FOUND}"),
        |hint| format!("404 {NOT_FOUND}\n{hint}"),
    );
    plain(StatusCode::NOT_FOUND, text)
}
