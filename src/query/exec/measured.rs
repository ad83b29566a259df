//! An operator that is watched: what came out of it and how long that took goes to the profile.

use super::operator::{Input, Operator, Run};
use crate::query::error::Error;
use crate::query::value::{StepSeries, is_absent};

/// Watches another operator.
pub(super) struct Measured {
    input: Input,
    what: String,
    /// Its place, once it has one.
    slot: Option<Option<usize>>,
}

impl Measured {
    pub(super) const fn new(input: Input, what: String) -> Self {
        Self {
            input,
            what,
            slot: None,
        }
    }
}

impl Operator for Measured {
    fn next(&mut self, run: &Run<'_>) -> Result<Option<StepSeries>, Error> {
        let Some(profile) = run.profile() else {
            return self.input.next(run);
        };
        let slot = *self
            .slot
            .get_or_insert_with(|| profile.place(&self.what, false));
        let working = profile.begin(slot);
        let next = self.input.next(run);
        let came = match &next {
            Ok(Some(series)) => Some(extent(series)),
            _ => None,
        };
        profile.end(&working, came);
        next
    }
}

/// Values and bytes of a series.
fn extent(series: &StepSeries) -> (usize, usize) {
    let floats = series.values.iter().filter(|value| !is_absent(**value));
    let histograms = series.histograms.iter().map(|(_, one)| one.bytes() + 8);
    let (count, bytes) = histograms.fold((0, 0), |(count, sum), one| (count + 1, sum + one));
    let held = series.values.len() * size_of::<f64>() + series.labels.text_len();
    (floats.count() + count, held + bytes)
}
