//! What stands behind the server's door, and can be exchanged while it serves: first a node that
//! is starting, then the whole of it.
//!
//! So a taken port is found before hours of data are read, and whoever asks during a long replay
//! is told what is happening instead of being refused the connection.

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::Router;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::health;
use super::reply::plain;
use super::ui;

/// The routes that are served now. Clones are one.
#[derive(Clone, Debug)]
pub struct Front(Arc<ArcSwap<Router>>);

impl Front {
    /// A node that is starting: alive, with its page, and not ready. Everything else is 503 with the reason, and
    /// asks to try again soon. `reason` is asked what the start waits for, where it is more than
    /// reading.
    #[must_use]
    pub fn starting(reason: impl Fn() -> Option<String> + Clone + Send + Sync + 'static) -> Self {
        let not_yet = move || {
            let answer = not_yet(reason());
            async move { answer }
        };
        let router = Router::new()
            .route("/-/healthy", get(health::healthy))
            .route("/health", get(health::healthy))
            // The page says what is going on, and goes on by itself once the node is ready.
            .merge(ui::routes())
            .fallback(not_yet);
        Self(Arc::new(ArcSwap::from_pointee(router)))
    }

    /// Serves these routes from now on; requests under way end with the old ones.
    pub fn show(&self, router: Router) {
        self.0.store(Arc::new(router));
    }

    /// The routes of now.
    pub(super) fn router(&self) -> Router {
        Router::clone(&self.0.load())
    }
}

impl From<Router> for Front {
    fn from(router: Router) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(router)))
    }
}

fn not_yet(reason: Option<String>) -> Response {
    let text = reason.map_or_else(
        || "the node is starting: it reads what it holds; try again in a moment".to_owned(),
        |reason| format!("the node is starting: {reason}"),
    );
    let mut response = plain(StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    let soon = HeaderValue::from_static("1");
    response.headers_mut().insert(RETRY_AFTER, soon);
    response
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use tower_service::Service;

    use super::*;

    async fn status(front: &Front, path: &str) -> StatusCode {
        let request = Request::get(path).body(Body::empty()).unwrap();
        front.router().call(request).await.unwrap().status()
    }

    #[tokio::test]
    async fn it_lives_before_it_is_ready_and_then_shows_the_rest() {
        let front = Front::starting(|| None);
        for path in ["/-/healthy", "/"] {
            assert_eq!(status(&front, path).await, StatusCode::OK);
        }
        for path in ["/-/ready", "/api/v1/query", "/api/v1/write"] {
            assert_eq!(status(&front, path).await, StatusCode::SERVICE_UNAVAILABLE);
        }
        let whole = Router::new().route("/-/ready", get(|| async { "yes" }));
        front.clone().show(whole);
        assert_eq!(status(&front, "/-/ready").await, StatusCode::OK);
    }
}
