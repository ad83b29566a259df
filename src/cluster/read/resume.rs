//! Series of a member that go on elsewhere when it breaks off, or its data turn out to be damaged.
//!
//! A series is handed out only as a whole, from one view with what other heads have beyond it. So
//! when a stream breaks off, its partitions are read anew, and the series that were handed out
//! already are left out. They are known by the low 96 bits of their fingerprints, which come from
//! all labels: that two of one query's series share them is as likely as that the memory errs.

use std::collections::{BTreeSet, HashSet};

use crate::model::{Fingerprint, LabelSet, RingArc, Samples, TenantId, fingerprint};
use crate::runtime::Reservation;
use crate::source::{ReadContext, SeriesStream, SourceError};

/// What is remembered of a series that was handed out.
const HANDED_BYTES: u64 = 32;

/// Reads partitions anew, and knows why it has to.
pub(super) type Again =
    Box<dyn FnOnce(&str, &BTreeSet<RingArc>) -> Result<Box<dyn SeriesStream>, SourceError> + Send>;

/// Series of some partitions from a member, as long as it lasts; then from others.
pub(super) struct Resuming {
    stream: Box<dyn SeriesStream>,
    arcs: BTreeSet<RingArc>,
    /// `None` when it has gone on elsewhere: that stream may go on by itself.
    again: Option<Again>,
    tenant: TenantId,
    handed: HashSet<Fingerprint>,
    held: Reservation,
}

impl Resuming {
    pub(super) fn new(
        stream: Box<dyn SeriesStream>,
        arcs: BTreeSet<RingArc>,
        again: Again,
        tenant: &TenantId,
        context: &ReadContext,
    ) -> Result<Self, SourceError> {
        Ok(Self {
            stream,
            arcs,
            again: Some(again),
            tenant: tenant.clone(),
            handed: HashSet::new(),
            held: context.budget.reserve(0, 0)?,
        })
    }
}

impl SeriesStream for Resuming {
    fn next(&mut self, samples: &mut Samples) -> Result<Option<LabelSet>, SourceError> {
        loop {
            let error = match self.stream.next(samples) {
                Ok(Some(labels)) => {
                    let fingerprint = fingerprint(&self.tenant, &labels);
                    if self.again.is_some() {
                        self.held.grow(HANDED_BYTES, 0)?;
                        self.handed.insert(fingerprint);
                    } else if self.handed.contains(&fingerprint) {
                        continue;
                    }
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
