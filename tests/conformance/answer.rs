//! An answer in one form, whoever gave it, and whether two are the same.

use std::collections::{BTreeMap, BTreeSet};

use cairn::query::{Error, ErrorClass, QueryOutput, QueryValue, Severity};
use serde_json::Value;

/// Labels as text, sorted, to points.
type Points = BTreeMap<String, Vec<(i64, f64)>>;

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
            QueryValue::Scalar(at, value) => [("{}".to_owned(), vec![(at.0, *value)])].into(),
            QueryValue::Text(_, said) => {
                text.clone_from(said);
                Points::new()
            }
            QueryValue::Vector(at, series) => series
                .iter()
                .map(|(labels, value)| (named(labels.iter()), vec![(at.0, *value)]))
                .collect(),
            QueryValue::Matrix(series) => series
                .iter()
                .map(|one| {
                    let points = one
                        .timestamps
                        .iter()
                        .copied()
                        .zip(one.values.iter().copied());
                    (named(one.labels.iter()), points.collect())
                })
                .collect(),
        };
        let said = |severity| {
            output
                .annotations
                .texts(severity, query, 10)
                .into_iter()
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
                    points.insert(labels, all.map(point).collect());
                }
            }
        }
        let said = |key: &str| {
            json[key]
                .as_array()
                .into_iter()
                .flatten()
                .map(text_of)
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

fn point(pair: &Value) -> (i64, f64) {
    let seconds = pair[0].as_f64().unwrap();
    let value = pair[1].as_str().unwrap();
    (
        (seconds * 1000.0).round() as i64,
        value.parse().unwrap_or_else(|_| panic!("{value:?}")),
    )
}

impl Answer {
    /// With nothing but values and their times, in order.
    pub fn without_labels(mut self) -> Self {
        if let Self::Result { points, .. } = &mut self {
            let mut all: Vec<(i64, f64)> = points.values().flatten().copied().collect();
            all.iter_mut()
                .filter(|point| point.1.is_nan())
                .for_each(|point| point.1 = f64::NAN);
            all.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
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
        let differs = |((at, want), (when, got)): &(&(i64, f64), &(i64, f64))| {
            let near = want.to_bits() == got.to_bits()
                || want == got
                || want.is_nan() && got.is_nan()
                || (want - got).abs() <= tolerance * want.abs().max(got.abs());
            at != when || !near
        };
        let found = points.iter().zip(ours).find(differs);
        found.map(|(want, got)| format!("{labels}: want {want:?}, got {got:?}"))
    })
}
