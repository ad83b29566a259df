//! Functions over ranges: for each series a window slides over its samples, and the function sees
//! one window a step. Left-open, right-closed, without stale markers.
//!
//! The samples are stored ones, or those of a subquery. Each series is decoded once.

use std::sync::Arc;

use crate::model::{LabelSet, ResetHint, Resolution, TimeRange};
use crate::query::annotations::{Note, Notes};
use crate::query::error::Error;
use crate::query::function::{
    FoldWindow, Folded, MixedResult, OverFloats, OverFolds, OverMixed, RangeWindow, Workspace,
};
use crate::query::histogram::Reader;
use crate::query::histogram_note::HistogramNote;
use crate::query::plan::Selector;
use crate::query::value::{SampleValue, StepHistograms, StepSeries, Steps, is_absent};
use crate::runtime::Reservation;

use super::coarse;
use super::labels::{Distinct, StepSet, drop_metric};
use super::neighbours::Neighbours;
use super::opened::Opened;
use super::operator::{Held, Input, Operator, Run, scalar_values};
use super::pieces::joined;
use super::window::{RangeSamples, Walk, Windows};

/// Series with the samples of a range.
pub(super) trait RangeSource: Send {
    /// The next series: labels, whether its name is to be dropped at the end, and its samples
    /// without stale markers.
    fn next(
        &mut self,
        run: &Run<'_>,
        samples: &mut RangeSamples,
    ) -> Result<Option<(LabelSet, bool)>, Error>;

    /// At its end: what it has met that was downsampled, where it is the last to end of those that read with it.
    fn met_at_end(&self) -> Resolution {
        Resolution::Raw
    }
}

/// Stored samples.
pub(super) struct Stored {
    selector: Selector,
    span: TimeRange,
    opened: Option<Opened>,
    reader: Reader,
    /// It matters what was before the first histogram.
    neighbours: Option<Neighbours>,
    /// Where the selector stands in the text.
    position: usize,
    held: Option<Reservation>,
}

impl Stored {
    /// Of a selector, within a span. `neighbours`: it matters what was before a first histogram.
    pub(super) fn new(selector: Selector, span: TimeRange, neighbours: bool) -> Self {
        Self {
            selector,
            span,
            opened: None,
            reader: Reader::default(),
            neighbours: neighbours.then(Neighbours::default),
            position: 0,
            held: None,
        }
    }

    /// Says where it stands in the text.
    pub(super) const fn at(mut self, position: usize) -> Self {
        self.position = position;
        self
    }
}

impl RangeSource for Stored {
    fn next(
        &mut self,
        run: &Run<'_>,
        samples: &mut RangeSamples,
    ) -> Result<Option<(LabelSet, bool)>, Error> {
        let opened = match &mut self.opened {
            Some(opened) => opened,
            None => self
                .opened
                .insert(run.select(&self.selector.matchers, self.span)?),
        };
        run.check()?;
        self.held = None;
        let Some(labels) = opened.stream.next(&mut samples.floats)? else {
            return Ok(None);
        };
        let neighbour = match &mut self.neighbours {
            Some(neighbours) if !samples.floats.histograms.is_empty() => {
                neighbours.of(&labels, (&self.selector, self.span.start.0), run)?
            }
            _ => None,
        };
        let no_buckets = self.selector.no_buckets;
        samples.sort_out(&mut self.reader, neighbour.as_deref(), no_buckets);
        let (floats, histograms) = (samples.floats.len(), &samples.histograms);
        let weight = histograms.weight(0, histograms.values.len());
        let bytes = floats * 16 + size_of_val(samples.floats.folds.as_slice());
        self.held = Some(run.reserve(bytes + histograms.bytes(), floats + weight)?);
        run.note_folds(&samples.floats, self.position);
        Ok(Some((labels, false)))
    }

    fn met_at_end(&self) -> Resolution {
        let opened = self.opened.as_ref();
        opened.map_or(Resolution::Raw, Opened::met_at_end)
    }
}

/// The values of a subquery as samples.
pub(super) struct Computed {
    input: Input,
    steps: Steps,
    /// One label set may come in pieces: all are gathered before the first is handed on.
    pieces: bool,
    gathered: Option<std::vec::IntoIter<StepSeries>>,
    held: Option<Held>,
}

impl Computed {
    /// Of an operator that is evaluated at these steps.
    pub(super) fn new(input: Input, steps: Steps, pieces: bool) -> Self {
        Self {
            input,
            steps,
            pieces,
            gathered: None,
            held: None,
        }
    }

    fn next_series(&mut self, run: &Run<'_>) -> Result<Option<StepSeries>, Error> {
        if !self.pieces {
            return self.input.next(run);
        }
        let gathered = match &mut self.gathered {
            Some(gathered) => gathered,
            None => {
                let mut held = Held::all(&mut self.input, run)?;
                let series = joined(std::mem::take(&mut held.series))?;
                self.held = Some(held);
                self.gathered.insert(series.into_iter())
            }
        };
        Ok(gathered.next())
    }
}

impl RangeSource for Computed {
    fn next(
        &mut self,
        run: &Run<'_>,
        samples: &mut RangeSamples,
    ) -> Result<Option<(LabelSet, bool)>, Error> {
        run.check()?;
        let Some(series) = self.next_series(run)? else {
            return Ok(None);
        };
        samples.floats.clear();
        samples.histograms.clear();
        for (at, value) in self.steps.iter().zip(&series.values) {
            if !is_absent(*value) {
                samples.floats.timestamps.push(at);
                samples.floats.values.push(*value);
            }
        }
        for (step, histogram) in series.histograms.iter() {
            let mut histogram = Arc::clone(histogram);
            // What a hint says of the neighbour in storage is not true of the neighbour here.
            if matches!(histogram.hint(), ResetHint::Yes | ResetHint::No) {
                Arc::make_mut(&mut histogram).set_hint(ResetHint::Unknown);
            }
            samples
                .histograms
                .push(self.steps.at(step).0, None, histogram);
        }
        run.recycle(series.values);
        Ok(Some((series.labels, series.drop_name)))
    }
}

/// Nothing at all: a subquery whose range holds none of its steps.
pub(super) struct Nothing;

impl RangeSource for Nothing {
    fn next(
        &mut self,
        _: &Run<'_>,
        _: &mut RangeSamples,
    ) -> Result<Option<(LabelSet, bool)>, Error> {
        Ok(None)
    }
}

/// A function over the windows of each series.
pub(super) struct RangeCall {
    /// The function's name: two of them have a remark of their own.
    pub(super) name: &'static str,
    /// What is called for windows of floats.
    pub(super) evaluate: OverFloats,
    /// What is called for windows that hold histograms.
    pub(super) evaluate_mixed: OverMixed,
    /// What is called for windows of floats that stand for others.
    pub(super) evaluate_folded: Option<OverFolds>,
    /// The result keeps the metric name.
    pub(super) keeps_name: bool,
    /// Names that are dropped may leave equal label sets.
    pub(super) mixes_names: bool,
    /// The windows.
    pub(super) windows: Windows,
    /// Where the series come from.
    pub(super) source: Box<dyn RangeSource>,
    /// The series come from storage: their samples have not been counted yet.
    pub(super) stored: bool,
    /// The scalar arguments.
    pub(super) scalars: Vec<Input>,
    /// Where the arguments begin in the text.
    pub(super) positions: Vec<usize>,
}

/// Runs a [`RangeCall`].
pub(super) struct Range {
    call: RangeCall,
    /// The scalar arguments of all steps, those of one step side by side.
    scalars: Option<Vec<f64>>,
    samples: RangeSamples,
    workspace: Workspace,
    distinct: Distinct,
}

impl Range {
    /// Of a call.
    pub(super) fn new(call: RangeCall) -> Self {
        let workspace = Workspace::new(Notes::new(call.positions.clone()));
        Self {
            call,
            scalars: None,
            samples: RangeSamples::default(),
            workspace,
            distinct: Distinct::strict(),
        }
    }

    fn prepare(&mut self, run: &Run<'_>) -> Result<(), Error> {
        if self.scalars.is_some() {
            return Ok(());
        }
        self.scalars = Some(side_by_side(
            &mut self.call.scalars,
            self.call.windows.steps.count,
            run,
        )?);
        Ok(())
    }

    fn evaluate(&mut self, run: &Run<'_>, values: &mut [f64]) -> Found {
        let mut walk = Walk::new(&self.call.windows, run.habits);
        let width = self.call.scalars.len();
        let scalars = self.scalars.as_deref().unwrap_or_default();
        let mut found = Found::default();
        let (mut touched, mut fresh) = (0, 0);
        for (step, slot) in values.iter_mut().enumerate() {
            let seen = walk.seen();
            let Some(window) = walk.window(step, &self.samples) else {
                continue;
            };
            touched += walk.touched(&self.samples);
            fresh += walk.fresh(seen, &self.samples);
            let own = scalars.get(step * width..(step + 1) * width);
            let own = own.unwrap_or_default();
            let folds = walk.folds(&self.samples);
            let result = if window.histograms.values.is_empty() {
                let (value, left_over) =
                    of_floats(&self.call, (&window, folds), own, &mut self.workspace);
                found.left_over = found.left_over.max(left_over);
                value
            } else {
                let left_over = folds.map_or(Resolution::Raw, |folds| folds.coarsest());
                found.left_over = found.left_over.max(left_over);
                let steps = self.call.windows.steps.count;
                mixed(&self.call, &window, own, &mut self.workspace, |histogram| {
                    found.histograms.set(step, steps, histogram);
                })
            };
            if let Some(result) = result {
                *slot = result;
                found.floats = true;
            }
        }
        run.count(touched, if self.call.stored { fresh } else { 0 });
        found
    }

    /// Says what all that was read lets it say.
    fn remark_at_end(&self, run: &Run<'_>) {
        let (call, met) = (&self.call, self.call.source.met_at_end());
        let function = (call.name, call.evaluate_folded.is_some());
        if let Some(note) = coarse::of_windows(&call.windows, function, met) {
            run.note(note, call.positions.first().copied().unwrap_or(0));
        }
    }

    fn remark(&mut self, run: &Run<'_>, labels: &LabelSet, found: &Found) -> Result<(), Error> {
        let floats = found.floats;
        let name = labels.metric_name().unwrap_or_default();
        if let Some(reason) = self.workspace.failure() {
            return Err(Error::Execution(reason.to_owned()));
        }
        run.notes(&mut self.workspace.notes);
        if found.left_over != Resolution::Raw {
            let note = Note::OfSamplesLeft {
                function: self.call.name,
                resolution: found.left_over,
            };
            run.note(note, self.call.positions.first().copied().unwrap_or(0));
        }
        if floats
            && !name.is_empty()
            && matches!(self.call.name, "rate" | "increase")
            && let Some(note) = doubt_counter(run, labels, name)
        {
            run.note(note, self.call.positions.first().copied().unwrap_or(0));
        }
        Ok(())
    }
}

/// What a series comes to.
#[derive(Default)]
struct Found {
    /// Some step has a float.
    floats: bool,
    histograms: StepHistograms,
    /// Some step was made only from samples that downsampling has left, at this resolution.
    left_over: Resolution,
}

/// What a function knows of folds counts where the window is as long as they are apart. Also of which resolution the
/// samples are that it was made from alone.
fn of_floats(
    call: &RangeCall,
    (window, folds): (&RangeWindow<'_>, Option<FoldWindow<'_>>),
    scalars: &[f64],
    workspace: &mut Workspace,
) -> (Option<f64>, Resolution) {
    let resolution = folds.map_or(Resolution::Raw, |folds| folds.coarsest());
    let knows = call.evaluate_folded.zip(folds);
    if let Some((evaluate, folds)) = knows.filter(|_| call.windows.range_ms >= resolution.ms())
        && let Folded::OfAll(value) = evaluate(window, &folds)
    {
        return (value, Resolution::Raw);
    }
    let value = (call.evaluate)(window, scalars, workspace);
    (value, resolution)
}

/// What comes of a window that holds histograms.
fn mixed(
    call: &RangeCall,
    window: &RangeWindow<'_>,
    scalars: &[f64],
    workspace: &mut Workspace,
    mut found: impl FnMut(Arc<crate::query::FloatHistogram>),
) -> Option<f64> {
    match (call.evaluate_mixed)(window, scalars, workspace) {
        MixedResult::Nothing => None,
        MixedResult::OfFloatsAlone => (call.evaluate)(window, scalars, workspace),
        MixedResult::OfFloats => {
            let result = (call.evaluate)(window, scalars, workspace);
            if !window.values.is_empty() {
                let metric = workspace.notes.metric().to_owned();
                let note = HistogramNote::IgnoredInMixedRange(metric);
                workspace.notes.add(0, note.into());
            }
            result
        }
        MixedResult::Is(SampleValue::Float(value)) => Some(value),
        MixedResult::Is(SampleValue::Histogram(histogram)) => {
            found(histogram);
            None
        }
    }
}

/// Scalar arguments of all steps, those of one step side by side.
pub(super) fn side_by_side(
    scalars: &mut [Input],
    steps: usize,
    run: &Run<'_>,
) -> Result<Vec<f64>, Error> {
    let mut columns = Vec::with_capacity(scalars.len());
    for scalar in scalars {
        columns.push(scalar_values(scalar, run)?);
    }
    if columns.is_empty() {
        return Ok(Vec::new());
    }
    let row = |step| {
        columns
            .iter()
            .map(move |column| column.get(step).copied().unwrap_or(f64::NAN))
    };
    Ok((0..steps).flat_map(row).collect())
}

/// Whether a metric that is treated as a counter looks like none.
fn doubt_counter(run: &Run<'_>, labels: &LabelSet, name: &str) -> Option<Note> {
    if run.habits.type_and_unit {
        let kind = labels.get("__type__").unwrap_or_default();
        let fits = matches!(kind, "counter" | "histogram");
        return (!fits).then(|| Note::PossibleNonCounterLabel {
            metric: name.to_owned(),
            kind: kind.to_owned(),
        });
    }
    let fits = ["_total", "_sum", "_count", "_bucket"]
        .iter()
        .any(|suffix| name.ends_with(suffix));
    (!fits).then(|| Note::PossibleNonCounter {
        metric: name.to_owned(),
    })
}

impl Operator for Range {
    fn next(&mut self, run: &Run<'_>) -> Result<Option<StepSeries>, Error> {
        self.prepare(run)?;
        loop {
            let Some((labels, drop)) = self.call.source.next(run, &mut self.samples)? else {
                self.remark_at_end(run);
                return Ok(None);
            };
            let name = labels.metric_name().unwrap_or_default();
            self.workspace.notes.about(name);
            let mut values = run.values(self.call.windows.steps.count)?;
            let found = self.evaluate(run, &mut values);
            self.remark(run, &labels, &found)?;
            if !found.floats && found.histograms.is_empty() {
                run.recycle(values);
                continue;
            }
            let drop = drop || !self.call.keeps_name;
            let labels = if drop && !run.habits.delayed_names {
                let dropped = drop_metric(&labels);
                if self.call.mixes_names {
                    let steps = StepSet::of(&values, &found.histograms);
                    self.distinct.check(&dropped, steps)?;
                }
                dropped
            } else {
                labels
            };
            return Ok(Some(StepSeries {
                labels,
                drop_name: drop,
                values,
                histograms: found.histograms,
            }));
        }
    }
}
