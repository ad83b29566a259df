//! Pieces of history as bodies of remote-write 1.0, of bounded size.
//!
//! Version 1.0, since every receiver takes it; what only 2.0 could carry (start timestamps) no
//! foreign format of [`super`] has.

use super::history::Piece;
use crate::codec::varint::{put_u64, zigzag};
use crate::model::{Buckets, Histogram, Metadata, ResetHint, Samples, Span, Value};

/// Samples of a request: some 300 KB before compression, far below what receivers take, and enough
/// that the commit behind each answer costs little.
pub const REQUEST_SAMPLES: usize = 20_000;
/// Bytes of a request before compression, where histograms or labels are long.
const REQUEST_BYTES: usize = 4 << 20;

/// A request that is being filled.
#[derive(Default)]
pub struct Request {
    message: Vec<u8>,
    samples: u64,
}

impl Request {
    /// How many samples it has.
    #[must_use]
    pub const fn samples(&self) -> u64 {
        self.samples
    }

    /// Whether there is anything in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.message.is_empty()
    }

    /// Adds what still fits of a piece, from one of its samples on; gives the first that did not.
    pub fn add(&mut self, piece: &Piece, from: usize) -> usize {
        let mut series = Vec::new();
        for (name, value) in piece.labels.iter() {
            let mut label = Vec::new();
            put_bytes(&mut label, 1, name.as_bytes());
            put_bytes(&mut label, 2, value.as_bytes());
            put_bytes(&mut series, 1, &label);
        }
        let Samples { timestamps, .. } = &piece.samples;
        let mut at = from;
        while at < timestamps.len() && !self.is_full(series.len()) {
            if let Some((time, value, _)) = piece.samples.get(at) {
                put_sample(&mut series, time.0, &value);
            }
            self.samples += 1;
            at += 1;
        }
        if at > from {
            put_bytes(&mut self.message, 1, &series);
        }
        at
    }

    fn is_full(&self, more: usize) -> bool {
        self.samples >= REQUEST_SAMPLES as u64 || self.message.len() + more >= REQUEST_BYTES
    }

    /// Adds what a metric family is.
    pub fn add_family(&mut self, name: &str, metadata: &Metadata) {
        let mut entry = Vec::new();
        put_number(&mut entry, 1, metadata.kind as u64);
        put_bytes(&mut entry, 2, name.as_bytes());
        put_bytes(&mut entry, 4, metadata.help.as_bytes());
        put_bytes(&mut entry, 5, metadata.unit.as_bytes());
        put_bytes(&mut self.message, 3, &entry);
    }

    /// The body to send (snappy, as the protocol has it); the request is empty then.
    pub fn take_body(&mut self) -> Vec<u8> {
        self.samples = 0;
        let message = std::mem::take(&mut self.message);
        // The encoder refuses only what is longer than 4 GiB.
        let body = snap::raw::Encoder::new().compress_vec(&message);
        body.unwrap_or_default()
    }
}

fn put_number(out: &mut Vec<u8>, field: u64, value: u64) {
    put_u64(out, field << 3);
    put_u64(out, value);
}

fn put_float(out: &mut Vec<u8>, field: u64, value: f64) {
    put_u64(out, field << 3 | 1);
    out.extend_from_slice(&value.to_bits().to_le_bytes());
}

fn put_bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put_u64(out, field << 3 | 2);
    put_u64(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_sample(series: &mut Vec<u8>, at: i64, value: &Value) {
    let mut sample = Vec::new();
    match value {
        Value::Float(value) => {
            put_float(&mut sample, 1, *value);
            put_number(&mut sample, 2, at.cast_unsigned());
            put_bytes(series, 2, &sample);
        }
        Value::Histogram(histogram) => {
            put_histogram(&mut sample, at, histogram);
            put_bytes(series, 4, &sample);
        }
    }
}

fn put_histogram(out: &mut Vec<u8>, at: i64, histogram: &Histogram) {
    put_float(out, 3, histogram.sum);
    put_number(out, 4, zigzag(i64::from(histogram.schema)));
    put_float(out, 5, histogram.zero_threshold);
    match &histogram.buckets {
        Buckets::Integer {
            count,
            zero_count,
            positive,
            negative,
        } => {
            put_number(out, 1, *count);
            put_number(out, 6, *zero_count);
            for (field, deltas) in [(9, negative), (12, positive)] {
                let mut packed = Vec::new();
                for delta in deltas {
                    put_u64(&mut packed, zigzag(*delta));
                }
                put_bytes(out, field, &packed);
            }
        }
        Buckets::Float {
            count,
            zero_count,
            positive,
            negative,
        } => {
            put_float(out, 2, *count);
            put_float(out, 7, *zero_count);
            for (field, counts) in [(10, negative), (13, positive)] {
                put_floats(out, field, counts);
            }
        }
    }
    put_spans(out, 8, &histogram.negative_spans);
    put_spans(out, 11, &histogram.positive_spans);
    let hint = match histogram.reset_hint {
        ResetHint::Unknown => 0,
        ResetHint::Yes => 1,
        ResetHint::No => 2,
        ResetHint::Gauge => 3,
    };
    put_number(out, 14, hint);
    put_number(out, 15, at.cast_unsigned());
    put_floats(out, 16, &histogram.custom_values);
}

fn put_floats(out: &mut Vec<u8>, field: u64, values: &[f64]) {
    let packed: Vec<u8> = values
        .iter()
        .flat_map(|value| value.to_bits().to_le_bytes())
        .collect();
    put_bytes(out, field, &packed);
}

fn put_spans(out: &mut Vec<u8>, field: u64, spans: &[Span]) {
    for span in spans {
        let mut message = Vec::new();
        put_number(&mut message, 1, zigzag(i64::from(span.offset)));
        put_number(&mut message, 2, u64::from(span.length));
        put_bytes(out, field, &message);
    }
}
