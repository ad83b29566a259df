//! The control state: what every node of the cluster agrees on.
//!
//! A plain value. It changes by [`super::apply`] only, holds nothing that depends on a node, a
//! clock or the order of a hash map, and the same commands give the same bytes everywhere
//! (`wire.rs`). Partitions are shared between copies: a copy of the state costs a few pointers.
//!
//! `open` and `given_up` are always empty in this version: they are room for an extension
//! (REPLICATION.md section 13). A state that has something in them is refused when it is read, so
//! that an old program never serves what it misunderstands.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::command::{ClusterId, History, MemberId, Session};
use super::tombstone::{Standing, TombstoneId};
use crate::model::{BlockEntry, BlockId, Epoch, Incarnation, RingArc, TimeRange};
use crate::model::{TimestampMs, Window};

/// Whether the control state counts on a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Liveness {
    /// It has announced itself.
    #[default]
    Live,
    /// Nobody reaches it.
    Down,
    /// It will never come back.
    Gone,
}

/// A node as the control state knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// What people call it.
    pub name: String,
    /// Its life: raised when it has lost a part of its memory.
    pub life: u32,
    /// Its last start.
    pub session: Session,
    /// Where peers reach it.
    pub addresses: Vec<String>,
    /// What fails together with it.
    pub zone: String,
    /// Bytes it offers; 0: not said.
    pub capacity_bytes: u64,
    /// The version of its program.
    pub version: String,
    /// The highest feature level that it understands.
    pub feature_level_max: u32,
    /// Whether it is there.
    pub liveness: Liveness,
    /// Whether it is to be emptied: it keeps what it has until others have it.
    pub draining: bool,
}

/// A range of time in the order of its start: the key under which rounds are counted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RangeKey {
    start: TimestampMs,
    end: TimestampMs,
}

impl From<TimeRange> for RangeKey {
    fn from(range: TimeRange) -> Self {
        Self {
            start: range.start,
            end: range.end,
        }
    }
}

impl RangeKey {
    /// The range.
    #[must_use]
    pub const fn range(self) -> TimeRange {
        TimeRange::new(self.start, self.end)
    }
}

/// From this feature level on a partition may have a manifest.
pub const MANIFEST_LEVEL: u32 = 2;

/// Entries that one command moves between the state and the manifest: some 20 KB of names in the
/// control log, 120 KB where they come back whole.
pub const MOVED_MAX: usize = 1024;

/// One day in milliseconds.
pub const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// The UTC day of a time.
#[must_use]
pub const fn utc_day(at: TimestampMs) -> TimeRange {
    let start = at.0.div_euclid(DAY_MS).saturating_mul(DAY_MS);
    TimeRange::new(
        TimestampMs(start),
        TimestampMs(start.saturating_add(DAY_MS - 1)),
    )
}

/// Whether a range can be sealed: it is a window or a UTC day.
#[must_use]
pub fn is_sealable(range: TimeRange) -> bool {
    Window::is(range) || range == utc_day(range.start)
}

/// A change of a partition's members that is under way: at least one of the two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Move {
    /// Who comes.
    pub join: Option<MemberId>,
    /// Who goes.
    pub leave: Option<MemberId>,
}

impl Move {
    /// The members after the move: who comes takes the place of who goes, or the last.
    #[must_use]
    pub fn after(self, members: &[MemberId]) -> Vec<MemberId> {
        let mut join = self.join;
        let mut after = Vec::with_capacity(members.len().saturating_add(1));
        for member in members {
            if Some(*member) == self.leave {
                after.extend(join.take());
            } else {
                after.push(*member);
            }
        }
        after.extend(join);
        after
    }
}

/// What is left of the rounds of old ranges: one number for all of them, so that they take no room
/// and yet no seal that was begun before can be committed twice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RoundFloor {
    /// It counts for ranges that end before this.
    pub before: TimestampMs,
    /// At least as high as the count of every range that was forgotten.
    pub sealed: u32,
}

impl Default for RoundFloor {
    fn default() -> Self {
        Self {
            before: TimestampMs::MIN,
            sealed: 0,
        }
    }
}

/// One partition. Its catalog is `recent` and what the manifest lists, without what has expired.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Partition {
    /// Raised by every change of the members.
    pub epoch: Epoch,
    /// Who replicates it, in order: the first live one seals.
    pub members: Vec<MemberId>,
    /// The change of members that is under way: until it ends, both sets count.
    pub moving: Option<Move>,
    /// Raised by every change of the catalog.
    pub version: u64,
    /// The blocks that the state lists itself.
    pub recent: BTreeMap<BlockId, BlockEntry>,
    /// The manifest that lists the older blocks.
    pub history: Option<History>,
    /// How often each range has been sealed.
    pub rounds: BTreeMap<RangeKey, u32>,
    /// The same of old ranges, of which only a bound is kept.
    pub round_floor: RoundFloor,
    /// Everything before this has expired; nothing can be sealed there.
    pub expired_before: TimestampMs,
}

impl Partition {
    /// A partition that nothing has been written to.
    #[must_use]
    pub fn new(epoch: Epoch, members: Vec<MemberId>) -> Self {
        Self {
            epoch,
            members,
            moving: None,
            version: 0,
            recent: BTreeMap::new(),
            history: None,
            rounds: BTreeMap::new(),
            round_floor: RoundFloor::default(),
            expired_before: TimestampMs::MIN,
        }
    }

    /// The sets whose majorities count: the members; during a move the old set, then the new one.
    #[must_use]
    pub fn sets(&self) -> Vec<Vec<MemberId>> {
        let new = self.moving.map(|moving| moving.after(&self.members));
        std::iter::once(self.members.clone()).chain(new).collect()
    }

    /// The round that a seal of a range would be.
    #[must_use]
    pub fn next_round(&self, range: TimeRange) -> u32 {
        let sealed = self.rounds.get(&RangeKey::from(range)).copied();
        let floor = match range.end < self.round_floor.before {
            true => self.round_floor.sealed,
            false => 0,
        };
        sealed.unwrap_or(floor).saturating_add(1)
    }
}

/// What every node agrees on.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ControlState {
    /// The cluster, once it is founded.
    pub cluster: Option<ClusterId>,
    /// Raised when the control group is rebuilt from survivors; 0 at first.
    pub generation: u64,
    /// Formats and commands up to this level may be used.
    pub feature_level: u32,
    /// The index of the last command that was applied.
    pub applied: u64,
    /// All nodes ever seen.
    pub members: BTreeMap<Incarnation, Member>,
    /// The ring.
    pub partitions: BTreeMap<RingArc, Arc<Partition>>,
    /// What is deleted and not gone from everywhere yet.
    pub tombstones: Arc<BTreeMap<TombstoneId, Standing>>,
}

impl ControlState {
    /// The partition of an arc.
    #[must_use]
    pub fn partition(&self, arc: RingArc) -> Option<&Partition> {
        self.partitions.get(&arc).map(Arc::as_ref)
    }
}
