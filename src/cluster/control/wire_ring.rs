//! The commands that change nodes' liveness and partitions' members as bytes, and the move that
//! is under way as the state holds it.

use prost::Message;

use super::command::{Drain, MemberId, MoveAbort, MoveBegin, MoveFinish, Split};
use super::state::Move;
use super::wire_parts::{ArcMessage, WireError, damaged, read_wide, required, wide};
use crate::model::{Epoch, Incarnation, RingArc};

/// `NodeDown`, `NodeLive` and `NodeGone`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct NodeMessage {
    #[prost(bytes = "vec", tag = "1")]
    incarnation: Vec<u8>,
}

impl From<Incarnation> for NodeMessage {
    fn from(incarnation: Incarnation) -> Self {
        Self {
            incarnation: wide(incarnation.0),
        }
    }
}

impl NodeMessage {
    pub(super) fn read(self) -> Result<Incarnation, WireError> {
        read_wide(&self.incarnation).map(Incarnation)
    }
}

/// `Drain`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct DrainMessage {
    #[prost(bytes = "vec", tag = "1")]
    incarnation: Vec<u8>,
    #[prost(bool, tag = "2")]
    drain: bool,
}

impl From<Drain> for DrainMessage {
    fn from(drain: Drain) -> Self {
        Self {
            incarnation: wide(drain.incarnation.0),
            drain: drain.drain,
        }
    }
}

impl DrainMessage {
    pub(super) fn read(self) -> Result<Drain, WireError> {
        Ok(Drain {
            incarnation: Incarnation(read_wide(&self.incarnation)?),
            drain: self.drain,
        })
    }
}

/// Who counts in a partition.
#[derive(Clone, PartialEq, Message)]
pub(super) struct MemberIdMessage {
    #[prost(bytes = "vec", tag = "1")]
    incarnation: Vec<u8>,
    #[prost(uint32, tag = "2")]
    life: u32,
    /// Reserved: 0 is a member; other roles are for ensembles.
    #[prost(uint32, tag = "3")]
    role: u32,
}

impl From<MemberId> for MemberIdMessage {
    fn from(member: MemberId) -> Self {
        Self {
            incarnation: wide(member.incarnation.0),
            life: member.life,
            role: 0,
        }
    }
}

impl MemberIdMessage {
    pub(super) fn read(self) -> Result<MemberId, WireError> {
        if self.role != 0 {
            return Err(WireError::Newer("a member's role"));
        }
        Ok(MemberId {
            incarnation: Incarnation(read_wide(&self.incarnation)?),
            life: self.life,
        })
    }
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct MoveBeginMessage {
    #[prost(message, optional, tag = "1")]
    arc: Option<ArcMessage>,
    #[prost(uint64, tag = "2")]
    epoch: u64,
    #[prost(message, optional, tag = "3")]
    join: Option<MemberIdMessage>,
    #[prost(message, optional, tag = "4")]
    leave: Option<MemberIdMessage>,
}

impl From<&MoveBegin> for MoveBeginMessage {
    fn from(begin: &MoveBegin) -> Self {
        Self {
            arc: Some(begin.arc.into()),
            epoch: begin.epoch.0,
            join: begin.join.map(Into::into),
            leave: begin.leave.map(Into::into),
        }
    }
}

impl MoveBeginMessage {
    pub(super) fn read(self) -> Result<MoveBegin, WireError> {
        Ok(MoveBegin {
            arc: required(self.arc, "an arc")?.read()?,
            epoch: Epoch(self.epoch),
            join: self.join.map(MemberIdMessage::read).transpose()?,
            leave: self.leave.map(MemberIdMessage::read).transpose()?,
        })
    }
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct MoveFinishMessage {
    #[prost(message, optional, tag = "1")]
    arc: Option<ArcMessage>,
    #[prost(uint64, tag = "2")]
    epoch: u64,
    #[prost(uint64, tag = "3")]
    version: u64,
}

impl From<&MoveFinish> for MoveFinishMessage {
    fn from(finish: &MoveFinish) -> Self {
        Self {
            arc: Some(finish.arc.into()),
            epoch: finish.epoch.0,
            version: finish.version,
        }
    }
}

impl MoveFinishMessage {
    pub(super) fn read(self) -> Result<MoveFinish, WireError> {
        Ok(MoveFinish {
            arc: required(self.arc, "an arc")?.read()?,
            epoch: Epoch(self.epoch),
            version: self.version,
        })
    }
}

/// A partition under one epoch: `MoveAbort` and `Split`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct EpochMessage {
    #[prost(message, optional, tag = "1")]
    arc: Option<ArcMessage>,
    #[prost(uint64, tag = "2")]
    epoch: u64,
}

impl From<&MoveAbort> for EpochMessage {
    fn from(abort: &MoveAbort) -> Self {
        Self {
            arc: Some(abort.arc.into()),
            epoch: abort.epoch.0,
        }
    }
}

impl From<&Split> for EpochMessage {
    fn from(split: &Split) -> Self {
        Self {
            arc: Some(split.arc.into()),
            epoch: split.epoch.0,
        }
    }
}

impl EpochMessage {
    fn read(self) -> Result<(RingArc, Epoch), WireError> {
        Ok((required(self.arc, "an arc")?.read()?, Epoch(self.epoch)))
    }

    pub(super) fn read_abort(self) -> Result<MoveAbort, WireError> {
        let (arc, epoch) = self.read()?;
        Ok(MoveAbort { arc, epoch })
    }

    pub(super) fn read_split(self) -> Result<Split, WireError> {
        let (arc, epoch) = self.read()?;
        Ok(Split { arc, epoch })
    }
}

/// The move under way in the state: at least one of the two is there.
#[derive(Clone, PartialEq, Message)]
pub(super) struct MoveMessage {
    #[prost(message, optional, tag = "1")]
    join: Option<MemberIdMessage>,
    #[prost(message, optional, tag = "2")]
    leave: Option<MemberIdMessage>,
}

impl From<Move> for MoveMessage {
    fn from(moving: Move) -> Self {
        Self {
            join: moving.join.map(Into::into),
            leave: moving.leave.map(Into::into),
        }
    }
}

impl MoveMessage {
    pub(super) fn read(self) -> Result<Move, WireError> {
        if self.join.is_none() && self.leave.is_none() {
            return Err(damaged("a move", "nobody comes and nobody goes"));
        }
        Ok(Move {
            join: self.join.map(MemberIdMessage::read).transpose()?,
            leave: self.leave.map(MemberIdMessage::read).transpose()?,
        })
    }
}
