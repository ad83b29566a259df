//! The last step of a query: what was evaluated, in the form and order in which Prometheus shows it.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::model::LabelSet;

use super::exec::Raw;
use super::histogram::FloatHistogram;
use super::output::{MatrixSeries, QueryValue};
use super::plan::Node;
use super::question::Question;
use super::value::{SampleValue, StepSeries, Steps, ValueType, is_absent};

/// What evaluation leaves.
pub(super) enum Evaluated {
    Series(Vec<StepSeries>),
    Samples(Vec<Raw>),
    Text(String),
}

/// Brings a result into its form and order.
pub(super) fn shape(
    evaluated: Evaluated,
    node: &Node,
    question: &Question<'_>,
) -> (QueryValue, bool) {
    let at = question.steps.start;
    match evaluated {
        Evaluated::Text(text) => (QueryValue::Text(at, text), false),
        Evaluated::Samples(raw) => {
            let series = raw
                .into_iter()
                .map(|raw| MatrixSeries {
                    labels: raw.labels,
                    timestamps: raw.timestamps,
                    values: raw.values,
                    histograms: raw.histograms,
                })
                .collect();
            let (series, truncated) = cut(series, question.limit);
            (QueryValue::Matrix(series), truncated)
        }
        Evaluated::Series(mut series) => {
            if !question.range && node.value_type() == ValueType::Scalar {
                let value = series
                    .first()
                    .and_then(|series| series.values.first().copied());
                return (QueryValue::Scalar(at, value.unwrap_or(f64::NAN)), false);
            }
            if question.range || !node.keeps_order() {
                series.sort_unstable_by(by_labels);
            }
            let (series, truncated) = cut(series, question.limit);
            let value = if question.range {
                QueryValue::Matrix(matrix(series, &question.steps))
            } else {
                QueryValue::Vector(at, vector(series))
            };
            (value, truncated)
        }
    }
}

fn by_labels(one: &StepSeries, other: &StepSeries) -> Ordering {
    one.labels.cmp(&other.labels)
}

fn cut<T>(mut series: Vec<T>, limit: usize) -> (Vec<T>, bool) {
    let truncated = limit > 0 && series.len() > limit;
    if truncated {
        series.truncate(limit);
    }
    (series, truncated)
}

fn vector(series: Vec<StepSeries>) -> Vec<(LabelSet, SampleValue)> {
    series
        .into_iter()
        .filter_map(|series| {
            let value = match series.histograms.get(0) {
                Some(histogram) => SampleValue::Histogram(Arc::clone(histogram)),
                None => {
                    let first = series.values.first().copied();
                    SampleValue::Float(first.filter(|value| !is_absent(*value))?)
                }
            };
            Some((series.labels, value))
        })
        .collect()
}

fn matrix(series: Vec<StepSeries>, steps: &Steps) -> Vec<MatrixSeries> {
    let times: Vec<i64> = steps.iter().collect();
    series
        .into_iter()
        .filter_map(|mut series| {
            let present = |value: &f64| !is_absent(*value);
            let all = series.values.iter().all(present);
            let timestamps: Vec<i64> = if all {
                times.clone()
            } else {
                let kept = times.iter().zip(&series.values);
                kept.filter(|(_, value)| present(value))
                    .map(|(at, _)| *at)
                    .collect()
            };
            series.values.retain(present);
            let at = |step: usize| times.get(step).copied().unwrap_or(0);
            let histograms: Vec<(i64, Arc<FloatHistogram>)> = series
                .histograms
                .iter()
                .map(|(step, histogram)| (at(step), Arc::clone(histogram)))
                .collect();
            (!timestamps.is_empty() || !histograms.is_empty()).then_some(MatrixSeries {
                labels: series.labels,
                timestamps,
                values: series.values,
                histograms,
            })
        })
        .collect()
}
