//! `cairn doctor`: is this machine fit for this configuration, and is the node on it well? Each finding
//! says what was seen and, where something is wrong, what to do.
//!
//! It announces nothing and changes nothing; of the disk it writes 16 MiB and takes them away again.

mod bucket;
mod disk;
mod machine;
mod network;
mod node;

use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use serde_json::json;

use super::{ConfigArgs, print};
use crate::config::Settings;
use crate::http::check_listen;
use crate::runtime::{Clock, SystemClock, check_level};

const EXAMPLES: &str = "\
Examples:
  sudo -u cairn cairn doctor --config /etc/cairn/cairn.toml    as the node's user
  cairn doctor --config /etc/cairn/cairn.toml --no-disk        writes nothing
  cairn doctor --json | jq '.findings[] | select(.state != \"ok\")'

It ends with 1 when something fails; what is only to be thought of does not count.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Doctor {
    #[command(flatten)]
    config: ConfigArgs,
    /// Do not measure the disk, which writes 16 MiB and takes them away again.
    #[arg(long)]
    no_disk: bool,
    /// Print all findings as one JSON object.
    #[arg(long)]
    json: bool,
}

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum State {
    Ok,
    /// It works, and there is something to think of.
    Warn,
    /// The node will not start, or not do what it is for.
    Fail,
}

impl State {
    const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "FAIL",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Finding {
    /// What was looked at, in a word or two that never change.
    check: &'static str,
    state: State,
    /// What was seen.
    said: String,
    /// What to do; empty when nothing is.
    remedy: String,
}

impl Finding {
    fn ok(check: &'static str, said: impl Into<String>) -> Self {
        Self {
            check,
            state: State::Ok,
            said: said.into(),
            remedy: String::new(),
        }
    }

    fn warn(check: &'static str, said: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            check,
            state: State::Warn,
            said: said.into(),
            remedy: remedy.into(),
        }
    }

    fn fail(check: &'static str, said: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            state: State::Fail,
            ..Self::warn(check, said, remedy)
        }
    }
}

/// What is examined.
struct Patient {
    settings: Settings,
    clock: Arc<dyn Clock>,
    /// Whether the disk may be written to.
    measure_disk: bool,
}

impl Doctor {
    pub(super) fn run(&self) -> ExitCode {
        let findings = self.examine();
        let worst = findings.iter().map(|finding| finding.state).max();
        let text = if self.json {
            as_json(&findings)
        } else {
            as_text(&findings)
        };
        print(&text);
        match worst {
            Some(State::Fail) => ExitCode::FAILURE,
            _ => ExitCode::SUCCESS,
        }
    }

    fn examine(&self) -> Vec<Finding> {
        let settings = match self.config.load().and_then(usable) {
            Ok(settings) => settings,
            Err(error) => {
                let remedy = "correct it; `cairn check-config` says the same";
                return vec![Finding::fail("configuration", error, remedy)];
            }
        };
        let patient = Patient {
            settings,
            clock: Arc::new(SystemClock::new()),
            measure_disk: !self.no_disk,
        };
        let mut findings = vec![Finding::ok("configuration", "can be used")];
        findings.extend(machine::examine(&patient));
        findings.extend(disk::examine(&patient));
        let running = node::running(&patient);
        findings.extend(network::examine(&patient, running.is_some()));
        findings.extend(bucket::examine(&patient));
        if let Some(running) = running {
            findings.extend(node::examine(&running));
        }
        findings
    }
}

/// What `cairn check-config` looks at beyond reading.
fn usable(settings: Settings) -> Result<Settings, String> {
    check_level(&settings.telemetry).map_err(|error| error.to_string())?;
    check_listen(&settings.http).map_err(|error| error.to_string())?;
    Ok(settings)
}

fn as_text(findings: &[Finding]) -> String {
    let lines = findings.iter().map(|finding| {
        let line = format!(
            "{:<5}{:<16}{}",
            finding.state.name(),
            finding.check,
            finding.said
        );
        if finding.remedy.is_empty() {
            line
        } else {
            format!("{line}\n{:<21}-> {}", "", finding.remedy)
        }
    });
    let mut lines: Vec<String> = lines.collect();
    let count = |state| findings.iter().filter(|f| f.state == state).count();
    lines.push(match (count(State::Fail), count(State::Warn)) {
        (0, 0) => "\nall is well".to_owned(),
        (0, warn) => format!("\n{warn} to think of, none that fails"),
        (fail, warn) => format!("\n{fail} that must be mended, {warn} to think of"),
    });
    lines.join("\n")
}

fn as_json(findings: &[Finding]) -> String {
    let all: Vec<serde_json::Value> = findings
        .iter()
        .map(|finding| {
            json!({
                "check": finding.check,
                "state": finding.state.name().to_lowercase(),
                "said": finding.said,
                "remedy": finding.remedy,
            })
        })
        .collect();
    json!({ "findings": all }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_shown_with_their_remedies() {
        let findings = [
            Finding::ok("clock", "fine"),
            Finding::fail("disk", "full", "empty it"),
        ];
        assert_eq!(
            as_text(&findings),
            "ok   clock           fine\nFAIL disk            full\n                     -> empty it\n\n1 that must be mended, 0 to think of"
        );
        let json: serde_json::Value = serde_json::from_str(&as_json(&findings)).unwrap();
        assert_eq!(json["findings"][1]["state"], "fail");
        assert_eq!(json["findings"][0]["remedy"], "");
    }
}
