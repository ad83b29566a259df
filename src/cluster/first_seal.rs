//! When a window is sealed for the first time: whoever seals must know it, and whoever waits for seals.

use std::time::Duration;

use crate::model::{RingArc, TimestampMs, WINDOW_MS};

/// How long after the grace an arc seals a window: its place in the ring as a part of two hours.
fn delay_ms(arc: RingArc) -> i64 {
    (i64::from(arc.prefix()) * WINDOW_MS) >> 32
}

/// When an arc's window, which has an end, is to be sealed for the first time.
pub(super) fn first_seal_at(arc: RingArc, end: TimestampMs, grace: Duration) -> TimestampMs {
    let grace_ms = i64::try_from(grace.as_millis()).unwrap_or(i64::MAX);
    end.plus_ms(grace_ms).plus_ms(delay_ms(arc))
}
