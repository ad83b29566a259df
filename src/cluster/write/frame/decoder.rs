//! The replica's end of a stream: columns to samples of the local head.
//!
//! Every length and id is checked. An error ends the stream: after it, the two ends no longer
//! agree on what was said last.

use std::sync::Arc;

use super::definitions;
use super::encoder::{HISTOGRAM, START};
use super::message::Columns;
use super::values::Last;
use super::wire_error::FrameError;
use super::{DEFINITIONS_MAX, FLOATS_MAX, LABELS_MAX, OTHERS_MAX};
use crate::cluster::write::routing::{Place, place_of};
use crate::codec::{histograms, varint};
use crate::model::{
    Exemplar, LabelSet, METRIC_NAME, Metadata, MetricKind, TenantId, TimestampMs, Value,
    fingerprint,
};
use crate::store::{FloatSample, OtherSample, SeriesId};

/// What a series of the stream costs, beside the table of the coordinator's end.
#[cfg(test)]
pub(super) const ENTRY_BYTES: usize = size_of::<Entry>();

/// Floats for which room is kept from request to request: 256 KiB for a stream.
const SPARE_FLOATS_MAX: usize = 8192;

/// A series of the stream: 32 bytes.
#[derive(Clone, Copy, Debug)]
struct Entry {
    series: SeriesId,
    /// The last value and how it was coded.
    bits: u64,
    mode: u8,
    is_defined: bool,
    next: u32,
    place: Place,
}

/// Something of a series of the stream, besides floats.
#[derive(Clone, Debug)]
pub(in super::super) struct OtherOf<T> {
    pub(in super::super) what: T,
    /// The stream's id, and where it lies.
    pub(in super::super) id: u32,
    pub(in super::super) place: Place,
}

/// Metadata of a metric family of a tenant.
type Family = (TenantId, String, Metadata);

/// What a request brought.
#[derive(Debug, Default)]
pub(in super::super) struct Decoded {
    pub(in super::super) floats: Vec<FloatSample>,
    /// The streams' ids of the floats, and where they lie.
    pub(in super::super) float_ids: Vec<u32>,
    pub(in super::super) float_places: Vec<Place>,
    pub(in super::super) others: Vec<OtherOf<OtherSample>>,
    pub(in super::super) metadata: Vec<OtherOf<Family>>,
    pub(in super::super) exemplars: Vec<OtherOf<(SeriesId, Exemplar)>>,
}

/// Turns requests of one stream into samples.
#[derive(Debug, Default)]
pub(in super::super) struct Decoder {
    entries: Vec<Entry>,
    /// Empty lists of an earlier request, to be filled again.
    spare: Decoded,
}

impl Decoder {
    /// Reads a request. `register` gives the local ids of series that are defined.
    pub(in super::super) fn decode(
        &mut self,
        columns: &Columns,
        mut register: impl FnMut(&TenantId, &LabelSet) -> SeriesId,
    ) -> Result<Decoded, FrameError> {
        if columns.reset {
            self.entries = Vec::new();
        }
        for id in &columns.forget {
            if let Some(entry) = self.entries.get_mut(*id as usize) {
                entry.is_defined = false;
            }
        }
        definitions::read(&columns.definitions, |id, tenant, labels| {
            let place = place_of(fingerprint(tenant, labels));
            self.define(id, place, register(tenant, labels))
        })?;
        let mut decoded = std::mem::take(&mut self.spare);
        self.floats(&columns.floats, &mut decoded)?;
        decoded.others = self.others(&columns.others)?;
        decoded.metadata = metadata(&columns.metadata)?;
        decoded.exemplars = self.exemplars(&columns.exemplars)?;
        Ok(decoded)
    }

    /// Takes back what a request brought, for its lists of floats: they are the largest part, and
    /// memory for them is not to be had from the system for each request.
    pub(in super::super) fn reuse(&mut self, mut decoded: Decoded) {
        if decoded.floats.capacity() > SPARE_FLOATS_MAX {
            return;
        }
        decoded.floats.clear();
        decoded.float_ids.clear();
        decoded.float_places.clear();
        self.spare = Decoded {
            floats: decoded.floats,
            float_ids: decoded.float_ids,
            float_places: decoded.float_places,
            ..Decoded::default()
        };
    }

    fn define(&mut self, id: u32, place: Place, series: SeriesId) -> Result<(), FrameError> {
        let entry = Entry {
            series,
            bits: 0,
            mode: 0,
            next: id.wrapping_add(1),
            place,
            is_defined: true,
        };
        let at = id as usize;
        if at >= DEFINITIONS_MAX {
            return Err(FrameError::TooMuch {
                what: "the definitions of a stream",
                limit: DEFINITIONS_MAX,
            });
        }
        let count = self.entries.len();
        match self.entries.get_mut(at) {
            Some(old) => *old = entry,
            None if at == count => self.entries.push(entry),
            None => return Err(FrameError::Invalid("the id of a definition")),
        }
        Ok(())
    }

    /// The series' ids first, then the values.
    fn floats(&mut self, bytes: &[u8], decoded: &mut Decoded) -> Result<(), FrameError> {
        const WHAT: &str = "floats";
        let mut input = bytes;
        if input.is_empty() {
            return Ok(());
        }
        let count = varint::take_len(&mut input, WHAT, FLOATS_MAX)?;
        let runs = varint::take_bytes(&mut input, WHAT)?;
        let changed = varint::take_exact(&mut input, count.div_ceil(8), WHAT)?;
        self.runs(runs, count, decoded)?;
        let bits = changed.iter().flat_map(|byte| {
            let byte = *byte;
            (0..8).map(move |at| byte >> at & 1 == 1)
        });
        let ids = decoded.float_ids.iter();
        for ((sample, id), changed) in decoded.floats.iter_mut().zip(ids).zip(bits) {
            let entry = self.entries.get_mut(*id as usize);
            let entry = entry.ok_or(FrameError::Invalid("an id"))?;
            if changed {
                let mut last = Last {
                    bits: entry.bits,
                    mode: entry.mode,
                };
                last.take(&mut input)?;
                (entry.bits, entry.mode) = (last.bits, last.mode);
            }
            sample.value = f64::from_bits(entry.bits);
        }
        varint::finished(input, WHAT)?;
        Ok(())
    }

    fn runs(
        &mut self,
        mut input: &[u8],
        count: usize,
        decoded: &mut Decoded,
    ) -> Result<(), FrameError> {
        const WHAT: &str = "a run of floats";
        decoded.floats.reserve(count);
        decoded.float_ids.reserve(count);
        decoded.float_places.reserve(count);
        let (mut at, mut previous): (i64, Option<u32>) = (0, None);
        while decoded.floats.len() < count {
            let predicted = self.after(previous);
            let id = i64::from(predicted).wrapping_add(varint::take_i64(&mut input)?);
            let mut id = u32::try_from(id).map_err(|_| FrameError::Invalid("an id"))?;
            at = at.wrapping_add(varint::take_i64(&mut input)?);
            let left = count - decoded.floats.len();
            let run = varint::take_len(&mut input, WHAT, left)?;
            if run == 0 {
                return Err(FrameError::Invalid(WHAT));
            }
            if id != predicted
                && let Some(entry) = previous.and_then(|p| self.entries.get_mut(p as usize))
            {
                entry.next = id;
            }
            for _ in 0..run {
                let entry = self.entry(id)?;
                decoded.floats.push(FloatSample {
                    series: entry.series,
                    at: TimestampMs(at),
                    value: 0.0,
                });
                decoded.float_ids.push(id);
                decoded.float_places.push(entry.place);
                previous = Some(id);
                id = entry.next;
            }
        }
        varint::finished(input, WHAT)?;
        Ok(())
    }

    fn after(&self, previous: Option<u32>) -> u32 {
        let entry = previous.and_then(|id| self.entries.get(id as usize));
        entry.map_or(0, |entry| entry.next)
    }

    #[inline]
    fn entry(&self, id: u32) -> Result<&Entry, FrameError> {
        let entry = self.entries.get(id as usize);
        let entry = entry.filter(|entry| entry.is_defined);
        entry.ok_or(FrameError::Invalid("an id that is not defined"))
    }

    fn next_of(&self, input: &mut &[u8], before: &mut u32) -> Result<(u32, Entry), FrameError> {
        let id = i64::from(*before).wrapping_add(varint::take_i64(input)?);
        let id = u32::try_from(id).map_err(|_| FrameError::Invalid("an id"))?;
        *before = id;
        Ok((id, *self.entry(id)?))
    }

    fn others(&self, bytes: &[u8]) -> Result<Vec<OtherOf<OtherSample>>, FrameError> {
        const WHAT: &str = "a sample";
        let mut before = 0;
        take_column(bytes, WHAT, |input| {
            let (id, entry) = self.next_of(input, &mut before)?;
            let at = varint::take_i64(input)?;
            let flags = varint::take_u8(input, WHAT)?;
            if flags & !(HISTOGRAM | START) != 0 {
                return Err(FrameError::Invalid("the kind of a sample"));
            }
            let value = if flags & HISTOGRAM == 0 {
                Value::Float(varint::take_f64(input, WHAT)?)
            } else {
                Value::Histogram(Arc::new(histograms::decode_one(input)?))
            };
            let start = if flags & START == 0 {
                0
            } else {
                at.wrapping_sub(varint::take_i64(input)?)
            };
            let what = OtherSample {
                series: entry.series,
                at: TimestampMs(at),
                value,
                start: TimestampMs(start),
            };
            Ok(OtherOf {
                what,
                id,
                place: entry.place,
            })
        })
    }

    fn exemplars(&self, bytes: &[u8]) -> Result<Vec<OtherOf<(SeriesId, Exemplar)>>, FrameError> {
        const WHAT: &str = "an exemplar";
        let mut before = 0;
        take_column(bytes, WHAT, |input| {
            let (id, entry) = self.next_of(input, &mut before)?;
            let timestamp = TimestampMs(varint::take_i64(input)?);
            let value = varint::take_f64(input, WHAT)?;
            let count = varint::take_len(input, WHAT, LABELS_MAX)?;
            let mut pairs = Vec::with_capacity(count.min(input.len() / 2));
            for _ in 0..count {
                let name = take_text(input)?;
                pairs.push((name, take_text(input)?));
            }
            let labels = LabelSet::from_pairs(&pairs);
            let exemplar = Exemplar {
                labels: labels.map_err(|_| FrameError::Invalid("an exemplar's labels"))?,
                value,
                timestamp,
            };
            Ok(OtherOf {
                what: (entry.series, exemplar),
                id,
                place: entry.place,
            })
        })
    }
}

/// A count, and so many of something.
fn take_column<T>(
    mut input: &[u8],
    what: &'static str,
    mut take: impl FnMut(&mut &[u8]) -> Result<T, FrameError>,
) -> Result<Vec<T>, FrameError> {
    if input.is_empty() {
        return Ok(Vec::new());
    }
    let most = OTHERS_MAX.min(input.len());
    let count = varint::take_len(&mut input, what, most)?;
    let mut all = Vec::with_capacity(count.min(1024));
    for _ in 0..count {
        all.push(take(&mut input)?);
    }
    varint::finished(input, what)?;
    Ok(all)
}

fn take_text<'a>(input: &mut &'a [u8]) -> Result<&'a str, FrameError> {
    let bytes = varint::take_bytes(input, "a text")?;
    std::str::from_utf8(bytes).map_err(|_| FrameError::Invalid("a text"))
}

fn metadata(bytes: &[u8]) -> Result<Vec<OtherOf<Family>>, FrameError> {
    const WHAT: &str = "metadata";
    take_column(bytes, WHAT, |input| {
        let tenant = take_text(input)?;
        let tenant = TenantId::new(tenant).map_err(|_| FrameError::Invalid("a tenant"))?;
        let family = take_text(input)?.to_owned();
        let (help, unit) = (take_text(input)?.to_owned(), take_text(input)?.to_owned());
        let kind = MetricKind::from_number(u64::from(varint::take_u8(input, WHAT)?));
        let place = place_of_family(&tenant, &family);
        let place = place.ok_or(FrameError::Invalid("the name of a metric family"))?;
        Ok(OtherOf {
            what: (tenant, family, Metadata { kind, help, unit }),
            id: 0,
            place,
        })
    })
}

/// Where metadata of a metric family lies: where a series with only its name would.
pub(in super::super) fn place_of_family(tenant: &TenantId, family: &str) -> Option<Place> {
    let labels = LabelSet::from_pairs(&[(METRIC_NAME, family)]).ok()?;
    Some(place_of(fingerprint(tenant, &labels)))
}
