//! A layer: what the head holds of one shard, arc and window since the last cut. A cut freezes it
//! as a whole; what comes later starts a new one.
//!
//! In it: a growing chunk per series for floats newer than the series' last; and for everything
//! else a late buffer, which becomes compressed *runs*, sorted by series. Reads merge the three.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::kept::Kept;
use super::late::{Late, Run, bytes_of, collect};
use super::pieces::Bits;
use super::rows::{Rows, time_in};
use super::types::HeadSeries;
use crate::codec::chunk::{Chunk, ROW_MAX, Reader, Slabs};
use crate::model::{
    Metadata, RingArc, Samples, TenantId, TimeRange, TimestampMs, Value, WINDOW_MS, Window,
};
use crate::source::Moments;
use crate::store::tree::DigestTree;

/// Chunks allocated together.
const CHUNKS: usize = 64;
/// Late samples of a layer before they become a run: 128 KiB of them. Tests see it happen often.
const LATE_MAX: usize = if cfg!(test) { 20 } else { 4096 };
/// Bytes that the histograms among them may take.
const LATE_BYTES_MAX: usize = 1 << 20;
/// Different metadata kept of one family.
const METADATA_MAX: usize = 4;

/// One layer. Readers hold it by an `Arc`, so it stays readable after it was given up.
#[derive(Debug)]
pub(super) struct Layer {
    pub arc: RingArc,
    pub window: Window,
    pub rows: Arc<Rows>,
    data: Mutex<LayerData>,
    /// Held while its digest tree is begun.
    pub building: Mutex<()>,
}

/// What is in it.
#[derive(Debug, Default)]
pub(super) struct LayerData {
    chunks: Vec<Option<Box<[Chunk; CHUNKS]>>>,
    pub slabs: Slabs,
    /// Series that have something here, by their place in the arc.
    pub present: Bits,
    /// Series that the log has defined for this layer in this process.
    pub defined: Bits,
    pub late: Vec<Late>,
    /// Bytes of the histograms in `late`.
    pub late_bytes: usize,
    /// Late samples up to here are sorted, by series and time.
    pub late_sorted: usize,
    pub runs: Vec<Arc<Run>>,
    metadata: BTreeMap<TenantId, BTreeMap<String, Vec<Metadata>>>,
    /// The digest tree, once somebody has asked for it.
    pub kept: Option<Box<Kept>>,
    /// Samples appended.
    pub samples: u64,
    /// Samples that repeated what was there.
    pub repeats: u64,
    /// Timestamps that got a second, different value.
    pub conflicts: u64,
    /// When something was appended last, by this node's clock.
    pub appended: TimestampMs,
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
        Self::with(arc, window, rows, LayerData::default())
    }

    /// A layer that begins with something.
    pub(super) fn with(arc: RingArc, window: Window, rows: Arc<Rows>, data: LayerData) -> Self {
        Self {
            arc,
            window,
            rows,
            data: Mutex::new(data),
            building: Mutex::default(),
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
            let mut rows = Vec::new();
            let (first, last) = (chunk.first_row(), chunk.next_row().saturating_sub(1));
            self.rows.copy(target, first, last, &mut rows);
            self.decode(&chunk, &words, &rows, range, &mut mine);
        }
        for run in &runs {
            mine.merge(&clipped(run.read(local), range));
        }
        if !late.is_empty() {
            let (samples, _) = collect(self.window, &late);
            mine.merge(&clipped(samples, range));
        }
        out.merge(&mine);
    }

    /// Adds the sample of a series that is the newest at all of some moments, if it is known to be without decoding all: where
    /// its last one is at or before the first of them, or there is only one. `false`, and nothing done: it is not known.
    pub(super) fn read_newest(
        &self,
        series: &HeadSeries,
        range: TimeRange,
        moments: Moments,
        out: &mut Samples,
    ) -> bool {
        let row = self.row_at(series.target, moments.first);
        let mut words = Vec::new();
        let (chunk, found) = {
            let mut data = self.data.lock();
            if !data.present.contains(series.local) {
                return true;
            }
            data.sort_late();
            if !data.is_chunk_alone(series.local) {
                return false;
            }
            let Some(chunk) = data.chunk(series.local) else {
                return false;
            };
            let last = chunk.next_row().saturating_sub(1);
            let found = match row {
                Some(row) if row >= last => Some(last),
                _ if moments.count > 1 => return false,
                Some(row) if row >= chunk.first_row() => {
                    let steady = (row >= chunk.steady_from()).then_some(row);
                    if steady.is_none() {
                        chunk.copy_bits(&data.slabs, &mut words);
                    }
                    steady
                }
                _ => return true,
            };
            (chunk, found)
        };
        let found = match (found, row) {
            (Some(row), _) => Some((row, chunk.last_bits())),
            (None, Some(row)) => Reader::new(&chunk, &words).last_to(row),
            (None, None) => None,
        };
        let Some((row, bits)) = found else {
            return false;
        };
        let at = self
            .rows
            .lock()
            .of(series.target, row, row)
            .first()
            .copied();
        let Some(at) = at.map(|offset| time_in(self.window, offset)) else {
            return false;
        };
        if range.contains(at) {
            let mut sample = Samples::default();
            sample.push(at, Value::Float(f64::from_bits(bits)), TimestampMs(0));
            out.merge(&sample);
        }
        true
    }

    /// The last row of a target that is not after a time. Rows that are added meanwhile are of what comes meanwhile.
    fn row_at(&self, target: u32, at: TimestampMs) -> Option<u16> {
        let rows = self.rows.lock();
        let rows = rows.of(target, 0, u16::MAX);
        let rows = rows.partition_point(|offset| time_in(self.window, *offset) <= at);
        u16::try_from(rows.checked_sub(1)?).ok()
    }

    /// Decodes a chunk; `rows` has the timestamps from its first row on.
    pub(super) fn decode(
        &self,
        chunk: &Chunk,
        words: &[u32],
        rows: &[u32],
        range: TimeRange,
        out: &mut Samples,
    ) {
        let first = chunk.first_row();
        out.timestamps.reserve(rows.len());
        out.values.reserve(rows.len());
        let whole = range.start <= time_in(self.window, 0)
            && time_in(self.window, WINDOW_LAST) <= range.end;
        Reader::new(chunk, words).for_each(|(row, bits)| {
            let Some(offset) = rows.get(usize::from(row - first)) else {
                return;
            };
            let at = time_in(self.window, *offset);
            if whole || range.contains(at) {
                out.timestamps.push(at.0);
                out.values.push(f64::from_bits(bits));
            }
        });
    }
}

/// Only the samples of a range.
pub(super) fn clipped(mut samples: Samples, range: TimeRange) -> Samples {
    samples.clip(range);
    samples
}

/// The last millisecond of a window.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "two hours of milliseconds"
)]
const WINDOW_LAST: u32 = WINDOW_MS as u32 - 1;

impl LayerData {
    /// The chunk of a series, if it has values.
    pub(super) fn chunk(&self, local: u32) -> Option<Chunk> {
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

    /// Reads what the chunk of a series is continued from; the number means nothing.
    #[inline]
    pub(super) fn touch(&self, local: u32) -> u32 {
        let piece = self.chunks.get(local as usize / CHUNKS);
        let piece = piece.and_then(Option::as_ref);
        let chunk = piece.and_then(|piece| piece.get(local as usize % CHUNKS));
        chunk.map_or(0, |chunk| chunk.touch(&self.slabs))
    }

    /// Appends floats at rows of the series' target as long as they are newer than the last one; says how many.
    pub(super) fn append_run(
        &mut self,
        local: u32,
        floats: impl Iterator<Item = (u16, u64)>,
    ) -> usize {
        let mut floats = floats.peekable();
        if floats.peek().is_none_or(|(row, _)| *row > ROW_MAX) {
            return 0;
        }
        let piece = local as usize / CHUNKS;
        if self.chunks.get(piece).is_none_or(Option::is_none) {
            self.add_piece(piece);
        }
        let piece = self.chunks.get_mut(piece).and_then(Option::as_mut);
        let Some(chunk) = piece.and_then(|piece| piece.get_mut(local as usize % CHUNKS)) else {
            return 0;
        };
        let count = chunk.append_run(&mut self.slabs, floats);
        self.samples += count as u64;
        count
    }

    /// Puts the chunk of a series in its place; its bits are in this layer's slabs.
    pub(super) fn put_chunk(&mut self, local: u32, chunk: Chunk) {
        let piece = local as usize / CHUNKS;
        if self.chunks.get(piece).is_none_or(Option::is_none) {
            self.add_piece(piece);
        }
        let piece = self.chunks.get_mut(piece).and_then(Option::as_mut);
        if let Some(place) = piece.and_then(|piece| piece.get_mut(local as usize % CHUNKS)) {
            *place = chunk;
        }
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

    /// Whether a digest tree is kept.
    #[inline]
    pub(super) const fn is_kept(&self) -> bool {
        self.kept.is_some()
    }

    /// Adds to the tree that is kept.
    pub(super) fn add_to_kept(&mut self, tree: &DigestTree) {
        if let Some(kept) = &mut self.kept {
            kept.tree.add_tree(tree);
        }
    }

    /// The rows of a series: the first, and the one after the last. `None` when it has late samples
    /// or runs, or is not here.
    pub(super) fn rows_of(&self, local: u32) -> Option<(u16, u16)> {
        let kept = self.kept.as_ref().filter(|kept| !kept.may_have(local, 0));
        let chunk = kept.and_then(|_| self.chunk(local))?;
        Some((chunk.first_row(), chunk.next_row()))
    }

    /// Puts a sample into the late buffer.
    pub(super) fn push_late(&mut self, late: Late) {
        if let Some(kept) = &mut self.kept {
            kept.in_late(late.local, late.offset_ms);
        }
        if let Value::Histogram(histogram) = &late.value {
            self.late_bytes += bytes_of(histogram);
        }
        self.late.push(late);
    }

    /// Whether the late buffer should become a run.
    pub(super) fn late_is_full(&self) -> bool {
        self.late.len() >= LATE_MAX || self.late_bytes >= LATE_BYTES_MAX
    }

    /// Sorts the late buffer, by series and time.
    pub(super) fn sort_late(&mut self) {
        if self.late_sorted < self.late.len() {
            let place = |late: &Late| u64::from(late.local) << 32 | u64::from(late.offset_ms);
            self.late.sort_by_key(place);
            self.late_sorted = self.late.len();
        }
    }

    /// The late samples of a series, when they are sorted.
    pub(super) fn late_of(&self, local: u32) -> &[Late] {
        let from = self.late.partition_point(|late| late.local < local);
        let rest = self.late.get(from..).unwrap_or_default();
        let to = rest.partition_point(|late| late.local == local);
        rest.get(..to).unwrap_or_default()
    }

    /// Whether a series has nothing but its chunk; the late buffer is sorted.
    pub(super) fn is_chunk_alone(&self, local: u32) -> bool {
        self.late_of(local).is_empty() && !self.runs.iter().any(|run| run.has(local))
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
            + self.kept.as_ref().map_or(0, |kept| kept.bytes())
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
