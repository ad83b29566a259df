//! Simulations in processes of their own: this test program again, with one of its tests and a seed.
//! Tokio counts the runtimes of a process into its dice, so only then a seed repeats to the letter.

use std::process::{Command, Stdio};

use crate::runtime::{LogSettings, Rule, start_logging};

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
    let ran = run.output().unwrap();
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    if ran.status.success() {
        return Ok(said);
    }
    Err(said + &String::from_utf8_lossy(&ran.stderr))
}
