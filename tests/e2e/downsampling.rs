//! A month-old set is written, grows old at once, and is read as before.
//!
//! Would catch a policy that never runs, one that takes no space away, sums that change, a query that does not say what
//! it was made from, and what a restart forgets.

use std::time::Duration;

use serde_json::{Value, json};

use super::remote_write::{body, now_ms, send, series};
use super::servers::{Answer, Cairn, eventually, free_port, get, post_form};

pub const DAY: i64 = 86_400_000;
pub const HOUR: i64 = 3_600_000;
const HOSTS: i64 = 20;
/// Eight hours, so that it is quick.
const LEN: i64 = 8 * 3_600_000;

/// What nobody can foresee, so that it takes room.
fn mixed(number: i64) -> i64 {
    let mixed = number.wrapping_mul(0x5851_f42d_4c95_7f2d);
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0x14c0_57b7_ef76_7815);
    ((mixed ^ (mixed >> 32)) & 0xffff_ffff) % 1_000_000
}

/// Counters that begin anew, gauges, and what stands still, every 15 s.
pub fn write(url: &str, start: i64) -> u64 {
    let mut written = 0;
    for hour in 0..LEN / 3_600_000 {
        let mut all = Vec::new();
        for host in 0..HOSTS {
            let rows: Vec<i64> = (0..240)
                .map(|row| start + hour * 3_600_000 + row * 15_000)
                .collect();
            let name = format!("host-{host}");
            let of = |metric: &str, value: &dyn Fn(i64) -> i64| {
                let samples: Vec<(i64, f64)> = rows
                    .iter()
                    .map(|at| (*at, value(*at / 15_000) as f64))
                    .collect();
                series(
                    &[("__name__", metric), ("instance", &name), ("job", "node")],
                    &samples,
                )
            };
            all.push(of("requests_total", &|row| {
                (row + host * 100) % 1500 * 1000 + mixed(row * 1000 + host) % 1000
            }));
            all.push(of("temperature", &|row| mixed(row * 1000 + host) % 1000));
            all.push(of("limit", &|_| 4096));
            written += 3 * 240;
        }
        let answer = send(url, &body(all)).unwrap();
        assert!(answer.status < 300, "{}", answer.text());
    }
    written
}

fn ask(url: &str, query: &str, at: i64) -> Value {
    let time = format!("{}", at / 1000);
    let answer: Answer = post_form(
        &format!("{url}/api/v1/query"),
        &[("query", query), ("time", &time)],
    )
    .unwrap();
    assert_eq!(answer.status, 200, "{query}: {}", answer.text());
    answer.json()
}

/// Bytes and samples of the blocks of that time; the node's own metrics lie in others.
pub fn blocks(url: &str, from: i64) -> (u64, u64) {
    let old = old_blocks(url, from);
    let sum = |key: &str| {
        old.iter()
            .map(|block| block["stats"][key].as_u64().unwrap())
            .sum()
    };
    (sum("numBytes"), sum("numSamples"))
}

/// The blocks of that time as a node lists them, by their names.
pub fn old_blocks(url: &str, from: i64) -> Vec<Value> {
    let answer = get(&format!("{url}/api/v1/status/tsdb/blocks"));
    let answer = answer.unwrap().json();
    let blocks = answer["data"]["blocks"].as_array().unwrap().iter();
    let old = |block: &&Value| block["minTime"].as_i64().unwrap() < from + DAY;
    let mut old: Vec<Value> = blocks.filter(old).cloned().collect();
    old.sort_by_key(|block| block["ulid"].to_string());
    old
}

const QUERIES: [&str; 8] = [
    "sum by (instance) (sum_over_time(temperature[1h]))",
    "count(count_over_time(temperature[30m])) + sum(count_over_time(temperature[30m]))",
    "max(max_over_time(temperature[1h])) - min(min_over_time(temperature[1h]))",
    "avg_over_time(temperature[2h])",
    "sort(increase(requests_total[1h]))",
    "sum(rate(requests_total[30m]))",
    "last_over_time(requests_total[1h])",
    "sum(limit) + sum(temperature)",
];

fn numbers(answer: &Value) -> Vec<(String, f64)> {
    let result = answer["data"]["result"].as_array().unwrap();
    let mut all: Vec<(String, f64)> = result
        .iter()
        .map(|one| {
            (
                one["metric"].to_string(),
                one["value"][1].as_str().unwrap().parse().unwrap(),
            )
        })
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(!all.is_empty(), "{answer}");
    all
}

pub fn flush(url: &str) {
    let (done, said) = Cairn::run(&["flush", "--url", url]);
    assert!(done, "{said}");
}

/// What all queries give at all times.
pub fn answers(url: &str, times: &[i64]) -> Vec<Value> {
    let each = QUERIES
        .iter()
        .flat_map(|query| times.iter().map(|at| ask(url, query, *at)));
    each.collect()
}

/// As before, to rounding, and each says what it was made from.
pub fn agree(before: &[Value], after: &[Value]) {
    assert_eq!(before.len(), after.len());
    for (was, is) in before.iter().zip(after) {
        let (old, new) = (numbers(was), numbers(is));
        assert_eq!(old.len(), new.len(), "{is}");
        for (was, is) in old.iter().zip(new) {
            assert_eq!(was.0, is.0);
            let off = (was.1 - is.1).abs() / was.1.abs().max(1.0);
            assert!(off < 1e-12, "{was:?} {is:?}");
        }
        let infos = is["infos"].to_string();
        assert!(infos.contains("samples were downsampled to 5m"), "{is}");
    }
}

/// A line at odd steps has no gaps, and a function that cannot do without what went says so.
fn look_closer(url: &str, from: i64) {
    let odd = ask(
        url,
        "quantile_over_time(0.5, temperature[1h])",
        from + 4 * HOUR,
    );
    let infos = odd["infos"].to_string();
    let said = "quantile_over_time over this range sees only";
    assert!(infos.contains(said), "{infos}");
    // It cuts intervals, says so, and is not short of what it cuts away.
    let growth = |at: i64| ask(url, "sum(rate(requests_total[10m]))", at);
    let (whole, cut) = (growth(from + 4 * HOUR), growth(from + 4 * HOUR + 130_000));
    let off = numbers(&cut)[0].1 / numbers(&whole)[0].1 - 1.0;
    assert!(off.abs() < 0.03, "{cut} {whole}");
    let infos = (whole["infos"].to_string(), cut["infos"].to_string());
    let said = "rate over this range cuts intervals of samples that were downsampled to 5m";
    assert!(
        !infos.0.contains(said) && infos.1.contains(said),
        "{infos:?}"
    );
    // Nothing lies between two kept samples, which is not to pass for there having been nothing.
    let between = "sum_over_time(temperature[1m])";
    let none = ask(url, between, from + 4 * HOUR + 150_000);
    assert_eq!(none["data"]["result"], json!([]), "{none}");
    for said in [
        "samples were downsampled to 5m",
        "sum_over_time over this range sees only",
    ] {
        assert!(none["infos"].to_string().contains(said), "{none}");
    }
    // What is young is what was written, and nothing is said of it.
    let young = ask(url, "count_over_time(cairn_head_series[1m])", now_ms());
    assert!(young["infos"].is_null(), "{young}");
    let seconds = |ms: i64| format!("{}", ms / 1000);
    let form = [
        ("query", "count(temperature)"),
        ("start", &seconds(from + HOUR + 7000)),
        ("end", &seconds(from + 2 * HOUR)),
        ("step", "11"),
    ];
    let line = post_form(&format!("{url}/api/v1/query_range"), &form);
    let line = line.unwrap().json();
    let said = "a selector at these times sees only";
    assert!(line["infos"].to_string().contains(said), "{line}");
    let points = line["data"]["result"][0]["values"].as_array().unwrap();
    assert_eq!(points.len(), (3600 - 7) / 11 + 1);
    let all = json!(HOSTS.to_string());
    assert!(points.iter().all(|point| point[1] == all), "{line}");
}

#[test]
fn a_month_becomes_smaller_and_its_sums_stay() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("data");
    let start = |more: &[&str]| {
        let settings = more.iter().map(|one| (*one).to_owned()).collect();
        Cairn::start_on(folder.path(), &data_dir, free_port(), settings)
    };
    let cairn = start(&[]);
    let from = now_ms() / DAY * DAY - 40 * DAY;
    let written = write(&cairn.url(), from);
    flush(&cairn.url());
    let times: Vec<i64> = (2..=8).map(|hour| from + hour * HOUR).collect();
    let before = answers(&cairn.url(), &times);
    let says = |answer: &Value| answer.to_string().contains("downsampled");
    assert!(!before.iter().any(says));
    let (bytes, samples) = blocks(&cairn.url(), from);
    assert_eq!(samples, written);
    drop(cairn);
    let policy = ["retention.downsample=30d:5m"];
    let cairn = start(&policy);
    eventually(
        "the month is downsampled",
        Duration::from_secs(180),
        || match blocks(&cairn.url(), from) {
            (_, left) if left * 15 < samples => Ok(()),
            (_, left) => Err(format!("{left} of {samples} samples are left")),
        },
    );
    let (bytes_after, left) = blocks(&cairn.url(), from);
    println!("{bytes} bytes of {samples} samples, then {bytes_after} of {left}");
    assert!(bytes_after * 2 < bytes, "{bytes_after} of {bytes} bytes");
    agree(&before, &answers(&cairn.url(), &times));
    look_closer(&cairn.url(), from);
    // What comes again was counted.
    write(&cairn.url(), from);
    agree(&before, &answers(&cairn.url(), &times));
    flush(&cairn.url());
    drop(cairn);
    let cairn = start(&policy);
    agree(&before, &answers(&cairn.url(), &times));
    drop(cairn);
    let directory = data_dir.to_str().unwrap();
    let (done, said) = Cairn::run(&["blocks", "--data-dir", directory]);
    assert!(done, "{said}");
    assert!(
        said.contains("RESOLUTION") && said.contains(" 5m"),
        "{said}"
    );
    let (done, said) = Cairn::run(&["verify", "--data-dir", directory]);
    assert!(done, "{said}");
}
