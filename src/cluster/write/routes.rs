//! The coordinator's registry: ids by which `ingest` names series, and where each series goes.
//!
//! An entry has no labels: it is found by a hash of tenant and labels under a secret that this
//! process drew, so nobody outside can aim at a collision. Labels are had from the local head,
//! where this node is a member of the series' partition; else they are kept for a minute or two
//! after their registration, until the streams have them. Whatever cannot be routed (an old id, a
//! series that the local head has forgotten, labels that are gone) is `stale`: ingest registers
//! the series again.
//!
//! Bounded; what is not used for half an hour is forgotten.

use std::collections::HashMap;
use std::time::Duration;

use hashbrown::HashTable;
use parking_lot::Mutex;
use xxhash_rust::xxh3::Xxh3;

use super::routing::{Place, place_of};
use crate::model::{Fingerprint, LabelSet, TenantId};
use crate::runtime::Chance;
use crate::store::SeriesId;

/// Entries in a piece of the list: pieces never move, so growing never doubles memory.
const PIECE: usize = 4096;
/// The unit in which use is noted.
const TICK: Duration = Duration::from_secs(5 * 60);
/// What was not used for more than so many ticks is forgotten: after 30 to 35 minutes.
const IDLE_TICKS: u32 = 6;
/// Labels that are kept for series of which this node is no member; as many again from before.
const FRESH_MAX: usize = 1 << 16;
/// How long at least labels are kept for the streams.
const FRESH_FOR: Duration = Duration::from_secs(60);
/// Generations have 26 bits in an id.
const GENERATION_MASK: u32 = (1 << 26) - 1;

/// One way to a series; the id that ingest has of it is (slot, generation).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Route {
    pub(super) slot: u32,
    pub(super) generation: u32,
}

impl Route {
    pub(super) const fn id(self) -> SeriesId {
        SeriesId::foreign(self.slot, self.generation)
    }

    pub(super) const fn of(id: SeriesId) -> Option<Self> {
        match id.as_foreign() {
            Some((slot, generation)) => Some(Self { slot, generation }),
            None => None,
        }
    }
}

/// 32 bytes, and some 6 more in the table.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// The hash of tenant and labels; 0: nobody's.
    key: u128,
    /// The series in the local head; a foreign id where it is not there.
    local: SeriesId,
    place: Place,
    /// The generation in 26 bits, and above them the tick of the last use.
    marks: u32,
}

/// Ticks have the bits that generations leave: five hours of them, which is long enough, since
/// every tick looks at every entry.
const TICK_SHIFT: u32 = 26;
const TICK_MASK: u32 = (1 << (32 - TICK_SHIFT)) - 1;

impl Entry {
    const fn generation(&self) -> u32 {
        self.marks & GENERATION_MASK
    }

    const fn mark(&mut self, generation: u32, tick: u32) {
        self.marks = (generation & GENERATION_MASK) | (tick << TICK_SHIFT);
    }

    #[inline]
    const fn touch(&mut self, tick: u32) {
        self.mark(self.generation(), tick);
    }
}

/// A series that is not in the local head.
const NOT_HERE: SeriesId = SeriesId::foreign(0, 0);

/// Where a series goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) place: Place,
    /// Its id in the local head, if it is registered there.
    pub(super) local: Option<SeriesId>,
}

#[derive(Default)]
struct Inner {
    pieces: Vec<Vec<Entry>>,
    len: u32,
    free: Vec<u32>,
    table: HashTable<u32>,
    /// The tick that counts as now.
    tick: u32,
    ticked: Duration,
    fresh: HashMap<u32, (TenantId, LabelSet)>,
    fresh_before: HashMap<u32, (TenantId, LabelSet)>,
    fresh_turned: Duration,
}

/// The registry.
pub(super) struct Routes {
    inner: Mutex<Inner>,
    secret: u64,
    entries_max: usize,
}

impl Routes {
    /// A registry for at most so many series.
    pub(super) fn new(entries_max: usize, chance: &dyn Chance) -> Self {
        Self {
            inner: Mutex::default(),
            secret: chance.next_u64(),
            entries_max: entries_max.min(u32::MAX as usize - 1),
        }
    }

    fn key(&self, tenant: &TenantId, labels: &LabelSet) -> u128 {
        let mut hash = Xxh3::with_seed(self.secret);
        let mut feed = |text: &str| {
            hash.update(&(text.len() as u64).to_le_bytes());
            hash.update(text.as_bytes());
        };
        feed(tenant.as_str());
        for (name, value) in labels.iter() {
            feed(name);
            feed(value);
        }
        hash.digest128().max(1)
    }

    /// The route of a series, made when there is none. With `local` it is the route of a series of
    /// the local head; when that id is another than before, the route is a new one, because other
    /// members have probably forgotten the series as well. Without, its labels are kept for a
    /// while. `None`: there are too many.
    pub(super) fn register(
        &self,
        tenant: &TenantId,
        labels: &LabelSet,
        fingerprint: Fingerprint,
        local: Option<SeriesId>,
    ) -> Option<Route> {
        let key = self.key(tenant, labels);
        let mut inner = self.inner.lock();
        let (tick, id) = (inner.tick, local.unwrap_or(NOT_HERE));
        let known = inner.find(key);
        let route = if let Some(slot) = known {
            let entry = inner.entry_mut(slot)?;
            let again = u32::from(entry.local != id);
            entry.local = id;
            entry.mark(entry.generation().wrapping_add(again), tick);
            Route {
                slot,
                generation: entry.generation(),
            }
        } else {
            if inner.table.len() >= self.entries_max {
                return None;
            }
            inner.add(key, id, place_of(fingerprint))?
        };
        if local.is_none() {
            inner.keep(route.slot, tenant, labels);
        }
        Some(route)
    }

    /// Looks up many ids under one lock; each counts as used.
    pub(super) fn find_all(
        &self,
        ids: impl Iterator<Item = SeriesId>,
        mut each: impl FnMut(Option<(Route, Found)>),
    ) {
        let mut inner = self.inner.lock();
        let tick = inner.tick;
        for id in ids {
            let found = Route::of(id).and_then(|route| {
                let entry = inner.entry_mut(route.slot)?;
                if entry.generation() != route.generation || entry.key == 0 {
                    return None;
                }
                entry.touch(tick);
                let local = entry.local;
                let found = Found {
                    place: entry.place,
                    local: local.as_foreign().is_none().then_some(local),
                };
                Some((route, found))
            });
            each(found);
        }
    }

    /// The series of a route in the local head, or the labels that are kept.
    pub(super) fn labels_of(&self, route: Route) -> Option<Labels> {
        let mut inner = self.inner.lock();
        let entry = *inner.entry_mut(route.slot)?;
        if entry.generation() != route.generation || entry.key == 0 {
            return None;
        }
        if entry.local.as_foreign().is_none() {
            return Some(Labels::Local(entry.local));
        }
        let kept = inner.fresh.get(&route.slot);
        let kept = kept.or_else(|| inner.fresh_before.get(&route.slot));
        kept.map(|(tenant, labels)| Labels::Kept(tenant.clone(), labels.clone()))
    }

    /// Lets go of what was not used for long; to be called with the time since the start, now and
    /// then.
    pub(super) fn tidy(&self, elapsed: Duration) {
        let mut inner = self.inner.lock();
        if elapsed.saturating_sub(inner.fresh_turned) >= FRESH_FOR {
            inner.fresh_turned = elapsed;
            inner.fresh_before = std::mem::take(&mut inner.fresh);
        }
        if elapsed.saturating_sub(inner.ticked) < TICK {
            return;
        }
        inner.ticked = elapsed;
        inner.tick = inner.tick.wrapping_add(1) & TICK_MASK;
        let tick = inner.tick;
        for slot in 0..inner.len {
            let idle = |entry: &mut Entry| {
                let since = tick.wrapping_sub(entry.marks >> TICK_SHIFT) & TICK_MASK;
                entry.key != 0 && since > IDLE_TICKS
            };
            if inner.entry_mut(slot).is_some_and(idle) {
                inner.forget(slot);
            }
        }
    }

    /// Series known, and bytes that they take.
    pub(super) fn size(&self) -> (usize, usize) {
        let inner = self.inner.lock();
        let entries = inner.pieces.len() * PIECE * size_of::<Entry>();
        let table = inner.table.capacity() * 5;
        (
            inner.table.len(),
            entries + table + inner.free.capacity() * 4,
        )
    }
}

/// Where the labels of a route are.
pub(super) enum Labels {
    /// In the local head.
    Local(SeriesId),
    /// Here.
    Kept(TenantId, LabelSet),
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "64 of 128 hashed bits choose the place"
)]
const fn low(key: u128) -> u64 {
    key as u64
}

impl Inner {
    #[inline]
    fn entry_mut(&mut self, slot: u32) -> Option<&mut Entry> {
        let slot = slot as usize;
        self.pieces.get_mut(slot / PIECE)?.get_mut(slot % PIECE)
    }

    fn key_of(pieces: &[Vec<Entry>], slot: u32) -> u128 {
        let piece = pieces.get(slot as usize / PIECE);
        let entry = piece.and_then(|piece| piece.get(slot as usize % PIECE));
        entry.map_or(0, |entry| entry.key)
    }

    fn find(&self, key: u128) -> Option<u32> {
        let same = |slot: &u32| Self::key_of(&self.pieces, *slot) == key;
        self.table.find(low(key), same).copied()
    }

    fn add(&mut self, key: u128, local: SeriesId, place: Place) -> Option<Route> {
        let mut entry = Entry {
            key,
            local,
            place,
            marks: self.tick << TICK_SHIFT,
        };
        let slot = match self.free.pop() {
            Some(slot) => {
                let old = self.entry_mut(slot)?;
                entry.mark(old.generation().wrapping_add(1), entry.marks >> TICK_SHIFT);
                *old = entry;
                slot
            }
            None => {
                let slot = self.len;
                self.len += 1;
                if (slot as usize).is_multiple_of(PIECE) {
                    self.pieces.push(Vec::with_capacity(PIECE));
                }
                self.pieces.last_mut()?.push(entry);
                slot
            }
        };
        let Self { table, pieces, .. } = self;
        table.insert_unique(low(key), slot, |slot| low(Self::key_of(pieces, *slot)));
        Some(Route {
            slot,
            generation: entry.generation(),
        })
    }

    fn forget(&mut self, slot: u32) {
        let key = Self::key_of(&self.pieces, slot);
        if let Ok(found) = self.table.find_entry(low(key), |other| *other == slot) {
            found.remove();
        }
        if let Some(entry) = self.entry_mut(slot) {
            entry.key = 0;
        }
        self.free.push(slot);
        self.fresh.remove(&slot);
        self.fresh_before.remove(&slot);
    }

    fn keep(&mut self, slot: u32, tenant: &TenantId, labels: &LabelSet) {
        if self.fresh.len() >= FRESH_MAX {
            self.fresh_before = std::mem::take(&mut self.fresh);
        }
        self.fresh.insert(slot, (tenant.clone(), labels.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fingerprint;
    use crate::runtime::SeededChance;

    fn series(number: u32) -> (TenantId, LabelSet, Fingerprint) {
        let tenant = TenantId::anonymous();
        let labels = LabelSet::from_pairs(&[("n", number.to_string())]).unwrap();
        let print = fingerprint(&tenant, &labels);
        (tenant, labels, print)
    }

    fn register(routes: &Routes, number: u32, local: Option<u32>) -> Option<Route> {
        let (tenant, labels, print) = series(number);
        routes.register(&tenant, &labels, print, local.map(SeriesId::of_double))
    }

    fn find(routes: &Routes, id: SeriesId) -> Option<Found> {
        let mut out = None;
        routes.find_all([id].into_iter(), |found| out = found);
        out.map(|(_, found)| found)
    }

    /// Would catch a series that gets two ids, an id that outlives what it stood for, and a
    /// registry that grows for ever.
    #[test]
    fn a_series_has_one_route_until_it_is_forgotten_or_its_local_id_changes() {
        let routes = Routes::new(10, &SeededChance::new(1));
        let first = register(&routes, 1, Some(7)).unwrap();
        assert_eq!(register(&routes, 1, Some(7)), Some(first));
        let found = find(&routes, first.id()).unwrap();
        assert_eq!(found.local, Some(SeriesId::of_double(7)));
        assert_eq!(found.place, place_of(series(1).2));
        assert!(matches!(routes.labels_of(first), Some(Labels::Local(_))));
        // The local head has forgotten it since.
        let second = register(&routes, 1, Some(8)).unwrap();
        assert_eq!(second.slot, first.slot);
        assert!(find(&routes, first.id()).is_none() && routes.labels_of(first).is_none());
        assert!(find(&routes, SeriesId::of_double(7)).is_none());
        // Not here: its labels are kept for a while.
        let elsewhere = register(&routes, 2, None).unwrap();
        let kept = |routes: &Routes| matches!(routes.labels_of(elsewhere), Some(Labels::Kept(_, labels)) if labels == series(2).1);
        assert!(kept(&routes) && find(&routes, elsewhere.id()).unwrap().local.is_none());
        routes.tidy(Duration::from_secs(61));
        assert!(kept(&routes));
        routes.tidy(Duration::from_secs(122));
        assert!(routes.labels_of(elsewhere).is_none());
        assert_eq!(register(&routes, 2, None), Some(elsewhere));
        assert!(kept(&routes));
        for number in 3..11 {
            assert!(register(&routes, number, None).is_some());
        }
        assert_eq!(register(&routes, 11, None), None, "the bound");
        assert_eq!(register(&routes, 1, Some(8)), Some(second), "known already");
        // One is used, the others are not.
        for minute in 1..60 {
            routes.tidy(Duration::from_secs(60 * minute));
            assert!(find(&routes, second.id()).is_some());
            assert!(find(&routes, elsewhere.id()).is_some());
            assert_eq!(routes.size().0 > 2, minute < 35, "{minute}");
        }
        let again = register(&routes, 5, None).unwrap();
        assert!(again.generation > 0, "a place that was another's");
        assert_eq!(size_of::<Entry>(), 32);
    }
}
