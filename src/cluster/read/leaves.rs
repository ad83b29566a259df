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
pub struct Leaf(u8);

impl Leaf {
    /// The leaf of a slot and a sub-arc; `None` when there is no such.
    #[must_use]
    pub const fn new(slot: u8, sub_arc: u8) -> Option<Self> {
        if slot < SLOTS && sub_arc < SUB_ARCS {
            Some(Self(slot * SUB_ARCS + sub_arc))
        } else {
            None
        }
    }

    pub(super) const fn slot(self) -> u8 {
        self.0 / SUB_ARCS
    }

    const fn bit(self) -> u16 {
        1 << (self.0 % SUB_ARCS)
    }
}

/// The times of a slot of a window. The first window of all begins before what 64 bits can say:
/// the slots there are empty.
#[must_use]
pub fn slot_range(window: Window, slot: u8) -> TimeRange {
    let start =
        i128::from(window.0) * i128::from(WINDOW_MS) + i128::from(slot) * i128::from(SLOT_MS);
    let end = start + i128::from(SLOT_MS - 1);
    let earliest = i64::try_from(start.max(i128::from(i64::MIN))).unwrap_or(i64::MAX);
    match i64::try_from(end) {
        Err(_) if end < 0 => TimeRange::new(TimestampMs::MAX, TimestampMs::MIN),
        end => TimeRange::new(TimestampMs(earliest), TimestampMs(end.unwrap_or(i64::MAX))),
    }
}

/// Some leaves of a window.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LeafSet([u16; SLOTS as usize]);

impl LeafSet {
    /// All of them.
    pub const ALL: Self = Self([u16::MAX; SLOTS as usize]);

    /// Adds one.
    pub fn insert(&mut self, leaf: Leaf) {
        if let Some(slot) = self.0.get_mut(usize::from(leaf.slot())) {
            *slot |= leaf.bit();
        }
    }

    /// Whether one is in it.
    #[must_use]
    pub fn contains(&self, leaf: Leaf) -> bool {
        let slot = self.0.get(usize::from(leaf.slot()));
        slot.is_some_and(|slot| slot & leaf.bit() != 0)
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0 == [0; SLOTS as usize]
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.iter().map(|slot| slot.count_ones() as usize).sum()
    }

    /// Them, in order.
    pub fn iter(&self) -> impl Iterator<Item = Leaf> + '_ {
        (0..LEAVES).map(Leaf).filter(|leaf| self.contains(*leaf))
    }

    /// The times of a window whose slots have a sub-arc in the set, in order; neighbouring slots
    /// are one range.
    #[must_use]
    pub fn ranges(&self, window: Window, sub_arc: u8) -> Vec<TimeRange> {
        let mut ranges: Vec<TimeRange> = Vec::new();
        for slot in 0..SLOTS {
            if !Leaf::new(slot, sub_arc).is_some_and(|leaf| self.contains(leaf)) {
                continue;
            }
            let range = slot_range(window, slot);
            if range.is_empty() {
                continue;
            }
            match ranges.last_mut() {
                Some(last) if last.end.plus_ms(1) == range.start => last.end = range.end,
                _ => ranges.push(range),
            }
        }
        ranges
    }

    pub(super) const fn slots(&self) -> &[u16; SLOTS as usize] {
        &self.0
    }

    pub(super) const fn of_slots(slots: [u16; SLOTS as usize]) -> Self {
        Self(slots)
    }

    fn unite(&mut self, other: &Self) {
        for (slot, more) in self.0.iter_mut().zip(other.0) {
            *slot |= more;
        }
    }
}

/// What a head holds of one window.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WindowSums {
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
pub type Leaves = BTreeMap<Window, LeafSet>;

/// What a head holds of a partition, by window; a window of which nothing is held is not there.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HeadSums(pub BTreeMap<Window, WindowSums>);

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
    #[must_use]
    pub fn beyond(&self, other: &Self) -> Leaves {
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
    fn slots_next_to_each_other_are_one_range() {
        let mut set = LeafSet::default();
        for (slot, sub) in [(0, 3), (1, 3), (2, 4), (11, 3)] {
            set.insert(Leaf::new(slot, sub).unwrap());
        }
        assert_eq!(set.len(), 4);
        let minutes = |range: TimeRange| (range.start.0 / 60_000, (range.end.0 + 1) / 60_000);
        let ranges = |sub| set.ranges(Window(1), sub).into_iter().map(minutes);
        assert_eq!(ranges(3).collect::<Vec<_>>(), [(120, 140), (230, 240)]);
        assert_eq!(ranges(4).collect::<Vec<_>>(), [(140, 150)]);
        assert_eq!(ranges(5).count(), 0);
        assert!(Leaf::new(12, 0).is_none() && Leaf::new(0, 16).is_none());
        for at in [i64::MIN, i64::MAX] {
            let window = Window::of(TimestampMs(at));
            let all: Vec<_> = LeafSet::ALL.ranges(window, 0);
            assert!(all.iter().any(|range| range.contains(TimestampMs(at))));
        }
    }
}
