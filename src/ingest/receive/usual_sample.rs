//! A float sample as nearly every sender encodes it, recognised without reading field by field.
//!
//! Both versions of remote-write spell it the same way: field 2 of a series, in it the value (1,
//! a double) and then the time (2, a varint). Everything else that means the same is read by the
//! general readers; what is recognised here means nothing else.

use crate::model::TimestampMs;

/// Bytes of a sample with its tag and length.
pub(super) const WHOLE_LEN: usize = 18;
/// The same without the value, which encoders leave out when it is zero.
pub(super) const ZERO_LEN: usize = 9;

/// A sample with a value.
#[inline]
pub(super) fn whole(bytes: &[u8; WHOLE_LEN]) -> Option<(TimestampMs, f64)> {
    let [
        0x12,
        0x10,
        0x09,
        v0,
        v1,
        v2,
        v3,
        v4,
        v5,
        v6,
        v7,
        0x10,
        time @ ..,
    ] = bytes
    else {
        return None;
    };
    let value = f64::from_le_bytes([*v0, *v1, *v2, *v3, *v4, *v5, *v6, *v7]);
    Some((time_of(*time)?, value))
}

/// A sample whose value is zero.
#[inline]
pub(super) fn zero(bytes: &[u8; ZERO_LEN]) -> Option<(TimestampMs, f64)> {
    let [0x12, 0x07, 0x10, time @ ..] = bytes else {
        return None;
    };
    Some((time_of(*time)?, 0.0))
}

/// A varint of exactly six bytes: every time from 1971 to 2109.
#[inline]
fn time_of(bytes: [u8; 6]) -> Option<TimestampMs> {
    let [a, b, c, d, e, f] = bytes;
    let word = u64::from_le_bytes([a, b, c, d, e, f, 0, 0]);
    if word & 0x8080_8080_8080 != 0x0080_8080_8080 {
        return None;
    }
    let part = |at: u32| (word >> (8 * at) & 0x7f) << (7 * at);
    let ms = part(0) | part(1) | part(2) | part(3) | part(4) | part(5);
    Some(TimestampMs(ms.cast_signed()))
}
