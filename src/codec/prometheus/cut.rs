//! Where one chunk ends and the next begins.

use super::{floats, histograms};
use crate::model::{Buckets, Histogram, ResetHint, Samples};

/// Samples in a chunk, as Prometheus has them at most by default.
const SAMPLES_MAX: usize = 120;

/// What a chunk holds; the numbers are Prometheus'.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChunkKind {
    /// XOR-encoded floats.
    Floats = 1,
    /// Integer histograms.
    Histograms = 2,
    /// Float histograms.
    FloatHistograms = 3,
}

impl ChunkKind {
    fn of(histogram: &Histogram) -> Self {
        match histogram.buckets {
            Buckets::Integer { .. } => Self::Histograms,
            Buckets::Float { .. } => Self::FloatHistograms,
        }
    }

    /// Its number on the wire.
    #[must_use]
    pub const fn number(self) -> u64 {
        self as u64
    }
}

/// Encoded samples.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chunk {
    /// What it holds.
    pub kind: ChunkKind,
    /// The first sample's time.
    pub first: i64,
    /// The last sample's time.
    pub last: i64,
    /// The samples.
    pub bytes: Vec<u8>,
}

/// Encodes samples, oldest first, in as many chunks as they need: floats and histograms have their
/// own, and within a chunk of histograms all have the same buckets, and counters never fall.
pub fn chunks(samples: &Samples) -> impl Iterator<Item = Chunk> + '_ {
    let mut from = 0;
    let mut passed = 0;
    std::iter::from_fn(move || {
        let histograms = samples.histograms.get(passed..).unwrap_or_default();
        let next_histogram = histograms
            .first()
            .map_or(samples.len(), |(at, _)| *at as usize);
        let run = if next_histogram == from {
            run_of(histograms)
        } else {
            0
        };
        let until = match run {
            0 => next_histogram.min(from.saturating_add(SAMPLES_MAX)),
            run => from + run,
        };
        let times = samples.timestamps.get(from..until)?;
        let (first, last) = (*times.first()?, *times.last()?);
        let (kind, bytes) = if let Some((_, leader)) = histograms.first().filter(|_| run > 0) {
            let run = histograms.get(..run).unwrap_or_default();
            let with_times = times.iter().zip(run).map(|(at, one)| (*at, one.1.as_ref()));
            (ChunkKind::of(leader), histograms::encode(with_times))
        } else {
            let values = samples.values.get(from..until).unwrap_or_default();
            let pairs = times.iter().copied().zip(values.iter().copied());
            (ChunkKind::Floats, floats::encode(pairs))
        };
        passed += run;
        from = until;
        Some(Chunk {
            kind,
            first,
            last,
            bytes,
        })
    })
}

type Placed = (u32, std::sync::Arc<Histogram>);

/// How many histograms from the first on are one chunk; there is at least one.
fn run_of(histograms: &[Placed]) -> usize {
    let pairs = histograms.iter().zip(histograms.iter().skip(1));
    let follow = pairs.take_while(|((at, one), (next_at, next))| {
        *next_at == at.saturating_add(1) && continues(one, next)
    });
    1 + follow.take(SAMPLES_MAX - 1).count()
}

fn continues(one: &Histogram, next: &Histogram) -> bool {
    let gauge = |histogram: &Histogram| histogram.reset_hint == ResetHint::Gauge;
    let same = ChunkKind::of(one) == ChunkKind::of(next)
        && gauge(one) == gauge(next)
        && next.reset_hint != ResetHint::Yes
        && !one.is_stale()
        && !next.is_stale()
        && one.schema == next.schema
        && one.zero_threshold.to_bits() == next.zero_threshold.to_bits()
        && one.positive_spans == next.positive_spans
        && one.negative_spans == next.negative_spans
        && one.custom_values == next.custom_values;
    same && (gauge(one) || !falls(one, next))
}

/// Whether any count is smaller than before; the buckets are the same.
fn falls(one: &Histogram, next: &Histogram) -> bool {
    match (&one.buckets, &next.buckets) {
        (
            Buckets::Integer {
                count: one_count,
                zero_count: one_zero,
                positive: one_positive,
                negative: one_negative,
            },
            Buckets::Integer {
                count,
                zero_count,
                positive,
                negative,
            },
        ) => {
            count < one_count
                || zero_count < one_zero
                || deltas_fall(one_positive, positive)
                || deltas_fall(one_negative, negative)
        }
        (
            Buckets::Float {
                count: one_count,
                zero_count: one_zero,
                positive: one_positive,
                negative: one_negative,
            },
            Buckets::Float {
                count,
                zero_count,
                positive,
                negative,
            },
        ) => {
            let before = one_positive.iter().chain(one_negative);
            let now = positive.iter().chain(negative);
            count < one_count || zero_count < one_zero || now.zip(before).any(|(a, b)| a < b)
        }
        _ => true,
    }
}

fn deltas_fall(one: &[i64], next: &[i64]) -> bool {
    let mut difference = 0_i64;
    next.iter().zip(one).any(|(next, one)| {
        difference = difference.wrapping_add(next.wrapping_sub(*one));
        difference < 0
    })
}
