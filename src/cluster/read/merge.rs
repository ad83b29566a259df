//! The series of one query from several places: each partition's from one view, and what other
//! heads hold beyond those views.

use std::collections::{HashMap, VecDeque};

use crate::model::{LabelSet, Samples};
use crate::runtime::Reservation;
use crate::source::{ReadContext, SeriesStream, SourceError};

/// What a series beyond the views is charged for, besides its labels and samples.
const SERIES_BYTES: u64 = 128;

/// Content of heads that the views of their partitions may lack, by series.
#[derive(Default)]
pub(super) struct Beyond {
    series: HashMap<LabelSet, Samples>,
    held: Vec<Reservation>,
}

impl Beyond {
    /// Whether there are histograms among it.
    pub(super) fn has_histograms(&self) -> bool {
        self.series.values().any(|one| !one.histograms.is_empty())
    }

    /// Takes all series of a stream.
    pub(super) fn take(
        &mut self,
        stream: &mut dyn SeriesStream,
        context: &ReadContext,
    ) -> Result<(), SourceError> {
        let mut held = context.budget.reserve(0, 0)?;
        let mut samples = Samples::default();
        while let Some(labels) = stream.next(&mut samples)? {
            context.cancel.check()?;
            let count = samples.len() as u64;
            let text = labels.text_len() as u64;
            held.grow(count * 16 + text + SERIES_BYTES, count)?;
            match self.series.get_mut(&labels) {
                Some(known) => {
                    known.merge(&samples);
                }
                None => {
                    self.series.insert(labels, std::mem::take(&mut samples));
                }
            }
        }
        self.held.push(held);
        Ok(())
    }
}

/// All series, each label set once.
pub(super) struct Merged {
    streams: VecDeque<Box<dyn SeriesStream>>,
    beyond: Beyond,
    /// What is left of `beyond` when the streams are over; in order, so that it does not depend
    /// on a hash.
    rest: Option<Vec<(LabelSet, Samples)>>,
}

impl Merged {
    pub(super) fn new(streams: VecDeque<Box<dyn SeriesStream>>, beyond: Beyond) -> Self {
        Self {
            streams,
            beyond,
            rest: None,
        }
    }
}

impl SeriesStream for Merged {
    fn next(&mut self, samples: &mut Samples) -> Result<Option<LabelSet>, SourceError> {
        while let Some(stream) = self.streams.front_mut() {
            let Some(labels) = stream.next(samples)? else {
                self.streams.pop_front();
                continue;
            };
            if !self.beyond.series.is_empty()
                && let Some(more) = self.beyond.series.remove(&labels)
            {
                samples.merge(&more);
            }
            return Ok(Some(labels));
        }
        let rest = self.rest.get_or_insert_with(|| {
            let mut rest: Vec<_> = self.beyond.series.drain().collect();
            rest.sort_unstable_by(|one, other| other.0.cmp(&one.0));
            rest
        });
        samples.clear();
        match rest.pop() {
            Some((labels, found)) => {
                *samples = found;
                Ok(Some(labels))
            }
            None => {
                self.beyond.held.clear();
                Ok(None)
            }
        }
    }

    fn size_hint(&self) -> usize {
        let streams: usize = self.streams.iter().map(|stream| stream.size_hint()).sum();
        streams.saturating_add(self.beyond.series.len())
    }
}
