//! Records of some shards of the log, put back into the head one after the other.
//!
//! It knows nothing of files and threads: `replay_threads` brings the records.

use std::collections::HashMap;
use std::sync::Arc;

use super::core::Core;
use super::types::{AppendBatch, FloatSample, OtherSample, SeriesId};
use crate::model::{Fingerprint, LabelSet, RingArc, TenantId, TimestampMs, Window, fingerprint};
use crate::store::error::Error;
use crate::store::log::{
    Covered, LoggedFloat, RecordHeader, RecordKind, decode_definitions, decode_exemplar,
    decode_floats, decode_metadata, decode_others,
};

/// What a number in the log means: a series, and up to which position its content is elsewhere.
#[derive(Clone, Debug)]
enum Meaning {
    /// Not needed so far: registered when a sample is.
    Defined(Box<Definition>),
    Registered(SeriesId, RingArc, u64),
}

/// A series as the log defines it.
#[derive(Clone, Debug)]
struct Definition {
    tenant: TenantId,
    labels: LabelSet,
    fingerprint: Fingerprint,
    /// Up to which position its content is elsewhere.
    marked: u64,
    /// Where the definition stands.
    position: u64,
}

/// What numbers mean in one window and shard of the writer.
type Meanings = Vec<Option<Meaning>>;

/// Puts records into a core that nobody reads yet.
pub(super) struct Replay {
    core: Arc<Core>,
    series: HashMap<(Window, u8), Meanings>,
    now: TimestampMs,
    bytes: Vec<u8>,
    logged: Vec<LoggedFloat>,
    floats: Vec<FloatSample>,
}

/// Numbers up to here are believed; a shard never has more series.
const NUMBER_MAX: u32 = 1 << 28;

/// What a record's number stands for at its position.
enum Known {
    /// A series whose sample is wanted, and its arc.
    Wanted(SeriesId, RingArc),
    /// The sample is in a block.
    Elsewhere,
}

impl Replay {
    pub(super) fn new(core: Arc<Core>, now: TimestampMs) -> Self {
        Self {
            core,
            series: HashMap::new(),
            now,
            bytes: Vec::new(),
            logged: Vec::new(),
            floats: Vec::new(),
        }
    }

    fn define(
        &mut self,
        header: &RecordHeader,
        payload: &[u8],
        covered: &Covered,
    ) -> Result<(), Error> {
        let window = header.window;
        let meanings = self.series.entry((window, header.shard)).or_default();
        let mut too_large = None;
        decode_definitions(payload, |number, tenant, labels| {
            if number >= NUMBER_MAX {
                too_large = Some(number);
                return;
            }
            let at = number as usize;
            if meanings.len() <= at {
                meanings.resize(at + 1, None);
            }
            let fingerprint = fingerprint(&tenant, &labels);
            let marked = covered.of_series(window, fingerprint);
            if let Some(place) = meanings.get_mut(at) {
                *place = Some(Meaning::Defined(Box::new(Definition {
                    tenant,
                    labels,
                    fingerprint,
                    marked,
                    position: header.position,
                })));
            }
        })
        .map_err(damaged)?;
        match too_large {
            None => Ok(()),
            Some(number) => Err(Error::corrupt(
                "a definition",
                format!("it defines the number {number}"),
            )),
        }
    }

    fn meaning(&mut self, header: &RecordHeader, number: u32) -> Option<&mut Meaning> {
        let meanings = self.series.get_mut(&(header.window, header.shard))?;
        meanings.get_mut(number as usize)?.as_mut()
    }

    fn floats(
        &mut self,
        header: &RecordHeader,
        payload: &[u8],
        covered: &Covered,
        pins: &mut Vec<(RingArc, u64)>,
    ) -> Result<(), Error> {
        let mut logged = std::mem::take(&mut self.logged);
        logged.clear();
        decode_floats(payload, &mut self.bytes, &mut logged).map_err(damaged)?;
        self.floats.clear();
        let meanings = self
            .series
            .entry((header.window, header.shard))
            .or_default();
        let mut last = None;
        for float in &logged {
            let known = known(&self.core, meanings, header, float.series, covered, pins)?;
            if let Known::Wanted(series, arc) = known {
                if last != Some(arc) {
                    last = Some(arc);
                    pin(pins, arc, header.position);
                }
                self.floats.push(FloatSample {
                    series,
                    at: super::rows::time_in(header.window, float.offset_ms),
                    value: f64::from_bits(float.bits),
                });
            }
        }
        self.logged = logged;
        let batch = AppendBatch {
            floats: &self.floats,
            ..AppendBatch::default()
        };
        self.append(&batch)
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
        let meanings = self
            .series
            .entry((header.window, header.shard))
            .or_default();
        for sample in logged {
            let known = known(&self.core, meanings, header, sample.series, covered, pins)?;
            if let Known::Wanted(series, arc) = known {
                pin(pins, arc, header.position);
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
        let arc = self.core.arcs().of(fingerprint);
        pin(pins, arc, header.position);
        let of = (&tenant, family.as_str());
        self.core
            .metadata(of, &metadata, header.window, self.now, None)
            .map(drop)
    }

    /// Exemplars are in no block and pin nothing: those that the log still has come back, if it
    /// still has the definition of their series too.
    fn exemplar(&mut self, header: &RecordHeader, payload: &[u8]) -> Result<(), Error> {
        let (number, exemplar) = decode_exemplar(payload).map_err(damaged)?;
        let core = Arc::clone(&self.core);
        let series = match self.meaning(header, number) {
            None => return Ok(()),
            Some(Meaning::Registered(series, _, _)) => *series,
            Some(Meaning::Defined(series)) => {
                core.register_unbounded(&series.tenant, &series.labels)?
            }
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
            RecordKind::Floats => self.floats(header, payload, covered, pins),
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
            return Err(Error::Bug(
                "a series was forgotten during replay".to_owned(),
            ));
        }
        Ok(())
    }
}

/// What a number means for a record of samples.
#[inline]
fn known(
    core: &Core,
    meanings: &mut Meanings,
    header: &RecordHeader,
    number: u32,
    covered: &Covered,
    pins: &mut Vec<(RingArc, u64)>,
) -> Result<Known, Error> {
    match meanings.get_mut(number as usize).and_then(Option::as_mut) {
        Some(Meaning::Registered(id, arc, marked)) if *marked < header.position => {
            Ok(Known::Wanted(*id, *arc))
        }
        Some(Meaning::Registered(..)) => Ok(Known::Elsewhere),
        other => first_known(core, other, header, number, covered, pins),
    }
}

/// As [`known`], for a series that is not registered yet, or that nothing defines.
#[cold]
fn first_known(
    core: &Core,
    meaning: Option<&mut Meaning>,
    header: &RecordHeader,
    number: u32,
    covered: &Covered,
    pins: &mut Vec<(RingArc, u64)>,
) -> Result<Known, Error> {
    let Some(meaning) = meaning else {
        // Its definition went with a segment that holds only what blocks have.
        if covered.highest(header.window) >= header.position {
            return Ok(Known::Elsewhere);
        }
        return Err(Error::corrupt(
            "a record",
            format!("it names the series {number}, which nothing defines"),
        ));
    };
    let Meaning::Defined(series) = &*meaning else {
        return Ok(Known::Elsewhere);
    };
    if series.marked >= header.position {
        return Ok(Known::Elsewhere);
    }
    let arc = core.arcs().of(series.fingerprint);
    let id = core.register_unbounded(&series.tenant, &series.labels)?;
    // As long as its samples are needed, so is the definition, in whatever segment it lies.
    pin(pins, arc, series.position);
    *meaning = Meaning::Registered(id, arc, series.marked);
    Ok(Known::Wanted(id, arc))
}

/// Notes what an arc needs, once for each position.
fn pin(pins: &mut Vec<(RingArc, u64)>, arc: RingArc, position: u64) {
    if !pins.contains(&(arc, position)) {
        pins.push((arc, position));
    }
}

fn damaged(error: crate::codec::Error) -> Error {
    Error::corrupt("a record", error.to_string())
}
