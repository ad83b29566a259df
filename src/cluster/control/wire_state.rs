//! The control state as bytes: what a snapshot holds. Maps are written in the order of their
//! keys, so equal states are equal bytes. A state that uses what this version only reserves is
//! refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use prost::Message;

use super::command::{ClusterId, History, Session};
use super::state::{ControlState, Liveness, Member, Partition, RangeKey, RoundFloor};
use super::wire_parts::{ArcMessage, EntryMessage, RangeMessage, WireError};
use super::wire_parts::{read_digest, read_wide, required, wide};
use super::wire_ring::{MemberIdMessage, MoveMessage};
use super::wire_tombstone::StandingMessage;
use crate::model::{Epoch, Incarnation, TimestampMs};

/// A state's bytes.
pub(super) fn encode_state(state: &ControlState) -> Vec<u8> {
    StateMessage {
        cluster: state.cluster.map(|cluster| wide(cluster.0)),
        generation: state.generation,
        feature_level: state.feature_level,
        applied: state.applied,
        members: state.members.iter().map(MemberMessage::of).collect(),
        partitions: state
            .partitions
            .iter()
            .map(|(arc, partition)| PartitionMessage::of((*arc).into(), partition))
            .collect(),
        tombstones: state.tombstones.values().map(Into::into).collect(),
    }
    .encode_to_vec()
}

/// The state of some bytes.
pub(super) fn decode_state(bytes: &[u8]) -> Result<ControlState, WireError> {
    let message = StateMessage::decode(bytes).map_err(|error| WireError::Damaged {
        what: "the control state",
        problem: error.to_string(),
    })?;
    let cluster = message.cluster.map(|bytes| read_wide(&bytes)).transpose()?;
    let members: Result<BTreeMap<_, _>, WireError> = message
        .members
        .into_iter()
        .map(MemberMessage::read)
        .collect();
    let partitions: Result<BTreeMap<_, _>, WireError> = message
        .partitions
        .into_iter()
        .map(|mut partition| {
            let arc = required(partition.arc.take(), "an arc")?.read()?;
            Ok((arc, Arc::new(partition.read()?)))
        })
        .collect();
    let tombstones = message.tombstones.into_iter().map(StandingMessage::read);
    let tombstones: Result<BTreeMap<_, _>, WireError> = tombstones.collect();
    Ok(ControlState {
        cluster: cluster.map(ClusterId),
        generation: message.generation,
        feature_level: message.feature_level,
        applied: message.applied,
        members: members?,
        partitions: partitions?,
        tombstones: Arc::new(tombstones?),
    })
}

#[derive(Clone, PartialEq, Message)]
struct StateMessage {
    #[prost(bytes = "vec", optional, tag = "1")]
    cluster: Option<Vec<u8>>,
    #[prost(uint64, tag = "2")]
    generation: u64,
    #[prost(uint32, tag = "3")]
    feature_level: u32,
    #[prost(uint64, tag = "4")]
    applied: u64,
    #[prost(message, repeated, tag = "5")]
    members: Vec<MemberMessage>,
    #[prost(message, repeated, tag = "6")]
    partitions: Vec<PartitionMessage>,
    #[prost(message, repeated, tag = "7")]
    tombstones: Vec<StandingMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct MemberMessage {
    #[prost(bytes = "vec", tag = "1")]
    incarnation: Vec<u8>,
    #[prost(uint32, tag = "2")]
    life: u32,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(uint64, tag = "4")]
    starts: u64,
    #[prost(bytes = "vec", tag = "5")]
    nonce: Vec<u8>,
    #[prost(string, repeated, tag = "6")]
    addresses: Vec<String>,
    #[prost(string, tag = "7")]
    zone: String,
    #[prost(uint64, tag = "8")]
    capacity_bytes: u64,
    #[prost(string, tag = "9")]
    version: String,
    #[prost(uint32, tag = "10")]
    feature_level_max: u32,
    #[prost(uint32, tag = "11")]
    liveness: u32,
    #[prost(bool, tag = "12")]
    draining: bool,
}

impl MemberMessage {
    fn of((incarnation, member): (&Incarnation, &Member)) -> Self {
        Self {
            incarnation: wide(incarnation.0),
            life: member.life,
            name: member.name.clone(),
            starts: member.session.starts,
            nonce: wide(member.session.nonce),
            addresses: member.addresses.clone(),
            zone: member.zone.clone(),
            capacity_bytes: member.capacity_bytes,
            version: member.version.clone(),
            feature_level_max: member.feature_level_max,
            liveness: match member.liveness {
                Liveness::Live => 0,
                Liveness::Down => 1,
                Liveness::Gone => 2,
            },
            draining: member.draining,
        }
    }

    fn read(self) -> Result<(Incarnation, Member), WireError> {
        let liveness = match self.liveness {
            0 => Liveness::Live,
            1 => Liveness::Down,
            2 => Liveness::Gone,
            _ => return Err(WireError::Newer("a liveness")),
        };
        let member = Member {
            name: self.name,
            life: self.life,
            session: Session {
                starts: self.starts,
                nonce: read_wide(&self.nonce)?,
            },
            addresses: self.addresses,
            zone: self.zone,
            capacity_bytes: self.capacity_bytes,
            version: self.version,
            feature_level_max: self.feature_level_max,
            liveness,
            draining: self.draining,
        };
        Ok((Incarnation(read_wide(&self.incarnation)?), member))
    }
}

/// Fields 9 (`open`) and 10 (`given_up`) are reserved; whoever finds something in them must not
/// serve the partition.
#[derive(Clone, PartialEq, Message)]
struct PartitionMessage {
    #[prost(message, optional, tag = "1")]
    arc: Option<ArcMessage>,
    #[prost(uint64, tag = "2")]
    epoch: u64,
    #[prost(message, repeated, tag = "3")]
    members: Vec<MemberIdMessage>,
    #[prost(message, optional, tag = "4")]
    moving: Option<MoveMessage>,
    #[prost(uint64, tag = "5")]
    version: u64,
    #[prost(message, repeated, tag = "6")]
    recent: Vec<EntryMessage>,
    #[prost(bytes = "vec", optional, tag = "7")]
    history: Option<Vec<u8>>,
    #[prost(message, repeated, tag = "8")]
    rounds: Vec<RoundMessage>,
    #[prost(bytes = "vec", repeated, tag = "9")]
    open: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "10")]
    given_up: Vec<Vec<u8>>,
    #[prost(sint64, optional, tag = "11")]
    expired_before_ms: Option<i64>,
    #[prost(uint32, tag = "12")]
    history_blocks: u32,
    #[prost(sint64, tag = "13")]
    history_oldest_end_ms: i64,
    #[prost(message, optional, tag = "14")]
    round_floor: Option<RoundFloorMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct RoundFloorMessage {
    #[prost(sint64, tag = "1")]
    before_ms: i64,
    #[prost(uint32, tag = "2")]
    sealed: u32,
}

#[derive(Clone, PartialEq, Message)]
struct RoundMessage {
    #[prost(message, optional, tag = "1")]
    range: Option<RangeMessage>,
    #[prost(uint32, tag = "2")]
    sealed: u32,
}

impl PartitionMessage {
    fn of(arc: ArcMessage, partition: &Partition) -> Self {
        let rounds = partition.rounds.iter().map(|(range, sealed)| RoundMessage {
            range: Some(range.range().into()),
            sealed: *sealed,
        });
        let (before, floor) = (partition.expired_before, partition.round_floor);
        Self {
            arc: Some(arc),
            epoch: partition.epoch.0,
            members: partition.members.iter().map(|m| (*m).into()).collect(),
            moving: partition.moving.map(Into::into),
            version: partition.version,
            recent: partition.recent.values().map(Into::into).collect(),
            history: partition.history.map(|history| history.digest.0.to_vec()),
            rounds: rounds.collect(),
            open: Vec::new(),
            given_up: Vec::new(),
            expired_before_ms: (before > TimestampMs::MIN).then_some(before.0),
            history_blocks: partition.history.map_or(0, |history| history.blocks),
            history_oldest_end_ms: partition.history.map_or(0, |h| h.oldest_end.0),
            round_floor: (floor != RoundFloor::default()).then_some(RoundFloorMessage {
                before_ms: floor.before.0,
                sealed: floor.sealed,
            }),
        }
    }

    fn read(self) -> Result<Partition, WireError> {
        let reserved = [
            (self.open.is_empty(), "an open ensemble"),
            (self.given_up.is_empty(), "a given-up ensemble"),
        ];
        if let Some((_, what)) = reserved.iter().find(|(empty, _)| !empty) {
            return Err(WireError::Newer(what));
        }
        let entry = |message: EntryMessage| message.read().map(|entry| (entry.id, entry));
        let round = |message: RoundMessage| {
            let range = required(message.range, "a range")?.read();
            Ok((RangeKey::from(range), message.sealed))
        };
        let members = self.members.into_iter().map(MemberIdMessage::read);
        let members: Result<Vec<_>, WireError> = members.collect();
        let recent: Result<BTreeMap<_, _>, WireError> =
            self.recent.into_iter().map(entry).collect();
        let rounds: Result<BTreeMap<_, _>, WireError> =
            self.rounds.into_iter().map(round).collect();
        let before = self.expired_before_ms.map_or(TimestampMs::MIN, TimestampMs);
        let (blocks, oldest_end) = (self.history_blocks, TimestampMs(self.history_oldest_end_ms));
        let history = self.history.map(|digest| {
            let digest = read_digest(&digest)?;
            Ok::<_, WireError>(History {
                digest,
                blocks,
                oldest_end,
            })
        });
        let floor = self.round_floor.map(|floor| RoundFloor {
            before: TimestampMs(floor.before_ms),
            sealed: floor.sealed,
        });
        Ok(Partition {
            epoch: Epoch(self.epoch),
            members: members?,
            moving: self.moving.map(MoveMessage::read).transpose()?,
            version: self.version,
            recent: recent?,
            history: history.transpose()?,
            rounds: rounds?,
            round_floor: floor.unwrap_or_default(),
            expired_before: before,
        })
    }
}
