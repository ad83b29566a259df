//! Deletes over HTTP and by the command, beside a real Prometheus from which the same is deleted.
//!
//! Would catch anything that is hidden in one of the two and shown in the other, a delete that is
//! not undone, one that comes back after a crash or when its tombstone has gone, and space that
//! does not come back.

use std::time::Duration;

use super::compare::compare;
use super::remote_write::{body, now_ms, send, series};
use super::servers::{Answer, Cairn, Prometheus, eventually, free_port, get, post_form, skip};

const MINUTE: i64 = 60_000;

fn seconds(ms: i64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

fn write(url: &str, from: i64, rows: i64) {
    for row in 0..rows {
        let at = from + row * 15_000;
        let one = |labels: &[(&str, &str)], value: f64| series(labels, &[(at, value)]);
        let all = vec![
            one(&[("__name__", "up"), ("job", "a")], 1.0),
            one(&[("__name__", "up"), ("job", "b")], row as f64),
            one(&[("__name__", "temp"), ("room", "attic")], 20.5),
            one(&[("__name__", "temp"), ("room", "bath")], row as f64 / 3.0),
        ];
        let answer = send(url, &body(all)).unwrap();
        assert!(answer.status < 300, "{url}: {}", answer.text());
    }
}

fn admin(url: &str, endpoint: &str, form: &[(&str, &str)]) -> Answer {
    post_form(&format!("{url}/api/v1/admin/tsdb/{endpoint}"), form).unwrap()
}

/// Every sample that is shown.
fn raw(url: &str, end: i64) -> serde_json::Value {
    let form = [("query", "{__name__=~\".+\"}[3h]"), ("time", &seconds(end))];
    let answer = post_form(&format!("{url}/api/v1/query"), &form).unwrap();
    assert_eq!(answer.status, 200, "{url}: {}", answer.text());
    answer.json()["data"].clone()
}

/// What is in blocks, what is in the log alone and what is deleted: a snapshot has it all.
fn a_start_from_a_snapshot(cairn: &Cairn, settings: &[&str], agree: impl Fn(&Cairn) -> usize) {
    let answer = admin(&cairn.url(), "snapshot", &[]);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let name = answer.json()["data"]["name"].as_str().unwrap().to_owned();
    let copy = cairn.data_dir.join("snapshots").join(name);
    let (whole, said) = Cairn::run(&["verify", "--data-dir", copy.to_str().unwrap()]);
    assert!(whole, "{said}");
    let folder = tempfile::tempdir().unwrap();
    let settings = settings.iter().map(|one| (*one).to_owned()).collect();
    let copied = Cairn::start_on(folder.path(), &copy, free_port(), settings);
    agree(&copied);
}

/// The same deleted from both over HTTP, and what is said to writes meanwhile.
fn over_http(prometheus: &Prometheus, cairn: &Cairn, from: i64, agree: impl Fn(&Cairn) -> usize) {
    let (start, stop) = (seconds(from + 10 * MINUTE), seconds(from + 20 * MINUTE));
    let middle = [
        ("match[]", "up{job=\"a\"}"),
        ("start", &start),
        ("end", &stop),
    ];
    let rooms = [("match[]", "temp{room=~\"b.*\"}"), ("match[]", "none")];
    for form in [&middle[..], &rooms[..]] {
        for url in [prometheus.url(), cairn.url()] {
            let answer = admin(&url, "delete_series", form);
            assert_eq!(answer.status, 204, "{url}: {}", answer.text());
        }
        agree(cairn);
    }
    for url in [prometheus.url(), cairn.url()] {
        assert_eq!(admin(&url, "delete_series", &[]).status, 400, "{url}");
    }
    let rooms = get(&format!("{}/api/v1/label/room/values?start=0", cairn.url())).unwrap();
    assert_eq!(rooms.json()["data"], serde_json::json!(["attic"]));
    // What is being deleted is not written meanwhile, and what lies beside it is.
    let refused = send(&cairn.url(), &in_the_middle(from)).unwrap();
    let said = refused.text();
    assert_eq!(refused.status, 400, "{said}");
    assert!(said.contains("being deleted"), "{said}");
}

/// A sample in the middle of what is deleted.
fn in_the_middle(from: i64) -> Vec<u8> {
    let sample = [(from + 15 * MINUTE + 1, 7.0)];
    body(vec![series(&[("__name__", "up"), ("job", "a")], &sample)])
}

/// The command: it counts, deletes and undoes.
fn by_the_command(cairn: &Cairn, end: i64, agree: impl Fn(&Cairn) -> usize) {
    let url = cairn.url();
    let say = |more: &[&str]| {
        let (done, said) = Cairn::run(&[&["delete", "--url", &url], more].concat());
        assert!(done, "{more:?}: {said}");
        said
    };
    let would = say(&["--match", "up{job=\"b\"}"]);
    assert!(would.starts_with("160 samples of 1 series"), "{would}");
    agree(cairn);
    say(&["--match", "up{job=\"b\"}", "--yes"]);
    assert_eq!(raw(&url, end)["result"].as_array().unwrap().len(), 2);
    let list: serde_json::Value = serde_json::from_str(&say(&["--list", "--json"])).unwrap();
    let undone = list.as_array().unwrap().iter();
    let mut undone = undone.filter(|one| one["selector"].as_str().unwrap().contains("\"b\""));
    say(&["--undo", undone.next().unwrap()["id"].as_str().unwrap()]);
    agree(cairn);
}

/// Samples in blocks.
fn sealed(cairn: &Cairn) -> u64 {
    let blocks = get(&format!("{}/api/v1/status/tsdb/blocks", cairn.url()));
    let blocks = blocks.unwrap().json();
    let blocks = blocks["data"]["blocks"].as_array().unwrap().iter();
    let samples = blocks.map(|block| block["stats"]["numSamples"].as_u64().unwrap());
    samples.sum()
}

fn until_nothing_is_being_deleted(cairn: &Cairn) {
    let patience = Duration::from_secs(300);
    eventually("nothing is left of the deletes", patience, || {
        let list = format!("{}/api/v1/admin/tsdb/tombstones", cairn.url());
        let list = get(&list)?.json();
        let none = list["data"].as_array().is_some_and(Vec::is_empty);
        if none { Ok(()) } else { Err(list.to_string()) }
    });
}

#[test]
fn what_is_deleted_is_what_prometheus_deletes() {
    let folder = tempfile::tempdir().unwrap();
    let flags = [
        "--web.enable-remote-write-receiver",
        "--web.enable-admin-api",
    ];
    let prometheus = match Prometheus::with_config(folder.path(), "global: {}\n", &flags) {
        Ok(prometheus) => prometheus,
        Err(reason) => return skip("what_is_deleted_is_what_prometheus_deletes", reason),
    };
    let settings = [
        "http.enable_admin_api=true",
        "ingest.self_scrape_interval=0s",
    ];
    let cairn = Cairn::start(folder.path(), &settings);
    let from = now_ms() - 5 * 60 * MINUTE;
    let end = from + 40 * MINUTE;
    for url in [prometheus.url(), cairn.url()] {
        write(&url, from, 160);
    }
    let agree = |cairn: &Cairn| {
        let want = raw(&prometheus.url(), end);
        compare(&want, &raw(&cairn.url(), end), 0.0).unwrap_or_else(|wrong| panic!("{wrong}"));
        want["result"].as_array().unwrap().len()
    };
    assert_eq!(agree(&cairn), 4);
    over_http(&prometheus, &cairn, from, agree);
    by_the_command(&cairn, end, agree);

    // It is sealed, forgotten by nobody, and goes.
    let (done, said) = Cairn::run(&["flush", "--url", &cairn.url()]);
    assert!(done, "{said}");
    agree(&cairn);
    let cairn = cairn.crash_and_restart();
    agree(&cairn);
    assert_eq!(sealed(&cairn), 4 * 160);
    let later = [(from + 161 * 15_000, 1.5)];
    let later = body(vec![series(&[("__name__", "up"), ("job", "b")], &later)]);
    for url in [prometheus.url(), cairn.url()] {
        assert!(send(&url, &later).unwrap().status < 300, "{url}");
    }
    a_start_from_a_snapshot(&cairn, &settings, agree);
    for url in [prometheus.url(), cairn.url()] {
        assert_eq!(admin(&url, "clean_tombstones", &[]).status, 204, "{url}");
    }
    until_nothing_is_being_deleted(&cairn);
    assert_eq!(sealed(&cairn), 4 * 160 - 160 - 41);
    assert_eq!(agree(&cairn), 3);
    // Now that time is written as any other.
    let taken = send(&cairn.url(), &in_the_middle(from)).unwrap();
    assert_eq!(taken.status, 204, "{}", taken.text());
    let cairn = cairn.crash_and_restart();
    assert_eq!(
        raw(&cairn.url(), end)["result"].as_array().unwrap().len(),
        3
    );
}
