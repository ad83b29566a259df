//! What a query reads, watched: over which times, and whether there were native histograms. Kept
//! only where the answer may be kept.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::model::{LabelSet, Samples, TimeRange};
use crate::source::{SeriesStream, SourceError};

/// What was read so far. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Watch(Arc<Mutex<Seen>>);

#[derive(Clone, Copy, Default)]
struct Seen {
    range: Option<TimeRange>,
    histograms: bool,
}

impl Watch {
    /// All times that were read lie in this range; `None`: none were.
    pub(super) fn range(&self) -> Option<TimeRange> {
        self.0.lock().range
    }

    /// Whether a series had native histograms.
    pub(super) fn met_histograms(&self) -> bool {
        self.0.lock().histograms
    }

    /// A read of a range begins: its stream, watched.
    pub(super) fn over(
        &self,
        range: TimeRange,
        stream: Box<dyn SeriesStream>,
    ) -> Box<dyn SeriesStream> {
        let mut seen = self.0.lock();
        let before = seen.range.unwrap_or(range);
        seen.range = Some(TimeRange::new(
            before.start.min(range.start),
            before.end.max(range.end),
        ));
        drop(seen);
        Box::new(Watched {
            stream,
            watch: self.clone(),
        })
    }
}

struct Watched {
    stream: Box<dyn SeriesStream>,
    watch: Watch,
}

impl SeriesStream for Watched {
    fn next(&mut self, samples: &mut Samples) -> Result<Option<LabelSet>, SourceError> {
        let next = self.stream.next(samples)?;
        if next.is_some() && !samples.histograms.is_empty() {
            self.watch.0.lock().histograms = true;
        }
        Ok(next)
    }

    fn size_hint(&self) -> usize {
        self.stream.size_hint()
    }
}
