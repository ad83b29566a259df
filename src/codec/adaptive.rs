//! Residuals as bits of a range coder, each with a probability that the column has taught.
//!
//! A residual is: zero or not; the length of its magnitude in bits (a tree of six decisions); the
//! sign; the two highest bits below the leading one; the rest as it is. What is probable depends
//! on how long the last residuals were and how many of the last two were zero.

use super::Error;
use super::range::{Bit, Decoder, Encoder};

const WHAT: &str = "the residuals of a column";

/// Classes of the mean length of the last residuals.
const MEANS: usize = 16;
/// None, one or both of the last two residuals were zero.
const ZEROS: usize = 3;
/// Of each context: the zero flag, the sign, 63 decisions of the tree (from 1 on).
const SIGN: usize = 64;
const CONTEXT: usize = 65;
const CONTEXTS: usize = MEANS * ZEROS;
/// The two highest bits below the leading one: three decisions for each length.
const TOPS: usize = 65 * 3;
const BITS: usize = CONTEXTS * CONTEXT + TOPS;

/// The probabilities of a column.
struct Model {
    bits: Vec<Bit>,
    /// Mean length of the last residuals, in sixteenths of a bit.
    mean: u32,
    /// The last residuals that were zero, a bit each.
    zeros: u32,
}

impl Model {
    fn new() -> Self {
        Self {
            bits: super::prior::bits(),
            mean: 0,
            zeros: 0b11,
        }
    }

    /// Where the probabilities of the present context begin.
    fn context(&self) -> usize {
        // Fine steps where lengths are short, for there most residuals are.
        let class = match self.mean {
            0..4 => 0,
            4..8 => 1,
            8..16 => 2,
            16..24 => 3,
            24..32 => 4,
            32..48 => 5,
            48..64 => 6,
            mean => (7 + (mean - 64) / 48).min(15),
        };
        (class as usize * ZEROS + (self.zeros & 0b11).count_ones() as usize) * CONTEXT
    }

    fn learn(&mut self, len: u32) {
        self.mean = (self.mean * 7 + len * 16 + 3) / 8;
        self.zeros = self.zeros << 1 | u32::from(len == 0);
    }

    fn top(len: u32) -> usize {
        CONTEXTS * CONTEXT + len as usize * 3
    }
}

/// Appends residuals.
pub(super) fn encode(residuals: &[i64], out: &mut Vec<u8>) {
    let (mut model, mut coder) = (Model::new(), Encoder::new());
    for residual in residuals {
        encode_one(&mut model, &mut coder, *residual);
    }
    out.extend_from_slice(&coder.finish());
}

fn encode_one(model: &mut Model, coder: &mut Encoder, residual: i64) {
    let context = model.context();
    let magnitude = residual.unsigned_abs();
    let len = 64 - magnitude.leading_zeros();
    let mut put = |at: usize, bit: bool| {
        if let Some(model) = model.bits.get_mut(at) {
            coder.bit(model, bit);
        }
    };
    put(context, len != 0);
    if len > 0 {
        let mut node = 1;
        for at in (0..6).rev() {
            let bit = (len - 1) >> at & 1;
            put(context + node, bit == 1);
            node = node << 1 | bit as usize;
        }
        put(context + SIGN, residual < 0);
        let top = Model::top(len);
        let mut below = len - 1;
        let mut node = 0;
        for _ in 0..2 {
            if below == 0 {
                break;
            }
            below -= 1;
            let bit = magnitude >> below & 1;
            put(top + node, bit == 1);
            node = 1 + bit as usize;
        }
        coder.even(magnitude, below);
    }
    model.learn(len);
}

/// The `count` residuals that `bytes` are; `out` is cleared first.
pub(super) fn decode(bytes: &[u8], count: usize, out: &mut Vec<i64>) -> Result<(), Error> {
    let (mut model, mut coder) = (Model::new(), Decoder::new(bytes));
    out.clear();
    out.reserve_exact(count);
    for _ in 0..count {
        out.push(decode_one(&mut model, &mut coder));
    }
    if coder.used_up() {
        return Ok(());
    }
    Err(Error::invalid(WHAT, bytes.len() as u64))
}

fn decode_one(model: &mut Model, coder: &mut Decoder<'_>) -> i64 {
    let context = model.context();
    let mut take = |at: usize, coder: &mut Decoder<'_>| match model.bits.get_mut(at) {
        Some(model) => coder.bit(model),
        None => false,
    };
    if !take(context, coder) {
        model.learn(0);
        return 0;
    }
    let mut node = 1;
    for _ in 0..6 {
        node = node << 1 | usize::from(take(context + node, coder));
    }
    let len = (node as u32 & 63) + 1;
    let negative = take(context + SIGN, coder);
    let top = Model::top(len);
    let (mut magnitude, mut below, mut node) = (1u64, len - 1, 0);
    for _ in 0..2 {
        if below == 0 {
            break;
        }
        below -= 1;
        let bit = take(top + node, coder);
        magnitude = magnitude << 1 | u64::from(bit);
        node = 1 + usize::from(bit);
    }
    // A length of 64 fills the word: only -2^63 has it, whatever a damaged stream says.
    magnitude = magnitude << below | coder.even(below);
    model.learn(len);
    if negative {
        magnitude.cast_signed().wrapping_neg()
    } else {
        magnitude.cast_signed()
    }
}
