//! Which connection to a peer carries which method. What must not wait (consensus, small
//! questions) has one of its own, so that neither a slow reader of a large answer nor the queue of
//! a full socket delays it.

use crate::cluster::peer::Method;

/// A connection of its own to each peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Lane {
    /// Small questions with small answers.
    Talk,
    /// The stream of samples.
    Append,
    /// Large answers.
    Bulk,
}

impl Lane {
    pub(super) const COUNT: usize = 3;

    pub(super) const fn of(method: Method) -> Self {
        match method {
            Method::Hello
            | Method::Raft
            | Method::Propose
            | Method::Join
            | Method::Cut
            | Method::ReadState
            | Method::Status
            | Method::Move => Self::Talk,
            Method::Append => Self::Append,
            Method::Pull
            | Method::Stage
            | Method::FetchBlock
            | Method::Manifest
            | Method::Verify
            | Method::Select
            | Method::Names => Self::Bulk,
        }
    }

    pub(super) const fn place(self) -> usize {
        match self {
            Self::Talk => 0,
            Self::Append => 1,
            Self::Bulk => 2,
        }
    }

    /// Calls and streams under way at once; more wait, as long as their patience lasts. 32 times
    /// the window of a stream is the window of a connection.
    pub(super) const fn calls_max(self) -> usize {
        match self {
            Self::Talk => 96,
            Self::Append => 8,
            Self::Bulk => 32,
        }
    }
}
