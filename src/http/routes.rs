//! Every path on one page.

use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{FromRequestParts, MatchedPath, Path, Request, State as Handed};
use axum::http::header::{CONTENT_TYPE, HeaderName, ORIGIN};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, get, on, post};

use crate::ingest::{RECEIVERS, Receiver};
use crate::runtime::CancelToken;
use crate::source::Partial;

use super::answer::{Form, Place, answer};
use super::api;
use super::api::call::{Call, Endpoint};
use super::api::plain_call::read_body;
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

/// Where samples are taken, and given to other stores.
pub(super) const WRITE_PREFIXES: [&str; 2] = ["", "/prometheus"];

/// Which methods an endpoint takes.
#[derive(Clone, Copy)]
enum Takes {
    /// GET alone.
    Get,
    /// GET, or a form by POST.
    Form,
    /// A form by POST alone: it changes something.
    Post,
    /// The same, or by PUT, as Prometheus takes it.
    Change,
}

impl Takes {
    /// Where it is answered. What changes something waits for disks and peers, however short it was.
    fn place(self, is_short: bool) -> Place {
        match self {
            Self::Get | Self::Form if is_short => Place::Here,
            Self::Get | Self::Form | Self::Post | Self::Change => Place::Thread,
        }
    }
}

/// An endpoint below the prefixes.
#[derive(Clone, Copy)]
struct ApiRoute {
    path: &'static str,
    takes: Takes,
    endpoint: Endpoint,
    about: &'static str,
}

const fn form(path: &'static str, endpoint: Endpoint, about: &'static str) -> ApiRoute {
    ApiRoute {
        path,
        takes: Takes::Form,
        endpoint,
        about,
    }
}

const fn by_get(path: &'static str, endpoint: Endpoint, about: &'static str) -> ApiRoute {
    ApiRoute {
        path,
        takes: Takes::Get,
        endpoint,
        about,
    }
}

const fn by_post(path: &'static str, endpoint: Endpoint, about: &'static str) -> ApiRoute {
    ApiRoute {
        path,
        takes: Takes::Post,
        endpoint,
        about,
    }
}

const fn change(path: &'static str, endpoint: Endpoint, about: &'static str) -> ApiRoute {
    ApiRoute {
        path,
        takes: Takes::Change,
        endpoint,
        about,
    }
}

/// A path outside the API, and what answers there.
struct PlainRoute {
    path: &'static str,
    methods: &'static str,
    handler: fn() -> MethodRouter<State>,
    about: &'static str,
}

const fn plain_route(
    path: &'static str,
    methods: &'static str,
    handler: fn() -> MethodRouter<State>,
    about: &'static str,
) -> PlainRoute {
    PlainRoute {
        path,
        methods,
        handler,
        about,
    }
}

/// A line each: a table that can be read at a glance.
#[rustfmt::skip]
const API: &[ApiRoute] = &[
    form("/query", api::query::instant, "a PromQL query at one time"),
    form("/query_range", api::query::range, "a PromQL query at many times"),
    form("/format_query", api::text::format, "a PromQL query, written prettily"),
    form("/parse_query", api::text::parsed, "a PromQL query as a tree"),
    form("/query_exemplars", api::series::exemplars, "exemplars of the series that a query selects"),
    form("/series", api::series::series, "label sets of the series that match"),
    form("/labels", api::series::labels, "label names"),
    by_get("/label/{name}/values", api::series::label_values, "values of one label"),
    by_get("/metadata", api::metadata::metadata, "type, help and unit of metrics"),
    by_get("/rules", api::empty::rules, "none yet, in Prometheus' form"),
    by_get("/alerts", api::empty::alerts, "none yet, in Prometheus' form"),
    by_get("/alertmanagers", api::empty::alertmanagers, "none, in Prometheus' form"),
    by_get("/notifications", api::empty::list, "none, in Prometheus' form"),
    by_get("/targets", api::status::targets, "what is scraped: this node itself"),
    by_get("/targets/metadata", api::empty::list, "none, in Prometheus' form"),
    by_get("/scrape_pools", api::status::scrape_pools, "names of what is scraped"),
    by_get("/status/buildinfo", api::status::build, "version and revision"),
    by_get("/status/runtimeinfo", api::status::runtime, "since when it runs, what it holds, the last reading of the configuration"),
    by_get("/status/flags", api::status::flags, "settings under the names of Prometheus' flags"),
    by_get("/status/config", api::status::config, "the configuration in force"),
    by_get("/status/tsdb", api::status::tsdb, "what the heads of all nodes hold, and where most series are"),
    by_get("/status/tsdb/blocks", api::status::blocks, "the blocks"),
    by_get("/status/queries", api::queries::list, "the queries that run, on all nodes"),
    by_post("/admin/queries/cancel", api::queries::cancel, "calls off the query `id` as listed, or with `id=all` every one"),
    change("/admin/tsdb/delete_series", api::deletes::delete, "hides the samples of `match[]` from `start` to `end` (at most now), and removes them after a day; with `dry_run=true` only counts them"),
    change("/admin/tsdb/clean_tombstones", api::deletes::clean, "removes what is deleted without waiting for the day to end; it cannot be undone then"),
    change("/admin/tsdb/snapshot", api::deletes::snapshot, "a copy of what this node holds, from which a node can be started, in the folder of its data directory that it names"),
    by_get("/admin/tsdb/tombstones", api::deletes::list, "the deletes that are under way"),
    by_post("/admin/tsdb/undelete", api::deletes::undo, "shows again what the delete `id` hides, within a day"),
    by_get("/status/cluster", api::cluster::status, "nodes, partitions, moves, and what is wrong"),
    by_post("/admin/cluster/drain", api::cluster::drain, "empties `node`, or takes it back with `drain=false`"),
    by_post("/admin/cluster/forget", api::cluster::forget, "gives `node` up for ever: it is off, and nothing of it is needed"),
    by_post("/admin/cluster/split", api::cluster::split, "begins to divide the ring into twice as many partitions, and says with which one"),
    by_post("/admin/cluster/recover", api::cluster::recover, "what partitions that lost too many members would give up; with `accept_loss=true` they do"),
    by_post("/admin/flush", api::archive::flush, "seals everything that the node holds, and uploads it"),
    by_get("/status/flush", api::archive::status, "how far that is"),
    by_post("/admin/verify", api::verify::order, "has every node read its copies of all blocks, at `rate` a second (32MiB), and compare them with the catalog; ends that with `call_off=true`"),
    by_get("/status/verify", api::verify::status, "how far that is, and what is wrong; a node ends what nobody has asked about for a minute"),
    by_get(REPLAY, api::status::replay, "how far the log is read; answers before the node is ready"),
];

/// A line each, as above.
#[rustfmt::skip]
const PLAIN: &[PlainRoute] = &[
    plain_route("/-/healthy", "GET", || get(health::healthy), "200 while the process lives"),
    plain_route("/-/ready", "GET", || get(health::ready), "200 when it can serve, 503 with the reason until then, and once its write log has failed"),
    plain_route("/-/reload", "POST PUT", || on(RELOAD, health::reload), "reads the configuration again"),
    plain_route("/health", "GET", || get(health::healthy), "as `/-/healthy`"),
    plain_route("/ready", "GET", || get(health::ready), "as `/-/ready`"),
    plain_route("/metrics", "GET", || get(health::metrics), "this node's own metrics"),
];

/// What other stores ask, below the prefixes of writes: a line each, as above.
#[rustfmt::skip]
const PEERS: &[PlainRoute] = &[
    plain_route("/api/v1/read", "POST", || post(api::remote_read::read), "remote read: raw samples, or streamed chunks"),
    plain_route("/federate", "GET", || get(api::federate::federate), "the newest samples that match, to be scraped"),
];

const RELOAD: MethodFilter = MethodFilter::POST.or(MethodFilter::PUT);

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
        for prefix in WRITE_PREFIXES {
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
    for route in PLAIN {
        router = router.route(route.path, (route.handler)());
    }
    for prefix in WRITE_PREFIXES {
        for route in PEERS {
            router = router.route(&format!("{prefix}{}", route.path), (route.handler)());
        }
    }
    // `/` and `/ui/{version}/...`.
    router.merge(ui::routes())
}

/// A path that is served, for the reference page.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListedRoute {
    /// The path, without the prefixes below which it exists.
    pub path: &'static str,
    /// Those prefixes.
    pub prefixes: &'static [&'static str],
    /// Its methods, separated by spaces.
    pub methods: &'static str,
    /// What it is, in a few words.
    pub about: &'static str,
}

/// Every path of a node but the web page's, from the tables that the router is made of.
#[must_use]
pub fn listed_routes() -> Vec<ListedRoute> {
    let paths = RECEIVERS.iter().flat_map(|receiver| receiver.paths);
    let writes = paths.map(|path| ListedRoute {
        path,
        prefixes: &WRITE_PREFIXES,
        methods: "POST",
        about: "samples arrive: Prometheus remote-write 1.0 and 2.0",
    });
    let api = API.iter().map(|route| ListedRoute {
        path: route.path,
        prefixes: &PREFIXES,
        methods: match route.takes {
            Takes::Get => "GET",
            Takes::Form => "GET POST",
            Takes::Post => "POST",
            Takes::Change => "POST PUT",
        },
        about: route.about,
    });
    let listed = |prefixes: &'static [&'static str]| {
        move |route: &PlainRoute| ListedRoute {
            path: route.path,
            prefixes,
            methods: route.methods,
            about: route.about,
        }
    };
    let peers = PEERS.iter().map(listed(&WRITE_PREFIXES));
    let plain = PLAIN.iter().map(listed(&[""]));
    writes.chain(api).chain(peers).chain(plain).collect()
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
        Takes::Post => MethodFilter::POST,
        Takes::Change => MethodFilter::POST.or(MethodFilter::PUT),
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
    let partial = params.flag("partial_response")?.then(Partial::default);
    let call = Call {
        tenant,
        params,
        name: open_part(&mut parts).await,
        cancel: cancel.clone(),
        partial,
        state,
    };
    let (pool, durations) = (call.state.pool.clone(), call.state.durations.clone());
    let question = call.params.question(call.state.clock.now());
    let asked = durations.asked(&(route.path, &call.name, &call.tenant, question));
    let place = route.takes.place(durations.is_short(asked));
    let endpoint = route.endpoint;
    let run = move |sink: &mut super::answer::Sink| {
        let begun = call.state.clock.elapsed();
        let answered = endpoint(&call, sink);
        durations.note(asked, call.state.clock.elapsed().saturating_sub(begun));
        let mut remarks = answered?;
        let lacks = call.partial.as_ref().map(Partial::noted);
        remarks.warnings.extend(lacks.into_iter().flatten());
        Ok(remarks)
    };
    Ok(answer((&pool, place), Form::json(encoding), cancel, run).await)
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
        &["/api/v1/import", "/api/v1/export"],
        "this way in or out is not there in this release: write by Prometheus remote-write to /api/v1/write, read by /api/v1/query or /api/v1/read",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_short_questions_are_answered_on_the_thread_of_their_connection() {
        let all = [Takes::Get, Takes::Form, Takes::Post, Takes::Change];
        assert_eq!(all.map(|takes| takes.place(false)), [Place::Thread; 4]);
        let short = all.map(|takes| takes.place(true));
        assert_eq!(
            short,
            [Place::Here, Place::Here, Place::Thread, Place::Thread]
        );
    }
}
