//! Errors as answers: classes of failure become status codes here and nowhere else, in the
//! envelope that Prometheus' users know.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::runtime::{BudgetError, PoolError};
use crate::source::SourceError;

use super::json;

/// Prometheus' classes of failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// The request is wrong.
    BadData,
    /// The request is right but cannot be done.
    Execution,
    /// Nobody waits for the answer any more.
    Canceled,
    /// It took too long.
    Timeout,
    /// A fault of ours.
    Internal,
    /// Try again later.
    Unavailable,
    /// No tenant was named.
    Unauthorized,
    /// This node changes nothing.
    ReadOnly,
}

impl Kind {
    /// The word in `errorType`.
    const fn name(self) -> &'static str {
        match self {
            Self::BadData => "bad_data",
            Self::Execution => "execution",
            Self::Canceled => "canceled",
            Self::Timeout => "timeout",
            Self::Internal => "internal",
            Self::Unavailable => "unavailable",
            Self::Unauthorized => "unauthorized",
            Self::ReadOnly => "read_only",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::BadData => StatusCode::BAD_REQUEST,
            Self::Execution => StatusCode::UNPROCESSABLE_ENTITY,
            // nginx' number for a client that went away.
            Self::Canceled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
            Self::Timeout | Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::ReadOnly => StatusCode::METHOD_NOT_ALLOWED,
        }
    }
}

/// Why an endpoint has no answer.
#[derive(Clone, Debug)]
pub(super) struct ApiError {
    pub(super) kind: Kind,
    pub(super) message: String,
}

impl ApiError {
    pub(super) fn new(kind: Kind, message: impl ToString) -> Self {
        Self {
            kind,
            message: message.to_string(),
        }
    }

    pub(super) fn bad_data(message: impl ToString) -> Self {
        Self::new(Kind::BadData, message)
    }

    /// As a text, for clients that read no JSON.
    pub(super) fn into_text(self) -> Response {
        let mut response = plain(self.kind.status(), self.message);
        if self.kind == Kind::Unavailable {
            let headers = response.headers_mut();
            headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response
    }

    /// In Prometheus' words for a parameter that cannot be used.
    pub(super) fn parameter(name: &str, reason: impl std::fmt::Display) -> Self {
        Self::bad_data(format!("invalid parameter {name:?}: {reason}"))
    }
}

impl From<SourceError> for ApiError {
    fn from(error: SourceError) -> Self {
        use crate::runtime::Cancelled;
        let kind = match &error {
            SourceError::Cancelled(Cancelled::Cancelled) => Kind::Canceled,
            SourceError::Cancelled(Cancelled::TimedOut(_)) => Kind::Timeout,
            SourceError::Budget(BudgetError::Shared { .. }) => Kind::Unavailable,
            SourceError::Budget(_) => Kind::Execution,
            SourceError::Unavailable(_) => Kind::Unavailable,
            SourceError::Corrupt(_) => Kind::Internal,
        };
        Self::new(kind, error)
    }
}

impl From<PoolError> for ApiError {
    fn from(error: PoolError) -> Self {
        let kind = match &error {
            PoolError::Busy { .. } => Kind::Unavailable,
            PoolError::Lost { .. } => Kind::Internal,
        };
        Self::new(kind, error)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut body = Vec::with_capacity(64 + self.message.len());
        body.extend_from_slice(b"{\"status\":\"error\",");
        json::text_field(&mut body, "errorType", self.kind.name());
        body.push(b',');
        json::text_field(&mut body, "error", &self.message);
        body.push(b'}');
        let mut response = (self.kind.status(), Body::from(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self.kind == Kind::Unavailable {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response
    }
}

/// A short text as answer.
pub(super) fn plain(status: StatusCode, text: impl Into<String>) -> Response {
    let mut text = text.into();
    if !text.ends_with('\n') {
        text.push('\n');
    }
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    (status, [(CONTENT_TYPE, kind)], text).into_response()
}
