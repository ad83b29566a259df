//! A path in segments, each of which can be read without the others.
//!
//! A segment is a path of its own: it begins where the one before ended, which is its 0, and its predictor
//! begins anew there; a centre that is a level is counted from there too.
//!
//! ```text
//! for each segment but the last: varint bytes, zigzag its last number less that of the segment before (0)
//! of each segment: the stream of its residuals (`residuals.rs`)
//! ```

use std::ops::Range;

use super::residuals;
use crate::codec::Error;
use crate::codec::predict::{self, Kind, Predictor};
use crate::codec::values::Path;
use crate::codec::varint::{put_i64, put_len, take_exact, take_i64, take_len};

const WHAT: &str = "a coded path";

/// Numbers in a segment but the last: a day at a sample every 21 s. A segment costs some twenty bytes, one in a
/// hundred where numbers take four bits each; reading one number decodes half of it on average.
const SEGMENT: usize = 4096;

/// Appends a path.
pub(in crate::codec) fn encode(path: &Path, out: &mut Vec<u8>) {
    if path.residuals.len() <= SEGMENT {
        residuals::encode(&path.residuals, out);
        return;
    }
    let mut numbers = vec![0];
    numbers.extend_from_slice(&path.residuals);
    predict::restore(path.predictor, numbers.get_mut(1..).unwrap_or_default());
    let (mut streams, mut before, mut own) = (Vec::new(), 0, Vec::new());
    let mut rest = &numbers[..];
    while rest.len() > 1 {
        let (segment, next) = rest.split_at(rest.len().min(SEGMENT + 1));
        let (base, last) = (segment.first(), segment.last());
        let (base, last) = (*base.unwrap_or(&0), *last.unwrap_or(&0));
        let relative: Vec<i64> = segment.iter().map(|n| n.wrapping_sub(base)).collect();
        predict::residuals(from(path.predictor, base), &relative, &mut own);
        let start = streams.len();
        residuals::encode(&own, &mut streams);
        if !next.is_empty() {
            put_len(out, streams.len() - start);
            put_i64(out, last.wrapping_sub(before));
        }
        before = last;
        // The number that a segment ends with is where the next begins.
        rest = rest.get(SEGMENT..).unwrap_or_default();
    }
    out.extend_from_slice(&streams);
}

/// The predictor of a segment that begins at a number of the path.
const fn from(predictor: Predictor, base: i64) -> Predictor {
    let centre = match predictor.kind {
        Kind::Level | Kind::MeanLevel => predictor.centre.wrapping_sub(base),
        Kind::Delta | Kind::Delta2 | Kind::MeanDelta => predictor.centre,
    };
    Predictor {
        centre,
        ..predictor
    }
}

/// Restores some of the `len` numbers of a path: `out` is as long as the end of those that are wanted
/// afterwards, and what is before them is of no meaning.
///
/// # Errors
/// When the bytes are not those of so many numbers, as far as they were looked at.
pub(in crate::codec) fn decode(
    predictor: Predictor,
    mut bytes: &[u8],
    (wanted, len): (Range<usize>, usize),
    out: &mut Vec<i64>,
) -> Result<(), Error> {
    let long = len.saturating_sub(1) / SEGMENT;
    let mut heads = Vec::with_capacity(long + 1);
    let mut base = 0i64;
    for _ in 0..long {
        let size = take_len(&mut bytes, WHAT, usize::MAX)?;
        heads.push((size, base));
        base = base.wrapping_add(take_i64(&mut bytes)?);
    }
    let sizes = heads.iter().map(|(size, _)| *size);
    let sum = sizes.fold(0, usize::saturating_add);
    let missing = sum.saturating_sub(bytes.len());
    let last = bytes.len().checked_sub(sum);
    let last = last.ok_or(Error::truncated(WHAT, missing))?;
    heads.push((last, base));
    out.clear();
    out.resize(wanted.end.min(len), 0);
    for (at, (size, base)) in heads.into_iter().enumerate() {
        let stream = take_exact(&mut bytes, size, WHAT)?;
        let numbers = at * SEGMENT..len.min((at + 1) * SEGMENT);
        let is_wanted = numbers.start < wanted.end && wanted.start < numbers.end;
        // That there is nothing is checked too.
        if !is_wanted && len > 0 {
            continue;
        }
        let end = numbers.end.min(wanted.end);
        let Some(out) = out.get_mut(numbers.start..end) else {
            continue;
        };
        residuals::decode(stream, end == numbers.end, out)?;
        predict::restore(from(predictor, base), out);
        if base != 0 {
            out.iter_mut()
                .for_each(|number| *number = number.wrapping_add(base));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Numbers that differ little or much from those before, more than a segment of them or not.
    fn numbers() -> impl Strategy<Value = Vec<i64>> {
        let len = prop::sample::select(vec![
            0,
            1,
            2,
            SEGMENT - 1,
            SEGMENT,
            SEGMENT + 1,
            3 * SEGMENT,
            3 * SEGMENT + 5,
        ]);
        (len, any::<u64>(), 0u32..64).prop_map(|(len, seed, shift)| {
            let mut state = seed;
            let mut last = 0i64;
            let step = || {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(99);
                last = last.wrapping_add(state.cast_signed() >> shift);
                last
            };
            std::iter::repeat_with(step).take(len).collect()
        })
    }

    fn coded(predictor: Predictor, numbers: &[i64]) -> Vec<u8> {
        let mut path = vec![0];
        path.extend_from_slice(numbers);
        let mut residuals = Vec::new();
        predict::residuals(predictor, &path, &mut residuals);
        let mut bytes = Vec::new();
        encode(
            &Path {
                predictor,
                residuals,
            },
            &mut bytes,
        );
        bytes
    }

    fn predictor() -> impl Strategy<Value = Predictor> {
        (prop::sample::select(&Kind::ALL[..]), any::<i64>(), 0u32..64).prop_map(
            |(kind, centre, shift)| Predictor {
                kind,
                centre: centre >> shift,
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_part_of_a_path_comes_back(numbers in numbers(), predictor in predictor(), from: usize, to: usize) {
            let bytes = coded(predictor, &numbers);
            let mut out = vec![3; 5];
            decode(predictor, &bytes, (0..numbers.len(), numbers.len()), &mut out).unwrap();
            prop_assert_eq!(&out, &numbers);
            let (from, to) = (from % (numbers.len() + 1), to % (numbers.len() + 1));
            let wanted = from.min(to)..from.max(to);
            decode(predictor, &bytes, (wanted.clone(), numbers.len()), &mut out).unwrap();
            prop_assert_eq!(out.len(), wanted.end);
            prop_assert_eq!(&out[wanted.clone()], &numbers[wanted]);
        }

        #[test]
        fn any_bytes_are_taken_or_refused(
            numbers in numbers(), at: usize, byte: u8, any in prop::collection::vec(any::<u8>(), 0..60), len in 0usize..9000,
        ) {
            let predictor = Predictor { kind: Kind::Delta, centre: 0 };
            let mut bytes = coded(predictor, &numbers);
            // The heads are at the beginning.
            let at = at % bytes.len().min(40);
            bytes[at] = byte;
            for (bytes, len) in [(&bytes, numbers.len()), (&bytes, len), (&any, len)] {
                for wanted in [0..len, len / 2..len, len / 3..len / 2] {
                    decode(predictor, bytes, (wanted, len), &mut Vec::new()).ok();
                }
            }
        }

        #[test]
        fn a_path_of_another_length_is_noticed(numbers in numbers(), predictor in predictor()) {
            let bytes = coded(predictor, &numbers);
            let more = numbers.len() + 1;
            prop_assert!(decode(predictor, &bytes, (0..more, more), &mut Vec::new()).is_err());
        }
    }

    /// Would catch a level that is not counted from where a segment begins: it would be far away from all numbers.
    #[test]
    fn a_level_is_one_in_every_segment() {
        let numbers = vec![1_000_003; 3 * SEGMENT];
        for kind in [Kind::Level, Kind::MeanLevel] {
            let predictor = Predictor {
                kind,
                centre: 1_000_003,
            };
            assert!(coded(predictor, &numbers).len() < 200, "{kind:?}");
        }
    }

    #[test]
    fn the_middle_is_read_without_the_beginning() {
        let numbers: Vec<i64> = (0..4 * SEGMENT as i64).map(|i| i * i % 1000).collect();
        let predictor = Predictor {
            kind: Kind::Delta,
            centre: 0,
        };
        let mut bytes = coded(predictor, &numbers);
        // What is not read may be anything: all of the streams of the first two segments.
        let mut rest = &bytes[..];
        let mut sizes = Vec::new();
        for _ in 0..3 {
            sizes.push(take_len(&mut rest, "", usize::MAX).unwrap());
            take_i64(&mut rest).unwrap();
        }
        let heads = bytes.len() - rest.len();
        bytes[heads..heads + sizes[0] + sizes[1]].fill(0xff);
        let wanted = 2 * SEGMENT + 7..3 * SEGMENT - 7;
        let mut out = Vec::new();
        decode(predictor, &bytes, (wanted.clone(), numbers.len()), &mut out).unwrap();
        assert_eq!(out[wanted.clone()], numbers[wanted]);
    }
}
