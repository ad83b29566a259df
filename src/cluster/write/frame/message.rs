//! Requests and answers as protobuf, and requests in pieces that peers carry.

use bytes::{Bytes, BytesMut};
use prost::Message;

use super::wire_error::FrameError;
use crate::cluster::write::gate::Refusing;
use crate::cluster::write::majority::Said;
use crate::codec::varint;
use crate::model::{Epoch, RingArc};

mod wire {
    #![allow(
        missing_docs,
        unreachable_pub,
        clippy::all,
        clippy::pedantic,
        reason = "generated from proto/append.proto"
    )]
    include!(concat!(env!("OUT_DIR"), "/cairn.append.v1.rs"));
}

/// Bytes of one message: well below what any carrier of messages bounds them to.
const PIECE_BYTES: usize = 1 << 20;
/// Bytes of one request at most. What a receiver takes in one request becomes at most about half
/// of it.
const REQUEST_BYTES_MAX: usize = 64 << 20;
/// Partitions of one request, and outcomes of one answer, at most.
const PARTITIONS_MAX: usize = 1 << 16;

const LAST: u8 = 0;
const MORE: u8 = 1;

/// Why samples are sent. It changes no meaning; further values may come.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(in super::super) struct Purpose(pub(in super::super) u32);

impl Purpose {
    /// A sender waits for it.
    pub(in super::super) const CLIENT: Self = Self(0);
    /// The receiver was away when it came.
    pub(in super::super) const HINT: Self = Self(1);
}

/// A partition as a request names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in super::super) struct Named {
    pub(in super::super) arc: RingArc,
    pub(in super::super) epoch: Epoch,
}

/// A request: what surrounds the columns is understood, the columns are for the decoder.
#[derive(Clone, PartialEq, Debug)]
pub(in super::super) struct Request {
    pub(in super::super) number: u64,
    pub(in super::super) purpose: Purpose,
    pub(in super::super) partitions: Vec<Named>,
    pub(in super::super) columns: Columns,
}

/// The columns of a request.
#[derive(Clone, PartialEq, Debug, Default)]
pub(in super::super) struct Columns {
    pub(super) reset: bool,
    pub(super) forget: Vec<u32>,
    pub(super) definitions: Bytes,
    pub(super) floats: Bytes,
    pub(super) others: Bytes,
    pub(super) metadata: Bytes,
    pub(super) exemplars: Bytes,
}

impl Columns {
    /// Bytes, about.
    pub(in super::super) fn len(&self) -> usize {
        let columns = [
            &self.definitions,
            &self.floats,
            &self.others,
            &self.metadata,
            &self.exemplars,
        ];
        columns.iter().map(|bytes| bytes.len()).sum::<usize>() + self.forget.len() * 4
    }

    /// Floats that they say they have; it is checked when they are decoded.
    pub(in super::super) fn floats_count(&self) -> usize {
        let mut floats: &[u8] = &self.floats;
        varint::take_len(&mut floats, "floats", usize::MAX).unwrap_or(0)
    }

    pub(in super::super) fn definitions_len(&self) -> usize {
        self.definitions.len()
    }
}

/// What became of a partition of a request.
pub(in super::super) type Outcome = Said;

/// A replica's answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in super::super) struct Answer {
    pub(in super::super) number: u64,
    /// In the order of the request's partitions.
    pub(in super::super) outcomes: Vec<Outcome>,
    /// Ids of the stream that have to be defined again.
    pub(in super::super) undefined: Vec<u32>,
}

impl Request {
    fn encode(self) -> Vec<u8> {
        let partitions = self.partitions.iter().map(|named| wire::Partition {
            prefix: named.arc.prefix(),
            depth: u32::from(named.arc.depth()),
            epoch: named.epoch.0,
        });
        let columns = self.columns;
        let message = wire::Request {
            number: self.number,
            purpose: self.purpose.0,
            partitions: partitions.collect(),
            reset: columns.reset,
            forget: columns.forget,
            definitions: columns.definitions,
            floats: columns.floats,
            others: columns.others,
            metadata: columns.metadata,
            exemplars: columns.exemplars,
        };
        let mut out = Vec::with_capacity(message.encoded_len() + 1);
        out.push(LAST);
        // A vector grows: this cannot fail.
        let _ = message.encode(&mut out);
        out
    }
}

/// A request as messages of a stream.
pub(in super::super) fn pieces(request: Request) -> Vec<Bytes> {
    let mut rest = Bytes::from(request.encode());
    if rest.len() <= PIECE_BYTES + 1 {
        return vec![rest];
    }
    let _ = rest.split_to(1);
    let mut all = Vec::new();
    while !rest.is_empty() {
        let piece = rest.split_to(rest.len().min(PIECE_BYTES));
        let mut message = BytesMut::with_capacity(piece.len() + 1);
        let mark = if rest.is_empty() { LAST } else { MORE };
        message.extend_from_slice(&[mark]);
        message.extend_from_slice(&piece);
        all.push(message.freeze());
    }
    all
}

/// Puts the messages of a stream together to requests.
#[derive(Debug, Default)]
pub(in super::super) struct Assembly(BytesMut);

impl Assembly {
    /// Takes a message; gives the bytes of the request that ends with it.
    pub(in super::super) fn take(
        &mut self,
        mut message: Bytes,
    ) -> Result<Option<Bytes>, FrameError> {
        if message.is_empty() {
            return Err(FrameError::Invalid("an empty message"));
        }
        let mark = message.split_to(1);
        if self.0.len() + message.len() > REQUEST_BYTES_MAX {
            return Err(FrameError::TooMuch {
                what: "the bytes of a request",
                limit: REQUEST_BYTES_MAX,
            });
        }
        match mark.first().copied() {
            Some(LAST) if self.0.is_empty() => Ok(Some(message)),
            Some(LAST) => {
                self.0.extend_from_slice(&message);
                Ok(Some(std::mem::take(&mut self.0).freeze()))
            }
            Some(MORE) if !message.is_empty() => {
                self.0.extend_from_slice(&message);
                Ok(None)
            }
            _ => Err(FrameError::Invalid("the first byte of a message")),
        }
    }
}

fn unreadable(error: &prost::DecodeError) -> FrameError {
    FrameError::Message(error.to_string())
}

/// The request of some bytes.
pub(in super::super) fn decode_request(bytes: Bytes) -> Result<Request, FrameError> {
    let message = wire::Request::decode(bytes).map_err(|error| unreadable(&error))?;
    if message.partitions.len() > PARTITIONS_MAX {
        return Err(FrameError::TooMuch {
            what: "the partitions of a request",
            limit: PARTITIONS_MAX,
        });
    }
    let partitions = message.partitions.iter().map(|partition| {
        let depth = u8::try_from(partition.depth).ok();
        let arc = depth.and_then(|depth| RingArc::new(partition.prefix, depth));
        Ok(Named {
            arc: arc.ok_or(FrameError::Invalid("an arc"))?,
            epoch: Epoch(partition.epoch),
        })
    });
    Ok(Request {
        number: message.number,
        purpose: Purpose(message.purpose),
        partitions: partitions.collect::<Result<_, FrameError>>()?,
        columns: Columns {
            reset: message.reset,
            forget: message.forget,
            definitions: message.definitions,
            floats: message.floats,
            others: message.others,
            metadata: message.metadata,
            exemplars: message.exemplars,
        },
    })
}

/// An answer's bytes.
pub(in super::super) fn encode_answer(answer: &Answer) -> Bytes {
    let outcomes = answer.outcomes.iter().map(|outcome| {
        let (kind, epoch, reason) = match outcome {
            Said::Appended => (1, 0, 0),
            Said::WrongEpoch(epoch) => (2, epoch.0, 0),
            Said::Behind => (3, 0, 0),
            Said::Refused(Refusing::NotReady) => (4, 0, 1),
            Said::Refused(Refusing::Disk) => (4, 0, 2),
            Said::Refused(Refusing::Memory) => (4, 0, 3),
            Said::Refused(Refusing::Clock) => (4, 0, 4),
            Said::Undefined => (5, 0, 0),
            Said::Lost | Said::Unreachable | Said::Slow | Said::Garbled => (6, 0, 0),
        };
        wire::Outcome {
            kind,
            epoch,
            reason,
        }
    });
    let message = wire::Answer {
        number: answer.number,
        outcomes: outcomes.collect(),
        undefined: answer.undefined.clone(),
    };
    Bytes::from(message.encode_to_vec())
}

/// The answer of some bytes.
pub(in super::super) fn decode_answer(bytes: Bytes) -> Result<Answer, FrameError> {
    let message = wire::Answer::decode(bytes).map_err(|error| unreadable(&error))?;
    let outcomes = message.outcomes.iter().map(|outcome| match outcome.kind {
        1 => Said::Appended,
        2 => Said::WrongEpoch(Epoch(outcome.epoch)),
        3 => Said::Behind,
        4 => Said::Refused(match outcome.reason {
            2 => Refusing::Disk,
            3 => Refusing::Memory,
            4 => Refusing::Clock,
            // Also what a later version may say.
            _ => Refusing::NotReady,
        }),
        5 => Said::Undefined,
        _ => Said::Garbled,
    });
    Ok(Answer {
        number: message.number,
        outcomes: outcomes.collect(),
        undefined: message.undefined,
    })
}
