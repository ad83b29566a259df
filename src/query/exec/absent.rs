//! `absent` and `absent_over_time`: one series that is there where nothing else is, with the labels
//! that the question fixed.

use crate::model::{LabelSet, METRIC_NAME, MatchOp, Matcher};
use crate::query::error::Error;
use crate::query::plan::{Node, NodeKind, RangeInput};
use crate::query::value::{ABSENT, StepSeries, is_absent};

use super::coarse;
use super::operator::{Input, Operator, Run};
use super::range::RangeSource;
use super::window::{RangeSamples, Walk, Windows};

/// `absent`: 1 at the steps at which the vector is empty.
pub(super) struct Absent {
    /// The vector.
    pub(super) vector: Input,
    /// The labels of the answer.
    pub(super) labels: LabelSet,
    /// How many steps there are.
    pub(super) count: usize,
    /// It has been answered.
    pub(super) done: bool,
}

impl Operator for Absent {
    fn next(&mut self, run: &Run<'_>) -> Result<Option<StepSeries>, Error> {
        if std::mem::replace(&mut self.done, true) {
            return Ok(None);
        }
        let mut values = run.values(self.count)?;
        values.fill(1.0);
        while let Some(series) = self.vector.next(run)? {
            for (slot, value) in values.iter_mut().zip(&series.values) {
                if !is_absent(*value) {
                    *slot = ABSENT;
                }
            }
            for (step, _) in series.histograms.iter() {
                if let Some(slot) = values.get_mut(step) {
                    *slot = ABSENT;
                }
            }
            run.recycle(series.values);
        }
        if values.iter().all(|value| is_absent(*value)) {
            return Ok(None);
        }
        let labels = self.labels.clone();
        Ok(Some(StepSeries::floats(labels, false, values)))
    }
}

/// `absent_over_time`: 1 at the steps at which no series has a sample in its window.
pub(super) struct AbsentOverTime {
    /// The windows.
    pub(super) windows: Windows,
    /// Where the series come from.
    pub(super) source: Box<dyn RangeSource>,
    /// The labels of the answer.
    pub(super) labels: LabelSet,
    /// Where the series stand in the text.
    pub(super) position: usize,
    /// It has been answered.
    pub(super) done: bool,
}

impl Operator for AbsentOverTime {
    fn next(&mut self, run: &Run<'_>) -> Result<Option<StepSeries>, Error> {
        if std::mem::replace(&mut self.done, true) {
            return Ok(None);
        }
        let mut values = run.values(self.windows.steps.count)?;
        values.fill(1.0);
        let mut samples = RangeSamples::default();
        while self.source.next(run, &mut samples)?.is_some() {
            let mut walk = Walk::new(&self.windows, run.habits);
            let mut touched = 0;
            for (step, slot) in values.iter_mut().enumerate() {
                if walk.window(step, &samples).is_some() {
                    *slot = ABSENT;
                    touched += walk.touched(&samples);
                }
            }
            let histograms = samples.histograms.values.len();
            let read = samples.floats.len() + samples.histograms.weight(0, histograms);
            run.count(touched, read);
        }
        // Of an interval one sample is always left.
        let function = ("absent_over_time", true);
        if let Some(note) = coarse::of_windows(&self.windows, function, self.source.met_at_end()) {
            run.note(note, self.position);
        }
        if values.iter().all(|value| is_absent(*value)) {
            return Ok(None);
        }
        let labels = self.labels.clone();
        Ok(Some(StepSeries::floats(labels, true, values)))
    }
}

/// The labels that a selector fixes: what an absent series would have had.
pub(super) fn absent_labels(node: &Node) -> LabelSet {
    let matchers: &[Matcher] = match &node.kind {
        NodeKind::Instant(selector) => &selector.matchers,
        NodeKind::Range(RangeInput::Stored { selector, .. }) => &selector.matchers,
        _ => &[],
    };
    let mut builder = LabelSet::empty().to_builder();
    let mut fixed: Vec<&str> = Vec::new();
    for matcher in matchers.iter().filter(|m| m.name() != METRIC_NAME) {
        if matcher.op() == MatchOp::Equal && !fixed.contains(&matcher.name()) {
            builder.set(matcher.name(), matcher.value());
            fixed.push(matcher.name());
        } else {
            builder.remove(matcher.name());
        }
    }
    builder.build()
}
