//! What a read gives: one stream, or several that threads share.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::model::Resolution;
use crate::source::{Coarsest, SeriesStream};

/// One of the streams of a read.
pub(super) struct Opened {
    /// The series.
    pub(super) stream: Box<dyn SeriesStream>,
    /// What the read has met that was downsampled, in all of its streams.
    coarsest: Coarsest,
    /// The streams of the read that have not ended.
    going_on: Arc<AtomicUsize>,
    ended: Cell<bool>,
}

impl Opened {
    /// The only stream of a read.
    pub(super) fn alone(stream: Box<dyn SeriesStream>, coarsest: Coarsest) -> Self {
        Self {
            stream,
            coarsest,
            going_on: Arc::new(AtomicUsize::new(1)),
            ended: Cell::new(false),
        }
    }

    /// All streams of a read.
    pub(super) fn several(streams: Vec<Box<dyn SeriesStream>>, coarsest: &Coarsest) -> Vec<Self> {
        let going_on = Arc::new(AtomicUsize::new(streams.len()));
        let opened = |stream| Self {
            going_on: Arc::clone(&going_on),
            ..Self::alone(stream, coarsest.clone())
        };
        streams.into_iter().map(opened).collect()
    }

    /// What the whole read has met that was downsampled, told at the end of the stream that ends last; at that of any
    /// other nothing, or what is said of the read would depend on which thread was quicker.
    pub(super) fn met_at_end(&self) -> Resolution {
        if !self.ended.replace(true) {
            self.going_on.fetch_sub(1, Ordering::AcqRel);
        }
        match self.going_on.load(Ordering::Acquire) {
            0 => self.coarsest.met(),
            _ => Resolution::Raw,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{LabelSet, Samples};
    use crate::source::SourceError;

    struct Nothing;

    impl SeriesStream for Nothing {
        fn next(&mut self, _: &mut Samples) -> Result<Option<LabelSet>, SourceError> {
            Ok(None)
        }
    }

    #[test]
    fn the_stream_that_ends_last_tells_what_all_have_met() {
        let coarsest = Coarsest::default();
        let streams = (0..3).map(|_| Box::new(Nothing) as Box<dyn SeriesStream>);
        let opened = Opened::several(streams.collect(), &coarsest);
        coarsest.meets(Resolution::FiveMinutes);
        assert_eq!(opened[1].met_at_end(), Resolution::Raw);
        assert_eq!(opened[1].met_at_end(), Resolution::Raw, "it has ended once");
        assert_eq!(opened[0].met_at_end(), Resolution::Raw);
        coarsest.meets(Resolution::Hour);
        assert_eq!(opened[2].met_at_end(), Resolution::Hour);
        let alone = Opened::alone(Box::new(Nothing), coarsest);
        assert_eq!(alone.met_at_end(), Resolution::Hour);
    }
}
