//! Cuts and pulls: requests and answers.

use bytes::Bytes;
use prost::Message;

use super::tree;
use super::wire::{
    DataError, messages, put_arc, put_range, read, required, take_arc, take_range, wrong,
};
use crate::model::{Epoch, RingArc, TimeRange, Window};
use crate::runtime::{Rule, holds};
use crate::store::{DigestTree, Leaves};

/// What do you hold of this partition and range, as of now?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CutRequest {
    /// The partition.
    pub arc: RingArc,
    /// Under which epoch it is asked.
    pub epoch: Epoch,
    /// What is to be frozen; `None`: nothing is, and the trees of all windows are wanted.
    pub range: Option<TimeRange>,
    /// The round of the range.
    pub round: u32,
    /// Whether a member that has lost a part of its memory shall answer, too.
    pub remains: bool,
}

/// What was asked for.
#[derive(Clone, PartialEq, Debug)]
pub enum CutHeld {
    /// Nothing is held of the range.
    Empty,
    /// It was frozen, and this is what it holds.
    Cut {
        /// By which it can be pulled and released.
        token: u64,
        /// Its digests.
        tree: DigestTree,
    },
    /// The windows of which something is held; nothing was frozen.
    Windows(Vec<(Window, DigestTree)>),
}

/// The answer.
#[derive(Clone, PartialEq, Debug)]
pub enum CutAnswer {
    /// The one who answers has another epoch; 0: none at all.
    WrongEpoch(Epoch),
    /// It has the same.
    Held {
        /// The epoch.
        epoch: Epoch,
        /// The version of the catalog that is applied there.
        version: u64,
        /// What it holds.
        held: CutHeld,
    },
}

/// Windows of one answer: some 60 years of data that was never sealed.
const WINDOWS_MAX: usize = 1 << 18;

impl CutRequest {
    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let message = messages::CutRequest {
            arc: Some(put_arc(self.arc)),
            epoch: self.epoch.0,
            range: self.range.map(put_range),
            round: self.round,
            remains: self.remains,
        };
        Bytes::from(message.encode_to_vec())
    }

    /// From bytes.
    ///
    /// # Errors
    /// When they are none.
    pub fn decode(body: Bytes) -> Result<Self, DataError> {
        let message: messages::CutRequest = read("a request for a cut", body)?;
        Ok(Self {
            arc: take_arc(message.arc)?,
            epoch: Epoch(message.epoch),
            range: message.range.map(take_range).transpose()?,
            round: message.round,
            remains: message.remains,
        })
    }
}

impl CutAnswer {
    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut message = messages::CutAnswer::default();
        match self {
            Self::WrongEpoch(epoch) => message.epoch = epoch.0,
            Self::Held {
                epoch,
                version,
                held,
            } => {
                message.epoch = epoch.0;
                message.version = *version;
                match held {
                    CutHeld::Empty => {}
                    CutHeld::Cut { token, tree } => {
                        message.token = *token;
                        message.tree = Some(tree::put(tree));
                    }
                    CutHeld::Windows(windows) => message.windows = put_windows(windows),
                }
            }
        }
        Bytes::from(message.encode_to_vec())
    }

    /// From bytes, as the answer to a request.
    ///
    /// # Errors
    /// When they are none.
    pub fn decode(body: Bytes, request: &CutRequest) -> Result<Self, DataError> {
        let message: messages::CutAnswer = read("the answer to a cut", body)?;
        let epoch = Epoch(message.epoch);
        if epoch != request.epoch && holds(Rule::SourcesAreFenced) {
            return Ok(Self::WrongEpoch(epoch));
        }
        let held = match (&message.tree, request.range) {
            (_, None) => CutHeld::Windows(take_windows(&message.windows)?),
            (None, Some(_)) => CutHeld::Empty,
            (Some(tree), Some(_)) => CutHeld::Cut {
                token: message.token,
                tree: tree::take(tree)?,
            },
        };
        Ok(Self::Held {
            epoch,
            version: message.version,
            held,
        })
    }
}

fn put_windows(windows: &[(Window, DigestTree)]) -> Vec<messages::WindowTree> {
    let windows = windows.iter();
    windows
        .map(|(window, tree)| messages::WindowTree {
            window: window.0,
            tree: Some(tree::put(tree)),
        })
        .collect()
}

fn take_windows(windows: &[messages::WindowTree]) -> Result<Vec<(Window, DigestTree)>, DataError> {
    if windows.len() > WINDOWS_MAX {
        let problem = format!("it has {} of at most {WINDOWS_MAX}", windows.len());
        return Err(wrong("a list of windows", problem));
    }
    if !windows.is_sorted_by(|a, b| a.window < b.window) {
        return Err(wrong("a list of windows", "they do not rise"));
    }
    let one = |window: &messages::WindowTree| {
        let tree = required(window.tree.as_ref(), "a window's tree")?;
        Ok((Window(window.window), tree::take(tree)?))
    };
    windows.iter().map(one).collect()
}

/// Why something is asked for. It changes no meaning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// A client waits for it.
    Client,
    /// Kept for somebody who was away.
    Hint,
    /// A move.
    Move,
    /// A node is emptied.
    Drain,
    /// A member without its memory hands over what it still has.
    Handover,
    /// A seal.
    Seal,
    /// Another version's.
    Other(u32),
}

impl Purpose {
    /// Its number on the wire.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Client => 0,
            Self::Hint => 1,
            Self::Move => 2,
            Self::Drain => 3,
            Self::Handover => 4,
            Self::Seal => 5,
            Self::Other(number) => number,
        }
    }

    /// The purpose of a number.
    #[must_use]
    pub const fn of(number: u32) -> Self {
        match number {
            0 => Self::Client,
            1 => Self::Hint,
            2 => Self::Move,
            3 => Self::Drain,
            4 => Self::Handover,
            5 => Self::Seal,
            other => Self::Other(other),
        }
    }
}

/// Of what the content is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PullOf {
    /// A cut, by its token.
    Cut(u64),
    /// A window as it is now.
    Window(Window),
    /// All windows as they are now.
    Everything,
}

/// The raw content of some leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PullRequest {
    /// The partition.
    pub arc: RingArc,
    /// The least epoch that the one who answers must have.
    pub epoch: Epoch,
    /// Why.
    pub purpose: Purpose,
    /// Of what.
    pub of: PullOf,
    /// Which leaves.
    pub leaves: Leaves,
}

impl PullRequest {
    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let (mut cut, mut window) = (None, None);
        match self.of {
            PullOf::Cut(token) => cut = Some(token),
            PullOf::Window(of) => window = Some(of.0),
            PullOf::Everything => {}
        }
        let message = messages::PullRequest {
            arc: Some(put_arc(self.arc)),
            epoch: self.epoch.0,
            purpose: self.purpose.number(),
            cut,
            window,
            leaves: Bytes::from(tree::encode_leaves(&self.leaves)),
            metadata: self.leaves.metadata(),
        };
        Bytes::from(message.encode_to_vec())
    }

    /// From bytes.
    ///
    /// # Errors
    /// When they are none.
    pub fn decode(body: Bytes) -> Result<Self, DataError> {
        let message: messages::PullRequest = read("a pull", body)?;
        let of = match (message.cut, message.window) {
            (None, None) => PullOf::Everything,
            (Some(token), None) => PullOf::Cut(token),
            (None, Some(window)) => PullOf::Window(Window(window)),
            (Some(_), Some(_)) => return Err(wrong("a pull", "it names a cut and a window")),
        };
        let leaves = tree::decode_leaves(&message.leaves)?;
        Ok(Self {
            arc: take_arc(message.arc)?,
            epoch: Epoch(message.epoch),
            purpose: Purpose::of(message.purpose),
            of,
            leaves: Leaves::new(*leaves.slots(), message.metadata),
        })
    }
}
