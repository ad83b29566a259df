//! Samples one by one: a `ReadResponse` message, compressed by snappy. All of it is in memory
//! before the first byte goes out; what it takes is charged to the read's budget.

use crate::codec::protobuf::Message;
use crate::model::{Buckets, Histogram, LabelSet, ResetHint, Samples, Span};
use crate::source::{ReadContext, SourceError};

use super::super::super::answer::{Form, Sink};
use super::super::super::reply::{ApiError, Kind};
use super::super::call::Call;
use super::{ReadQuery, each_series, form};

pub(super) const FORM: Form = form("application/x-protobuf", Some("snappy"));

/// A sample's tags, its value and its time, at the most.
const SAMPLE_BYTES: usize = 22;

pub(super) fn write(
    call: &Call,
    queries: &[ReadQuery],
    context: &ReadContext,
    sink: &mut Sink,
) -> Result<(), ApiError> {
    let budget = |error| ApiError::from(SourceError::Budget(error));
    let mut held = context.budget.reserve(0, 0).map_err(budget)?;
    let mut whole = Vec::new();
    let mut response = Message::new(&mut whole);
    for query in queries {
        response.message(1, |result| {
            each_series(call, query, context, |labels, samples| {
                let numbers: usize = samples.histograms.iter().map(|(_, one)| weight(one)).sum();
                let bytes = labels.text_len() * 2 + samples.len() * SAMPLE_BYTES + numbers * 10;
                held.grow(bytes as u64, samples.len() as u64)
                    .map_err(budget)?;
                result.message(1, |series| put_series(series, &labels, samples));
                Ok(())
            })
        })?;
    }
    // As much again at the most while both are there.
    held.grow(whole.len() as u64, 0).map_err(budget)?;
    let packed = snap::raw::Encoder::new()
        .compress_vec(&whole)
        .map_err(|error| ApiError::new(Kind::Execution, error))?;
    drop(whole);
    sink.out().extend_from_slice(&packed);
    Ok(())
}

/// Numbers in a histogram.
fn weight(histogram: &Histogram) -> usize {
    let buckets = match &histogram.buckets {
        Buckets::Integer {
            positive, negative, ..
        } => positive.len() + negative.len(),
        Buckets::Float {
            positive, negative, ..
        } => positive.len() + negative.len(),
    };
    let spans = histogram.positive_spans.len() + histogram.negative_spans.len();
    8 + buckets + 2 * spans + histogram.custom_values.len()
}

/// Labels as all messages of this protocol have them.
pub(super) fn put_labels(series: &mut Message<'_>, labels: &LabelSet) {
    for (name, value) in labels.iter() {
        series.message(1, |label| {
            label.bytes(1, name.as_bytes());
            label.bytes(2, value.as_bytes());
        });
    }
}

fn put_series(series: &mut Message<'_>, labels: &LabelSet, samples: &Samples) {
    put_labels(series, labels);
    let mut histograms = samples.histograms.iter().peekable();
    for (at, (time, value)) in samples.timestamps.iter().zip(&samples.values).enumerate() {
        if let Some((_, histogram)) = histograms.next_if(|(place, _)| *place as usize == at) {
            series.message(4, |message| put_histogram(message, *time, histogram));
        } else {
            series.message(2, |sample| {
                sample.double(1, *value);
                sample.int(2, *time);
            });
        }
    }
}

fn put_histogram(message: &mut Message<'_>, time: i64, histogram: &Histogram) {
    let spans = |message: &mut Message<'_>, number, spans: &[Span]| {
        for span in spans {
            message.message(number, |one| {
                one.sint(1, i64::from(span.offset));
                one.uint(2, u64::from(span.length));
            });
        }
    };
    message.double(3, histogram.sum);
    message.sint(4, i64::from(histogram.schema));
    message.double(5, histogram.zero_threshold);
    spans(message, 8, &histogram.negative_spans);
    spans(message, 11, &histogram.positive_spans);
    match &histogram.buckets {
        Buckets::Integer {
            count,
            zero_count,
            positive,
            negative,
        } => {
            message.uint(1, *count);
            message.uint(6, *zero_count);
            message.sints(9, negative);
            message.sints(12, positive);
        }
        Buckets::Float {
            count,
            zero_count,
            positive,
            negative,
        } => {
            message.double(2, *count);
            message.double(7, *zero_count);
            message.doubles(10, negative);
            message.doubles(13, positive);
        }
    }
    let hint = match histogram.reset_hint {
        ResetHint::Unknown => 0,
        ResetHint::Yes => 1,
        ResetHint::No => 2,
        ResetHint::Gauge => 3,
    };
    message.uint(14, hint);
    message.int(15, time);
    message.doubles(16, &histogram.custom_values);
}
