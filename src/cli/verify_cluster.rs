//! `cairn verify --cluster`: has all nodes read their copies, shows how far they are, and says what
//! is wrong, with node, partition, time and block.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use super::at::AtNode;
use super::client::{Answer, list, text};
use super::graph::bytes;
use super::time;
use crate::model::TimestampMs;

const TIMEOUT: Duration = Duration::from_secs(30);
/// The nodes are looked at so often while they read.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Looks at a node that does not answer, after which nobody waits any more: a minute, after which it
/// has given up itself.
const PATIENCE_LOOKS: u32 = 60;

/// What is wanted.
pub(super) struct Ask<'a> {
    pub(super) rate: Option<&'a str>,
    pub(super) call_off: bool,
    pub(super) json: bool,
}

/// Orders it and waits: the outcome, and whether everything is whole.
pub(super) fn look_everywhere(at: &AtNode, ask: &Ask<'_>) -> Result<(String, bool), String> {
    let node = at.node(TIMEOUT);
    if ask.call_off {
        node.post("admin/verify", &[("call_off", "true")])?;
        return Ok(("called off".to_owned(), true));
    }
    let rate = ask.rate.map(|rate| ("rate", rate));
    let begun = node.post("admin/verify", rate.as_slice())?;
    let order = text(&begun.data, "order");
    let style = ProgressStyle::with_template("{wide_bar} {bytes}/{total_bytes}  {msg}");
    let bar =
        ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let (mut answer, mut silence) = (Ok(begun), 0);
    loop {
        match answer {
            Ok(Answer { data, .. }) => {
                if text(&data, "order") != order {
                    return Err("the node was started anew, or somebody else has ordered a verification: run it again".to_owned());
                }
                show(&bar, &data);
                silence = if is_quiet(&data) { silence + 1 } else { 0 };
                if is_over(&data) || silence >= PATIENCE_LOOKS {
                    bar.finish_and_clear();
                    return Ok(outcome(&data, ask.json));
                }
            }
            Err(error) if silence >= PATIENCE_LOOKS => return Err(error),
            Err(_) => silence += 1,
        }
        crate::runtime::pause(LOOK_EVERY);
        answer = node.get("status/verify");
    }
}

fn is_over(data: &Value) -> bool {
    data.get("over").and_then(Value::as_bool) == Some(true)
}

/// Whether all that is still waited for is nodes that do not answer.
fn is_quiet(data: &Value) -> bool {
    let busy = ["waiting", "running"];
    let mut nodes = list(data, "nodes").iter();
    !nodes.any(|node| busy.contains(&text(node, "stage").as_str()))
}

fn count(value: &Value, name: &str) -> u64 {
    value.get(name).and_then(Value::as_u64).unwrap_or(0)
}

fn sum(data: &Value, name: &str) -> u64 {
    let nodes = list(data, "nodes").iter();
    nodes
        .map(|node| count(node, name))
        .fold(0, u64::saturating_add)
}

fn show(bar: &ProgressBar, data: &Value) {
    let (done, all) = (sum(data, "bytes"), sum(data, "bytesAll"));
    bar.set_length(all.max(done));
    bar.set_position(done);
    let busy = list(data, "nodes").iter();
    let busy = busy.filter(|node| !matches!(text(node, "stage").as_str(), "done" | "called off"));
    let busy: Vec<String> = busy
        .map(|node| match text(node, "stage").as_str() {
            "running" => text(node, "node"),
            stage => format!("{} ({stage})", text(node, "node")),
        })
        .collect();
    bar.set_message(busy.join(", "));
}

/// The outcome, and whether it proves everything.
fn outcome(data: &Value, json: bool) -> (String, bool) {
    let nodes = list(data, "nodes");
    let done = |node: &Value| text(node, "stage") == "done";
    let faults = sum(data, "faultsAll");
    let unseen = list(data, "unseen");
    let whole = nodes.iter().all(done) && faults == 0 && unseen.is_empty() && !nodes.is_empty();
    if json {
        let mut data = data.clone();
        if let Some(fields) = data.as_object_mut() {
            fields.insert("whole".to_owned(), Value::Bool(whole));
        }
        return (data.to_string(), whole);
    }
    let mut lines = Vec::new();
    for node in nodes {
        let name = text(node, "node");
        let told = list(node, "faults");
        lines.extend(told.iter().map(|fault| line(&name, fault)));
        let more = count(node, "faultsAll").saturating_sub(told.len() as u64);
        if more > 0 {
            lines.push(format!("{name}: {more} more things are wrong"));
        }
        let problem = match text(node, "stage").as_str() {
            "done" => continue,
            "down" => "it is down".to_owned(),
            "lost" => "it was started anew, or somebody else has ordered a verification".to_owned(),
            "silent" => format!("it does not answer: {}", text(node, "reason")),
            stage => format!("it did not come to its end ({stage})"),
        };
        lines.push(format!("{name}: its copies were not looked at: {problem}"));
    }
    lines.extend(unseen.iter().filter_map(Value::as_str).map(str::to_owned));
    lines.extend(nodes.iter().filter(|node| done(node)).map(looked));
    lines.push(match (whole, faults) {
        (true, _) => "every copy is what the catalog says".to_owned(),
        (false, 0) => "not everything could be looked at".to_owned(),
        (false, faults) => {
            let are = if faults == 1 {
                "thing is"
            } else {
                "things are"
            };
            format!("{faults} {are} wrong; what is damaged is replaced where there is a good copy")
        }
    });
    (lines.join("\n"), whole)
}

/// What a node has looked at.
fn looked(node: &Value) -> String {
    #[allow(
        clippy::cast_precision_loss,
        reason = "a size for a person, in three digits"
    )]
    let size = bytes(count(node, "bytes") as f64);
    let mut text = format!(
        "{}: {size} read, {} blocks on its disk",
        text(node, "node"),
        count(node, "blocks")
    );
    for (name, words) in [
        ("objects", "in the bucket"),
        ("elsewhere", "have left its disk for the bucket"),
        ("waiting", "wait for the bucket"),
    ] {
        let count = count(node, name);
        if count > 0 {
            text += &format!(", {count} {words}");
        }
    }
    text
}

/// A fault for a person.
fn line(node: &str, fault: &Value) -> String {
    let at = |key: &str| {
        let ms = fault.get(key).and_then(Value::as_i64).unwrap_or(0);
        time::show(TimestampMs(ms))
    };
    let copy = match text(fault, "copy").as_str() {
        "bucket" => "in the bucket",
        _ => "on its disk",
    };
    let partition = text(fault, "partition");
    let problem = text(fault, "problem");
    match text(fault, "block") {
        block if block.is_empty() => format!("{node}: partition {partition}: {problem}"),
        block => format!(
            "{node}: block {block} of partition {partition}, {} to {}, {copy}: {problem}",
            at("start"),
            at("end")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    type Change = fn(&mut Value);

    fn data(change: impl FnOnce(&mut Value)) -> Value {
        let node = |name: &str| {
            json!({"node": name, "stage": "done", "bytes": 2048, "bytesAll": 2048, "blocks": 3,
                "objects": 2, "elsewhere": 0, "waiting": 0, "faultsAll": 0, "faults": []})
        };
        let nodes = [node("board-1"), node("board-2")];
        let mut data = json!({"order": "1", "over": true, "nodes": nodes, "unseen": []});
        change(&mut data);
        data
    }

    /// Would catch an end that is taken for a proof although something was not looked at, and a
    /// fault without its place.
    #[test]
    fn only_what_was_looked_at_and_right_is_a_proof() {
        let (text, whole) = outcome(&data(|_| ()), false);
        assert!(
            whole && text.ends_with("every copy is what the catalog says"),
            "{text}"
        );
        assert!(
            text.contains("board-2: 2.0 KiB read, 3 blocks on its disk, 2 in the bucket"),
            "{text}"
        );
        let faults: [(&str, Change); 5] = [
            (
                "board-1: its copies were not looked at: it is down",
                |data| {
                    data["nodes"][0] = json!({"node": "board-1", "stage": "down"});
                },
            ),
            ("it does not answer: away", |data| {
                data["nodes"][0] = json!({"node": "board-1", "stage": "silent", "reason": "away"});
            }),
            ("(called off)", |data| {
                data["nodes"][0]["stage"] = json!("called off")
            }),
            ("nobody has looked", |data| {
                data["unseen"] = json!(["nobody has looked"])
            }),
            (
                "board-1: block b7 of partition 3-4, 1970-01-01T00:00:00Z to 1970-01-01T02:00:00Z, on its disk: bad",
                |data| {
                    data["nodes"][0]["faultsAll"] = json!(2);
                    data["nodes"][0]["faults"] = json!([{"partition": "3-4", "block": "b7",
                        "start": 0, "end": 7_200_000, "copy": "local", "problem": "bad"}]);
                },
            ),
        ];
        for (says, change) in faults {
            let data = data(change);
            let (text, whole) = outcome(&data, false);
            assert!(!whole && text.contains(says), "{text}");
            let (text, whole) = outcome(&data, true);
            let json: Value = serde_json::from_str(&text).unwrap();
            assert!(!whole && json["whole"] == false);
        }
        assert!(!outcome(&json!({"over": true, "nodes": []}), false).1);
    }
}
