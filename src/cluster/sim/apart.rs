//! Simulations in processes of their own: this test program again, with one of its tests and a seed.
//! Tokio counts the runtimes of a process into its dice, so only then a seed repeats to the letter.

use std::fs::File;
use std::io::{Read, Seek};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::runtime::{LogSettings, Rule, pause, start_logging};

/// The seed, in a process that runs one simulation.
const SEED: &str = "CAIRN_SEED";
/// The rule that does not hold there.
const WITHOUT: &str = "CAIRN_SIM_WITHOUT";

pub(super) fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The seed of this process, if it is to run a simulation; with the rule that it is to do without,
/// and its nodes' logs if somebody wants them.
pub(super) fn seed_of_this_process() -> Option<u64> {
    let seed = number(SEED)?;
    if let Ok(name) = std::env::var(WITHOUT) {
        let mut rules = Rule::ALL.into_iter();
        let rule = rules.find(|rule| format!("{rule:?}") == name);
        rule.expect("a rule").take_away();
    }
    if std::env::var("CAIRN_SIM_LOG").is_ok() {
        let settings = LogSettings {
            level: "debug".to_owned(),
            ..LogSettings::default()
        };
        start_logging(&settings).expect("nobody logs yet");
    }
    Some(seed)
}

/// So often is looked whether a process has ended.
const LOOK: Duration = Duration::from_millis(50);
/// Twenty minutes: a simulation takes seconds, and one in which a thread waits for another that has no
/// turn takes for ever.
const LOOKS_MAX: u32 = 24_000;

fn read(mut file: File) -> String {
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Runs a test of this program with a seed, and perhaps without a rule, in a process of its own.
/// What it printed, if it passed, or else with what was wrong.
pub(super) fn run_apart(test: &str, seed: u64, without: Option<Rule>) -> Result<String, String> {
    let mut run = Command::new(std::env::current_exe().unwrap());
    run.args(["--exact", test, "--include-ignored", "--nocapture"])
        .env(SEED, seed.to_string())
        .env("RUST_BACKTRACE", "0")
        .env_remove(WITHOUT)
        .stdin(Stdio::null());
    if let Some(rule) = without {
        run.env(WITHOUT, format!("{rule:?}"));
    }
    let (out, err) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
    run.stdout(out.try_clone().unwrap());
    run.stderr(err.try_clone().unwrap());
    let mut running = run.spawn().unwrap();
    let mut looks = 0;
    let status = loop {
        if let Some(status) = running.try_wait().unwrap() {
            break Some(status);
        }
        if looks == LOOKS_MAX {
            running.kill().unwrap();
            running.wait().unwrap();
            break None;
        }
        looks += 1;
        pause(LOOK);
    };
    let (out, err) = (read(out), read(err));
    match status {
        Some(status) if status.success() => Ok(out),
        Some(_) => Err(out + &err),
        None => Err(out + &err + "it stands still\n"),
    }
}
