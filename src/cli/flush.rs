//! `cairn flush`: seals and uploads everything that a node holds, now, and waits.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use super::at::AtNode;
use super::client::text;
use super::conclude;
use super::graph::bytes;

const EXAMPLES: &str = "\
Examples:
  cairn flush                                   before a backup, a farewell, a test
  cairn flush --url http://board-1:9009

What is sealed is sealed for all replicas. A node seals the partitions that it is a member of: in a
cluster of more nodes than replicas, flush each of them.";

const TIMEOUT: Duration = Duration::from_secs(30);

/// The node is looked at so often while it works.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Looks without any progress, while something is wrong, after which nobody waits any more: five
/// minutes.
const PATIENCE_LOOKS: u32 = 600;

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
#[command(mut_arg("url", |arg| arg.help("The node")))]
pub(super) struct Flush {
    #[command(flatten)]
    at: AtNode,
}

impl Flush {
    pub(super) fn run(&self) -> ExitCode {
        conclude(self.answer())
    }

    fn answer(&self) -> Result<String, String> {
        let node = self.at.node(TIMEOUT);
        let order = count(&node.post("admin/flush", &[])?.data, "order");
        let style = ProgressStyle::with_template("{wide_bar} {pos}/{len}  {msg}");
        let bar =
            ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        let mut wait = Wait::default();
        loop {
            let status = node.get("status/flush")?.data;
            if count(&status, "done") >= order && wait.is_over(&status) {
                bar.finish_and_clear();
                return self.outcome(&status);
            }
            let left = left(&status);
            wait.most = wait.most.max(left);
            bar.set_length(wait.most);
            bar.set_position(wait.most.saturating_sub(left));
            bar.set_message(message(&status));
            wait.look(left, &status)?;
            crate::runtime::pause(LOOK_EVERY);
        }
    }

    fn outcome(&self, status: &Value) -> Result<String, String> {
        let failed = count(status, "failed");
        if failed > 0 {
            return Err(format!(
                "{failed} ranges could not be sealed: the node's log says why; they will be tried again"
            ));
        }
        let archive = status.get("archive");
        if self.at.json {
            let place = archive.map(|archive| text(archive, "place"));
            return Ok(serde_json::json!({"sealed": true, "archive": place}).to_string());
        }
        Ok(match archive {
            Some(archive) => format!("everything is sealed and in {}", text(archive, "place")),
            None => {
                "everything is sealed; there is no bucket to upload it to (archive.kind)".to_owned()
            }
        })
    }
}

/// How long it has been waited.
#[derive(Default)]
struct Wait {
    most: u64,
    last: Option<u64>,
    still: u32,
}

impl Wait {
    fn is_over(&self, status: &Value) -> bool {
        let archive = status.get("archive").unwrap_or(&Value::Null);
        let waits = ["waitingBlocks", "waitingCatalogs"];
        count(status, "failed") > 0 || waits.iter().all(|name| count(archive, name) == 0)
    }

    /// Gives up when nothing has happened for long and something is wrong.
    fn look(&mut self, left: u64, status: &Value) -> Result<(), String> {
        let archive = status.get("archive").unwrap_or(&Value::Null);
        let trouble = text(archive, "trouble");
        if self.last == Some(left) && !trouble.is_empty() {
            self.still += 1;
        } else {
            self.still = 0;
        }
        self.last = Some(left);
        if self.still < PATIENCE_LOOKS {
            return Ok(());
        }
        Err(format!(
            "everything is sealed, but nothing more reaches the bucket: {trouble}; the node goes on trying"
        ))
    }
}

fn count(value: &Value, name: &str) -> u64 {
    value.get(name).and_then(Value::as_u64).unwrap_or(0)
}

/// What is left to do, in samples and bytes together: it only has to fall.
fn left(status: &Value) -> u64 {
    let archive = status.get("archive").unwrap_or(&Value::Null);
    let uploads = count(archive, "waitingBytes").saturating_add(count(archive, "waitingCatalogs"));
    count(status, "unsealedSamples").saturating_add(uploads)
}

/// What stands beside the bar.
fn message(status: &Value) -> String {
    let archive = status.get("archive").unwrap_or(&Value::Null);
    let trouble = text(archive, "trouble");
    if !trouble.is_empty() {
        return trouble;
    }
    let blocks = count(archive, "waitingBlocks");
    if count(status, "ordered") > count(status, "done") || blocks == 0 {
        return "sealing".to_owned();
    }
    #[allow(
        clippy::cast_precision_loss,
        reason = "a size for a person, in three digits"
    )]
    let size = bytes(count(archive, "waitingBytes") as f64);
    format!("uploading {blocks} blocks, {size}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn it_waits_for_blocks_and_catalogs_and_not_for_ever() {
        let status = |blocks: u64, catalogs: u64, trouble: &str| {
            json!({"ordered": 1, "done": 1, "failed": 0, "unsealedSamples": 0, "archive": {
                "place": "there", "waitingBlocks": blocks, "waitingBytes": blocks * 10,
                "waitingCatalogs": catalogs, "trouble": trouble,
            }})
        };
        let mut wait = Wait::default();
        assert!(wait.is_over(&status(0, 0, "")));
        assert!(!wait.is_over(&status(1, 0, "")));
        assert!(!wait.is_over(&status(0, 1, "")));
        assert!(message(&status(2, 0, "")).contains("2 blocks"));
        assert_eq!(message(&status(2, 0, "away")), "away");
        let looks = (0..=PATIENCE_LOOKS).map(|_| wait.look(5, &status(1, 0, "away")));
        let failed = looks.filter(Result::is_err).count();
        assert_eq!(failed, 1);
        assert!(wait.look(4, &status(1, 0, "away")).is_ok());
    }
}
