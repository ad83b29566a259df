//! Methods, callers, and how a call fails.

use crate::cluster::identity::{ClusterId, Session};
use crate::model::Incarnation;

/// What a peer is asked. The number is what goes over the wire: never given to another meaning.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u16)]
pub enum Method {
    /// Who are you? The one question that a stranger may ask.
    Hello = 1,
    /// Messages of the control group among its members.
    Raft = 2,
    /// A command for the leader of the control group to propose.
    Propose = 3,
    /// A node that has no cluster asks to become a learner.
    Join = 4,
    /// The long-lived stream of samples from a coordinator to a replica.
    Append = 5,
    /// A seal's cut: what do you hold of this partition and range, as of now?
    Cut = 6,
    /// The raw content of a part of what a cut or a head holds.
    Pull = 7,
    /// Take this block's file from me and keep it, durably.
    Stage = 8,
    /// The bytes of a block's file.
    FetchBlock = 9,
    /// What do you hold of these partitions in this range: epoch, version, digests?
    ReadState = 10,
    /// Series with their samples.
    Select = 11,
    /// Series, label names, label values, metadata, exemplars, cardinality: what has no samples.
    Names = 12,
    /// What a node says of itself to a person: for `cairn ring`, `cairn status` and the page.
    Status = 13,
    /// How far are you with a partition that you join or hold? Its blocks are fetched from now on.
    Move = 14,
    /// Keep the list of a partition's older blocks, or send what you have of it.
    Manifest = 15,
    /// Verify what you hold, call that off, or say how far you are.
    Verify = 16,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Hello,
        Self::Raft,
        Self::Propose,
        Self::Join,
        Self::Append,
        Self::Cut,
        Self::Pull,
        Self::Stage,
        Self::FetchBlock,
        Self::ReadState,
        Self::Select,
        Self::Names,
        Self::Status,
        Self::Move,
        Self::Manifest,
        Self::Verify,
    ];

    /// The method of a number, if this program knows it.
    #[must_use]
    pub fn of(number: u16) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|method| method.number() == number)
    }

    /// Its number on the wire.
    #[must_use]
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// Its name in metrics and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hello => "hello",
            Self::Raft => "raft",
            Self::Propose => "propose",
            Self::Join => "join",
            Self::Append => "append",
            Self::Cut => "cut",
            Self::Pull => "pull",
            Self::Stage => "stage",
            Self::FetchBlock => "fetch_block",
            Self::ReadState => "read_state",
            Self::Select => "select",
            Self::Names => "names",
            Self::Status => "status",
            Self::Move => "move",
            Self::Manifest => "manifest",
            Self::Verify => "verify",
        }
    }

    /// Whether a caller that belongs to no cluster yet may ask it.
    #[must_use]
    pub const fn is_for_strangers(self) -> bool {
        matches!(self, Self::Hello | Self::Join)
    }
}

/// Who is calling, as checked by the transport: every request carries it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Caller {
    /// The cluster it belongs to; `None` for a node that has none yet.
    pub cluster: Option<ClusterId>,
    /// The control generation it lives in.
    pub generation: u64,
    /// What it is.
    pub incarnation: Incarnation,
    /// Which start of it.
    pub session: Session,
}

/// Why a service does not answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    /// It may work later or elsewhere: starting, overloaded, too far behind, not the leader.
    #[error("{0}")]
    Unavailable(String),
    /// The message cannot be understood or asks for what must not be given.
    #[error("{0}")]
    Invalid(String),
    /// What was asked for is not here.
    #[error("{0}")]
    NotFound(String),
    /// The caller's session is not the latest of its incarnation: it must exit.
    #[error("{0}")]
    OldSession(String),
    /// The caller's incarnation was given up for ever: it must exit, and the start after that sets
    /// its data directory aside. A peer of an older version is told, and says, `OldSession`.
    #[error("{0}")]
    GivenUp(String),
    /// Another cluster, an unknown node, a version that does not fit.
    #[error("{0}")]
    Stranger(String),
}

/// Why a call has failed at the caller.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PeerError {
    /// Nobody knows where the peer is, or nothing answers there.
    #[error("peer {peer} cannot be reached: {reason}")]
    Unreachable {
        /// Name or incarnation of the peer.
        peer: String,
        /// What the attempt gave.
        reason: String,
    },
    /// No answer in time. It may have been carried out all the same.
    #[error("peer {peer} did not answer {method} within {ms} ms")]
    TimedOut {
        /// Name or incarnation of the peer.
        peer: String,
        /// What it was asked.
        method: &'static str,
        /// How long it had.
        ms: u64,
    },
    /// The peer refuses.
    #[error("peer {peer} refuses: {refused}")]
    Refused {
        /// Name or incarnation of the peer.
        peer: String,
        /// Why.
        refused: Refused,
    },
    /// The answer cannot be understood.
    #[error("peer {peer} answered with what cannot be read: {reason}")]
    Garbled {
        /// Name or incarnation of the peer.
        peer: String,
        /// What is wrong with it.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_is_found_by_its_number() {
        for method in Method::ALL {
            assert_eq!(Method::of(method.number()), Some(method));
        }
        assert_eq!(Method::of(0), None);
        assert_eq!(Method::of(17), None);
    }
}
