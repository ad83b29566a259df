//! `cairn import`: history from files of other programs, by remote-write into a running node.
//!
//! Samples are a set on the other side: what is sent twice is there once. So an import that broke off
//! may simply be run again, and the position file only saves the time.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::link::{Link, Reply};
use super::position::PositionFile;
use super::{Format, Selection};
use crate::cli::at::AtTenant;
use crate::cli::{complain, print};
use crate::runtime::{Clock, SystemClock, pause};
use crate::transfer::{
    BlockHistory, History, Item, OpenMetricsHistory, Piece, Request, VictoriaHistory, Wanted,
    find_blocks,
};

const EXAMPLES: &str = "\
Examples:
  cairn import prometheus /var/lib/prometheus/metrics2/snapshots/20261122T001500Z-5f3
  curl -s http://vm:8428/api/v1/export -d 'match[]={__name__!=\"\"}' -d max_rows_per_line=100000 |
    cairn import victoriametrics -
  promtool tsdb dump-openmetrics data > all.om && cairn import openmetrics all.om
  cairn import prometheus data --start now-90d --match '{job=\"node\"}' --position moved.json

What was sent already does no harm when it is sent again: after a failure run the same command. With
--position it goes on where it was. Prometheus may run meanwhile when a snapshot of it is given.";

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(120);
/// Waits between attempts: one second, doubled up to half a minute.
const PAUSE_MAX_S: u64 = 30;
/// Attempts for one request: some quarter of an hour.
const ATTEMPTS_MAX: u32 = 35;
/// Different refusals that are shown.
const SHOWN_MAX: usize = 10;

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
#[command(mut_arg("url", |arg| arg.help("The node, or any other receiver of remote-write at /api/v1/write below this address")))]
#[command(mut_arg("tenant", |arg| arg.help("Whose series they become (X-Scope-OrgID), where tenancy is on")))]
pub(in crate::cli) struct Import {
    /// What is there.
    #[arg(value_enum)]
    format: Format,
    /// The file (- is standard input), or with prometheus the directory.
    path: PathBuf,
    #[command(flatten)]
    at: AtTenant,
    #[command(flatten)]
    selection: Selection,
    /// Where to note how far it is; the same command goes on there.
    #[arg(long, value_name = "FILE")]
    position: Option<PathBuf>,
}

/// What was done.
#[derive(Default)]
struct Outcome {
    samples: u64,
    requests: u64,
    /// Requests of which something was refused.
    refused: u64,
    reasons: Vec<String>,
}

impl Import {
    pub(in crate::cli) fn run(&self) -> ExitCode {
        match self.import() {
            Ok(outcome) => {
                print(&if self.at.node.json {
                    outcome.json()
                } else {
                    outcome.text()
                });
                if outcome.refused == 0 {
                    ExitCode::SUCCESS
                } else {
                    ExitCode::FAILURE
                }
            }
            Err(error) => {
                complain(&error);
                ExitCode::FAILURE
            }
        }
    }

    fn import(&self) -> Result<Outcome, String> {
        let wanted = self.selection.wanted()?;
        let link = Link::new(&self.at.node.url, self.at.tenant(), TIMEOUT)?;
        let of = format!("{} to {}", self.path.display(), link.base());
        let position = PositionFile::open(self.position.as_deref(), of)?;
        let mut history = self.history(&wanted, &position)?;
        let bar = match history.total() {
            Some(total) => ProgressBar::new(total),
            None => ProgressBar::no_length(),
        };
        let style = ProgressStyle::with_template("{wide_bar} {percent}%  {msg}  {eta} left");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        let mut run = Run {
            link,
            position,
            bar,
            request: Request::default(),
            outcome: Outcome::default(),
            clock: SystemClock::new(),
        };
        let moved = run.run(history.as_mut(), &wanted);
        run.bar.finish_and_clear();
        moved.map_err(|error| {
            let samples = run.outcome.samples;
            format!("{error}; {samples} samples were sent before: run the same command again")
        })?;
        Ok(run.outcome)
    }

    fn history(
        &self,
        wanted: &Wanted,
        position: &PositionFile,
    ) -> Result<Box<dyn History>, String> {
        let path: &Path = &self.path;
        let from = position.begun();
        let opened: Result<Box<dyn History>, crate::transfer::Error> = match self.format {
            Format::Prometheus => find_blocks(path, wanted.range).map(|blocks| {
                let history = BlockHistory::new(blocks, wanted.clone(), from);
                Box::new(history) as Box<dyn History>
            }),
            Format::Victoriametrics => {
                VictoriaHistory::open(path, &from).map(|one| Box::new(one) as _)
            }
            Format::Openmetrics => {
                OpenMetricsHistory::open(path, &from).map(|one| Box::new(one) as _)
            }
        };
        opened.map_err(|error| error.to_string())
    }
}

/// An import under way.
struct Run {
    link: Link,
    position: PositionFile,
    bar: ProgressBar,
    request: Request,
    outcome: Outcome,
    clock: SystemClock,
}

impl Run {
    fn run(&mut self, history: &mut dyn History, wanted: &Wanted) -> Result<(), String> {
        let mut before = history.position();
        let failed = loop {
            match history.next() {
                Ok(Some(Item::Family(name, metadata))) => {
                    self.request.add_family(&name, &metadata);
                }
                Ok(Some(Item::Piece(mut piece))) => {
                    piece.samples.clip(wanted.range);
                    if wanted.has(&piece.labels) {
                        self.put(&piece, &before)?;
                    }
                }
                Ok(None) => break None,
                // What was read is sent all the same.
                Err(error) => break Some(error.to_string()),
            }
            before = history.position();
            self.bar.set_position(history.done());
        };
        self.flush()?;
        self.position.keep(before)?;
        failed.map_or(Ok(()), Err)
    }

    /// Adds a piece; everything up to `before` is in the requests up to the one that is full.
    fn put(&mut self, piece: &Piece, before: &crate::transfer::Position) -> Result<(), String> {
        let mut from = 0;
        loop {
            from = self.request.add(piece, from);
            if from >= piece.samples.len() {
                return Ok(());
            }
            self.flush()?;
            self.position.note(before.clone(), self.clock.now())?;
        }
    }

    /// Sends what has gathered, until it is taken.
    fn flush(&mut self) -> Result<(), String> {
        if self.request.is_empty() {
            return Ok(());
        }
        let samples = self.request.samples();
        let body = self.request.take_body();
        let headers = [
            ("content-type", "application/x-protobuf"),
            ("content-encoding", "snappy"),
            ("x-prometheus-remote-write-version", "0.1.0"),
        ];
        let mut attempt = 0;
        let reply = loop {
            let sent = self.link.send("/api/v1/write", &headers, body.clone());
            let (reason, wait_s) = match &sent {
                Ok(reply) if !worth_another(reply) => break sent?,
                Ok(reply) => (reply.text.clone(), reply.retry_after),
                Err(reason) => (reason.clone(), None),
            };
            attempt += 1;
            if attempt >= ATTEMPTS_MAX {
                return Err(format!("{reason} (given up after {attempt} attempts)"));
            }
            let doubled = 1_u64 << attempt.min(6).saturating_sub(1);
            let wait_s = wait_s.unwrap_or(doubled).clamp(1, PAUSE_MAX_S);
            self.bar.set_message(format!("waiting: {reason}"));
            pause(Duration::from_secs(wait_s));
        };
        self.outcome.take(&reply, samples)?;
        self.bar
            .set_message(format!("{} samples", self.outcome.samples));
        Ok(())
    }
}

/// Whether the same request may be taken later.
fn worth_another(reply: &Reply) -> bool {
    reply.status >= 500 || reply.status == 429
}

impl Outcome {
    /// Takes a final answer in.
    fn take(&mut self, reply: &Reply, samples: u64) -> Result<(), String> {
        self.requests += 1;
        match reply.status {
            200..=299 => {}
            // What is valid of it was stored.
            400 => {
                self.refused += 1;
                let known = self.reasons.contains(&reply.text);
                if self.reasons.len() < SHOWN_MAX && !known {
                    self.reasons.push(reply.text.clone());
                }
            }
            status => {
                return Err(format!(
                    "the receiver answers {status} ({}): is it one of remote-write? Give its address with --url",
                    reply.text.lines().next().unwrap_or_default()
                ));
            }
        }
        self.samples += samples;
        Ok(())
    }

    fn json(&self) -> String {
        json!({
            "samples": self.samples, "requests": self.requests,
            "requestsWithRefusals": self.refused, "reasons": self.reasons,
        })
        .to_string()
    }

    fn text(&self) -> String {
        let mut lines = self.reasons.clone();
        lines.push(format!(
            "{} samples sent in {} requests",
            self.samples, self.requests
        ));
        if self.refused > 0 {
            lines.push(format!(
                "of {} requests something was refused, for the reasons above; all else is stored",
                self.refused
            ));
        }
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, text: &str) -> Reply {
        Reply {
            status,
            retry_after: None,
            text: text.to_owned(),
        }
    }

    #[test]
    fn refusals_are_counted_and_wrong_addresses_end_it() {
        let mut outcome = Outcome::default();
        outcome.take(&reply(204, ""), 5).unwrap();
        outcome.take(&reply(400, "too many labels"), 7).unwrap();
        outcome.take(&reply(400, "too many labels"), 7).unwrap();
        assert_eq!(
            (outcome.samples, outcome.requests, outcome.refused),
            (19, 3, 2)
        );
        assert_eq!(outcome.reasons, ["too many labels"]);
        assert!(outcome.take(&reply(404, "nothing here"), 1).is_err());
        assert!(worth_another(&reply(503, "")) && worth_another(&reply(429, "")));
        assert!(!worth_another(&reply(400, "")));
    }
}
