//! `sort` and `sort_by_label`: an order for the answer of an instant query. Range queries answer
//! in the order of labels whatever is asked for, and say so.

use crate::query::annotations::Note;
use crate::query::error::Error;
use crate::query::function::{compare_labels, compare_values};
use crate::query::value::StepSeries;

use super::operator::{Held, Input, Operator, Run};

/// By what is sorted.
pub(super) enum Order {
    /// By value.
    Value,
    /// By these labels.
    Labels(Vec<String>),
}

/// Sorts series.
pub(super) struct Sort {
    /// By what.
    pub(super) order: Order,
    /// Largest first.
    pub(super) descending: bool,
    /// What is sorted.
    pub(super) vector: Input,
    /// One moment is asked for: an order shows.
    pub(super) instant: bool,
    /// Where the expression begins in the text.
    pub(super) position: usize,
    /// What is still to come.
    pub(super) sorted: Option<std::vec::IntoIter<StepSeries>>,
    /// What is held of it.
    pub(super) held: Option<Held>,
}

impl Sort {
    fn sort(&mut self, run: &Run<'_>) -> Result<Vec<StepSeries>, Error> {
        let mut held = Held::all(&mut self.vector, run)?;
        let mut series = std::mem::take(&mut held.series);
        self.held = Some(held);
        let value = |series: &StepSeries| series.values.first().copied().unwrap_or(f64::NAN);
        match &self.order {
            Order::Value => {
                // Histograms have no order.
                series.retain(|series| series.histograms.is_empty());
                series.sort_by(|a, b| {
                    compare_values(value(a), value(b), self.descending)
                        .then_with(|| a.labels.cmp(&b.labels))
                });
            }
            Order::Labels(names) => {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                series
                    .sort_by(|a, b| compare_labels(&a.labels, &b.labels, &names, self.descending));
            }
        }
        Ok(series)
    }
}

impl Operator for Sort {
    fn next(&mut self, run: &Run<'_>) -> Result<Option<StepSeries>, Error> {
        if !self.instant {
            while let Some(mut series) = self.vector.next(run)? {
                if matches!(self.order, Order::Value) {
                    series.histograms.clear();
                }
                if !series.is_empty() {
                    return Ok(Some(series));
                }
                run.recycle(series.values);
            }
            run.note(Note::SortInRangeQuery, self.position);
            return Ok(None);
        }
        let mut sorted = match self.sorted.take() {
            Some(sorted) => sorted,
            None => self.sort(run)?.into_iter(),
        };
        let next = sorted.next();
        self.sorted = Some(sorted);
        Ok(next)
    }
}
