//! Deletes as the control state knows them: tombstones (decision 20).
//!
//! A tombstone hides what matches from the moment it stands. It can be taken back until it is
//! *begun*; from then on blocks are rewritten without what it hides. A partition is *settled* when
//! all its members have said that they hold nothing of it, and no block has come since the state that
//! each of them looked at: from then on nothing of it can come there any more. When all partitions
//! are settled, it is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::member_id::MemberId;
use crate::model::{Deletion, RingArc, TimestampMs};

/// From this feature level on there are tombstones.
pub const TOMBSTONE_LEVEL: u32 = 4;

/// Tombstones that stand at a time: each costs every read and every late write a look.
pub const TOMBSTONES_MAX: usize = 1000;

/// Bytes of a tombstone's matchers: a selection of some hundred names.
pub const MATCHERS_BYTES_MAX: usize = 16 << 10;

/// Names a tombstone: 128 random bits, drawn by whoever proposes it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TombstoneId(pub u128);

impl fmt::Display for TombstoneId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Samples are deleted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tombstone {
    /// Its name.
    pub id: TombstoneId,
    /// What is deleted; the end of its range is not after `at`.
    pub deletion: Deletion,
    /// When that was asked for.
    pub at: TimestampMs,
}

/// A member holds nothing any more of what a tombstone hides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TombstoneDone {
    /// Which tombstone.
    pub id: TombstoneId,
    /// Who says so, of all partitions that it is a member of.
    pub by: MemberId,
    /// The last command of the state by which it looked: it had applied all blocks of that.
    pub seen: u64,
}

/// A tombstone that stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Standing {
    /// The tombstone.
    pub tombstone: Tombstone,
    /// Whether blocks may be rewritten for it, so that it cannot be taken back any more.
    pub begun: bool,
    /// How far partitions are.
    pub arcs: BTreeMap<RingArc, Removal>,
}

impl Standing {
    /// One with which no partition has begun.
    #[must_use]
    pub const fn new(tombstone: Tombstone, begun: bool) -> Self {
        Self {
            tombstone,
            begun,
            arcs: BTreeMap::new(),
        }
    }
}

/// How far a partition is with a tombstone.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Removal {
    /// The last command that brought a block of its times, or changed the members.
    pub since: u64,
    /// Who has looked after that and holds nothing any more.
    pub clean: BTreeSet<MemberId>,
    /// Whether all members were: for ever.
    pub settled: bool,
}
