//! A batch that outlives the request it came with: routed, and with nothing of the local head.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::error::WriteError;
use super::frame::place_of_family;
use super::routes::{Route, Routes};
use super::routing::Place;
use crate::model::{Exemplar, Metadata, TenantId};
use crate::store::{AppendBatch, Appended, FloatSample, OtherSample, SeriesId};

/// Where a float goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct RoutedFloat {
    pub(super) route: Route,
    pub(super) place: Place,
    /// Which part of its attempt it is, once there is one; [`NO_PART`] before, and for ever when it
    /// goes nowhere.
    pub(super) part: u32,
}

/// No part of an attempt.
pub(super) const NO_PART: u32 = u32::MAX;

/// Something else on its way.
#[derive(Clone, Debug)]
pub(super) struct Routed<T> {
    pub(super) route: Route,
    pub(super) place: Place,
    pub(super) what: T,
}

/// Metadata on its way.
pub(super) type Family = (TenantId, String, Metadata);

/// What one request brings, where it goes.
#[derive(Debug)]
pub(super) struct RoutedBatch {
    pub(super) floats: Vec<RoutedFloat>,
    /// What they are, in the same order, under their ids in the local head.
    pub(super) samples: Vec<FloatSample>,
    pub(super) others: Vec<Routed<OtherSample>>,
    pub(super) exemplars: Vec<Routed<Exemplar>>,
    pub(super) metadata: Vec<(Place, Family)>,
    /// Who needs some of the parts does not look at all samples for it; made for the first who does.
    by_part: OnceLock<ByPart>,
    memory: Room,
}

/// Positions of the floats of a batch, part by part of its attempt.
#[derive(Debug)]
struct ByPart {
    positions: Vec<u32>,
    /// Where each part ends there.
    ends: Vec<u32>,
}

impl ByPart {
    /// Sorts floats by the part that each was given; within a part they stay in their order.
    fn of(floats: &[RoutedFloat]) -> Self {
        let parts = floats.iter().map(|sample| sample.part);
        let last = parts.filter(|part| *part != NO_PART).max();
        let mut next = vec![0u32; last.map_or(0, |last| last as usize + 1)];
        for sample in floats {
            if let Some(count) = next.get_mut(sample.part as usize) {
                *count += 1;
            }
        }
        let mut sum = 0;
        for count in &mut next {
            (*count, sum) = (sum, sum + *count);
        }
        let mut positions = vec![0; sum as usize];
        for (at, sample) in (0u32..).zip(floats) {
            let Some(next) = next.get_mut(sample.part as usize) else {
                continue;
            };
            if let Some(place) = positions.get_mut(*next as usize) {
                *place = at;
            }
            *next += 1;
        }
        Self {
            positions,
            ends: next,
        }
    }
}

/// The local ids of the series of a batch's other things, in its order; a foreign id where a series
/// is not here.
#[derive(Debug, Default)]
pub(super) struct Locals {
    pub(super) others: Vec<SeriesId>,
    pub(super) exemplars: Vec<SeriesId>,
}

/// Memory that batches take together.
#[derive(Debug)]
pub(super) struct Memory {
    used: AtomicUsize,
    most: usize,
    /// Lists of batches that are over: a list for thousands of samples costs an allocator more
    /// than filling it does.
    spare: Mutex<Vec<Lists>>,
}

type Lists = (Vec<RoutedFloat>, Vec<FloatSample>);

/// Lists that are kept for the next batches, and floats of each, at most: 1.3 MB together.
const SPARE_MAX: usize = 4;
const SPARE_FLOATS_MAX: usize = 8 << 10;

impl Memory {
    pub(super) const fn new(most: usize) -> Self {
        Self {
            used: AtomicUsize::new(0),
            most,
            spare: Mutex::new(Vec::new()),
        }
    }

    /// Empty lists for so many floats.
    fn lists(&self, floats: usize) -> Lists {
        let spare = self.spare.lock().pop();
        let (mut routed, mut samples) = spare.unwrap_or_default();
        routed.reserve(floats);
        samples.reserve(floats);
        (routed, samples)
    }

    fn give_back(&self, (mut routed, mut samples): Lists) {
        if routed.capacity() == 0 || routed.capacity() > SPARE_FLOATS_MAX {
            return;
        }
        routed.clear();
        samples.clear();
        let mut spare = self.spare.lock();
        if spare.len() < SPARE_MAX {
            spare.push((routed, samples));
        }
    }

    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn take(self: &Arc<Self>, bytes: usize) -> Result<Room, WriteError> {
        let before = self.used.fetch_add(bytes, Ordering::AcqRel);
        let room = Room {
            memory: Arc::clone(self),
            bytes,
        };
        if before.saturating_add(bytes) > self.most {
            return Err(WriteError::Unavailable {
                reason: format!(
                    "{before} bytes of samples wait for other nodes already, at most {} may: try again later",
                    self.most
                ),
            });
        }
        Ok(room)
    }
}

/// A part of it, given back when dropped.
#[derive(Debug)]
struct Room {
    memory: Arc<Memory>,
    bytes: usize,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.memory.used.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

/// What a histogram counts, about: most have some dozens of buckets.
const OTHER_BYTES: usize = 512;

fn bytes_of(floats: usize, others: usize) -> usize {
    floats * (size_of::<RoutedFloat>() + size_of::<FloatSample>()) + others * OTHER_BYTES
}

const NOBODY: Route = Route {
    slot: u32::MAX,
    generation: u32::MAX,
};
const NOT_HERE: SeriesId = SeriesId::foreign(u32::MAX, 0);

impl RoutedBatch {
    /// Looks up where everything goes; what has no route is left out and named as stale.
    pub(super) fn of(
        batch: &AppendBatch<'_>,
        routes: &Routes,
        memory: &Arc<Memory>,
    ) -> Result<(Self, Locals, Appended), WriteError> {
        let others = batch.others.len() + batch.metadata.len() + batch.exemplars.len();
        let memory = memory.take(bytes_of(batch.floats.len(), others))?;
        let (floats, samples) = memory.memory.lists(batch.floats.len());
        let mut routed = Self {
            floats,
            samples,
            others: Vec::with_capacity(batch.others.len()),
            exemplars: Vec::with_capacity(batch.exemplars.len()),
            metadata: Vec::with_capacity(batch.metadata.len()),
            by_part: OnceLock::new(),
            memory,
        };
        let mut locals = Locals::default();
        let mut stale = Appended::default();
        let mut samples = (0u32..).zip(batch.floats);
        routes.find_all(batch.floats.iter().map(|s| s.series), |found| {
            let Some((at, sample)) = samples.next() else {
                return;
            };
            // Stale ones keep their place, so that positions are those of the batch.
            let (route, place, local) = match found {
                Some((route, found)) => (route, found.place, found.local.unwrap_or(NOT_HERE)),
                None => {
                    stale.stale_floats.push(at);
                    (NOBODY, 0, NOT_HERE)
                }
            };
            routed.floats.push(RoutedFloat {
                route,
                place,
                part: NO_PART,
            });
            routed.samples.push(FloatSample {
                series: local,
                ..*sample
            });
        });
        let mut samples = (0u32..).zip(batch.others);
        routes.find_all(batch.others.iter().map(|s| s.series), |found| {
            let Some((at, sample)) = samples.next() else {
                return;
            };
            let found = place_or_stale(found, at, &mut stale.stale_others, &mut locals.others);
            routed.others.push(with(found, sample.clone()));
        });
        let mut samples = (0u32..).zip(batch.exemplars);
        routes.find_all(batch.exemplars.iter().map(|(id, _)| *id), |found| {
            let Some((at, (_, exemplar))) = samples.next() else {
                return;
            };
            let stale = &mut stale.stale_exemplars;
            let found = place_or_stale(found, at, stale, &mut locals.exemplars);
            routed.exemplars.push(with(found, exemplar.clone()));
        });
        for family in batch.metadata {
            if let Some(place) = place_of_family(&family.0, &family.1) {
                routed.metadata.push((place, family.clone()));
            }
        }
        Ok((routed, locals, stale))
    }

    /// The part of it whose places are wanted, with its local ids.
    pub(super) fn part(
        &self,
        routes: &Routes,
        wanted: impl Fn(Place) -> bool,
    ) -> Result<(Self, Locals), WriteError> {
        let is_wanted = |route: Route, place: Place| route != NOBODY && wanted(place);
        let floats = self.floats.iter().zip(&self.samples);
        let floats = floats.filter(|(s, _)| is_wanted(s.route, s.place));
        let others = self.others.iter();
        let others = others.filter(|s| is_wanted(s.route, s.place)).cloned();
        let exemplars = self.exemplars.iter();
        let exemplars = exemplars.filter(|s| is_wanted(s.route, s.place)).cloned();
        let metadata = self.metadata.iter();
        let metadata = metadata.filter(|(place, _)| wanted(*place)).cloned();
        let (floats, samples) = floats.unzip();
        let mut part = Self {
            floats,
            samples,
            others: others.collect(),
            exemplars: exemplars.collect(),
            metadata: metadata.collect(),
            by_part: OnceLock::new(),
            memory: self.memory.memory.take(0)?,
        };
        let rest = part.others.len() + part.exemplars.len() + part.metadata.len();
        part.memory = self.memory.memory.take(bytes_of(part.floats.len(), rest))?;
        let local = |ids: &mut dyn Iterator<Item = SeriesId>| {
            let mut all = Vec::new();
            routes.find_all(ids, |found| {
                let local = found.and_then(|(_, found)| found.local);
                all.push(local.unwrap_or(NOT_HERE));
            });
            all
        };
        let series = local(&mut part.floats.iter().map(|s| s.route.id()));
        for (sample, series) in part.samples.iter_mut().zip(series) {
            sample.series = series;
        }
        let locals = Locals {
            others: local(&mut part.others.iter().map(|s| s.route.id())),
            exemplars: local(&mut part.exemplars.iter().map(|s| s.route.id())),
        };
        Ok((part, locals))
    }

    /// Whether something of it goes nowhere, because it was stale.
    pub(super) fn is_stale(route: Route) -> bool {
        route == NOBODY
    }

    /// Leaves samples out from now on, because their series has to be registered again.
    pub(super) fn leave_out(&mut self, stale: &Appended) {
        for at in &stale.stale_floats {
            if let Some(sample) = self.floats.get_mut(*at as usize) {
                sample.route = NOBODY;
            }
        }
        for at in &stale.stale_others {
            if let Some(sample) = self.others.get_mut(*at as usize) {
                sample.route = NOBODY;
            }
        }
        for at in &stale.stale_exemplars {
            if let Some(sample) = self.exemplars.get_mut(*at as usize) {
                sample.route = NOBODY;
            }
        }
    }

    /// The places of everything but floats that goes somewhere.
    pub(super) fn other_places(&self) -> impl Iterator<Item = Place> {
        let others = self.others.iter().map(|s| (s.route, s.place));
        let exemplars = self.exemplars.iter().map(|s| (s.route, s.place));
        let all = others.chain(exemplars);
        let all = all.filter(|(route, _)| *route != NOBODY);
        let metadata = self.metadata.iter().map(|(place, _)| *place);
        all.map(|(_, place)| place).chain(metadata)
    }

    /// All floats with their positions, in the order of the request.
    pub(super) fn positioned(&self) -> impl Iterator<Item = Positioned<'_>> {
        let floats = (0u32..).zip(&self.floats).zip(&self.samples);
        floats.map(|((at, float), sample)| (at, float, sample))
    }

    /// The floats of some parts with their positions, part by part: for who needs few of many.
    pub(super) fn floats_of(
        &self,
        parts: impl Iterator<Item = usize>,
    ) -> impl Iterator<Item = Positioned<'_>> {
        let by_part = self.by_part.get_or_init(|| ByPart::of(&self.floats));
        let range = |part: usize| {
            let before = part.checked_sub(1);
            let begin = before.map_or(Some(&0), |before| by_part.ends.get(before));
            let (begin, end) = begin.zip(by_part.ends.get(part))?;
            by_part.positions.get(*begin as usize..*end as usize)
        };
        let positions = parts.filter_map(range).flatten();
        positions.filter_map(|at| {
            let float = self.floats.get(*at as usize)?;
            Some((*at, float, self.samples.get(*at as usize)?))
        })
    }

    /// How many things that are no floats it has of one kind at most.
    pub(super) fn others_len(&self) -> usize {
        let others = self.others.len().max(self.exemplars.len());
        others.max(self.metadata.len())
    }

    /// Bytes that it counts.
    pub(super) const fn bytes(&self) -> usize {
        self.memory.bytes
    }
}

impl Drop for RoutedBatch {
    fn drop(&mut self) {
        let lists = (
            std::mem::take(&mut self.floats),
            std::mem::take(&mut self.samples),
        );
        self.memory.memory.give_back(lists);
    }
}

/// A float: its position in the batch, where it goes, what it is.
pub(super) type Positioned<'a> = (u32, &'a RoutedFloat, &'a FloatSample);

type Place2 = (Route, Place);

fn place_or_stale(
    found: Option<(Route, super::routes::Found)>,
    at: u32,
    stale: &mut Vec<u32>,
    locals: &mut Vec<SeriesId>,
) -> Place2 {
    let Some((route, found)) = found else {
        stale.push(at);
        locals.push(NOT_HERE);
        return (NOBODY, 0);
    };
    locals.push(found.local.unwrap_or(NOT_HERE));
    (route, found.place)
}

const fn with<T>((route, place): Place2, what: T) -> Routed<T> {
    Routed { route, place, what }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TimestampMs;
    use crate::runtime::{Chance, SeededChance};

    /// Would catch a float that is left out, given twice, out of order, or given to whoever asked
    /// for another part: what `send` takes for a peer that wants few of many parts.
    #[test]
    fn who_asks_for_some_parts_gets_all_of_them_and_nothing_else() {
        let chance = SeededChance::new(3);
        for parts in [1u32, 2, 7, 40] {
            let float = |at: u32| RoutedFloat {
                route: Route {
                    slot: at,
                    generation: 0,
                },
                place: 0,
                part: match chance.below(u64::from(parts) + 1) {
                    0 => NO_PART,
                    part => u32::try_from(part).unwrap() - 1,
                },
            };
            let sample = |at: u32| FloatSample {
                series: NOT_HERE,
                at: TimestampMs(i64::from(at)),
                value: 0.0,
            };
            let batch = RoutedBatch {
                floats: (0..300).map(float).collect(),
                samples: (0..300).map(sample).collect(),
                others: Vec::new(),
                exemplars: Vec::new(),
                metadata: Vec::new(),
                by_part: OnceLock::new(),
                memory: Arc::new(Memory::new(1)).take(0).unwrap(),
            };
            let odd = (0..parts).filter(|part| part % 2 == 1);
            let asked: Vec<u32> = odd.chain([parts, parts + 9]).collect();
            let found = batch.floats_of(asked.iter().map(|part| *part as usize));
            let found: Vec<u32> = found
                .map(|(at, float, sample)| {
                    assert_eq!((float.route.slot, sample.at.0), (at, i64::from(at)));
                    at
                })
                .collect();
            let of = |part: u32| {
                let floats = (0u32..).zip(&batch.floats);
                floats.filter_map(move |(at, float)| (float.part == part).then_some(at))
            };
            let want: Vec<u32> = asked.iter().flat_map(|part| of(*part)).collect();
            assert_eq!(found, want, "of {parts}");
        }
    }
}
