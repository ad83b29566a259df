//! `cairn ring`: the nodes of a cluster, who replicates what, what moves, and what is wrong.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::at::AtNode;
use super::client::{list, text};
use super::give_up::GiveUp;
use super::graph::bytes;
use super::{conclude, table};

const EXAMPLES: &str = "\
Examples:
  cairn ring
  cairn ring --partitions --url http://board-2:9009
  cairn ring --json | jq '.nodes[] | select(.health == \"down\")'
  cairn ring forget board-3 --yes       it is off for good, and nothing of it is needed
  cairn ring recover                    what is lost when a majority of some replicas is
  cairn ring split --yes                twice as many partitions, before many nodes come";

const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
#[command(mut_arg("url", |arg| arg.global(true).help("Any node of the cluster")))]
#[command(mut_arg("json", |arg| arg.global(true)))]
pub(super) struct Ring {
    #[command(subcommand)]
    give_up: Option<GiveUp>,
    #[command(flatten)]
    at: AtNode,
    /// List every partition with its members.
    #[arg(long)]
    partitions: bool,
}

impl Ring {
    pub(super) fn run(&self) -> ExitCode {
        conclude(self.answer())
    }

    fn answer(&self) -> Result<String, String> {
        if let Some(give_up) = &self.give_up {
            return give_up.answer(&self.at);
        }
        let cluster = self.at.node(TIMEOUT).get("status/cluster")?.data;
        if self.at.json {
            return Ok(cluster.to_string());
        }
        Ok(shown(&cluster, self.partitions))
    }
}

fn shown(cluster: &Value, partitions: bool) -> String {
    let leader = text(cluster, "leader");
    let leader = if leader.is_empty() {
        "none".to_owned()
    } else {
        leader
    };
    let mut parts = vec![format!(
        "cluster {}\nleader  {leader}",
        text(cluster, "cluster")
    )];
    parts.push(table::render(
        &[
            "NODE", "HEALTH", "VOTES", "ZONE", "REPLICAS", "ADDRESS", "VERSION",
        ],
        &list(cluster, "nodes").iter().map(node).collect::<Vec<_>>(),
    ));
    let total = list(cluster, "partitions").len();
    parts.push(format!(
        "{total} partitions, {} replicas each; short of replicas: {}, out of service: {}",
        text(cluster, "replicationFactor"),
        text(cluster, "underReplicated"),
        text(cluster, "unavailable"),
    ));
    if partitions {
        let rows: Vec<_> = list(cluster, "partitions").iter().map(partition).collect();
        let header = ["PARTITION", "EPOCH", "VERSION", "BLOCKS", "LIVE", "MEMBERS"];
        parts.push(table::render(&header, &rows));
    }
    let moves = list(cluster, "moves");
    if !moves.is_empty() {
        let rows: Vec<_> = moves.iter().map(step).collect();
        parts.push(table::render(
            &["MOVES", "FROM", "TO", "STATE", "LEFT"],
            &rows,
        ));
    }
    for trouble in list(cluster, "trouble") {
        parts.push(format!("! {}", trouble.as_str().unwrap_or_default()));
    }
    parts.join("\n\n")
}

fn node(node: &Value) -> Vec<String> {
    let mut health = text(node, "health");
    if node.get("draining") == Some(&Value::Bool(true)) {
        health.push_str(", draining");
    }
    let (holds, will_hold) = (text(node, "holds"), text(node, "willHold"));
    let replicas = if holds == will_hold {
        holds
    } else {
        format!("{holds} -> {will_hold}")
    };
    let votes = node.get("voter") == Some(&Value::Bool(true));
    vec![
        text(node, "name"),
        health,
        if votes { "yes" } else { "no" }.to_owned(),
        text(node, "zone"),
        replicas,
        text(node, "address"),
        text(node, "version"),
    ]
}

fn partition(partition: &Value) -> Vec<String> {
    let members: Vec<&str> = list(partition, "members")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    vec![
        text(partition, "arc"),
        text(partition, "epoch"),
        text(partition, "version"),
        text(partition, "blocks"),
        text(partition, "live"),
        members.join(" "),
    ]
}

fn step(step: &Value) -> Vec<String> {
    let or_nobody = |name| {
        let text = text(step, name);
        if text.is_empty() {
            "-".to_owned()
        } else {
            text
        }
    };
    let begun = step.get("begun") == Some(&Value::Bool(true));
    let missing = step.get("missingBytes").and_then(Value::as_f64);
    vec![
        text(step, "arc"),
        or_nobody("leave"),
        or_nobody("join"),
        if begun { "moving" } else { "copying blocks" }.to_owned(),
        missing.map_or_else(|| "-".to_owned(), bytes),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_cluster_fits_on_a_page() {
        let cluster = json!({
            "cluster": "c0ffee", "leader": "board-1", "replicationFactor": 3,
            "underReplicated": 16, "unavailable": 0,
            "nodes": [
                {"name": "board-1", "health": "live", "voter": true, "draining": false,
                 "zone": "a", "holds": 16, "willHold": 12, "address": "10.0.0.1:9095",
                 "version": "0.1.0"},
                {"name": "board-2", "health": "down", "voter": false, "draining": true,
                 "zone": "b", "holds": 16, "willHold": 16, "address": "10.0.0.2:9095",
                 "version": "0.1.0"},
            ],
            "partitions": [{"arc": "0-4", "epoch": 3, "version": 7, "blocks": 2, "live": 1,
                            "members": ["board-1", "board-2"]}],
            "moves": [{"arc": "0-4", "leave": "board-2", "begun": false, "missingBytes": 1536}],
            "trouble": ["down: board-2"],
        });
        let page = shown(&cluster, true);
        for wanted in [
            "leader  board-1",
            "board-1  live            yes    a     16 -> 12  10.0.0.1:9095  0.1.0",
            "board-2  down, draining  no     b     16        10.0.0.2:9095  0.1.0",
            "1 partitions, 3 replicas each; short of replicas: 16, out of service: 0",
            "0-4        3      7        2       1     board-1 board-2",
            "0-4    board-2  -   copying blocks  1.5 KiB",
            "! down: board-2",
        ] {
            assert!(page.contains(wanted), "{wanted:?} is not in\n{page}");
        }
    }
}
