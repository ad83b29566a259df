//! The last histogram of each series before what a selector reads: it tells whether there was a
//! reset before the first histogram that is read. Asked for only where that matters and a series
//! with histograms is met; then once for all series.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::{Histogram, LabelSet, Samples, TimeRange, Value};
use crate::query::error::Error;
use crate::query::plan::Selector;
use crate::runtime::Reservation;

use super::operator::Run;

/// Looks for neighbours.
#[derive(Default)]
pub(super) struct Neighbours {
    known: Option<HashMap<LabelSet, Arc<Histogram>>>,
    held: Option<Reservation>,
}

impl Neighbours {
    /// The neighbour of a series of a selector that is read from `first` on, in milliseconds.
    pub(super) fn of(
        &mut self,
        labels: &LabelSet,
        (selector, first): (&Selector, i64),
        run: &Run<'_>,
    ) -> Result<Option<Arc<Histogram>>, Error> {
        let known = match &mut self.known {
            Some(known) => known,
            None => {
                let mut held = run.reservation()?;
                let known = read(selector, first, run, &mut held)?;
                self.held = Some(held);
                self.known.insert(known)
            }
        };
        Ok(known.get(labels).cloned())
    }
}

fn read(
    selector: &Selector,
    first: i64,
    run: &Run<'_>,
    held: &mut Reservation,
) -> Result<HashMap<LabelSet, Arc<Histogram>>, Error> {
    use crate::model::TimestampMs;
    let range = TimeRange::new(
        TimestampMs(first.saturating_sub(run.habits.lookback_ms)),
        TimestampMs(first.saturating_sub(1)),
    );
    let mut stream = run.select(&selector.matchers, range)?.stream;
    let mut known = HashMap::new();
    let mut samples = Samples::default();
    while let Some(labels) = stream.next(&mut samples)? {
        run.check()?;
        let last = samples.len().checked_sub(1).and_then(|at| samples.get(at));
        if let Some((_, Value::Histogram(histogram), _)) = last
            && !histogram.is_stale()
        {
            let spans = histogram.positive_spans.len() + histogram.negative_spans.len();
            let bytes = labels.text_len() + 512 + 64 * spans;
            held.grow(u64::try_from(bytes).unwrap_or(u64::MAX), 1)?;
            known.insert(labels, histogram);
        }
    }
    Ok(known)
}
