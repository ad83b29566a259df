//! Functions over ranges: for each series a window slides over its samples, and the function sees
//! one window a step. Left-open, right-closed, without stale markers.
//!
//! The samples are stored ones, or those of a subquery. Each series is decoded once; a window is
//! a pair of positions that only move forward.

use crate::model::{LabelSet, Samples, TimeRange, TimestampMs, is_stale};
use crate::query::annotations::{Note, Notes};
use crate::query::error::Error;
use crate::query::function::{RangeWindow, Reach, Workspace};
use crate::query::plan::{Moment, Selector};
use crate::query::syntax::Edges;
use crate::query::value::{StepSeries, Steps, is_absent};
use crate::runtime::Reservation;
use crate::source::SeriesStream;

use super::labels::{Distinct, braces, drop_metric};
use super::operator::{Habits, Held, Input, Operator, Run, scalar_values};
use super::pieces::joined;
use super::scan::{floats_only, reach};

/// Series with the samples of a range.
pub(super) trait RangeSource {
    /// The next series: labels, whether its name is to be dropped at the end, and its samples
    /// without stale markers.
    fn next(
        &mut self,
        run: &Run<'_>,
        samples: &mut Samples,
    ) -> Result<Option<(LabelSet, bool)>, Error>;
}

/// Which windows are wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Windows {
    /// The end of the window of each step.
    pub(super) moment: Moment,
    /// Its length.
    pub(super) range_ms: i64,
    /// What else than the range it covers.
    pub(super) reach: Reach,
    /// At which steps.
    pub(super) steps: Steps,
}

impl Windows {
    /// The first and the last time that some window covers, at both ends one lookback further
    /// where the reach asks for it.
    pub(super) fn span(&self, lookback_ms: i64) -> TimeRange {
        let (first, last) = reach(self.moment, &self.steps);
        let (before, after) = self.margins(lookback_ms);
        TimeRange::new(
            TimestampMs(
                first
                    .saturating_sub(self.range_ms)
                    .saturating_sub(before)
                    .saturating_add(1),
            ),
            TimestampMs(last.saturating_add(after)),
        )
    }

    const fn margins(&self, lookback_ms: i64) -> (i64, i64) {
        match self.reach {
            Reach::Within => (0, 0),
            Reach::Anchored => (lookback_ms, 0),
            Reach::Smoothed => (lookback_ms, lookback_ms),
        }
    }
}

/// What a selector's edges mean to functions.
pub(super) const fn reach_of(edges: Edges) -> Reach {
    match edges {
        Edges::Plain => Reach::Within,
        Edges::Anchored => Reach::Anchored,
        Edges::Smoothed => Reach::Smoothed,
    }
}

/// Stored samples.
pub(super) struct Stored {
    selector: Selector,
    span: TimeRange,
    stream: Option<Box<dyn SeriesStream>>,
    held: Option<Reservation>,
}

impl Stored {
    /// Of a selector, within a span.
    pub(super) fn new(selector: Selector, span: TimeRange) -> Self {
        Self {
            selector,
            span,
            stream: None,
            held: None,
        }
    }
}

impl RangeSource for Stored {
    fn next(
        &mut self,
        run: &Run<'_>,
        samples: &mut Samples,
    ) -> Result<Option<(LabelSet, bool)>, Error> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => self
                .stream
                .insert(run.select(&self.selector.matchers, self.span)?),
        };
        run.check()?;
        self.held = None;
        let Some(labels) = stream.next(samples)? else {
            return Ok(None);
        };
        floats_only(samples, || braces(&labels))?;
        without_stale(samples);
        self.held = Some(run.reserve(samples.len() * 16, samples.len())?);
        Ok(Some((labels, false)))
    }
}

/// Takes stale markers out, in place.
fn without_stale(samples: &mut Samples) {
    if !samples.values.iter().any(|value| is_stale(*value)) {
        return;
    }
    let stale: Vec<bool> = samples.values.iter().map(|v| is_stale(*v)).collect();
    let mut gone = stale.iter();
    samples.values.retain(|value| !is_stale(*value));
    samples
        .timestamps
        .retain(|_| !gone.next().copied().unwrap_or(false));
    if !samples.starts.is_empty() {
        let mut gone = stale.iter();
        samples
            .starts
            .retain(|_| !gone.next().copied().unwrap_or(false));
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
        samples: &mut Samples,
    ) -> Result<Option<(LabelSet, bool)>, Error> {
        run.check()?;
        let Some(series) = self.next_series(run)? else {
            return Ok(None);
        };
        samples.clear();
        for (at, value) in self.steps.iter().zip(&series.values) {
            if !is_absent(*value) {
                samples.timestamps.push(at);
                samples.values.push(*value);
            }
        }
        run.recycle(series.values);
        Ok(Some((series.labels, series.drop_name)))
    }
}

/// Nothing at all: a subquery whose range holds none of its steps.
pub(super) struct Nothing;

impl RangeSource for Nothing {
    fn next(&mut self, _: &Run<'_>, _: &mut Samples) -> Result<Option<(LabelSet, bool)>, Error> {
        Ok(None)
    }
}

/// What is called for every window.
pub(super) type OverWindow = fn(&RangeWindow<'_>, &[f64], &mut Workspace) -> Option<f64>;

/// A function over the windows of each series.
pub(super) struct RangeCall {
    /// The function's name: two of them have a remark of their own.
    pub(super) name: &'static str,
    /// What is called.
    pub(super) evaluate: OverWindow,
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
    samples: Samples,
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
            samples: Samples::default(),
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

    fn evaluate(&mut self, run: &Run<'_>, values: &mut [f64]) -> bool {
        let mut walk = Walk::new(&self.call.windows, run.habits);
        let width = self.call.scalars.len();
        let scalars = self.scalars.as_deref().unwrap_or_default();
        let mut some = false;
        let (mut touched, mut fresh) = (0, 0);
        for (step, slot) in values.iter_mut().enumerate() {
            let seen = walk.to;
            let Some(window) = walk.window(step, &self.samples) else {
                continue;
            };
            touched += window.values.len();
            fresh += walk.to - seen.max(walk.from);
            let own = scalars.get(step * width..(step + 1) * width);
            let result =
                (self.call.evaluate)(&window, own.unwrap_or_default(), &mut self.workspace);
            if let Some(result) = result {
                *slot = result;
                some = true;
            }
        }
        run.count(touched, if self.call.stored { fresh } else { 0 });
        some
    }

    fn remark(&mut self, run: &Run<'_>, labels: &LabelSet, some: bool) -> Result<(), Error> {
        let name = labels.metric_name().unwrap_or_default();
        if let Some(reason) = self.workspace.failure() {
            return Err(Error::Execution(reason.to_owned()));
        }
        run.notes(&mut self.workspace.notes);
        if some
            && !name.is_empty()
            && matches!(self.call.name, "rate" | "increase")
            && let Some(note) = doubt_counter(run, labels, name)
        {
            run.note(note, self.call.positions.first().copied().unwrap_or(0));
        }
        Ok(())
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
                return Ok(None);
            };
            let name = labels.metric_name().unwrap_or_default();
            self.workspace.notes.about(name);
            let mut values = run.values(self.call.windows.steps.count)?;
            let some = self.evaluate(run, &mut values);
            self.remark(run, &labels, some)?;
            if !some {
                run.recycle(values);
                continue;
            }
            let drop = drop || !self.call.keeps_name;
            let labels = if drop && !run.habits.delayed_names {
                let dropped = drop_metric(&labels);
                if self.call.mixes_names {
                    self.distinct.check(&dropped, &values)?;
                }
                dropped
            } else {
                labels
            };
            return Ok(Some(StepSeries {
                labels,
                drop_name: drop,
                values,
            }));
        }
    }
}

/// Slides a window over one series.
pub(super) struct Walk<'a> {
    windows: &'a Windows,
    before: i64,
    after: i64,
    starts: bool,
    from: usize,
    to: usize,
}

impl<'a> Walk<'a> {
    /// From the first step on.
    pub(super) const fn new(windows: &'a Windows, habits: Habits) -> Self {
        let (before, after) = windows.margins(habits.lookback_ms);
        Self {
            windows,
            before,
            after,
            starts: habits.start_timestamps,
            from: 0,
            to: 0,
        }
    }

    /// The window of a step, which must not be before the last one's; `None` if it is empty.
    pub(super) fn window<'s>(
        &mut self,
        step: usize,
        samples: &'s Samples,
    ) -> Option<RangeWindow<'s>> {
        let step_time_ms = self.windows.steps.at(step).0;
        let range_end_ms = self.windows.moment.of(step_time_ms);
        let range_start_ms = range_end_ms.saturating_sub(self.windows.range_ms);
        let first = range_start_ms.saturating_sub(self.before);
        let last = range_end_ms.saturating_add(self.after);
        let timestamps = samples.timestamps.as_slice();
        while timestamps.get(self.to).is_some_and(|at| *at <= last) {
            self.to += 1;
        }
        while self.from < self.to && timestamps.get(self.from).is_some_and(|at| *at <= first) {
            self.from += 1;
        }
        if self.from >= self.to {
            return None;
        }
        let starts = if self.starts {
            samples.starts.get(self.from..self.to).unwrap_or_default()
        } else {
            &[]
        };
        Some(RangeWindow {
            timestamps: timestamps.get(self.from..self.to)?,
            values: samples.values.get(self.from..self.to)?,
            starts,
            range_start_ms,
            range_end_ms,
            step_time_ms,
            reach: self.windows.reach,
        })
    }
}
