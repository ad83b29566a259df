//! Aggregations that pick some of the series and leave them as they are: topk, bottomk, limitk,
//! limit_ratio. The parameter may differ from step to step, so all series are held.
//!
//! Where Prometheus takes series in the order of its storage, the order here is that of their
//! labels, whatever the source does.

use std::cmp::Ordering;

use xxhash_rust::xxh64::xxh64;

use crate::model::LabelSet;
use crate::query::annotations::Note;
use crate::query::error::Error;
use crate::query::function::compare_values;
use crate::query::histogram_note::HistogramNote;
use crate::query::syntax::AggregateOp;
use crate::query::value::{StepHistograms, StepSeries, is_absent};

use super::labels::{KeyIndex, LabelKey};
use super::operator::{Held, Input, Operator, Run, scalar_values};

/// Picks series.
pub(super) struct Pick {
    op: AggregateOp,
    input: Input,
    param: Input,
    param_position: usize,
    /// Where the whole begins in the text.
    position: usize,
    key: Option<LabelKey>,
    picked: Option<std::vec::IntoIter<StepSeries>>,
    held: Option<Held>,
}

impl Pick {
    /// By a key; the whole's text and the parameter's begin at positions.
    pub(super) const fn new(
        op: AggregateOp,
        input: Input,
        param: Input,
        (position, param_position): (usize, usize),
        key: LabelKey,
    ) -> Self {
        Self {
            op,
            input,
            param,
            param_position,
            position,
            key: Some(key),
            picked: None,
            held: None,
        }
    }

    fn pick_all(&mut self, run: &Run<'_>) -> Result<Vec<StepSeries>, Error> {
        let params = scalar_values(&mut self.param, run)?;
        let mut held = Held::all(&mut self.input, run)?;
        if !self.sensible(&params, run)? || held.series.is_empty() {
            return Ok(Vec::new());
        }
        self.leave_histograms_out(&mut held.series, &params, run);
        held.series.sort_by(|a, b| a.labels.cmp(&b.labels));
        let Some(key) = self.key.take() else {
            return Ok(Vec::new());
        };
        let mut index = KeyIndex::new(key);
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for (at, series) in held.series.iter().enumerate() {
            let group = index.number(&series.labels);
            if group == groups.len() {
                groups.push(Vec::new());
            }
            if let Some(group) = groups.get_mut(group) {
                group.push(at);
            }
        }
        let mut picked = Vec::new();
        for group in &groups {
            run.check()?;
            self.pick_group(&held.series, group, &params, run, &mut picked)?;
        }
        held.series.clear();
        self.held = Some(held);
        Ok(picked)
    }

    /// Histograms are neither large nor small.
    fn leave_histograms_out(&self, all: &mut [StepSeries], params: &[f64], run: &Run<'_>) {
        let name = match self.op {
            AggregateOp::Topk => "topk",
            AggregateOp::Bottomk => "bottomk",
            _ => return,
        };
        let asked = |step: usize| params.get(step).is_some_and(|param| *param >= 1.0);
        let mut met = false;
        for series in all.iter_mut().filter(|one| !one.histograms.is_empty()) {
            met |= series.histograms.iter().any(|(step, _)| asked(step));
            series.histograms.clear();
        }
        if met {
            let note = HistogramNote::IgnoredInAggregation(name);
            run.note(note.into(), self.position);
        }
    }

    /// Looks at the parameter of all steps at once; false if nothing can be picked.
    fn sensible(&self, params: &[f64], run: &Run<'_>) -> Result<bool, Error> {
        let any_nan = params.iter().any(|param| param.is_nan());
        // As in Go, the extremes are NaN if any number is.
        let extreme = |fold: fn(f64, f64) -> f64, from| match any_nan {
            true => f64::NAN,
            false => params.iter().copied().fold(from, fold),
        };
        let most = extreme(f64::max, f64::MIN);
        let least = extreme(f64::min, f64::MAX);
        let fail = |text: String| Err(Error::Execution(text));
        if self.op == AggregateOp::LimitRatio {
            if most == 0.0 && least == 0.0 {
                return Ok(false);
            }
            if any_nan {
                return fail("Ratio value is NaN".to_owned());
            }
            for (got, capped) in [(most, 1.0), (least, -1.0)] {
                if (got > 1.0 && capped > 0.0) || (got < -1.0 && capped < 0.0) {
                    run.note(Note::InvalidRatio { got, capped }, self.param_position);
                }
            }
            return Ok(true);
        }
        if most < 1.0 {
            return Ok(false);
        }
        if any_nan {
            return fail("Parameter value is NaN".to_owned());
        }
        if least <= I64_MIN {
            return fail(format!("Scalar value {least:e} underflows int64"));
        }
        if most >= -I64_MIN {
            return fail(format!("Scalar value {most:e} overflows int64"));
        }
        Ok(true)
    }

    fn pick_group(
        &self,
        all: &[StepSeries],
        group: &[usize],
        params: &[f64],
        run: &Run<'_>,
        picked: &mut Vec<StepSeries>,
    ) -> Result<(), Error> {
        let mut out: Vec<Option<(Vec<f64>, StepHistograms)>> = vec![None; group.len()];
        let offsets: Vec<f64> = match self.op {
            AggregateOp::LimitRatio => group
                .iter()
                .filter_map(|at| all.get(*at))
                .map(|series| sample_offset(&series.labels))
                .collect(),
            _ => Vec::new(),
        };
        let mut present: Vec<(usize, f64)> = Vec::with_capacity(group.len());
        for (step, param) in params.iter().enumerate() {
            present.clear();
            let members = group.iter().enumerate();
            present.extend(members.filter_map(|(member, at)| {
                let series = all.get(*at)?;
                let value = *series.values.get(step)?;
                let there = !is_absent(value) || series.histograms.has(step);
                there.then_some((member, value))
            }));
            self.keep(&mut present, *param, &offsets);
            for (member, value) in &present {
                let Some(slot) = out.get_mut(*member) else {
                    continue;
                };
                let (values, histograms) = match slot {
                    Some(picked) => picked,
                    None => slot.insert((run.values(params.len())?, StepHistograms::none())),
                };
                if let Some(value_slot) = values.get_mut(step) {
                    *value_slot = *value;
                }
                let series = group.get(*member).and_then(|at| all.get(*at));
                if let Some(histogram) = series.and_then(|one| one.histograms.get(step)) {
                    histograms.set(step, params.len(), histogram.clone());
                }
            }
        }
        // An instant query shows the picked in the order of picking.
        let order: Vec<usize> = if params.len() == 1 {
            present.iter().map(|(member, _)| *member).collect()
        } else {
            (0..group.len()).collect()
        };
        for member in order {
            let picked_ones = out.get_mut(member).and_then(Option::take);
            let series = group.get(member).and_then(|at| all.get(*at));
            if let (Some((values, histograms)), Some(series)) = (picked_ones, series) {
                picked.push(StepSeries {
                    labels: series.labels.clone(),
                    drop_name: series.drop_name,
                    values,
                    histograms,
                });
            }
        }
        Ok(())
    }

    /// Leaves of one step's values those that are picked, the first first.
    fn keep(&self, present: &mut Vec<(usize, f64)>, param: f64, offsets: &[f64]) {
        if self.op == AggregateOp::LimitRatio {
            let ratio = param.clamp(-1.0, 1.0);
            present.retain(|(member, _)| {
                let offset = offsets.get(*member).copied().unwrap_or(0.0);
                (ratio > 0.0 && offset < ratio) || (ratio < 0.0 && offset >= 1.0 + ratio)
            });
            return;
        }
        let most = whole(param);
        if self.op == AggregateOp::Limitk {
            present.truncate(most);
            return;
        }
        let descending = self.op == AggregateOp::Topk;
        let order = |a: &(usize, f64), b: &(usize, f64)| -> Ordering {
            compare_values(a.1, b.1, descending).then(a.0.cmp(&b.0))
        };
        if most == 0 {
            present.clear();
        } else if present.len() > most {
            present.select_nth_unstable_by(most - 1, order);
            present.truncate(most);
        }
        present.sort_unstable_by(order);
    }
}

/// The lowest number of 64 bits with sign, exact as a float.
const I64_MIN: f64 = -9_223_372_036_854_775_808.0;

/// A parameter as a count.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float becomes the nearest count below it, 0 if it is negative; `as` saturates"
)]
const fn whole(param: f64) -> usize {
    param as usize
}

/// Where between 0 and 1 a series lies for `limit_ratio`: its hash in Prometheus, whose bytes are
/// each text with its length before it, in one byte or, from 255 on, three more.
#[allow(
    clippy::cast_precision_loss,
    reason = "as in Prometheus, the highest bits of the hash count"
)]
fn sample_offset(labels: &LabelSet) -> f64 {
    let mut bytes = Vec::with_capacity(labels.text_len() + labels.len() * 2);
    for text in labels.iter().flat_map(|(name, value)| [name, value]) {
        let length = text.len().to_le_bytes();
        if text.len() < 255 {
            bytes.extend(length.first());
        } else {
            bytes.push(255);
            bytes.extend(length.iter().take(3));
        }
        bytes.extend_from_slice(text.as_bytes());
    }
    xxh64(&bytes, 0) as f64 / u64::MAX as f64
}

impl Operator for Pick {
    fn next(&mut self, run: &Run<'_>) -> Result<Option<StepSeries>, Error> {
        let mut picked = match self.picked.take() {
            Some(picked) => picked,
            None => self.pick_all(run)?.into_iter(),
        };
        let next = picked.next();
        self.picked = Some(picked);
        Ok(next.filter(|series| !series.is_empty()))
    }
}
