//! An answer in one form, whoever gave it, and whether two are the same.

use std::collections::{BTreeMap, BTreeSet};

use cairn::query::{
    Error, ErrorClass, FloatHistogram, QueryOutput, QueryValue, SampleValue, Severity,
};
use serde_json::Value;

/// Labels as text, sorted, to points: a float is one number; a histogram is its count, its sum,
/// and four numbers for each filled bucket, as in JSON.
type Points = BTreeMap<String, Vec<(i64, Vec<f64>)>>;

/// What came back.
#[derive(Debug)]
pub enum Answer {
    Result {
        kind: String,
        points: Points,
        text: String,
        warnings: BTreeSet<String>,
        infos: BTreeSet<String>,
    },
    Failure {
        kind: String,
        text: String,
    },
}

fn named<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let all: BTreeMap<&str, &str> = labels.collect();
    format!("{all:?}")
}

fn numbers(histogram: &FloatHistogram) -> Vec<f64> {
    let mut numbers = vec![histogram.count(), histogram.sum()];
    // Whether an empty bucket that infinity made NaN is there depends on how it was stored.
    let filled = |count: f64| count != 0.0 && !count.is_nan();
    for bucket in histogram.buckets().filter(|one| filled(one.count)) {
        let bounds = match (bucket.lower_inclusive, bucket.upper_inclusive) {
            (false, true) => 0.0,
            (true, false) => 1.0,
            (false, false) => 2.0,
            (true, true) => 3.0,
        };
        numbers.extend([bounds, bucket.lower, bucket.upper, bucket.count]);
    }
    numbers
}

impl Answer {
    /// Whether it shows anything.
    pub fn has_points(&self) -> bool {
        matches!(self, Self::Result { points, .. } if !points.is_empty())
    }

    /// Of the engine itself.
    pub fn of_engine(result: Result<QueryOutput, Error>, query: &str) -> Self {
        let output = match result {
            Ok(output) => output,
            Err(error) => {
                let kind = match error.class() {
                    ErrorClass::BadData => "bad_data",
                    ErrorClass::Execution => "execution",
                    ErrorClass::Cancelled => "canceled",
                    ErrorClass::Timeout => "timeout",
                    ErrorClass::Unavailable => "unavailable",
                    ErrorClass::Internal => "internal",
                };
                // As the HTTP API says it.
                let prefix = match &error {
                    Error::Parse(_) => "invalid parameter \"query\": ",
                    _ => "",
                };
                return Self::Failure {
                    kind: kind.to_owned(),
                    text: format!("{prefix}{error}"),
                };
            }
        };
        let kind = output.value.type_name().to_owned();
        let mut text = String::new();
        let points: Points = match &output.value {
            QueryValue::Scalar(at, value) => [("{}".to_owned(), vec![(at.0, vec![*value])])].into(),
            QueryValue::Text(_, said) => {
                text.clone_from(said);
                Points::new()
            }
            QueryValue::Vector(at, series) => series
                .iter()
                .map(|(labels, value)| {
                    let value = match value {
                        SampleValue::Float(value) => vec![*value],
                        SampleValue::Histogram(histogram) => numbers(histogram),
                    };
                    (named(labels.iter()), vec![(at.0, value)])
                })
                .collect(),
            QueryValue::Matrix(series) => series
                .iter()
                .map(|one| {
                    let floats = one.timestamps.iter().zip(&one.values);
                    let floats = floats.map(|(at, value)| (*at, vec![*value]));
                    let histograms = one.histograms.iter();
                    let histograms = histograms.map(|(at, one)| (*at, numbers(one)));
                    (named(one.labels.iter()), floats.chain(histograms).collect())
                })
                .collect(),
        };
        let said = |severity| {
            output
                .annotations
                .texts(severity, query, 10)
                .into_iter()
                .map(|text| without_count(&text))
                .collect()
        };
        Self::Result {
            kind,
            points,
            text,
            warnings: said(Severity::Warning),
            infos: said(Severity::Info),
        }
    }

    /// Of a server.
    pub fn of_server(json: &Value) -> Self {
        let text_of = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        if json["status"] != "success" {
            return Self::Failure {
                kind: text_of(&json["errorType"]),
                text: text_of(&json["error"]),
            };
        }
        let data = &json["data"];
        let kind = text_of(&data["resultType"]);
        let (mut points, mut text) = (Points::new(), String::new());
        match kind.as_str() {
            "scalar" => {
                points.insert("{}".to_owned(), vec![point(&data["result"])]);
            }
            "string" => text = text_of(&data["result"][1]),
            _ => {
                for series in data["result"].as_array().into_iter().flatten() {
                    let labels = series["metric"].as_object().unwrap();
                    let labels = named(
                        labels
                            .iter()
                            .map(|(name, value)| (name.as_str(), value.as_str().unwrap())),
                    );
                    let values = series["values"].as_array();
                    let all = values.into_iter().flatten().chain(series.get("value"));
                    let histograms = series["histograms"].as_array();
                    let histograms = histograms.into_iter().flatten();
                    let histograms = histograms.chain(series.get("histogram"));
                    let all = all.map(point).chain(histograms.map(histogram_point));
                    points.insert(labels, all.collect());
                }
            }
        }
        let said = |key: &str| {
            json[key]
                .as_array()
                .into_iter()
                .flatten()
                .map(|text| without_count(text.as_str().unwrap_or_default()))
                .collect()
        };
        Self::Result {
            kind,
            points,
            text,
            warnings: said("warnings"),
            infos: said("infos"),
        }
    }
}

/// How often counts had to be made rising is left out: Prometheus hands the notes of all steps so far
/// to each step, and so doubles the number with every step of a range query.
fn without_count(text: &str) -> String {
    let is_it = text.contains("needed to be fixed for monotonicity");
    let counted = text.split_once(", over ").filter(|_| is_it);
    let rest =
        counted.and_then(|(before, rest)| Some((before, rest.split_once(" samples from ")?)));
    rest.map_or_else(
        || text.to_owned(),
        |(before, (_, after))| format!("{before}, over samples from {after}"),
    )
}

fn time(pair: &Value) -> i64 {
    (pair[0].as_f64().unwrap() * 1000.0).round() as i64
}

fn number(text: &Value) -> f64 {
    let text = text.as_str().unwrap();
    text.parse().unwrap_or_else(|_| panic!("{text:?}"))
}

fn point(pair: &Value) -> (i64, Vec<f64>) {
    (time(pair), vec![number(&pair[1])])
}

fn histogram_point(pair: &Value) -> (i64, Vec<f64>) {
    let histogram = &pair[1];
    let mut numbers = vec![number(&histogram["count"]), number(&histogram["sum"])];
    let buckets = histogram["buckets"].as_array().into_iter().flatten();
    for bucket in buckets.filter(|bucket| bucket[3] != "NaN") {
        numbers.push(bucket[0].as_f64().unwrap());
        numbers.extend([1, 2, 3].map(|at: usize| number(&bucket[at])));
    }
    (time(pair), numbers)
}

impl Answer {
    /// Without what an operator between vectors has to say beyond what another answer says: of all
    /// that there is at one step Prometheus tells one thing, and which one is chance.
    pub fn like(mut self, other: &Self) -> Self {
        if let (
            Self::Result {
                warnings, infos, ..
            },
            Self::Result {
                warnings: their_warnings,
                infos: their_infos,
                ..
            },
        ) = (&mut self, other)
        {
            let by_operator = |text: &str| {
                [
                    "binary operator",
                    "during addition",
                    "during subtraction",
                    "histogram addition",
                    "histogram subtraction",
                ]
                .iter()
                .any(|part| text.contains(part))
            };
            let any = their_warnings.iter().chain(their_infos.iter());
            if any.clone().any(|text| by_operator(text)) {
                warnings.retain(|text| their_warnings.contains(text) || !by_operator(text));
                infos.retain(|text| their_infos.contains(text) || !by_operator(text));
            }
        }
        self
    }

    /// With nothing but values and their times, in order.
    pub fn without_labels(mut self) -> Self {
        if let Self::Result { points, .. } = &mut self {
            let mut all: Vec<(i64, Vec<f64>)> = points.values().flatten().cloned().collect();
            all.iter_mut()
                .flat_map(|point| point.1.iter_mut())
                .filter(|number| number.is_nan())
                .for_each(|number| *number = f64::NAN);
            let order = |a: &[f64], b: &[f64]| {
                let pairs = a.iter().zip(b).map(|(a, b)| a.total_cmp(b));
                pairs.fold(a.len().cmp(&b.len()), std::cmp::Ordering::then)
            };
            all.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| order(&a.1, &b.1)));
            *points = [("any".to_owned(), all)].into();
        }
        self
    }
}

/// Where they differ.
pub fn difference(want: &Answer, got: &Answer, tolerance: f64) -> Option<String> {
    match (want, got) {
        (
            Answer::Failure { kind, text },
            Answer::Failure {
                kind: our_kind,
                text: our_text,
            },
        ) => {
            // Which of several equal label sets is named first is chance.
            let same = text == our_text || duplicates(text) && duplicates(our_text);
            (kind != our_kind || !same)
                .then(|| format!("want {kind}: {text}\n    got {our_kind}: {our_text}"))
        }
        (Answer::Failure { kind, text }, _) => {
            Some(format!("want {kind}: {text}\n    got a result"))
        }
        (_, Answer::Failure { kind, text }) => {
            Some(format!("got {kind}: {text}\n    want a result"))
        }
        (
            Answer::Result {
                kind,
                points,
                text,
                warnings,
                infos,
            },
            Answer::Result {
                kind: our_kind,
                points: ours,
                text: our_text,
                warnings: our_warnings,
                infos: our_infos,
            },
        ) => {
            if kind != our_kind || text != our_text {
                return Some(format!("want {kind} {text}\n    got {our_kind} {our_text}"));
            }
            different_points(points, ours, tolerance)
                .or_else(|| different_notes("warnings", warnings, our_warnings))
                .or_else(|| different_notes("infos", infos, our_infos))
        }
    }
}

fn duplicates(text: &str) -> bool {
    text.contains("many-to-many matching not allowed") || text.contains("duplicate series")
}

fn different_notes(what: &str, want: &BTreeSet<String>, got: &BTreeSet<String>) -> Option<String> {
    // Ten are shown, whichever.
    if want == got || want.len() > 9 && got.len() == want.len() {
        return None;
    }
    Some(format!("{what}: want {want:?}\n    got {got:?}"))
}

fn different_points(want: &Points, got: &Points, tolerance: f64) -> Option<String> {
    if let Some(labels) = want.keys().find(|labels| !got.contains_key(*labels)) {
        return Some(format!(
            "{} series wanted, {} got; missing {labels}: {:?}",
            want.len(),
            got.len(),
            want[labels].first()
        ));
    }
    if let Some(labels) = got.keys().find(|labels| !want.contains_key(*labels)) {
        return Some(format!(
            "{} series wanted, {} got; too many: {labels}: {:?}",
            want.len(),
            got.len(),
            got[labels].first()
        ));
    }
    want.iter().find_map(|(labels, points)| {
        let ours = &got[labels];
        if points.len() != ours.len() {
            return Some(format!(
                "{labels}: {} points wanted, {} got",
                points.len(),
                ours.len()
            ));
        }
        let near = |want: &f64, got: &f64| {
            want.to_bits() == got.to_bits()
                || want == got
                || want.is_nan() && got.is_nan()
                || (want - got).abs() <= tolerance * want.abs().max(got.abs())
        };
        let found = points.iter().zip(ours).find(|(want, got)| {
            let mut pairs = want.1.iter().zip(&got.1);
            want.0 != got.0 || want.1.len() != got.1.len() || !pairs.all(|(a, b)| near(a, b))
        });
        found.map(|(want, got)| format!("{labels}: want {want:?}, got {got:?}"))
    })
}
