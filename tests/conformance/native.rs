//! Native histograms as Prometheus' case files write them, and whether a result is one of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use cairn::model::{Buckets, Histogram, LabelSet, ResetHint, SCHEMA_CUSTOM, Span, Value};
use cairn::query::FloatHistogram;

use super::published::close;

/// A histogram of a case file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Native {
    schema: i32,
    count: f64,
    sum: f64,
    zero_count: f64,
    zero_threshold: f64,
    positive: BTreeMap<i32, f64>,
    negative: BTreeMap<i32, f64>,
    custom_values: Vec<f64>,
    /// None: it was not written, and is not compared.
    hint: Option<ResetHint>,
}

fn number(text: &str) -> f64 {
    match text.trim_start_matches('+') {
        "Inf" | "inf" => f64::INFINITY,
        "-Inf" | "-inf" => f64::NEG_INFINITY,
        other => other
            .parse()
            .unwrap_or_else(|_| panic!("number {other:?} of a histogram")),
    }
}

impl Native {
    /// From `schema:1 count:4 buckets:[1 2 1]`.
    pub(crate) fn parse(text: &str) -> Self {
        let mut fields: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let mut last = "";
        for word in text.split_whitespace() {
            let value = match word.split_once(':') {
                Some((name, value)) => {
                    last = name;
                    value
                }
                None => word,
            };
            let value = value.trim_matches(['[', ']']);
            let values = fields.entry(last).or_default();
            values.extend((!value.is_empty()).then_some(value));
        }
        let list = |name: &str| -> Vec<f64> {
            let values = fields.get(name).into_iter().flatten();
            values.map(|value| number(value)).collect()
        };
        let one = |name: &str| list(name).first().copied().unwrap_or(0.0);
        let side = |buckets: &str, offset: &str| {
            let from = one(offset) as i32;
            (from..).zip(list(buckets)).collect()
        };
        let hint = fields.get("counter_reset_hint").map(|hint| match hint[0] {
            "unknown" => ResetHint::Unknown,
            "reset" => ResetHint::Yes,
            "not_reset" => ResetHint::No,
            "gauge" => ResetHint::Gauge,
            other => panic!("hint {other:?}"),
        });
        Self {
            schema: one("schema") as i32,
            count: one("count"),
            sum: one("sum"),
            zero_count: one("z_bucket"),
            zero_threshold: one("z_bucket_w"),
            positive: side("buckets", "offset"),
            negative: side("n_buckets", "n_offset"),
            custom_values: list("custom_values"),
            hint,
        }
    }

    /// Of a token: `{{…}}`, `{{…}}x3`, `{{…}}+{{…}}x3`.
    pub(crate) fn series(token: &str) -> Vec<Self> {
        let end = token.find("}}").unwrap();
        let first = Self::parse(&token[2..end]);
        let rest = &token[end + 2..];
        let times = |text: &str| -> usize { text[1..].parse().unwrap() };
        match rest.chars().next() {
            None => vec![first],
            Some('x') => vec![first; times(rest) + 1],
            Some(sign) => {
                let end = rest.find("}}").unwrap();
                let step = Self::parse(&rest[3..end]);
                let sign = if sign == '-' { -1.0 } else { 1.0 };
                let mut all = vec![first];
                for _ in 0..times(&rest[end + 2..]) {
                    let next = all.last().unwrap().moved(&step, sign);
                    all.push(next);
                }
                // Whether the hint counts is what the last of both says.
                for one in &mut all {
                    one.hint = step.hint.and(one.hint.or(Some(ResetHint::Unknown)));
                }
                all
            }
        }
    }

    fn moved(&self, step: &Self, sign: f64) -> Self {
        let mut next = self.clone();
        next.count += sign * step.count;
        next.sum += sign * step.sum;
        next.zero_count += sign * step.zero_count;
        for (side, step_side) in [
            (&mut next.positive, &step.positive),
            (&mut next.negative, &step.negative),
        ] {
            for (index, count) in step_side {
                // A finer step's buckets are merged.
                let index = ((index - 1) >> (step.schema - self.schema)) + 1;
                *side.entry(index).or_default() += sign * count;
            }
        }
        let (ours, theirs) = (self.hint.unwrap_or_default(), step.hint.unwrap_or_default());
        next.hint = Some(match (ours, theirs) {
            _ if ours == theirs => ours,
            (ResetHint::Gauge, _) | (_, ResetHint::Gauge) => ResetHint::Gauge,
            _ => ResetHint::Unknown,
        });
        next
    }

    /// As a sample.
    pub(crate) fn value(&self) -> Value {
        let spans = |side: &BTreeMap<i32, f64>| {
            let mut spans: Vec<Span> = Vec::new();
            let mut next = 0;
            for index in side.keys() {
                match spans.last_mut() {
                    Some(span) if *index == next => span.length += 1,
                    _ => spans.push(Span {
                        offset: index - next,
                        length: 1,
                    }),
                }
                next = index + 1;
            }
            spans
        };
        Value::Histogram(Arc::new(Histogram {
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            sum: self.sum,
            buckets: Buckets::Float {
                count: self.count,
                zero_count: self.zero_count,
                positive: self.positive.values().copied().collect(),
                negative: self.negative.values().copied().collect(),
            },
            positive_spans: spans(&self.positive),
            negative_spans: spans(&self.negative),
            custom_values: self.custom_values.clone(),
            reset_hint: self.hint.unwrap_or_default(),
        }))
    }

    /// Whether a result is this one; buckets that hold nothing count for nothing.
    pub(crate) fn is(&self, got: &FloatHistogram) -> bool {
        let side = |want: &BTreeMap<i32, f64>, got: Vec<(i32, f64)>| {
            let want: Vec<_> = want.iter().filter(|(_, count)| **count != 0.0).collect();
            let got: Vec<_> = got.iter().filter(|(_, count)| *count != 0.0).collect();
            let mut pairs = want.iter().zip(&got);
            want.len() == got.len() && pairs.all(|(a, b)| *a.0 == b.0 && close(*a.1, b.1))
        };
        self.schema == got.schema()
            && close(self.count, got.count())
            && close(self.sum, got.sum())
            && self.zero_threshold == got.zero_threshold()
            && close(self.zero_count, got.zero_count())
            && (self.schema != SCHEMA_CUSTOM || self.custom_values == got.custom_values())
            && side(&self.positive, got.positive().collect())
            && side(&self.negative, got.negative().collect())
            && self.hint.is_none_or(|hint| hint == got.hint())
    }
}

/// Classic histograms that are gathered until they can be written as native ones.
#[derive(Default)]
pub(crate) struct Classics(BTreeMap<(LabelSet, i64), Classic>);

#[derive(Default)]
struct Classic {
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
}

impl Classics {
    /// Takes a sample in, if it belongs to a classic histogram.
    pub(crate) fn take(&mut self, series: &LabelSet, at: i64, value: f64) {
        let name = series.metric_name().unwrap_or_default();
        let Some((base, part)) = name.rsplit_once('_') else {
            return;
        };
        if !["bucket", "count", "sum"].contains(&part) {
            return;
        }
        let labels = series
            .to_builder()
            .set("le", "")
            .set("__name__", base)
            .build();
        let one = self.0.entry((labels, at)).or_default();
        match part {
            "bucket" => {
                let le = number(series.get("le").unwrap_or_default());
                one.buckets.push((le, value));
            }
            "count" => one.count = Some(value),
            _ => one.sum = value,
        }
    }

    /// What was gathered.
    pub(crate) fn natives(self) -> impl Iterator<Item = (LabelSet, i64, Native)> {
        self.0
            .into_iter()
            .map(|((labels, at), classic)| (labels, at, classic.native()))
    }
}

impl Classic {
    fn native(mut self) -> Native {
        self.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        self.buckets.dedup_by_key(|bucket| bucket.0);
        let highest = self.buckets.last().map_or(0.0, |bucket| bucket.1);
        let count = self.count.unwrap_or(highest);
        if self.buckets.last().is_none_or(|last| last.0.is_finite()) {
            self.buckets.push((f64::INFINITY, count));
        }
        let mut before = 0.0;
        let positive = (0..).zip(&self.buckets).map(|(index, (_, upto))| {
            let count = upto - before;
            before = *upto;
            (index, count)
        });
        let positive = positive.filter(|(_, count)| *count != 0.0).collect();
        let bounds = self.buckets.iter().map(|bucket| bucket.0);
        Native {
            schema: SCHEMA_CUSTOM,
            count,
            sum: self.sum,
            positive,
            custom_values: bounds.filter(|bound| bound.is_finite()).collect(),
            ..Native::default()
        }
    }
}
