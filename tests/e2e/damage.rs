//! The disk is not what it was: full, or with damaged files. What is promised in
//! `docs/reliability.md` for these cases, with the real program.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::remote_write::{body, now_ms, send, series};
use super::servers::{Cairn, Server, eventually, free_port, get, post_form, skip};

const HOUR_MS: i64 = 3_600_000;

/// A value whose bits no encoding can foresee (SplitMix64's mixing).
fn noise(number: i64) -> f64 {
    let mut bits = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    f64::from_bits((bits ^ (bits >> 31)) >> 2 | 1 << 61)
}

/// 400 samples of each of some series of one target, so old that their window has ended.
fn write_old(node: &Cairn, name: &str, numbers: i64, hours: i64) {
    let from = now_ms() - hours * HOUR_MS;
    let request = (0..numbers)
        .map(|number| {
            let samples: Vec<(i64, f64)> = (0..400)
                .map(|at| (from + at * 1000, noise(number * 400 + at)))
                .collect();
            let number = number.to_string();
            let labels = [
                ("__name__", name),
                ("instance", name),
                ("job", "damage"),
                ("number", number.as_str()),
            ];
            series(&labels, &samples)
        })
        .collect();
    let answer = send(&node.url(), &body(request)).unwrap();
    assert_eq!(answer.status, 204, "{}", answer.text());
}

/// How many samples a range such as `up[1h]` has, of all series.
fn count(node: &Cairn, range: &str) -> Result<u64, String> {
    let expression = format!("sum(count_over_time({range}))");
    let answer = node.api("query", &[("query", &expression)]);
    if answer.status != 200 {
        return Err(format!("{} {}", answer.status, answer.text()));
    }
    let value = answer.json()["data"]["result"][0]["value"][1].clone();
    Ok(value.as_str().map_or(0, |text| text.parse().unwrap()))
}

fn metric(url: &str, name: &str) -> Option<f64> {
    let text = get(&format!("{url}/metrics")).ok()?.text();
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// Flips a byte in the middle of every piece of a file's second half but the last 16 KiB, where its
/// index is.
fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let end = bytes.len().saturating_sub(16 << 10);
    for at in (bytes.len() / 2..end).step_by(1 << 10) {
        bytes[at] ^= 0x40;
    }
    fs::write(path, bytes).unwrap();
}

/// Blocks survive `kill -9`; a damaged one fails the queries over its time, which cannot know what
/// it held, and nothing else.
#[test]
fn a_damaged_block_is_named_and_the_rest_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let settings = ["seal.grace=0s", "ingest.self_scrape_interval=0s"];
    let mut node = Cairn::start(folder.path(), &settings);
    write_old(&node, "large_noise", 40, 6);
    write_old(&node, "small_noise", 1, 20);
    eventually("everything is sealed", Duration::from_secs(30), || {
        let unsealed = metric(&node.url(), "cairn_unsealed_samples");
        let blocks = metric(&node.url(), "cairn_blocks");
        match (unsealed, blocks) {
            (Some(0.0), Some(blocks)) if blocks >= 2.0 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    let (large, small) = ("large_noise[8h]", "small_noise[4h] offset 18h");
    node = node.crash_and_restart();
    assert_eq!(count(&node, large), Ok(16_000));
    assert_eq!(count(&node, small), Ok(400));

    node.server.kill();
    let files = fs::read_dir(node.data_dir.join("engine")).unwrap();
    let largest = files
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "sst"))
        .max_by_key(|path| fs::metadata(path).unwrap().len());
    let largest = largest.unwrap();
    assert!(fs::metadata(&largest).unwrap().len() > 64 << 10);
    damage(&largest);
    node = node.crash_and_restart();
    let error = count(&node, large).unwrap_err();
    assert!(
        error.starts_with("500") && error.contains("damaged") && error.contains(".sst"),
        "{error}"
    );
    assert_eq!(count(&node, small), Ok(400));
    let now = body(vec![series(&[("__name__", "later")], &[(now_ms(), 1.0)])]);
    assert_eq!(send(&node.url(), &now).unwrap().status, 204);
    assert_eq!(count(&node, "later[1h]"), Ok(1));
}

/// A log that has lost what was acknowledged keeps the node from starting, and names the place.
#[test]
fn a_damaged_log_is_named_and_nothing_starts() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Cairn::start(folder.path(), &["ingest.self_scrape_interval=0s"]);
    for at in 0..5 {
        let one = series(&[("__name__", "x")], &[(now_ms() + at, 1.0)]);
        assert_eq!(send(&node.url(), &body(vec![one])).unwrap().status, 204);
    }
    node.server.kill();
    let segment = node.data_dir.join("log/0000000001.log");
    let mut bytes = fs::read(&segment).unwrap();
    bytes[4096 + 45] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let output = Cairn::command()
        .args(["serve", "--http-listen", "127.0.0.1:0", "--data-dir"])
        .arg(&node.data_dir)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    for part in ["0000000001.log", "byte 4", "damaged"] {
        assert!(text.contains(part), "{part:?} is missing in {text}");
    }
}

/// A small disk of its own: a tmpfs in a namespace that lives as long as its holder.
struct SmallDisk {
    holder: Server,
    path: PathBuf,
}

impl SmallDisk {
    fn new(folder: &Path, mib: u64) -> Option<Self> {
        let path = folder.join("disk");
        fs::create_dir(&path).unwrap();
        let mount = format!(
            "mount -t tmpfs -o size={mib}m tmpfs '{}' && echo mounted && exec sleep 600",
            path.display()
        );
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", &mount]);
        let holder = Server::start("disk", command, folder);
        for _ in 0..100 {
            if holder.output().contains("mounted") {
                return Some(Self { holder, path });
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        None
    }

    /// The disk as it is seen from outside of its namespace.
    fn outside(&self) -> PathBuf {
        let inside = self.path.strip_prefix("/").unwrap();
        Path::new("/proc")
            .join(self.holder.pid().to_string())
            .join("root")
            .join(inside)
    }

    /// Fills it by so many MiB, or until nothing fits.
    fn fill(&self, mib: usize) {
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.outside().join("fill"))
            .unwrap();
        for _ in 0..mib {
            if file.write_all(&vec![1; 1 << 20]).is_err() {
                return;
            }
        }
    }

    fn serve(&self, folder: &Path, port: u16) -> Server {
        let mut command = Command::new("nsenter");
        Cairn::hide_test_variables(&mut command);
        command
            .args(["--user", "--mount", "--preserve-credentials", "--target"])
            .arg(self.holder.pid().to_string())
            .arg(Cairn::program())
            .args(["serve", "--data-dir"])
            .arg(self.path.join("data"))
            .args(["--http-listen", &format!("127.0.0.1:{port}")])
            .args(["--set", "disk.min_free=64MiB", "--set", "disk.reserve=8MiB"])
            .args(["--set", "log.segment_size=8MiB"])
            .args(["--set", "ingest.self_scrape_interval=0s"]);
        let mut server = Server::start("cairn", command, folder);
        server.wait_until(Duration::from_secs(60), || {
            get(&format!("http://127.0.0.1:{port}/-/ready"))
                .is_ok_and(|answer| answer.status == 200)
        });
        server
    }
}

/// Writes are refused with the reason before the disk is full, reads go on, the node stops and
/// starts on a full disk, and takes writes again by itself.
#[test]
fn a_full_disk_refuses_writes_and_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::new(folder.path(), 160) else {
        let reason = "this system lets nobody make a small disk (unshare, tmpfs)";
        skip("damage::a_full_disk_refuses_writes_and_comes_back", reason);
        return;
    };
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}");
    let mut server = disk.serve(folder.path(), port);
    let mut acknowledged = 0;
    let mut at = now_ms() - 60_000;
    let mut write = || {
        at += 1;
        let one = series(&[("__name__", "kept")], &[(at, 1.0)]);
        send(&url, &body(vec![one])).unwrap()
    };
    let kept = || {
        let form = [("query", "sum(count_over_time(kept[1h]))")];
        let answer = post_form(&format!("{url}/api/v1/query"), &form).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        let value = answer.json()["data"]["result"][0]["value"][1].clone();
        value.as_str().unwrap().parse::<u64>().unwrap()
    };
    for _ in 0..5 {
        assert_eq!(write().status, 204);
        acknowledged += 1;
    }

    disk.fill(90);
    let patience = Duration::from_secs(20);
    let refusal = eventually("writes are refused", patience, || {
        let answer = write();
        if answer.status == 204 {
            acknowledged += 1;
            return Err("taken".to_owned());
        }
        Ok(answer)
    });
    assert_eq!(refusal.status, 503);
    for part in ["nearly full", "disk.min_free", "retention"] {
        assert!(refusal.text().contains(part), "{}", refusal.text());
    }
    assert_eq!(kept(), acknowledged);
    let mut status = Cairn::command();
    let status = status.args(["status", "--url", &url]).output().unwrap();
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(status.contains("refused: the disk of"), "{status}");

    disk.fill(200);
    eventually("the reserve is given up", patience, || {
        let there = disk.outside().join("data/reserve").exists();
        if there {
            Err("it is there".to_owned())
        } else {
            Ok(())
        }
    });
    let (code, took) = server.terminate(Duration::from_secs(20));
    assert_eq!(code, Some(0), "{}", server.output());
    assert!(took < Duration::from_secs(5), "{took:?}");
    drop(server);
    let server = disk.serve(folder.path(), port);
    assert_eq!(kept(), acknowledged);
    assert_eq!(write().status, 503);

    File::create(disk.outside().join("fill")).unwrap();
    eventually("writes are taken again", patience, || match write() {
        answer if answer.status == 204 => Ok(()),
        answer => Err(answer.text()),
    });
    assert_eq!(kept(), acknowledged + 1);
    assert!(!server.output().contains("panicked"), "{}", server.output());
}
