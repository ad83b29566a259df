//! What a head holds of a partition, as digests: sums of content hashes for each leaf of a
//! window's tree, or one sum for a whole window.
//!
//! A leaf is a slot of ten minutes of a window and one of the partition's sixteen sub-arcs. Equal
//! sums are equal contents; where a leaf is not listed, nothing is held.

use std::collections::BTreeMap;

use crate::model::{TimeRange, TimestampMs, WINDOW_MS, Window};
use crate::store::ContentSum;

/// Slots of a window.
pub(super) const SLOTS: u8 = 12;
/// Sub-arcs of a partition.
pub(super) const SUB_ARCS: u8 = 16;
/// Leaves of a window's tree.
pub(super) const LEAVES: u8 = SLOTS * SUB_ARCS;

const SLOT_MS: i64 = WINDOW_MS / SLOTS as i64;

/// A leaf of a window: `slot * 16 + sub-arc`, below [`LEAVES`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Leaf(u8);

impl Leaf {
    /// The leaf of a slot and a sub-arc; `None` when there is no such.
    pub(super) const fn new(slot: u8, sub_arc: u8) -> Option<Self> {
        if slot < SLOTS && sub_arc < SUB_ARCS {
            Some(Self(slot * SUB_ARCS + sub_arc))
        } else {
            None
        }
    }

    /// The window and leaf of a time in a sub-arc.
    pub(super) fn of(at: TimestampMs, sub_arc: u8) -> Option<(Window, Self)> {
        let slot = u8::try_from(at.0.rem_euclid(WINDOW_MS) / SLOT_MS).ok()?;
        Some((Window::of(at), Self::new(slot, sub_arc)?))
    }

    const fn slot(self) -> u8 {
        self.0 / SUB_ARCS
    }

    const fn bit(self) -> u16 {
        1 << (self.0 % SUB_ARCS)
    }
}

/// The times of the slot in which a time lies. The very first ends where it does, but begins before
/// what 64 bits can say.
pub(super) const fn slot_of(at: TimestampMs) -> TimeRange {
    let into = at.0.rem_euclid(SLOT_MS);
    TimeRange::new(at.plus_ms(-into), at.plus_ms(SLOT_MS - 1 - into))
}

/// Some leaves of a window.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct LeafSet([u16; SLOTS as usize]);

impl LeafSet {
    /// All of them.
    pub(super) const ALL: Self = Self([u16::MAX; SLOTS as usize]);

    /// Adds one.
    pub(super) fn insert(&mut self, leaf: Leaf) {
        if let Some(slot) = self.0.get_mut(usize::from(leaf.slot())) {
            *slot |= leaf.bit();
        }
    }

    /// Whether one is in it.
    pub(super) fn contains(&self, leaf: Leaf) -> bool {
        let slot = self.0.get(usize::from(leaf.slot()));
        slot.is_some_and(|slot| slot & leaf.bit() != 0)
    }

    /// Whether none is.
    pub(super) fn is_empty(&self) -> bool {
        self.0 == [0; SLOTS as usize]
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|slot| slot.count_ones() as usize).sum()
    }

    /// Them, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Leaf> + '_ {
        (0..LEAVES).map(Leaf).filter(|leaf| self.contains(*leaf))
    }

    pub(super) const fn slots(&self) -> &[u16; SLOTS as usize] {
        &self.0
    }

    pub(super) const fn of_slots(slots: [u16; SLOTS as usize]) -> Self {
        Self(slots)
    }

    /// All slots of every sub-arc of which there is one.
    fn of_whole_windows(&self) -> Self {
        let sub_arcs = self.0.iter().fold(0, |all, slot| all | slot);
        Self([sub_arcs; SLOTS as usize])
    }

    fn unite(&mut self, other: &Self) {
        for (slot, more) in self.0.iter_mut().zip(other.0) {
            *slot |= more;
        }
    }
}

/// What a head holds of one window.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum WindowSums {
    /// One sum of everything in the asked range.
    Whole(ContentSum),
    /// The sums of the leaves that hold something, in order.
    Leaves(Vec<(Leaf, ContentSum)>),
}

impl WindowSums {
    fn total(&self) -> ContentSum {
        match self {
            Self::Whole(sum) => *sum,
            Self::Leaves(leaves) => {
                let mut total = ContentSum::default();
                for (_, sum) in leaves {
                    total.add(sum.0);
                }
                total
            }
        }
    }

    fn leaves(&self) -> LeafSet {
        match self {
            Self::Whole(_) => LeafSet::ALL,
            Self::Leaves(leaves) => {
                let mut set = LeafSet::default();
                leaves.iter().for_each(|(leaf, _)| set.insert(*leaf));
                set
            }
        }
    }

    /// The leaves of which this holds something that `other` may not.
    fn beyond(&self, other: &Self) -> LeafSet {
        let (Self::Leaves(ours), Self::Leaves(theirs)) = (self, other) else {
            return if self.total() == other.total() {
                LeafSet::default()
            } else {
                self.leaves()
            };
        };
        let mut beyond = LeafSet::default();
        for (leaf, sum) in ours {
            let found = theirs.binary_search_by_key(leaf, |(leaf, _)| *leaf);
            let same = found.ok().and_then(|at| theirs.get(at));
            if same.is_none_or(|(_, other)| other != sum) {
                beyond.insert(*leaf);
            }
        }
        beyond
    }
}

/// Leaves of several windows; no window without any.
pub(super) type Leaves = BTreeMap<Window, LeafSet>;

/// What a head holds of a partition, by window; a window of which nothing is held is not there.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct HeadSums(pub(super) BTreeMap<Window, WindowSums>);

/// Sums that grow sample by sample.
#[derive(Debug, Default)]
pub(super) struct Summing(BTreeMap<Window, BTreeMap<Leaf, ContentSum>>);

impl Summing {
    pub(super) fn add(&mut self, window: Window, leaf: Leaf, sum: ContentSum) {
        let leaves = self.0.entry(window).or_default();
        leaves.entry(leaf).or_default().add(sum.0);
    }

    pub(super) fn finish(self) -> HeadSums {
        let of =
            |leaves: BTreeMap<Leaf, ContentSum>| WindowSums::Leaves(leaves.into_iter().collect());
        HeadSums(
            self.0
                .into_iter()
                .map(|(window, leaves)| (window, of(leaves)))
                .collect(),
        )
    }
}

impl HeadSums {
    /// Leaves one sum of each window but the newest few: what a year's backfill holds of 4,380
    /// windows is then still a small message.
    pub(super) fn flatten_older(&mut self, newest: usize) {
        let older = self.0.len().saturating_sub(newest);
        for sums in self.0.values_mut().take(older) {
            *sums = WindowSums::Whole(sums.total());
        }
    }

    /// The leaves of which this holds something that `other` may not: nothing when this is empty
    /// or they are equal.
    pub(super) fn beyond(&self, other: &Self) -> Leaves {
        let mut all = Leaves::new();
        for (window, sums) in &self.0 {
            let leaves = match other.0.get(window) {
                Some(other) => sums.beyond(other),
                None => sums.leaves(),
            };
            if !leaves.is_empty() {
                all.insert(*window, leaves);
            }
        }
        all
    }
}

/// The leaves of every sub-arc and window in which sums over encoded series differ.
pub(super) fn encoded_otherwise(one: &HeadSums, other: &HeadSums) -> Leaves {
    let mut leaves = one.beyond(other);
    unite(&mut leaves, &other.beyond(one));
    for set in leaves.values_mut() {
        *set = set.of_whole_windows();
    }
    leaves
}

/// All leaves of the windows of which either holds something.
pub(super) fn everything_of(one: &HeadSums, other: &HeadSums) -> Leaves {
    let windows = one.0.keys().chain(other.0.keys());
    windows.map(|window| (*window, LeafSet::ALL)).collect()
}

/// Leaves of both.
pub(super) fn unite(into: &mut Leaves, more: &Leaves) {
    for (window, leaves) in more {
        into.entry(*window).or_default().unite(leaves);
    }
}

/// How many leaves there are.
pub(super) fn count(leaves: &Leaves) -> usize {
    leaves.values().map(LeafSet::len).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(leaves: &[(u8, u128)]) -> WindowSums {
        let leaf = |(number, sum): &(u8, u128)| (Leaf(*number), ContentSum(*sum));
        WindowSums::Leaves(leaves.iter().map(leaf).collect())
    }

    fn heads(windows: &[(i64, WindowSums)]) -> HeadSums {
        let windows = windows.iter().cloned();
        HeadSums(windows.map(|(w, sums)| (Window(w), sums)).collect())
    }

    /// Would catch content that one head has and the comparison calls equal.
    #[test]
    fn what_differs_is_what_must_be_fetched() {
        let check = |ours: &HeadSums, theirs: &HeadSums, want: &[(i64, &[u8])]| {
            let got: Vec<(i64, Vec<u8>)> = ours
                .beyond(theirs)
                .iter()
                .map(|(window, set)| (window.0, set.iter().map(|leaf| leaf.0).collect()))
                .collect();
            let want: Vec<(i64, Vec<u8>)> = want.iter().map(|(w, l)| (*w, l.to_vec())).collect();
            assert_eq!(got, want, "{ours:?} beyond {theirs:?}");
        };
        let nothing = HeadSums::default();
        let some = heads(&[(1, sums(&[(0, 5), (17, 6)])), (2, sums(&[(191, 7)]))]);
        check(&nothing, &some, &[]);
        check(&some, &some, &[]);
        check(&some, &nothing, &[(1, &[0, 17]), (2, &[191])]);
        let other = heads(&[(1, sums(&[(0, 5), (17, 9), (18, 1)]))]);
        check(&some, &other, &[(1, &[17]), (2, &[191])]);
        check(&other, &some, &[(1, &[17, 18])]);
        let whole = heads(&[(1, WindowSums::Whole(ContentSum(11)))]);
        check(&whole, &some, &[]);
        check(&some, &whole, &[(2, &[191])]);
        check(&other, &whole, &[(1, &[0, 17, 18])]);
        assert_eq!(count(&whole.beyond(&other)), usize::from(LEAVES));
    }

    #[test]
    fn a_time_lies_in_one_leaf() {
        let check = |at: i64, want: (i64, u8)| {
            let (window, leaf) = Leaf::of(TimestampMs(at), 3).unwrap();
            assert_eq!((window.0, leaf.slot()), want, "{at}");
        };
        check(0, (0, 0));
        check(599_999, (0, 0));
        check(600_000, (0, 1));
        check(-1, (-1, 11));
        check(7_200_000, (1, 0));
        assert!(
            Leaf::of(TimestampMs::MIN, 0).is_some() && Leaf::of(TimestampMs::MAX, 15).is_some()
        );
        assert!(Leaf::new(12, 0).is_none() && Leaf::new(0, 16).is_none());
    }
}
