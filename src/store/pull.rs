//! The raw content of some leaves of a digest tree, series by series: what one replica has and
//! another lacks. Shown values only; what has lost against another value is not in it.

use std::collections::VecDeque;

use super::head::{Extent, HeadSeries};
use super::tree::Leaves;
use crate::model::{LabelSet, Metadata, Samples, TenantId};

/// A series with samples.
#[derive(Clone, PartialEq, Debug)]
pub struct PulledSeries {
    /// Whose.
    pub tenant: TenantId,
    /// Its identity.
    pub labels: LabelSet,
    /// The samples, in order of time.
    pub samples: Samples,
}

/// A part of what a pull brings.
#[derive(Clone, PartialEq, Debug)]
pub enum Pulled {
    /// Samples of a series. A series may come more than once, with samples of other times.
    Series(PulledSeries),
    /// Metadata of a family, newest first.
    Metadata(TenantId, String, Vec<Metadata>),
}

/// The content of some leaves, read as it is asked for: metadata first, then series after series,
/// window by window. What it reads stays readable, however long it takes.
pub struct Pull {
    extents: VecDeque<(Leaves, Extent)>,
    metadata: std::vec::IntoIter<Pulled>,
    /// Of the first extent, once it has begun.
    series: Option<std::vec::IntoIter<HeadSeries>>,
}

impl std::fmt::Debug for Pull {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pull")
            .field("windows", &self.extents.len())
            .finish_non_exhaustive()
    }
}

impl Pull {
    pub(super) fn new(extents: VecDeque<(Leaves, Extent)>) -> Self {
        Self {
            extents,
            metadata: Vec::new().into_iter(),
            series: None,
        }
    }

    /// Begins the next window.
    fn begin(&mut self) -> Option<()> {
        let (leaves, extent) = self.extents.front()?;
        if leaves.metadata() {
            let all = extent.metadata().into_iter();
            let all: Vec<Pulled> = all
                .map(|((tenant, family), list)| Pulled::Metadata(tenant, family, list))
                .collect();
            self.metadata = all.into_iter();
        }
        self.series = Some(extent.series_of(leaves).into_iter());
        Some(())
    }
}

impl Iterator for Pull {
    type Item = Pulled;

    fn next(&mut self) -> Option<Pulled> {
        loop {
            if let Some(metadata) = self.metadata.next() {
                return Some(metadata);
            }
            let Some(series) = &mut self.series else {
                self.begin()?;
                continue;
            };
            let (leaves, extent) = self.extents.front()?;
            let Some(one) = series.next() else {
                self.extents.pop_front();
                self.series = None;
                continue;
            };
            let mut samples = Samples::default();
            extent.read_leaves(&one, leaves, &mut samples);
            if !samples.is_empty() {
                return Some(Pulled::Series(PulledSeries {
                    tenant: one.tenant,
                    labels: one.labels,
                    samples,
                }));
            }
        }
    }
}
