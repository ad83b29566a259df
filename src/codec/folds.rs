//! The folds of one series: what downsampled samples stand for beside themselves.
//!
//! ```text
//! u8      encoding: 1
//! varint  folds, at least 1
//! runs of rows until all are named: varint rows between, varint length - 1
//! runs of kinds until all are named: u8 bits 0-1: resolution, bit 2: of a counter; varint length - 1
//! counts: a value column
//! least, largest, sums: u8 guess, a value column
//! of those of counters: milliseconds from the first to the kept sample: a value column
//!                       first, lost: u8 guess, a value column
//! ```
//! A column may be written as its differences from a guess that the reader makes too, where these give back
//! every bit: 0 none, 1 the kept sample's value, 2 that of the sample before it, 3 the smallest, 4 the number of
//! samples times the middle of the smallest and the largest. A value column is as in a page, without references.

use super::varint::{finished, put_len, take_len, take_u8};
use super::version::FOLDS_COLUMNS;
use super::{Error, ROWS_MAX, values};
use crate::model::{CounterFold, Fold, Resolution};

const WHAT: &str = "a column of folds";

const RESOLUTION_BITS: u8 = 0b11;
const IS_COUNTER: u8 = 1 << 2;

/// What a column is written as differences from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Guess {
    None,
    Kept,
    Before,
    Least,
    Middle,
}

impl Guess {
    const ALL: [Self; 5] = [
        Self::None,
        Self::Kept,
        Self::Before,
        Self::Least,
        Self::Middle,
    ];
    const OF_EXTREMES: [Self; 3] = [Self::None, Self::Kept, Self::Before];
    const OF_SUMS: [Self; 2] = [Self::None, Self::Middle];
    const OF_FIRST: [Self; 2] = [Self::Least, Self::None];
    const OF_LOST: [Self; 2] = [Self::None, Self::Before];

    fn id(self) -> u8 {
        let place = Self::ALL.iter().position(|one| *one == self);
        place
            .and_then(|place| u8::try_from(place).ok())
            .unwrap_or(0)
    }
}

/// What guesses are made from: the kept samples' values, and what is known of the folds.
struct Known<'a> {
    kept: &'a [f64],
    rows: &'a [u32],
    counts: &'a [f64],
    least: &'a [f64],
    most: &'a [f64],
}

impl Known<'_> {
    fn guess(&self, guess: Guess) -> Vec<f64> {
        let at = |column: &[f64], place: usize| column.get(place).copied().unwrap_or(0.0);
        let of = |(place, row): (usize, &u32)| match guess {
            Guess::None => 0.0,
            Guess::Kept => at(self.kept, *row as usize),
            Guess::Before => row
                .checked_sub(1)
                .map_or(0.0, |row| at(self.kept, row as usize)),
            Guess::Least => at(self.least, place),
            Guess::Middle => {
                at(self.counts, place) * ((at(self.least, place) + at(self.most, place)) / 2.0)
            }
        };
        self.rows.iter().enumerate().map(of).collect()
    }

    /// Appends a column in the way that takes the fewest bytes.
    fn put(&self, column: &[f64], guesses: &[Guess], out: &mut Vec<u8>) {
        let mut best: Option<Vec<u8>> = None;
        for guess in guesses {
            let mut bytes = vec![guess.id()];
            if *guess == Guess::None {
                values::encode(column, &mut bytes);
            } else {
                let guessed = self.guess(*guess);
                let pairs = column.iter().zip(&guessed);
                let off: Vec<f64> = pairs.map(|(value, guess)| value - guess).collect();
                let back = off.iter().zip(&guessed).map(|(off, guess)| guess + off);
                let mut back = back.zip(column);
                if !back.all(|(back, value)| back.to_bits() == value.to_bits()) {
                    continue;
                }
                values::encode(&off, &mut bytes);
            }
            if best.as_ref().is_none_or(|best| bytes.len() < best.len()) {
                best = Some(bytes);
            }
        }
        out.extend(best.unwrap_or_default());
    }

    fn take(&self, input: &mut &[u8]) -> Result<Vec<f64>, Error> {
        let id = take_u8(input, WHAT)?;
        let guess = *Guess::ALL
            .get(usize::from(id))
            .ok_or(Error::UnknownEncoding { what: WHAT, id })?;
        let column = values::decode(input, self.rows.len())?;
        if guess == Guess::None {
            return Ok(column);
        }
        let guessed = self.guess(guess);
        Ok(guessed
            .iter()
            .zip(column)
            .map(|(guess, off)| guess + off)
            .collect())
    }

    /// The same for some of the folds.
    fn only<'a>(&'a self, rows: &'a [u32], least: &'a [f64]) -> Known<'a> {
        Known {
            kept: self.kept,
            rows,
            counts: &[],
            least,
            most: &[],
        }
    }
}

const fn kind_of(fold: &Fold) -> u8 {
    let counter = if fold.counter.is_some() {
        IS_COUNTER
    } else {
        0
    };
    fold.resolution.code() | counter
}

/// Appends the folds of a series with these values: at least one, their rows rising.
pub fn encode(values: &[f64], folds: &[(u32, Fold)], out: &mut Vec<u8>) {
    out.push(FOLDS_COLUMNS);
    put_len(out, folds.len());
    let mut end = 0;
    for run in folds.chunk_by(|a, b| a.0.saturating_add(1) == b.0) {
        let first = run.first().map_or(0, |(row, _)| *row as usize);
        put_len(out, first.saturating_sub(end));
        put_len(out, run.len() - 1);
        end = first + run.len();
    }
    for run in folds.chunk_by(|a, b| kind_of(&a.1) == kind_of(&b.1)) {
        out.push(run.first().map_or(0, |(_, fold)| kind_of(fold)));
        put_len(out, run.len() - 1);
    }
    let rows: Vec<u32> = folds.iter().map(|(row, _)| *row).collect();
    let column = |of: fn(&Fold) -> f64| folds.iter().map(|(_, fold)| of(fold)).collect();
    let counts: Vec<f64> = column(|fold| f64::from(fold.count));
    let least: Vec<f64> = column(|fold| fold.min);
    let most: Vec<f64> = column(|fold| fold.max);
    let sums: Vec<f64> = column(|fold| fold.sum);
    let known = Known {
        kept: values,
        rows: &rows,
        counts: &counts,
        least: &least,
        most: &most,
    };
    super::values::encode(&counts, out);
    known.put(&least, &Guess::OF_EXTREMES, out);
    known.put(&most, &Guess::OF_EXTREMES, out);
    known.put(&sums, &Guess::OF_SUMS, out);
    let of_counters = folds
        .iter()
        .filter_map(|(row, fold)| Some((*row, fold.min, fold.counter?)));
    let of_counters: Vec<(u32, f64, CounterFold)> = of_counters.collect();
    if of_counters.is_empty() {
        return;
    }
    let rows: Vec<u32> = of_counters.iter().map(|(row, ..)| *row).collect();
    let least: Vec<f64> = of_counters.iter().map(|(_, least, _)| *least).collect();
    let column = |of: fn(&CounterFold) -> f64| of_counters.iter().map(|(.., c)| of(c)).collect();
    let spans: Vec<f64> = column(|counter| f64::from(counter.first_before_ms));
    let first: Vec<f64> = column(|counter| counter.first);
    let lost: Vec<f64> = column(|counter| counter.lost);
    let known = known.only(&rows, &least);
    super::values::encode(&spans, out);
    known.put(&first, &Guess::OF_FIRST, out);
    known.put(&lost, &Guess::OF_LOST, out);
}

/// The folds that `bytes` are, of a series with these values.
///
/// # Errors
/// When the bytes are not what [`encode`] writes.
pub fn decode(mut bytes: &[u8], values: &[f64]) -> Result<Vec<(u32, Fold)>, Error> {
    Error::bound("rows of a column of folds", values.len(), ROWS_MAX)?;
    let input = &mut bytes;
    let id = take_u8(input, WHAT)?;
    if id != FOLDS_COLUMNS {
        return Err(Error::UnknownEncoding { what: WHAT, id });
    }
    let count = take_len(input, WHAT, values.len())?;
    let rows = take_rows(input, count, values.len())?;
    let kinds = take_kinds(input, count)?;
    let counts = super::values::decode(input, count)?;
    let mut known = Known {
        kept: values,
        rows: &rows,
        counts: &counts,
        least: &[],
        most: &[],
    };
    let least = known.take(input)?;
    known.least = &least;
    let most = known.take(input)?;
    known.most = &most;
    let sums = known.take(input)?;
    let is_counter = |kind: &u8| kind & IS_COUNTER != 0;
    let of_counters = kinds.iter().zip(rows.iter().zip(&least));
    let (counter_rows, counter_least): (Vec<u32>, Vec<f64>) = of_counters
        .filter(|(kind, _)| is_counter(kind))
        .map(|(_, (row, least))| (*row, *least))
        .unzip();
    let mut counters =
        take_counters(input, &known.only(&counter_rows, &counter_least))?.into_iter();
    finished(input, WHAT)?;
    let each = rows
        .iter()
        .zip(kinds)
        .zip(counts)
        .zip(sums)
        .zip(least.iter().zip(&most));
    each.map(|((((row, kind), count), sum), (min, max))| {
        let resolution = Resolution::of_code(kind & RESOLUTION_BITS);
        let resolution = resolution.filter(|one| *one != Resolution::Raw);
        let counter = is_counter(&kind).then(|| counters.next()).flatten();
        let fold = Fold {
            resolution: resolution.ok_or(Error::invalid(WHAT, u64::from(kind)))?,
            count: whole(count)
                .filter(|count| *count > 0)
                .ok_or(Error::invalid(WHAT, 0))?,
            sum,
            min: *min,
            max: *max,
            counter,
        };
        Ok((*row, fold))
    })
    .collect()
}

fn take_counters(input: &mut &[u8], known: &Known<'_>) -> Result<Vec<CounterFold>, Error> {
    if known.rows.is_empty() {
        return Ok(Vec::new());
    }
    let spans = values::decode(input, known.rows.len())?;
    let first = known.take(input)?;
    let lost = known.take(input)?;
    let each = spans.into_iter().zip(first).zip(lost);
    each.map(|((span, first), lost)| {
        Ok(CounterFold {
            first_before_ms: whole(span).ok_or(Error::invalid(WHAT, 0))?,
            first,
            lost,
        })
    })
    .collect()
}

/// A whole number of 32 bits.
fn whole(value: f64) -> Option<u32> {
    let fits = value.trunc().to_bits() == value.to_bits() && value <= f64::from(u32::MAX);
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole, not below zero, and not above the largest"
    )]
    let whole = value as u32;
    (fits && value >= 0.0).then_some(whole)
}

fn take_rows(input: &mut &[u8], count: usize, of: usize) -> Result<Vec<u32>, Error> {
    let (mut rows, mut end) = (Vec::new(), 0usize);
    while rows.len() < count {
        let first = end.saturating_add(take_len(input, WHAT, of)?);
        let len = take_len(input, WHAT, count - rows.len() - 1)? + 1;
        end = first.saturating_add(len);
        Error::bound("a row of a fold", end, of)?;
        rows.extend((first..end).filter_map(|row| u32::try_from(row).ok()));
    }
    Ok(rows)
}

fn take_kinds(input: &mut &[u8], count: usize) -> Result<Vec<u8>, Error> {
    let mut kinds = Vec::new();
    while kinds.len() < count {
        let kind = take_u8(input, WHAT)?;
        if kind & !(RESOLUTION_BITS | IS_COUNTER) != 0 {
            return Err(Error::invalid(WHAT, u64::from(kind)));
        }
        let len = take_len(input, WHAT, count - kinds.len() - 1)? + 1;
        kinds.resize(kinds.len() + len, kind);
    }
    Ok(kinds)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Samples, downsample};

    fn number() -> impl Strategy<Value = f64> {
        prop_oneof![
            4 => (0u32..100_000).prop_map(f64::from),
            2 => (0u32..100_000).prop_map(|n| f64::from(n) / 100.0),
            1 => any::<u64>().prop_map(f64::from_bits),
        ]
    }

    fn fold() -> impl Strategy<Value = Fold> {
        let counter = prop::option::of((any::<u32>(), number(), number()));
        let all = (any::<bool>(), 1u32.., number(), number(), number(), counter);
        all.prop_map(|(hour, count, sum, min, max, counter)| Fold {
            resolution: if hour {
                Resolution::Hour
            } else {
                Resolution::FiveMinutes
            },
            count,
            sum,
            min,
            max,
            counter: counter.map(|(first_before_ms, first, lost)| CounterFold {
                first_before_ms,
                first,
                lost,
            }),
        })
    }

    fn column() -> impl Strategy<Value = (Vec<f64>, Vec<(u32, Fold)>)> {
        let row = (number(), prop::option::weighted(0.8, fold()));
        prop::collection::vec(row, 1..60).prop_map(|rows| {
            let folds = (0u32..).zip(&rows);
            let folds = folds.filter_map(|(at, (_, fold))| Some((at, (*fold)?)));
            let folds = folds.collect();
            (rows.into_iter().map(|(value, _)| value).collect(), folds)
        })
    }

    proptest! {
        #[test]
        fn any_folds_come_back(
            (values, folds) in column(),
            at: prop::sample::Index,
            byte: u8,
            any: Vec<u8>,
        ) {
            if folds.is_empty() {
                return Ok(());
            }
            let mut out = Vec::new();
            encode(&values, &folds, &mut out);
            prop_assert_eq!(decode(&out, &values), Ok(folds));
            for cut in 0..out.len() {
                prop_assert!(decode(&out[..cut], &values).is_err());
            }
            let at = at.index(out.len());
            out[at] = byte;
            decode(&out, &values).ok();
            decode(&any, &values).ok();
        }
    }

    fn bytes_of(values: impl Fn(i64) -> f64) -> usize {
        let raw: Vec<(i64, f64)> = (1..=5760).map(|n| (n * 15_000, values(n))).collect();
        let thin = downsample(&Samples::of_floats(&raw), Resolution::FiveMinutes).unwrap();
        let mut out = Vec::new();
        encode(&thin.values, &thin.folds, &mut out);
        assert_eq!(decode(&out, &thin.values).as_ref(), Ok(&thin.folds));
        out.len()
    }

    #[test]
    fn what_moves_evenly_is_short() {
        assert!(bytes_of(|_| 7.25) < 60, "{}", bytes_of(|_| 7.25));
        let slope = bytes_of(|n| (n * 3) as f64);
        assert!(slope < 80, "{slope}");
    }
}
