//! Every message of reads as a peer would read it: for tests of what bad bytes can do.

use bytes::Bytes;
use prost::Message;

use super::answers::take_exemplars;
use super::batch::{BatchWriter, Piece, take_batch};
use super::messages::{NamesRequest, SelectRequest, State, StateRequest, wire};
use crate::model::LabelSet;

/// Reads bytes as the message that the first of them says, and what was accepted once more after
/// it was written. Says whether it was the same.
#[must_use]
pub fn reread(bytes: &[u8]) -> bool {
    let Some((kind, rest)) = bytes.split_first() else {
        return true;
    };
    let rest = Bytes::copy_from_slice(rest);
    match kind {
        0 => StateRequest::decode(rest).comes_back(|one| StateRequest::decode(one.encode())),
        1 => SelectRequest::decode(rest).comes_back(|one| SelectRequest::decode(one.encode())),
        2 => NamesRequest::decode(rest).comes_back(|one| NamesRequest::decode(one.encode())),
        3 => State::decode(rest).comes_back(|one| State::decode(one.encode())),
        _ => reread_part(rest),
    }
}

trait Same<T> {
    /// Whether what was accepted, if anything was, is the same when it is read again.
    fn comes_back<E>(self, again: impl FnOnce(&T) -> Result<T, E>) -> bool;
}

impl<T: PartialEq, E> Same<T> for Result<T, E> {
    fn comes_back<F>(self, again: impl FnOnce(&T) -> Result<T, F>) -> bool {
        match self {
            Ok(one) => again(&one).is_ok_and(|other| other == one),
            Err(_) => true,
        }
    }
}

fn reread_part(bytes: Bytes) -> bool {
    let Ok(part) = wire::Part::decode(bytes) else {
        return true;
    };
    let state = part.opened.map(State::of_wire);
    let is_same = state.is_none_or(|state| state.comes_back(|one| State::decode(one.encode())));
    let batch = part.batch.unwrap_or_default();
    // Values that are no numbers are never the same: reading them is all that can be asked.
    let _ = part
        .exemplars
        .iter()
        .map(take_exemplars)
        .all(|one| one.is_ok());
    is_same && take_batch(&batch).comes_back(|pieces| take_batch(&written(pieces, &batch)))
}

/// More samples are not written again: a message would not hold them.
const WRITTEN_MAX: usize = 1 << 14;

/// Pieces as one message. Further ones are written as what they are when they are read.
fn written(pieces: &[Piece], read: &wire::SeriesBatch) -> wire::SeriesBatch {
    let samples: usize = pieces.iter().map(|piece| piece.samples.len()).sum();
    if samples > WRITTEN_MAX {
        return read.clone();
    }
    let (mut writer, mut first) = (BatchWriter::default(), None);
    let none = LabelSet::empty();
    for piece in pieces {
        let labels = piece.labels.as_ref().unwrap_or(&none);
        writer.add(labels, &piece.samples, |batch| {
            first = first.take().or(Some(batch))
        });
    }
    let mut batch = first.unwrap_or_else(|| writer.take());
    for (series, piece) in batch.series.iter_mut().zip(pieces) {
        series.further = piece.labels.is_none();
    }
    batch
}
