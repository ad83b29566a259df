//! Digest trees: what two replicas compare to find where their heads differ.
//!
//! A tree says of one partition and one range what is in it: twelve slots of time (ten minutes of
//! a window, two hours of a UTC day) by sixteen sub-arcs of the partition, each a sum of content
//! hashes (`digest.rs`) over the samples that are *shown* there: each timestamp of a series once,
//! with the value that wins. So equal contents have equal trees, in whatever order they came and
//! however often; a leaf that differs names where to look. Metadata have a sum of their own: a
//! read does not compare it, a seal does.

use super::digest::ContentSum;
use crate::model::{TimeRange, WINDOW_MS, Window};

/// Slots of a tree.
pub const TREE_SLOTS: usize = 12;
/// Sub-arcs of a slot.
pub const TREE_SUB_ARCS: usize = 16;
/// Milliseconds of a window's slot.
pub(super) const SLOT_MS: i64 = WINDOW_MS / TREE_SLOTS as i64;

/// The digests of one partition and range.
#[derive(Clone, PartialEq, Eq)]
pub struct DigestTree {
    leaves: Box<[ContentSum; TREE_SLOTS * TREE_SUB_ARCS]>,
    metadata: ContentSum,
}

impl Default for DigestTree {
    fn default() -> Self {
        Self {
            leaves: Box::new([ContentSum::default(); TREE_SLOTS * TREE_SUB_ARCS]),
            metadata: ContentSum::default(),
        }
    }
}

impl std::fmt::Debug for DigestTree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut map = f.debug_map();
        for (slot, sub_arc, sum) in self.leaves() {
            map.entry(&(slot, sub_arc), &format_args!("{:032x}", sum.0));
        }
        map.entry(&"metadata", &format_args!("{:032x}", self.metadata.0));
        map.finish()
    }
}

impl DigestTree {
    /// The sum of one leaf; 0 beyond the tree.
    #[must_use]
    pub fn leaf(&self, slot: u8, sub_arc: u8) -> ContentSum {
        place(slot, sub_arc)
            .and_then(|at| self.leaves.get(at))
            .copied()
            .unwrap_or_default()
    }

    /// Adds a hash to a leaf, or another sum's number; beyond the tree there is nothing.
    #[inline]
    pub fn add(&mut self, slot: u8, sub_arc: u8, hash: u128) {
        if let Some(leaf) = place(slot, sub_arc).and_then(|at| self.leaves.get_mut(at)) {
            leaf.add(hash);
        }
    }

    /// Takes a hash out of a leaf again.
    #[inline]
    pub fn subtract(&mut self, slot: u8, sub_arc: u8, hash: u128) {
        self.add(slot, sub_arc, hash.wrapping_neg());
    }

    /// Adds a hash to the sum over metadata.
    pub const fn add_metadata(&mut self, hash: u128) {
        self.metadata.add(hash);
    }

    /// The sum over metadata.
    #[must_use]
    pub const fn metadata(&self) -> ContentSum {
        self.metadata
    }

    /// Adds another tree of the same range: that of other series.
    pub fn add_tree(&mut self, other: &Self) {
        for (leaf, more) in self.leaves.iter_mut().zip(other.leaves.iter()) {
            leaf.add(more.0);
        }
        self.metadata.add(other.metadata.0);
    }

    /// Adds the tree of a window to that of its day, in which it is one slot.
    pub(super) fn add_window(&mut self, window: Window, tree: &Self) {
        let slot = slot_in_day(window);
        for (_, sub_arc, sum) in tree.leaves() {
            self.add(slot, sub_arc, sum.0);
        }
        self.metadata.add(tree.metadata.0);
    }

    /// The leaves that are not 0: slot, sub-arc, sum.
    pub fn leaves(&self) -> impl Iterator<Item = (u8, u8, ContentSum)> + '_ {
        let all = (0u8..).zip(self.leaves.iter());
        all.filter(|(_, sum)| sum.0 != 0)
            .map(|(at, sum)| (at / SUB_ARCS, at % SUB_ARCS, *sum))
    }

    /// The sum of all samples.
    #[must_use]
    pub fn sum(&self) -> ContentSum {
        let mut sum = ContentSum::default();
        for leaf in self.leaves.iter() {
            sum.add(leaf.0);
        }
        sum
    }

    /// Whether it speaks of no sample.
    #[must_use]
    pub fn has_no_samples(&self) -> bool {
        self.leaves.iter().all(|leaf| leaf.0 == 0)
    }

    /// Whether it speaks of no sample and no metadata.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.metadata.0 == 0 && self.has_no_samples()
    }

    /// Where two trees differ.
    #[must_use]
    pub fn differing(&self, other: &Self) -> Leaves {
        let mut leaves = Leaves {
            metadata: self.metadata != other.metadata,
            ..Leaves::default()
        };
        let pairs = self.leaves.iter().zip(other.leaves.iter());
        for (at, (one, other)) in (0u8..).zip(pairs) {
            if one != other {
                leaves.insert(at / SUB_ARCS, at % SUB_ARCS);
            }
        }
        leaves
    }
}

#[allow(clippy::cast_possible_truncation, reason = "16")]
const SUB_ARCS: u8 = TREE_SUB_ARCS as u8;

#[inline]
fn place(slot: u8, sub_arc: u8) -> Option<usize> {
    (sub_arc < SUB_ARCS).then(|| usize::from(slot) * TREE_SUB_ARCS + usize::from(sub_arc))
}

/// The slot of a time in its window.
#[inline]
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a window has twelve slots"
)]
pub(super) const fn slot_in_window(offset_ms: u32) -> u8 {
    (offset_ms / SLOT_MS as u32) as u8
}

/// The slot of a window in its UTC day: days begin with window 0.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a day has twelve windows"
)]
pub(super) const fn slot_in_day(window: Window) -> u8 {
    window.0.rem_euclid(TREE_SLOTS as i64) as u8
}

/// Leaves of a tree: what is asked of a peer whose tree differs there.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Leaves {
    slots: [u16; TREE_SLOTS],
    metadata: bool,
}

impl std::fmt::Debug for Leaves {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:04x?}", self.slots)?;
        f.write_str(if self.metadata { " + metadata" } else { "" })
    }
}

impl Leaves {
    /// All of them.
    pub const ALL: Self = Self {
        slots: [u16::MAX; TREE_SLOTS],
        metadata: true,
    };

    /// Leaves by their slots' bits, sub-arc 0 the lowest.
    #[must_use]
    pub const fn new(slots: [u16; TREE_SLOTS], metadata: bool) -> Self {
        Self { slots, metadata }
    }

    /// The bits of the slots.
    #[must_use]
    pub const fn slots(&self) -> &[u16; TREE_SLOTS] {
        &self.slots
    }

    /// Whether metadata are among them.
    #[must_use]
    pub const fn metadata(&self) -> bool {
        self.metadata
    }

    /// The same without the metadata.
    #[must_use]
    pub const fn without_metadata(mut self) -> Self {
        self.metadata = false;
        self
    }

    /// Puts a leaf in; beyond the tree there is none.
    pub fn insert(&mut self, slot: u8, sub_arc: u8) {
        if let Some(bits) = self.slots.get_mut(usize::from(slot)) {
            *bits |= 1u16.checked_shl(u32::from(sub_arc)).unwrap_or(0);
        }
    }

    /// Whether a leaf is among them.
    #[must_use]
    pub fn contains(&self, slot: u8, sub_arc: u8) -> bool {
        self.slots
            .get(usize::from(slot))
            .is_some_and(|bits| bits.checked_shr(u32::from(sub_arc)).unwrap_or(0) & 1 == 1)
    }

    /// Whether there is none, nor metadata.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.metadata && self.slots.iter().all(|bits| *bits == 0)
    }

    /// Those that are in this or the other.
    #[must_use]
    pub fn or(mut self, other: &Self) -> Self {
        for (bits, more) in self.slots.iter_mut().zip(other.slots) {
            *bits |= more;
        }
        self.metadata |= other.metadata;
        self
    }

    /// Of a window's leaves those whose slot has a time of `range`; no metadata.
    #[must_use]
    pub fn within(mut self, window: Window, range: TimeRange) -> Self {
        for (slot, bits) in (0i64..).zip(&mut self.slots) {
            if !slot_range(window, slot).overlaps(range) {
                *bits = 0;
            }
        }
        self.metadata = false;
        self
    }

    /// Of a day's leaves those that are a window's, as leaves of that window.
    pub(super) fn of_window_in_day(&self, window: Window) -> Self {
        let bits = self.slots.get(usize::from(slot_in_day(window)));
        Self {
            slots: [bits.copied().unwrap_or(0); TREE_SLOTS],
            metadata: self.metadata,
        }
    }

    /// The slots of one sub-arc, as bits, slot 0 the lowest.
    pub(super) fn slots_of(&self, sub_arc: u8) -> u16 {
        let slots = (0u32..).zip(&self.slots);
        slots.fold(0, |all, (slot, bits)| {
            let bit = bits.checked_shr(u32::from(sub_arc)).unwrap_or(0) & 1;
            all | (bit << slot)
        })
    }
}

/// The times of a slot of a window.
pub(super) const fn slot_range(window: Window, slot: i64) -> TimeRange {
    // Exact also in the first window, whose start lies before what 64 bits can say.
    let end = window.end();
    let after = (TREE_SLOTS as i64 - 1 - slot) * SLOT_MS;
    let end = end.plus_ms(-after);
    TimeRange::new(end.plus_ms(1 - SLOT_MS), end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TimestampMs;

    #[test]
    fn trees_name_the_leaves_in_which_they_differ() {
        let (mut one, mut other) = (DigestTree::default(), DigestTree::default());
        assert!(one.differing(&other).is_empty());
        one.add(3, 15, 7);
        one.add(11, 0, 8);
        other.add(11, 0, 8);
        other.add_metadata(9);
        let mut want = Leaves::default();
        want.insert(3, 15);
        assert_eq!(one.differing(&other).without_metadata(), want);
        assert!(one.differing(&other).metadata());
        assert_eq!(one.sum(), ContentSum(15));
        one.subtract(3, 15, 7);
        one.add_metadata(9);
        assert_eq!(one, other);
    }

    #[test]
    fn slots_are_ten_minutes_of_a_window_and_windows_of_a_day() {
        let window = Window(5);
        for slot in 0..12 {
            let range = slot_range(window, slot);
            let of = |at: TimestampMs| i64::from(slot_in_window(window.offset_of(at).unwrap()));
            assert_eq!((of(range.start), of(range.end)), (slot, slot));
            assert_eq!(range.end.0 - range.start.0 + 1, 600_000);
        }
        assert_eq!([-1, 0, 13].map(|at| slot_in_day(Window(at))), [11, 0, 1]);
        let first = TimeRange::new(window.start(), window.start());
        let mut want = Leaves::default();
        for sub_arc in 0..16 {
            want.insert(0, sub_arc);
        }
        assert_eq!(Leaves::ALL.within(window, first), want);
        assert_eq!(want.slots_of(4), 1);
    }
}
