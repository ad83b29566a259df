//! Prometheus' own cases over HTTP, against a node: what users see. `tests/conformance` asks the
//! engine alone; this would catch an answer that is changed on its way out, or data on its way in.
//!
//! The cases and their runner are not part of this repository: `CAIRN_PROMQLTEST` names the folder
//! of the cases, or they lie beside the clone (`../shared/promqltest`). The runner needs two Python
//! packages, which are kept in a virtual environment beside the tools.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::servers::{Cairn, skip};

/// The folder with the runner and the cases.
fn runner() -> Option<PathBuf> {
    let home = std::env::var_os("CAIRN_PROMQLTEST").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/promqltest"),
        |cases| PathBuf::from(cases).join(".."),
    );
    home.join("promqltest_http.py").exists().then_some(home)
}

/// A Python that has what the runner imports.
fn python(runner: &Path) -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(
        || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")),
        |cache| Some(PathBuf::from(cache)),
    )?;
    let folder = cache.join("cairn/promqltest-python");
    let python = folder.join("bin/python");
    let works = || {
        let check = Command::new(&python)
            .args(["-c", "import cramjam, requests"])
            .output();
        check.is_ok_and(|check| check.status.success())
    };
    if !works() {
        let run =
            |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
        run(Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&folder));
        run(Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--requirement"])
            .arg(runner.join("requirements.txt")));
    }
    works().then_some(python)
}

fn story() -> Result<(), &'static str> {
    let runner = runner().ok_or("Prometheus' cases are not here (../shared/promqltest)")?;
    let python = python(&runner).ok_or("python3 with cramjam and requests is not to be had")?;
    let folder = tempfile::tempdir().unwrap();
    let cairn = Cairn::start(
        folder.path(),
        &[
            "query.enable_feature=all",
            "multitenancy_enabled=true",
            "ingest.self_scrape_interval=0s",
        ],
    );
    let mut files: Vec<PathBuf> = std::fs::read_dir(runner.join("testdata"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "test"))
        .collect();
    files.sort();
    let output = Command::new(python)
        .arg(runner.join("promqltest_http.py"))
        .args(["--protocol", "auto", "--isolate", "tenant", "--jobs", "2"])
        .args(["--url", &cairn.url()])
        .args(files)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let total = said.lines().rfind(|line| line.starts_with("TOTAL"));
    println!("{}", total.unwrap_or_default());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{errors}");
    let passed = total.and_then(|total| {
        total
            .strip_prefix("TOTAL ")?
            .split('/')
            .next()?
            .parse()
            .ok()
    });
    assert!(passed.is_some_and(|passed: u32| passed > 1_500), "{said}");
    Ok(())
}

#[test]
fn prometheus_cases_pass_over_http() {
    if let Err(reason) = story() {
        skip("published::prometheus_cases_pass_over_http", reason);
    }
}
