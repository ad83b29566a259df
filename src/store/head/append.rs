//! Appending: samples into layers and into log records in one step, so that the log's order is the
//! head's order.
//!
//! Under the lock of one shard after the other: look the ids up, find rows once per run of samples
//! with one timestamp, append to chunks (or the late buffer), and encode the same samples for the
//! log, with a definition for every series that this layer's part of the log does not know yet.

use arc_swap::ArcSwap;

use super::arcs::ArcTable;
use super::fresh::Fresh;
use super::kept::Names;
use super::late::Late;
use super::layer::{Layer, LayerData, Live};
use super::roster::Roster;
use super::rows::RowTable;
use super::shard::{OpenLayers, Shard, State};
use super::types::{AppendBatch, Appended, OtherSample, SeriesId};
use super::work::{Place, Spare, Work};
use crate::model::{TimestampMs, Value, Window};
use crate::store::digest::ContentHasher;
use crate::store::error::Error;
use crate::store::log::{
    Log, LoggedFloat, LoggedOther, OthersWriter, RECORD_SAMPLES_MAX, Record, RecordKind,
    encode_exemplar,
};

/// Definitions and other samples go into records of about this size.
const RECORD_BYTES: usize = 256 << 10;

/// What surrounds an append.
pub(super) struct Appending<'a> {
    pub shards: &'a [Shard],
    /// To be read under the lock of a shard.
    pub arcs: &'a ArcSwap<ArcTable>,
    pub now: TimestampMs,
    pub exemplars_max: usize,
    pub hasher: &'a ContentHasher,
    pub spare: &'a Spare,
    /// `None` while the log is being replayed.
    pub log: Option<&'a Log>,
}

impl Appending<'_> {
    /// Appends a batch, but for its metadata.
    pub(super) fn run(&self, batch: &AppendBatch<'_>) -> Result<Appended, Error> {
        let mut work = self.spare.take();
        let appended = self.run_with(&mut work, batch)?;
        self.spare.give_back(work);
        Ok(appended)
    }

    fn run_with(&self, work: &mut Work, batch: &AppendBatch<'_>) -> Result<Appended, Error> {
        let mut appended = Appended::default();
        let shards = self.shards_of(batch);
        for (number, shard) in self.shards.iter().enumerate() {
            if shards >> number & 1 == 0 {
                continue;
            }
            let mut state = shard.state.lock();
            let roster = shard.roster.read();
            let arcs = self.arcs.load();
            let mut one = OneShard {
                appending: self,
                arcs: &arcs,
                number,
                state: &mut state,
                roster: &roster,
                work,
                appended: &mut appended,
            };
            one.floats(batch)?;
            one.others(batch)?;
            one.exemplars(batch)?;
        }
        // Shard after shard found its own; who appends them again goes by their order.
        appended.stale_floats.sort_unstable();
        appended.stale_others.sort_unstable();
        appended.stale_exemplars.sort_unstable();
        Ok(appended)
    }

    fn shards_of(&self, batch: &AppendBatch<'_>) -> u64 {
        let floats = batch.floats.iter().map(|sample| sample.series);
        let others = batch.others.iter().map(|sample| sample.series);
        let exemplars = batch.exemplars.iter().map(|(series, _)| *series);
        let mut set = floats.fold(0, |set, series| set | 1u64 << series.shard());
        set = others
            .chain(exemplars)
            .fold(set, |set, series| set | 1u64 << series.shard());
        // Ids of shards that do not exist are stale by nature: the first shard reports them.
        let known = u64::MAX >> (64 - self.shards.len().clamp(1, 64));
        if set & !known == 0 {
            set
        } else {
            (set & known) | 1
        }
    }
}

/// One shard's part of an append, under its locks.
struct OneShard<'a, 'b> {
    appending: &'a Appending<'a>,
    arcs: &'b ArcTable,
    number: usize,
    state: &'b mut State,
    roster: &'b Roster,
    work: &'b mut Work,
    appended: &'b mut Appended,
}

impl<'a: 'b, 'b> OneShard<'a, 'b> {
    /// Whether an id is for this shard to look up; ids of shards that do not exist are the
    /// first's, which finds them stale.
    #[inline]
    const fn is_here(&self, series: SeriesId) -> bool {
        let shard = series.shard();
        shard == self.number || (self.number == 0 && shard >= self.appending.shards.len())
    }

    /// Where the samples of a series go; `None`: it has been forgotten.
    #[inline]
    fn find(&mut self, series: SeriesId) -> Option<Place> {
        if series.shard() != self.number {
            return None;
        }
        let entry = self.roster.entry(series.slot)?;
        if entry.generation != series.generation() {
            return None;
        }
        Some(Place {
            local: entry.local,
            target: entry.target,
            arc: self.work.position_of(self.arcs.of(entry.fingerprint)),
        })
    }

    const fn names(&self) -> Names<'b> {
        Names {
            roster: self.roster,
            hasher: self.appending.hasher,
        }
    }

    fn floats(&mut self, batch: &AppendBatch<'_>) -> Result<(), Error> {
        let mut current: Option<Window> = None;
        self.begin();
        for (at, sample) in (0u32..).zip(batch.floats) {
            if !self.is_here(sample.series) {
                continue;
            }
            let offset_ms = match current.and_then(|window| window.offset_of(sample.at)) {
                Some(offset_ms) if self.work.floats.len() < RECORD_SAMPLES_MAX => offset_ms,
                _ => {
                    self.flush(current)?;
                    let window = Window::of(sample.at);
                    current = Some(window);
                    window.offset_of(sample.at).unwrap_or(0)
                }
            };
            match self.find(sample.series) {
                None => self.appended.stale_floats.push(at),
                Some(place) => {
                    self.work.places.push(place);
                    self.work.floats.push(LoggedFloat {
                        series: sample.series.slot,
                        offset_ms,
                        bits: sample.value.to_bits(),
                    });
                }
            }
        }
        self.flush(current)
    }

    fn begin(&mut self) {
        self.work.places.clear();
        self.work.floats.clear();
        self.work.arcs.clear();
    }

    /// Applies and logs the floats collected for a window.
    fn flush(&mut self, window: Option<Window>) -> Result<(), Error> {
        let Some(window) = window.filter(|_| !self.work.floats.is_empty()) else {
            self.begin();
            return Ok(());
        };
        let fresh = self.apply(window);
        self.hold(window, &fresh);
        if self.appending.log.is_some() {
            self.log_floats(window);
        }
        self.push(window)?;
        self.begin();
        Ok(())
    }

    /// Makes a record of the collected floats: steps where the window has room for what they stand on.
    fn log_floats(&mut self, window: Window) {
        let mut payload = Vec::new();
        let Work {
            floats,
            floats_writer,
            steps_writer,
            ..
        } = &mut *self.work;
        for float in floats.iter_mut() {
            float.series = self.state.number_of(float.series);
        }
        let state = self.state.windows.get_mut(&window);
        let kind = match state.filter(|state| state.live) {
            Some(state) => {
                steps_writer.put(&mut state.lasts, floats, &mut payload);
                RecordKind::Steps
            }
            None => {
                floats_writer.put(floats, &mut payload);
                RecordKind::Floats
            }
        };
        self.work.payloads.push((kind, payload));
    }

    /// Puts the collected floats into layers; returns those whose series is new in its layer or
    /// not yet defined in the log.
    fn apply(&mut self, window: Window) -> Vec<Fresh> {
        let logged = self.appending.log.is_some();
        let now = self.appending.now;
        let names = self.names();
        let Work {
            places,
            floats,
            arcs,
            ..
        } = &*self.work;
        let state = self.state.window(window, arcs);
        let mut rows = state.rows.lock();
        let mut layers = OpenLayers::of(state, arcs, now);
        let mut fresh = Vec::new();
        let (mut target, mut offset_ms, mut row) = (u32::MAX, u32::MAX, None);
        for (place, float) in places.iter().zip(floats) {
            if place.target != target || float.offset_ms != offset_ms {
                (target, offset_ms) = (place.target, float.offset_ms);
                row = if state.live {
                    rows.row(target, offset_ms)
                } else {
                    None
                };
            }
            let Some((layer, data)) = layers.get(place.arc) else {
                continue;
            };
            if !data.defined.contains(place.local) {
                fresh.extend(Fresh::note(data, place.local, float.series, logged));
            }
            put_float((layer, data), &rows, names, (place.local, row), float);
        }
        fresh
    }

    /// Counts series that are new in a layer, and writes definitions for those that the log does
    /// not know there.
    fn hold(&mut self, window: Window, fresh: &[Fresh]) {
        for one in fresh {
            if one.held {
                self.state.hold(one.slot);
            }
            if !one.define {
                continue;
            }
            if let Some((tenant, labels)) = self.roster.series(one.slot) {
                let number = self.state.number_of(one.slot);
                self.work.defines.put(number, &tenant, &labels);
                // As whoever reads the definition does.
                let state = self.state.windows.get_mut(&window);
                if let Some(state) = state.filter(|state| state.live) {
                    state.lasts.begin(number);
                }
            }
            if self.work.defines.len() >= RECORD_BYTES {
                self.finish_defines();
            }
        }
        if !self.work.defines.is_empty() {
            self.finish_defines();
        }
    }

    fn finish_defines(&mut self) {
        let mut payload = Vec::new();
        self.work.defines.finish(&mut payload);
        self.work.payloads.push((RecordKind::Define, payload));
    }

    /// Pushes the payloads made so far as records of a window.
    fn push(&mut self, window: Window) -> Result<(), Error> {
        let Some(log) = self.appending.log else {
            return Ok(());
        };
        let shard = u8::try_from(self.number).unwrap_or(u8::MAX);
        let arcs = self.work.arcs.as_slice();
        let payloads = self.work.payloads.iter();
        let records: Vec<Record<'_>> = payloads
            .map(|(kind, payload)| Record {
                window,
                shard,
                kind: *kind,
                payload,
                arcs,
            })
            .collect();
        if !records.is_empty() {
            self.appended.position = log.push(&records)?;
        }
        self.work.payloads.clear();
        Ok(())
    }

    /// Histograms and samples with start timestamps: all of them late.
    fn others(&mut self, batch: &AppendBatch<'_>) -> Result<(), Error> {
        let mut writer = OthersWriter::default();
        let mut current: Option<Window> = None;
        self.begin();
        for (at, sample) in (0u32..).zip(batch.others) {
            if !self.is_here(sample.series) {
                continue;
            }
            let window = Window::of(sample.at);
            if current != Some(window) || writer.len() >= RECORD_BYTES {
                self.flush_others(current, &mut writer)?;
                current = Some(window);
            }
            let Some(place) = self.find(sample.series) else {
                self.appended.stale_others.push(at);
                continue;
            };
            self.apply_other(window, place, sample);
            if self.appending.log.is_some() {
                let logged = LoggedOther {
                    series: self.state.number_of(sample.series.slot),
                    at: sample.at,
                    value: sample.value.clone(),
                    start: sample.start,
                };
                writer.put(window, &logged);
            }
        }
        self.flush_others(current, &mut writer)
    }

    fn flush_others(
        &mut self,
        window: Option<Window>,
        writer: &mut OthersWriter,
    ) -> Result<(), Error> {
        if let Some(window) = window.filter(|_| !writer.is_empty()) {
            let mut payload = Vec::new();
            writer.finish(&mut payload);
            self.work.payloads.push((RecordKind::Others, payload));
            self.push(window)?;
        }
        self.begin();
        Ok(())
    }

    fn apply_other(&mut self, window: Window, place: Place, sample: &OtherSample) {
        let now = self.appending.now;
        let names = self.names();
        let logged = self.appending.log.is_some();
        let arcs = &self.work.arcs;
        let state = self.state.window(window, arcs);
        // Rows before layers, as everywhere.
        let rows = state.rows.lock();
        let mut layers = OpenLayers::of(state, arcs, now);
        let Some((layer, data)) = layers.get(place.arc) else {
            return;
        };
        let fresh = if data.defined.contains(place.local) {
            None
        } else {
            Fresh::note(data, place.local, sample.series.slot, logged)
        };
        data.samples += 1;
        data.push_late(Late {
            local: place.local,
            offset_ms: window.offset_of(sample.at).unwrap_or(0),
            start: sample.start,
            value: sample.value.clone(),
        });
        if data.late_is_full() {
            layer.settle_locked(data, &rows, names);
        }
        drop(layers);
        drop(rows);
        self.hold(window, fresh.as_slice());
    }

    fn exemplars(&mut self, batch: &AppendBatch<'_>) -> Result<(), Error> {
        let max = self
            .appending
            .exemplars_max
            .div_ceil(self.appending.shards.len().max(1));
        for (at, (series, exemplar)) in (0u32..).zip(batch.exemplars) {
            if !self.is_here(*series) {
                continue;
            }
            self.begin();
            let Some(place) = self.find(*series) else {
                self.appended.stale_exemplars.push(at);
                continue;
            };
            let new = self.state.exemplars.push(*series, exemplar, max);
            let Some(log) = self.appending.log else {
                continue;
            };
            if !new {
                // It is in the log, but perhaps not on the disk yet.
                self.appended.position = log.position();
                continue;
            }
            let window = Window::of(exemplar.timestamp);
            self.define_for_exemplar(window, place, series.slot);
            let mut payload = Vec::new();
            let number = self.state.number_of(series.slot);
            encode_exemplar(number, exemplar, &mut payload);
            self.work.payloads.push((RecordKind::Exemplars, payload));
            // No block will ever hold it, so it must not keep segments of the log either.
            self.work.arcs.clear();
            self.push(window)?;
        }
        Ok(())
    }

    /// An exemplar uses its series' number in the log, but holds no place in a layer.
    fn define_for_exemplar(&mut self, window: Window, place: Place, slot: u32) {
        let known = self.state.windows.get(&window).is_some_and(|state| {
            self.work
                .arcs
                .get(place.arc as usize)
                .and_then(|arc| state.open.get(arc))
                .is_some_and(|layer| layer.lock().defined.contains(place.local))
        });
        if !known {
            let fresh = Fresh {
                slot,
                held: false,
                define: true,
            };
            self.hold(window, &[fresh]);
        }
    }
}

/// Puts a float into a layer: to the chunk of the series with this place in the arc, where it has a row of
/// the target's and is newer than the series' last; else to the late samples.
#[inline]
pub(super) fn put_float(
    (layer, data): (&Layer, &mut LayerData),
    rows: &RowTable,
    names: Names<'_>,
    (local, row): (u32, Option<u16>),
    float: &LoggedFloat,
) {
    match row.map_or(Live::Late, |row| data.append(local, row, float.bits)) {
        Live::Appended => {
            data.samples += 1;
            if data.is_kept()
                && let Some(entry) = names.roster.entry(float.series)
            {
                let sample = (local, float.offset_ms, float.bits);
                layer.count_live(data, names.hasher, entry.fingerprint, sample);
            }
        }
        Live::Repeat => data.repeats += 1,
        Live::Late => {
            data.samples += 1;
            data.push_late(Late {
                local,
                offset_ms: float.offset_ms,
                start: TimestampMs(0),
                value: Value::Float(f64::from_bits(float.bits)),
            });
            if data.late_is_full() {
                layer.settle_locked(data, rows, names);
            }
        }
    }
}
