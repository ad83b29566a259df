//! The coordinator's end of a stream: samples to columns.

#![allow(
    clippy::indexing_slicing,
    reason = "ids in `entries` come from `ids` and `define` alone, which make them by pushing to it"
)]

use bytes::Bytes;
use hashbrown::HashTable;

use super::definitions::Definitions;
use super::message::Columns;
use super::values::Last;
use super::{DEFINITIONS_MAX, FLOATS_MAX, OTHERS_MAX};
use crate::cluster::write::routes::Route;
use crate::codec::{histograms, varint};
use crate::model::{Exemplar, LabelSet, Metadata, TenantId, TimestampMs, Value};

/// Where labels for definitions come from; `None`: they are not to be had.
pub(in super::super) type LabelsOf<'a> = &'a dyn Fn(Route) -> Option<(TenantId, LabelSet)>;

pub(super) const HISTOGRAM: u8 = 1;
pub(super) const START: u8 = 2;

/// Minutes after which a definition that was not used is forgotten.
const IDLE_MINUTES: u16 = 30;

/// What a series of the stream costs, beside the table of the coordinator's end.
#[cfg(test)]
pub(super) const ENTRY_BYTES: usize = size_of::<Entry>();

/// A series of the stream: 24 bytes.
#[derive(Clone, Copy, Debug)]
struct Entry {
    route: Route,
    /// The last value and how it was coded.
    bits: u64,
    mode: u8,
    /// Which series followed it last time.
    next: u32,
    /// The minute of its last use.
    used: u16,
}

/// Nobody's.
const FREE: Route = Route {
    slot: u32::MAX,
    generation: u32::MAX,
};

/// Float samples of the request at hand.
#[derive(Debug, Default)]
struct Floats {
    count: usize,
    runs: Vec<u8>,
    changed: Vec<u8>,
    values: Vec<u8>,
    /// Samples of the run at hand, and their time.
    run: usize,
    at: i64,
    /// The sample before.
    previous: Option<u32>,
}

/// Columns of other things: how many there are, and their bytes.
#[derive(Debug, Default)]
struct Column {
    count: usize,
    bytes: Vec<u8>,
    /// The series of the last of them; each column begins at 0.
    before: u32,
}

impl Column {
    fn take(&mut self) -> Bytes {
        if self.count == 0 {
            return Bytes::new();
        }
        let mut out = Vec::with_capacity(self.bytes.len() + 4);
        varint::put_len(&mut out, self.count);
        out.extend_from_slice(&self.bytes);
        (self.count, self.before) = (0, 0);
        self.bytes.clear();
        Bytes::from(out)
    }

    /// Begins the next one with its series, as the distance to that of the one before.
    fn put_series(&mut self, id: u32) {
        let before = std::mem::replace(&mut self.before, id);
        self.count += 1;
        varint::put_i64(&mut self.bytes, i64::from(id) - i64::from(before));
    }
}

/// Turns samples into requests of one stream.
#[derive(Debug, Default)]
pub(in super::super) struct Encoder {
    entries: Vec<Entry>,
    ids: HashTable<u32>,
    free: Vec<u32>,
    /// Ids that are nobody's from the next request on: in the one at hand they still mean the
    /// series whose samples it may have already.
    leaving: Vec<u32>,
    /// What the next request tells the other end to forget.
    forget: Vec<u32>,
    reset: bool,
    minute: u16,
    definitions: Definitions,
    floats: Floats,
    others: Column,
    metadata: Column,
    exemplars: Column,
}

/// Fibonacci hashing: slots are small numbers in order.
const fn hash(slot: u32) -> u64 {
    (slot as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl Encoder {
    /// Begins a request at a minute (of any clock that only goes on): definitions that have not
    /// been used for long are forgotten, with the other end told in this request.
    pub(in super::super) fn begin(&mut self, minute: u64) {
        // Sixteen bits of minutes are 45 days: every minute in which there is a request looks.
        let minute = u16::try_from(minute % (1 << 16)).unwrap_or(0);
        if self.ids.len() >= DEFINITIONS_MAX {
            *self = Self {
                reset: true,
                ..Self::default()
            };
        }
        self.free.append(&mut self.leaving);
        if minute == self.minute {
            return;
        }
        self.minute = minute;
        for id in 0..u32::try_from(self.entries.len()).unwrap_or(u32::MAX) {
            let entry = self.entries[id as usize];
            if entry.route != FREE && minute.wrapping_sub(entry.used) > IDLE_MINUTES {
                self.drop_id(id);
                self.forget.push(id);
            }
        }
    }

    /// Frees an id; the other end may still have it until it is defined anew.
    fn drop_id(&mut self, id: u32) {
        let Some(entry) = self.entries.get_mut(id as usize) else {
            return;
        };
        let slot = entry.route.slot;
        if entry.route == FREE {
            return;
        }
        entry.route = FREE;
        if let Ok(found) = self.ids.find_entry(hash(slot), |other| *other == id) {
            found.remove();
        }
        self.leaving.push(id);
    }

    /// The other end says that these ids mean nothing there any more.
    pub(in super::super) fn undefined(&mut self, ids: &[u32]) {
        for id in ids {
            self.drop_id(*id);
        }
    }

    /// The id of a route, which is defined where it is new. `None`: there are no labels for it.
    #[inline]
    fn id_of(&mut self, predicted: u32, route: Route, labels: LabelsOf<'_>) -> Option<u32> {
        let minute = self.minute;
        if let Some(entry) = self.entries.get_mut(predicted as usize)
            && entry.route == route
        {
            entry.used = minute;
            return Some(predicted);
        }
        let entries = &self.entries;
        let same = |id: &u32| entries[*id as usize].route.slot == route.slot;
        if let Some(id) = self.ids.find(hash(route.slot), same).copied() {
            let entry = &mut self.entries[id as usize];
            if entry.route == route {
                entry.used = minute;
                return Some(id);
            }
            // The slot is another series' now, or the same that was forgotten in between.
            self.drop_id(id);
        }
        self.define(route, labels)
    }

    #[cold]
    fn define(&mut self, route: Route, labels: LabelsOf<'_>) -> Option<u32> {
        let (tenant, labels) = labels(route)?;
        let id = match self.free.pop() {
            Some(id) => id,
            None => u32::try_from(self.entries.len()).ok()?,
        };
        let entry = Entry {
            route,
            bits: 0,
            mode: 0,
            next: id.wrapping_add(1),
            used: self.minute,
        };
        match self.entries.get_mut(id as usize) {
            Some(old) => *old = entry,
            None => self.entries.push(entry),
        }
        let entries = &self.entries;
        self.ids.insert_unique(hash(route.slot), id, |id| {
            hash(entries[*id as usize].route.slot)
        });
        self.definitions.put(id, &tenant, &labels);
        Some(id)
    }

    /// Adds a float. `false`: its series cannot be defined, or the request is full.
    #[inline]
    pub(in super::super) fn float(
        &mut self,
        route: Route,
        at: TimestampMs,
        value: f64,
        labels: LabelsOf<'_>,
    ) -> bool {
        let previous = self.floats.previous;
        let predicted = previous.map_or(0, |id| self.entries[id as usize].next);
        let Some(id) = self.id_of(predicted, route, labels) else {
            return false;
        };
        let floats = &mut self.floats;
        if floats.count >= FLOATS_MAX {
            return false;
        }
        if id != predicted || at.0 != floats.at || floats.run == 0 {
            floats.end_run();
            varint::put_i64(&mut floats.runs, i64::from(id) - i64::from(predicted));
            varint::put_i64(&mut floats.runs, at.0.wrapping_sub(floats.at));
            floats.at = at.0;
        }
        if let Some(previous) = previous
            && id != predicted
        {
            self.entries[previous as usize].next = id;
        }
        floats.run += 1;
        floats.previous = Some(id);
        let entry = &mut self.entries[id as usize];
        let bits = value.to_bits();
        if floats.count.is_multiple_of(8) {
            floats.changed.push(0);
        }
        if bits != entry.bits {
            if let Some(byte) = floats.changed.last_mut() {
                *byte |= 1 << (floats.count % 8);
            }
            let mut last = Last {
                bits: entry.bits,
                mode: entry.mode,
            };
            last.put(bits, &mut floats.values);
            (entry.bits, entry.mode) = (last.bits, last.mode);
        }
        floats.count += 1;
        true
    }

    /// Adds a histogram or a float with a start timestamp. `false`: as [`Encoder::float`].
    pub(in super::super) fn other(
        &mut self,
        route: Route,
        at: TimestampMs,
        (value, start): (&Value, TimestampMs),
        labels: LabelsOf<'_>,
    ) -> bool {
        if self.others.count >= OTHERS_MAX {
            return false;
        }
        let Some(id) = self.id_of(self.others.before, route, labels) else {
            return false;
        };
        self.others.put_series(id);
        let out = &mut self.others.bytes;
        varint::put_i64(out, at.0);
        let flag = if start.0 == 0 { 0 } else { START };
        match value {
            Value::Float(value) => {
                out.push(flag);
                out.extend_from_slice(&value.to_bits().to_le_bytes());
            }
            Value::Histogram(histogram) => {
                out.push(flag | HISTOGRAM);
                histograms::encode_one(histogram, out);
            }
        }
        if start.0 != 0 {
            varint::put_i64(out, at.0.wrapping_sub(start.0));
        }
        true
    }

    /// Adds an exemplar of a series. `false`: as [`Encoder::float`].
    pub(in super::super) fn exemplar(
        &mut self,
        route: Route,
        exemplar: &Exemplar,
        labels: LabelsOf<'_>,
    ) -> bool {
        if self.exemplars.count >= OTHERS_MAX {
            return false;
        }
        let Some(id) = self.id_of(self.exemplars.before, route, labels) else {
            return false;
        };
        self.exemplars.put_series(id);
        let out = &mut self.exemplars.bytes;
        varint::put_i64(out, exemplar.timestamp.0);
        out.extend_from_slice(&exemplar.value.to_bits().to_le_bytes());
        varint::put_len(out, exemplar.labels.len());
        for (name, value) in exemplar.labels.iter() {
            varint::put_bytes(out, name.as_bytes());
            varint::put_bytes(out, value.as_bytes());
        }
        true
    }

    /// Adds metadata of a metric family. `false`: the request is full.
    pub(in super::super) fn metadata(
        &mut self,
        tenant: &TenantId,
        family: &str,
        metadata: &Metadata,
    ) -> bool {
        if self.metadata.count >= OTHERS_MAX {
            return false;
        }
        self.metadata.count += 1;
        let out = &mut self.metadata.bytes;
        for text in [tenant.as_str(), family, &metadata.help, &metadata.unit] {
            varint::put_bytes(out, text.as_bytes());
        }
        out.push(metadata.kind as u8);
        true
    }

    /// The columns of the request.
    pub(in super::super) fn finish(&mut self) -> Columns {
        Columns {
            reset: std::mem::take(&mut self.reset),
            forget: std::mem::take(&mut self.forget),
            definitions: Bytes::from(self.definitions.take()),
            floats: self.floats.take(),
            others: self.others.take(),
            metadata: self.metadata.take(),
            exemplars: self.exemplars.take(),
        }
    }

    /// Series defined, and bytes of memory.
    pub(in super::super) fn size(&self) -> (usize, usize) {
        let entries = self.entries.capacity() * size_of::<Entry>();
        let rest = self.ids.capacity() * 5 + (self.free.capacity() + self.leaving.capacity()) * 4;
        (self.ids.len(), entries + rest)
    }
}

impl Floats {
    fn end_run(&mut self) {
        if self.run > 0 {
            varint::put_len(&mut self.runs, self.run);
            self.run = 0;
        }
    }

    /// Count, length of the runs, runs, bits of what has changed, values.
    fn take(&mut self) -> Bytes {
        if self.count == 0 {
            *self = Self::default();
            return Bytes::new();
        }
        self.end_run();
        let len = self.runs.len() + self.changed.len() + self.values.len();
        let mut out = Vec::with_capacity(len + 8);
        varint::put_len(&mut out, self.count);
        varint::put_bytes(&mut out, &self.runs);
        out.extend_from_slice(&self.changed);
        out.extend_from_slice(&self.values);
        self.runs.clear();
        self.changed.clear();
        self.values.clear();
        (self.count, self.at, self.previous) = (0, 0, None);
        Bytes::from(out)
    }
}
