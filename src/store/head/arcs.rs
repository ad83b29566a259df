//! Which arcs the head is organised by: those of the ring, which may be of different depths while
//! it is being divided more finely.
//!
//! A table is a value; the head swaps it under the locks of all its shards, so whoever holds one of
//! them sees one table and layers that fit it. It only ever becomes finer.

use std::collections::BTreeSet;

use crate::model::{Fingerprint, RingArc};

/// The arcs of a ring.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ArcTable {
    /// The depth of all arcs; [`MIXED`] when they differ.
    depth: u8,
    /// The arcs by their prefix, when their depths differ.
    arcs: Vec<RingArc>,
}

/// No depth.
const MIXED: u8 = u8::MAX;

impl ArcTable {
    /// All arcs of one depth.
    pub(super) fn even(depth: u8) -> Self {
        Self {
            depth: depth.min(RingArc::DEPTH_MAX),
            arcs: Vec::new(),
        }
    }

    /// The arc of a fingerprint.
    #[inline]
    pub(super) fn of(&self, fingerprint: Fingerprint) -> RingArc {
        if self.depth != MIXED {
            return RingArc::of(fingerprint, self.depth);
        }
        let top = RingArc::of(fingerprint, RingArc::DEPTH_MAX).prefix();
        let after = self.arcs.partition_point(|arc| arc.prefix() <= top);
        let found = after.checked_sub(1).and_then(|at| self.arcs.get(at));
        found.copied().unwrap_or(RingArc::of(fingerprint, 0))
    }

    /// Whether an arc is one of them.
    pub(super) fn has(&self, arc: RingArc) -> bool {
        self.depth == arc.depth() || (self.depth == MIXED && self.of_prefix(arc) == arc)
    }

    fn of_prefix(&self, arc: RingArc) -> RingArc {
        self.of(Fingerprint(u128::from(arc.prefix()) << 96))
    }

    /// All of them, in order.
    pub(super) fn all(&self) -> Box<dyn Iterator<Item = RingArc> + '_> {
        if self.depth == MIXED {
            Box::new(self.arcs.iter().copied())
        } else {
            Box::new(RingArc::all(self.depth))
        }
    }

    /// The same arcs, those divided that a wanted one lies in; `None`: nothing is to be divided.
    pub(super) fn refined(&self, wanted: &BTreeSet<RingArc>) -> Option<Self> {
        let deeper: BTreeSet<RingArc> = wanted
            .iter()
            .copied()
            .filter(|arc| self.of_prefix(*arc).depth() < arc.depth())
            .collect();
        if deeper.is_empty() {
            return None;
        }
        let arcs: Vec<RingArc> = self.all().flat_map(|arc| arc.parts(&deeper)).collect();
        let depth = arcs.first().map_or(0, |arc| arc.depth());
        if arcs.iter().all(|arc| arc.depth() == depth) {
            return Some(Self::even(depth));
        }
        Some(Self { depth: MIXED, arcs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_becomes_finer_and_never_coarser() {
        let even = ArcTable::even(2);
        let all = |depth| RingArc::all(depth).collect::<BTreeSet<_>>();
        assert_eq!(even.refined(&all(2)), None);
        assert_eq!(even.refined(&all(1)), None);
        assert_eq!(even.refined(&BTreeSet::new()), None);
        assert_eq!(even.refined(&all(4)), Some(ArcTable::even(4)));
        let second = RingArc::all(2).nth(1).unwrap();
        let [one, other] = second.halves().unwrap();
        let mixed = even.refined(&BTreeSet::from([one, other])).unwrap();
        assert_eq!(mixed.all().count(), 5);
        assert!(mixed.has(one) && mixed.has(other) && !mixed.has(second));
        // Half of a split is all of it, and an older ring takes nothing back.
        assert_eq!(even.refined(&BTreeSet::from([other])), Some(mixed.clone()));
        assert_eq!(mixed.refined(&all(2)), None);
        let mut wanted = all(3);
        wanted.retain(|arc| !second.covers(*arc));
        assert_eq!(mixed.refined(&wanted), Some(ArcTable::even(3)));
    }

    #[test]
    fn every_fingerprint_lies_in_the_arc_that_contains_it() {
        let deep = RingArc::new(0xffff_fff0, 28).unwrap();
        let table = ArcTable::even(0).refined(&BTreeSet::from([deep])).unwrap();
        assert_eq!(table.all().count(), 29);
        for arc in table.all() {
            assert!(table.has(arc), "{arc}");
            let first = u128::from(arc.prefix()) << 96;
            for fingerprint in [first, first + 1, first | 0xffff_ffff] {
                assert_eq!(table.of(Fingerprint(fingerprint)), arc);
            }
        }
        assert_eq!(table.of(Fingerprint(u128::MAX)), deep);
    }
}
