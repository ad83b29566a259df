//! What the writer and the reader of a chunk share and must never differ in: marks, mode bits,
//! mantissas, and the means that choose the width of a code. Knows neither bits nor rows.
#![allow(
    clippy::indexing_slicing,
    reason = "an exponent is masked to the sixteen powers there are"
)]

/// Ones that mean "not a Rice code".
pub(super) const ESCAPE: u32 = 12;
/// After an escape: the zig-zag residual in 64 bits.
pub(super) const ESCAPE_WIDE: u64 = 0;
/// After an escape: a new, larger exponent in four bits; the value's code follows.
pub(super) const ESCAPE_EXPONENT: u64 = 1;
/// After an escape: rows are missing; their number in Elias-gamma, then one bit: changed.
pub(super) const ESCAPE_GAP: u64 = 2;
/// After an escape: the raw bits; then one bit: the chunk goes over to XOR.
pub(super) const ESCAPE_RAW: u64 = 3;

pub(super) const EXPONENT_MAX: u8 = 12;
/// Mode bits: the exponent in the lower four.
pub(super) const MODE_EXPONENT: u8 = 0x0f;
/// The last value is not a decimal of the exponent (an escape wrote it raw).
pub(super) const MODE_LAST_RAW: u8 = 0x10;
/// Values are XORed.
pub(super) const MODE_XOR: u8 = 0x20;
/// Something was written: the first value stands in the bits.
pub(super) const MODE_CHANGED: u8 = 0x40;
/// There is a value.
pub(super) const MODE_USED: u8 = 0x80;

pub(super) const POWERS: [f64; 16] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
];
/// Mantissas stay where every whole number is a float.
pub(super) const MANTISSA_MAX: f64 = 9_007_199_254_740_992.0;

#[inline]
pub(super) const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

#[inline]
pub(super) const fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

/// The mantissa of a value at an exponent, when `mantissa / 10^exponent` gives back its bits.
#[inline]
pub(super) fn mantissa(bits: u64, exponent: u8) -> Option<i64> {
    let value = f64::from_bits(bits);
    let power = POWERS[usize::from(exponent & MODE_EXPONENT)];
    let scaled = value * power;
    if !(-MANTISSA_MAX..=MANTISSA_MAX).contains(&scaled) {
        return None;
    }
    // The cast truncates, which rounds half away from zero after half was added.
    #[allow(
        clippy::cast_possible_truncation,
        reason = "bounded by MANTISSA_MAX above"
    )]
    let whole = (scaled + 0.5f64.copysign(scaled)) as i64;
    #[allow(clippy::cast_precision_loss, reason = "at most 2^53")]
    let back = whole as f64 / power;
    (back.to_bits() == bits && whole.unsigned_abs() < 1 << 53).then_some(whole)
}

/// The smallest exponent from `from` on that suits both values.
#[inline]
pub(super) fn exponent_of(from: u8, one: u64, other: u64) -> Option<u8> {
    (from..=EXPONENT_MAX)
        .find(|exponent| mantissa(other, *exponent).is_some() && mantissa(one, *exponent).is_some())
}

/// The part of writer and reader that must never differ: means, widths, predictions.
#[derive(Clone, Copy)]
pub(super) struct Means {
    pub(super) delta: f32,
    pub(super) residual: f32,
}

impl Means {
    #[allow(
        clippy::cast_possible_truncation,
        reason = "a float cast saturates, and both sides do the same"
    )]
    #[inline]
    pub(super) fn predicted(self) -> i64 {
        (self.delta + 0.5f32.copysign(self.delta)) as i64
    }

    /// Bits of the remainder: the whole part of log2 of the mean residual.
    #[inline]
    pub(super) fn rice_width(self) -> u32 {
        (self.residual.to_bits() >> 23).saturating_sub(127).min(52)
    }

    #[allow(clippy::cast_precision_loss, reason = "both sides round alike")]
    #[inline]
    pub(super) fn learn(&mut self, delta: i64, residual: u64) {
        self.delta += (delta as f32 - self.delta) * 0.125;
        self.residual += (residual as f32 - self.residual) * 0.125;
    }
}
