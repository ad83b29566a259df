//! Which symbols a residual is.
//!
//! ```text
//! length  of the magnitude in bits, 0 to 64: a symbol of the first lane, at most 15, by the model of its context
//!         15: another symbol of the first lane, at most 15, to be added
//!         30: 6 plain bits to be added
//! top     if the length is not 0: a symbol of the second lane, by a model for each length (15 for longer
//!         ones): the bits below the highest, at most three, and below them 1 if negative
//! plain   what is below these: the low 32 bits, then the rest
//! ```
//! The context is the mean of the lengths so far, rounded, in steps of four: `min(3, (m + 32) >> 10)`, where `m` begins
//! as 0 and is raised by `((length << 8) - m) >> 2` after each residual.
//!
//! Models begin with these weights: that of context `c` with `512 >> min(6, |length - 4 c|)`; that of a
//! top with 1 for each symbol that its length has, and 0 for the others; the one that adds with 1 for each.

use super::nibble::{Nibble, SYMBOLS};
use super::stream::{Lane, PLAIN_MAX, Reader, Writer};
use crate::codec::Error;

const WHAT: &str = "coded residuals";

/// Lengths from here on take a second symbol, from twice it on plain bits as well.
const LENGTH_LONG: u32 = 15;
const LENGTH_MAX: u32 = i64::BITS;
/// Bits that say how much longer than twice [`LENGTH_LONG`] a number is.
const LENGTH_PLAIN: u32 = 6;

/// Bits below the highest one that have a model.
const TOP_BITS: u32 = 3;

const CONTEXTS: usize = 4;

/// All models of a stream.
#[derive(Clone, Debug)]
struct Models {
    lengths: [Nibble; CONTEXTS],
    longer: Nibble,
    tops: [Nibble; SYMBOLS],
}

static AT_FIRST: Models = at_first();

#[allow(clippy::indexing_slicing, reason = "evaluated when it is compiled")]
const fn at_first() -> Models {
    let even = Nibble::of_weights([1; SYMBOLS]);
    let mut models = Models {
        lengths: [even; CONTEXTS],
        longer: even,
        tops: [even; SYMBOLS],
    };
    let mut context = 0;
    while context < CONTEXTS {
        let mut weights = [0; SYMBOLS];
        let mut length = 0;
        while length < SYMBOLS {
            let off = length.abs_diff(4 * context);
            weights[length] = 512 >> if off < 6 { off } else { 6 };
            length += 1;
        }
        models.lengths[context] = Nibble::of_weights(weights);
        context += 1;
    }
    let mut length = 0;
    while length <= TOP_BITS as usize {
        let mut weights = [0; SYMBOLS];
        let mut top = 0;
        while top < 1 << length {
            weights[top] = 1;
            top += 1;
        }
        models.tops[length] = Nibble::of_weights(weights);
        length += 1;
    }
    models
}

/// How long the last residuals were.
#[derive(Clone, Copy, Default, Debug)]
struct Mean(i32);

impl Mean {
    #[inline]
    fn context(self) -> usize {
        usize::try_from((self.0 + 32) >> 10)
            .unwrap_or(0)
            .min(CONTEXTS - 1)
    }

    #[inline]
    fn learn(&mut self, length: u32) {
        self.0 += ((length.cast_signed() << 8) - self.0) >> 2;
    }
}

/// One of some models.
#[inline]
#[allow(
    clippy::indexing_slicing,
    reason = "a remainder is less than what divides"
)]
fn pick<const N: usize>(models: &mut [Nibble; N], at: usize) -> &mut Nibble {
    &mut models[at % N]
}

/// What a length says of the bits of a number: how many of them the top has, and how many are plain.
#[inline]
const fn parts(length: u32) -> (u32, u32) {
    let below = length - 1;
    let top = if below < TOP_BITS { below } else { TOP_BITS };
    (top, below - top)
}

/// Appends residuals as a stream.
pub(super) fn encode(residuals: &[i64], out: &mut Vec<u8>) {
    let mut writer = Writer::default();
    let mut models = AT_FIRST.clone();
    let mut mean = Mean::default();
    for residual in residuals {
        let magnitude = residual.unsigned_abs();
        let length = u64::BITS - magnitude.leading_zeros();
        let symbol = |length: u32| length.min(LENGTH_LONG) as usize;
        let model = pick(&mut models.lengths, mean.context());
        writer.symbol(Lane::First, model, symbol(length));
        if let Some(more) = length.checked_sub(LENGTH_LONG) {
            writer.symbol(Lane::First, &mut models.longer, symbol(more));
            if let Some(more) = more.checked_sub(LENGTH_LONG) {
                writer.plain(LENGTH_PLAIN, u64::from(more));
            }
        }
        mean.learn(length);
        if length == 0 {
            continue;
        }
        let (top_bits, plain) = parts(length);
        let top = (magnitude >> plain) & ((1 << top_bits) - 1);
        let top = top << 1 | u64::from(*residual < 0);
        let model = pick(&mut models.tops, symbol(length));
        writer.symbol(Lane::Second, model, usize::from(top.to_le_bytes()[0]));
        writer.plain(plain.min(PLAIN_MAX), magnitude);
        if let Some(rest) = plain.checked_sub(PLAIN_MAX) {
            writer.plain(rest, magnitude >> PLAIN_MAX);
        }
    }
    writer.finish(out);
}

/// Takes as many residuals as there is room for from the beginning of a stream, or all there are if `whole`.
///
/// # Errors
/// When the stream does not have so many, or has others if `whole`.
pub(super) fn decode(bytes: &[u8], whole: bool, out: &mut [i64]) -> Result<(), Error> {
    let mut reader = Reader::new(bytes)?;
    let mut models = AT_FIRST.clone();
    let mut mean = Mean::default();
    let mut longest = 0;
    let mut strange = 0;
    for residual in out {
        let model = pick(&mut models.lengths, mean.context());
        let mut length = number(reader.symbol(Lane::First, model));
        if length == LENGTH_LONG {
            length += number(reader.symbol(Lane::First, &mut models.longer));
            if length == 2 * LENGTH_LONG {
                length += u32::try_from(reader.plain(LENGTH_PLAIN)).unwrap_or(LENGTH_MAX);
            }
            longest = longest.max(length);
            length = length.min(LENGTH_MAX);
        }
        mean.learn(length);
        if length == 0 {
            *residual = 0;
            continue;
        }
        let (top_bits, plain) = parts(length);
        let model = pick(&mut models.tops, length.min(LENGTH_LONG) as usize);
        let top = reader.symbol(Lane::Second, model) as u64;
        strange |= top >> 1 >> top_bits;
        let mut magnitude = reader.plain(plain.min(PLAIN_MAX));
        if let Some(rest) = plain.checked_sub(PLAIN_MAX) {
            magnitude |= reader.plain(rest) << PLAIN_MAX;
        }
        magnitude |= (top >> 1 | 1 << top_bits) << plain;
        let sign = (top & 1).cast_signed().wrapping_neg();
        *residual = (magnitude.cast_signed() ^ sign).wrapping_sub(sign);
    }
    if longest > LENGTH_MAX || strange != 0 {
        return Err(Error::invalid(WHAT, strange.max(u64::from(longest))));
    }
    if whole {
        reader.finish()
    } else {
        reader.check()
    }
}

/// A symbol as a number.
#[inline]
#[allow(
    clippy::cast_possible_truncation,
    reason = "a symbol is less than sixteen"
)]
const fn number(symbol: usize) -> u32 {
    symbol as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn coded(residuals: &[i64]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(residuals, &mut out);
        out
    }

    fn residuals() -> impl Strategy<Value = Vec<i64>> {
        let any = (any::<i64>(), 0u32..64).prop_map(|(number, shift)| number >> shift);
        let small = (-3i64..4).boxed();
        let edge = prop::sample::select(vec![i64::MIN, i64::MAX, i64::MIN + 1, 0, -1, 1]);
        prop::collection::vec(prop_oneof![4 => small, 4 => any, 1 => edge], 0..300)
    }

    proptest! {
        #[test]
        fn any_numbers_come_back(numbers in residuals(), some: usize) {
            let bytes = coded(&numbers);
            let mut out = vec![7; numbers.len()];
            decode(&bytes, true, &mut out).unwrap();
            prop_assert_eq!(&out, &numbers);
            let some = some % (numbers.len() + 1);
            let mut out = vec![7; some];
            decode(&bytes, false, &mut out).unwrap();
            prop_assert_eq!(&out, &numbers[..some]);
        }

        #[test]
        fn one_too_few_or_many_is_noticed(numbers in residuals()) {
            prop_assume!(!numbers.is_empty());
            let bytes = coded(&numbers);
            let mut fewer = vec![0; numbers.len() - 1];
            prop_assert!(decode(&bytes, true, &mut fewer).is_err());
            let mut more = vec![0; numbers.len() + 1];
            prop_assert!(decode(&bytes, true, &mut more).is_err());
        }

        #[test]
        fn any_bytes_are_taken_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..80), count in 0usize..200) {
            let _ = decode(&bytes, true, &mut vec![0; count]);
        }
    }

    /// A stream of one residual of some length and top.
    fn of_length(first: usize, more: Option<(usize, u64)>, top: usize) -> Vec<u8> {
        let (mut writer, mut models) = (Writer::default(), AT_FIRST.clone());
        writer.symbol(Lane::First, pick(&mut models.lengths, 0), first);
        if let Some((second, plain)) = more {
            writer.symbol(Lane::First, &mut models.longer, second);
            writer.plain(LENGTH_PLAIN, plain);
        }
        let model = pick(&mut models.tops, first);
        writer.symbol(Lane::Second, model, top);
        if more.is_some() {
            writer.plain(PLAIN_MAX, 0);
            writer.plain(LENGTH_MAX - 1 - TOP_BITS - PLAIN_MAX, 0);
        }
        let mut out = Vec::new();
        writer.finish(&mut out);
        out
    }

    #[test]
    fn what_no_residual_is_is_refused() {
        let read = |bytes: &[u8]| decode(bytes, true, &mut [0]);
        assert_eq!(read(&of_length(1, None, 1)), Ok(()));
        assert_eq!(read(&of_length(15, Some((15, 34)), 1)), Ok(()));
        // A bit longer than a number can be, and a bit that so short a number does not have.
        assert!(read(&of_length(15, Some((15, 35)), 1)).is_err());
        assert!(read(&of_length(1, None, 2)).is_err());
    }

    #[test]
    fn what_is_likely_is_short() {
        // Eight bytes are there anyway.
        assert!(coded(&[0; 1000]).len() <= 32, "{}", coded(&[0; 1000]).len());
        let steps: Vec<i64> = (0..1000).map(|i| i64::from(i % 2 == 0)).collect();
        assert!(coded(&steps).len() <= 160, "{}", coded(&steps).len());
        // Ten random bits and a sign each.
        let mut state = 1u64;
        let noise = std::iter::repeat_with(|| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 54).cast_signed() - 512
        });
        let noise: Vec<i64> = noise.take(1000).collect();
        let bytes = coded(&noise).len();
        assert!((1240..1340).contains(&bytes), "{bytes}");
    }
}
