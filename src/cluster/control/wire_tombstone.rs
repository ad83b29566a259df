//! Tombstones as bytes: in commands, and as the state holds them.

use prost::Message;

use super::tombstone::{
    MATCHERS_BYTES_MAX, Removal, Standing, Tombstone, TombstoneDone, TombstoneId,
};
use super::wire_parts::{ArcMessage, RangeMessage, WireError, damaged, read_wide, required, wide};
use super::wire_ring::MemberIdMessage;
use crate::model::{Deletion, MatchOp, Matcher, RingArc, TenantId, TimestampMs};

/// `Tombstone`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct TombstoneMessage {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(string, tag = "2")]
    tenant: String,
    #[prost(message, repeated, tag = "3")]
    matchers: Vec<MatcherMessage>,
    #[prost(message, optional, tag = "4")]
    range: Option<RangeMessage>,
    #[prost(sint64, tag = "5")]
    at_ms: i64,
}

/// A matcher.
#[derive(Clone, PartialEq, Message)]
struct MatcherMessage {
    #[prost(string, tag = "1")]
    name: String,
    /// 0 `=`, 1 `!=`, 2 `=~`, 3 `!~`.
    #[prost(uint32, tag = "2")]
    op: u32,
    #[prost(string, tag = "3")]
    value: String,
}

impl From<&Matcher> for MatcherMessage {
    fn from(matcher: &Matcher) -> Self {
        Self {
            name: matcher.name().to_owned(),
            op: match matcher.op() {
                MatchOp::Equal => 0,
                MatchOp::NotEqual => 1,
                MatchOp::Regex => 2,
                MatchOp::NotRegex => 3,
            },
            value: matcher.value().to_owned(),
        }
    }
}

impl MatcherMessage {
    fn read(self) -> Result<Matcher, WireError> {
        let op = match self.op {
            0 => MatchOp::Equal,
            1 => MatchOp::NotEqual,
            2 => MatchOp::Regex,
            3 => MatchOp::NotRegex,
            _ => return Err(WireError::Newer("a kind of matcher")),
        };
        if self.name.len().saturating_add(self.value.len()) > MATCHERS_BYTES_MAX {
            return Err(damaged("a tombstone", "a matcher is too long"));
        }
        Matcher::new(&self.name, op, &self.value)
            .map_err(|error| damaged("a tombstone", error.to_string()))
    }
}

impl From<&Tombstone> for TombstoneMessage {
    fn from(tombstone: &Tombstone) -> Self {
        let deletion = &tombstone.deletion;
        Self {
            id: wide(tombstone.id.0),
            tenant: deletion.tenant.as_str().to_owned(),
            matchers: deletion.matchers.iter().map(Into::into).collect(),
            range: Some(deletion.range.into()),
            at_ms: tombstone.at.0,
        }
    }
}

impl TombstoneMessage {
    pub(super) fn read(self) -> Result<Tombstone, WireError> {
        let tenant = TenantId::new(&self.tenant);
        let matchers: Result<_, _> = self
            .matchers
            .into_iter()
            .map(MatcherMessage::read)
            .collect();
        Ok(Tombstone {
            id: TombstoneId(read_wide(&self.id)?),
            deletion: Deletion {
                tenant: tenant.map_err(|error| damaged("a tombstone", error.to_string()))?,
                matchers: matchers?,
                range: required(self.range, "a range")?.read(),
            },
            at: TimestampMs(self.at_ms),
        })
    }
}

/// `TombstoneBegun` and `TombstoneUndone`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct TombstoneNameMessage {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
}

impl From<TombstoneId> for TombstoneNameMessage {
    fn from(id: TombstoneId) -> Self {
        Self { id: wide(id.0) }
    }
}

impl TombstoneNameMessage {
    pub(super) fn read(self) -> Result<TombstoneId, WireError> {
        read_wide(&self.id).map(TombstoneId)
    }
}

/// `TombstoneDone`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct TombstoneDoneMessage {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    by: Option<MemberIdMessage>,
    #[prost(uint64, tag = "3")]
    seen: u64,
}

impl From<TombstoneDone> for TombstoneDoneMessage {
    fn from(done: TombstoneDone) -> Self {
        Self {
            id: wide(done.id.0),
            by: Some(done.by.into()),
            seen: done.seen,
        }
    }
}

impl TombstoneDoneMessage {
    pub(super) fn read(self) -> Result<TombstoneDone, WireError> {
        Ok(TombstoneDone {
            id: TombstoneId(read_wide(&self.id)?),
            by: required(self.by, "a member")?.read()?,
            seen: self.seen,
        })
    }
}

/// A tombstone in the state.
#[derive(Clone, PartialEq, Message)]
pub(super) struct StandingMessage {
    #[prost(message, optional, tag = "1")]
    tombstone: Option<TombstoneMessage>,
    #[prost(bool, tag = "2")]
    begun: bool,
    #[prost(message, repeated, tag = "3")]
    arcs: Vec<RemovalMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct RemovalMessage {
    #[prost(message, optional, tag = "1")]
    arc: Option<ArcMessage>,
    #[prost(uint64, tag = "2")]
    since: u64,
    #[prost(message, repeated, tag = "3")]
    clean: Vec<MemberIdMessage>,
    #[prost(bool, tag = "4")]
    settled: bool,
}

impl RemovalMessage {
    fn of((arc, removal): (&RingArc, &Removal)) -> Self {
        Self {
            arc: Some((*arc).into()),
            since: removal.since,
            clean: removal.clean.iter().map(|m| (*m).into()).collect(),
            settled: removal.settled,
        }
    }

    fn read(self) -> Result<(RingArc, Removal), WireError> {
        let clean: Result<_, WireError> =
            self.clean.into_iter().map(MemberIdMessage::read).collect();
        let removal = Removal {
            since: self.since,
            clean: clean?,
            settled: self.settled,
        };
        Ok((required(self.arc, "an arc")?.read()?, removal))
    }
}

impl From<&Standing> for StandingMessage {
    fn from(standing: &Standing) -> Self {
        Self {
            tombstone: Some((&standing.tombstone).into()),
            begun: standing.begun,
            arcs: standing.arcs.iter().map(RemovalMessage::of).collect(),
        }
    }
}

impl StandingMessage {
    /// Without how far partitions are.
    pub(super) fn without_arcs(standing: &Standing) -> Self {
        Self {
            tombstone: Some((&standing.tombstone).into()),
            begun: standing.begun,
            arcs: Vec::new(),
        }
    }

    pub(super) fn read(self) -> Result<(TombstoneId, Standing), WireError> {
        let tombstone = required(self.tombstone, "a tombstone")?.read()?;
        let arcs: Result<_, WireError> = self.arcs.into_iter().map(RemovalMessage::read).collect();
        let standing = Standing {
            begun: self.begun,
            arcs: arcs?,
            tombstone,
        };
        Ok((standing.tombstone.id, standing))
    }
}
