//! Remote read: raw samples for another Prometheus, as lists of samples or as streamed chunks.
//!
//! After `prompb/remote.proto` and `storage/remote` of prometheus/prometheus. The hints of a
//! request are ignored: they only say what a server may leave out. What bounds a read is what
//! bounds a query (`query.max_concurrency`, `.timeout`, `.max_memory`, `.max_samples`).

mod frames;
mod lists;
mod request;

use axum::extract::{Request, State as Handed};
use axum::response::Response;

use crate::model::{LabelSet, Samples};
use crate::source::ReadContext;

use super::super::answer::{Form, Place, Remarks, Sink, answer};
use super::super::encoding::Encoding;
use super::super::reply::ApiError;
use super::super::state::State;
use super::call::{Answered, Call};
use super::plain_call::{admit, open, read_body};

pub use request::{ReadQuery, ReadRequest};

/// The largest request that is read, compressed or not: the longest regular expression and a
/// thousand matchers are far smaller.
const REQUEST_BYTES_MAX: usize = 1 << 20;

/// Answers one remote read.
pub(in super::super) async fn read(Handed(state): Handed<State>, request: Request) -> Response {
    match prepare(state, request).await {
        Ok((call, asked)) => {
            let form = if asked.streamed {
                frames::FORM
            } else {
                lists::FORM
            };
            let (pool, cancel) = (call.state.pool.clone(), call.cancel.clone());
            let run = move |sink: &mut Sink| respond(&call, &asked, sink);
            answer((&pool, Place::Thread), form, cancel, run).await
        }
        Err(error) => error.into_text(),
    }
}

async fn prepare(state: State, request: Request) -> Result<(Call, ReadRequest), ApiError> {
    let (call, body) = open(state, request)?;
    let body = read_body(body, REQUEST_BYTES_MAX, call.state.read_timeout).await?;
    let asked = ReadRequest::decode(&body, REQUEST_BYTES_MAX).map_err(ApiError::bad_data)?;
    Ok((call, asked))
}

fn respond(call: &Call, asked: &ReadRequest, sink: &mut Sink) -> Answered {
    let context = call.context();
    let _admitted = admit(call, &asked.describe(), &context)?;
    if asked.streamed {
        frames::write(call, &asked.queries, &context, sink)?;
    } else {
        lists::write(call, &asked.queries, &context, sink)?;
    }
    Ok(Remarks::default())
}

/// Hands over every series that a query selects.
fn each_series(
    call: &Call,
    query: &ReadQuery,
    context: &ReadContext,
    mut each: impl FnMut(LabelSet, &Samples) -> Result<(), ApiError>,
) -> Result<(), ApiError> {
    let selection = call.selection(query.matchers.clone(), query.range);
    let mut stream = call.state.source.select(&selection, context)?;
    let mut samples = Samples::default();
    loop {
        call.cancel
            .check()
            .map_err(crate::source::SourceError::from)?;
        let Some(labels) = stream.next(&mut samples)? else {
            return Ok(());
        };
        each(labels, &samples)?;
    }
}

/// Not compressed on the way: the format says how it is encoded.
const fn form(media: &'static str, encoded: Option<&'static str>) -> Form {
    Form {
        media,
        encoding: Encoding::Identity,
        encoded,
        enveloped: false,
    }
}
