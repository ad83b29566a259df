//! Other stores read from Cairn: a real Prometheus by remote read, in streamed chunks; a client of
//! our own that wants lists of samples; and real Prometheus servers that federate. What they got
//! is compared with a Prometheus to which the same data were written.
//!
//! Would catch a sample, a label, a bucket or a timestamp that is changed or lost on the way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cairn::model::{Histogram, SCHEMA_CUSTOM, Value};
use prost::Message;
use serde_json::Value as Json;

use super::compare::compare;
use super::random_data::{self, BEGIN_MS, LENGTH_MS};
use super::random_native;
use super::random_query::{Dice, keeps_some, native_query, query, tolerance};
use super::remote_write::{Label, TimeSeries, body, now_ms, send, series};
use super::servers::{Answer, Cairn, Prometheus, eventually, post, post_form, skip};

/// Labels, and times with values.
type Series = (Vec<(String, String)>, Vec<(i64, Value)>);

/// The data of the conformance tests, ending now.
fn data() -> Vec<Series> {
    let shift = now_ms() - BEGIN_MS - LENGTH_MS;
    let mut all: Vec<Series> = Vec::new();
    for (labels, points) in random_data::all() {
        let points = points.into_iter();
        let points = points.map(|(at, value)| (at + shift, Value::Float(value)));
        all.push((labels, points.collect()));
    }
    for (labels, points) in random_native::all() {
        let labels = labels.iter();
        let labels = labels.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let points = points.into_iter().map(|(at, value)| (at + shift, value));
        all.push((labels.collect(), points.collect()));
    }
    all
}

fn message(labels: &[(String, String)], points: &[&(i64, Value)]) -> TimeSeries {
    let pairs: Vec<(&str, &str)> = labels
        .iter()
        .map(|(n, v)| (n.as_str(), v.as_str()))
        .collect();
    let mut one = series(&pairs, &[]);
    for (at, value) in points {
        match value {
            Value::Float(value) => one.samples.extend(series(&[], &[(*at, *value)]).samples),
            Value::Histogram(histogram) => {
                one.histograms.push(random_native::message(*at, histogram));
            }
        }
    }
    one
}

/// Writes everything in the order of time.
fn load(url: &str, data: &[Series]) {
    let times = data
        .iter()
        .flat_map(|(_, points)| points.iter().map(|one| one.0));
    let (first, last) = (times.clone().min().unwrap(), times.max().unwrap());
    for from in (first..=last).step_by(15_000) {
        let slice = data.iter().filter_map(|(labels, points)| {
            let within = |one: &&(i64, Value)| (from..from + 15_000).contains(&one.0);
            let points: Vec<&(i64, Value)> = points.iter().filter(within).collect();
            (!points.is_empty()).then(|| message(labels, &points))
        });
        let answer = send(url, &body(slice.collect())).unwrap();
        assert!(answer.status < 300, "{url}: {}", answer.text());
    }
}

fn seconds(ms: i64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

fn instant(url: &str, query: &str, at: i64) -> Answer {
    let form = [("query", query), ("time", &seconds(at))];
    post_form(&format!("{url}/api/v1/query"), &form).unwrap()
}

/// A range query of a seed.
fn random(url: &str, query: &str, seed: u64, end: i64) -> Json {
    let mut dice = Dice(seed);
    let start = end - dice.below(LENGTH_MS as usize) as i64;
    let form = [
        ("query", query),
        ("start", &seconds(start)),
        ("end", &seconds(end)),
        ("step", ["15", "60", "7", "300"][dice.below(4)]),
    ];
    post_form(&format!("{url}/api/v1/query_range"), &form)
        .unwrap()
        .json()
}

/// What is asked of the reader and of the one that was written to.
fn reads_agree(reader: &str, written: &str, end: i64) {
    let raw = |url: &str| {
        let answer = instant(url, "{__name__=~\".+\"}[41m]", end);
        assert_eq!(answer.status, 200, "{url}: {}", answer.text());
        answer.json()["data"].clone()
    };
    let want = raw(written);
    compare(&want, &raw(reader), 0.0).unwrap_or_else(|difference| panic!("{difference}"));
    let histograms = want["result"].as_array().unwrap().iter();
    let histograms = histograms
        .filter(|one| one["histograms"].is_array())
        .count();
    assert!(histograms > 5, "{histograms}");

    let mut answered = 0;
    for seed in 0..200 {
        let text = if seed % 2 == 0 {
            query(seed)
        } else {
            native_query(seed)
        };
        let (want, got) = (
            random(written, &text, seed, end),
            random(reader, &text, seed, end),
        );
        if keeps_some(&text) || want["status"] != "success" {
            assert_eq!(want["status"], got["status"], "{text}: {got}");
            continue;
        }
        compare(&want["data"], &got["data"], tolerance(&text))
            .unwrap_or_else(|difference| panic!("seed {seed}: {text}: {difference}"));
        answered += 1;
    }
    println!("{answered} queries agree over remote read");
}

#[derive(Clone, PartialEq, Message)]
struct ReadRequest {
    #[prost(message, repeated, tag = "1")]
    queries: Vec<Query>,
    #[prost(int32, repeated, tag = "2")]
    accepted: Vec<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct Query {
    #[prost(int64, tag = "1")]
    start: i64,
    #[prost(int64, tag = "2")]
    end: i64,
    #[prost(message, repeated, tag = "3")]
    matchers: Vec<LabelMatcher>,
}

#[derive(Clone, PartialEq, Message)]
struct LabelMatcher {
    #[prost(int32, tag = "1")]
    op: i32,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct ReadResponse {
    #[prost(message, repeated, tag = "1")]
    results: Vec<QueryResult>,
}

#[derive(Clone, PartialEq, Message)]
struct QueryResult {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<TimeSeries>,
}

fn ask(url: &str, request: &[u8]) -> Answer {
    let headers = [
        ("content-type", "application/x-protobuf"),
        ("content-encoding", "snappy"),
        ("x-prometheus-remote-read-version", "0.1.0"),
    ];
    post(&format!("{url}/api/v1/read"), &headers, request).unwrap()
}

/// Lists of samples, two queries at once, bit for bit.
fn lists_are_exact(url: &str, data: &[Series]) {
    let one = |value: &str| Query {
        start: 0,
        end: i64::MAX,
        matchers: vec![LabelMatcher {
            op: 2,
            name: "job".to_owned(),
            value: value.to_owned(),
        }],
    };
    let request = ReadRequest {
        queries: vec![one("a"), one("b|c")],
        accepted: Vec::new(),
    };
    let packed = snap::raw::Encoder::new()
        .compress_vec(&request.encode_to_vec())
        .unwrap();
    let answer = ask(url, &packed);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let whole = snap::raw::Decoder::new()
        .decompress_vec(&answer.body)
        .unwrap();
    let response = ReadResponse::decode(&whole[..]).unwrap();
    assert_eq!(response.results.len(), 2);
    let sorted = |labels: &[Label]| {
        let pairs = labels.iter();
        let pairs = pairs.map(|label| (label.name.clone(), label.value.clone()));
        pairs.collect::<BTreeMap<String, String>>()
    };
    let mut got = BTreeMap::new();
    for (at, result) in response.results.into_iter().enumerate() {
        for series in result.timeseries {
            let labels = sorted(&series.labels);
            assert_eq!(labels["job"] == "a", at == 0);
            got.insert(labels, series);
        }
    }
    let mut compared = 0;
    for (labels, points) in data {
        let points: Vec<&(i64, Value)> = points.iter().collect();
        let mut want = message(labels, &points);
        let labels = sorted(&want.labels);
        if !["a", "b", "c"].contains(&labels.get("job").map_or("", String::as_str)) {
            continue;
        }
        let mut got = got
            .remove(&labels)
            .unwrap_or_else(|| panic!("{labels:?} is missing"));
        let bits = |one: &TimeSeries| -> Vec<(i64, u64)> {
            let samples = one.samples.iter();
            samples
                .map(|one| (one.timestamp, one.value.to_bits()))
                .collect()
        };
        assert_eq!(bits(&got), bits(&want), "{labels:?}");
        for series in [&mut got, &mut want] {
            for histogram in &mut series.histograms {
                // Compared by its bits too; NaN is not itself.
                histogram.sum = f64::from_bits(histogram.sum.to_bits() & !(0x7ff << 52));
                if histogram.reset_hint != 3 {
                    histogram.reset_hint = 0;
                }
            }
        }
        assert_eq!(got.histograms, want.histograms, "{labels:?}");
        compared += points.len();
    }
    assert!(got.is_empty(), "{:?}", got.keys());
    assert!(compared > 10_000, "{compared}");
}

fn refusals(url: &str) {
    let pack = |bytes: &[u8]| snap::raw::Encoder::new().compress_vec(bytes).unwrap();
    for (body, status) in [
        (b"\xff\xff\xff\xff\xff".to_vec(), 400),
        (pack(b"\xff"), 400),
        (pack(&[0; 2 << 20]), 400),
        // Response types that do not exist; nothing asked.
        (pack(b"\x10\x07"), 400),
        (pack(b""), 200),
    ] {
        let answer = ask(url, &body);
        assert_eq!(answer.status, status, "{}", answer.text());
    }
}

/// The names of what was written; what was made of custom buckets has others.
fn names(data: &[Series]) -> Vec<&str> {
    data.iter()
        .flat_map(|(labels, _)| labels)
        .filter(|(name, _)| name == "__name__")
        .map(|(_, value)| value.as_str())
        .collect()
}

/// The newest values in another store that federates, against those of the one written to.
fn federates(
    cairn: &Cairn,
    native: bool,
    data: &[Series],
    written: &str,
) -> Result<(), &'static str> {
    let folder = tempfile::tempdir().unwrap();
    let address = cairn.url().replace("http://", "");
    let config = format!(
        "global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\nscrape_configs:\n  - job_name: \
         federate\n    honor_labels: true\n    scrape_native_histograms: {native}\n    metrics_path: \
         /federate\n    params:\n      'match[]': ['{{job=\"a\"}}', '{{job=~\"a|b|c\"}}']\n    \
         static_configs:\n      - targets: ['{address}']\n"
    );
    let parent = Prometheus::with_config(folder.path(), &config, &[])?;
    let end = now_ms();
    // What is there as it was written: custom buckets come as classic ones, the other histograms
    // only in protobuf.
    let kept = |value: &Value| match value {
        Value::Float(_) => true,
        Value::Histogram(histogram) => native && histogram.schema != SCHEMA_CUSTOM,
    };
    let newest = |points: &[(i64, Value)]| points.last().map(|one| one.1.clone());
    let of_interest = |data: &Json, all: &[Series]| -> Json {
        let left_out: Vec<BTreeMap<&str, &str>> = all
            .iter()
            .filter(|(_, points)| !newest(points).is_some_and(|value| kept(&value)))
            .map(|(labels, _)| {
                labels
                    .iter()
                    .map(|(n, v)| (n.as_str(), v.as_str()))
                    .collect()
            })
            .collect();
        let mut data = data.clone();
        let result = data["result"].as_array_mut().unwrap();
        result.retain(|one| {
            let labels = one["metric"].as_object().unwrap();
            let labels: BTreeMap<&str, &str> = labels
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
                .collect();
            !left_out.contains(&labels)
        });
        data
    };
    let expression = "{job=~\"a|b|c\"}";
    let want = instant(written, expression, end).json()["data"].clone();
    let want = of_interest(&want, data);
    let several = want["result"].as_array().unwrap().len();
    assert!(several > 80, "{several}");
    let mut extra = 0;
    eventually(
        "a parent has what Cairn has",
        Duration::from_secs(60),
        || {
            let mut got = instant(&parent.url(), expression, end).json()["data"].clone();
            got = of_interest(&got, data);
            let before = got["result"].as_array().unwrap().len();
            let names = names(data);
            let result = got["result"].as_array_mut().unwrap();
            result.retain(|one| names.contains(&one["metric"]["__name__"].as_str().unwrap()));
            extra = before - result.len();
            compare(&want, &got, 0.0)
                .map_err(|difference| format!("{difference}; {}", parent.server.output()))
        },
    );
    let custom = |value: &Arc<Histogram>| value.schema == SCHEMA_CUSTOM && !value.is_stale();
    let customs = data.iter().filter(|(_, points)| {
        matches!(newest(points), Some(Value::Histogram(histogram)) if custom(&histogram))
    });
    assert!(extra >= 3 * customs.count(), "{extra}");
    println!("{several} series federated, native histograms {native}");
    Ok(())
}

fn story() -> Result<(), &'static str> {
    let folder = tempfile::tempdir().unwrap();
    let features = "--enable-feature=promql-experimental-functions,promql-extended-range-selectors,promql-binop-fill-modifiers";
    let mut cairn = Cairn::start(folder.path(), &["ingest.self_scrape_interval=0s"]);
    let receiver = "--web.enable-remote-write-receiver";
    let written = Prometheus::with_config(folder.path(), "global: {}\n", &[features, receiver])?;
    let data = data();
    load(&cairn.url(), &data);
    load(&written.url(), &data);
    let end = now_ms();
    federates(&cairn, false, &data, &written.url())?;
    federates(&cairn, true, &data, &written.url())?;
    let config = format!(
        "remote_read:\n  - url: {}/api/v1/read\n    read_recent: true\n",
        cairn.url()
    );
    let other = tempfile::tempdir().unwrap();
    let reader = Prometheus::with_config(other.path(), &config, &[features])?;
    reads_agree(&reader.url(), &written.url(), end);
    lists_are_exact(&cairn.url(), &data);
    refusals(&cairn.url());
    // From the log, and after it.
    cairn = cairn.crash_and_restart();
    lists_are_exact(&cairn.url(), &data);
    Ok(())
}

#[test]
fn other_stores_read_and_federate() {
    if let Err(reason) = story() {
        skip("peers::other_stores_read_and_federate", reason);
    }
}
