//! The commands by which a person gives something up, as bytes.

use prost::Message;

use super::command::{ControlGeneration, HistoryLeft, Recovered};
use super::wire_manifest::HistoryMessage;
use super::wire_parts::{ArcMessage, WireError, damaged, read_digest, read_wide, required, wide};
use super::wire_ring::MemberIdMessage;
use crate::model::{BlockId, Epoch, Incarnation};

/// Members and nodes of one command: far more than a set or a cluster has.
const NODES_MAX: usize = 4_096;

/// `Recovered`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct RecoveredMessage {
    #[prost(message, optional, tag = "1")]
    arc: Option<ArcMessage>,
    #[prost(uint64, tag = "2")]
    epoch: u64,
    #[prost(message, repeated, tag = "3")]
    members: Vec<MemberIdMessage>,
    #[prost(bytes = "vec", repeated, tag = "4")]
    lost_blocks: Vec<Vec<u8>>,
    #[prost(message, optional, tag = "5")]
    history: Option<HistoryLeftMessage>,
}

/// What is left of a manifest.
#[derive(Clone, PartialEq, Message)]
struct HistoryLeftMessage {
    #[prost(bytes = "vec", tag = "1")]
    base: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    left: Option<HistoryMessage>,
}

impl HistoryLeftMessage {
    fn of(history: &HistoryLeft) -> Self {
        Self {
            base: history.base.0.to_vec(),
            left: history.left.map(Into::into),
        }
    }

    fn read(self) -> Result<HistoryLeft, WireError> {
        Ok(HistoryLeft {
            base: read_digest(&self.base)?,
            left: self.left.map(HistoryMessage::read).transpose()?,
        })
    }
}

impl From<&Recovered> for RecoveredMessage {
    fn from(recovered: &Recovered) -> Self {
        Self {
            arc: Some(recovered.arc.into()),
            epoch: recovered.epoch.0,
            members: recovered.members.iter().map(|m| (*m).into()).collect(),
            lost_blocks: recovered.lost_blocks.iter().map(|b| wide(b.0)).collect(),
            history: recovered.history.as_ref().map(HistoryLeftMessage::of),
        }
    }
}

impl RecoveredMessage {
    pub(super) fn read(self) -> Result<Recovered, WireError> {
        if self.members.len() > NODES_MAX {
            return Err(damaged("a recovery", "too many members"));
        }
        let members: Result<_, _> = self.members.into_iter().map(|m| m.read()).collect();
        let blocks = self.lost_blocks.iter();
        let blocks: Result<_, _> = blocks.map(|b| read_wide(b).map(BlockId)).collect();
        Ok(Recovered {
            arc: required(self.arc, "a recovery's arc")?.read()?,
            epoch: Epoch(self.epoch),
            members: members?,
            lost_blocks: blocks?,
            history: self.history.map(HistoryLeftMessage::read).transpose()?,
        })
    }
}

/// `ControlGeneration`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct GenerationMessage {
    #[prost(uint64, tag = "1")]
    generation: u64,
    #[prost(bytes = "vec", repeated, tag = "2")]
    lost: Vec<Vec<u8>>,
}

impl From<&ControlGeneration> for GenerationMessage {
    fn from(generation: &ControlGeneration) -> Self {
        Self {
            generation: generation.generation,
            lost: generation.lost.iter().map(|who| wide(who.0)).collect(),
        }
    }
}

impl GenerationMessage {
    pub(super) fn read(self) -> Result<ControlGeneration, WireError> {
        if self.lost.len() > NODES_MAX {
            return Err(damaged("a control generation", "too many nodes"));
        }
        let lost = self.lost.iter();
        let lost: Result<_, _> = lost.map(|who| read_wide(who).map(Incarnation)).collect();
        Ok(ControlGeneration {
            generation: self.generation,
            lost: lost?,
        })
    }
}
