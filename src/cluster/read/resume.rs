//! A peer's series that go on elsewhere when the peer breaks off.
//!
//! A series is handed out only as a whole, from one view with what other heads have beyond it. So
//! when a stream breaks off, its partitions are read anew, and the series that were handed out
//! already are left out.

use std::collections::{BTreeSet, HashSet};

use crate::model::{LabelSet, RingArc, Samples};
use crate::runtime::Reservation;
use crate::source::{ReadContext, SeriesStream, SourceError};

/// What is remembered of a series that was handed out, besides its labels.
const HANDED_BYTES: u64 = 64;

/// Reads partitions anew, and knows why it has to.
pub(super) type Again =
    Box<dyn FnOnce(&str, &BTreeSet<RingArc>) -> Result<Box<dyn SeriesStream>, SourceError> + Send>;

/// Series of some partitions from a peer, as long as it lasts; then from others.
pub(super) struct Resuming {
    stream: Box<dyn SeriesStream>,
    arcs: BTreeSet<RingArc>,
    /// `None` when it has gone on elsewhere: that stream may go on by itself.
    again: Option<Again>,
    handed: HashSet<LabelSet>,
    held: Reservation,
}

impl Resuming {
    pub(super) fn new(
        stream: Box<dyn SeriesStream>,
        arcs: BTreeSet<RingArc>,
        again: Again,
        context: &ReadContext,
    ) -> Result<Self, SourceError> {
        Ok(Self {
            stream,
            arcs,
            again: Some(again),
            handed: HashSet::new(),
            held: context.budget.reserve(0, 0)?,
        })
    }
}

impl SeriesStream for Resuming {
    fn next(&mut self, samples: &mut Samples) -> Result<Option<LabelSet>, SourceError> {
        loop {
            let error = match self.stream.next(samples) {
                Ok(Some(labels)) if self.handed.contains(&labels) => continue,
                Ok(Some(labels)) if self.again.is_some() => {
                    let text = labels.text_len() as u64;
                    self.held.grow(text.saturating_add(HANDED_BYTES), 0)?;
                    self.handed.insert(labels.clone());
                    return Ok(Some(labels));
                }
                Err(error @ (SourceError::Unavailable(_) | SourceError::Corrupt(_))) => error,
                other => return other,
            };
            let Some(again) = self.again.take() else {
                return Err(error);
            };
            self.stream = again(&error.to_string(), &self.arcs)?;
        }
    }

    fn size_hint(&self) -> usize {
        self.stream.size_hint()
    }
}
