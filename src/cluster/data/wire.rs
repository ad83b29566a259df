//! The generated messages, and what all of them have in common: how they fail, arcs, ranges, wide
//! numbers.

use bytes::Bytes;
use prost::Message;

use crate::model::{RingArc, TimeRange, TimestampMs};

/// The generated code.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    reason = "generated; proto/data.proto has the descriptions"
)]
pub(super) mod messages {
    include!(concat!(env!("OUT_DIR"), "/cairn.data.v1.rs"));
}

/// Why bytes are no message.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{what} cannot be read: {problem}: the peer runs another version, or its bytes were damaged"
)]
pub struct DataError {
    /// What was to be read.
    pub what: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

pub(super) fn wrong(what: &'static str, problem: impl Into<String>) -> DataError {
    DataError {
        what,
        problem: problem.into(),
    }
}

/// The message of some bytes.
pub(super) fn read<M: Message + Default>(what: &'static str, body: Bytes) -> Result<M, DataError> {
    M::decode(body).map_err(|error| wrong(what, error.to_string()))
}

pub(super) fn required<T>(value: Option<T>, what: &'static str) -> Result<T, DataError> {
    value.ok_or_else(|| wrong(what, "it is missing"))
}

pub(super) fn put_arc(arc: RingArc) -> messages::RingArc {
    messages::RingArc {
        prefix: arc.prefix(),
        depth: u32::from(arc.depth()),
    }
}

pub(super) fn take_arc(arc: Option<messages::RingArc>) -> Result<RingArc, DataError> {
    let arc = required(arc, "an arc")?;
    u8::try_from(arc.depth)
        .ok()
        .and_then(|depth| RingArc::new(arc.prefix, depth))
        .ok_or_else(|| {
            let problem = format!("prefix {:08x} at depth {}", arc.prefix, arc.depth);
            wrong("an arc", problem)
        })
}

pub(super) fn put_range(range: TimeRange) -> messages::Range {
    messages::Range {
        start: range.start.0,
        end: range.end.0,
    }
}

pub(super) fn take_range(range: messages::Range) -> Result<TimeRange, DataError> {
    let range = TimeRange::new(TimestampMs(range.start), TimestampMs(range.end));
    if range.is_empty() {
        return Err(wrong("a range", "its end is before its start"));
    }
    Ok(range)
}

pub(super) fn put_wide(number: u128) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}

pub(super) fn take_wide(bytes: &[u8], what: &'static str) -> Result<u128, DataError> {
    let length = bytes.len();
    let bytes = bytes
        .try_into()
        .map_err(|_| wrong(what, format!("it has {length} bytes instead of 16")))?;
    Ok(u128::from_be_bytes(bytes))
}
