//! The bytes of an append stream: `proto/append.proto`, and the columns in it as `docs/format.md`
//! ("Append streams") has them.
//!
//! A stream defines a series once and names it by a small number from then on. Both ends keep,
//! for each series of the stream, its last value and which series followed it last time, so that a
//! request that looks like the one before costs a bit for each unchanged value and a byte or two
//! for the others. When a stream ends everything is forgotten at both ends.
//!
//! Nothing here knows of connections, rings or stores.

mod decoder;
mod definitions;
mod encoder;
mod message;
#[cfg(test)]
mod tests;
mod values;
mod wire_error;

pub(super) use decoder::{Decoded, Decoder, place_of_family};
pub(super) use encoder::{Encoder, LabelsOf};
pub(super) use message::{
    Answer, Assembly, Columns, Named, Outcome, Purpose, Request, decode_answer, decode_request,
    encode_answer, pieces,
};
pub(super) use wire_error::FrameError;

/// Float samples of one request at most.
pub(super) const FLOATS_MAX: usize = 1 << 17;
/// Histograms, metadata and exemplars of one request at most, each.
pub(super) const OTHERS_MAX: usize = 1 << 16;
/// Definitions of one stream at most: 64 MiB at a replica. When a coordinator has more series for
/// one peer, the stream forgets all of them and starts again.
pub(super) const DEFINITIONS_MAX: usize = 1 << 21;
/// Bytes of the labels of one series at most; the head takes no more either.
const LABELS_BYTES_MAX: usize = 1 << 20;
/// Labels of one series at most.
const LABELS_MAX: usize = 1 << 16;
