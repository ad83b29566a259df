//! A node that only looks at another cluster's bucket: it answers as the cluster did, follows it while
//! it lives, and leaves every byte where it was.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::remote_write::{body, now_ms, send, series};
use super::servers::{Cairn, Garage, Server, eventually, free_port, get, post_form, skip};

const HOUR_MS: i64 = 3_600_000;

fn write(node: &Cairn, from: i64, to: i64) {
    let times: Vec<i64> = (from..to).step_by(60_000).collect();
    let mut request = Vec::new();
    for number in 0..20 {
        let samples: Vec<(i64, f64)> = times
            .iter()
            .map(|at| (*at, (*at ^ number) as f64 / 7.0))
            .collect();
        let labels = [
            ("__name__", "looked_at"),
            ("instance", &format!("host-{}", number % 3)),
            ("job", "story"),
            ("number", &number.to_string()),
        ];
        request.push(series(&labels, &samples));
    }
    let answer = send(&node.url(), &body(request)).unwrap();
    assert_eq!(answer.status, 204, "{}", answer.text());
}

/// Every sample, as the API writes it.
fn read(node: &Cairn) -> BTreeMap<String, String> {
    let found = node.query("looked_at[3d]");
    let each = found.as_array().unwrap().iter();
    each.map(|one| (one["metric"].to_string(), one["values"].to_string()))
        .collect()
}

fn flush(node: &Cairn) {
    let (done, text) = Cairn::run(&["flush", "--url", &node.url()]);
    assert!(done, "{text}\n{}", node.server.output());
}

/// Every file below, its bytes, and when it was written.
fn content(below: &Path) -> BTreeMap<PathBuf, (SystemTime, Vec<u8>)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        if path.is_dir() {
            found.extend(content(&path));
            found.insert(path, (modified, Vec::new()));
        } else {
            let bytes = fs::read(&path).unwrap();
            found.insert(path, (modified, bytes));
        }
    }
    found
}

const LOOK: [&str; 2] = ["serve", "--read-only"];

fn settings(bucket: &Path) -> Vec<String> {
    vec![
        "archive.kind=local".to_owned(),
        format!("archive.local.path={}", bucket.display()),
    ]
}

/// It ends by itself, and says why.
fn refuses(name: &str, folder: &Path, data_dir: &Path, bucket: &Path) -> String {
    let mut command = Cairn::command();
    command.args(LOOK).arg("--data-dir").arg(data_dir);
    command.arg("--http-listen");
    command.arg(format!("127.0.0.1:{}", free_port()));
    for setting in settings(bucket) {
        command.arg("--set").arg(setting);
    }
    let server = Server::start(name, command, folder);
    eventually("the node ends", Duration::from_secs(60), || {
        let output = server.output();
        let last = output.lines().find(|line| line.starts_with("error: "));
        last.map(str::to_owned).ok_or(output.clone())
    })
}

/// Whatever would change something is refused with the reason.
fn takes_nothing(node: &Cairn) {
    let sample = body(vec![series(&[("__name__", "x")], &[(now_ms(), 1.0)])]);
    let answer = send(&node.url(), &sample).unwrap();
    assert_eq!(answer.status, 405, "{}", answer.text());
    assert!(answer.text().contains("read-only"), "{}", answer.text());
    for path in [
        "tsdb/delete_series?match[]=looked_at",
        "tsdb/clean_tombstones",
        "tsdb/snapshot",
        "flush",
        "verify",
        "cluster/drain?node=x",
        "cluster/recover?accept_loss=true",
    ] {
        let answer = post_form(&format!("{}/api/v1/admin/{path}", node.url()), &[]).unwrap();
        assert_eq!(answer.status, 405, "{path}: {}", answer.text());
        assert!(answer.text().contains("read-only"), "{}", answer.text());
    }
    let (done, text) = Cairn::run(&["flush", "--url", &node.url()]);
    assert!(!done && text.contains("read-only"), "{text}");
}

/// Would catch a byte of the bucket that a look at it changes, an answer that is not the cluster's, and
/// a node that does not see what the cluster has uploaded since.
#[test]
fn a_bucket_is_shown_and_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let (bucket, data_dir) = (folder.path().join("bucket"), folder.path().join("first"));
    fs::create_dir(&bucket).unwrap();
    let own = folder.path().join("look");
    let error = refuses("nothing", folder.path(), &own, &bucket);
    assert!(error.contains("holds no cluster"), "{error}");
    let node = Cairn::start_on(folder.path(), &data_dir, free_port(), settings(&bucket));
    let now = now_ms();
    write(&node, now - 20 * HOUR_MS, now - 6 * HOUR_MS);
    flush(&node);
    let written = read(&node);
    let Cairn { mut server, .. } = node;
    server.kill();
    let error = refuses("its-own", folder.path(), &data_dir, &bucket);
    assert!(error.contains("one of its own"), "{error}");

    let before = content(&bucket);
    let shown = Cairn::start_as(&LOOK, folder.path(), &own, free_port(), settings(&bucket));
    assert_eq!(read(&shown), written);
    takes_nothing(&shown);
    let (_, status) = Cairn::run(&["status", "--url", &shown.url()]);
    for part in ["read-only", "catalog read", "bucket"] {
        assert!(status.contains(part), "{status}");
    }
    let runtime = get(&format!("{}/api/v1/status/runtimeinfo", shown.url())).unwrap();
    let runtime = &runtime.json()["data"]["readOnly"];
    assert!(runtime["blocks"].as_u64() > Some(0), "{runtime}");
    assert!(runtime["catalogAgeSeconds"].is_u64(), "{runtime}");
    let metrics = get(&format!("{}/metrics", shown.url())).unwrap().text();
    assert!(metrics.contains("cairn_catalog_read_timestamp_seconds 1"));
    assert!(content(&bucket) == before, "the bucket is as it was");

    // The cluster lives, and what it uploads is seen.
    let node = Cairn::start_on(folder.path(), &data_dir, free_port(), settings(&bucket));
    write(&node, now - 6 * HOUR_MS, now - 60_000);
    flush(&node);
    let written = read(&node);
    let reload = post_form(&format!("{}/-/reload", shown.url()), &[]).unwrap();
    assert_eq!(reload.status, 200, "{}", reload.text());
    eventually("it is shown", Duration::from_secs(60), || {
        match read(&shown) == written {
            true => Ok(()),
            false => Err(shown.server.output()),
        }
    });
    let Cairn { mut server, .. } = node;
    server.kill();
    let before = content(&bucket);
    a_second_signal_ends_it(shown);
    assert!(content(&bucket) == before, "the bucket is as it was");
}

/// A request that is never ended holds the first stop up.
fn a_second_signal_ends_it(mut shown: Cairn) {
    let mut slow = TcpStream::connect(("127.0.0.1", shown.port)).unwrap();
    let head = [
        "POST /api/v1/query HTTP/1.1",
        "Host: cairn",
        "Content-Type: application/x-www-form-urlencoded",
        "Content-Length: 100",
        "Expect: 100-continue",
        "\r\n",
    ];
    slow.write_all(head.join("\r\n").as_bytes()).unwrap();
    let mut answer = [0; 12];
    slow.read_exact(&mut answer).unwrap();
    assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 100");
    shown.server.signal("TERM");
    eventually("it is stopping", Duration::from_secs(20), || {
        let output = shown.server.output();
        let stops = output.contains("cairn is stopping");
        stops.then_some(()).ok_or(output)
    });
    shown.server.signal("TERM");
    let code = shown.server.wait_for_end(Duration::from_secs(60));
    let output = shown.server.output();
    assert_eq!(code, Some(1), "{output}");
    for part in ["requests under way were not answered", "a second time"] {
        assert!(output.contains(part), "{output}");
    }
}

/// With a key that may only read: a node that writes anything there is refused by Garage, and says so. Would catch
/// that, a deleted series that is shown, and a node that does not come back when the bucket does.
#[test]
fn garages_bucket_is_shown_by_a_key_that_may_only_read() {
    let folder = tempfile::tempdir().unwrap();
    let mut garage = match Garage::start(folder.path()) {
        Ok(garage) => garage,
        Err(reason) => return skip("read_only::garages_bucket", reason),
    };
    let mut settings = garage.settings("127.0.0.1");
    settings.push("http.enable_admin_api=true".to_owned());
    let data_dir = folder.path().join("first");
    let node = Cairn::start_on(folder.path(), &data_dir, free_port(), settings);
    let now = now_ms();
    write(&node, now - 20 * HOUR_MS, now - 6 * HOUR_MS);
    flush(&node);
    let own = folder.path().join("look");
    let mut reader = garage.settings_to_read("127.0.0.1");
    reader.push("query.cache_results=false".to_owned());
    let shown = Cairn::start_as(&LOOK, folder.path(), &own, free_port(), reader.clone());
    assert_eq!(read(&shown), read(&node));
    let form = [("match[]", "looked_at{number=\"7\"}")];
    let delete = format!("{}/api/v1/admin/tsdb/delete_series", node.url());
    let answer = post_form(&delete, &form).unwrap();
    assert_eq!(answer.status, 204, "{}", answer.text());
    flush(&node);
    let left = read(&node);
    assert_eq!(left.len(), 19);
    let reload = |shown: &Cairn| {
        let reload = post_form(&format!("{}/-/reload", shown.url()), &[]).unwrap();
        assert_eq!(reload.status, 200, "{}", reload.text());
    };
    reload(&shown);
    eventually("it is hidden", Duration::from_secs(60), || {
        match read(&shown) == left {
            true => Ok(()),
            false => Err(shown.server.output()),
        }
    });
    // The bucket goes away and comes back, and nothing that was read is kept.
    let Cairn { mut server, .. } = shown;
    let (code, _) = server.terminate(Duration::from_secs(60));
    assert_eq!(code, Some(0), "{}", server.output());
    fs::remove_dir_all(own.join("cache")).unwrap();
    let shown = Cairn::start_as(&LOOK, folder.path(), &own, free_port(), reader);
    garage.kill();
    let answer = shown.api("query", &[("query", "looked_at[3d]")]);
    assert!(
        answer.status >= 500 && answer.text().contains("only in the bucket"),
        "{}",
        answer.text()
    );
    reload(&shown);
    eventually("it says so", Duration::from_secs(120), || {
        let (_, status) = Cairn::run(&["status", "--url", &shown.url()]);
        let says = status.contains("cannot be read again");
        says.then_some(()).ok_or(status)
    });
    garage.restart();
    eventually("it answers again", Duration::from_secs(120), || {
        let answer = shown.api("query", &[("query", "looked_at[3d]")]);
        match answer.status {
            200 => Ok(()),
            _ => Err(answer.text()),
        }
    });
    assert_eq!(read(&shown), left);
    let output = shown.server.output();
    assert!(!output.contains("refuses this node"), "{output}");
    a_second_signal_ends_it(shown);
}
