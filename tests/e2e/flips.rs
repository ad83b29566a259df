//! One bit of one file is flipped, of a node's disk, of its bucket, of the cache of a node that looks at that: an
//! answer is right or names what is wrong, never a wrong value; and what was damaged is healed afterwards, by
//! the node itself, or from the bucket as `docs/operate.md` says.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::remote_write::{body, now_ms, send, series};
use super::servers::{Answer, Cairn, Server, eventually, free_port, get, long, post_form};

const HOUR_MS: i64 = 3_600_000;
const MINUTE_MS: i64 = 60_000;
const SERIES: i64 = 12;

/// Files that one run flips a bit of; `CAIRN_LONG=1`: all, several times.
const PICKS: usize = 8;
const ROUNDS_LONG: u64 = 8;

/// Series to what the API says of its samples.
type Read = BTreeMap<String, String>;

/// `SplitMix64`, for dice that fall the same way every time.
fn dice(seed: u64) -> u64 {
    let mut bits = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

fn write(url: &str, name: &str, from: i64, to: i64) {
    let times: Vec<i64> = (from..to).step_by(MINUTE_MS as usize).collect();
    let mut request = Vec::new();
    for number in 0..SERIES {
        let value = |at: i64| f64::from_bits(dice((at ^ (number << 42)) as u64) >> 2);
        let samples: Vec<(i64, f64)> = times.iter().map(|at| (*at, value(*at))).collect();
        let labels = [
            ("__name__", name),
            ("instance", &format!("host-{}", number % 4)),
            ("job", "flips"),
            ("number", &number.to_string()),
        ];
        request.push(series(&labels, &samples));
    }
    let answer = send(url, &body(request)).unwrap();
    assert_eq!(answer.status, 204, "{}", answer.text());
}

fn ask(url: &str, name: &str) -> Answer {
    let query = format!("{name}[2d]");
    post_form(&format!("{url}/api/v1/query"), &[("query", &query)]).unwrap()
}

fn of_answer(answer: &Answer) -> Read {
    let found = answer.json()["data"]["result"].clone();
    let each = found.as_array().unwrap().iter();
    each.map(|one| (one["metric"].to_string(), one["values"].to_string()))
        .collect()
}

fn read(url: &str, name: &str) -> Read {
    let answer = ask(url, name);
    assert_eq!(answer.status, 200, "{}", answer.text());
    of_answer(&answer)
}

/// An answer is what was written, or says what is wrong.
fn check(url: &str, name: &str, written: &Read, flipped: &str) -> Result<(), String> {
    let answer = ask(url, name);
    if answer.status == 200 {
        assert!(
            of_answer(&answer) == *written,
            "{name}: wrong after {flipped}"
        );
        return Ok(());
    }
    let text = answer.text();
    let named = ["damaged", "corrupt", "checksum", "block "];
    assert!(
        answer.status >= 500 && named.iter().any(|word| text.contains(word)),
        "{flipped}: {} {text}",
        answer.status
    );
    Err(text)
}

fn files(below: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if fs::metadata(&path).is_ok_and(|file| file.len() > 0) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => copy(&path, &to),
            false => drop(fs::copy(&path, &to).unwrap()),
        }
    }
}

/// A bit of a file, within what is written of it.
fn flip(path: &Path, seed: u64) -> String {
    let mut bytes = fs::read(path).unwrap();
    // Segments of the log are as long as they may become.
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 1;
    let at = usize::try_from(dice(seed) % used as u64).unwrap();
    let bit = dice(seed + 1) % 8;
    bytes[at] ^= 1 << bit;
    fs::write(path, bytes).unwrap();
    format!("bit {bit} of byte {at} of {}", path.display())
}

/// Starts a node; `Err`: it does not start, and says why.
fn start(
    folder: &Path,
    words: &[&str],
    data: &Path,
    bucket: &Path,
) -> Result<(Server, String), String> {
    let port = free_port();
    let mut command = Cairn::command();
    command.args(words).arg("--data-dir").arg(data);
    command.args(["--http-listen", &format!("127.0.0.1:{port}")]);
    for setting in settings(bucket) {
        command.arg("--set").arg(setting);
    }
    let log = tempfile::tempdir_in(folder).unwrap().keep();
    let server = Server::start("node", command, &log);
    let url = format!("http://127.0.0.1:{port}");
    let started = eventually("it starts or says why not", Duration::from_secs(60), || {
        if get(&format!("{url}/-/ready")).is_ok_and(|answer| answer.status == 200) {
            return Ok(None);
        }
        let output = server.output();
        let error = output.lines().find(|line| line.starts_with("error: "));
        error
            .map(|line| Some(line.to_owned()))
            .ok_or(output.clone())
    });
    match started {
        None => Ok((server, url)),
        Some(error) => Err(error),
    }
}

fn settings(bucket: &Path) -> Vec<String> {
    vec![
        "archive.kind=local".to_owned(),
        format!("archive.local.path={}", bucket.display()),
        "ingest.self_scrape_interval=0s".to_owned(),
        "query.cache_results=false".to_owned(),
    ]
}

/// A node's disk and its bucket as they were when it was stopped, and what was written.
struct Whole {
    folder: tempfile::TempDir,
    sealed: Read,
    recent: Read,
}

impl Whole {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (bucket, data) = (folder.path().join("bucket"), folder.path().join("data"));
        fs::create_dir(&bucket).unwrap();
        let node = Cairn::start_on(folder.path(), &data, free_port(), settings(&bucket));
        let now = now_ms();
        write(
            &node.url(),
            "sealed",
            now - 30 * HOUR_MS,
            now - 14 * HOUR_MS,
        );
        let (done, text) = Cairn::run(&["flush", "--url", &node.url()]);
        assert!(done, "{text}");
        write(&node.url(), "sealed", now - 14 * HOUR_MS, now - 5 * HOUR_MS);
        let (done, text) = Cairn::run(&["flush", "--url", &node.url()]);
        assert!(done, "{text}");
        write(&node.url(), "recent", now - 20 * MINUTE_MS, now);
        let whole = Self {
            sealed: read(&node.url(), "sealed"),
            recent: read(&node.url(), "recent"),
            folder,
        };
        let Cairn { mut server, .. } = node;
        server.kill();
        whole
    }

    /// A copy to be damaged: data directory, bucket.
    fn copy(&self, name: &str) -> (PathBuf, PathBuf) {
        let to = self.folder.path().join(name);
        let (data, bucket) = (to.join("data"), to.join("bucket"));
        copy(&self.folder.path().join("data"), &data);
        copy(&self.folder.path().join("bucket"), &bucket);
        (data, bucket)
    }

    /// Removes the copies: all of a long run would fill a disk.
    fn forget_copies(&self) {
        for entry in fs::read_dir(self.folder.path()).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if name.starts_with("disk-") || name.starts_with("bucket-") {
                fs::remove_dir_all(path).unwrap();
            }
        }
    }
}

/// Everything here and in the bucket is what the catalog says; what is not is replaced meanwhile.
fn mended(url: &str) {
    eventually("it is healed", Duration::from_secs(120), || {
        let verify = ["verify", "--cluster", "--rate", "1GiB", "--url", url];
        let (whole, text) = Cairn::run(&verify);
        whole.then_some(()).ok_or(text)
    });
}

/// The remedy for a disk that cannot be trusted: another one, from the bucket.
fn restored(whole: &Whole, bucket: &Path, data: &Path) {
    let data = data.with_extension("anew");
    let mut command = Cairn::command();
    command.args(["restore", "--all", "--data-dir"]).arg(&data);
    for setting in settings(bucket) {
        command.arg("--set").arg(setting);
    }
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}");
    let (_server, url) = start(whole.folder.path(), &["serve"], &data, bucket).unwrap();
    assert_eq!(read(&url, "sealed"), whole.sealed);
}

/// Flips a bit of a node's own files, before it starts or while it runs.
fn on_the_disk(whole: &Whole, nth: usize, seed: u64) -> &'static str {
    let (data, bucket) = whole.copy(&format!("disk-{nth}-{seed}"));
    let all = files(&data);
    let file = &all[nth % all.len()];
    let runs = dice(seed + 2).is_multiple_of(2);
    let before = (!runs).then(|| flip(file, seed));
    let (_server, url) = match start(whole.folder.path(), &["serve"], &data, &bucket) {
        Ok(started) => started,
        Err(error) => {
            let flipped = before.unwrap();
            println!("{flipped}: {error}");
            restored(whole, &bucket, &data);
            return "did not start";
        }
    };
    // A file may have gone with the start.
    let flipped = match before {
        Some(flipped) => flipped,
        None if file.exists() => flip(file, seed),
        None => return "was gone",
    };
    let mut named = 0;
    for _ in 0..3 {
        named += usize::from(check(&url, "sealed", &whole.sealed, &flipped).is_err());
        named += usize::from(check(&url, "recent", &whole.recent, &flipped).is_err());
    }
    mended(&url);
    assert_eq!(read(&url, "sealed"), whole.sealed, "{flipped}");
    assert_eq!(read(&url, "recent"), whole.recent, "{flipped}");
    match named {
        0 => "harmed nobody",
        _ => "was named and healed",
    }
}

/// Flips a bit of an object, or of the cache of a node that looks at the bucket.
fn in_the_bucket(whole: &Whole, nth: usize, seed: u64) -> &'static str {
    let (data, bucket) = whole.copy(&format!("bucket-{nth}-{seed}"));
    let look = data.with_extension("look");
    let folder = whole.folder.path();
    let words = ["serve", "--read-only"];
    let (shown, url) = start(folder, &words, &look, &bucket).unwrap();
    assert_eq!(read(&url, "sealed"), whole.sealed);
    let all = [files(&bucket), files(&look)].concat();
    let file = &all[nth % all.len()];
    let flipped = flip(file, seed);
    let _ = check(&url, "sealed", &whole.sealed, &flipped);
    drop(shown);
    // Once more with what is on the disk alone: nothing is remembered.
    if dice(seed + 2).is_multiple_of(2) {
        fs::remove_dir_all(look.join("cache")).unwrap();
    }
    let mut named = "harmed nobody";
    match start(folder, &words, &look, &bucket) {
        Ok((_shown, url)) => {
            if check(&url, "sealed", &whole.sealed, &flipped).is_err() {
                named = "was named and healed";
            }
        }
        Err(error) => {
            println!("{flipped}: {error}");
            named = "did not start";
        }
    }
    if file.ends_with("cluster.json") {
        return named;
    }
    let (_node, own) = start(folder, &["serve"], &data, &bucket).unwrap();
    assert_eq!(read(&own, "sealed"), whole.sealed);
    mended(&own);
    if let Ok((_shown, url)) = start(folder, &words, &look, &bucket) {
        assert_eq!(read(&url, "sealed"), whole.sealed, "{flipped}");
    }
    named
}

/// Would catch a byte that is believed although nothing vouches for it, an error that does not say of what, and
/// damage that stays.
#[test]
fn a_flipped_bit_is_harmless_or_named_and_healed() {
    let whole = Whole::new();
    let mut ends: BTreeMap<&str, usize> = BTreeMap::new();
    let (here, there) = (
        files(&whole.folder.path().join("data")).len(),
        files(&whole.folder.path().join("bucket")).len(),
    );
    let (rounds, picks) = match long("flips: every file, several times") {
        true => (ROUNDS_LONG, here + there),
        false => (1, PICKS),
    };
    for round in 0..rounds {
        for pick in 0..picks {
            let seed = 1000 * round + pick as u64;
            let nth = usize::try_from(dice(seed ^ 0xf11b) % 4096).unwrap();
            let end = match pick % 3 {
                0 => in_the_bucket(&whole, nth, seed),
                _ => on_the_disk(&whole, nth, seed),
            };
            *ends.entry(end).or_default() += 1;
            whole.forget_copies();
        }
    }
    println!("{here} files and {there} objects: {ends:?}");
    assert!(ends.len() > 1, "{ends:?}");
}
