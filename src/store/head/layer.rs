//! A layer: what the head holds of one shard, arc and window since the last cut. A cut freezes it
//! as a whole; what comes later starts a new one.
//!
//! In it: a growing chunk per series for floats newer than the series' last; and for everything
//! else a late buffer, which becomes compressed *runs*, sorted by series. Reads merge the three.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::pieces::Bits;
use super::rows::Rows;
use super::strip;
use crate::codec::chunk::{Chunk, Reader, Slabs};
use crate::model::{
    Buckets, Histogram, Metadata, RingArc, Samples, TenantId, TimeRange, TimestampMs, Value,
    WINDOW_MS, Window, settle,
};

/// Chunks allocated together.
const CHUNKS: usize = 64;
/// Late samples of a layer before they become a run: 128 KiB of them.
const LATE_MAX: usize = 4096;
/// Bytes that the histograms among them may take.
const LATE_BYTES_MAX: usize = 1 << 20;
/// Runs of a layer before they become one.
const RUNS_MAX: usize = 8;
/// Different metadata kept of one family.
const METADATA_MAX: usize = 4;

/// Time `offset_ms` of a window, exact also in the first window of all, whose start lies before
/// what 64 bits can say.
pub(super) const fn time_in(window: Window, offset_ms: u32) -> TimestampMs {
    TimestampMs(
        window
            .0
            .wrapping_mul(WINDOW_MS)
            .wrapping_add(offset_ms as i64),
    )
}

/// One layer. Readers hold it by an `Arc`, so it stays readable after it was given up.
#[derive(Debug)]
pub(super) struct Layer {
    pub arc: RingArc,
    pub window: Window,
    pub rows: Arc<Rows>,
    data: Mutex<LayerData>,
}

/// What is in it.
#[derive(Debug, Default)]
pub(super) struct LayerData {
    chunks: Vec<Option<Box<[Chunk; CHUNKS]>>>,
    slabs: Slabs,
    /// Series that have something here, by their place in the arc.
    pub present: Bits,
    /// Series that the log has defined for this layer in this process.
    pub defined: Bits,
    late: Vec<Late>,
    /// Bytes of the histograms in `late`.
    late_bytes: usize,
    /// Late samples up to here are sorted, by series and time.
    late_sorted: usize,
    runs: Vec<Arc<Run>>,
    metadata: BTreeMap<TenantId, BTreeMap<String, Vec<Metadata>>>,
    /// Samples appended.
    pub samples: u64,
    /// Samples that repeated what was there.
    pub repeats: u64,
    /// Timestamps that got a second, different value.
    pub conflicts: u64,
    /// When something was appended last, by this node's clock.
    pub appended: TimestampMs,
}

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
struct Run {
    /// Series, rising, and where each one's strip begins.
    series: Vec<(u32, u32)>,
    strips: Vec<u8>,
}

/// What became of a live sample.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Live {
    /// It is in the chunk.
    Appended,
    /// It was there already.
    Repeat,
    /// It is not newer than the last one: the late buffer's.
    Late,
}

impl Layer {
    pub(super) fn new(arc: RingArc, window: Window, rows: Arc<Rows>) -> Self {
        Self {
            arc,
            window,
            rows,
            data: Mutex::default(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, LayerData> {
        self.data.lock()
    }

    /// Adds the samples of a series within `range` to `out`. The lock is held while compressed
    /// bytes are copied, not while they are decoded.
    pub(super) fn read(&self, local: u32, target: u32, range: TimeRange, out: &mut Samples) {
        let (mut words, mut late) = (Vec::new(), Vec::new());
        let (chunk, runs) = {
            let mut data = self.data.lock();
            if !data.present.contains(local) {
                return;
            }
            data.sort_late();
            late.extend_from_slice(data.late_of(local));
            let chunk = data.chunk(local);
            if let Some(chunk) = &chunk {
                chunk.copy_bits(&data.slabs, &mut words);
            }
            (chunk, data.runs.clone())
        };
        let mut mine = Samples::default();
        if let Some(chunk) = chunk {
            self.decode(&chunk, &words, target, range, &mut mine);
        }
        for run in &runs {
            mine.merge(&self.clipped(run.read(local), range));
        }
        if !late.is_empty() {
            let (samples, _) = collect(self.window, &late);
            mine.merge(&self.clipped(samples, range));
        }
        out.merge(&mine);
    }

    fn clipped(&self, mut samples: Samples, range: TimeRange) -> Samples {
        samples.clip(range);
        samples
    }

    fn decode(
        &self,
        chunk: &Chunk,
        words: &[u32],
        target: u32,
        range: TimeRange,
        out: &mut Samples,
    ) {
        let (first, end) = (chunk.first_row(), chunk.next_row());
        let mut rows = Vec::new();
        self.rows
            .copy(target, first, end.saturating_sub(1), &mut rows);
        out.timestamps.reserve(rows.len());
        out.values.reserve(rows.len());
        let whole = range.start <= time_in(self.window, 0)
            && time_in(self.window, WINDOW_LAST) <= range.end;
        for (row, bits) in Reader::new(chunk, words) {
            let Some(offset) = rows.get(usize::from(row - first)) else {
                break;
            };
            let at = time_in(self.window, *offset);
            if whole || range.contains(at) {
                out.timestamps.push(at.0);
                out.values.push(f64::from_bits(bits));
            }
        }
    }

    /// Turns the late buffer into a run; what repeats the chunk's samples is dropped. `target_of`
    /// tells the target of a series.
    pub(super) fn settle(&self, target_of: &dyn Fn(u32) -> u32) {
        let mut data = self.data.lock();
        self.settle_locked(&mut data, target_of);
    }

    /// As [`Layer::settle`], with the lock held already.
    pub(super) fn settle_locked(&self, data: &mut LayerData, target_of: &dyn Fn(u32) -> u32) {
        if data.late.is_empty() {
            return;
        }
        data.sort_late();
        let late = std::mem::take(&mut data.late);
        data.late_sorted = 0;
        data.late_bytes = 0;
        let (mut run, mut words) = (Run::default(), Vec::new());
        for group in late.chunk_by(|a, b| a.local == b.local) {
            let Some(local) = group.first().map(|one| one.local) else {
                continue;
            };
            let (mut samples, conflicts) = collect(self.window, group);
            data.conflicts += conflicts;
            if let Some(chunk) = data.chunk(local) {
                chunk.copy_bits(&data.slabs, &mut words);
                let mut known = Samples::default();
                self.decode(&chunk, &words, target_of(local), TimeRange::ALL, &mut known);
                let before = samples.len();
                data.conflicts += subtract(&mut samples, &known);
                data.repeats += (before - samples.len()) as u64;
            }
            run.push(local, &samples);
        }
        if !run.series.is_empty() {
            run.strips.shrink_to_fit();
            data.runs.push(Arc::new(run));
        }
        if data.runs.len() > RUNS_MAX {
            let merged = Run::merge(&data.runs);
            data.runs = vec![Arc::new(merged)];
        }
    }
}

/// The last millisecond of a window.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "two hours of milliseconds"
)]
const WINDOW_LAST: u32 = WINDOW_MS as u32 - 1;

/// Bytes that a histogram takes.
fn bytes_of(histogram: &Histogram) -> usize {
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

/// One series' late samples, sorted by time, as samples; and the number of conflicts settled.
fn collect(window: Window, late: &[Late]) -> (Samples, u64) {
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
fn subtract(samples: &mut Samples, known: &Samples) -> u64 {
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

impl Run {
    fn push(&mut self, local: u32, samples: &Samples) {
        if samples.is_empty() {
            return;
        }
        // A layer's runs are megabytes at most.
        let Ok(begin) = u32::try_from(self.strips.len()) else {
            return;
        };
        self.series.push((local, begin));
        strip::encode(samples, &mut self.strips);
    }

    fn read(&self, local: u32) -> Samples {
        let mut samples = Samples::default();
        let Ok(at) = self.series.binary_search_by_key(&local, |entry| entry.0) else {
            return samples;
        };
        let begin = self.series.get(at).map_or(0, |entry| entry.1 as usize);
        let strip = self.strips.get(begin..).unwrap_or_default();
        if let Err(error) = strip::decode(strip, &mut samples) {
            tracing::error!(error = %error, "late samples in memory cannot be read: this is a bug");
        }
        samples
    }

    fn merge(runs: &[Arc<Self>]) -> Self {
        let mut all: Vec<u32> = runs
            .iter()
            .flat_map(|run| run.series.iter().map(|entry| entry.0))
            .collect();
        all.sort_unstable();
        all.dedup();
        let mut merged = Self::default();
        for local in all {
            let mut samples = Samples::default();
            for run in runs {
                samples.merge(&run.read(local));
            }
            merged.push(local, &samples);
        }
        merged.strips.shrink_to_fit();
        merged
    }

    fn bytes(&self) -> usize {
        self.series.capacity() * 8 + self.strips.capacity()
    }
}

impl LayerData {
    fn chunk(&self, local: u32) -> Option<Chunk> {
        let piece = self.chunks.get(local as usize / CHUNKS)?.as_ref()?;
        let chunk = piece.get(local as usize % CHUNKS)?;
        (!chunk.is_empty()).then_some(*chunk)
    }

    /// Appends a float at a row of the series' target.
    #[inline]
    pub(super) fn append(&mut self, local: u32, row: u16, bits: u64) -> Live {
        let piece = local as usize / CHUNKS;
        if self.chunks.get(piece).is_none_or(Option::is_none) {
            self.add_piece(piece);
        }
        let chunk = self
            .chunks
            .get_mut(piece)
            .and_then(Option::as_mut)
            .and_then(|piece| piece.get_mut(local as usize % CHUNKS));
        let Some(chunk) = chunk else {
            return Live::Late;
        };
        if row >= chunk.next_row() || chunk.is_empty() {
            chunk.append(&mut self.slabs, row, bits);
            return Live::Appended;
        }
        if row + 1 == chunk.next_row() && bits == chunk.last_bits() {
            return Live::Repeat;
        }
        Live::Late
    }

    #[cold]
    fn add_piece(&mut self, piece: usize) {
        if self.chunks.len() <= piece {
            self.chunks.resize_with(piece + 1, || None);
        }
        if let Some(place) = self.chunks.get_mut(piece) {
            *place = Some(Box::new([Chunk::EMPTY; CHUNKS]));
        }
    }

    /// Puts a sample into the late buffer.
    pub(super) fn push_late(&mut self, late: Late) {
        if let Value::Histogram(histogram) = &late.value {
            self.late_bytes += bytes_of(histogram);
        }
        self.late.push(late);
    }

    /// Whether the late buffer should become a run.
    pub(super) fn late_is_full(&self) -> bool {
        self.late.len() >= LATE_MAX || self.late_bytes >= LATE_BYTES_MAX
    }

    fn sort_late(&mut self) {
        if self.late_sorted < self.late.len() {
            self.late.sort_by_key(|late| (late.local, late.offset_ms));
            self.late_sorted = self.late.len();
        }
    }

    fn late_of(&self, local: u32) -> &[Late] {
        let from = self.late.partition_point(|late| late.local < local);
        let rest = self.late.get(from..).unwrap_or_default();
        let to = rest.partition_point(|late| late.local == local);
        rest.get(..to).unwrap_or_default()
    }

    /// Adds metadata of a family; `false` when it is known already.
    pub(super) fn add_metadata(&mut self, of: (&TenantId, &str), metadata: &Metadata) -> bool {
        let (tenant, family) = of;
        if let Some(known) = self.metadata.get(tenant).and_then(|all| all.get(family))
            && known.first() == Some(metadata)
        {
            return false;
        }
        let families = self.metadata.entry(tenant.clone()).or_default();
        let all = families.entry(family.to_owned()).or_default();
        all.retain(|one| one != metadata);
        all.insert(0, metadata.clone());
        all.truncate(METADATA_MAX);
        true
    }

    /// All metadata, newest first within a family.
    pub(super) fn metadata(&self) -> &BTreeMap<TenantId, BTreeMap<String, Vec<Metadata>>> {
        &self.metadata
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        let pieces = self.chunks.iter().flatten().count() * size_of::<[Chunk; CHUNKS]>();
        pieces
            + self.chunks.capacity() * size_of::<usize>()
            + self.slabs.bytes()
            + self.late.capacity() * size_of::<Late>()
            + self.late_bytes
            + self.runs.iter().map(|run| run.bytes()).sum::<usize>()
            + self.present.bytes()
            + self.defined.bytes()
            + size_of::<Self>()
    }
}

/// Adds to a family's metadata, newest first, what another layer knows of it besides.
pub(super) fn add_unknown(known: &mut Vec<Metadata>, others: &[Metadata]) {
    for one in others {
        if !known.contains(one) {
            known.push(one.clone());
        }
    }
}
