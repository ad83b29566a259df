//! Pieces of history as bodies of remote-write 1.0, of bounded size.
//!
//! Version 1.0, since every receiver takes it; what only 2.0 could carry (start timestamps) no
//! foreign format of [`super`] has.

use super::history::Piece;
use crate::codec::prometheus::{put_float, put_histogram, put_labels};
use crate::codec::protobuf::Message;
use crate::model::{Metadata, Samples, Value};

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
        put_labels(&mut Message::new(&mut series), &piece.labels);
        let Samples { timestamps, .. } = &piece.samples;
        let mut at = from;
        while at < timestamps.len() && !self.is_full(series.len()) {
            let message = &mut Message::new(&mut series);
            match piece.samples.get(at) {
                Some((time, Value::Float(value), _)) => put_float(message, time.0, value),
                Some((time, Value::Histogram(one), _)) => put_histogram(message, time.0, &one),
                None => {}
            }
            self.samples += 1;
            at += 1;
        }
        if at > from {
            Message::new(&mut self.message).bytes(1, &series);
        }
        at
    }

    fn is_full(&self, more: usize) -> bool {
        self.samples >= REQUEST_SAMPLES as u64 || self.message.len() + more >= REQUEST_BYTES
    }

    /// Adds what a metric family is.
    pub fn add_family(&mut self, name: &str, metadata: &Metadata) {
        Message::new(&mut self.message).message(3, |family| {
            family.uint(1, metadata.kind as u64);
            family.bytes(2, name.as_bytes());
            family.bytes(4, metadata.help.as_bytes());
            family.bytes(5, metadata.unit.as_bytes());
        });
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
