//! The bucket: sealed history lives in a real Garage, and a node whose disk is lost comes back from
//! it with every sample, bit for bit.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use super::cluster::{Lab, libfaketime};
use super::remote_write::{body, now_ms, send, series};
use super::servers::{Answer, Cairn, Garage, Server, eventually, free_port, get, post_form, skip};

const SERIES: usize = 30;
const STEP_MS: i64 = 60_000;
const DAY_MS: i64 = 86_400_000;

/// What was acknowledged: series to timestamp to bits.
type Written = BTreeMap<usize, BTreeMap<i64, u64>>;

/// Sends some hours of samples with their own times, newest last.
fn write(url: &str, from: i64, to: i64, written: &mut Written) {
    let times: Vec<i64> = (from..to).step_by(STEP_MS as usize).collect();
    for part in times.chunks(100) {
        let mut request = Vec::new();
        for number in 0..SERIES {
            let value = |at: i64| {
                let mixed =
                    (at as u64 ^ ((number as u64) << 40)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                f64::from_bits(mixed >> 2)
            };
            let samples: Vec<(i64, f64)> = part.iter().map(|at| (*at, value(*at))).collect();
            let labels = [
                ("__name__", "bucket_story"),
                ("instance", &format!("host-{}", number % 5)),
                ("job", "story"),
                ("number", &number.to_string()),
            ];
            request.push(series(&labels, &samples));
            let of_series = written.entry(number).or_default();
            of_series.extend(samples.iter().map(|(at, value)| (*at, value.to_bits())));
        }
        let answer = send(url, &body(request)).unwrap();
        assert_eq!(answer.status, 204, "{}", answer.text());
    }
}

/// What a node answers for everything of the last days.
fn read(node: &Cairn) -> Written {
    of_answer(&node.query("bucket_story[3d]"))
}

fn of_answer(answer: &serde_json::Value) -> Written {
    let mut found = Written::new();
    for series in answer.as_array().unwrap() {
        let number = series["metric"]["number"].as_str().unwrap();
        let samples = found.entry(number.parse().unwrap()).or_default();
        for pair in series["values"].as_array().unwrap() {
            let at = (pair[0].as_f64().unwrap() * 1000.0).round() as i64;
            let value: f64 = pair[1].as_str().unwrap().parse().unwrap();
            samples.insert(at, value.to_bits());
        }
    }
    found
}

/// What of two is not in both, in a line.
fn difference(found: &Written, written: &Written) -> String {
    let only = |of: &Written, other: &Written| {
        let each = of.iter().filter_map(|(number, samples)| {
            let other = other.get(number).cloned().unwrap_or_default();
            let mut only = samples
                .iter()
                .filter(|(at, value)| other.get(at) != Some(value));
            let first = only.next()?.0;
            Some(format!("{number}: {} from {first} on", 1 + only.count()))
        });
        each.collect::<Vec<_>>().join(", ")
    };
    let (lost, new) = (only(written, found), only(found, written));
    format!("lost of series [{lost}], never written [{new}]")
}

fn count(written: &Written) -> usize {
    written.values().map(BTreeMap::len).sum()
}

/// `cairn COMMAND` to its end: whether it succeeded, and what it printed.
fn cairn(arguments: &[&str], settings: &[String]) -> (bool, String) {
    let mut command = Cairn::command();
    command.args(arguments);
    for setting in settings {
        command.arg("--set").arg(setting);
    }
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

/// `cairn serve` on a directory must end by itself, and say why.
fn refuses(folder: &Path, settings: &[String]) -> String {
    let mut command = Cairn::command();
    command.arg("serve").arg("--data-dir");
    command.arg(folder.join("refused"));
    command.arg("--http-listen");
    command.arg(format!("127.0.0.1:{}", free_port()));
    for setting in settings {
        command.arg("--set").arg(setting);
    }
    let server = Server::start("refused", command, folder);
    eventually("the node ends", Duration::from_secs(60), || {
        let output = server.output();
        let last = output.lines().find(|line| line.starts_with("error: "));
        last.map(str::to_owned).ok_or(output.clone())
    })
}

fn start(folder: &Path, data_dir: &Path, settings: &[String]) -> Cairn {
    Cairn::start_on(folder, data_dir, free_port(), settings.to_vec())
}

fn flush(node: &Cairn) -> String {
    let (done, text) = cairn(&["flush", "--url", &node.url()], &[]);
    assert!(done, "{text}\n{}", node.server.output());
    text
}

/// The disk is lost, and the bucket alone gives everything back. Would catch a sample that is not
/// in the bucket although `cairn flush` says so, and a restore that gives other bits.
#[test]
fn a_wiped_node_comes_back_from_garage_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut garage = match Garage::start(folder.path()) {
        Ok(garage) => garage,
        Err(reason) => return skip("bucket::a_wiped_node", reason),
    };
    let settings = garage.settings("127.0.0.1");
    let data_dir = folder.path().join("first");
    let mut node = start(folder.path(), &data_dir, &settings);
    let (now, mut written) = (now_ms(), Written::new());
    write(&node.url(), now - DAY_MS, now - DAY_MS / 2, &mut written);
    assert!(flush(&node).contains("the bucket blocks"));
    // The bucket goes away: samples are taken and sealed, and what waits is counted and said.
    garage.kill();
    write(&node.url(), now - DAY_MS / 2, now - 60_000, &mut written);
    let answer = node.api("admin/flush", &[]);
    assert_eq!(answer.status, 200, "{}", answer.text());
    eventually("blocks wait", Duration::from_secs(60), || {
        let status = |name: &str| get(&format!("{}/api/v1/status/{name}", node.url()));
        let (text, cluster) = (status("flush")?.text(), status("cluster")?.text());
        let waits = text.contains("\"done\":2") && !text.contains("\"waitingBlocks\":0");
        match waits && cluster.contains("sealed blocks wait for the bucket") {
            true => Ok(()),
            false => Err(format!("{text}\n{cluster}")),
        }
    });
    assert_eq!(count(&read(&node)), count(&written));
    garage.restart();
    flush(&node);
    let (_, status) = cairn(&["status", "--url", &node.url()], &[]);
    assert!(status.contains("has all blocks"), "{status}");
    node.server.kill();
    fs::remove_dir_all(&data_dir).unwrap();
    // Nobody founds another cluster over it.
    let error = refuses(folder.path(), &settings);
    assert!(error.contains("cairn restore"), "{error}");
    let third = folder.path().join("third");
    let shown = third.display().to_string();
    let (done, text) = cairn(&["restore", "--json", "--data-dir", &shown], &settings);
    assert!(done, "{text}");
    let restored: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
    assert_eq!(restored["complaints"].as_array().map(Vec::len), Some(0));
    let node = start(folder.path(), &third, &settings);
    assert_eq!(read(&node), written, "every sample, bit for bit");
    println!(
        "{} samples back from the bucket: {restored}",
        count(&written)
    );
    // What comes now goes up too, below the new cluster's name.
    write(&node.url(), now - 60_000, now, &mut written);
    flush(&node);
    assert_eq!(read(&node), written);
}

/// A number of a node's metrics.
fn metric(node: &Cairn, name: &str) -> f64 {
    let text = get(&format!("{}/metrics", node.url())).map(|answer| answer.text());
    let text = text.unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(name));
    let value = line.and_then(|line| line.rsplit(' ').next()?.parse().ok());
    value.unwrap_or(-1.0)
}

/// Asks for everything, of what is here alone where that is allowed.
fn all(node: &Cairn, partial: &str) -> Answer {
    let form = [("query", "bucket_story[3d]"), ("partial_response", partial)];
    node.api("query", &form)
}

/// What a node says that needs its bucket and does not reach it.
fn without_its_bucket(node: &Cairn, written: &Written) {
    let answer = all(node, "false");
    assert!(answer.status >= 500, "{}", answer.text());
    assert!(
        answer.text().contains("only in the bucket"),
        "{}",
        answer.text()
    );
    let answer = all(node, "true");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let warnings = answer.json()["warnings"].to_string();
    assert!(warnings.contains("only in the bucket"), "{warnings}");
    let some = of_answer(&answer.json()["data"]["result"]);
    assert!(count(&some) > 0 && count(&some) < count(written));
    let recent = node.query("count_over_time(bucket_story[1h])");
    assert_eq!(
        recent.as_array().map(Vec::len),
        Some(SERIES),
        "what is here"
    );
}

/// Blocks past local retention leave the disk, and queries answer from Garage as before; without
/// Garage they say what they need, and with it they answer again. Would catch history that is lost
/// with its local copy, or an answer that lacks it and does not say so.
#[test]
fn what_has_left_the_disk_is_read_from_garage() {
    let folder = tempfile::tempdir().unwrap();
    let mut garage = match Garage::start(folder.path()) {
        Ok(garage) => garage,
        Err(reason) => return skip("bucket::what_has_left", reason),
    };
    let mut settings = garage.settings("127.0.0.1");
    settings.push("retention.local=6h".to_owned());
    let data_dir = folder.path().join("node");
    let node = start(folder.path(), &data_dir, &settings);
    let (now, mut written) = (now_ms(), Written::new());
    write(&node.url(), now - DAY_MS, now - 60_000, &mut written);
    flush(&node);
    let timed = |node: &Cairn| {
        let begun = std::time::Instant::now();
        assert_eq!(read(node), written, "every sample, bit for bit");
        begun.elapsed()
    };
    let here = timed(&node);
    eventually("blocks leave the disk", Duration::from_secs(120), || {
        let (gone, blocks) = (
            metric(&node, "cairn_remote_blocks "),
            metric(&node, "cairn_blocks "),
        );
        match gone > 0.0 && gone < blocks {
            true => Ok(()),
            false => Err(format!("{gone} of {blocks}\n{}", node.server.output())),
        }
    });
    println!("{here:?} at first, {:?} from Garage", timed(&node));
    println!("{:?} from the cache", timed(&node));
    // Nothing is kept of it when the node starts again without the bucket.
    let Cairn { mut server, .. } = node;
    server.kill();
    fs::remove_dir_all(data_dir.join("cache")).unwrap();
    garage.kill();
    let node = start(folder.path(), &data_dir, &settings);
    without_its_bucket(&node, &written);
    garage.restart();
    eventually("the bucket is read again", Duration::from_secs(120), || {
        let answer = all(&node, "false");
        match answer.status {
            200 => Ok(()),
            _ => Err(answer.text()),
        }
    });
    assert_eq!(read(&node), written);
    let answer = node.api("query", &[("query", "bucket_story[3d]"), ("stats", "all")]);
    let stats = answer.json()["data"]["stats"]["bucket"].to_string();
    assert_eq!(stats, "{\"bytesRead\":0}", "it is in the cache by now");
    assert!(metric(&node, "cairn_remote_fetched_bytes_total ") > 0.0);
    assert!(metric(&node, "cairn_remote_cache_hits_total ") > 0.0);
}

/// What is wrong with the bucket is said at the first start, with what to do about it.
#[test]
fn wrong_credentials_and_a_missing_bucket_are_said_at_start() {
    let folder = tempfile::tempdir().unwrap();
    let garage = match Garage::start(folder.path()) {
        Ok(garage) => garage,
        Err(reason) => return skip("bucket::wrong_credentials", reason),
    };
    let with = |more: &str| {
        let mut settings = garage.settings("127.0.0.1");
        settings.push(more.to_owned());
        refuses(
            &tempfile::tempdir_in(folder.path()).unwrap().keep(),
            &settings,
        )
    };
    let wrong = folder.path().join("wrong");
    fs::write(&wrong, "ab".repeat(32)).unwrap();
    let error = with(&format!("archive.s3.secret_key_file={}", wrong.display()));
    assert!(error.contains("refuses this node"), "{error}");
    assert!(error.contains("archive.s3.access_key_file"), "{error}");
    let error = with("archive.s3.bucket=nowhere");
    assert!(error.contains("does not exist: create it"), "{error}");
    let error = with("archive.s3.secret_key_file=/nowhere");
    assert!(error.contains("/nowhere cannot be read"), "{error}");
    let error = with(&format!(
        "archive.s3.endpoint=http://127.0.0.1:{}",
        free_port()
    ));
    assert!(error.contains("before the bucket was looked at"), "{error}");
    let Some(library) = libfaketime() else {
        return skip(
            "bucket::clock",
            "libfaketime is not installed (package faketime)",
        );
    };
    let an_hour_behind = [
        ("LD_PRELOAD", library.as_str()),
        ("FAKETIME", "-1h"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    // Garage does not mind an hour; others do.
    let mut command = Cairn::command();
    let port = free_port();
    command.args(["serve", "--http-listen", &format!("127.0.0.1:{port}")]);
    command.arg("--data-dir").arg(folder.path().join("behind"));
    for setting in garage.settings("127.0.0.1") {
        command.arg("--set").arg(setting);
    }
    command.envs(an_hour_behind);
    let _behind = Server::start("behind", command, folder.path());
    eventually("the wrong clock is said", Duration::from_secs(60), || {
        let cluster = get(&format!("http://127.0.0.1:{port}/api/v1/status/cluster"))?.text();
        let said = cluster.contains("differ by -3") && cluster.contains("(bound 900 s)");
        said.then_some(()).ok_or(cluster)
    });
}

/// Any board proves the copies of all, and names the one that is another. Would catch a board that
/// is not asked, and damage that is found and not healed.
fn a_flipped_byte_is_named_and_mended(lab: &Lab) {
    let url = lab.boards[2].url();
    let verify = |more: &[&str]| {
        let verify = ["verify", "--cluster", "--rate", "1GiB", "--url", &url];
        cairn(&[&verify[..], more].concat(), &[])
    };
    let (whole, text) = verify(&[]);
    assert!(whole, "{text}");
    for board in &lab.boards {
        assert!(text.contains(&format!("{}: ", board.name)), "{text}");
    }
    assert!(text.contains("in the bucket"), "{text}");
    let board = &lab.boards[1];
    let answer = get(&format!("{}/api/v1/status/tsdb/blocks", board.url())).unwrap();
    let block = answer.json()["data"]["blocks"][3].clone();
    let digest = block["digest"].as_str().unwrap();
    let files = fs::read_dir(board.data_dir().join("engine")).unwrap();
    let mut files = files.map(|entry| entry.unwrap().path());
    let file = files.find(|path| {
        let bytes = fs::read(path).unwrap_or_default();
        blake3::hash(&bytes).to_string() == digest
    });
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(file.unwrap());
    let (file, mut byte) = (file.unwrap(), [0]);
    file.read_exact_at(&mut byte, 100).unwrap();
    file.write_all_at(&[byte[0] ^ 1], 100).unwrap();
    let (whole, text) = verify(&[]);
    let named = format!(
        "{}: block {} of partition {}, ",
        board.name,
        block["ulid"].as_str().unwrap(),
        block["arc"].as_str().unwrap()
    );
    assert!(!whole && text.contains(&named), "{named}\n{text}");
    assert!(text.contains("on its disk: its digest is"), "{text}");
    eventually("it is replaced", Duration::from_secs(120), || {
        let (whole, text) = verify(&["--json"]);
        whole.then_some(()).ok_or(text)
    });
}

/// Deletes one series of all: what is deleted when everything is lost stays so on every board.
fn delete_one(board: &str, written: &mut Written) {
    let gone = "bucket_story{number=\"7\"}";
    let delete = format!("{board}/api/v1/admin/tsdb/delete_series");
    let answer = post_form(&delete, &[("match[]", gone)]).unwrap();
    assert_eq!(answer.status, 204, "{}", answer.text());
    let (done, text) = cairn(&["flush", "--url", board], &[]);
    assert!(done, "{text}");
    written.remove(&7);
}

/// Nobody founds a cluster over the bucket: a board without anything waits for one to join.
fn empty_boards_wait(lab: &mut Lab) {
    lab.start(1);
    lab.start(2);
    eventually("empty boards wait", Duration::from_secs(60), || {
        let text = lab.boards[1].output() + &lab.boards[2].output();
        let ready = get(&format!("{}/-/ready", lab.boards[1].url()))?;
        match ready.status == 503 && ready.text().contains("cairn restore") {
            true => Ok(()),
            false => Err(format!("{}\n{text}", ready.text())),
        }
    });
}

/// Every board answers what was written, and nothing else.
fn every_board_answers(lab: &Lab, now: i64, written: &Written) {
    for board in &lab.boards {
        let answer = board.query("bucket_story[3d]", now).unwrap();
        let found = of_answer(&answer);
        assert!(
            found == *written,
            "{}: {}",
            board.name,
            difference(&found, written)
        );
    }
}

/// All boards lose their disks, and one of three Garages its life while they upload. One board is
/// restored, the others come with empty disks: every board answers for everything again, and every
/// partition has its three replicas.
#[test]
fn three_boards_come_back_from_two_of_three_garages() {
    const STORY: &str = "bucket::three_boards";
    let folder = tempfile::tempdir().unwrap();
    let [garage, mut dies, _other] = match Garage::three(folder.path()) {
        Ok(garages) => garages,
        Err(reason) => return skip(STORY, reason),
    };
    let mut lab = match Lab::new(folder.path(), 3, &["http.enable_admin_api=true"]) {
        Ok(lab) => lab,
        Err(reason) => return skip(STORY, &reason),
    };
    // It keeps what it knows: when the boards have lost everything, it still says that they founded a cluster.
    let _consul = match lab.with_consul() {
        Ok(consul) => consul,
        Err(reason) => return skip(STORY, reason),
    };
    for setting in garage.settings(&lab.gateway) {
        lab.set(setting);
    }
    lab.start_all();
    let (now, mut written) = (now_ms(), Written::new());
    let board = lab.boards[1].url();
    write(&board, now - DAY_MS, now - DAY_MS / 2, &mut written);
    let (done, text) = cairn(&["flush", "--url", &board], &[]);
    assert!(done, "{text}");
    dies.kill();
    write(&board, now - DAY_MS / 2, now - 60_000, &mut written);
    for board in &lab.boards {
        let (done, text) = cairn(&["flush", "--url", &board.url()], &[]);
        assert!(done, "{text}\n{}", board.output());
    }
    delete_one(&board, &mut written);
    let blocks = lab.boards[0].blocks().unwrap().len();
    lab.boards.iter_mut().for_each(|board| board.kill());
    lab.boards.iter().for_each(|board| board.wipe());
    empty_boards_wait(&mut lab);
    let data_dir = lab.boards[0].data_dir().display().to_string();
    let restore = ["restore", "--json", "--data-dir", &data_dir];
    let (done, text) = cairn(&restore, &garage.settings("127.0.0.1"));
    assert!(done, "{text}");
    let restored: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
    assert_eq!(
        restored["blocks"].as_u64(),
        Some(blocks as u64),
        "{restored}"
    );
    lab.start(0);
    lab.wait_ready(Duration::from_secs(120));
    eventually("three replicas each", Duration::from_secs(300), || {
        let cluster = lab.boards[0].cluster()?;
        let whole = cluster["underReplicated"] == 0 && cluster["moves"] == serde_json::json!([]);
        match whole && lab.boards[2].blocks()?.len() == blocks {
            true => Ok(()),
            false => Err(cluster.to_string()),
        }
    });
    every_board_answers(&lab, now, &written);
    a_flipped_byte_is_named_and_mended(&lab);
    println!(
        "{} samples back on three boards: {restored}",
        count(&written)
    );
}
