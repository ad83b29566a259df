//! The suite: Cairn beside Prometheus and VictoriaMetrics, where they are installed, in one run on
//! one machine. Prints Markdown with ratios; `scripts/bench` is how it is run.
//!
//! Each server gets the same requests (remote-write 1.0, encoded beforehand), is asked the same
//! questions, is killed with `kill -9` and started again. CPU and memory are the kernel's own
//! accounts of the server's process, so that this client does not count.
#![allow(
    missing_docs,
    unreachable_pub,
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a bench program: it reads the clock, and a panic is how it fails"
)]

#[path = "../../tests/e2e/servers/http.rs"]
mod http;
mod load;
mod measure;
mod messages;
#[path = "../../tests/e2e/servers/process.rs"]
mod process;
mod systems;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use load::Load;
use measure::{idle_settled, usage};
use messages::Version;
use systems::{System, systems};

/// Questions, each over the last hour of the load at a step of 15 s, or instant (`None`).
const QUERIES: &[(&str, &str, Option<u32>)] = &[
    (
        "one series",
        "load_gauge_0{instance=\"node-00003:9100\"}",
        Some(15),
    ),
    (
        "rate by instance",
        "sum by (instance) (rate(load_counter_1_total[5m]))",
        Some(15),
    ),
    (
        "busy ratio",
        "1 - avg by (instance) (rate(load_counter_2_total[5m]))",
        Some(15),
    ),
    (
        "quantile",
        "histogram_quantile(0.99, sum by (le) (rate(load_latency_seconds_bucket[5m])))",
        Some(15),
    ),
    (
        "ratio of two",
        "load_gauge_1 / on (instance) load_gauge_2",
        Some(60),
    ),
    (
        "top of sums",
        "topk(5, sum by (instance) (load_gauge_3))",
        None,
    ),
    (
        "count by name",
        "count by (__name__) ({__name__=~\"load_.+\"})",
        None,
    ),
    (
        "max of a subquery",
        "max_over_time(sum(rate(load_counter_3_total[5m]))[30m:1m])",
        None,
    ),
];

/// Times each question is asked; the median is shown.
const REPEATS: usize = 7;

struct Row {
    name: String,
    figures: BTreeMap<&'static str, f64>,
    queries: Vec<f64>,
}

fn main() {
    let argument = |name: &str, default: usize| {
        let arguments: Vec<String> = std::env::args().collect();
        let at = arguments.iter().position(|argument| argument == name);
        at.and_then(|at| arguments.get(at + 1)?.parse().ok())
            .unwrap_or(default)
    };
    let series = argument("--series", 20_000);
    let samples = argument("--samples-per-series", 120);
    println!("{series} series x {samples} samples every 15 s\n");
    let measure = |system: &System, version, name: &str| {
        measure_one(system, &Load::new(version, series, samples), name)
    };
    let mut rows = Vec::new();
    for system in &systems() {
        rows.push(measure(system, Version::V1, system.name));
        if system.is_cairn() {
            let name = format!("{}, remote-write 2.0", system.name);
            rows.push(measure(system, Version::V2, &name));
        }
    }
    print_table(&rows);
}

fn measure_one(system: &System, load: &Load, name: &str) -> Row {
    let folder = tempfile::tempdir().unwrap();
    let mut running = system.start(folder.path());
    idle_settled();
    let idle = usage(running.server.pid());
    let begun = Instant::now();
    load.send(&running.write_url());
    let wall = begun.elapsed();
    let after = usage(running.server.pid());
    let mut figures = BTreeMap::from([
        ("idle RSS, MiB", idle.rss_bytes / 1048576.0),
        (
            "samples per CPU-second",
            load.samples() as f64 / (after.cpu_seconds - idle.cpu_seconds),
        ),
        (
            "samples per second",
            load.samples() as f64 / wall.as_secs_f64(),
        ),
        ("peak RSS, MiB", after.peak_rss_bytes / 1048576.0),
        (
            "bytes written per sample",
            (after.written_bytes - idle.written_bytes) / load.samples() as f64,
        ),
    ]);
    let queries = QUERIES
        .iter()
        .map(|(_, query, step)| ask(&running.url(), query, *step, load))
        .collect();
    running.server.kill();
    let begun = Instant::now();
    let running = system.start(folder.path());
    figures.insert("restart after kill -9, s", begun.elapsed().as_secs_f64());
    drop(running);
    Row {
        name: name.to_owned(),
        figures,
        queries,
    }
}

fn ask(url: &str, query: &str, step: Option<u32>, load: &Load) -> f64 {
    let mut times: Vec<f64> = (0..REPEATS)
        .map(|_| {
            let begun = Instant::now();
            let seconds = |ms: i64| (ms / 1000).to_string();
            let answer = match step {
                Some(step) => http::post_form(
                    &format!("{url}/api/v1/query_range"),
                    &[
                        ("query", query),
                        ("start", &seconds(load.end_ms() - 3_600_000)),
                        ("end", &seconds(load.end_ms())),
                        ("step", &step.to_string()),
                    ],
                ),
                None => http::post_form(
                    &format!("{url}/api/v1/query"),
                    &[("query", query), ("time", &seconds(load.end_ms()))],
                ),
            };
            let answer = answer.unwrap();
            assert_eq!(answer.status, 200, "{query}: {}", answer.text());
            begun.elapsed().as_secs_f64() * 1000.0
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[REPEATS / 2]
}

fn print_table(rows: &[Row]) {
    let names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
    println!("| | {} |", names.join(" | "));
    println!("|---|{}", "---|".repeat(rows.len()));
    let line = |name: &str, values: Vec<f64>| {
        let cells: Vec<String> = values
            .iter()
            .map(|value| {
                let ratio = if rows.len() > 1 {
                    format!(" ({:.2} x)", value / values[0])
                } else {
                    String::new()
                };
                format!(
                    "{}{ratio}",
                    if *value >= 100.0 {
                        format!("{value:.0}")
                    } else {
                        format!("{value:.2}")
                    }
                )
            })
            .collect();
        println!("| {name} | {} |", cells.join(" | "));
    };
    for figure in rows[0].figures.keys() {
        line(figure, rows.iter().map(|row| row.figures[figure]).collect());
    }
    for (at, (name, ..)) in QUERIES.iter().enumerate() {
        line(
            &format!("query: {name}, ms"),
            rows.iter().map(|row| row.queries[at]).collect(),
        );
    }
    println!("\nIn parentheses: the figure divided by Cairn's in this run.");
}

/// Shared by the systems: waits until an address answers with 200.
pub fn ready(server: &mut process::Server, url: &str) {
    server.wait_until(Duration::from_secs(120), || {
        http::get(url).is_ok_and(|answer| answer.status == 200)
    });
}

/// A folder below another, made.
pub fn folder(parent: &Path, name: &str) -> std::path::PathBuf {
    let path = parent.join(name);
    std::fs::create_dir_all(&path).unwrap();
    path
}
