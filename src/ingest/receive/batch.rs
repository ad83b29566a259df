//! Samples on their way to the store, and whose they are.

use crate::cluster::{
    AppendBatch, Appended, FloatSample, OtherSample, Pending, SeriesId, WriteError, Writer,
};
use crate::model::{Exemplar, Metadata, TenantId, TimestampMs, Value};

use super::super::partial_write::Counts;

/// Samples after which a batch goes to the store: larger than any usual request, and a bound for
/// the memory of an unusual one.
const SAMPLES_MAX: usize = 32 << 10;
/// Histograms, exemplars and metadata are larger: each counts as so many samples.
const OTHER_WEIGHT: usize = 16;

/// A batch in the making. Beside each item stands its origin: which series of the request it is of.
#[derive(Default)]
pub(super) struct Batch {
    floats: Vec<FloatSample>,
    others: Vec<OtherSample>,
    exemplars: Vec<(SeriesId, Exemplar)>,
    metadata: Vec<(TenantId, String, Metadata)>,
    float_origins: Vec<u32>,
    other_origins: Vec<u32>,
    exemplar_origins: Vec<u32>,
}

impl Batch {
    pub(super) fn clear(&mut self) {
        self.floats.clear();
        self.others.clear();
        self.exemplars.clear();
        self.metadata.clear();
        self.float_origins.clear();
        self.other_origins.clear();
        self.exemplar_origins.clear();
    }

    #[inline]
    fn weight(&self) -> usize {
        let others = self.others.len() + self.exemplars.len() + self.metadata.len();
        self.floats.len() + others * OTHER_WEIGHT
    }

    #[inline]
    pub(super) fn is_large(&self) -> bool {
        self.weight() >= SAMPLES_MAX
    }

    pub(super) fn is_empty(&self) -> bool {
        self.weight() == 0
    }

    #[inline]
    pub(super) fn push_float(
        &mut self,
        origin: u32,
        series: SeriesId,
        at: TimestampMs,
        value: f64,
    ) {
        self.floats.push(FloatSample { series, at, value });
        self.float_origins.push(origin);
    }

    pub(super) fn push_other(&mut self, origin: u32, sample: OtherSample) {
        self.others.push(sample);
        self.other_origins.push(origin);
    }

    pub(super) fn push_exemplar(&mut self, origin: u32, series: SeriesId, exemplar: Exemplar) {
        self.exemplars.push((series, exemplar));
        self.exemplar_origins.push(origin);
    }

    pub(super) fn push_metadata(&mut self, tenant: TenantId, family: String, metadata: Metadata) {
        self.metadata.push((tenant, family, metadata));
    }

    /// Hands everything to the store. What is left afterwards is of series that it has forgotten.
    pub(super) fn append(&mut self, writer: &Writer) -> Result<(Pending, Counts), WriteError> {
        let pending = writer.append(&AppendBatch {
            floats: &self.floats,
            others: &self.others,
            metadata: &self.metadata,
            exemplars: &self.exemplars,
        })?;
        let all = self.counts();
        let stale = pending.appended();
        if is_whole(stale) {
            self.clear();
            return Ok((pending, all));
        }
        self.metadata.clear();
        keep(&mut self.floats, &stale.stale_floats);
        keep(&mut self.float_origins, &stale.stale_floats);
        keep(&mut self.others, &stale.stale_others);
        keep(&mut self.other_origins, &stale.stale_others);
        keep(&mut self.exemplars, &stale.stale_exemplars);
        keep(&mut self.exemplar_origins, &stale.stale_exemplars);
        let left = self.counts();
        Ok((pending, all.without(left)))
    }

    fn counts(&self) -> Counts {
        let is_histogram = |sample: &&OtherSample| matches!(sample.value, Value::Histogram(_));
        let histograms = self.others.iter().filter(is_histogram).count() as u64;
        Counts {
            samples: (self.floats.len() + self.others.len()) as u64 - histograms,
            histograms,
            exemplars: self.exemplars.len() as u64,
        }
    }

    /// The series that the batch has items of, each once.
    pub(super) fn origins(&self) -> Vec<u32> {
        let mut origins: Vec<u32> = self.float_origins.clone();
        origins.extend_from_slice(&self.other_origins);
        origins.extend_from_slice(&self.exemplar_origins);
        origins.sort_unstable();
        origins.dedup();
        origins
    }

    /// Gives the items of a series another id, or drops them.
    pub(super) fn set_series(&mut self, origin: u32, series: Option<SeriesId>) {
        let Some(series) = series else {
            drop_origin(&mut self.floats, &mut self.float_origins, origin);
            drop_origin(&mut self.others, &mut self.other_origins, origin);
            drop_origin(&mut self.exemplars, &mut self.exemplar_origins, origin);
            return;
        };
        let of = |at: &u32| *at == origin;
        for (float, _) in zip(&mut self.floats, &self.float_origins, of) {
            float.series = series;
        }
        for (other, _) in zip(&mut self.others, &self.other_origins, of) {
            other.series = series;
        }
        for (exemplar, _) in zip(&mut self.exemplars, &self.exemplar_origins, of) {
            exemplar.0 = series;
        }
    }
}

fn is_whole(appended: &Appended) -> bool {
    appended.stale_floats.is_empty()
        && appended.stale_others.is_empty()
        && appended.stale_exemplars.is_empty()
}

/// Keeps the items at these rising positions.
fn keep<T>(items: &mut Vec<T>, positions: &[u32]) {
    let mut wanted = positions.iter().peekable();
    let mut at = 0u32;
    items.retain(|_| {
        let keep = wanted.next_if(|position| **position == at).is_some();
        at += 1;
        keep
    });
}

fn zip<'b, T>(
    items: &'b mut [T],
    origins: &'b [u32],
    of: impl Fn(&u32) -> bool + 'b,
) -> impl Iterator<Item = (&'b mut T, &'b u32)> {
    items.iter_mut().zip(origins).filter(move |(_, at)| of(at))
}

fn drop_origin<T>(items: &mut Vec<T>, origins: &mut Vec<u32>, origin: u32) {
    let mut at = origins.iter();
    items.retain(|_| at.next().is_none_or(|at| *at != origin));
    origins.retain(|at| *at != origin);
}
