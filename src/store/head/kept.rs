//! The digest tree that a layer keeps once somebody has asked for it: what an append, a late sample
//! and a settled one change of it. A layer that nobody asks about keeps none, and costs nothing.
//!
//! Its sum is over the *shown* samples of the layer's chunks and runs. The late buffer is counted
//! when a tree is asked for, or when the buffer becomes a run: what repeats or loses against the
//! chunks and runs adds nothing, what wins takes the other's place. A sample for a chunk is new
//! there by construction; only when the series has late samples of its time or later could one of
//! them be in its way, so each series' latest of them is kept too.

use super::roster::Roster;
use crate::model::{Fingerprint, RingArc, Samples, TimestampMs, Value, Window, settle};
use crate::store::digest::ContentHasher;
use crate::store::tree::{DigestTree, slot_in_window};

/// Who is who, and what a sample is worth: what digests need besides the layers.
#[derive(Clone, Copy)]
pub(super) struct Names<'a> {
    pub roster: &'a Roster,
    pub hasher: &'a ContentHasher,
}

/// A series as digests see it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named {
    pub target: u32,
    pub fingerprint: Fingerprint,
}

impl Names<'_> {
    pub(super) fn of(&self, arc: RingArc, local: u32) -> Option<Named> {
        let entry = self.roster.entry(self.roster.slot_of(arc, local)?)?;
        Some(Named {
            target: entry.target,
            fingerprint: entry.fingerprint,
        })
    }
}

/// A tree that is kept.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// Of chunks and runs.
    pub tree: DigestTree,
    /// What the late buffer adds to it, and how long the buffer was then.
    late: Option<(usize, DigestTree)>,
    /// By series: 1 and the offset of the last sample in a run; 0: none.
    runs_end: Vec<u32>,
    /// The same of the late buffer.
    late_end: Vec<u32>,
}

fn end_of(ends: &[u32], local: u32) -> u32 {
    ends.get(local as usize).copied().unwrap_or(0)
}

fn note(ends: &mut Vec<u32>, local: u32, offset_ms: u32) {
    let at = local as usize;
    if ends.len() <= at {
        ends.resize(at + 1, 0);
    }
    if let Some(end) = ends.get_mut(at) {
        *end = offset_ms.saturating_add(1).max(*end);
    }
}

impl Kept {
    /// Whether a series has a sample in a run or in the late buffer, at this time or later.
    #[inline]
    pub(super) fn may_have(&self, local: u32, offset_ms: u32) -> bool {
        end_of(&self.runs_end, local) > offset_ms || end_of(&self.late_end, local) > offset_ms
    }

    /// Whether a series has a sample in a run at this time or later.
    pub(super) fn runs_may_have(&self, local: u32, offset_ms: u32) -> bool {
        end_of(&self.runs_end, local) > offset_ms
    }

    /// A sample has come into a run.
    pub(super) fn in_run(&mut self, local: u32, offset_ms: u32) {
        note(&mut self.runs_end, local, offset_ms);
    }

    /// A sample has come into the late buffer.
    pub(super) fn in_late(&mut self, local: u32, offset_ms: u32) {
        note(&mut self.late_end, local, offset_ms);
    }

    /// What the late buffer adds, if that is known of a buffer of this length.
    pub(super) fn late(&self, len: usize) -> Option<&DigestTree> {
        let (of, tree) = self.late.as_ref()?;
        (*of == len).then_some(tree)
    }

    /// Notes what a late buffer of this length adds.
    pub(super) fn set_late(&mut self, len: usize, tree: DigestTree) -> &DigestTree {
        &self.late.insert((len, tree)).1
    }

    /// A chunk or run has got what the late buffer may have too: its part is no longer known.
    pub(super) fn forget_late(&mut self) {
        self.late = None;
    }

    /// The late buffer is empty: its samples went to a run.
    pub(super) fn late_settled(&mut self) {
        self.late = None;
        self.late_end.clear();
    }

    pub(super) fn bytes(&self) -> usize {
        const TREE: usize = 192 * 16;
        let late = if self.late.is_some() { TREE } else { 0 };
        TREE + late + (self.runs_end.capacity() + self.late_end.capacity()) * 4 + size_of::<Self>()
    }
}

/// Counts the samples of one series in trees.
#[derive(Clone, Copy)]
pub(super) struct Counter<'a> {
    hasher: &'a ContentHasher,
    window: Window,
    fingerprint: Fingerprint,
    sub_arc: u8,
}

impl<'a> Counter<'a> {
    #[inline]
    pub(super) fn new(
        hasher: &'a ContentHasher,
        arc: RingArc,
        window: Window,
        fingerprint: Fingerprint,
    ) -> Self {
        Self {
            hasher,
            window,
            fingerprint,
            sub_arc: arc.sub_arc(fingerprint),
        }
    }

    fn slot(&self, at: TimestampMs) -> u8 {
        slot_in_window(self.window.offset_of(at).unwrap_or(0))
    }

    /// Adds a float whose offset in the window is known.
    #[inline]
    pub(super) fn float(&self, tree: &mut DigestTree, at: TimestampMs, offset_ms: u32, bits: u64) {
        let value = f64::from_bits(bits);
        let hash = self
            .hasher
            .float(self.fingerprint, at, value, TimestampMs(0));
        tree.add(slot_in_window(offset_ms), self.sub_arc, hash);
    }

    fn add(&self, tree: &mut DigestTree, at: TimestampMs, value: &Value, start: TimestampMs) {
        let hash = self.hasher.sample(self.fingerprint, at, value, start);
        tree.add(self.slot(at), self.sub_arc, hash);
    }

    fn subtract(&self, tree: &mut DigestTree, at: TimestampMs, value: &Value, start: TimestampMs) {
        let hash = self.hasher.sample(self.fingerprint, at, value, start);
        tree.subtract(self.slot(at), self.sub_arc, hash);
    }

    /// Adds all samples.
    pub(super) fn add_all(&self, tree: &mut DigestTree, samples: &Samples) {
        for (at, value, start) in samples.iter() {
            self.add(tree, at, &value, start);
        }
    }

    /// Takes all samples out.
    pub(super) fn subtract_all(&self, tree: &mut DigestTree, samples: &Samples) {
        for (at, value, start) in samples.iter() {
            self.subtract(tree, at, &value, start);
        }
    }

    /// Adds what samples change where `known` is shown already.
    pub(super) fn add_over(&self, tree: &mut DigestTree, samples: &Samples, known: &Samples) {
        for (at, value, start) in samples.iter() {
            let found = known.timestamps.binary_search(&at.0).ok();
            if let Some((_, other, began)) = found.and_then(|place| known.get(place)) {
                if settle((&value, start), (&other, began)).is_le() {
                    continue;
                }
                self.subtract(tree, at, &other, began);
            }
            self.add(tree, at, &value, start);
        }
    }
}
