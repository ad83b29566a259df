//! Records of float samples as steps: each value against the last one of its series in the same window and shard, byte by
//! byte as `docs/format.md` ("Log") has them.
//!
//! What a step stands on lies behind the definition of its series, in records of the same window and shard. So a log that
//! still has the definition has all of them; of a series whose definition is gone the steps are passed over, and their values
//! mean nothing.

use std::convert::Infallible;
use std::ops::Range;

use super::floats::{FloatRun, LoggedFloat, RECORD_SAMPLES_MAX, put_runs, take_runs};
use super::payload::{Packer, invalid, unwrap};
use crate::codec::steps::Last;
use crate::codec::{Error, varint};

/// Series of a piece of the table: 9 KiB, made when one that was defined may have a step.
const PIECE: u32 = 1024;
const PIECE_LEN: usize = PIECE as usize;

/// The last values of the series of a window and shard, by their numbers in the log.
#[derive(Debug, Default)]
pub(crate) struct Lasts {
    pieces: Vec<Known>,
}

/// What is known of a piece's series.
#[derive(Debug, Default)]
enum Known {
    /// Nobody has defined any.
    #[default]
    Nothing,
    /// Some are defined, and there were no steps: a log of many windows with few series each has many of these.
    Names,
    Values(Box<Piece>),
}

impl Known {
    #[inline]
    fn values(&mut self) -> Option<&mut Piece> {
        if matches!(self, Self::Names) {
            *self = Self::Values(Box::new(Piece {
                bits: [0; PIECE_LEN],
                modes: [0; PIECE_LEN],
            }));
        }
        match self {
            Self::Values(piece) => Some(piece),
            _ => None,
        }
    }
}

/// Apart, for together they would take sixteen bytes a series.
#[derive(Debug)]
struct Piece {
    bits: [u64; PIECE_LEN],
    modes: [u8; PIECE_LEN],
}

impl Lasts {
    /// A definition of this number is put into the log, or was read from it: its steps begin anew.
    pub(crate) fn begin(&mut self, number: u32) {
        let piece = (number / PIECE) as usize;
        if self.pieces.len() <= piece {
            self.pieces.resize_with(piece + 1, Known::default);
        }
        match self.pieces.get_mut(piece) {
            Some(Known::Values(piece)) => {
                let at = (number % PIECE) as usize;
                let both = piece.bits.get_mut(at).zip(piece.modes.get_mut(at));
                if let Some((bits, mode)) = both {
                    (*bits, *mode) = (0, 0);
                }
            }
            Some(known) => *known = Known::Names,
            None => {}
        }
    }

    /// Shows the last values of some numbers, one after the other; those that lie where nobody has defined any begin anew each time.
    #[inline]
    fn each<E>(
        &mut self,
        numbers: Range<u32>,
        mut each: impl FnMut(Last<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let (mut first, end) = (numbers.start, numbers.end);
        while first < end {
            let next = end.min((first / PIECE + 1).saturating_mul(PIECE));
            let (at, len) = ((first % PIECE) as usize, (next - first) as usize);
            let piece = self.pieces.get_mut((first / PIECE) as usize);
            first = next;
            let Some(piece) = piece.and_then(Known::values) else {
                nobody(len, &mut each)?;
                continue;
            };
            let bits = piece.bits.get_mut(at..at + len).unwrap_or_default();
            let modes = piece.modes.get_mut(at..at + len).unwrap_or_default();
            for (bits, mode) in bits.iter_mut().zip(modes) {
                each(Last { bits, mode })?;
            }
        }
        Ok(())
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        let values = |known: &&Known| matches!(known, Known::Values(_));
        let pieces = self.pieces.iter().filter(values).count() * size_of::<Piece>();
        pieces + self.pieces.capacity() * size_of::<Known>()
    }
}

/// Shows as many last values of numbers that nobody has defined.
#[cold]
fn nobody<E>(len: usize, mut each: impl FnMut(Last<'_>) -> Result<(), E>) -> Result<(), E> {
    (0..len).try_for_each(|_| {
        let (mut bits, mut mode) = (0, 0);
        each(Last {
            bits: &mut bits,
            mode: &mut mode,
        })
    })
}

/// Makes payloads of float samples as steps, with buffers that stay.
#[derive(Default)]
pub(crate) struct StepsWriter {
    body: Vec<u8>,
    changed: BitsWriter,
    codes: Vec<u8>,
    packer: Packer,
}

impl std::fmt::Debug for StepsWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StepsWriter")
    }
}

impl StepsWriter {
    /// Appends the payload of float samples, at most [`RECORD_SAMPLES_MAX`] of them, and takes their values for the last ones of
    /// their series.
    pub(crate) fn put(&mut self, lasts: &mut Lasts, samples: &[LoggedFloat], out: &mut Vec<u8>) {
        let Self {
            body,
            changed,
            codes,
            packer,
        } = self;
        body.clear();
        codes.clear();
        put_runs(body, samples, |numbers, run| {
            let mut run = run.iter();
            let Ok(()) = lasts.each(numbers, |last| {
                let bits = run.next().map_or(0, |sample| sample.bits);
                changed.push(step(last, bits, codes));
                Ok::<_, Infallible>(())
            });
        });
        changed.finish(body);
        body.extend_from_slice(codes);
        packer.wrap(body, out);
    }
}

/// Puts the code of a value that is another than the last one; whether it is.
#[inline]
fn step(mut last: Last<'_>, bits: u64, codes: &mut Vec<u8>) -> bool {
    let changed = *last.bits != bits;
    if changed {
        last.put(bits, codes);
    }
    changed
}

/// One bit for each sample, the lowest of a byte first.
#[derive(Default)]
struct BitsWriter {
    words: Vec<u8>,
    word: u64,
    filled: u32,
}

impl BitsWriter {
    #[inline]
    fn push(&mut self, bit: bool) {
        self.word |= u64::from(bit) << self.filled;
        self.filled += 1;
        if self.filled == 64 {
            self.words.extend_from_slice(&self.word.to_le_bytes());
            (self.word, self.filled) = (0, 0);
        }
    }

    /// Appends all bits, and begins anew.
    fn finish(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.words);
        let bytes = self.word.to_le_bytes();
        let rest = bytes.get(..self.filled.div_ceil(8) as usize);
        out.extend_from_slice(rest.unwrap_or_default());
        self.words.clear();
        (self.word, self.filled) = (0, 0);
    }
}

/// Reads the payload of float samples as steps: their runs in order, and as many values, which are added to `values`; says how
/// many they are.
///
/// # Errors
/// When the payload is damaged; then `lasts` and what was added are of no use any more.
pub(crate) fn decode_steps(
    payload: &[u8],
    lasts: &mut Lasts,
    scratch: &mut Vec<u8>,
    runs: &mut Vec<FloatRun>,
    values: &mut Vec<u64>,
) -> Result<usize, Error> {
    const WHAT: &str = "logged steps";
    runs.clear();
    let mut body = unwrap(payload, scratch)?;
    let count = varint::take_len(&mut body, WHAT, RECORD_SAMPLES_MAX)?;
    take_runs(&mut body, count, runs)?;
    let changed = varint::take_exact(&mut body, count.div_ceil(8), WHAT)?;
    values.reserve(count);
    let mut changed = BitsReader::of(changed);
    for run in &*runs {
        lasts.each(run.first..run.first.saturating_add(run.len), |mut last| {
            if changed.next() {
                last.take(&mut body)?;
            }
            values.push(*last.bits);
            Ok(())
        })?;
    }
    if changed.has_more() {
        return Err(invalid(WHAT, 1));
    }
    varint::finished(body, WHAT)?;
    Ok(count)
}

/// Reads bits, the lowest of a byte first.
struct BitsReader<'a> {
    bytes: &'a [u8],
    word: u64,
    left: u32,
}

impl<'a> BitsReader<'a> {
    const fn of(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            word: 0,
            left: 0,
        }
    }

    #[inline]
    fn next(&mut self) -> bool {
        if self.left == 0 {
            let (now, later) = self.bytes.split_at(self.bytes.len().min(8));
            let mut word = [0; 8];
            word.iter_mut().zip(now).for_each(|(to, from)| *to = *from);
            (self.word, self.left, self.bytes) = (u64::from_le_bytes(word), 64, later);
        }
        let bit = self.word & 1 == 1;
        self.word >>= 1;
        self.left -= 1;
        bit
    }

    /// Whether a bit is set behind those that were read.
    fn has_more(&self) -> bool {
        self.word != 0 || self.bytes.iter().any(|byte| *byte != 0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::floats::together;
    use super::*;

    /// What a payload says.
    fn read(payload: &[u8], lasts: &mut Lasts) -> Result<Vec<LoggedFloat>, Error> {
        let (mut runs, mut values) = (Vec::new(), Vec::new());
        let count = decode_steps(payload, lasts, &mut Vec::new(), &mut runs, &mut values)?;
        assert_eq!(values.len(), count);
        Ok(together(&runs, values))
    }

    fn any_bits() -> impl Strategy<Value = u64> {
        prop_oneof![
            Just(0u64),
            any::<u64>(),
            (0u32..20).prop_map(|n| f64::from(n).to_bits()),
            (0u32..2000).prop_map(|n| (f64::from(n) / 100.0).to_bits()),
        ]
    }

    /// What happens to a log: a series is defined, or a record of samples is written.
    #[derive(Clone, Debug)]
    enum Act {
        Define(u32),
        Write(Vec<LoggedFloat>),
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let number = prop_oneof![0u32..40, PIECE - 20..PIECE + 20, 5000u32..5010];
        let values = prop::collection::vec(any_bits(), 1..40);
        let run = (number.clone(), 0..7_200_000u32, values);
        let run = run.prop_map(|(first, offset_ms, values)| {
            let one = |(series, bits)| LoggedFloat {
                series,
                offset_ms,
                bits,
            };
            (first..).zip(values).map(one).collect::<Vec<_>>()
        });
        let record = prop::collection::vec(run, 0..5).prop_map(|runs| Act::Write(runs.concat()));
        let define = number.prop_map(Act::Define);
        prop::collection::vec(prop_oneof![2 => define, 3 => record], 1..20)
    }

    proptest! {
        /// Would catch a definition that begins steps anew on one side alone, the value of a series beside it, a bit too many, and
        /// numbers that nobody has defined, also where a piece of the table ends.
        #[test]
        fn what_is_written_is_read(acts in acts()) {
            let (mut writer, mut written, mut found) = (StepsWriter::default(), Lasts::default(), Lasts::default());
            for act in acts {
                match act {
                    Act::Define(number) => {
                        written.begin(number);
                        found.begin(number);
                    }
                    Act::Write(samples) => {
                        let mut payload = Vec::new();
                        writer.put(&mut written, &samples, &mut payload);
                        prop_assert_eq!(read(&payload, &mut found).unwrap(), samples);
                    }
                }
            }
        }

        /// Would catch steps of a series whose definition went with a segment, when they make others unreadable.
        #[test]
        fn who_does_not_know_one_series_reads_the_others(acts in acts(), unknown in 0u32..40) {
            let (mut writer, mut written, mut found) = (StepsWriter::default(), Lasts::default(), Lasts::default());
            let mut known = std::collections::BTreeSet::new();
            for act in acts {
                match act {
                    Act::Define(number) => {
                        written.begin(number);
                        if number != unknown {
                            found.begin(number);
                        }
                        known.insert(number);
                    }
                    Act::Write(samples) => {
                        let mut payload = Vec::new();
                        writer.put(&mut written, &samples, &mut payload);
                        let samples = samples.into_iter();
                        let readable = |one: &LoggedFloat| one.series != unknown && known.contains(&one.series);
                        let read = read(&payload, &mut found).unwrap().into_iter();
                        prop_assert_eq!(
                            read.filter(readable).collect::<Vec<_>>(),
                            samples.filter(readable).collect::<Vec<_>>()
                        );
                    }
                }
            }
        }

        /// Would catch a panic.
        #[test]
        fn a_damaged_payload_is_refused_or_read(
            acts in acts(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>(),
        ) {
            let (mut writer, mut written) = (StepsWriter::default(), Lasts::default());
            for act in acts {
                let Act::Write(samples) = act else {
                    continue;
                };
                let mut payload = Vec::new();
                writer.put(&mut written, &samples, &mut payload);
                let at = at.index(payload.len());
                payload[at] = byte;
                if cut {
                    payload.truncate(at);
                }
                drop(read(&payload, &mut Lasts::default()));
            }
        }
    }

    /// Would catch a table for all numbers below one that a record names, and one that grows by the values of undefined series or
    /// by definitions alone.
    #[test]
    fn numbers_that_nobody_defined_take_no_room() {
        let mut payload = Vec::new();
        let sample = LoggedFloat {
            series: u32::MAX - 1,
            offset_ms: 5,
            bits: 7,
        };
        let mut lasts = Lasts::default();
        StepsWriter::default().put(&mut lasts, &[sample], &mut payload);
        assert_eq!(read(&payload, &mut lasts).unwrap(), [sample]);
        assert_eq!(lasts.bytes(), 0);
        lasts.begin(5 * PIECE);
        assert!(lasts.bytes() < 200);
    }
}
