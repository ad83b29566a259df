//! Samples one by one: a `ReadResponse` message, compressed by snappy. All of it is in memory
//! before the first byte goes out; what it takes is charged to the read's budget.

use crate::codec::prometheus::{put_float, put_histogram, put_labels};
use crate::codec::protobuf::Message;
use crate::model::{Buckets, Histogram, LabelSet, Samples};
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

fn put_series(series: &mut Message<'_>, labels: &LabelSet, samples: &Samples) {
    put_labels(series, labels);
    let mut histograms = samples.histograms.iter().peekable();
    for (at, (time, value)) in samples.timestamps.iter().zip(&samples.values).enumerate() {
        if let Some((_, histogram)) = histograms.next_if(|(place, _)| *place as usize == at) {
            put_histogram(series, *time, histogram);
        } else {
            put_float(series, *time, *value);
        }
    }
}
