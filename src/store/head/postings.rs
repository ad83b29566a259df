//! Which series have a label: a set of slots per (name, value), and matchers turned into sets.

use std::collections::BTreeMap;
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::pieces::Pieces;
use super::symbols::{LabelArena, Names, PairId, TenantNumber};
use crate::model::{Matcher, TenantId};

/// The series of one pair. Most sets in a large index have one member.
#[derive(Debug)]
enum Slots {
    None,
    One(u32),
    Many(Box<RoaringBitmap>),
}

/// All sets of a shard.
#[derive(Debug, Default)]
pub(super) struct Postings {
    pairs: Pieces<Slots>,
    tenants: BTreeMap<TenantNumber, RoaringBitmap>,
}

impl Slots {
    fn insert(&mut self, slot: u32) {
        match self {
            Self::None => *self = Self::One(slot),
            Self::One(one) => *self = Self::Many(Box::new([*one, slot].into_iter().collect())),
            Self::Many(many) => {
                many.insert(slot);
                // Neighbours in a target are neighbours here: now and then, runs become ranges.
                if many.len() >= 32 && many.len().is_power_of_two() {
                    many.optimize();
                }
            }
        }
    }

    /// Whether it is empty now.
    fn remove(&mut self, slot: u32) -> bool {
        match self {
            Self::None => true,
            Self::One(one) => {
                if *one == slot {
                    *self = Self::None;
                }
                matches!(self, Self::None)
            }
            Self::Many(many) => {
                many.remove(slot);
                if many.is_empty() {
                    *self = Self::None;
                }
                matches!(self, Self::None)
            }
        }
    }

    fn add_to(&self, set: &mut RoaringBitmap) {
        match self {
            Self::None => {}
            Self::One(one) => {
                set.insert(*one);
            }
            Self::Many(many) => *set |= &**many,
        }
    }

    fn len_within(&self, set: &RoaringBitmap) -> u64 {
        match self {
            Self::None => 0,
            Self::One(one) => u64::from(set.contains(*one)),
            Self::Many(many) => many.intersection_len(set),
        }
    }

    fn len(&self) -> u64 {
        match self {
            Self::None => 0,
            Self::One(_) => 1,
            Self::Many(many) => many.len(),
        }
    }

    fn meets(&self, set: &RoaringBitmap) -> bool {
        match self {
            Self::None => false,
            Self::One(one) => set.contains(*one),
            Self::Many(many) => !many.is_disjoint(set),
        }
    }
}

impl Postings {
    /// Adds a series to the sets of its pairs.
    pub(super) fn insert(&mut self, tenant: TenantNumber, pairs: &[PairId], slot: u32) {
        for pair in pairs {
            while self.pairs.len() <= pair.0 as usize {
                self.pairs.push(Slots::None);
            }
            if let Some(slots) = self.pairs.get_mut(pair.0 as usize) {
                slots.insert(slot);
            }
        }
        self.tenants.entry(tenant).or_default().insert(slot);
    }

    /// Takes a series out; returns the pairs that nobody has any more.
    pub(super) fn remove(
        &mut self,
        tenant: TenantNumber,
        pairs: &[PairId],
        slot: u32,
    ) -> Vec<PairId> {
        if let Some(all) = self.tenants.get_mut(&tenant) {
            all.remove(slot);
        }
        let mut orphans = Vec::new();
        for pair in pairs {
            let slots = self.pairs.get_mut(pair.0 as usize);
            if slots.is_some_and(|slots| slots.remove(slot)) {
                orphans.push(*pair);
            }
        }
        orphans
    }

    fn add_pair(&self, pair: PairId, set: &mut RoaringBitmap) {
        if let Some(slots) = self.pairs.get(pair.0 as usize) {
            slots.add_to(set);
        }
    }

    /// The slots of a tenant's series that match.
    pub(super) fn select(
        &self,
        labels: &LabelArena,
        tenant: &TenantId,
        matchers: &[Matcher],
    ) -> RoaringBitmap {
        let Some((number, names)) = labels.names(tenant) else {
            return RoaringBitmap::new();
        };
        let Some(all) = self.tenants.get(&number) else {
            return RoaringBitmap::new();
        };
        let mut selected: Option<RoaringBitmap> = None;
        // What must have a label first: it narrows most.
        let (absent, present): (Vec<_>, Vec<_>) =
            matchers.iter().partition(|matcher| matcher.matches_empty());
        for matcher in present {
            let set = self.matching(names, matcher, true);
            selected = Some(match selected {
                None => set,
                Some(before) => before & set,
            });
        }
        let mut selected = selected.unwrap_or_else(|| all.clone());
        for matcher in absent {
            if selected.is_empty() {
                break;
            }
            selected -= self.matching(names, matcher, false);
        }
        selected
    }

    /// The slots whose label has a value that the matcher accepts (or not).
    fn matching(&self, names: &Names, matcher: &Matcher, accepted: bool) -> RoaringBitmap {
        let mut set = RoaringBitmap::new();
        let Some(values) = names.get(matcher.name()) else {
            return set;
        };
        if accepted && let Some(candidates) = matcher.candidates() {
            for value in candidates {
                if let Some(pair) = values.get(value) {
                    self.add_pair(*pair, &mut set);
                }
            }
            return set;
        }
        for (value, pair) in values {
            if matcher.matches(value) == accepted {
                self.add_pair(*pair, &mut set);
            }
        }
        set
    }

    /// The label names of the selected series, `None` meaning all of the tenant's.
    pub(super) fn label_names(
        &self,
        labels: &LabelArena,
        tenant: &TenantId,
        selected: Option<&RoaringBitmap>,
    ) -> Vec<Arc<str>> {
        let Some((_, names)) = labels.names(tenant) else {
            return Vec::new();
        };
        let some_meets = |values: &BTreeMap<Arc<str>, PairId>| {
            selected.is_none_or(|set| values.values().any(|pair| self.meets(*pair, set)))
        };
        names
            .iter()
            .filter(|(_, values)| some_meets(values))
            .map(|(name, _)| Arc::clone(name))
            .collect()
    }

    /// The values of a label over the selected series, `None` meaning all of the tenant's.
    pub(super) fn label_values(
        &self,
        labels: &LabelArena,
        tenant: &TenantId,
        name: &str,
        selected: Option<&RoaringBitmap>,
    ) -> Vec<Arc<str>> {
        let values = labels.names(tenant).and_then(|(_, names)| names.get(name));
        values
            .into_iter()
            .flatten()
            .filter(|(_, pair)| selected.is_none_or(|set| self.meets(**pair, set)))
            .map(|(value, _)| Arc::clone(value))
            .collect()
    }

    /// Calls `each` with every label pair of a tenant and how many series have it; returns how
    /// many series there are.
    pub(super) fn each_pair(
        &self,
        labels: &LabelArena,
        tenant: &TenantId,
        within: Option<&RoaringBitmap>,
        mut each: impl FnMut(&Arc<str>, &Arc<str>, u64),
    ) -> u64 {
        let Some((number, names)) = labels.names(tenant) else {
            return 0;
        };
        for (name, values) in names {
            for (value, pair) in values {
                let slots = self.pairs.get(pair.0 as usize);
                let count = match within {
                    None => slots.map_or(0, Slots::len),
                    Some(within) => slots.map_or(0, |slots| slots.len_within(within)),
                };
                if count > 0 {
                    each(name, value, count);
                }
            }
        }
        let all = self.tenants.get(&number);
        all.map_or(0, |all| match within {
            None => all.len(),
            Some(within) => all.intersection_len(within),
        })
    }

    fn meets(&self, pair: PairId, set: &RoaringBitmap) -> bool {
        self.pairs
            .get(pair.0 as usize)
            .is_some_and(|slots| slots.meets(set))
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        let sets: usize = self
            .pairs
            .iter()
            .map(|slots| match slots {
                Slots::None | Slots::One(_) => 0,
                // Containers cost some 64 bytes and what a serialised set has.
                Slots::Many(many) => 64 + many.serialized_size(),
            })
            .sum();
        self.pairs.bytes() + sets
    }
}
