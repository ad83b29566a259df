//! The plug is pulled: `kill -9` at any moment, under load, again and again. Every sample that was
//! acknowledged comes back bit for bit.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::remote_write::{body, now_ms, send, series};
use super::servers::{Cairn, eventually, get};

/// Acknowledged samples: writer and series to timestamp to value.
type Acknowledged = Arc<Mutex<BTreeMap<(usize, usize), BTreeMap<i64, f64>>>>;

const WRITERS: usize = 3;
const SERIES: usize = 40;
const ROUNDS: usize = 6;

/// The writers' clock: it starts this far back, and moves by a step with every request.
const BEHIND_MS: i64 = 600_000;
const STEP_MS: i64 = 10;
/// So many requests keep the writers' clock in the past, where a query at the present sees it.
/// The fastest machine so far needed a tenth of it.
const REQUESTS_MAX: i64 = BEHIND_MS / STEP_MS - 1;

/// Sends requests until told to stop, noting what was acknowledged.
fn write(
    url: &str,
    writer: usize,
    stop: &AtomicBool,
    acknowledged: &Acknowledged,
    base: i64,
    next: &mut i64,
) {
    while !stop.load(Ordering::Relaxed) && *next < REQUESTS_MAX {
        let mut sent = Vec::new();
        let mut request = Vec::new();
        for number in 0..SERIES {
            // Some old, some out of order: none of that is an error here.
            let at = base + *next * STEP_MS - if number % 7 == 0 { 9_000_000 } else { 0 };
            let value = f64::from_bits((*next as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 2)
                + number as f64;
            let labels = [
                ("__name__", "crash_total"),
                ("instance", &format!("writer-{writer}")),
                ("job", "crash"),
                ("number", &number.to_string()),
            ];
            request.push(series(&labels, &[(at, value)]));
            sent.push((number, at, value));
        }
        *next += 1;
        if send(url, &body(request)).is_ok_and(|answer| answer.status / 100 == 2) {
            let mut acknowledged = acknowledged.lock().unwrap();
            for (number, at, value) in sent {
                acknowledged
                    .entry((writer, number))
                    .or_default()
                    .insert(at, value);
            }
        }
    }
}

fn read_back(node: &Cairn, acknowledged: &Acknowledged) -> usize {
    let mut stored: BTreeMap<(usize, usize), BTreeMap<i64, String>> = BTreeMap::new();
    for series in node.query("crash_total[3h]").as_array().unwrap() {
        let text = |name: &str| series["metric"][name].as_str().unwrap().to_owned();
        let writer: usize = text("instance")
            .trim_start_matches("writer-")
            .parse()
            .unwrap();
        let key = (writer, text("number").parse().unwrap());
        for pair in series["values"].as_array().unwrap() {
            let at = (pair[0].as_f64().unwrap() * 1000.0).round() as i64;
            stored
                .entry(key)
                .or_default()
                .insert(at, pair[1].as_str().unwrap().to_owned());
        }
    }
    let mut checked = 0;
    for (key, samples) in acknowledged.lock().unwrap().iter() {
        for (at, value) in samples {
            let found = stored.get(key).and_then(|samples| samples.get(at));
            let found: Option<f64> = found.map(|text| text.parse().unwrap());
            assert_eq!(
                found.map(f64::to_bits),
                Some(value.to_bits()),
                "acknowledged, but lost or changed: series {key:?} at {at}"
            );
            checked += 1;
        }
    }
    checked
}

#[test]
fn acknowledged_samples_survive_kill_nine() {
    let folder = tempfile::tempdir().unwrap();
    // No grace: the old samples are sealed into blocks while the node is killed.
    let mut node = Cairn::start(folder.path(), &["seal.grace=0s"]);
    let acknowledged = Acknowledged::default();
    let base = now_ms() - BEHIND_MS;
    let mut next = [0i64; WRITERS];
    let mut checked = 0;
    for round in 0..ROUNDS {
        let stop = AtomicBool::new(false);
        let url = node.url();
        let before = checked;
        std::thread::scope(|scope| {
            for (writer, next) in next.iter_mut().enumerate() {
                let (url, stop, acknowledged) = (&url, &stop, &acknowledged);
                scope.spawn(move || write(url, writer, stop, acknowledged, base, next));
            }
            // A different moment every time, from a few requests to some seconds of load: every
            // other time after the first look at what is to be sealed, which comes after two.
            let sealing = if round % 2 == 1 { 1900 } else { 0 };
            std::thread::sleep(Duration::from_millis(150 + 137 * round as u64 + sealing));
            node.server.kill();
            stop.store(true, Ordering::Relaxed);
        });
        node = node.crash_and_restart();
        checked = read_back(&node, &acknowledged);
        assert!(checked > before, "round {round}: nothing was acknowledged");
    }
    let blocks = eventually("blocks were sealed", Duration::from_secs(20), || {
        let text = get(&format!("{}/metrics", node.url()))?.text();
        let line = text.lines().find(|line| line.starts_with("cairn_blocks "));
        match line.and_then(|line| line.rsplit(' ').next()?.parse::<u32>().ok()) {
            Some(blocks) if blocks > 0 => Ok(blocks),
            other => Err(format!("{other:?}")),
        }
    });
    assert_eq!(read_back(&node, &acknowledged), checked);
    println!("{checked} acknowledged samples read back after {ROUNDS} kills, {blocks} blocks");
}

#[test]
fn a_clean_stop_takes_seconds_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Cairn::start(folder.path(), &[]);
    let at = now_ms();
    let answer = send(
        &node.url(),
        &body(vec![series(&[("__name__", "kept")], &[(at, 42.5)])]),
    )
    .unwrap();
    assert_eq!(answer.status, 204, "{}", answer.text());
    let (code, took) = node.server.terminate(Duration::from_secs(20));
    assert_eq!(code, Some(0), "{}", node.server.output());
    assert!(took < Duration::from_secs(5), "a clean stop took {took:?}");
    let node = node.crash_and_restart();
    let result = node.query("kept[1h]");
    assert_eq!(result[0]["values"][0][1], "42.5", "{result}");
    assert_eq!(
        get(&format!("{}/-/healthy", node.url())).unwrap().status,
        200
    );
}

/// A sender that never ends its request holds a stop up for as long as requests may take. Would catch a second
/// signal that is not listened to, and one that ends the first stop without a word.
#[test]
fn a_second_signal_ends_a_stop_that_waits() {
    for (first, second) in [("TERM", "INT"), ("INT", "TERM")] {
        let folder = tempfile::tempdir().unwrap();
        let mut node = Cairn::start(folder.path(), &[]);
        let one = body(vec![series(&[("__name__", "kept")], &[(now_ms(), 42.5)])]);
        assert_eq!(send(&node.url(), &one).unwrap().status, 204);
        let mut slow = TcpStream::connect(("127.0.0.1", node.port)).unwrap();
        let head = [
            "POST /api/v1/write HTTP/1.1",
            "Host: cairn",
            "Content-Type: application/x-protobuf",
            "Content-Encoding: snappy",
            "X-Prometheus-Remote-Write-Version: 0.1.0",
            "Content-Length: 100",
            "Expect: 100-continue",
            "\r\n",
        ];
        slow.write_all(head.join("\r\n").as_bytes()).unwrap();
        // This answer comes when somebody waits for the body.
        let mut answer = [0; 12];
        slow.read_exact(&mut answer).unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 100");
        node.server.signal(first);
        node.server.signal(second);
        let code = node.server.wait_for_end(Duration::from_secs(60));
        let output = node.server.output();
        assert_eq!(code, Some(1), "{output}");
        for part in ["requests under way were not answered", "a second time"] {
            assert!(output.contains(part), "{output}");
        }
        let node = node.crash_and_restart();
        let result = node.query("kept[1h]");
        assert_eq!(result[0]["values"][0][1], "42.5", "{result}");
    }
}

/// Files may not grow beyond a size any more, which only the log has reached. Would catch a node that goes on being
/// offered to senders whose writes it can never take.
#[test]
fn a_node_whose_log_has_failed_is_not_ready_and_answers_queries() {
    let folder = tempfile::tempdir().unwrap();
    // The signal that comes with it would end the process; a real disk sends none.
    let node = Cairn::start_ignoring(folder.path(), "XFSZ");
    let base = now_ms() - 60_000;
    let mut sent = 0;
    let mut write = || {
        sent += 1;
        let names: Vec<String> = (0..500).map(|n| format!("kept_{sent}_{n}")).collect();
        let all = names
            .iter()
            .map(|name| series(&[("__name__", name.as_str())], &[(base + sent, 1.0)]));
        send(&node.url(), &body(all.collect())).unwrap()
    };
    for _ in 0..20 {
        assert_eq!(write().status, 204);
    }
    let ready = || get(&format!("{}/-/ready", node.url())).unwrap();
    assert_eq!(ready().status, 200);
    let pid = node.server.pid().to_string();
    let limited = Command::new("prlimit")
        .args(["--pid", &pid, "--fsize=65536"])
        .status();
    assert!(limited.unwrap().success());
    let refusal = eventually("the log fails", Duration::from_secs(60), || {
        let answer = write();
        if answer.status == 204 {
            Err(answer.text())
        } else {
            Ok(answer)
        }
    });
    assert_eq!(refusal.status, 503, "{}", refusal.text());
    let answer = ready();
    assert_eq!(answer.status, 503, "{}", answer.text());
    for part in ["the log failed", "restarted", "queries are still answered"] {
        assert!(answer.text().contains(part), "{}", answer.text());
    }
    let kept = |node: &Cairn| {
        let result = node.query("count(last_over_time({__name__=~\"kept_.+\"}[1h]))");
        let count = result[0]["value"][1]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        count.parse::<u64>().unwrap_or_else(|_| panic!("{result}"))
    };
    assert!(kept(&node) >= 10_000);
    let healthy = get(&format!("{}/-/healthy", node.url())).unwrap();
    assert_eq!(healthy.status, 200);
    let node = node.crash_and_restart();
    assert!(kept(&node) >= 10_000);
}
