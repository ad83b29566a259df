//! Records of some shards of the log, put back into the head one after the other.
//!
//! It knows nothing of files and threads: `replay_threads` brings the records.

use std::collections::HashMap;
use std::sync::Arc;

use super::core::Core;
use super::replay_common::pieces;
use super::replay_cut::{Cutter, Stray};
use super::replay_floats::{Collected, Cutting, Destination, Here};
use super::replay_series::{Arcs, Asking, Definition, Part, forgotten};
use super::rows::time_in;
use super::types::{AppendBatch, FloatSample, OtherSample};
use crate::model::{LabelSet, RingArc, TimestampMs, Window, fingerprint};
use crate::store::error::Error;
use crate::store::log::{
    Covered, FloatRun, RecordHeader, RecordKind, decode_definitions, decode_exemplar,
    decode_floats, decode_metadata, decode_others, decode_steps,
};

/// Puts records into a core that nobody reads yet.
pub(super) struct Replay {
    core: Arc<Core>,
    parts: HashMap<(Window, u8), Part>,
    arcs: Arcs,
    collected: Collected,
    now: TimestampMs,
    bytes: Vec<u8>,
    runs: Vec<FloatRun>,
}

impl Replay {
    pub(super) fn new(core: Arc<Core>, now: TimestampMs) -> Self {
        Self {
            core,
            parts: HashMap::new(),
            arcs: Arcs::default(),
            collected: Collected::default(),
            now,
            bytes: Vec::new(),
            runs: Vec::new(),
        }
    }

    fn define(
        &mut self,
        header: &RecordHeader,
        payload: &[u8],
        covered: &Covered,
    ) -> Result<(), Error> {
        let window = header.window;
        // What waits means what numbers meant so far.
        self.put_back((window, header.shard))?;
        let part = self.parts.entry((window, header.shard)).or_default();
        let mut failed = None;
        decode_definitions(payload, |number, tenant, labels| {
            let fingerprint = fingerprint(&tenant, &labels);
            let marked = covered.of_series(window, fingerprint);
            let series = Definition {
                tenant,
                labels,
                fingerprint,
                position: header.position,
            };
            failed = failed.take().or(part.define(number, marked, series).err());
        })
        .map_err(damaged)?;
        failed.map_or(Ok(()), Err)
    }

    /// Float samples wait until there are enough of them.
    fn floats(
        &mut self,
        header: &RecordHeader,
        payload: &[u8],
        covered: &Covered,
        pins: &mut Vec<(RingArc, u64)>,
    ) -> Result<(), Error> {
        let values = &mut self.collected.values;
        let begin = values.len();
        let part = self.parts.entry((header.window, header.shard)).or_default();
        let (bytes, runs) = (&mut self.bytes, &mut self.runs);
        let count = match header.kind {
            RecordKind::Steps => decode_steps(payload, &mut part.lasts, bytes, runs, values),
            _ => decode_floats(payload, bytes, runs, values),
        };
        count.map_err(damaged)?;
        let asking = Asking {
            core: &self.core,
            header,
            covered,
        };
        for run in &self.runs {
            let known = |here: &Here| {
                here.is_here() || header.position <= here.marked && !here.is_unknown()
            };
            for piece in pieces(run) {
                let (first, end) = (piece.start as usize, piece.end as usize);
                let common = part.commons.of(&part.series, &piece);
                let all = part.series.get(first..end);
                if common.is_some() || all.is_some_and(|all| all.iter().all(known)) {
                    continue;
                }
                for number in piece {
                    asking.first_known(part, number, &mut self.arcs, pins)?;
                }
            }
        }
        let strays = self.cut(header, begin, pins);
        let part = self.parts.get(&(header.window, header.shard));
        if self.collected.is_full() || part.is_some_and(|part| part.waiting.is_full()) {
            self.finish()?;
        }
        if strays.is_empty() {
            return Ok(());
        }
        // What they follow may wait.
        self.finish()?;
        let batch = AppendBatch {
            floats: &strays,
            ..AppendBatch::default()
        };
        self.append(&batch)
    }

    /// Cuts the runs of a record, whose values begin at `begin`, into stretches; samples of other shards are returned.
    fn cut(
        &mut self,
        header: &RecordHeader,
        begin: usize,
        pins: &mut Vec<(RingArc, u64)>,
    ) -> Vec<FloatSample> {
        let Some(part) = self.parts.get_mut(&(header.window, header.shard)) else {
            return Vec::new();
        };
        // A window that nothing is wanted of is not begun.
        let wanted = |here: &Here| here.is_here() && here.marked < header.position;
        let of_run = |run: &FloatRun| {
            let end = (run.first + run.len) as usize;
            let all = part
                .series
                .get(run.first as usize..end.min(part.series.len()));
            all.is_some_and(|all| all.iter().any(wanted))
        };
        let shard = self.core.shards.get(usize::from(header.shard));
        let shard = shard.filter(|_| self.runs.iter().any(of_run));
        let mut state = shard.map(|shard| shard.state.lock());
        let state = state.as_mut().map(|state| state.window(header.window, &[]));
        let live = state.filter(|state| state.live);
        let mut cutter = Cutter {
            position: header.position,
            series: &part.series,
            named: &part.named,
            commons: &mut part.commons,
            arcs: &mut self.arcs,
            pins,
            rows: live.map(|state| state.rows.lock()),
            cutting: Cutting::of(&mut part.waiting),
            strays: Vec::new(),
            row: None,
        };
        let mut at = u32::try_from(begin).unwrap_or(u32::MAX);
        for run in &self.runs {
            cutter.run(run, at);
            at += run.len;
        }
        let strays = cutter.end();
        let sample = |stray: Stray| {
            let bits = self.collected.values.get(stray.at as usize).copied();
            FloatSample {
                series: stray.series,
                at: time_in(header.window, stray.offset_ms),
                value: f64::from_bits(bits.unwrap_or(0)),
            }
        };
        strays.into_iter().map(sample).collect()
    }

    /// Puts back what waits of a window and shard.
    fn put_back(&mut self, of: (Window, u8)) -> Result<(), Error> {
        let Some(part) = self
            .parts
            .get_mut(&of)
            .filter(|part| !part.waiting.is_empty())
        else {
            return Ok(());
        };
        let into = Destination {
            core: &self.core,
            shard: usize::from(of.1),
            window: of.0,
            now: self.now,
            arcs: &self.arcs.all,
        };
        self.collected
            .put_back(&into, &part.series, &mut part.waiting)
    }

    /// Puts back all that waits.
    pub(super) fn finish(&mut self) -> Result<(), Error> {
        let waits = |(of, part): (&(Window, u8), &Part)| (!part.waiting.is_empty()).then_some(*of);
        let parts: Vec<(Window, u8)> = self.parts.iter().filter_map(waits).collect();
        for of in parts {
            self.put_back(of)?;
        }
        self.collected.values.clear();
        Ok(())
    }

    fn others(
        &mut self,
        header: &RecordHeader,
        payload: &[u8],
        covered: &Covered,
        pins: &mut Vec<(RingArc, u64)>,
    ) -> Result<(), Error> {
        let mut logged = Vec::new();
        decode_others(payload, header.window, |sample| logged.push(sample)).map_err(damaged)?;
        let mut others = Vec::with_capacity(logged.len());
        let part = self.parts.entry((header.window, header.shard)).or_default();
        let asking = Asking {
            core: &self.core,
            header,
            covered,
        };
        for sample in logged {
            let known = asking.known(part, sample.series, &mut self.arcs, pins)?;
            if let Some((series, arc)) = known {
                self.arcs.pin(pins, arc, header.position);
                others.push(OtherSample {
                    series,
                    at: sample.at,
                    value: sample.value,
                    start: sample.start,
                });
            }
        }
        let batch = AppendBatch {
            others: &others,
            ..AppendBatch::default()
        };
        self.append(&batch)
    }

    fn metadata(
        &mut self,
        header: &RecordHeader,
        payload: &[u8],
        covered: &Covered,
        pins: &mut Vec<(RingArc, u64)>,
    ) -> Result<(), Error> {
        let (tenant, family, metadata) = decode_metadata(payload).map_err(damaged)?;
        let labels = LabelSet::from_pairs(&[(crate::model::METRIC_NAME, &family)]);
        let labels = labels.map_err(|error| Error::corrupt("metadata", error.to_string()))?;
        let fingerprint = fingerprint(&tenant, &labels);
        if covered.of_series(header.window, fingerprint) >= header.position {
            return Ok(());
        }
        let arc = self.arcs.number_of(self.core.arcs().of(fingerprint));
        self.arcs.pin(pins, arc, header.position);
        let of = (&tenant, family.as_str());
        self.core
            .metadata(of, &metadata, header.window, self.now, None)
            .map(drop)
    }

    /// Exemplars are in no block and pin nothing: those that the log still has come back, if it
    /// still has the definition of their series too.
    fn exemplar(&mut self, header: &RecordHeader, payload: &[u8]) -> Result<(), Error> {
        let (number, exemplar) = decode_exemplar(payload).map_err(damaged)?;
        let Some(part) = self.parts.get(&(header.window, header.shard)) else {
            return Ok(());
        };
        let Some(series) = part.of_exemplar(&self.core, header, number)? else {
            return Ok(());
        };
        self.append(&AppendBatch {
            exemplars: &[(series, exemplar)],
            ..AppendBatch::default()
        })
    }

    /// Takes a record and adds to `pins` what keeps segments, as [`Replayed::finish`] tells it.
    ///
    /// [`Replayed::finish`]: crate::store::log::Replayed::finish
    pub(super) fn record(
        &mut self,
        header: &RecordHeader,
        payload: &[u8],
        covered: &Covered,
        pins: &mut Vec<(RingArc, u64)>,
    ) -> Result<(), Error> {
        match header.kind {
            RecordKind::Write | RecordKind::Jump => Ok(()),
            RecordKind::Define => self.define(header, payload, covered),
            RecordKind::Floats | RecordKind::Steps => self.floats(header, payload, covered, pins),
            RecordKind::Others => self.others(header, payload, covered, pins),
            RecordKind::Metadata => self.metadata(header, payload, covered, pins),
            RecordKind::Exemplars => self.exemplar(header, payload),
        }
    }

    /// Nothing is forgotten while the log is read, so no id can be stale.
    fn append(&self, batch: &AppendBatch<'_>) -> Result<(), Error> {
        let appended = self.core.append(batch, self.now, None)?;
        let stale = appended.stale_floats.len() + appended.stale_others.len();
        if stale + appended.stale_exemplars.len() > 0 {
            return Err(forgotten());
        }
        Ok(())
    }
}

fn damaged(error: crate::codec::Error) -> Error {
    Error::corrupt("a record", error.to_string())
}
