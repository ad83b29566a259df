//! The node that runs on this machine, if one does: what it says of itself.

use std::time::Duration;

use serde_json::Value;

use super::{Finding, Patient};
use crate::cli::client::Node;
use crate::cli::client::list;
use crate::cluster::Endpoint;

/// It is asked over loopback.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A node that answers at this configuration's address.
pub(super) struct Running {
    node: Node,
    version: String,
}

/// The node that listens where the configuration says, if it is one of ours.
pub(super) fn running(patient: &Patient) -> Option<Running> {
    let listen = Endpoint::of_listen(&patient.settings.http.listen)?;
    let host = listen.host.unwrap_or_else(|| "127.0.0.1".to_owned());
    let node = Node::new(&format!("{host}:{}", listen.port), None, TIMEOUT);
    let build = node.get("status/buildinfo").ok()?.data;
    let version = build.get("cairnVersion")?.as_str()?.to_owned();
    Some(Running { node, version })
}

pub(super) fn examine(running: &Running) -> Vec<Finding> {
    let mut findings = vec![version(&running.version)];
    match running.node.get("status/runtimeinfo") {
        Ok(runtime) => findings.extend(itself(&runtime.data)),
        Err(error) => findings.push(unanswered(&error)),
    }
    match running.node.get("status/cluster") {
        Ok(cluster) => findings.extend(together(&cluster.data)),
        Err(error) => findings.push(unanswered(&error)),
    }
    findings
}

fn version(running: &str) -> Finding {
    let ours = env!("CARGO_PKG_VERSION");
    if running == ours {
        return Finding::ok("node", format!("runs, version {running}"));
    }
    Finding::warn(
        "node",
        format!("runs version {running}, and {ours} is installed"),
        "restart it: systemctl restart cairn",
    )
}

fn unanswered(error: &str) -> Finding {
    Finding::fail(
        "node",
        format!("does not tell of itself: {error}"),
        "its log says why: journalctl -u cairn",
    )
}

/// What it says of itself.
fn itself(runtime: &Value) -> Vec<Finding> {
    let writes = match runtime.get("refusingWrites").and_then(Value::as_str) {
        Some(reason) => Finding::fail(
            "writes",
            format!("are refused: {reason}"),
            "the reason names what to do; senders keep their samples meanwhile",
        ),
        None => Finding::ok("writes", "are taken"),
    };
    let reloaded = runtime.get("reloadConfigSuccess").and_then(Value::as_bool);
    let mut findings = vec![writes];
    if reloaded == Some(false) {
        findings.push(Finding::warn(
            "reload",
            "the last one failed: the configuration before it is in force",
            "its log names what is wrong; correct it, then: systemctl reload cairn",
        ));
    }
    findings
}

/// What it says of the cluster.
fn together(cluster: &Value) -> Vec<Finding> {
    let nodes = list(cluster, "nodes").len();
    let trouble = list(cluster, "trouble");
    if trouble.is_empty() {
        let said = match nodes {
            1 => "of one node, whole".to_owned(),
            _ => format!("of {nodes} nodes, whole"),
        };
        return vec![Finding::ok("cluster", said)];
    }
    let texts = trouble.iter().filter_map(Value::as_str);
    texts
        .map(|text| {
            Finding::warn(
                "cluster",
                text,
                "docs/operate.md has a table of these words; `cairn ring` shows more",
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::State;
    use super::*;

    #[test]
    fn a_node_that_is_unwell_says_so() {
        let states = |findings: Vec<Finding>| -> Vec<State> {
            assert!(
                findings
                    .iter()
                    .all(|f| f.remedy.is_empty() == (f.state == State::Ok))
            );
            findings.iter().map(|finding| finding.state).collect()
        };
        let well = json!({"reloadConfigSuccess": true});
        assert_eq!(states(itself(&well)), [State::Ok]);
        let unwell = json!({"reloadConfigSuccess": false, "refusingWrites": "the disk is full"});
        assert_eq!(states(itself(&unwell)), [State::Fail, State::Warn]);
        assert_eq!(states(vec![version("0.0.1")]), [State::Warn]);
        assert_eq!(
            states(vec![version(env!("CARGO_PKG_VERSION"))]),
            [State::Ok]
        );
        let whole = json!({"nodes": [1, 2, 3], "trouble": []});
        assert_eq!(states(together(&whole)), [State::Ok]);
        let broken = json!({"nodes": [1, 2, 3], "trouble": ["down: b", "no leader"]});
        assert_eq!(states(together(&broken)), [State::Warn, State::Warn]);
        assert_eq!(states(vec![unanswered("no")]), [State::Fail]);
    }
}
