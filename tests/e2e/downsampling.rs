//! A month-old set is written, grows old at once, and is read as before.
//!
//! Would catch a policy that never runs, one that takes no space away, sums that change, a query that does not say what
//! it was made from, and what a restart forgets.

use std::time::Duration;

use serde_json::{Value, json};

use super::remote_write::{body, now_ms, send, series};
use super::servers::{Answer, Cairn, eventually, free_port, get, post_form};

const DAY: i64 = 86_400_000;
const HOSTS: i64 = 20;
/// Eight hours, so that it is quick.
const LEN: i64 = 8 * 3_600_000;

/// Counters that begin anew, gauges, and what stands still, every 15 s.
fn write(url: &str, start: i64) -> u64 {
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
                (row + host * 100) % 1500 * 7 + row * row % 5
            }));
            all.push(of("temperature", &|row| row * (row + host) % 31));
            all.push(of("limit", &|_| 4096));
            written += 3 * 240;
        }
        let answer = send(url, &body(all)).unwrap();
        assert!(answer.status < 300, "{}", answer.text());
    }
    written
}

fn ask(cairn: &Cairn, query: &str, at: i64) -> Value {
    let time = format!("{}", at / 1000);
    let answer: Answer = post_form(
        &format!("{}/api/v1/query", cairn.url()),
        &[("query", query), ("time", &time)],
    )
    .unwrap();
    assert_eq!(answer.status, 200, "{query}: {}", answer.text());
    answer.json()
}

/// Resolutions, bytes and samples of all blocks.
fn blocks(cairn: &Cairn) -> (u64, u64) {
    let answer = get(&format!("{}/api/v1/status/tsdb/blocks", cairn.url()))
        .unwrap()
        .json();
    let blocks = answer["data"]["blocks"].as_array().unwrap();
    let sum = |key: &str| {
        blocks
            .iter()
            .map(|block| block["stats"][key].as_u64().unwrap())
            .sum()
    };
    (sum("numBytes"), sum("numSamples"))
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

fn flush(cairn: &Cairn) {
    let (done, said) = Cairn::run(&["flush", "--url", &cairn.url()]);
    assert!(done, "{said}");
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
    flush(&cairn);
    let times: Vec<i64> = (2..=8).map(|hour| from + hour * 3_600_000).collect();
    let answers = |cairn: &Cairn| -> Vec<Value> {
        let each = QUERIES
            .iter()
            .flat_map(|query| times.iter().map(|at| ask(cairn, query, *at)));
        each.collect()
    };
    let before = answers(&cairn);
    assert!(
        before
            .iter()
            .all(|answer| !answer.to_string().contains("downsampled"))
    );
    let (bytes, samples) = blocks(&cairn);
    assert_eq!(samples, written);
    drop(cairn);
    let mut cairn = start(&["retention.downsample=30d:5m"]);
    eventually("the month is downsampled", Duration::from_secs(120), || {
        let (_, left) = blocks(&cairn);
        match left * 15 < samples {
            true => Ok(()),
            false => Err(format!("{left} of {samples} samples are left")),
        }
    });
    let (bytes_after, left) = blocks(&cairn);
    println!("{bytes} bytes of {samples} samples, then {bytes_after} of {left}");
    assert!(bytes_after * 2 < bytes, "{bytes_after} of {bytes} bytes");
    for round in 0..2 {
        for (was, is) in before.iter().zip(answers(&cairn)) {
            for (was, is) in numbers(was).iter().zip(numbers(&is)) {
                assert_eq!(was.0, is.0);
                let off = (was.1 - is.1).abs() / was.1.abs().max(1.0);
                assert!(off < 1e-12, "round {round}: {was:?} {is:?}");
            }
            let infos = is["infos"].to_string();
            assert!(infos.contains("samples were downsampled to 5m"), "{is}");
        }
        let odd = ask(&cairn, "quantile_over_time(0.5, temperature[1h])", times[3]);
        let infos = odd["infos"].to_string();
        assert!(
            infos.contains("quantile_over_time over this range sees only"),
            "{infos}"
        );
        // A line at odd steps has no gaps.
        let form = [
            ("query", "count(temperature)"),
            ("start", &format!("{}", (from + 3_600_000) / 1000 + 7)),
            ("end", &format!("{}", (from + 2 * 3_600_000) / 1000)),
            ("step", "11"),
        ];
        let line = post_form(&format!("{}/api/v1/query_range", cairn.url()), &form)
            .unwrap()
            .json();
        let points = line["data"]["result"][0]["values"].as_array().unwrap();
        assert_eq!(points.len(), 3600 / 11 + 1);
        assert!(
            points
                .iter()
                .all(|point| point[1] == json!(HOSTS.to_string())),
            "{line}"
        );
        // What comes again was counted.
        if round == 0 {
            write(&cairn.url(), from);
            drop(cairn);
            cairn = start(&["retention.downsample=30d:5m"]);
        }
    }
    drop(cairn);
    let (done, said) = Cairn::run(&["blocks", "--data-dir", data_dir.to_str().unwrap()]);
    assert!(
        done && said.contains("RESOLUTION") && said.contains(" 5m"),
        "{said}"
    );
    let (done, said) = Cairn::run(&["verify", "--data-dir", data_dir.to_str().unwrap()]);
    assert!(done, "{said}");
}
