//! Late samples: everything that does not go to chunks. Collected in a buffer, then compressed in
//! runs.

use std::sync::Arc;

use super::rows::time_in;
use super::strip;
use crate::model::{Buckets, Histogram, Samples, TimestampMs, Value, Window, settle};

/// A sample in the late buffer.
#[derive(Clone, Debug)]
pub(super) struct Late {
    pub local: u32,
    pub offset_ms: u32,
    pub start: TimestampMs,
    pub value: Value,
}

/// Late samples, compressed: a strip per series.
#[derive(Debug, Default)]
pub(super) struct Run {
    /// Rising.
    series: Vec<OfSeries>,
    strips: Vec<u8>,
}

/// A series of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct OfSeries {
    pub local: u32,
    /// Where its strip begins.
    begin: u32,
    /// The offset of its last sample.
    pub last_ms: u32,
}

impl Run {
    /// Adds a series, the next in order.
    pub(super) fn push(&mut self, window: Window, local: u32, samples: &Samples) {
        if samples.is_empty() {
            return;
        }
        // A layer's runs are megabytes at most.
        let Ok(begin) = u32::try_from(self.strips.len()) else {
            return;
        };
        let last = samples.timestamps.last();
        let last_ms = last.and_then(|at| window.offset_of(TimestampMs(*at)));
        self.series.push(OfSeries {
            local,
            begin,
            last_ms: last_ms.unwrap_or(u32::MAX),
        });
        strip::encode(samples, &mut self.strips);
    }

    /// The samples of a series.
    pub(super) fn read(&self, local: u32) -> Samples {
        let mut samples = Samples::default();
        let Ok(at) = self
            .series
            .binary_search_by_key(&local, |entry| entry.local)
        else {
            return samples;
        };
        let begin = self.series.get(at).map_or(0, |entry| entry.begin as usize);
        let strip = self.strips.get(begin..).unwrap_or_default();
        if let Err(error) = strip::decode(strip, &mut samples) {
            tracing::error!(error = %error, "late samples in memory cannot be read: this is a bug");
        }
        samples
    }

    /// One run with all that these have.
    pub(super) fn merge(window: Window, runs: &[Arc<Self>]) -> Self {
        let mut all: Vec<u32> = runs
            .iter()
            .flat_map(|run| run.series.iter().map(|entry| entry.local))
            .collect();
        all.sort_unstable();
        all.dedup();
        let mut merged = Self::default();
        for local in all {
            let mut samples = Samples::default();
            for run in runs {
                samples.merge(&run.read(local));
            }
            merged.push(window, local, &samples);
        }
        merged.shrink();
        merged
    }

    pub(super) fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    pub(super) fn series(&self) -> &[OfSeries] {
        &self.series
    }

    /// Gives back the room that growing took.
    pub(super) fn shrink(&mut self) {
        self.strips.shrink_to_fit();
    }

    pub(super) fn bytes(&self) -> usize {
        self.series.capacity() * size_of::<OfSeries>() + self.strips.capacity()
    }
}

/// One series' late samples, sorted by time, as samples; and the number of conflicts settled.
pub(super) fn collect(window: Window, late: &[Late]) -> (Samples, u64) {
    let (mut samples, mut conflicts) = (Samples::default(), 0);
    for same in late.chunk_by(|a, b| a.offset_ms == b.offset_ms) {
        let mut best: Option<&Late> = None;
        for one in same {
            let Some(other) = best else {
                best = Some(one);
                continue;
            };
            match settle((&one.value, one.start), (&other.value, other.start)) {
                std::cmp::Ordering::Equal => {}
                std::cmp::Ordering::Greater => {
                    conflicts += 1;
                    best = Some(one);
                }
                std::cmp::Ordering::Less => conflicts += 1,
            }
        }
        if let Some(best) = best {
            let at = time_in(window, best.offset_ms);
            samples.push(at, best.value.clone(), best.start);
        }
    }
    (samples, conflicts)
}

/// Takes out of `samples` what `known` has bit for bit; returns how many timestamps they have in
/// common with different values, which stay.
pub(super) fn subtract(samples: &mut Samples, known: &Samples) -> u64 {
    let (mut left, mut conflicts) = (Samples::default(), 0);
    for (at, value, start) in samples.iter() {
        let found = known.timestamps.binary_search(&at.0).ok();
        let same = found.and_then(|place| known.get(place));
        match same.map(|(_, other, began)| settle((&value, start), (&other, began))) {
            Some(std::cmp::Ordering::Equal) => continue,
            Some(_) => conflicts += 1,
            None => {}
        }
        left.push(at, value, start);
    }
    *samples = left;
    conflicts
}

/// Bytes that a histogram takes.
pub(super) fn bytes_of(histogram: &Histogram) -> usize {
    let buckets = match &histogram.buckets {
        Buckets::Integer {
            positive, negative, ..
        } => positive.capacity() + negative.capacity(),
        Buckets::Float {
            positive, negative, ..
        } => positive.capacity() + negative.capacity(),
    };
    let spans = histogram.positive_spans.capacity() + histogram.negative_spans.capacity();
    size_of::<Histogram>()
        + (buckets + histogram.custom_values.capacity()) * 8
        + spans * size_of::<crate::model::Span>()
}
