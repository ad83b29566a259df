//! Settling a layer's late buffer, and counting what a layer holds for its digest tree: both look
//! at late samples over the chunks and runs that are there.

use std::sync::Arc;

use super::kept::{Counter, Kept, Named, Names};
use super::late::{Run, collect, collect_into, subtract};
use super::layer::{Layer, LayerData, clipped};
use super::rows::{RowTable, time_in};
use crate::codec::chunk::{Chunk, Reader};
use crate::model::{Fingerprint, Samples, TimeRange, TimestampMs, Value};
use crate::store::digest::ContentHasher;
use crate::store::tree::DigestTree;

impl Layer {
    /// What a series' chunk has.
    fn chunk_of(&self, data: &LayerData, rows: &RowTable, local: u32, target: u32) -> Samples {
        let mut samples = Samples::default();
        if let Some(chunk) = data.chunk(local) {
            let last = chunk.next_row().saturating_sub(1);
            let rows = rows.of(target, chunk.first_row(), last);
            let mut words = Vec::new();
            chunk.copy_bits(&data.slabs, &mut words);
            self.decode(&chunk, &words, rows, TimeRange::ALL, &mut samples);
        }
        samples
    }

    /// What a series' chunk has at the times of some samples. Mostly its target has no row of those
    /// times, and then nothing is decoded.
    fn chunk_at(
        &self,
        data: &LayerData,
        rows: &RowTable,
        (local, target): (u32, u32),
        wanted: &Samples,
    ) -> Samples {
        let mut found = Samples::default();
        let Some(chunk) = data.chunk(local) else {
            return found;
        };
        let last = chunk.next_row().saturating_sub(1);
        let rows = rows.of(target, chunk.first_row(), last);
        let offsets = wanted.timestamps.iter();
        let offsets = offsets.filter_map(|at| self.window.offset_of(TimestampMs(*at)));
        // Rows after the chunk's first that have a wanted time, rising.
        let (mut places, mut passed) = (Vec::new(), 0);
        for offset_ms in offsets {
            let rest = rows.get(passed..).unwrap_or_default();
            passed += rest.partition_point(|row| *row < offset_ms);
            if rows.get(passed) == Some(&offset_ms) {
                places.push((passed, offset_ms));
            }
        }
        if places.is_empty() {
            return found;
        }
        let mut words = Vec::new();
        chunk.copy_bits(&data.slabs, &mut words);
        let mut places = places.into_iter().peekable();
        for (row, bits) in Reader::new(&chunk, &words) {
            let place = usize::from(row.saturating_sub(chunk.first_row()));
            while places.next_if(|(wanted, _)| *wanted < place).is_some() {}
            match places.peek() {
                None => break,
                Some((wanted, offset_ms)) if *wanted == place => {
                    let value = Value::Float(f64::from_bits(bits));
                    found.push(time_in(self.window, *offset_ms), value, TimestampMs(0));
                }
                Some(_) => {}
            }
        }
        found
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
        let (mut run, mut samples) = (Run::default(), Samples::default());
        for group in late.chunk_by(|a, b| a.local == b.local) {
            let Some(local) = group.first().map(|one| one.local) else {
                continue;
            };
            data.conflicts += collect_into(self.window, group, &mut samples);
            let target = names.of(self.arc, local).map_or(u32::MAX, |one| one.target);
            let known = self.chunk_at(data, rows, (local, target), &samples);
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
            run.add_to(self.window, &mut data.runs);
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
        let mut samples = self.chunk_of(data, rows, local, target);
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
        let (mut tree, mut samples) = (DigestTree::default(), Samples::default());
        for group in data.late.chunk_by(|a, b| a.local == b.local) {
            let Some((local, from_ms)) = group.first().map(|one| (one.local, one.offset_ms)) else {
                continue;
            };
            let Some(named) = names.of(self.arc, local) else {
                continue;
            };
            collect_into(self.window, group, &mut samples);
            let mut known = self.chunk_at(data, rows, (local, named.target), &samples);
            let kept = data.kept.as_deref();
            if kept.is_some_and(|kept| kept.runs_may_have(local, from_ms)) {
                data.runs.iter().for_each(|run| {
                    known.merge(&run.read_at(self.window, local, &samples));
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
        let (mut own, mut known) = (Samples::default(), Samples::default());
        own.push(at, Value::Float(f64::from_bits(bits)), TimestampMs(0));
        for run in &data.runs {
            known.merge(&run.read_at(self.window, local, &own));
        }
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
