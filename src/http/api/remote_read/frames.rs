//! Chunks in frames: the length as a varint, a CRC-32C, and a `ChunkedReadResponse` message of
//! one series, or of a part of one.
//!
//! Readers merge sorted streams, so series go out sorted by their labels. Our sources have no
//! order: encoded frames, some bytes a sample, are held (and charged to the read's budget) until
//! all are there.

use crate::codec::crc32c;
use crate::codec::prometheus::{Chunk, chunks, put_labels};
use crate::codec::protobuf::Message;
use crate::codec::varint::put_len;
use crate::model::{LabelSet, Samples};
use crate::source::{ReadContext, SourceError};

use super::super::super::answer::{Form, Sink};
use super::super::super::reply::ApiError;
use super::super::call::Call;
use super::{ReadQuery, each_series, form};

pub(super) const FORM: Form = form(
    "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse",
    None,
);

/// Chunks of so many bytes are in one frame, as in Prometheus.
const FRAME_BYTES: usize = 1 << 20;

pub(super) fn write(
    call: &Call,
    queries: &[ReadQuery],
    context: &ReadContext,
    sink: &mut Sink,
) -> Result<(), ApiError> {
    let budget = |error| ApiError::from(SourceError::Budget(error));
    for (index, query) in (0..).zip(queries) {
        let mut held = context.budget.reserve(0, 0).map_err(budget)?;
        let mut all: Vec<(LabelSet, Vec<u8>)> = Vec::new();
        each_series(call, query, context, |labels, samples| {
            let decoded = samples.len() as u64;
            let _decoded = context
                .budget
                .reserve(decoded * 16, decoded)
                .map_err(budget)?;
            let frames = frames(index, &labels, samples);
            let bytes = frames.capacity() + labels.text_len() + 64;
            held.grow(bytes as u64, 0).map_err(budget)?;
            all.push((labels, frames));
            Ok(())
        })?;
        all.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        for (_, frames) in all {
            sink.out().extend_from_slice(&frames);
            sink.breathe()?;
        }
    }
    Ok(())
}

/// One series.
fn frames(index: i64, labels: &LabelSet, samples: &Samples) -> Vec<u8> {
    let mut out = Vec::new();
    let mut gathered: Vec<Chunk> = Vec::new();
    let mut bytes = 0;
    for chunk in chunks(samples) {
        bytes += chunk.bytes.len();
        gathered.push(chunk);
        if bytes >= FRAME_BYTES {
            put_frame(&mut out, index, labels, &gathered);
            gathered.clear();
            bytes = 0;
        }
    }
    if !gathered.is_empty() {
        put_frame(&mut out, index, labels, &gathered);
    }
    out.shrink_to_fit();
    out
}

fn put_frame(out: &mut Vec<u8>, index: i64, labels: &LabelSet, chunks: &[Chunk]) {
    let mut whole = Vec::new();
    let mut response = Message::new(&mut whole);
    response.message(1, |series| {
        put_labels(series, labels);
        for chunk in chunks {
            series.message(2, |one| {
                one.int(1, chunk.first);
                one.int(2, chunk.last);
                one.uint(3, chunk.kind.number());
                one.bytes(4, &chunk.bytes);
            });
        }
    });
    response.int(2, index);
    put_len(out, whole.len());
    out.extend_from_slice(&crc32c(0, &whole).to_be_bytes());
    out.extend_from_slice(&whole);
}
