//! Whether this node lives, whether it can serve, its metrics, and reading the configuration again.

use axum::extract::State as Handed;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use super::reply::plain;
use super::state::State;

/// `/-/healthy`: it answers, so it lives.
pub(super) async fn healthy() -> Response {
    plain(StatusCode::OK, "Cairn is healthy.")
}

/// `/-/ready`: 503 with the reason until it can serve, and once it will take no writes any more: whoever
/// shares requests out is to turn to others.
pub(super) async fn ready(Handed(state): Handed<State>) -> Response {
    let status = &state.status;
    match status.ready().and_then(|()| status.takes_writes()) {
        Ok(()) => plain(StatusCode::OK, "Cairn is ready."),
        Err(reason) => plain(StatusCode::SERVICE_UNAVAILABLE, reason),
    }
}

/// `/-/reload`: reads the configuration again.
pub(super) async fn reload(Handed(state): Handed<State>) -> Response {
    match state.status.reload() {
        Ok(()) => StatusCode::OK.into_response(),
        Err(reason) => plain(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("failed to reload config: {reason}"),
        ),
    }
}

/// What OpenMetrics calls itself.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The same lines are read by parsers of the older format, which take what is new as comments.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// `/metrics`: this node's own.
pub(super) async fn metrics(Handed(state): Handed<State>, headers: HeaderMap) -> Response {
    let mut text = String::new();
    if prometheus_client::encoding::text::encode(&mut text, &state.registry).is_err() {
        return plain(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the metrics could not be written",
        );
    }
    let wants_open = headers
        .get(ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("application/openmetrics-text"));
    let kind = if wants_open { OPEN_METRICS } else { TEXT };
    ([(CONTENT_TYPE, HeaderValue::from_static(kind))], text).into_response()
}
