//! Random queries, asked of the engine and of a real Prometheus 3 over the same series: values to
//! 1e-12, warnings, error texts. What was found to differ is fixed and kept in `cases/`.
//!
//! `CAIRN_RANDOM_QUERIES` asks for another number of them, `CAIRN_RANDOM_SEED` for others; a failure
//! prints the seed of each query that differs. `CAIRN_RANDOM_TEXT` asks a query of one's own at the
//! seed's times and prints Prometheus' answer: for making what differs smaller.

use std::process::Command;
use std::time::Duration;

use cairn::model::{LabelSet, Value};

use super::answer::{Answer, difference};
use super::engine::{engine, instant, range};
use super::memory::MemorySource;
use super::published::skip;
use super::random_data::{BEGIN_MS, LENGTH_MS, all};
use super::random_native;
use super::random_query::{Dice, keeps_some, native_query, query, tolerance};
use super::remote_write::{body, send, series};
use super::servers::{Server, free_port, get, post_form};

const FEATURES: &[&str] = &[
    "promql-experimental-functions",
    "promql-extended-range-selectors",
    "promql-binop-fill-modifiers",
];

struct Prometheus {
    _server: Server,
    url: String,
}

fn prometheus(folder: &std::path::Path, features: &[&str]) -> Option<Prometheus> {
    let home = std::env::var_os("HOME").map(std::path::PathBuf::from)?;
    let tools = std::env::var_os("CAIRN_TOOLS_BIN").map_or_else(
        || home.join(".cache/cairn/tools/bin"),
        std::path::PathBuf::from,
    );
    let program = tools.join("prometheus3");
    if !program.exists() {
        return None;
    }
    let file = folder.join("prometheus.yml");
    std::fs::write(&file, "global: {}\n").unwrap();
    let url = format!("http://127.0.0.1:{}", free_port());
    let mut command = Command::new(program);
    command
        .arg(format!("--config.file={}", file.display()))
        .arg(format!(
            "--storage.tsdb.path={}",
            folder.join("data").display()
        ))
        .arg("--storage.tsdb.retention.time=100y")
        .arg(format!(
            "--web.listen-address={}",
            url.trim_start_matches("http://")
        ))
        .arg(format!("--enable-feature={}", features.join(",")))
        .arg("--web.enable-remote-write-receiver");
    let mut server = Server::start("prometheus3", command, folder);
    let ready = format!("{url}/-/ready");
    server.wait_until(Duration::from_secs(60), || {
        get(&ready).is_ok_and(|answer| answer.status == 200)
    });
    Some(Prometheus {
        _server: server,
        url,
    })
}

/// Native histograms added to a source, and sent to a server in the order of time.
fn load_native(url: &str, source: &mut MemorySource) {
    let data = random_native::all();
    for (labels, points) in &data {
        let labels = LabelSet::from_pairs(labels).unwrap();
        for (at, value) in points {
            source.push(labels.clone(), *at, value.clone(), 0);
        }
    }
    let length = data.iter().map(|(_, points)| points.len()).max().unwrap();
    for at in 0..length {
        let slice = data.iter().filter_map(|(labels, points)| {
            let (at, value) = points.get(at)?;
            let mut one = series(labels, &[]);
            match value {
                Value::Float(value) => one.samples = series(labels, &[(*at, *value)]).samples,
                Value::Histogram(histogram) => {
                    one.histograms = vec![random_native::message(*at, histogram)];
                }
            }
            Some(one)
        });
        let answer = send(url, &body(slice.collect())).unwrap();
        assert!(answer.status < 300, "{}", answer.text());
    }
}

/// The series in a source, and sent to a server in the order of time.
fn load(url: &str) -> MemorySource {
    let mut source = MemorySource::default();
    let data = all();
    for (labels, points) in &data {
        let pairs: Vec<(&str, &str)> = labels
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        let labels = LabelSet::from_pairs(&pairs).unwrap();
        for (at, value) in points {
            source.push(labels.clone(), *at, Value::Float(*value), 0);
        }
    }
    let mut from = BEGIN_MS;
    while from <= BEGIN_MS + LENGTH_MS + 60_000 {
        let slice: Vec<_> = data
            .iter()
            .map(|(labels, points)| {
                let pairs: Vec<(&str, &str)> = labels
                    .iter()
                    .map(|(n, v)| (n.as_str(), v.as_str()))
                    .collect();
                let within: Vec<(i64, f64)> = points
                    .iter()
                    .copied()
                    .filter(|p| (from..from + 60_000).contains(&p.0))
                    .collect();
                series(&pairs, &within)
            })
            .filter(|series| !series.samples.is_empty())
            .collect();
        let answer = send(url, &body(slice)).unwrap();
        assert!(answer.status < 300, "{}", answer.text());
        from += 60_000;
    }
    source
}

/// When to ask: start, end and step; step 0 for an instant.
fn times(dice: &mut Dice) -> (i64, i64, i64) {
    let at = BEGIN_MS
        + match dice.below(3) {
            0 => dice.below(160) as i64 * 15_000,
            1 => dice.below(40) as i64 * 60_000,
            _ => dice.below(LENGTH_MS as usize) as i64,
        };
    if dice.one_in(2) {
        return (at, at, 0);
    }
    let step = [15_000, 60_000, 7_000, 13_337, 300_000, 1_000][dice.below(6)];
    let end = at + step * dice.below(60) as i64;
    // The end need not be a step.
    (
        at,
        end + dice.below(2) as i64 * dice.below(step as usize) as i64,
        step,
    )
}

fn ask(url: &str, query: &str, times: (i64, i64, i64)) -> Answer {
    let seconds = |ms: i64| format!("{}.{:03}", ms / 1000, ms % 1000);
    let (start, end, step) = (seconds(times.0), seconds(times.1), seconds(times.2));
    let answer = if times.2 == 0 {
        post_form(
            &format!("{url}/api/v1/query"),
            &[("query", query), ("time", &start)],
        )
    } else {
        let form = [
            ("query", query),
            ("start", &start),
            ("end", &end),
            ("step", &step),
        ];
        post_form(&format!("{url}/api/v1/query_range"), &form)
    };
    Answer::of_server(&answer.unwrap().json())
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

fn differences(features: &[&str], count: u64, native: bool) -> Option<Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    let server = prometheus(folder.path(), features)?;
    let mut source = load(&server.url);
    if native {
        load_native(&server.url, &mut source);
    }
    let engine = engine(features);
    let first = number("CAIRN_RANDOM_SEED", 1);
    let mut found = Vec::new();
    let mut answered = 0;
    for seed in first..first + number("CAIRN_RANDOM_QUERIES", count) {
        let text = if native {
            native_query(seed)
        } else {
            query(seed)
        };
        let mine = std::env::var("CAIRN_RANDOM_TEXT").ok();
        let text = mine.clone().unwrap_or(text);
        let times = times(&mut Dice(seed ^ 0x5eed));
        let want = ask(&server.url, &text, times);
        if mine.is_some() {
            println!("{text} at {times:?}\n{want:#?}");
        }
        let context = engine.context(None);
        let result = if times.2 == 0 {
            engine.instant(&source, &instant(&text, times.0), &context)
        } else {
            engine.range(&source, &range(&text, times.0, times.1, times.2), &context)
        };
        let got = Answer::of_engine(result, &text);
        answered += u64::from(want.has_points());
        let (want, got) = match keeps_some(&text) {
            true => (want.without_labels(), got.without_labels()),
            false => (want, got),
        };
        let got = if native { got.like(&want) } else { got };
        if let Some(difference) = difference(&want, &got, tolerance(&text)) {
            let (start, end, step) = times;
            found.push(format!(
                "seed {seed}, from {start} to {end} step {step}: {text}\n    {difference}"
            ));
        }
    }
    println!("{answered} random queries had points in their answers");
    Some(found)
}

fn agree(features: &[&str], count: u64, native: bool) {
    match differences(features, count, native) {
        None => skip(
            "conformance::against_prometheus: prometheus3 is not built (scripts/build-go-tools prometheus)",
        ),
        Some(found) => assert!(
            found.is_empty(),
            "{} answers differ:\n{}",
            found.len(),
            found.join("\n")
        ),
    }
}

/// Would catch an expression that Prometheus evaluates in another way.
#[test]
fn random_queries_agree() {
    agree(FEATURES, 2_000, false);
}

/// Would catch the same where names are dropped at the end only.
#[test]
fn random_queries_agree_when_names_are_dropped_late() {
    let features: Vec<&str> = FEATURES
        .iter()
        .copied()
        .chain(["promql-delayed-name-removal"])
        .collect();
    agree(&features, 1_000, false);
}

/// Would catch native histograms that are calculated with in another way.
#[test]
fn random_queries_over_native_histograms_agree() {
    agree(FEATURES, 2_000, true);
}
