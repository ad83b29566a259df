//! History moves in from real programs, and what they answered is answered afterwards.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::compare::compare;
use super::remote_write::{self, BucketSpan, Histogram, body, now_ms, send};
use super::servers::{
    Cairn, Prometheus, VictoriaMetrics, built, eventually, get, post, post_form, skip,
};

const DAY_S: i64 = 86_400;

/// The result of an instant query of anybody who speaks Prometheus' API.
fn ask(url: &str, query: &str, at_s: i64) -> Value {
    let time = at_s.to_string();
    let form = [("query", query), ("time", time.as_str())];
    let answer = post_form(&format!("{url}/api/v1/query"), &form).unwrap();
    assert_eq!(answer.status, 200, "{query}: {}", answer.text());
    answer.json()["data"].clone()
}

/// Runs `cairn import` with these arguments and gives what it printed as JSON.
fn import(cairn: &Cairn, arguments: &[&str]) -> Value {
    let url = cairn.url();
    let all = [&["import"], arguments, &["--json", "--url", &url]].concat();
    let output = Cairn::command().args(&all).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}{errors}");
    serde_json::from_str(text.trim()).unwrap()
}

/// Runs `cairn export` with these arguments and gives what it printed as JSON.
fn export(url: &str, arguments: &[&str]) -> Value {
    let all = [&["export"], arguments, &["--json", "--url", url]].concat();
    let output = Cairn::command().args(&all).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}{errors}");
    serde_json::from_str(text.trim()).unwrap()
}

fn samples(outcome: &Value) -> i64 {
    outcome["samples"].as_i64().unwrap()
}

/// Ten series a minute over three days that ended a week ago, as OpenMetrics text: `(text, samples,
/// end)`.
fn three_days() -> (String, i64, i64) {
    let end = now_ms() / 1000 / DAY_S * DAY_S - 7 * DAY_S;
    let start = end - 3 * DAY_S + 4000;
    let mut text = String::from("# TYPE moved unknown\n");
    let mut count = 0;
    for series in 0..10 {
        for at in (start..end).step_by(60) {
            let value = (at % 977) as f64 / 7.0 + f64::from(series);
            writeln!(text, "moved{{series=\"{series}\"}} {value} {at}").unwrap();
            count += 1;
        }
    }
    text.push_str("# EOF\n");
    (text, count, end)
}

fn promtool(arguments: &[&str]) -> Result<String, &'static str> {
    let program =
        built("promtool3").ok_or("promtool3 is not built (scripts/build-go-tools prometheus)")?;
    let output = Command::new(program).args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Text and blocks say the same, are told once however often they are sent, and go on where they
/// were.
fn text_and_blocks(folder: &Path) -> Result<(), &'static str> {
    let (text, count, end) = three_days();
    let (file, blocks) = (folder.join("all.om"), folder.join("blocks"));
    fs::write(&file, text).unwrap();
    let [file, blocks] = [&file, &blocks].map(|path| path.to_str().unwrap());
    promtool(&["tsdb", "create-blocks-from", "openmetrics", file, blocks])?;
    let cairn = Cairn::start(folder, &[]);
    let place = folder.join("position.json");
    let place = place.to_str().unwrap();
    let with_place = ["prometheus", blocks, "--position", place];
    assert_eq!(samples(&import(&cairn, &with_place)), count);
    assert_eq!(samples(&import(&cairn, &with_place)), 0);
    let raw = ask(&cairn.url(), "moved[3d]", end);
    let points: usize = raw["result"]
        .as_array()
        .unwrap()
        .iter()
        .map(|series| series["values"].as_array().unwrap().len())
        .sum();
    assert_eq!(points as i64, count);
    for series in raw["result"].as_array().unwrap() {
        let number: f64 = series["metric"]["series"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
        for point in series["values"].as_array().unwrap() {
            let at = point[0].as_i64().unwrap();
            let value: f64 = point[1].as_str().unwrap().parse().unwrap();
            assert_eq!(
                value.to_bits(),
                ((at % 977) as f64 / 7.0 + number).to_bits()
            );
        }
    }
    // The same from the text, and a part of it: nothing is new.
    assert_eq!(samples(&import(&cairn, &["openmetrics", file])), count);
    let some = ["prometheus", blocks, "--match", "{series=\"3\"}"];
    assert_eq!(samples(&import(&cairn, &some)), count / 10);
    compare(&raw, &ask(&cairn.url(), "moved[3d]", end), 0.0).unwrap();
    out_again(folder, &cairn, count, &raw, end)
}

/// Out of the node again, into a real Prometheus, by blocks and by text.
fn out_again(
    folder: &Path,
    cairn: &Cairn,
    count: i64,
    raw: &Value,
    end: i64,
) -> Result<(), &'static str> {
    let text = folder.join("out.om");
    let selection = ["--match", "moved", "--end", &end.to_string()];
    let arguments = [&["openmetrics", text.to_str().unwrap()], &selection[..]].concat();
    assert_eq!(samples(&export(&cairn.url(), &arguments)), count);
    for way in ["blocks", "text"] {
        let home = folder.join(format!("opened-by-{way}"));
        fs::create_dir(&home).unwrap();
        let own = home.join("own");
        let own = own.to_str().unwrap();
        if way == "text" {
            let text = text.to_str().unwrap();
            promtool(&["tsdb", "create-blocks-from", "openmetrics", text, own])?;
        } else {
            let place = home.join("position.json");
            let place = ["--position", place.to_str().unwrap()];
            let arguments = [&["prometheus", own], &selection[..], &place].concat();
            assert_eq!(samples(&export(&cairn.url(), &arguments)), count);
            // Every day is there already.
            assert_eq!(samples(&export(&cairn.url(), &arguments)), 0);
        }
        let opened = Prometheus::receiving(&home)?;
        let got = ask(&opened.url(), "moved[3d]", end);
        compare(raw, &got, 0.0).unwrap_or_else(|error| panic!("{way}: {error}"));
    }
    Ok(())
}

#[test]
fn blocks_and_openmetrics_text_move_in() {
    let folder = tempfile::tempdir().unwrap();
    if let Err(reason) = text_and_blocks(folder.path()) {
        skip("history::blocks_and_openmetrics_text_move_in", reason);
    }
}

/// A native histogram that counts up.
fn histogram(at: i64, count: u64) -> Histogram {
    Histogram {
        count_int: Some(3 * count),
        zero_count_int: Some(count),
        sum: count as f64 * 0.7,
        schema: 2,
        zero_threshold: 1e-9,
        positive_spans: vec![BucketSpan {
            offset: -1,
            length: 2,
        }],
        positive_deltas: vec![count as i64, 0],
        timestamp: at,
        ..Histogram::default()
    }
}

/// What a running Prometheus holds, native histograms and its head included, by a snapshot.
fn snapshot(folder: &Path) -> Result<(), &'static str> {
    let flags = [
        "--web.enable-remote-write-receiver",
        "--web.enable-admin-api",
    ];
    let prometheus = Prometheus::with_config(folder, "global: {}\n", &flags)?;
    let now = now_ms();
    let times: Vec<i64> = (0..200)
        .map(|step| now - 3_600_000 + step * 15_000)
        .collect();
    let mut native = remote_write::series(&[("__name__", "native"), ("job", "a")], &[]);
    let counted = times.iter().zip(1..);
    native.histograms = counted
        .clone()
        // It starts anew in the middle.
        .map(|(at, count)| histogram(*at, if count < 100 { count } else { count - 99 }))
        .collect();
    let mut floats: Vec<(i64, f64)> = counted.map(|(at, count)| (*at, count as f64)).collect();
    floats[50].1 = f64::from_bits(0x7ff0_0000_0000_0002);
    let plain = remote_write::series(&[("__name__", "plain"), ("job", "a")], &floats);
    let gone = remote_write::series(&[("__name__", "gone"), ("job", "a")], &floats);
    let sent = send(&prometheus.url(), &body(vec![native, plain, gone])).unwrap();
    assert_eq!(sent.status, 204, "{}", sent.text());
    let admin = format!("{}/api/v1/admin/tsdb", prometheus.url());
    let deleted = post_form(&format!("{admin}/delete_series"), &[("match[]", "gone")]).unwrap();
    assert_eq!(deleted.status, 204, "{}", deleted.text());
    let taken = post_form(&format!("{admin}/snapshot"), &[]).unwrap().json();
    let name = taken["data"]["name"].as_str().unwrap();
    let snapshot = folder.join("own/snapshots").join(name);
    let cairn = Cairn::start(folder, &[]);
    let outcome = import(&cairn, &["prometheus", snapshot.to_str().unwrap()]);
    assert_eq!(samples(&outcome), 400, "{outcome}");
    let queries = [
        "plain[2h]",
        "count_over_time(native[2h])",
        "histogram_count(sum_over_time(native[2h]))",
        "histogram_sum(sum_over_time(native[2h]))",
        "histogram_quantile(0.5, rate(native[30m]))",
        "histogram_sum(increase(native[50m]))",
        "count({job=\"a\"})",
    ];
    for query in queries {
        let at = now / 1000 - 600;
        let (want, got) = (
            ask(&prometheus.url(), query, at),
            ask(&cairn.url(), query, at),
        );
        compare(&want, &got, 1e-12).unwrap_or_else(|error| panic!("{query}: {error}"));
    }
    export_of(folder, &prometheus, now / 1000 - 600)
}

/// What is read by remote read and written as blocks, another Prometheus opens and answers alike.
fn export_of(folder: &Path, prometheus: &Prometheus, at: i64) -> Result<(), &'static str> {
    let other = folder.join("other");
    fs::create_dir(&other).unwrap();
    let blocks = other.join("own");
    let selection = ["--match", "{job=\"a\"}", "--start", "now-3h"];
    let arguments = [&["prometheus", blocks.to_str().unwrap()], &selection[..]].concat();
    let outcome = export(&prometheus.url(), &arguments);
    assert_eq!(samples(&outcome), 400, "{outcome}");
    let opened = Prometheus::receiving(&other)?;
    for query in ["native[2h]", "plain[2h]", "increase(native[50m])"] {
        let (want, got) = (
            ask(&prometheus.url(), query, at),
            ask(&opened.url(), query, at),
        );
        compare(&want, &got, 0.0).unwrap_or_else(|error| panic!("{query}: {error}"));
    }
    Ok(())
}

#[test]
fn a_snapshot_of_a_running_prometheus_moves_in() {
    let folder = tempfile::tempdir().unwrap();
    if let Err(reason) = snapshot(folder.path()) {
        skip(
            "history::a_snapshot_of_a_running_prometheus_moves_in",
            reason,
        );
    }
}

/// Fills a VictoriaMetrics with three series of 5,000 samples, one of which ends, and exports them.
fn lines_of(victoria: &VictoriaMetrics, end: i64) -> String {
    let mut all = Vec::new();
    for series in ["0", "1", "2"] {
        let points: Vec<(i64, f64)> = (0..5000)
            .map(|step| ((end - step * 60) * 1000, (step % 13) as f64 / 4.0))
            .rev()
            .collect();
        let text = ("text", "a \"b\"\\ é");
        let labels = [("__name__", "moved"), text, ("series", series)];
        all.push(remote_write::series(&labels, &points));
    }
    all[2].samples[4999].value = f64::from_bits(0x7ff0_0000_0000_0002);
    let sent = send(&victoria.url(), &body(all)).unwrap();
    assert_eq!(sent.status, 204, "{}", sent.text());
    let address = format!(
        "{}/api/v1/export?match[]=moved&max_rows_per_line=1000&start={}",
        victoria.url(),
        end - 10 * DAY_S
    );
    eventually("the export", Duration::from_secs(60), || {
        let text = get(&address)?.text();
        let of_line = |line: &str| -> usize {
            let line: Value = serde_json::from_str(line).unwrap_or_default();
            line["timestamps"].as_array().map_or(0, Vec::len)
        };
        match text.lines().map(of_line).sum() {
            15_000_usize => Ok(text),
            some => Err(format!("{some} samples")),
        }
    })
}

/// VictoriaMetrics' JSON lines in, and what both answer then.
fn victoria(folder: &Path) -> Result<(), &'static str> {
    let victoria = VictoriaMetrics::start(folder)?;
    let end = now_ms() / 1000 / DAY_S * DAY_S - 40 * DAY_S;
    let file = folder.join("all.jsonl");
    fs::write(&file, lines_of(&victoria, end)).unwrap();
    let cairn = Cairn::start(folder, &[]);
    let outcome = import(&cairn, &["victoriametrics", file.to_str().unwrap()]);
    assert_eq!(samples(&outcome), 15_000, "{outcome}");
    let raw = ask(&cairn.url(), "moved[4d]", end);
    let counts: Vec<usize> = raw["result"]
        .as_array()
        .unwrap()
        .iter()
        .map(|series| series["values"].as_array().unwrap().len())
        .collect();
    assert_eq!(counts.iter().sum::<usize>(), 14_999, "{counts:?}");
    // VictoriaMetrics keeps the name where Prometheus drops it.
    let over_time = "sum(max_over_time(moved[1h])) by (series)";
    for query in ["moved", "sum(moved) by (series)", over_time] {
        for at in [end, end - 86_413, end - 200_000] {
            let want = ask(&victoria.url(), query, at);
            compare(&want, &ask(&cairn.url(), query, at), 1e-12)
                .unwrap_or_else(|error| panic!("{query} {at}: {error}"));
        }
    }
    victoria_again(folder, &victoria, &cairn, end)
}

/// And out again, into another VictoriaMetrics.
fn victoria_again(
    folder: &Path,
    victoria: &VictoriaMetrics,
    cairn: &Cairn,
    end: i64,
) -> Result<(), &'static str> {
    let (other, lines) = (folder.join("other"), folder.join("out.jsonl"));
    fs::create_dir(&other).unwrap();
    let until = (end + 60).to_string();
    let lines = lines.to_str().unwrap();
    let selection = ["--match", "moved", "--end", &until];
    let arguments = [&["victoriametrics", lines], &selection[..]].concat();
    assert_eq!(samples(&export(&cairn.url(), &arguments)), 15_000);
    let other = VictoriaMetrics::start(&other)?;
    let import = format!("{}/api/v1/import", other.url());
    let sent = post(&import, &[], &fs::read(lines).unwrap());
    assert_eq!(sent.unwrap().status, 204);
    // The end of a series is lost on the way: VictoriaMetrics passes over the null that it writes.
    let before = end - 60;
    let counts = "sum(count_over_time(moved[4d])) by (series)";
    eventually("the same there", Duration::from_secs(60), || {
        for query in ["sum(moved) by (series)", counts] {
            let want = ask(&victoria.url(), query, before);
            compare(&want, &ask(&other.url(), query, before), 1e-12)?;
        }
        Ok(())
    });
    Ok(())
}

#[test]
fn history_of_victoriametrics_moves_in() {
    let folder = tempfile::tempdir().unwrap();
    if let Err(reason) = victoria(folder.path()) {
        skip("history::history_of_victoriametrics_moves_in", reason);
    }
}
