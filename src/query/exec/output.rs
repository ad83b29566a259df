//! The last step: names that were to be dropped go, and pieces of one label set become one series.

use crate::model::{LabelSet, Samples};
use crate::query::error::Error;
use crate::query::value::StepSeries;

use super::labels::{Distinct, drop_metric};
use super::operator::{Held, Input, Run};
use super::pieces::joined;
use super::range::{RangeSource, Walk, Windows};

/// All series that an operator has, each label set once, in the order in which they came.
pub(in crate::query) fn gather(mut input: Input, run: &Run<'_>) -> Result<Vec<StepSeries>, Error> {
    let mut held = Held::all(&mut input, run)?;
    let mut series = std::mem::take(&mut held.series);
    if run.habits.delayed_names {
        for one in series.iter_mut().filter(|one| one.drop_name) {
            one.labels = drop_metric(&one.labels);
        }
    }
    joined(series)
}

/// The samples of a series.
pub(in crate::query) struct Raw {
    /// Its labels.
    pub(in crate::query) labels: LabelSet,
    /// Milliseconds.
    pub(in crate::query) timestamps: Vec<i64>,
    /// The values.
    pub(in crate::query) values: Vec<f64>,
}

/// The samples of a range vector at one step: what an instant query for a range answers with.
pub(super) fn collect(
    windows: Windows,
    mut source: Box<dyn RangeSource>,
    stored: bool,
    run: &Run<'_>,
) -> Result<Vec<Raw>, Error> {
    let mut all: Vec<Raw> = Vec::new();
    let mut reservation = run.reservation()?;
    let mut samples = Samples::default();
    let mut distinct = Distinct::default();
    while let Some((labels, drop)) = source.next(run, &mut samples)? {
        let mut walk = Walk::new(&windows, run.habits);
        let Some(window) = walk.window(0, &samples) else {
            continue;
        };
        let count = window.values.len();
        let wide = u64::try_from(count).unwrap_or(u64::MAX);
        reservation.grow(wide.saturating_mul(16), wide)?;
        run.count(count, if stored { count } else { 0 });
        let labels = if drop && run.habits.delayed_names {
            drop_metric(&labels)
        } else {
            labels
        };
        distinct.check(&labels, &[0.0])?;
        all.push(Raw {
            labels,
            timestamps: window.timestamps.to_vec(),
            values: window.values.to_vec(),
        });
    }
    all.sort_by(|a, b| a.labels.cmp(&b.labels));
    Ok(all)
}
