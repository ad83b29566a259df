//! Series of native histograms with everything that makes them difficult: resets, gaps, stale
//! markers, buckets that come and go, schemas and bounds that change, zero buckets, negative
//! buckets, gauges, series that are floats now and then. The same on every machine.

use std::sync::Arc;

use cairn::model::{Buckets, Histogram, ResetHint, SCHEMA_CUSTOM, Span, Value, stale_nan};

use super::random_data::BEGIN_MS;
use super::random_query::Dice;
use super::remote_write;

/// Labels, and times with values.
pub type Series = (Vec<(&'static str, &'static str)>, Vec<(i64, Value)>);

/// Counts of one histogram by bucket.
#[derive(Clone, Default)]
struct Counts {
    positive: Vec<i64>,
    negative: Vec<i64>,
    zero: i64,
    sum: f64,
}

impl Counts {
    fn of_positive(buckets: usize) -> Self {
        Self {
            positive: vec![0; buckets],
            ..Self::default()
        }
    }

    /// A few more observations; `reach` buckets get any.
    fn grow(&mut self, dice: &mut Dice, reach: usize) {
        for _ in 0..dice.below(12) {
            let at = dice.below(reach.max(1));
            match dice.below(8) {
                0 => self.zero += 1,
                1 if !self.negative.is_empty() => {
                    let at = at.min(self.negative.len() - 1);
                    self.negative[at] += 1;
                    self.sum -= at as f64;
                }
                _ => {
                    let at = at.min(self.positive.len() - 1);
                    self.positive[at] += 1;
                    self.sum += at as f64 + 0.25;
                }
            }
        }
    }
}

/// Runs of buckets with something in them.
fn runs(counts: &[i64], from: i32) -> (Vec<Span>, Vec<i64>) {
    let (mut spans, mut filled): (Vec<Span>, Vec<i64>) = Default::default();
    let mut next = 0;
    for (index, count) in (from..).zip(counts).filter(|(_, count)| **count != 0) {
        match spans.last_mut() {
            Some(span) if index == next => span.length += 1,
            _ => spans.push(Span {
                offset: index - next,
                length: 1,
            }),
        }
        filled.push(*count);
        next = index + 1;
    }
    (spans, filled)
}

fn deltas(counts: &[i64]) -> Vec<i64> {
    let mut before = 0;
    let step = |count: &i64| count - std::mem::replace(&mut before, *count);
    counts.iter().map(step).collect()
}

/// How a series' histograms are written.
#[derive(Clone, Copy)]
struct Form {
    schema: i32,
    from: i32,
    zero_threshold: f64,
    integer: bool,
    hint: ResetHint,
}

fn exponential(counts: &Counts, form: Form) -> Histogram {
    let (positive_spans, positive) = runs(&counts.positive, form.from);
    let (negative_spans, negative) = runs(&counts.negative, form.from);
    let count = positive.iter().chain(&negative).sum::<i64>() + counts.zero;
    let floats = |counts: &[i64]| counts.iter().map(|count| *count as f64).collect();
    let buckets = if form.integer {
        Buckets::Integer {
            count: count as u64,
            zero_count: counts.zero as u64,
            positive: deltas(&positive),
            negative: deltas(&negative),
        }
    } else {
        Buckets::Float {
            count: count as f64,
            zero_count: counts.zero as f64,
            positive: floats(&positive),
            negative: floats(&negative),
        }
    };
    Histogram {
        schema: form.schema,
        zero_threshold: form.zero_threshold,
        sum: counts.sum,
        buckets,
        positive_spans,
        negative_spans,
        custom_values: Vec::new(),
        reset_hint: form.hint,
    }
}

fn custom(counts: &Counts, bounds: &[f64], integer: bool) -> Histogram {
    let mut of = counts.clone();
    of.positive.truncate(bounds.len() + 1);
    of.zero = 0;
    let form = Form {
        schema: SCHEMA_CUSTOM,
        from: 0,
        zero_threshold: 0.0,
        integer,
        hint: ResetHint::Unknown,
    };
    Histogram {
        custom_values: bounds.to_vec(),
        ..exponential(&of, form)
    }
}

/// All of them, samples 15 s apart.
pub fn all() -> Vec<Series> {
    let mut dice = Dice(77);
    let mut all = Vec::new();
    for (job, schema) in [("a", 0), ("b", 2), ("c", 1)] {
        for instance in ["1", "2"] {
            for name in ["sizes", "levels", "bounded", "both"] {
                let labels = vec![("__name__", name), ("instance", instance), ("job", job)];
                all.push((labels, samples(&mut dice, name, (job, instance), schema)));
            }
        }
    }
    all
}

fn samples(
    dice: &mut Dice,
    name: &str,
    (job, instance): (&str, &str),
    schema: i32,
) -> Vec<(i64, Value)> {
    let mut counts = Counts::of_positive(9);
    if name == "levels" {
        counts.negative = vec![0; 4];
    }
    let mut samples = Vec::new();
    let mut quiet = 0;
    for at in 0..161_usize {
        if name == "levels" {
            // In Prometheus a gauge gets the buckets of its neighbours, empty, when it is stored;
            // whether a side has any buckets at all decides how its zero bucket is read.
            counts = Counts {
                positive: vec![1, 0, 0, 0, 0, 0, 0, 0, 0],
                negative: vec![1, 0, 0, 0],
                ..Counts::default()
            };
        } else if dice.one_in(50) {
            counts = Counts::of_positive(9);
        }
        counts.grow(dice, 1 + at / 16);
        let time = BEGIN_MS + at as i64 * 15_000;
        if quiet > 0 {
            quiet -= 1;
            continue;
        }
        if instance == "2" && dice.one_in(25) {
            quiet = 1 + dice.below(10);
            samples.push((time, Value::Float(stale_nan())));
            continue;
        }
        // Job b changes its resolution half-way, job c its zero bucket.
        let late = at > 80;
        let form = Form {
            schema: if job == "b" && late {
                schema - 1
            } else {
                schema
            },
            from: -3,
            zero_threshold: if job == "c" && late { 0.25 } else { 0.001 },
            integer: name != "levels",
            hint: match name {
                "levels" => ResetHint::Gauge,
                _ => ResetHint::Unknown,
            },
        };
        let value = match name {
            "both" if dice.below(40) < 8 => Value::Float(at as f64),
            "bounded" => {
                let bounds: &[f64] = match (job, late) {
                    ("a", _) => &[0.5, 1.0, 2.0, 4.0],
                    ("b", false) => &[1.0, 2.0, 3.0],
                    ("b", true) => &[1.0, 2.0, 4.0, 8.0],
                    _ => &[-1.0, 0.0, 1.0],
                };
                Value::Histogram(Arc::new(custom(&counts, bounds, true)))
            }
            _ => Value::Histogram(Arc::new(exponential(&counts, form))),
        };
        samples.push((time, value));
    }
    samples
}

/// As remote-write has it.
pub fn message(at: i64, histogram: &Histogram) -> remote_write::Histogram {
    let spans = |spans: &[Span]| {
        let spans = spans.iter().map(|span| remote_write::BucketSpan {
            offset: span.offset,
            length: span.length,
        });
        spans.collect()
    };
    let mut message = remote_write::Histogram {
        sum: histogram.sum,
        schema: histogram.schema,
        zero_threshold: histogram.zero_threshold,
        negative_spans: spans(&histogram.negative_spans),
        positive_spans: spans(&histogram.positive_spans),
        reset_hint: match histogram.reset_hint {
            ResetHint::Unknown => 0,
            ResetHint::Yes => 1,
            ResetHint::No => 2,
            ResetHint::Gauge => 3,
        },
        timestamp: at,
        custom_values: histogram.custom_values.clone(),
        ..remote_write::Histogram::default()
    };
    match &histogram.buckets {
        Buckets::Integer {
            count,
            zero_count,
            positive,
            negative,
        } => {
            message.count_int = Some(*count);
            message.zero_count_int = Some(*zero_count);
            message.positive_deltas.clone_from(positive);
            message.negative_deltas.clone_from(negative);
        }
        Buckets::Float {
            count,
            zero_count,
            positive,
            negative,
        } => {
            message.count_float = Some(*count);
            message.zero_count_float = Some(*zero_count);
            message.positive_counts.clone_from(positive);
            message.negative_counts.clone_from(negative);
        }
    }
    message
}
