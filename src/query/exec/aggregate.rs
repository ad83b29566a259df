//! Aggregations that fold each series into its group as it comes: sum, avg, count, min, max,
//! group, stddev, stdvar. No series is kept.
//!
//! The arithmetic is that of `aggregation` in Prometheus' `promql/engine.go`.

use crate::model::LabelSet;
use crate::query::error::Error;
use crate::query::function::{Mean, Neumaier};
use crate::query::syntax::AggregateOp;
use crate::query::value::{ABSENT, StepSeries, is_absent};
use crate::runtime::Reservation;

use super::fold_histograms::Histograms;
use super::labels::{KeyIndex, LabelKey};
use super::operator::{Input, Operator, Run};

/// Folds series into groups.
pub(super) struct Fold {
    op: AggregateOp,
    input: Input,
    index: KeyIndex,
    steps: usize,
    /// Where what is folded begins in the text.
    position: usize,
    groups: Option<std::vec::IntoIter<Group>>,
    held: Option<Reservation>,
}

/// One group: its labels and what has been folded into each step.
struct Group {
    labels: LabelSet,
    drop_name: bool,
    cells: Cells,
    histograms: Histograms,
}

/// What is kept of each step, by operator.
enum Cells {
    /// `sum`.
    Sum(Vec<Option<Neumaier>>),
    /// `avg`.
    Avg(Vec<Option<Mean>>),
    /// `count`, `group`, `min`, `max`.
    Plain(Vec<f64>),
    /// `stddev`, `stdvar`.
    Spread(Vec<Spread>),
}

/// Welford's: how many, their mean, and the sum of squared distances from it.
#[derive(Clone, Copy, Debug, Default)]
struct Spread {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Spread {
    fn add(&mut self, value: f64) {
        self.count += 1.0;
        if self.count == 1.0 {
            self.mean = value;
            self.squares = if value.is_finite() { 0.0 } else { f64::NAN };
            return;
        }
        let distance = value - self.mean;
        self.mean += distance / self.count;
        self.squares += distance * (value - self.mean);
    }
}

impl Fold {
    /// By a key, over so many steps; the input's text begins at a position.
    pub(super) fn new(
        op: AggregateOp,
        (input, position): (Input, usize),
        key: LabelKey,
        steps: usize,
    ) -> Self {
        Self {
            op,
            input,
            index: KeyIndex::new(key),
            steps,
            position,
            groups: None,
            held: None,
        }
    }

    fn fold_all(&mut self, run: &Run<'_>) -> Result<Vec<Group>, Error> {
        let mut held = run.reservation()?;
        let mut groups: Vec<Group> = Vec::new();
        while let Some(series) = self.input.next(run)? {
            let at = self.index.number(&series.labels);
            if at == groups.len() {
                let labels = self.index.key().project(&series.labels);
                let bytes = self.steps * 24 + labels.text_len() * 2 + 128;
                held.grow(u64::try_from(bytes).unwrap_or(u64::MAX), 0)?;
                groups.push(Group {
                    labels,
                    drop_name: false,
                    cells: Cells::new(self.op, self.steps),
                    histograms: Histograms::default(),
                });
            }
            if let Some(group) = groups.get_mut(at) {
                group.drop_name |= series.drop_name;
                group.cells.fold(self.op, &series.values);
                if !series.histograms.is_empty() {
                    group.fold_histograms(self.op, &series, &mut held, (run, self.position))?;
                }
            }
            run.recycle(series.values);
        }
        self.held = Some(held);
        Ok(groups)
    }
}

impl Group {
    fn fold_histograms(
        &mut self,
        op: AggregateOp,
        series: &StepSeries,
        held: &mut Reservation,
        place: (&Run<'_>, usize),
    ) -> Result<(), Error> {
        match &mut self.cells {
            // One is as good as another to be counted.
            Cells::Plain(cells) if counts(op) => {
                count_histograms(op, cells, series);
                Ok(())
            }
            _ => self.histograms.fold(op, series, held, place),
        }
    }
}

impl Operator for Fold {
    fn next(&mut self, run: &Run<'_>) -> Result<Option<StepSeries>, Error> {
        let mut groups = match self.groups.take() {
            Some(groups) => groups,
            None => self.fold_all(run)?.into_iter(),
        };
        let mut next = None;
        for group in groups.by_ref() {
            let mut values = group.cells.finish(self.op);
            let histograms = group.histograms;
            let histograms = histograms.finish(&mut values, (run, self.position));
            let series = StepSeries {
                labels: group.labels,
                drop_name: group.drop_name,
                values,
                histograms,
            };
            // Of histograms alone there may be nothing to say.
            if !series.is_empty() {
                next = Some(series);
                break;
            }
        }
        self.groups = Some(groups);
        Ok(next)
    }
}

impl Cells {
    fn new(op: AggregateOp, steps: usize) -> Self {
        match op {
            AggregateOp::Sum => Self::Sum(vec![None; steps]),
            AggregateOp::Avg => Self::Avg(vec![None; steps]),
            AggregateOp::Stddev | AggregateOp::Stdvar => {
                Self::Spread(vec![Spread::default(); steps])
            }
            _ => Self::Plain(vec![ABSENT; steps]),
        }
    }

    fn fold(&mut self, op: AggregateOp, values: &[f64]) {
        match self {
            Self::Sum(cells) => fold_with(cells, values, |cell, value| match cell {
                Some(sum) => sum.add(value),
                None => *cell = Some(Neumaier::from_value(value)),
            }),
            Self::Avg(cells) => fold_with(cells, values, |cell, value| match cell {
                Some(mean) => mean.add(value),
                None => *cell = Some(Mean::from_value(value)),
            }),
            Self::Spread(cells) => fold_with(cells, values, Spread::add),
            Self::Plain(cells) => match op {
                AggregateOp::Count => fold_with(cells, values, |cell, _| {
                    *cell = if is_absent(*cell) { 1.0 } else { *cell + 1.0 };
                }),
                AggregateOp::Min => fold_with(cells, values, |cell, value| {
                    // A NaN gives way to anything, and an absent value is one.
                    if cell.is_nan() || *cell > value {
                        *cell = value;
                    }
                }),
                AggregateOp::Max => fold_with(cells, values, |cell, value| {
                    if cell.is_nan() || *cell < value {
                        *cell = value;
                    }
                }),
                _ => fold_with(cells, values, |cell, _| *cell = 1.0),
            },
        }
    }

    fn finish(self, op: AggregateOp) -> Vec<f64> {
        match self {
            Self::Sum(cells) => cells
                .into_iter()
                .map(|cell| cell.map_or(ABSENT, |sum| sum.plain_total()))
                .collect(),
            Self::Avg(cells) => cells
                .into_iter()
                .map(|cell| cell.map_or(ABSENT, |mean| mean.mean()))
                .collect(),
            Self::Plain(values) => values,
            Self::Spread(cells) => cells
                .into_iter()
                .map(|cell| match op {
                    _ if cell.count == 0.0 => ABSENT,
                    AggregateOp::Stddev => (cell.squares / cell.count).sqrt(),
                    _ => cell.squares / cell.count,
                })
                .collect(),
        }
    }
}

/// Whether a histogram is as good as a number.
const fn counts(op: AggregateOp) -> bool {
    matches!(op, AggregateOp::Count | AggregateOp::Group)
}

fn count_histograms(op: AggregateOp, cells: &mut [f64], series: &StepSeries) {
    for (step, _) in series.histograms.iter() {
        if let Some(cell) = cells.get_mut(step) {
            *cell = match op {
                AggregateOp::Count if !is_absent(*cell) => *cell + 1.0,
                _ => 1.0,
            };
        }
    }
}

fn fold_with<T>(cells: &mut [T], values: &[f64], mut fold: impl FnMut(&mut T, f64)) {
    for (cell, value) in cells.iter_mut().zip(values) {
        if !is_absent(*value) {
            fold(cell, *value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(op: AggregateOp, series: &[f64], want: f64) {
        let mut cells = Cells::new(op, 2);
        for value in series {
            cells.fold(op, &[*value, ABSENT]);
        }
        let got = cells.finish(op);
        let same = got[0] == want || got[0].is_nan() && want.is_nan();
        assert!(same, "{op:?} of {series:?}: {} instead of {want}", got[0]);
        assert!(is_absent(got[1]));
    }

    #[test]
    fn groups_fold_as_prometheus_does() {
        check(AggregateOp::Sum, &[1.0, 1e100, 1.0, -1e100], 2.0);
        check(AggregateOp::Avg, &[f64::MAX, f64::MAX], f64::MAX);
        check(AggregateOp::Count, &[f64::NAN, 2.0], 2.0);
        check(AggregateOp::Min, &[f64::NAN, 2.0, 1.0], 1.0);
        check(AggregateOp::Max, &[f64::NAN, f64::NAN], f64::NAN);
        check(AggregateOp::Max, &[3.0, f64::NAN], 3.0);
        check(AggregateOp::Group, &[3.0, 4.0], 1.0);
        check(AggregateOp::Stdvar, &[1.0, 3.0], 1.0);
        check(AggregateOp::Stddev, &[f64::INFINITY], f64::NAN);
    }
}
