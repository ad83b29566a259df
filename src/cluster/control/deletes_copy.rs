//! What is deleted, for the bucket: the tombstones that stand, and those that have ended lately, so
//! that a restore does not show again what was deleted (decision 27). `docs/format.md` has it byte by
//! byte.
//!
//! An ended one is kept because the catalog's copies in the bucket are older than the state: one of them
//! may name the blocks that held what is gone. It says from which version of each partition on it has
//! ended, so that a restore can tell. Equal copies are equal bytes: whatever is spelt in another way,
//! unknown fields too, is refused.

use std::collections::BTreeMap;

use prost::Message;

use super::state::ControlState;
use super::tombstone::{Standing, Tombstone, TombstoneId};
use super::wire_parts::{ArcMessage, WireError, damaged, read_wide, required, wide};
use super::wire_tombstone::{StandingMessage, TombstoneMessage};
use crate::model::{RingArc, TimestampMs};

const MAGIC: &[u8; 8] = b"CAIRNDEL";
const FORMAT: u8 = 1;

/// The largest copy that is read: all that may stand at a time, with the longest matchers, take 17 MB.
pub const DELETES_BYTES_MAX: usize = 64 << 20;

/// An ended delete is kept for so long: catalogs are copied every six hours, unless the bucket is away.
const ENDED_KEPT_MS: i64 = 3 * 24 * 60 * 60 * 1000;

/// And so many of them at most, the latest ones.
const ENDED_MAX: usize = 256;

/// A delete of which nothing was left.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ended {
    /// What it was.
    pub tombstone: Tombstone,
    /// When it was seen that it had ended.
    pub at: TimestampMs,
    /// The partitions' versions by then: catalogs of these and later ones name no block that held
    /// any of it.
    pub versions: BTreeMap<RingArc, u64>,
}

/// The deletes of a cluster as the bucket has them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DeletesCopy {
    /// Whose.
    pub cluster: u128,
    /// The generation of the control group, and the index of its last command by then: the later, the newer.
    pub position: (u64, u64),
    /// Those that stand; how far partitions are is not among it.
    pub open: BTreeMap<TombstoneId, Standing>,
    /// Those that have ended lately.
    pub ended: BTreeMap<TombstoneId, Ended>,
}

#[derive(Clone, PartialEq, Message)]
struct CopyMessage {
    #[prost(bytes = "vec", tag = "1")]
    cluster: Vec<u8>,
    #[prost(uint64, tag = "2")]
    generation: u64,
    #[prost(uint64, tag = "3")]
    index: u64,
    #[prost(message, repeated, tag = "4")]
    open: Vec<StandingMessage>,
    #[prost(message, repeated, tag = "5")]
    ended: Vec<EndedMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct EndedMessage {
    #[prost(message, optional, tag = "1")]
    tombstone: Option<TombstoneMessage>,
    #[prost(sint64, tag = "2")]
    at_ms: i64,
    #[prost(message, repeated, tag = "3")]
    versions: Vec<VersionMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct VersionMessage {
    #[prost(message, optional, tag = "1")]
    arc: Option<ArcMessage>,
    #[prost(uint64, tag = "2")]
    version: u64,
}

impl From<&Ended> for EndedMessage {
    fn from(ended: &Ended) -> Self {
        let versions = ended.versions.iter().map(|(arc, version)| VersionMessage {
            arc: Some((*arc).into()),
            version: *version,
        });
        Self {
            tombstone: Some((&ended.tombstone).into()),
            at_ms: ended.at.0,
            versions: versions.collect(),
        }
    }
}

impl EndedMessage {
    fn read(self) -> Result<(TombstoneId, Ended), WireError> {
        let tombstone = required(self.tombstone, "a tombstone")?.read()?;
        let versions = self.versions.into_iter().map(|one| {
            let arc = required(one.arc, "an arc")?.read()?;
            Ok::<_, WireError>((arc, one.version))
        });
        let ended = Ended {
            at: TimestampMs(self.at_ms),
            versions: versions.collect::<Result<_, _>>()?,
            tombstone,
        };
        Ok((ended.tombstone.id, ended))
    }
}

impl DeletesCopy {
    /// What the bucket is to hold after this, as of a state; `None`: just this.
    #[must_use]
    pub fn follow(&self, state: &ControlState, now: TimestampMs) -> Option<Self> {
        let position = (state.generation, state.applied);
        let is_new = |id: &TombstoneId, begun| {
            let known = self.open.get(id);
            known.is_none_or(|known| known.begun != begun)
        };
        let mut stands = state.tombstones.iter();
        let changed = stands.any(|(id, one)| is_new(id, one.begun));
        let ends = |id: &TombstoneId| !state.tombstones.contains_key(id);
        let is_old = |one: &Ended| one.at.plus_ms(ENDED_KEPT_MS) <= now;
        let over = self.open.keys().any(ends) || self.ended.values().any(is_old);
        // Two copies of one position would not say which is the newer, and what is newer than the state knows more.
        if position <= self.position || !(changed || over) {
            return None;
        }
        let mut ended = self.ended.clone();
        ended.retain(|id, one| ends(id) && !is_old(one));
        for (id, standing) in self.open.iter().filter(|(id, _)| ends(id)) {
            let versions = state.partitions.iter();
            let one = Ended {
                tombstone: standing.tombstone.clone(),
                at: now,
                versions: versions.map(|(arc, p)| (*arc, p.version)).collect(),
            };
            ended.insert(*id, one);
        }
        while ended.len() > ENDED_MAX
            && let Some(oldest) = ended.iter().min_by_key(|(_, one)| one.at)
        {
            let oldest = *oldest.0;
            ended.remove(&oldest);
        }
        Some(Self::of(state, ended))
    }

    /// The deletes of a state, and ended ones.
    #[must_use]
    pub fn of(state: &ControlState, ended: BTreeMap<TombstoneId, Ended>) -> Self {
        let stands = state.tombstones.iter();
        let open = stands.map(|(id, one)| (*id, Standing::new(one.tombstone.clone(), one.begun)));
        Self {
            cluster: state.cluster.map_or(0, |cluster| cluster.0),
            position: (state.generation, state.applied),
            open: open.collect(),
            ended,
        }
    }

    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let open = self.open.values();
        let message = CopyMessage {
            cluster: wide(self.cluster),
            generation: self.position.0,
            index: self.position.1,
            open: open.map(StandingMessage::without_arcs).collect(),
            ended: self.ended.values().map(Into::into).collect(),
        };
        let mut bytes = [MAGIC.as_slice(), &[FORMAT]].concat();
        bytes.extend(message.encode_to_vec());
        bytes
    }

    /// From bytes.
    ///
    /// # Errors
    /// When they are damaged or from a newer version.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let wrong = |problem: String| damaged("a copy of deletes", problem);
        if bytes.len() > DELETES_BYTES_MAX {
            let len = bytes.len();
            return Err(wrong(format!("{len} bytes (bound {DELETES_BYTES_MAX})")));
        }
        let rest = bytes.strip_prefix(MAGIC.as_slice());
        let rest = rest.ok_or_else(|| wrong("it does not begin as one".to_owned()))?;
        let Some((&FORMAT, body)) = rest.split_first() else {
            return Err(WireError::Newer("a copy of deletes of another format"));
        };
        let message = CopyMessage::decode(body).map_err(|error| wrong(error.to_string()))?;
        let open = message.open.into_iter().map(StandingMessage::read);
        let ended = message.ended.into_iter().map(EndedMessage::read);
        let copy = Self {
            cluster: read_wide(&message.cluster)?,
            position: (message.generation, message.index),
            open: open.collect::<Result<_, _>>()?,
            ended: ended.collect::<Result<_, _>>()?,
        };
        if copy.encode() != bytes {
            return Err(wrong("it is not spelt as one is".to_owned()));
        }
        Ok(copy)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::cluster::control::{ClusterId, Command, Found};
    use crate::model::{Deletion, Incarnation, MatchOp, Matcher, TenantId, TimeRange};

    fn tombstone(id: u128) -> Tombstone {
        Tombstone {
            id: TombstoneId(id),
            deletion: Deletion {
                tenant: TenantId::new("tenant").unwrap(),
                matchers: vec![Matcher::new("job", MatchOp::Equal, "old").unwrap()],
                range: TimeRange::new(TimestampMs(-5), TimestampMs(7)),
            },
            at: TimestampMs(9),
        }
    }

    fn state(ids: &[(u128, bool)], applied: u64) -> ControlState {
        let mut state = ControlState::default();
        let found = Command::Found(Found {
            cluster: ClusterId(0xc0),
            depth: 1,
            founders: vec![Incarnation(1)],
        });
        state.apply(&found);
        let stand = |(id, begun): &(u128, bool)| {
            let mut one = Standing::new(tombstone(*id), *begun);
            let arc = RingArc::new(0, 1).unwrap();
            one.arcs
                .insert(arc, crate::cluster::control::Removal::default());
            (TombstoneId(*id), one)
        };
        state.tombstones = Arc::new(ids.iter().map(stand).collect());
        state.applied = applied;
        state
    }

    fn ids<T>(of: &BTreeMap<TombstoneId, T>) -> Vec<u128> {
        of.keys().map(|id| id.0).collect()
    }

    #[test]
    fn a_copy_is_read_as_it_was_written_and_nothing_else_is() {
        let first = DeletesCopy::of(&state(&[(1, false), (2, true)], 4), BTreeMap::new());
        let copy = first
            .follow(&state(&[(2, true)], 5), TimestampMs(50))
            .unwrap();
        assert_eq!((ids(&copy.open), ids(&copy.ended)), (vec![2], vec![1]));
        let bytes = copy.encode();
        assert_eq!(DeletesCopy::decode(&bytes).as_ref(), Ok(&copy));
        for len in 0..bytes.len() {
            assert_ne!(
                DeletesCopy::decode(&bytes[..len]).as_ref(),
                Ok(&copy),
                "{len}"
            );
        }
        let unknown = [&bytes[..], &[0x7a, 0]].concat();
        assert!(DeletesCopy::decode(&unknown).is_err());
        let mut newer = bytes.clone();
        newer[8] = 2;
        assert!(matches!(
            DeletesCopy::decode(&newer),
            Err(WireError::Newer(_))
        ));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_copy_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let whole = [MAGIC.as_slice(), &[FORMAT], &bytes].concat();
            if let Ok(copy) = DeletesCopy::decode(&whole) {
                prop_assert_eq!(copy.encode(), whole);
            }
        }
    }

    /// Would catch a change that does not reach the bucket, an ended delete that is forgotten at once or
    /// kept for ever, and two copies of which nobody can say which is the newer.
    #[test]
    fn what_changes_is_followed_and_what_has_ended_is_kept_for_a_while() {
        let empty = DeletesCopy::default();
        assert_eq!(empty.follow(&state(&[], 7), TimestampMs(1)), None);
        let one = empty
            .follow(&state(&[(1, false)], 8), TimestampMs(2))
            .unwrap();
        assert_eq!((one.cluster, one.position), (0xc0, (0, 8)));
        assert_eq!(one.follow(&state(&[(1, false)], 9), TimestampMs(3)), None);
        let begun = one.follow(&state(&[(1, true)], 9), TimestampMs(3)).unwrap();
        assert!(begun.open[&TombstoneId(1)].begun);
        let mut later = state(&[], 10);
        let arc = RingArc::new(0, 1).unwrap();
        let partition = later.partitions.get_mut(&arc).map(Arc::make_mut).unwrap();
        partition.version = 77;
        assert_eq!(
            begun.follow(
                &ControlState {
                    applied: 9,
                    ..later.clone()
                },
                TimestampMs(4)
            ),
            None
        );
        let over = begun.follow(&later, TimestampMs(4)).unwrap();
        assert_eq!((ids(&over.open), ids(&over.ended)), (vec![], vec![1]));
        let ended = &over.ended[&TombstoneId(1)];
        assert_eq!((ended.at, ended.versions[&arc]), (TimestampMs(4), 77));
        later.applied = 11;
        let until = TimestampMs(4 + ENDED_KEPT_MS);
        assert_eq!(over.follow(&later, until.plus_ms(-1)), None);
        assert_eq!(over.follow(&later, until).unwrap().ended, BTreeMap::new());
        // One that is in force again is no ended one.
        later.tombstones = state(&[(1, false)], 0).tombstones;
        let again = over.follow(&later, TimestampMs(5)).unwrap();
        assert_eq!((ids(&again.open), ids(&again.ended)), (vec![1], vec![]));
    }

    #[test]
    fn the_latest_that_have_ended_are_kept() {
        let many: Vec<(u128, bool)> = (0..=ENDED_MAX as u128).map(|id| (id, true)).collect();
        let mut copy = DeletesCopy::of(&state(&many, 1), BTreeMap::new());
        for (at, left) in [(2, &many[1..]), (3, &[][..])] {
            copy = copy
                .follow(&state(left, at), TimestampMs(at as i64))
                .unwrap();
        }
        assert_eq!(copy.ended.len(), ENDED_MAX);
        assert!(!copy.ended.contains_key(&TombstoneId(0)));
    }
}
