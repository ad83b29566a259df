//! What the numbers of series in the log mean, window by window and shard by shard of the writer.

use std::collections::HashMap;

use super::core::Core;
use super::replay_common::Commons;
use super::replay_floats::{Here, Waiting};
use super::types::SeriesId;
use crate::model::{Fingerprint, LabelSet, RingArc, TenantId};
use crate::store::error::Error;
use crate::store::log::{Covered, Lasts, RecordHeader};

/// Numbers up to here are believed; a shard never has more series.
const NUMBER_MAX: u32 = 1 << 28;

/// A series as the log defines it: registered when a sample is needed.
#[derive(Debug)]
pub(super) struct Definition {
    pub tenant: TenantId,
    pub labels: LabelSet,
    pub fingerprint: Fingerprint,
    /// Where the definition stands.
    pub position: u64,
}

/// What is said of a number beside [`Here`].
#[derive(Debug)]
pub(super) enum Named {
    Defined(Definition),
    /// A series of another shard, since there are more or fewer than when the record was written; and its arc's number.
    Stray(SeriesId, u32),
}

/// What is known and waits of one window and shard of the writer.
#[derive(Debug, Default)]
pub(super) struct Part {
    /// By number.
    pub series: Vec<Here>,
    /// Of `series`, block by block.
    pub commons: Commons,
    /// By number: of those that are not here.
    pub named: Vec<Option<Box<Named>>>,
    pub waiting: Waiting,
    /// What steps stand on.
    pub lasts: Lasts,
}

impl Part {
    /// A number means this series from now on, whose content is elsewhere up to `marked`.
    ///
    /// # Errors
    /// When no shard has so many numbers.
    pub(super) fn define(
        &mut self,
        number: u32,
        marked: u64,
        series: Definition,
    ) -> Result<(), Error> {
        if number >= NUMBER_MAX {
            return Err(Error::corrupt(
                "a definition",
                format!("it defines the number {number}"),
            ));
        }
        let at = number as usize;
        if self.series.len() <= at {
            self.series.resize(at + 1, Here::UNKNOWN);
            self.named.resize_with(at + 1, || None);
        }
        if let (Some(here), Some(named)) = (self.series.get_mut(at), self.named.get_mut(at)) {
            *here = Here::defined(marked);
            *named = Some(Box::new(Named::Defined(series)));
        }
        self.commons.changed(number);
        self.lasts.begin(number);
        Ok(())
    }

    /// The series of an exemplar, if the log still has its definition; registered now if it was not.
    pub(super) fn of_exemplar(
        &self,
        core: &Core,
        header: &RecordHeader,
        number: u32,
    ) -> Result<Option<SeriesId>, Error> {
        let named = self.named.get(number as usize).and_then(Option::as_deref);
        Ok(match (self.series.get(number as usize), named) {
            (Some(here), _) if here.is_here() => Some(id_of(here, header.shard)),
            (_, Some(Named::Stray(series, _))) => Some(*series),
            (_, Some(Named::Defined(series))) => {
                let of = (&series.tenant, &series.labels, series.fingerprint);
                Some(core.register_known(of)?)
            }
            _ => None,
        })
    }
}

/// The series of a number that is one of another shard, and its arc's number.
pub(super) fn stray(named: &[Option<Box<Named>>], number: u32) -> Option<(SeriesId, u32)> {
    match named.get(number as usize)?.as_deref()? {
        Named::Stray(series, arc) => Some((*series, *arc)),
        Named::Defined(_) => None,
    }
}

/// The arcs met so far, by number.
#[derive(Debug, Default)]
pub(super) struct Arcs {
    pub all: Vec<RingArc>,
    numbers: HashMap<RingArc, u32>,
    /// The position that each was pinned for last.
    pinned: Vec<u64>,
}

impl Arcs {
    pub(super) fn number_of(&mut self, arc: RingArc) -> u32 {
        let next = u32::try_from(self.all.len()).unwrap_or(u32::MAX);
        let number = *self.numbers.entry(arc).or_insert(next);
        if number == next {
            self.all.push(arc);
            self.pinned.push(0);
        }
        number
    }

    /// Notes what an arc needs, once for each position; whether it is new.
    #[inline]
    pub(super) fn pin(
        &mut self,
        pins: &mut Vec<(RingArc, u64)>,
        number: u32,
        position: u64,
    ) -> bool {
        let at = number as usize;
        match self.pinned.get_mut(at) {
            Some(last) if *last != position => *last = position,
            _ => return false,
        }
        pins.extend(self.all.get(at).map(|arc| (*arc, position)));
        true
    }
}

/// The id of a series: nothing is forgotten while the log is read, so it is the first that has the slot.
const fn id_of(here: &Here, shard: u8) -> SeriesId {
    SeriesId::new(shard, here.slot, 0)
}

/// What is asked for a record of samples.
pub(super) struct Asking<'a> {
    pub core: &'a Core,
    pub header: &'a RecordHeader,
    pub covered: &'a Covered,
}

impl Asking<'_> {
    /// The series of a number whose sample is wanted, and the number of its arc.
    pub(super) fn known(
        &self,
        part: &mut Part,
        number: u32,
        arcs: &mut Arcs,
        pins: &mut Vec<(RingArc, u64)>,
    ) -> Result<Option<(SeriesId, u32)>, Error> {
        self.first_known(part, number, arcs, pins)?;
        let here = part.series.get(number as usize);
        let Some(here) = here.filter(|here| here.marked < self.header.position) else {
            return Ok(None);
        };
        if here.is_here() {
            return Ok(Some((id_of(here, self.header.shard), here.arc)));
        }
        Ok(
            match part.named.get(number as usize).map(Option::as_deref) {
                Some(Some(Named::Stray(series, arc))) => Some((*series, *arc)),
                _ => None,
            },
        )
    }

    /// Registers the series of a number, if a sample of it is wanted and it is not registered yet.
    #[cold]
    pub(super) fn first_known(
        &self,
        part: &mut Part,
        number: u32,
        arcs: &mut Arcs,
        pins: &mut Vec<(RingArc, u64)>,
    ) -> Result<(), Error> {
        let header = self.header;
        let here = part.series.get_mut(number as usize);
        let Some(here) = here.filter(|here| !here.is_unknown()) else {
            // Its definition went with a segment that holds only what blocks have.
            if self.covered.highest(header.window) >= header.position {
                return Ok(());
            }
            return Err(Error::corrupt(
                "a record",
                format!("it names the series {number}, which nothing defines"),
            ));
        };
        if here.is_here() || here.marked >= header.position {
            return Ok(());
        }
        let named = part.named.get_mut(number as usize);
        let Some(named) = named else {
            return Ok(());
        };
        let Some(Named::Defined(series)) = named.as_deref() else {
            return Ok(());
        };
        let of = (&series.tenant, &series.labels, series.fingerprint);
        let id = self.core.register_known(of)?;
        // As long as its samples are needed, so is the definition, in whatever segment it lies.
        let arc = self.core.arcs().of(series.fingerprint);
        let needs = (arc, series.position);
        if !pins.contains(&needs) {
            pins.push(needs);
        }
        let arc = arcs.number_of(arc);
        if id.shard() != usize::from(header.shard) {
            *named = Some(Box::new(Named::Stray(id, arc)));
            return Ok(());
        }
        *named = None;
        let shard = self.core.shards.get(id.shard());
        let roster = shard.map(|shard| shard.roster.read());
        let entry = roster.as_ref().and_then(|roster| roster.entry(id.slot));
        let entry = entry.ok_or_else(forgotten)?;
        *here = Here {
            marked: here.marked,
            slot: id.slot,
            local: entry.local,
            target: entry.target,
            arc,
        };
        part.commons.changed(number);
        Ok(())
    }
}

pub(super) fn forgotten() -> Error {
    Error::Bug("a series was forgotten during replay".to_owned())
}
