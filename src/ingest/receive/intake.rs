//! One request's series on their way into the store, whatever their spelling.
//!
//! Series go through in slices: looked at and hashed without a lock, looked up together, and only
//! those that are not known are parsed, checked and registered. Before any series of a slice is
//! registered, all unknown ones of the slice have been found to be readable, so that a mutilated
//! request leaves nothing behind but what earlier slices held. Samples gather in one batch and go
//! to the store when it is large or the request ends.

use crate::cluster::{Hidden, OtherSample, Pending, SeriesId, WriteError, Writer};
use crate::codec::protobuf::{Reader, WireError};
use crate::model::{TenantId, TimestampMs};

use super::super::error::Error;
use super::super::known::Known;
use super::super::partial_write::{Counts, PartialWrite};
use super::super::series_cache::{Hit, Slot};
use super::super::settings::IngestSettings;
use super::super::validate::{series_labels, show_labels};
use super::admit::{Admitted, Refused, Times, metadata};
use super::batch::Batch;
use super::spelling::{Content, Item, RawMetadata, Spelling, Walked};

/// Series looked up under one lock: a few tens of kilobytes of what was seen of them.
const SLICE_SERIES: usize = 512;
/// How often series that the store has forgotten are registered again before the sender is asked
/// to try later.
const ROUNDS_MAX: usize = 4;

/// One series of the slice at hand.
#[derive(Default)]
struct Entry {
    /// Which series of the request.
    at: u32,
    walked: Walked,
    hit: Option<Hit<SeriesId>>,
}

/// Memory that requests use one after the other.
#[derive(Default)]
pub(super) struct Buffers {
    slice: Vec<Entry>,
    batch: Batch,
}

/// What surrounds a request.
#[derive(Clone, Copy)]
pub(super) struct Surroundings<'r> {
    pub(super) known: &'r Known,
    pub(super) writer: &'r Writer,
    pub(super) settings: &'r IngestSettings,
    pub(super) tenant: &'r TenantId,
    pub(super) now: TimestampMs,
    /// What the message is called when it cannot be read.
    pub(super) message: &'static str,
    pub(super) body: &'r [u8],
}

/// A request on its way in.
pub(super) struct Intake<'r> {
    around: Surroundings<'r>,
    latest: TimestampMs,
    /// Samples of the times after `deleted_until` and up to `latest` need no look at `deleted`: so
    /// many milliseconds.
    plain_ms: u64,
    deleted: Hidden,
    deleted_until: TimestampMs,
    series: &'r [(u32, u32)],
    slice: &'r mut Vec<Entry>,
    batch: &'r mut Batch,
    write: PartialWrite,
    pending: Vec<Pending>,
}

/// The part of a body between two offsets.
pub(super) fn part(body: &[u8], place: (u32, u32)) -> &[u8] {
    body.get(place.0 as usize..place.1 as usize)
        .unwrap_or_default()
}

fn unavailable(error: WriteError) -> Error {
    Error::Unavailable(error.to_string())
}

impl<'r> Intake<'r> {
    /// Begins with the series that lie in the body at these places.
    pub(super) fn new(
        around: Surroundings<'r>,
        series: &'r [(u32, u32)],
        buffers: &'r mut Buffers,
    ) -> Self {
        buffers.batch.clear();
        let times = Times {
            settings: around.settings,
            now: around.now,
        };
        let deleted = around.writer.deleted(around.tenant);
        let (latest, deleted_until) = (times.latest(), deleted.until());
        Self {
            latest,
            plain_ms: latest.0.abs_diff(deleted_until.0.min(latest.0)),
            deleted,
            deleted_until,
            around,
            series,
            slice: &mut buffers.slice,
            batch: &mut buffers.batch,
            write: PartialWrite::default(),
            pending: Vec::new(),
        }
    }

    /// Hands the rest to the store. What was stored and refused, and what is not durable yet.
    pub(super) fn finish<S: Spelling<'r>>(
        mut self,
        spelling: &S,
    ) -> Result<(PartialWrite, Vec<Pending>), Error> {
        self.flush(spelling)?;
        Ok((self.write, self.pending))
    }

    fn malformed(&self, error: WireError) -> Error {
        Error::protobuf(self.around.message, error)
    }

    fn bytes_of(&self, at: u32) -> &'r [u8] {
        let place = self.series.get(at as usize).copied();
        part(self.around.body, place.unwrap_or_default())
    }

    /// Whether a time is neither too far ahead nor one of which anything is deleted: one comparison,
    /// whether there are deletes or not. (Nobody has a sample of the earliest time of all.)
    #[inline]
    const fn is_plain(&self, at: TimestampMs) -> bool {
        self.latest.0.wrapping_sub(at.0).cast_unsigned() < self.plain_ms
    }

    fn times(&self) -> Times<'r> {
        Times {
            settings: self.around.settings,
            now: self.around.now,
        }
    }

    /// Takes all series of the request.
    pub(super) fn take<S: Spelling<'r>>(&mut self, spelling: &S) -> Result<(), Error> {
        let (mut previous, mut at) = (None, 0u32);
        for places in self.series.chunks(SLICE_SERIES) {
            self.look_up(spelling, places, at, &mut previous)?;
            at = at.saturating_add(u32::try_from(places.len()).unwrap_or(u32::MAX));
            let mut slice = std::mem::take(self.slice);
            let result = self.take_slice(spelling, &mut slice, &mut previous);
            *self.slice = slice;
            result?;
        }
        Ok(())
    }

    /// Walks, hashes and looks up a slice.
    fn look_up<S: Spelling<'r>>(
        &mut self,
        spelling: &S,
        places: &[(u32, u32)],
        first: u32,
        previous: &mut Option<Slot>,
    ) -> Result<(), Error> {
        self.slice.clear();
        self.slice.resize_with(places.len(), Entry::default);
        for ((entry, place), at) in self.slice.iter_mut().zip(places).zip(first..) {
            entry.at = at;
            spelling
                .walk(part(self.around.body, *place), &mut entry.walked)
                .map_err(|error| Error::protobuf(self.around.message, error))?;
        }
        let mut cache = self.around.known.cache.lock();
        for entry in self.slice.iter_mut() {
            entry.hit = cache.find(previous, entry.walked.key);
        }
        Ok(())
    }

    fn take_slice<S: Spelling<'r>>(
        &mut self,
        spelling: &S,
        slice: &mut [Entry],
        previous: &mut Option<Slot>,
    ) -> Result<(), Error> {
        let missed = slice.iter().any(|entry| entry.hit.is_none());
        if missed {
            self.look_closer(spelling, slice)?;
        }
        let mut new = Vec::new();
        for entry in slice.iter() {
            if let (Some(hit), Content::One { at, value }) = (entry.hit, entry.walked.content)
                && self.is_plain(at)
                && (entry.walked.metadata == 0 || entry.walked.metadata == hit.metadata)
            {
                self.batch.push_float(entry.at, hit.series, at, value);
                self.flush_if_large(spelling)?;
            } else if let Some(series) = self.take_series(spelling, entry)? {
                new.push((entry.at, series));
            }
        }
        if missed {
            self.remember(slice, &new, previous);
        }
        Ok(())
    }

    /// Looks at all fields of what was not found, looks up again what a guess had hidden, and makes
    /// sure that the rest can be read.
    fn look_closer<S: Spelling<'r>>(&self, spelling: &S, slice: &mut [Entry]) -> Result<(), Error> {
        for entry in slice.iter_mut().filter(|entry| entry.hit.is_none()) {
            let series = self.bytes_of(entry.at);
            let guessed = entry.walked.key;
            entry.walked = spelling.walk_fully(series).map_err(|e| self.malformed(e))?;
            if entry.walked.key != guessed {
                let mut cache = self.around.known.cache.lock();
                entry.hit = cache.find(&mut None, entry.walked.key);
            }
            if entry.hit.is_none() {
                check_readable(spelling, series).map_err(|e| self.malformed(e))?;
            }
        }
        Ok(())
    }

    /// Puts new series into the cache, in the order in which they came.
    fn remember(&self, slice: &[Entry], new: &[(u32, SeriesId)], previous: &mut Option<Slot>) {
        let mut cache = self.around.known.cache.lock();
        let mut new = new.iter().peekable();
        for entry in slice {
            let known = new.next_if(|(at, _)| *at == entry.at);
            if let Some(hit) = entry.hit {
                cache.follow(previous, hit.slot);
            } else if let (Some((_, id)), Content::One { .. } | Content::Fields { .. }) =
                (known, entry.walked.content)
            {
                let slot = cache.insert(previous, entry.walked.key, *id);
                if let (Some(slot), true) = (slot, entry.walked.metadata != 0) {
                    cache.mark_metadata(slot, entry.walked.metadata);
                }
            }
        }
    }

    /// Takes a series in the general way: its id, then all it carries. `None`: it was refused.
    fn take_series<S: Spelling<'r>>(
        &mut self,
        spelling: &S,
        entry: &Entry,
    ) -> Result<Option<SeriesId>, Error> {
        let series = self.bytes_of(entry.at);
        let from = match entry.walked.content {
            Content::Nothing => return Ok(None),
            Content::Refused(fault) => {
                self.refuse_series(spelling, series, fault.reason(), &fault.to_string())?;
                return Ok(None);
            }
            Content::Fields { from } => from as usize,
            Content::One { .. } | Content::Odd => 0,
        };
        let id = match entry.hit {
            Some(hit) => Some(hit.series),
            None => self.register(spelling, series)?,
        };
        let Some(id) = id else {
            return Ok(None);
        };
        let metadata = entry.walked.metadata;
        if metadata != 0 && entry.hit.is_none_or(|hit| hit.metadata != metadata) {
            self.take_series_metadata(spelling, entry)?;
        }
        self.take_items(spelling, entry.at, from, id)?;
        Ok(Some(id))
    }

    /// Parses, checks and registers a series; what cannot be is refused with all it carries.
    fn register<S: Spelling<'r>>(
        &mut self,
        spelling: &S,
        series: &'r [u8],
    ) -> Result<Option<SeriesId>, Error> {
        let raw = spelling.labels(series).map_err(|e| self.malformed(e))?;
        let labels = match series_labels(&raw, self.around.settings) {
            Ok(labels) => labels,
            Err(refusal) => {
                self.refuse_series(spelling, series, refusal.reason(), &refusal.to_string())?;
                return Ok(None);
            }
        };
        match self.around.writer.register(self.around.tenant, &labels) {
            Ok(id) => Ok(Some(id)),
            Err(WriteError::Limit { reason }) => {
                self.refuse_series(spelling, series, "max_series", &reason)?;
                Ok(None)
            }
            Err(error) => Err(unavailable(error)),
        }
    }

    /// Refuses a series with all it carries.
    fn refuse_series<S: Spelling<'r>>(
        &mut self,
        spelling: &S,
        series: &'r [u8],
        reason: &'static str,
        text: &str,
    ) -> Result<(), Error> {
        let mut counts = Counts::default();
        let mut reader = Reader::new(series);
        while let Some(item) = spelling.item(&mut reader).map_err(|e| self.malformed(e))? {
            counts.add(match item {
                Item::Float { .. } => Counts::SAMPLE,
                Item::Histogram(_) => Counts::HISTOGRAM,
                Item::Exemplar(_) => Counts::EXEMPLAR,
            });
        }
        let raw = spelling.labels(series).map_err(|e| self.malformed(e))?;
        self.write
            .refuse(counts, reason, || format!("{}: {text}", show_labels(&raw)));
        Ok(())
    }

    fn take_items<S: Spelling<'r>>(
        &mut self,
        spelling: &S,
        origin: u32,
        from: usize,
        id: SeriesId,
    ) -> Result<(), Error> {
        let series = self.bytes_of(origin);
        let mut reader = Reader::new(series.get(from..).unwrap_or_default());
        let mut refused: Vec<Refused> = Vec::new();
        let mut about = None;
        while let Some(item) = spelling.item(&mut reader).map_err(|e| self.malformed(e))? {
            let admitted = match self.times().admit(item) {
                Ok(admitted) if admitted.at() <= self.deleted_until => {
                    let about = match &about {
                        Some(about) => about,
                        None => about.insert(self.deleted_of(spelling, series)?),
                    };
                    admitted.unless_deleted(about)
                }
                admitted => admitted,
            };
            match admitted {
                Ok(admitted) => {
                    self.push(origin, id, admitted);
                    self.flush_if_large(spelling)?;
                }
                Err(fault) if is_silent(&fault, spelling) => self.write.drop_quietly(fault.reason),
                // One series is told once for each reason.
                Err(fault) => match refused.iter_mut().find(|r| r.reason == fault.reason) {
                    Some(told) => told.counts.add(fault.counts),
                    None => refused.push(fault),
                },
            }
        }
        if refused.is_empty() {
            return Ok(());
        }
        let raw = spelling.labels(series).map_err(|e| self.malformed(e))?;
        for fault in refused {
            let text = || format!("{}: {}", show_labels(&raw), fault.text);
            self.write.refuse(fault.counts, fault.reason, text);
        }
        Ok(())
    }

    /// What is deleted of a series.
    fn deleted_of<S: Spelling<'r>>(&self, spelling: &S, series: &'r [u8]) -> Result<Hidden, Error> {
        let raw = spelling.labels(series).map_err(|e| self.malformed(e))?;
        // It was registered, so its labels are right.
        let labels = series_labels(&raw, self.around.settings);
        Ok(labels.map_or_else(
            |_| Hidden::default(),
            |labels| self.deleted.of_series(&labels),
        ))
    }

    fn push(&mut self, origin: u32, series: SeriesId, admitted: Admitted) {
        match admitted {
            Admitted::Float { at, value } => self.batch.push_float(origin, series, at, value),
            Admitted::Other { at, value, start } => {
                let sample = OtherSample {
                    series,
                    at,
                    value,
                    start,
                };
                self.batch.push_other(origin, sample);
            }
            Admitted::Exemplar(exemplar) => self.batch.push_exemplar(origin, series, exemplar),
        }
    }

    fn take_series_metadata<S: Spelling<'r>>(
        &mut self,
        spelling: &S,
        entry: &Entry,
    ) -> Result<(), Error> {
        let series = self.bytes_of(entry.at);
        if let Some(raw) = spelling.metadata(series).map_err(|e| self.malformed(e))? {
            self.take_metadata(&raw);
        }
        if let Some(hit) = entry.hit {
            let mut cache = self.around.known.cache.lock();
            cache.mark_metadata(hit.slot, entry.walked.metadata);
        }
        Ok(())
    }

    /// Takes metadata that the store may not have yet.
    pub(super) fn take_metadata(&mut self, raw: &RawMetadata<'_>) {
        match metadata(raw, self.around.settings) {
            Ok(None) => {}
            Ok(Some((family, metadata))) => {
                let tenant = self.around.tenant;
                if self
                    .around
                    .known
                    .is_new_metadata(tenant, &family, &metadata)
                {
                    self.batch.push_metadata(tenant.clone(), family, metadata);
                }
            }
            Err(reason) => self.write.drop_quietly(reason),
        }
    }

    #[inline]
    fn flush_if_large<S: Spelling<'r>>(&mut self, spelling: &S) -> Result<(), Error> {
        if self.batch.is_large() {
            self.flush(spelling)
        } else {
            Ok(())
        }
    }

    /// Hands the batch to the store. Series that it has forgotten are registered again.
    fn flush<S: Spelling<'r>>(&mut self, spelling: &S) -> Result<(), Error> {
        for _ in 0..ROUNDS_MAX {
            if self.batch.is_empty() {
                return Ok(());
            }
            let (pending, counts) = self.batch.append(self.around.writer).map_err(unavailable)?;
            self.write.store(counts);
            self.pending.push(pending);
            if self.batch.is_empty() {
                return Ok(());
            }
            for origin in self.batch.origins() {
                let series = self.bytes_of(origin);
                let id = self.register(spelling, series)?;
                self.batch.set_series(origin, id);
                let walked = spelling.walk_fully(series);
                let walked = walked.map_err(|e| self.malformed(e))?;
                if let Some(id) = id {
                    let mut cache = self.around.known.cache.lock();
                    cache.replace(walked.key, id);
                }
            }
        }
        let reason = "the store forgets series as fast as they are registered: try again later";
        Err(Error::Unavailable(reason.to_owned()))
    }
}

/// Everything in an unknown series can be read; nothing is done with it yet.
fn check_readable<'r, S: Spelling<'r>>(spelling: &S, series: &'r [u8]) -> Result<(), WireError> {
    spelling.labels(series)?;
    let mut reader = Reader::new(series);
    while spelling.item(&mut reader)?.is_some() {}
    spelling.metadata(series).map(drop)
}

fn is_silent<'r, S: Spelling<'r>>(fault: &Refused, spelling: &S) -> bool {
    fault.counts == Counts::EXEMPLAR && !spelling.exemplar_faults_are_told()
}
