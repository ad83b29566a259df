//! Answers that are kept, over HTTP and over a real store: sealed at once, written late, deleted.
//!
//! Would catch an answer from before any of it, and one that is never kept or cannot be refused.

use std::time::Duration;

use super::remote_write::{body, now_ms, send, series};
use super::servers::{Cairn, eventually, get, post_form};

const MINUTE: i64 = 60_000;
const PATIENCE: Duration = Duration::from_secs(60);
const WINDOW: i64 = 120 * MINUTE;

fn flush(node: &Cairn) {
    let (done, said) = Cairn::run(&["flush", "--url", &node.url()]);
    assert!(done, "{said}");
}

/// The command says that steps were known.
fn explained(node: &Cairn, start: &str, end: &str) {
    let url = node.url();
    let range = ["--start", start, "--end", end, "--step", "60s"];
    let asked = ["query", "--url", &url, "--explain"];
    let query = ["sum(sum_over_time(level[20m]))"];
    let (done, said) = Cairn::run(&[&asked[..], &range, &query].concat());
    let is_said = said.contains("steps were known from answers");
    assert!(done && is_said, "{said}");
}

#[test]
fn answers_are_kept_and_never_old() {
    let folder = tempfile::tempdir().unwrap();
    let settings = [
        "http.enable_admin_api=true",
        "ingest.self_scrape_interval=0s",
    ];
    let node = Cairn::start(folder.path(), &settings);
    let from = (now_ms() - 5 * WINDOW).div_euclid(WINDOW) * WINDOW;
    let write = |samples: &[(i64, f64)]| {
        let one = series(&[("__name__", "level"), ("job", "a")], samples);
        let answer = send(&node.url(), &body(vec![one])).unwrap();
        assert!(answer.status < 300, "{}", answer.text());
    };
    let minutes = |count: i64| (0..count).map(move |at| (from + at * MINUTE, (at % 7) as f64));
    write(&minutes(480).collect::<Vec<_>>());
    flush(&node);
    let (start, end) = (from + 10 * MINUTE, from + 470 * MINUTE);
    let (start, end) = ((start / 1000).to_string(), (end / 1000).to_string());
    // What it answers, and how many of its 461 steps were known.
    let ask = |more: &[(&str, &str)]| {
        let asked = [
            ("query", "sum(sum_over_time(level[20m]))"),
            ("start", &start),
            ("end", &end),
            ("step", "60"),
            ("stats", "true"),
        ];
        let data = node.api("query_range", &[&asked[..], more].concat()).json()["data"].clone();
        let known = data["stats"]["cache"]["knownSteps"].as_u64().unwrap();
        (data["result"].clone(), known)
    };
    // Both as it is kept and anew.
    let check = || {
        let (fresh, none) = ask(&[("nocache", "1")]);
        let (kept, known) = ask(&[]);
        assert_eq!((&kept, none), (&fresh, 0));
        (fresh, known)
    };
    // Two of the four windows are whole. They may be merged meanwhile, and kept anew then.
    let all_known = || {
        eventually("whole pieces are kept", PATIENCE, || match check() {
            (answer, 240) => Ok(answer),
            (_, known) => Err(format!("{known} steps were known")),
        })
    };
    assert_eq!(check().1, 0);
    let first = all_known();
    // A late sample takes the piece that looks at its window, until it is sealed.
    write(&[(from + 50 * MINUTE + 1, 1000.0)]);
    let (late, known) = check();
    assert!(late != first && known < 240, "{known}");
    flush(&node);
    assert_eq!(all_known(), late);
    let delete = [
        ("match[]", "level"),
        ("start", &(from / 1000 + 110 * 60).to_string()),
        ("end", &(from / 1000 + 111 * 60).to_string()),
    ];
    let url = format!("{}/api/v1/admin/tsdb/delete_series", node.url());
    assert_eq!(post_form(&url, &delete).unwrap().status, 204);
    let (without, known) = check();
    assert!(without != late && known < 240, "{known}");
    assert_eq!(all_known(), without);
    let metrics = get(&format!("{}/metrics", node.url())).unwrap().text();
    assert!(
        metrics.contains("\ncairn_query_cache_pieces 2\n"),
        "{metrics}"
    );
    explained(&node, &start, &end);
}
