//! The messages of `proto/read.proto` as values: requests and states. Every length and enum that
//! comes is checked; parts of answers are in `answers.rs`, columns of samples in `batch.rs`.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;

use super::leaves::{HeadSums, Leaf, LeafSet, Leaves, SLOTS, WindowSums};
use super::protocol::{Answer, HeldHere};
use crate::cluster::control::MemberId;
use crate::model::{
    Epoch, Incarnation, MatchOp, Matcher, RingArc, TenantId, TimeRange, TimestampMs, Window,
};
use crate::source::{Moments, Selection};
use crate::store::ContentSum;

/// What the compiler of `proto/` writes.
pub(super) mod wire {
    #![allow(
        missing_docs,
        unreachable_pub,
        clippy::all,
        clippy::doc_markdown,
        reason = "generated"
    )]
    include!(concat!(env!("OUT_DIR"), "/cairn.read.v1.rs"));
}

/// Partitions that one request may name: a ring of 300 nodes has 1,024.
const PARTITIONS_MAX: usize = 1 << 16;
/// Windows that may be named of one partition: twenty years.
const WINDOWS_MAX: usize = 1 << 17;
/// Matchers of one selection; the HTTP interface takes fewer.
const MATCHERS_MAX: usize = 1 << 12;

/// A message that cannot be what a peer of this version would send.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unreadable(pub(super) String);

impl From<prost::DecodeError> for Unreadable {
    fn from(error: prost::DecodeError) -> Self {
        Self(error.to_string())
    }
}

pub(super) fn unreadable(what: &str) -> Unreadable {
    Unreadable(what.to_owned())
}

pub(super) fn bound(what: &str, len: usize, max: usize) -> Result<(), Unreadable> {
    if len > max {
        return Err(Unreadable(format!("{len} {what}, at most {max} are read")));
    }
    Ok(())
}

/// A partition that is asked of, under an epoch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Asked {
    pub(super) arc: RingArc,
    pub(super) epoch: Epoch,
    /// What is wanted of the head, when only that is.
    pub(super) leaves: Leaves,
}

/// Asks for what is held.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct StateRequest {
    /// Of those with leaves only these are meant.
    pub(super) partitions: Vec<Asked>,
    pub(super) selection: Selection,
    /// Sums over encoded series will do for the others.
    pub(super) encoded: bool,
}

/// Who answers, and of each partition what it holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct State {
    pub(super) member: MemberId,
    pub(super) applied: u64,
    /// Drawn when its process started.
    pub(super) run: u64,
    pub(super) partitions: BTreeMap<RingArc, PartitionAnswer>,
}

/// One partition's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct PartitionAnswer {
    /// The epoch under which it is answered.
    pub(super) epoch: Epoch,
    pub(super) held: HeldHere,
    /// 1: the old set, 2: the new one, 3: both.
    pub(super) sets: u32,
}

impl PartitionAnswer {
    /// What it says to somebody who asked under an epoch.
    pub(super) fn under(self, epoch: Epoch) -> Answer {
        if self.epoch == epoch {
            Answer::Holds(self.held)
        } else {
            Answer::OtherEpoch(self.epoch)
        }
    }
}

/// Asks for series with samples.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct SelectRequest {
    pub(super) selection: Selection,
    pub(super) partitions: Vec<Asked>,
    /// Only the head's content, and of it only the leaves that are named.
    pub(super) heads_only: bool,
    /// The answer may lack what cannot be had now.
    pub(super) partial: bool,
    /// Only the newest samples at these moments are looked at.
    pub(super) newest: Option<Moments>,
}

/// What is asked of names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum NamesKind {
    /// Label sets.
    Series,
    /// Label names.
    LabelNames,
    /// The values of one label.
    LabelValues(String),
    /// Of one family or all.
    Metadata(Option<String>),
    /// Of the series that match.
    Exemplars,
    /// How many series of heads have them.
    LabelPairs,
}

/// Asks for what has no samples.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct NamesRequest {
    pub(super) kind: NamesKind,
    pub(super) selection: Selection,
    pub(super) partitions: Vec<Asked>,
    /// 0: all.
    pub(super) limit: usize,
}

fn put_arc(arc: RingArc) -> Option<wire::RingArc> {
    Some(wire::RingArc {
        prefix: arc.prefix(),
        depth: u32::from(arc.depth()),
    })
}

fn take_arc(arc: Option<wire::RingArc>) -> Result<RingArc, Unreadable> {
    let found = arc.and_then(|arc| RingArc::new(arc.prefix, u8::try_from(arc.depth).ok()?));
    found.ok_or_else(|| unreadable("an arc is missing or is none"))
}

fn put_leaves(leaves: &LeafSet) -> Bytes {
    let bytes = leaves.slots().iter().flat_map(|slot| slot.to_le_bytes());
    Bytes::from(bytes.collect::<Vec<u8>>())
}

fn take_leaves(bytes: &[u8]) -> Result<LeafSet, Unreadable> {
    if bytes.len() != usize::from(SLOTS) * 2 {
        return Err(unreadable("leaves are not 24 bytes"));
    }
    let mut slots = [0; SLOTS as usize];
    for (slot, pair) in slots.iter_mut().zip(bytes.chunks_exact(2)) {
        *slot = pair.try_into().map(u16::from_le_bytes).unwrap_or_default();
    }
    Ok(LeafSet::of_slots(slots))
}

fn put_asked(asked: &[Asked]) -> Vec<wire::Asked> {
    let windows = |leaves: &Leaves| {
        let each = leaves.iter().map(|(window, set)| wire::WindowLeaves {
            window: window.0,
            leaves: put_leaves(set),
        });
        each.collect()
    };
    let each = asked.iter().map(|asked| wire::Asked {
        arc: put_arc(asked.arc),
        epoch: asked.epoch.0,
        windows: windows(&asked.leaves),
    });
    each.collect()
}

fn take_asked(asked: Vec<wire::Asked>) -> Result<Vec<Asked>, Unreadable> {
    bound("partitions", asked.len(), PARTITIONS_MAX)?;
    let windows = |windows: Vec<wire::WindowLeaves>| -> Result<Leaves, Unreadable> {
        bound("windows", windows.len(), WINDOWS_MAX)?;
        let each = windows.into_iter();
        each.map(|one| Ok((Window(one.window), take_leaves(&one.leaves)?)))
            .collect()
    };
    let each = asked.into_iter().map(|asked| {
        Ok(Asked {
            arc: take_arc(asked.arc)?,
            epoch: Epoch(asked.epoch),
            leaves: windows(asked.windows)?,
        })
    });
    each.collect()
}

fn put_selection(selection: &Selection) -> Option<wire::Selection> {
    let op = |op| match op {
        MatchOp::Equal => 1,
        MatchOp::NotEqual => 2,
        MatchOp::Regex => 3,
        MatchOp::NotRegex => 4,
    };
    let matchers = selection.matchers.iter().map(|matcher| wire::Matcher {
        op: op(matcher.op()),
        name: matcher.name().to_owned(),
        value: matcher.value().to_owned(),
    });
    Some(wire::Selection {
        tenant: selection.tenant.as_str().to_owned(),
        matchers: matchers.collect(),
        start: selection.range.start.0,
        end: selection.range.end.0,
    })
}

fn take_selection(selection: Option<wire::Selection>) -> Result<Selection, Unreadable> {
    let selection = selection.ok_or_else(|| unreadable("nothing is selected"))?;
    bound("matchers", selection.matchers.len(), MATCHERS_MAX)?;
    let matcher = |matcher: wire::Matcher| {
        let op = match matcher.op {
            1 => MatchOp::Equal,
            2 => MatchOp::NotEqual,
            3 => MatchOp::Regex,
            4 => MatchOp::NotRegex,
            other => return Err(Unreadable(format!("{other} is no operator of a matcher"))),
        };
        let made = Matcher::new(&matcher.name, op, &matcher.value);
        made.map_err(|error| Unreadable(error.to_string()))
    };
    Ok(Selection {
        tenant: TenantId::new(&selection.tenant).map_err(|error| Unreadable(error.to_string()))?,
        matchers: selection
            .matchers
            .into_iter()
            .map(matcher)
            .collect::<Result<_, _>>()?,
        range: TimeRange::new(TimestampMs(selection.start), TimestampMs(selection.end)),
    })
}

fn put_moments(moments: Moments) -> wire::Moments {
    wire::Moments {
        first: moments.first.0,
        step_ms: moments.step_ms,
        count: moments.count as u64,
    }
}

fn take_moments(moments: wire::Moments) -> Result<Moments, Unreadable> {
    let count = usize::try_from(moments.count).unwrap_or(0);
    if moments.step_ms < 1 || count < 1 {
        return Err(unreadable("there are no moments"));
    }
    Ok(Moments {
        first: TimestampMs(moments.first),
        step_ms: moments.step_ms,
        count,
    })
}

impl StateRequest {
    pub(super) fn encode(&self) -> Bytes {
        let message = wire::StateRequest {
            partitions: put_asked(&self.partitions),
            selection: put_selection(&self.selection),
            encoded: self.encoded,
        };
        Bytes::from(message.encode_to_vec())
    }

    pub(super) fn decode(bytes: Bytes) -> Result<Self, Unreadable> {
        let message = wire::StateRequest::decode(bytes)?;
        Ok(Self {
            partitions: take_asked(message.partitions)?,
            selection: take_selection(message.selection)?,
            encoded: message.encoded,
        })
    }
}

impl SelectRequest {
    pub(super) fn encode(&self) -> Bytes {
        let message = wire::SelectRequest {
            selection: put_selection(&self.selection),
            partitions: put_asked(&self.partitions),
            heads_only: self.heads_only,
            partial: self.partial,
            newest: self.newest.map(put_moments),
        };
        Bytes::from(message.encode_to_vec())
    }

    pub(super) fn decode(bytes: Bytes) -> Result<Self, Unreadable> {
        let message = wire::SelectRequest::decode(bytes)?;
        Ok(Self {
            selection: take_selection(message.selection)?,
            partitions: take_asked(message.partitions)?,
            heads_only: message.heads_only,
            partial: message.partial,
            newest: message.newest.map(take_moments).transpose()?,
        })
    }
}

impl NamesRequest {
    pub(super) fn encode(&self) -> Bytes {
        let (kind, name) = match &self.kind {
            NamesKind::Series => (1, None),
            NamesKind::LabelNames => (2, None),
            NamesKind::LabelValues(name) => (3, Some(name.clone())),
            NamesKind::Metadata(family) => (4, family.clone()),
            NamesKind::Exemplars => (5, None),
            NamesKind::LabelPairs => (6, None),
        };
        let message = wire::NamesRequest {
            kind,
            selection: put_selection(&self.selection),
            partitions: put_asked(&self.partitions),
            name,
            limit: self.limit as u64,
        };
        Bytes::from(message.encode_to_vec())
    }

    pub(super) fn decode(bytes: Bytes) -> Result<Self, Unreadable> {
        let message = wire::NamesRequest::decode(bytes)?;
        let kind = match (message.kind, message.name) {
            (1, _) => NamesKind::Series,
            (2, _) => NamesKind::LabelNames,
            (3, Some(name)) => NamesKind::LabelValues(name),
            (4, family) => NamesKind::Metadata(family),
            (5, _) => NamesKind::Exemplars,
            (6, _) => NamesKind::LabelPairs,
            (other, _) => return Err(Unreadable(format!("{other} is no kind of names"))),
        };
        Ok(Self {
            kind,
            selection: take_selection(message.selection)?,
            partitions: take_asked(message.partitions)?,
            limit: usize::try_from(message.limit).unwrap_or(usize::MAX),
        })
    }
}

fn put_window((window, sums): (&Window, &WindowSums)) -> wire::WindowState {
    let (mut set, mut bytes) = (LeafSet::default(), Vec::new());
    let leaves = match sums {
        WindowSums::Whole(sum) => {
            bytes.extend_from_slice(&sum.0.to_be_bytes());
            Bytes::new()
        }
        WindowSums::Leaves(leaves) => {
            for (leaf, sum) in leaves {
                set.insert(*leaf);
                bytes.extend_from_slice(&sum.0.to_be_bytes());
            }
            put_leaves(&set)
        }
    };
    wire::WindowState {
        window: window.0,
        leaves,
        sums: Bytes::from(bytes),
    }
}

fn take_window(state: &wire::WindowState) -> Result<(Window, WindowSums), Unreadable> {
    let mut sums = state.sums.chunks_exact(16).map(|bytes| {
        let bytes = bytes.try_into().unwrap_or_default();
        ContentSum(u128::from_be_bytes(bytes))
    });
    let set = match state.leaves.len() {
        0 => None,
        _ => Some(take_leaves(&state.leaves)?),
    };
    if state.sums.len() != 16 * set.map_or(1, |set| set.len()) {
        return Err(unreadable(
            "a window has another number of sums than leaves",
        ));
    }
    let found = match set {
        None => WindowSums::Whole(sums.next().unwrap_or_default()),
        Some(set) => WindowSums::Leaves(set.iter().zip(sums).collect::<Vec<(Leaf, _)>>()),
    };
    Ok((Window(state.window), found))
}

impl State {
    /// Whether a partition is answered under the epoch that it was asked under.
    pub(super) fn answers(&self, asked: &Asked) -> bool {
        let answer = self.partitions.get(&asked.arc);
        answer.is_some_and(|answer| answer.epoch == asked.epoch)
    }

    pub(super) fn to_wire(&self) -> wire::StateReply {
        let partition = |(arc, answer): (&RingArc, &PartitionAnswer)| wire::PartitionState {
            arc: put_arc(*arc),
            epoch: answer.epoch.0,
            version: answer.held.version,
            windows: answer.held.heads.0.iter().map(put_window).collect(),
            sets: answer.sets,
            encoded: answer.held.encoded,
        };
        wire::StateReply {
            incarnation: Bytes::copy_from_slice(&self.member.incarnation.0.to_be_bytes()),
            life: self.member.life,
            applied: self.applied,
            partitions: self.partitions.iter().map(partition).collect(),
            leased: None,
            run: self.run,
        }
    }

    pub(super) fn of_wire(message: wire::StateReply) -> Result<Self, Unreadable> {
        bound("partitions", message.partitions.len(), PARTITIONS_MAX)?;
        let incarnation: [u8; 16] = message
            .incarnation
            .as_ref()
            .try_into()
            .map_err(|_| unreadable("an incarnation is not 16 bytes"))?;
        let partition = |state: wire::PartitionState| {
            bound("windows", state.windows.len(), WINDOWS_MAX)?;
            let windows = state.windows.iter().map(take_window);
            let answer = PartitionAnswer {
                epoch: Epoch(state.epoch),
                held: HeldHere {
                    version: state.version,
                    heads: HeadSums(windows.collect::<Result<_, _>>()?),
                    encoded: state.encoded,
                },
                sets: state.sets,
            };
            Ok((take_arc(state.arc)?, answer))
        };
        Ok(Self {
            member: MemberId {
                incarnation: Incarnation(u128::from_be_bytes(incarnation)),
                life: message.life,
            },
            applied: message.applied,
            run: message.run,
            partitions: message
                .partitions
                .into_iter()
                .map(partition)
                .collect::<Result<_, Unreadable>>()?,
        })
    }

    pub(super) fn encode(&self) -> Bytes {
        Bytes::from(self.to_wire().encode_to_vec())
    }

    pub(super) fn decode(bytes: Bytes) -> Result<Self, Unreadable> {
        Self::of_wire(wire::StateReply::decode(bytes)?)
    }
}

#[cfg(test)]
mod tests;
