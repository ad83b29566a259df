//! `cairn ring forget`, `cairn ring recover` and `cairn ring split`: what a person decides of a
//! cluster and cannot take back.
//!
//! They say first what they do, and do it only when they are told that this was read.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::at::AtNode;
use super::client::{Node, list, text};
use super::table;

/// Each partition is a decision of the control group.
const TIMEOUT: Duration = Duration::from_secs(120);

#[derive(Subcommand, Debug)]
pub(super) enum GiveUp {
    /// Strike a node that is switched off from the list, for ever.
    ///
    /// It must be down, and what it holds must be left without it: the others replace what it held
    /// from their own copies. If it comes back, it is told so and stops: its data directory is then
    /// set aside at its next start, and it joins as a new node.
    Forget(Forget),
    /// Let partitions go on that have lost a majority of their members for good.
    ///
    /// Without --accept-loss it only says which, and what would be lost. First bring back whatever
    /// can be brought back: a disk that still reads is worth more than this command.
    Recover(Recover),
    /// Divide the ring into twice as many partitions.
    ///
    /// The cluster does this by itself when nodes come: at fewer than eight replicas a node. Before
    /// many nodes come at once it can be done early. The leader splits one partition after the
    /// other; nothing is copied between nodes, and it is not taken back.
    Split(Split),
}

#[derive(Args, Debug)]
pub(super) struct Split {
    /// Do it: without this it is only said what would happen.
    #[arg(long)]
    yes: bool,
}

#[derive(Args, Debug)]
pub(super) struct Forget {
    /// The node's name, or its incarnation where names are not unique.
    node: String,
    /// Do it: without this it is only said what would happen.
    #[arg(long)]
    yes: bool,
}

#[derive(Args, Debug)]
pub(super) struct Recover {
    /// Do it, and lose what only the nodes that are given up had acknowledged.
    #[arg(long)]
    accept_loss: bool,
}

impl GiveUp {
    pub(super) fn answer(&self, at: &AtNode) -> Result<String, String> {
        let (node, json) = (at.node(TIMEOUT), at.json);
        match self {
            Self::Forget(forget) => forget.answer(&node, json),
            Self::Recover(recover) => recover.answer(&node, json),
            Self::Split(split) => split.answer(&node, json),
        }
    }
}

impl Forget {
    fn answer(&self, node: &Node, json: bool) -> Result<String, String> {
        let cluster = node.get("status/cluster")?.data;
        let is_it =
            |one: &&Value| text(one, "name") == self.node || text(one, "incarnation") == self.node;
        let found = list(&cluster, "nodes").iter().find(is_it);
        let found = found.ok_or_else(|| format!("no node is called {}", self.node))?;
        let held = text(found, "holds");
        if !self.yes {
            return Err(format!(
                "{} (incarnation {}, {}) holds {held} replicas. Forgotten, it never counts again: what it holds is copied from the other members, and if it comes back it stops, and the start after that sets its data directory aside and joins as a new node. If that is what you want: cairn ring forget {} --yes",
                self.node,
                text(found, "incarnation"),
                text(found, "health"),
                self.node
            ));
        }
        node.post("admin/cluster/forget", &[("node", self.node.as_str())])?;
        if json {
            return Ok(serde_json::json!({"node": self.node, "state": "gone"}).to_string());
        }
        Ok(format!(
            "{} is forgotten; it held {held} replicas, and `cairn ring` shows how far their replacement is",
            self.node
        ))
    }
}

impl Split {
    fn answer(&self, node: &Node, json: bool) -> Result<String, String> {
        let cluster = node.get("status/cluster")?.data;
        let count = list(&cluster, "partitions").len();
        if !self.yes {
            return Err(format!(
                "the ring has {count} partitions. Split, each becomes two, one after the other, and they never become one again: more partitions share less, and cost some memory each. If that is what you want: cairn ring split --yes"
            ));
        }
        let begun = node.post("admin/cluster/split", &[])?.data;
        let first = text(&begun, "partition");
        if json {
            return Ok(serde_json::json!({"partition": first, "partitions": count}).to_string());
        }
        Ok(format!(
            "partition {first} is split; the others follow one by one, and `cairn ring` counts them"
        ))
    }
}

impl Recover {
    fn answer(&self, node: &Node, json: bool) -> Result<String, String> {
        let accept = if self.accept_loss { "true" } else { "false" };
        let loss = node
            .post("admin/cluster/recover", &[("accept_loss", accept)])?
            .data;
        if json {
            return Ok(loss.to_string());
        }
        if list(&loss, "partitions").is_empty() {
            return Ok("nothing is lost: enough members of every partition are left; what is missing is replaced in the ordinary way".to_owned());
        }
        let page = told(&loss);
        if self.accept_loss {
            return Ok(page);
        }
        Err(page)
    }
}

/// What is lost, in words.
fn told(loss: &Value) -> String {
    let rows: Vec<Vec<String>> = list(loss, "partitions").iter().map(row).collect();
    let nodes: Vec<&str> = list(loss, "nodes")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let count = rows.len();
    let done = loss.get("done") == Some(&Value::Bool(true));
    let page = table::render(
        &["PARTITION", "MEMBERS", "GOES ON WITH", "BLOCKS LOST"],
        &rows,
    );
    let nodes = nodes.join(", ");
    if done {
        return format!(
            "{page}\n\n{count} partitions go on with what is left of them; given up for ever: {nodes}.\nSamples that only these had acknowledged are lost. Look at `cairn ring` until nothing moves, and let no sender believe that nothing is missing."
        );
    }
    format!(
        "{page}\n\n{count} partitions have lost a majority of their members. Bring one of these back, even with an old disk's content, and nothing is lost: {nodes}.\nIf their disks are gone for good: `cairn ring recover --accept-loss` lets the partitions go on with the members above. Then these nodes are given up for ever, and samples that only they had acknowledged are lost, without a list of which."
    )
}

fn row(row: &Value) -> Vec<String> {
    let names = |name| {
        let names: Vec<&str> = list(row, name).iter().filter_map(Value::as_str).collect();
        names.join(" ")
    };
    let mut left = names("left");
    if row.get("empty") == Some(&Value::Bool(true)) {
        left.push_str(" (empty: all of it is lost)");
    }
    vec![
        text(row, "arc"),
        names("members"),
        left,
        text(row, "lostBlocks"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_loss_is_said_before_and_after() {
        let mut loss = json!({
            "partitions": [
                {"arc": "0-4", "members": ["a", "b", "c"], "left": ["c"], "empty": false, "lostBlocks": 2},
                {"arc": "1-4", "members": ["a", "b", "d"], "left": ["c"], "empty": true, "lostBlocks": 0},
            ],
            "nodes": ["a", "b"], "done": false,
        });
        let before = told(&loss);
        for wanted in [
            "0-4",
            "a b c",
            "--accept-loss",
            "c (empty: all of it is lost)",
            "a, b",
        ] {
            assert!(before.contains(wanted), "{wanted:?} is not in\n{before}");
        }
        loss["done"] = json!(true);
        let after = told(&loss);
        assert!(after.contains("given up for ever: a, b"), "{after}");
    }
}
