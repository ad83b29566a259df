//! The stale marker: the one NaN that ends a series.

/// The bits of the one NaN that marks the end of a series (Prometheus' `value.StaleNaN`). Every
/// other NaN is a value and keeps its own bits.
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// The stale marker.
#[must_use]
pub const fn stale_nan() -> f64 {
    f64::from_bits(STALE_NAN_BITS)
}

/// Whether a value is the stale marker.
#[must_use]
pub const fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}
