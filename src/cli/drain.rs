//! `cairn drain`: empties a node, shows how far it is, and says when it may be switched off.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use super::at::AtNode;
use super::client::{Node, list, text};
use super::conclude;

const EXAMPLES: &str = "\
Examples:
  cairn drain board-3                 empty it, and wait until it may be switched off
  cairn drain board-3 --no-wait       only say so; `cairn ring` shows how far it is
  cairn drain board-3 --undo          take it back";

const TIMEOUT: Duration = Duration::from_secs(30);

/// The cluster is looked at so often while it moves.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Looks that may fail in a row: the node that is asked may be the one that goes.
const FAILURES_MAX: u32 = 30;

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
#[command(mut_arg("url", |arg| arg.help("Any node of the cluster")))]
pub(super) struct Drain {
    /// The node's name, or its incarnation where names are not unique.
    node: String,
    #[command(flatten)]
    at: AtNode,
    /// Give the node its share back.
    #[arg(long)]
    undo: bool,
    /// Do not wait until it is empty.
    #[arg(long)]
    no_wait: bool,
}

impl Drain {
    pub(super) fn run(&self) -> ExitCode {
        conclude(self.answer())
    }

    fn answer(&self) -> Result<String, String> {
        let node = self.at.node(TIMEOUT);
        let drain = if self.undo { "false" } else { "true" };
        let form = [("node", self.node.as_str()), ("drain", drain)];
        node.post("admin/cluster/drain", &form)?;
        if self.undo {
            return Ok(self.outcome(
                "taken back",
                "gets its share again: `cairn ring` shows how far it is",
            ));
        }
        if self.no_wait {
            return Ok(self.outcome(
                "draining",
                "is being emptied: `cairn ring` shows how far it is",
            ));
        }
        self.wait(&node)?;
        Ok(self.outcome("empty", "holds nothing any more: it may be switched off"))
    }

    fn outcome(&self, state: &str, words: &str) -> String {
        if self.at.json {
            return serde_json::json!({"node": self.node, "state": state}).to_string();
        }
        format!("{} {words}", self.node)
    }

    fn wait(&self, node: &Node) -> Result<(), String> {
        let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} replicas  {msg}");
        let bar =
            ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_prefix(self.node.clone());
        let (mut most, mut failures) = (0, 0);
        loop {
            match node.get("status/cluster") {
                Ok(answer) => {
                    failures = 0;
                    let left = left(&answer.data, &self.node)?;
                    most = left.max(most);
                    bar.set_length(most);
                    bar.set_position(most.saturating_sub(left));
                    bar.set_message(message(&answer.data));
                    if left == 0 {
                        bar.finish_and_clear();
                        return Ok(());
                    }
                }
                Err(error) => {
                    failures += 1;
                    if failures > FAILURES_MAX {
                        return Err(format!("{error}; the node goes on being emptied"));
                    }
                }
            }
            crate::runtime::pause(LOOK_EVERY);
        }
    }
}

/// Replicas that the node still holds or is in a move of.
fn left(cluster: &Value, node: &str) -> Result<u64, String> {
    let is_it = |one: &&Value| text(one, "name") == node || text(one, "incarnation") == node;
    let found = list(cluster, "nodes").iter().find(is_it);
    let found = found.ok_or_else(|| format!("no node is called {node} any more"))?;
    Ok(found.get("holds").and_then(Value::as_u64).unwrap_or(0))
}

/// What stands beside the bar.
fn message(cluster: &Value) -> String {
    match list(cluster, "moves").len() {
        0 => list(cluster, "trouble")
            .first()
            .and_then(Value::as_str)
            .unwrap_or("nothing moves: is there another node to take it?")
            .to_owned(),
        moves => format!("{moves} moves under way"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_left_is_what_it_holds() {
        let cluster =
            json!({"nodes": [{"name": "a", "incarnation": "01", "holds": 3}], "moves": []});
        assert_eq!(left(&cluster, "a"), Ok(3));
        assert_eq!(left(&cluster, "01"), Ok(3));
        assert!(left(&cluster, "b").is_err());
        assert!(message(&cluster).contains("another node"));
    }
}
