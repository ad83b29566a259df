//! `/federate`: the newest sample of each series that matches, in a format that is scraped.
//!
//! What is shown is what Prometheus shows (`web/federate.go`): samples not older than the lookback,
//! with their times, none whose newest sample is a stale marker; everything untyped; an empty
//! `instance` where there is none, so that `honor_labels` keeps it so; native histograms only in
//! protobuf, those with custom buckets as classic ones. What it lacks: OpenMetrics is given here
//! to whoever prefers it, and integer histograms stay integer.

mod family;
mod format;
mod protobuf;
mod text;

use axum::extract::{Request, State as Handed};
use axum::response::Response;

use crate::model::{LabelSet, Matcher, Samples, TimeRange, TimestampMs, Value, is_stale};
use crate::query::syntax;
use crate::source::SourceError;

use super::super::answer::{Form, Place, Remarks, Sink, answer};
use super::super::encoding::Encoding;
use super::super::reply::ApiError;
use super::super::state::State;
use super::call::{Answered, Call};
use super::plain_call::{admit, open};
use family::{Member, Shape, families};
use format::{Format, Kind};

/// Answers one scrape.
pub(in super::super) async fn federate(Handed(state): Handed<State>, request: Request) -> Response {
    let encoding = Encoding::accepted(request.headers());
    let format = Format::accepted(request.headers());
    match open(state, request) {
        Ok((call, _)) => {
            let form = Form {
                media: format.media(),
                encoding,
                encoded: None,
                enveloped: false,
            };
            let (pool, cancel) = (call.state.pool.clone(), call.cancel.clone());
            let run = move |sink: &mut Sink| respond(&call, format, sink);
            answer((&pool, Place::Thread), form, cancel, run).await
        }
        Err(error) => error.into_text(),
    }
}

fn respond(call: &Call, format: Format, sink: &mut Sink) -> Answered {
    let sets: Vec<Vec<Matcher>> = call
        .params
        .all("match[]")
        .map(syntax::parse_selector)
        .collect::<Result<_, _>>()
        .map_err(ApiError::bad_data)?;
    let context = call.context();
    let _admitted = admit(call, "federation", &context)?;
    let budget = |error| ApiError::from(SourceError::Budget(error));
    let mut held = context.budget.reserve(0, 0).map_err(budget)?;
    let now = call.state.clock.now();
    let lookback = call.state.engine.settings().lookback_delta.as_millis();
    let lookback = i64::try_from(lookback).unwrap_or(i64::MAX);
    let range = TimeRange::new(TimestampMs(now.0.saturating_sub(lookback)), now);
    let mut members = Vec::new();
    for matchers in sets {
        let selection = call.selection(matchers, range);
        let mut stream = call.state.source.select(&selection, &context)?;
        let mut samples = Samples::default();
        loop {
            call.cancel.check().map_err(SourceError::from)?;
            let Some(labels) = stream.next(&mut samples)? else {
                break;
            };
            if let Some(member) = newest(labels, &samples, format) {
                held.grow(member.bytes() as u64, 1).map_err(budget)?;
                members.push(member);
            }
        }
    }
    for family in families(&mut members) {
        match format.kind {
            Kind::Protobuf => protobuf::write(sink.out(), family, format),
            Kind::Text | Kind::OpenMetrics => text::write(sink.out(), family, format),
        }
        sink.breathe()?;
    }
    if format.kind == Kind::OpenMetrics {
        sink.out().extend_from_slice(b"# EOF\n");
    }
    Ok(Remarks::default())
}

/// The newest sample, if it can be shown.
fn newest(labels: LabelSet, samples: &Samples, format: Format) -> Option<Member> {
    let last = samples.len().checked_sub(1)?;
    let at = *samples.timestamps.get(last)?;
    let histogram = samples
        .histograms
        .last()
        .filter(|(place, _)| *place as usize == last);
    let value = match histogram {
        Some((_, histogram)) => Value::Histogram(histogram.clone()),
        None => Value::Float(*samples.values.get(last)?),
    };
    let stale = match &value {
        Value::Float(value) => is_stale(*value),
        Value::Histogram(histogram) => histogram.is_stale(),
    };
    let shape = Shape::of(&value);
    let shown = shape != Shape::Native || format.kind == Kind::Protobuf;
    // A scrape cannot tell of series without a name.
    labels.metric_name()?;
    (!stale && shown).then_some(Member {
        labels,
        at,
        value,
        shape,
    })
}
