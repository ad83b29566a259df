//! Settling a layer's late buffer, and counting what a layer holds for its digest tree: both look
//! at late samples over the chunks and runs that are there.

use std::sync::Arc;

use super::kept::{Counter, Kept, Named, Names};
use super::late::{Run, collect, subtract};
use super::layer::{Layer, LayerData, clipped};
use super::rows::{RowTable, time_in};
use crate::codec::chunk::Chunk;
use crate::model::{Fingerprint, Samples, TimeRange, TimestampMs, Value};
use crate::store::digest::ContentHasher;
use crate::store::tree::DigestTree;

/// Runs of a layer before they become one.
const RUNS_MAX: usize = 8;

impl Layer {
    /// What a series' chunk has from an offset on; nothing is decoded when it ends before.
    fn chunk_from(
        &self,
        data: &LayerData,
        rows: &RowTable,
        local: u32,
        target: u32,
        from_ms: u32,
    ) -> Samples {
        let mut samples = Samples::default();
        let Some(chunk) = data.chunk(local) else {
            return samples;
        };
        let last = chunk.next_row().saturating_sub(1);
        let rows = rows.of(target, chunk.first_row(), last);
        if rows.last().is_some_and(|last| *last >= from_ms) {
            let mut words = Vec::new();
            chunk.copy_bits(&data.slabs, &mut words);
            let range = TimeRange::new(time_in(self.window, from_ms), TimestampMs::MAX);
            self.decode(&chunk, &words, rows, range, &mut samples);
        }
        samples
    }

    /// Turns the late buffer into a run; what repeats the chunk's samples is dropped.
    pub(super) fn settle(&self, names: Names<'_>) {
        let rows = self.rows.lock();
        let mut data = self.lock();
        self.settle_locked(&mut data, &rows, names);
    }

    /// As [`Layer::settle`], with the locks held already.
    pub(super) fn settle_locked(&self, data: &mut LayerData, rows: &RowTable, names: Names<'_>) {
        if data.late.is_empty() {
            return;
        }
        data.sort_late();
        if data.kept.is_some() {
            let late = self.late_tree(data, rows, names);
            data.add_to_kept(&late);
        }
        let late = std::mem::take(&mut data.late);
        data.late_sorted = 0;
        data.late_bytes = 0;
        let mut run = Run::default();
        for group in late.chunk_by(|a, b| a.local == b.local) {
            let Some((local, from_ms)) = group.first().map(|one| (one.local, one.offset_ms)) else {
                continue;
            };
            let (mut samples, conflicts) = collect(self.window, group);
            data.conflicts += conflicts;
            let target = names.of(self.arc, local).map_or(u32::MAX, |one| one.target);
            let known = self.chunk_from(data, rows, local, target, from_ms);
            if !known.is_empty() {
                let before = samples.len();
                data.conflicts += subtract(&mut samples, &known);
                data.repeats += (before - samples.len()) as u64;
            }
            run.push(self.window, local, &samples);
        }
        if let Some(kept) = &mut data.kept {
            kept.late_settled();
            for one in run.series() {
                kept.in_run(one.local, one.last_ms);
            }
        }
        if !run.is_empty() {
            run.shrink();
            data.runs.push(Arc::new(run));
        }
        if data.runs.len() > RUNS_MAX {
            let merged = Run::merge(self.window, &data.runs);
            data.runs = vec![Arc::new(merged)];
        }
    }
}

/// What digests need of a layer.
impl Layer {
    /// Everything of a series, as shown; under the locks.
    pub(super) fn all_of(
        &self,
        data: &mut LayerData,
        rows: &RowTable,
        local: u32,
        target: u32,
        range: TimeRange,
    ) -> Samples {
        data.sort_late();
        let mut samples = self.chunk_from(data, rows, local, target, 0);
        for run in &data.runs {
            samples.merge(&run.read(local));
        }
        let (late, _) = collect(self.window, data.late_of(local));
        samples.merge(&late);
        clipped(samples, range)
    }

    /// What the late buffer, sorted, adds to the tree of chunks and runs.
    fn late_tree(&self, data: &LayerData, rows: &RowTable, names: Names<'_>) -> DigestTree {
        let known = data
            .kept
            .as_ref()
            .and_then(|kept| kept.late(data.late.len()));
        if let Some(tree) = known {
            return tree.clone();
        }
        let mut tree = DigestTree::default();
        for group in data.late.chunk_by(|a, b| a.local == b.local) {
            let Some((local, from_ms)) = group.first().map(|one| (one.local, one.offset_ms)) else {
                continue;
            };
            let Some(named) = names.of(self.arc, local) else {
                continue;
            };
            let (samples, _) = collect(self.window, group);
            let mut known = self.chunk_from(data, rows, local, named.target, from_ms);
            let kept = data.kept.as_deref();
            if kept.is_some_and(|kept| kept.runs_may_have(local, from_ms)) {
                data.runs.iter().for_each(|run| {
                    known.merge(&run.read(local));
                });
            }
            let counter = Counter::new(names.hasher, self.arc, self.window, named.fingerprint);
            counter.add_over(&mut tree, &samples, &known);
        }
        tree
    }

    /// Adds the kept tree, and what the late buffer adds to it.
    pub(super) fn add_tree(
        &self,
        data: &mut LayerData,
        rows: &RowTable,
        names: Names<'_>,
        tree: &mut DigestTree,
    ) {
        data.sort_late();
        if !data.late.is_empty() {
            let late = self.late_tree(data, rows, names);
            let len = data.late.len();
            if let Some(kept) = &mut data.kept {
                tree.add_tree(kept.set_late(len, late));
            }
        }
        if let Some(kept) = &data.kept {
            tree.add_tree(&kept.tree);
        }
    }

    /// A live sample was appended: counts it where a tree is kept.
    #[inline]
    pub(super) fn count_live(
        &self,
        data: &mut LayerData,
        hasher: &ContentHasher,
        fingerprint: Fingerprint,
        (local, offset_ms, bits): (u32, u32, u64),
    ) {
        let Some(kept) = &mut data.kept else {
            return;
        };
        let counter = Counter::new(hasher, self.arc, self.window, fingerprint);
        let at = time_in(self.window, offset_ms);
        if !kept.may_have(local, offset_ms) {
            counter.float(&mut kept.tree, at, offset_ms, bits);
            return;
        }
        // A late sample of this time may be there: rare, and looked up.
        kept.forget_late();
        let mut known = Samples::default();
        for run in &data.runs {
            known.merge(&run.read(local));
        }
        let mut own = Samples::default();
        own.push(at, Value::Float(f64::from_bits(bits)), TimestampMs(0));
        counter.add_over(&mut kept.tree, &own, &known);
    }

    /// From now on the tree is kept; what there is so far is still to be counted.
    pub(super) fn begin_keeping(&self, data: &mut LayerData, names: Names<'_>) -> Found {
        let mut kept = Kept::default();
        for run in &data.runs {
            for one in run.series() {
                kept.in_run(one.local, one.last_ms);
            }
        }
        for late in &data.late {
            kept.in_late(late.local, late.offset_ms);
        }
        let mut series = Vec::new();
        for local in data.present.iter() {
            if let Some(named) = names.of(self.arc, local) {
                let chunk = data.chunk(local).map(|chunk| {
                    let mut words = Vec::new();
                    chunk.copy_bits(&data.slabs, &mut words);
                    (chunk, words)
                });
                series.push(FoundSeries {
                    local,
                    named,
                    chunk,
                });
            }
        }
        data.kept = Some(Box::new(kept));
        Found {
            series,
            runs: data.runs.clone(),
        }
    }

    /// Counts what there was when keeping began.
    pub(super) fn count(&self, found: &Found, hasher: &ContentHasher, tree: &mut DigestTree) {
        let mut rows = Vec::new();
        for one in &found.series {
            let named = one.named;
            let mut samples = Samples::default();
            if let Some((chunk, words)) = &one.chunk {
                let (first, last) = (chunk.first_row(), chunk.next_row().saturating_sub(1));
                self.rows.copy(named.target, first, last, &mut rows);
                self.decode(chunk, words, &rows, TimeRange::ALL, &mut samples);
            }
            for run in &found.runs {
                samples.merge(&run.read(one.local));
            }
            let counter = Counter::new(hasher, self.arc, self.window, named.fingerprint);
            counter.add_all(tree, &samples);
        }
    }
}

struct FoundSeries {
    local: u32,
    named: Named,
    /// With its bits.
    chunk: Option<(Chunk, Vec<u32>)>,
}

/// What a layer had when its tree began to be kept.
pub(super) struct Found {
    series: Vec<FoundSeries>,
    runs: Vec<Arc<Run>>,
}
