//! Pieces of one label set, each with values at other steps, become one series.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::LabelSet;
use crate::query::error::Error;
use crate::query::value::{StepSeries, is_absent};

use super::labels::SAME_LABELSET;

/// Pieces of one label set joined.
///
/// # Errors
/// When two pieces have values at one step.
pub(super) fn joined(series: Vec<StepSeries>) -> Result<Vec<StepSeries>, Error> {
    let mut at: HashMap<LabelSet, usize> = HashMap::with_capacity(series.len());
    let mut whole: Vec<StepSeries> = Vec::with_capacity(series.len());
    for piece in series {
        let place = *at.entry(piece.labels.clone()).or_insert(whole.len());
        match whole.get_mut(place) {
            None => whole.push(piece),
            Some(known) => join(known, &piece)?,
        }
    }
    Ok(whole)
}

fn join(known: &mut StepSeries, piece: &StepSeries) -> Result<(), Error> {
    let refuse = || Err(Error::Execution(SAME_LABELSET.to_owned()));
    for (step, (ours, theirs)) in known.values.iter_mut().zip(&piece.values).enumerate() {
        if is_absent(*theirs) {
            continue;
        }
        if !is_absent(*ours) || known.histograms.has(step) {
            return refuse();
        }
        *ours = *theirs;
    }
    for (step, histogram) in piece.histograms.iter() {
        if known.has(step) {
            return refuse();
        }
        let histogram = Arc::clone(histogram);
        known.histograms.set(step, piece.values.len(), histogram);
    }
    Ok(())
}
