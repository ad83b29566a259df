//! A node that only looks at a bucket: everything that reads is as on any node; whatever would change
//! something is refused with the reason, and no sample is taken. 405 and no 5xx: a sender that is
//! pointed here would otherwise try for ever.

use axum::Router;
use axum::extract::Request;
use axum::http::header::ALLOW;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::any;

use crate::ingest::RECEIVERS;

use super::api::write::pass_over;
use super::reply::{ApiError, Kind, plain};
use super::routes::{WRITE_PREFIXES, finish, reads};
use super::state::State;

const NO_WRITES: &str = "this node is read-only: it shows what is in the bucket of a cluster and takes no samples: send them to a node of that cluster";

const NO_CHANGES: &str = "this node is read-only: it shows what is in the bucket of a cluster and changes nothing: ask a node of that cluster";

/// Below this everything changes something, but for what is named next.
const CHANGES: &str = "/api/v1/admin/";
const HARMLESS: &str = "/admin/queries/cancel";

/// All paths of a node that changes nothing.
pub fn read_only_router(state: State) -> Router {
    let mut routes = reads().layer(from_fn(refuse_changes));
    for path in RECEIVERS.iter().flat_map(|receiver| receiver.paths) {
        for prefix in WRITE_PREFIXES {
            routes = routes.route(&format!("{prefix}{path}"), any(refuse_write));
        }
    }
    finish(routes, state)
}

async fn refuse_write(request: Request) -> Response {
    // A sender that is still writing when the connection closes would not see the reason.
    pass_over(request.into_body()).await;
    nothing_allowed(plain(StatusCode::METHOD_NOT_ALLOWED, NO_WRITES))
}

async fn refuse_changes(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if path.contains(CHANGES) && !path.ends_with(HARMLESS) {
        return nothing_allowed(ApiError::new(Kind::ReadOnly, NO_CHANGES).into_response());
    }
    next.run(request).await
}

fn nothing_allowed(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(ALLOW, HeaderValue::from_static(""));
    response
}
