//! Queries as text: `format_query` and `parse_query`.

use crate::query::syntax::{self, Expr};

use super::super::answer::{Remarks, Sink};
use super::super::json;
use super::super::reply::{ApiError, Kind};
use super::call::{Answered, Call};

fn expression(call: &Call) -> Result<Expr, ApiError> {
    syntax::parse(call.params.get("query"), call.state.engine.parse_options())
        .map_err(|error| ApiError::parameter("query", error))
}

/// `format_query`: the query, laid out for reading.
pub(in super::super) fn format(call: &Call, sink: &mut Sink) -> Answered {
    let text = syntax::prettify(&expression(call)?);
    json::text(sink.out(), &text);
    Ok(Remarks::default())
}

/// `parse_query`: the query as a tree, for query builders.
pub(in super::super) fn parsed(call: &Call, sink: &mut Sink) -> Answered {
    let tree = syntax::tree(&expression(call)?);
    serde_json::to_writer(sink.out(), &tree)
        .map_err(|error| ApiError::new(Kind::Internal, error))?;
    Ok(Remarks::default())
}
