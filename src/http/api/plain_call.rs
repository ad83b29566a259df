//! What endpoints need whose answers are not Prometheus' JSON: remote read, federation.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use http_body_util::{BodyExt, Limited};

use crate::query::Admitted;
use crate::runtime::CancelToken;
use crate::source::ReadContext;

use super::super::params::Params;
use super::super::reply::{ApiError, Kind};
use super::super::state::State;
use super::super::tenant::tenant_of;
use super::call::Call;

/// A call with the parameters of its URL, and the body, which is not read yet.
pub(super) fn open(state: State, request: Request) -> Result<(Call, Body), ApiError> {
    state
        .status
        .ready()
        .map_err(|reason| ApiError::new(Kind::Unavailable, reason))?;
    let (parts, body) = request.into_parts();
    let call = Call {
        tenant: tenant_of(&parts.headers, state.tenancy)?,
        params: Params::parse(b"", parts.uri.query().unwrap_or_default())?,
        name: String::new(),
        cancel: CancelToken::with_timeout(state.engine.settings().timeout),
        partial: None,
        state,
    };
    Ok((call, body))
}

/// A place among the queries that run.
pub(super) fn admit<'a>(
    call: &'a Call,
    what: &str,
    context: &ReadContext,
) -> Result<Admitted<'a>, ApiError> {
    Ok(call.state.engine.admit(&call.tenant, what, context)?)
}

/// Reads a whole body within bounds of size and time.
pub(in super::super) async fn read_body(
    body: Body,
    most: usize,
    within: Duration,
) -> Result<Bytes, ApiError> {
    let read = Limited::new(body, most).collect();
    match tokio::time::timeout(within, read).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) => Err(ApiError::bad_data(format!(
            "the body cannot be read: {error} (at most {most} bytes are)"
        ))),
        Err(_) => Err(ApiError::bad_data(format!(
            "the body did not arrive within {within:?}"
        ))),
    }
}
