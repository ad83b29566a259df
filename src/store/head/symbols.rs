//! Labels in little memory: each (name, value) once, a series as a sorted list of the pairs'
//! numbers, written one after the other into pieces of an arena.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::pieces::Pieces;
use crate::codec::varint;
use crate::model::{LabelSet, TenantId};

/// The number of a (tenant, name, value).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct PairId(pub u32);

/// The number of a tenant in this shard; never used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub(super) struct TenantNumber(pub u32);

/// Bytes of a piece of the arena.
const PIECE: usize = 64 << 10;

/// What a pair costs besides its text: its place here and in the postings, an entry of a tree,
/// the counters of shared text.
const PAIR_BYTES: usize = size_of::<Option<Pair>>() + 88;

/// One label that some series have.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub name: Arc<str>,
    pub value: Arc<str>,
}

/// A tenant's names, each with its values and their pairs.
pub(super) type Names = BTreeMap<Arc<str>, BTreeMap<Arc<str>, PairId>>;

/// All labels of a shard.
#[derive(Debug, Default)]
pub(super) struct LabelArena {
    tenants: Vec<(TenantId, Names)>,
    tenant_numbers: BTreeMap<TenantId, TenantNumber>,
    pairs: Pieces<Option<Pair>>,
    free_pairs: Vec<PairId>,
    text_bytes: usize,
    arena: Arena,
    /// The pairs of the series that was looked up last, in the order of their names: the next one is mostly of the same
    /// target, and has most of them too.
    last: (TenantNumber, Vec<PairId>),
}

/// Lists of numbers, one after the other.
#[derive(Debug, Default)]
pub(super) struct Arena {
    pieces: Vec<Vec<u8>>,
    /// Bytes that no series owns any more.
    dead: usize,
}

impl Arena {
    /// Where the bytes begin; `None` when the arena is full.
    fn push(&mut self, bytes: &[u8]) -> Option<u32> {
        let fits = |piece: &Vec<u8>| piece.len() + bytes.len() <= PIECE;
        if bytes.len() > PIECE {
            return None;
        }
        if !self.pieces.last().is_some_and(fits) {
            self.pieces.push(Vec::with_capacity(PIECE));
        }
        let piece = self.pieces.len() - 1;
        let last = self.pieces.last_mut()?;
        let at = u32::try_from(piece * PIECE + last.len()).ok()?;
        last.extend_from_slice(bytes);
        (at != u32::MAX).then_some(at)
    }

    fn from(&self, at: u32) -> &[u8] {
        let at = at as usize;
        let piece = self.pieces.get(at / PIECE);
        piece
            .and_then(|piece| piece.get(at % PIECE..))
            .unwrap_or_default()
    }

    fn used(&self) -> usize {
        self.pieces.iter().map(Vec::len).sum()
    }
}

impl LabelArena {
    /// The names and values of a tenant.
    pub(super) fn names(&self, tenant: &TenantId) -> Option<(TenantNumber, &Names)> {
        let number = *self.tenant_numbers.get(tenant)?;
        Some((number, &self.tenants.get(number.0 as usize)?.1))
    }

    /// The numbers of a tenant and of labels, sorted; those that are new get one.
    pub(super) fn intern(
        &mut self,
        tenant: &TenantId,
        labels: &LabelSet,
    ) -> (TenantNumber, Vec<PairId>) {
        let number = match self.tenant_numbers.get(tenant) {
            Some(number) => *number,
            None => {
                let number = TenantNumber(u32::try_from(self.tenants.len()).unwrap_or(u32::MAX));
                self.tenants.push((tenant.clone(), Names::new()));
                self.tenant_numbers.insert(tenant.clone(), number);
                number
            }
        };
        let (of, mut last) = std::mem::take(&mut self.last);
        if of != number {
            last.clear();
        }
        let mut rest = last.as_slice();
        let mut pairs = Vec::with_capacity(labels.len());
        for (name, value) in labels.iter() {
            let known = self.next_of(&mut rest, name, value);
            pairs.push(known.unwrap_or_else(|| self.pair(number, name, value)));
        }
        last.clear();
        last.extend_from_slice(&pairs);
        self.last = (number, last);
        pairs.sort_unstable();
        (number, pairs)
    }

    /// The pair of a name and value, if it is among the rest of some, which are in the order of their names; those of names
    /// before it are passed. One that was forgotten since is none, or this tenant's by now: only the lookup that goes
    /// through the list gives numbers away.
    fn next_of(&self, rest: &mut &[PairId], name: &str, value: &str) -> Option<PairId> {
        while let Some((first, others)) = rest.split_first() {
            let pair = self.pair_of(*first)?;
            match (*pair.name).cmp(name) {
                std::cmp::Ordering::Less => *rest = others,
                std::cmp::Ordering::Equal if *pair.value == *value => return Some(*first),
                _ => return None,
            }
        }
        None
    }

    fn pair(&mut self, tenant: TenantNumber, name: &str, value: &str) -> PairId {
        let Some((_, names)) = self.tenants.get_mut(tenant.0 as usize) else {
            return PairId(u32::MAX);
        };
        if let Some(found) = names.get(name).and_then(|values| values.get(value)) {
            return *found;
        }
        let name = names
            .get_key_value(name)
            .map_or_else(|| Arc::from(name), |(known, _)| Arc::clone(known));
        let value: Arc<str> = Arc::from(value);
        let pair = Pair {
            name: Arc::clone(&name),
            value: Arc::clone(&value),
        };
        self.text_bytes += value.len();
        let id = match self.free_pairs.pop() {
            Some(id) => id,
            None => PairId(u32::try_from(self.pairs.len()).unwrap_or(u32::MAX)),
        };
        match self.pairs.get_mut(id.0 as usize) {
            Some(place) => *place = Some(pair),
            None => self.pairs.push(Some(pair)),
        }
        names.entry(name).or_default().insert(value, id);
        id
    }

    /// Stores a series' labels; `None` when there is no room for more.
    pub(super) fn store(&mut self, tenant: TenantNumber, pairs: &[PairId]) -> Option<u32> {
        let mut bytes = Vec::with_capacity(pairs.len() * 2 + 4);
        varint::put_u64(&mut bytes, u64::from(tenant.0));
        varint::put_len(&mut bytes, pairs.len());
        let mut last = 0;
        for pair in pairs {
            varint::put_u64(&mut bytes, u64::from(pair.0 - last));
            last = pair.0;
        }
        self.arena.push(&bytes)
    }

    /// The numbers of a series' tenant and labels.
    pub(super) fn pairs(&self, at: u32) -> (TenantNumber, Vec<PairId>) {
        let mut bytes = self.arena.from(at);
        let mut take = || {
            let number = varint::take_u64(&mut bytes).unwrap_or(0);
            u32::try_from(number).unwrap_or(u32::MAX)
        };
        let (tenant, count) = (take(), take());
        let mut last = 0u32;
        let pairs = (0..count)
            .map(|_| {
                last = last.wrapping_add(take());
                PairId(last)
            })
            .collect();
        (TenantNumber(tenant), pairs)
    }

    pub(super) fn pair_of(&self, id: PairId) -> Option<&Pair> {
        self.pairs.get(id.0 as usize)?.as_ref()
    }

    /// The tenant and labels of a series.
    pub(super) fn read(&self, at: u32) -> Option<(TenantId, LabelSet)> {
        let (tenant, ids) = self.pairs(at);
        let pairs: Vec<(&str, &str)> = ids
            .iter()
            .filter_map(|id| self.pair_of(*id))
            .map(|pair| (&*pair.name, &*pair.value))
            .collect();
        let tenant = self.tenants.get(tenant.0 as usize)?.0.clone();
        Some((tenant, LabelSet::from_pairs(&pairs).ok()?))
    }

    /// Forgets a series' labels, and the pairs that nobody else has.
    pub(super) fn forget(&mut self, at: u32, orphans: &[PairId]) {
        let (tenant, ids) = self.pairs(at);
        self.arena.dead += ids.len() + 2;
        let Some((_, names)) = self.tenants.get_mut(tenant.0 as usize) else {
            return;
        };
        for id in orphans {
            let Some(pair) = self.pairs.get_mut(id.0 as usize).and_then(Option::take) else {
                continue;
            };
            self.text_bytes = self.text_bytes.saturating_sub(pair.value.len());
            if let Some(values) = names.get_mut(&pair.name) {
                values.remove(&pair.value);
                if values.is_empty() {
                    names.remove(&pair.name);
                }
            }
            self.free_pairs.push(*id);
        }
    }

    /// Whether more than half of the arena is dead.
    pub(super) fn wants_compaction(&self) -> bool {
        self.arena.dead > PIECE && self.arena.dead * 2 > self.arena.used()
    }

    pub(super) fn start_compaction(&self) -> Arena {
        Arena::default()
    }

    /// Copies a series' list to another arena and returns its new place.
    pub(super) fn copy_to(&self, fresh: &mut Arena, at: u32) -> u32 {
        let all = self.arena.from(at);
        let mut bytes = all;
        let _ = varint::take_u64(&mut bytes);
        let count = varint::take_u64(&mut bytes).unwrap_or(0);
        for _ in 0..count {
            let _ = varint::take_u64(&mut bytes);
        }
        let used = all.len() - bytes.len();
        // It holds a part of what this arena holds, so it cannot be full.
        fresh.push(all.get(..used).unwrap_or_default()).unwrap_or(0)
    }

    pub(super) fn finish_compaction(&mut self, fresh: Arena) {
        self.arena = fresh;
    }

    /// Bytes that the labels of registered series take, about, whatever room was taken for more.
    pub(super) fn live_bytes(&self) -> usize {
        let pairs = self.pairs.len().saturating_sub(self.free_pairs.len());
        let arena = self.arena.pieces.len() * PIECE;
        self.text_bytes + pairs * PAIR_BYTES + arena.saturating_sub(self.arena.dead)
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        // A pair costs its text, two entries of trees and the counters of shared text.
        let pairs = self.pairs.bytes() + self.text_bytes + self.pairs.len() * 64;
        pairs + self.arena.pieces.len() * PIECE
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Would catch a label that is taken for one of the series before, of another name, value or tenant, and one that
        /// has two numbers.
        #[test]
        fn labels_come_back_and_equal_ones_have_one_number(
            steps in proptest::collection::vec(
                (any::<bool>(), 0usize..2, proptest::collection::vec(0u32..4, 5)), 1..60),
        ) {
            let mut labels = LabelArena::default();
            let tenants = ["a", "b"].map(|name| TenantId::new(name).unwrap());
            let mut held: Vec<(TenantId, LabelSet, u32)> = Vec::new();
            let mut uses: HashMap<PairId, usize> = HashMap::new();
            for (forget, tenant, values) in steps {
                if forget && !held.is_empty() {
                    let (_, _, at) = held.remove(held.len() / 2);
                    let (_, pairs) = labels.pairs(at);
                    for pair in &pairs {
                        *uses.get_mut(pair).unwrap() -= 1;
                    }
                    let orphans: Vec<PairId> = pairs.into_iter().filter(|pair| uses[pair] == 0).collect();
                    labels.forget(at, &orphans);
                    continue;
                }
                // A label of value 0 is not there.
                let named = values.iter().zip(["v", "w", "x", "y", "z"]).filter(|(value, _)| **value > 0);
                let pairs: Vec<(&str, String)> = named.map(|(value, name)| (name, value.to_string())).collect();
                let set = LabelSet::from_pairs(&pairs).unwrap();
                let (number, pairs) = labels.intern(&tenants[tenant], &set);
                for pair in &pairs {
                    *uses.entry(*pair).or_default() += 1;
                }
                let at = labels.store(number, &pairs).unwrap();
                held.push((tenants[tenant].clone(), set, at));
                let mut numbers: HashMap<(TenantId, String, String), PairId> = HashMap::new();
                for (tenant, set, at) in &held {
                    prop_assert_eq!(labels.read(*at), Some((tenant.clone(), set.clone())));
                    for id in labels.pairs(*at).1 {
                        let pair = labels.pair_of(id).unwrap();
                        let of = (tenant.clone(), pair.name.to_string(), pair.value.to_string());
                        prop_assert_eq!(*numbers.entry(of).or_insert(id), id);
                    }
                }
            }
        }
    }
}
