//! `cairn status`: what a node is, holds and receives.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::at::AtNode;
use super::client::{Node, list, text};
use super::conclude;
use super::delete::being_removed;
use super::graph::{bytes, number};

const EXAMPLES: &str = "\
Examples:
  cairn status
  cairn status --url http://board-1:9009
  cairn status --json | jq .tsdb.headStats";

/// How long a status may take: it is asked of a healthy node, or of one in trouble.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How a figure is written.
#[derive(Clone, Copy)]
enum Unit {
    Count,
    SamplesPerSecond,
    Bytes,
    BytesPerSecond,
    CommitsPerSecond,
    /// Bytes a second, shown as what they make of a flash card.
    Wear,
    /// The same, if commits were rarer.
    WearWithRarerCommits,
    /// Of one processor core.
    OfCore,
}

/// What is shown of the node's own metrics: text, unit, query. `OWN` stands for the labels of its
/// own target: others may send metrics of the same names, of this node or of another.
const FIGURES: &[(&str, Unit, &str)] = &[
    (
        "receives",
        Unit::SamplesPerSecond,
        "sum(rate(cairn_ingest_stored_total{OWN,kind!=\"exemplar\"}[2m]))",
    ),
    ("unsealed", Unit::Bytes, "cairn_unsealed_bytes{OWN}"),
    ("blocks", Unit::Count, "cairn_blocks{OWN}"),
    ("block bytes", Unit::Bytes, "cairn_block_bytes{OWN}"),
    (
        "writes to disk",
        Unit::BytesPerSecond,
        "rate(cairn_device_written_bytes_total{OWN}[5m])",
    ),
    (
        "commits to disk",
        Unit::CommitsPerSecond,
        "rate(cairn_log_syncs_total{OWN}[5m])",
    ),
    (
        "wear",
        Unit::Wear,
        "rate(cairn_device_written_bytes_total{OWN}[1h])",
    ),
    // Each commit writes at least one page of the log anew: scripts/bench-flash found 4.3 kB a commit.
    (
        "wear at 5s",
        Unit::WearWithRarerCommits,
        "clamp_min(rate(cairn_device_written_bytes_total{OWN}[1h]) \
         - 4096 * clamp_min(rate(cairn_log_syncs_total{OWN}[1h]) - 1 / 5, 0), 0)",
    ),
    (
        "device writes",
        Unit::BytesPerSecond,
        "rate(cairn_disk_written_bytes_total{OWN}[1h]) > 0",
    ),
    (
        "device flushes",
        Unit::CommitsPerSecond,
        "rate(cairn_disk_flushes_total{OWN}[1h])",
    ),
    (
        "device wear",
        Unit::Wear,
        "rate(cairn_disk_written_bytes_total{OWN}[1h]) > 0",
    ),
    ("disk free", Unit::Bytes, "cairn_disk_free_bytes{OWN}"),
    ("memory", Unit::Bytes, "process_resident_memory_bytes{OWN}"),
    (
        "processor",
        Unit::OfCore,
        "rate(process_cpu_seconds_total{OWN}[2m])",
    ),
];

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Status {
    #[command(flatten)]
    at: AtNode,
}

impl Status {
    pub(super) fn run(&self) -> ExitCode {
        conclude(self.answer())
    }

    fn answer(&self) -> Result<String, String> {
        let node = self.at.node(TIMEOUT);
        let build = node.get("status/buildinfo")?.data;
        let runtime = node.get("status/runtimeinfo")?.data;
        if let Some(shown) = runtime.get("readOnly") {
            return Ok(self.of_read_only(&build, &runtime, shown));
        }
        self.of_member(&node, &build, &runtime)
    }

    fn of_member(&self, node: &Node, build: &Value, runtime: &Value) -> Result<String, String> {
        let tsdb = node.get("status/tsdb")?.data;
        let cluster = node.get("status/cluster")?.data;
        let own = own_labels(node);
        let figure = |query: &str| figure(node, &query.replace("OWN", &own));
        let figures: Vec<(&str, Unit, Option<f64>)> = FIGURES
            .iter()
            .map(|(text, unit, query)| (*text, *unit, figure(query)))
            .collect();
        let refuses = runtime.get("refusingWrites").and_then(Value::as_str);
        if self.at.json {
            let figures: serde_json::Map<String, Value> = figures
                .iter()
                .map(|(text, _, value)| (text.replace(' ', "_"), json!(value)))
                .collect();
            let all = json!({
                "build": build, "runtime": runtime, "tsdb": tsdb, "figures": figures,
                "refusing_writes": refuses, "cluster": cluster,
            });
            return Ok(all.to_string());
        }
        let mut lines = vec![
            ("node", own_name(&cluster, runtime)),
            (
                "version",
                format!(
                    "{} (answers as Prometheus {})",
                    text(build, "cairnVersion"),
                    text(build, "version")
                ),
            ),
            ("started", text(runtime, "startTime")),
            (
                "retention",
                Some(text(runtime, "storageRetention"))
                    .filter(|t| !t.is_empty())
                    .unwrap_or_else(|| "everything is kept".to_owned()),
            ),
            (
                "writes",
                refuses.map_or("taken".to_owned(), |reason| format!("refused: {reason}")),
            ),
            ("cluster", of_cluster(&cluster, refuses)),
            ("bucket", of_bucket(&cluster)),
            ("scrub", of_scrub(&cluster)),
            ("deletes", of_deletes(&cluster)),
            (
                "active series",
                text(tsdb.get("headStats").unwrap_or(&Value::Null), "numSeries"),
            ),
        ];
        for (name, unit, value) in figures {
            let unknown = || "not known yet".to_owned();
            lines.push((name, value.map_or_else(unknown, |value| shown(value, unit))));
        }
        Ok(lines
            .iter()
            .map(|(name, value)| format!("{name:<16}{value}"))
            .collect::<Vec<_>>()
            .join("\n"))
    }

    /// A node that only looks at a bucket. Its own figures are not stored anywhere: those that a
    /// query would find are of the cluster's nodes.
    fn of_read_only(&self, build: &Value, runtime: &Value, shown: &Value) -> String {
        if self.at.json {
            return json!({"build": build, "runtime": runtime, "read_only": shown}).to_string();
        }
        let lines = [
            ("node", text(runtime, "hostname")),
            ("version", text(build, "cairnVersion")),
            ("started", text(runtime, "startTime")),
            ("read-only", of_catalog(shown)),
            ("cluster", text(shown, "cluster")),
            ("shows up to", text(shown, "newest")),
        ];
        let lines = lines
            .iter()
            .map(|(name, value)| format!("{name:<16}{value}"));
        let trouble = list(shown, "trouble").iter().filter_map(Value::as_str);
        let trouble = trouble.map(|text| format!("{:16}! {text}", ""));
        lines.chain(trouble).collect::<Vec<_>>().join("\n")
    }
}

/// What the node that answers is called in its cluster, or else its machine.
fn own_name(cluster: &Value, runtime: &Value) -> String {
    let in_cluster = || {
        let incarnation = cluster.get("incarnation")?;
        let mut nodes = cluster.get("nodes")?.as_array()?.iter();
        let me = nodes.find(|node| node.get("incarnation") == Some(incarnation))?;
        me.get("name")?.as_str()
    };
    let machine = || runtime.get("hostname").and_then(Value::as_str);
    in_cluster().or_else(machine).unwrap_or_default().to_owned()
}

/// What a read-only node shows, and how old that is.
fn of_catalog(shown: &Value) -> String {
    let count = |name: &str| shown.get(name).and_then(Value::as_u64).unwrap_or(0);
    #[allow(
        clippy::cast_precision_loss,
        reason = "a size for a person, in three digits"
    )]
    let size = bytes(count("bytes") as f64);
    format!(
        "{} blocks of {size} in {}, catalog read {} s ago",
        count("blocks"),
        text(shown, "place"),
        count("catalogAgeSeconds")
    )
}

/// The cluster in one line, and what is wrong with it below, but for what was said already;
/// `cairn ring` says more.
fn of_cluster(cluster: &Value, said: Option<&str>) -> String {
    let nodes = list(cluster, "nodes");
    let trouble = list(cluster, "trouble").iter();
    let trouble = trouble
        .filter_map(Value::as_str)
        .filter(|text| Some(*text) != said);
    let lines = trouble.map(|text| format!("\n{:16}! {text}", ""));
    if nodes.len() < 2 {
        return "this node alone".to_owned() + &lines.collect::<String>();
    }
    let live = nodes.iter().filter(|n| text(n, "health") == "live");
    let leader = match text(cluster, "leader") {
        name if name.is_empty() => "nobody leads".to_owned(),
        name => format!("{name} leads"),
    };
    let moves = match list(cluster, "moves").len() {
        0 => "nothing moves".to_owned(),
        1 => "1 partition moves".to_owned(),
        moves => format!("{moves} partitions move"),
    };
    let line = format!(
        "{} of {} nodes live, {leader}, {moves}",
        live.count(),
        nodes.len()
    );
    line + &lines.collect::<String>()
}

/// What of the blocks the bucket has.
fn of_bucket(cluster: &Value) -> String {
    let Some(archive) = cluster.get("archive") else {
        return "none (archive.kind)".to_owned();
    };
    let place = text(archive, "place");
    let count = |name: &str| archive.get(name).and_then(Value::as_u64).unwrap_or(0);
    match count("waitingBlocks") {
        0 => format!("{place}: has all blocks"),
        #[allow(
            clippy::cast_precision_loss,
            reason = "a size for a person, in three digits"
        )]
        blocks => format!(
            "{place}: {blocks} blocks of {} wait, the oldest for {} s",
            bytes(count("waitingBytes") as f64),
            count("waitingSeconds")
        ),
    }
}

/// What was read again of this node's blocks, and what came of it.
fn of_scrub(cluster: &Value) -> String {
    let sides = cluster.get("scrub").and_then(Value::as_array);
    let side = |side: &Value| {
        let count = |name: &str| side.get(name).and_then(Value::as_u64).unwrap_or(0);
        let unhealed = side.get("unhealed").and_then(Value::as_array);
        #[allow(
            clippy::cast_precision_loss,
            reason = "a size for a person, in three digits"
        )]
        let read = bytes(count("bytes") as f64);
        format!(
            "{}: {read} read this round, {} damaged, {} replaced, {} not yet",
            text(side, "copies"),
            count("found"),
            count("healed"),
            unhealed.map_or(0, Vec::len)
        )
    };
    let sides = sides.into_iter().flatten().map(side);
    sides.collect::<Vec<_>>().join("; ")
}

/// Deletes that are under way: how many can be undone, and how far the others are.
fn of_deletes(cluster: &Value) -> String {
    let rows = cluster.get("deletes").and_then(Value::as_array);
    let begun = |row: &&Value| row.get("begun").and_then(Value::as_bool).unwrap_or(false);
    let (removed, undoable): (Vec<&Value>, Vec<&Value>) =
        rows.into_iter().flatten().partition(begun);
    let mut parts = Vec::new();
    if !undoable.is_empty() {
        parts.push(format!("{} can be undone", undoable.len()));
    }
    // The one that stands for longest is the one to be looked at.
    if let Some(oldest) = removed.first() {
        let more = removed.len() - 1;
        let more = (more > 0).then(|| format!(", and {more} more"));
        let (words, selector) = (being_removed(oldest), text(oldest, "selector"));
        parts.push(format!("{selector} is {words}{}", more.unwrap_or_default()));
    }
    if parts.is_empty() {
        return "none".to_owned();
    }
    parts.join("; ")
}

/// A number with its unit.
fn shown(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Count => format!("{value:.0}"),
        Unit::SamplesPerSecond if value < 100.0 => format!("{value:.1} samples/s"),
        Unit::SamplesPerSecond => format!("{} samples/s", number(value)),
        Unit::Bytes => bytes(value),
        Unit::BytesPerSecond => format!("{}/s", bytes(value)),
        Unit::CommitsPerSecond => format!("{value:.2} commits/s"),
        Unit::Wear => wear(value),
        Unit::WearWithRarerCommits => {
            format!(
                "{}, with log.sync = \"interval\" and log.sync_interval = \"5s\"",
                wear(value)
            )
        }
        Unit::OfCore => format!("{:.1} % of a core", value * 100.0),
    }
}

/// What bytes a second make of a flash card. What the file system and the card write on top is not known here.
fn wear(bytes_per_second: f64) -> String {
    /// What a small card is often said to endure: ten terabytes written.
    const ENDURES: f64 = 10e12;
    const DAY: f64 = 86_400.0;
    let a_day = bytes_per_second * DAY;
    if a_day < 1.0 {
        return "nothing is written".to_owned();
    }
    let years = ENDURES / a_day / 365.0;
    let years = if years > 100.0 {
        "more than 100".to_owned()
    } else {
        format!("{years:.1}")
    };
    format!(
        "{} a day: a card that endures 10 TB lasts {years} years",
        bytes(a_day)
    )
}

/// The labels by which the node stores its own metrics, as a selector has them.
fn own_labels(node: &Node) -> String {
    let targets = node.get("targets").map(|answer| answer.data);
    let labels = targets.ok().and_then(|data| {
        let target = data.get("activeTargets")?.get(0)?;
        Some(target.get("labels")?.as_object()?.clone())
    });
    let pairs = labels.unwrap_or_default();
    let matchers: Vec<String> = pairs
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    if matchers.is_empty() {
        return "job=\"cairn\"".to_owned();
    }
    matchers.join(",")
}

/// The value of a query with one result, if the node has one.
fn figure(node: &Node, query: &str) -> Option<f64> {
    let answer = node.post("query", &[("query", query)]).ok()?;
    answer
        .data
        .get("result")?
        .get(0)?
        .get("value")?
        .get(1)?
        .as_str()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a node that is shown under its machine's name, by which no other node knows it.
    #[test]
    fn a_node_has_its_name_in_the_cluster() {
        let runtime = json!({"hostname": "machine"});
        let nodes = json!([{"incarnation": "1", "name": "a"}, {"incarnation": "2", "name": "b"}]);
        let of = |me: &str| own_name(&json!({"incarnation": me, "nodes": nodes}), &runtime);
        assert_eq!(of("2"), "b");
        assert_eq!(of("3"), "machine");
        assert_eq!(own_name(&Value::Null, &runtime), "machine");
        assert_eq!(own_name(&Value::Null, &Value::Null), "");
    }

    #[test]
    fn a_cluster_is_one_line_and_its_trouble() {
        let check =
            |cluster: Value, want: &str| assert_eq!(of_cluster(&cluster, Some("full")), want);
        check(
            json!({"nodes": [{"health": "live"}], "leader": "a", "moves": [], "trouble": ["full"]}),
            "this node alone",
        );
        check(
            json!({
                "nodes": [{"health": "live"}, {"health": "down"}, {"health": "live"}],
                "leader": "a", "moves": [{}, {}], "trouble": ["down: b"],
            }),
            "2 of 3 nodes live, a leads, 2 partitions move\n                ! down: b",
        );
        check(
            json!({"nodes": [{"health": "live"}, {"health": "live"}], "trouble": []}),
            "2 of 2 nodes live, nobody leads, nothing moves",
        );
    }

    #[test]
    fn what_a_read_only_node_shows_is_one_line() {
        let shown = json!({"blocks": 15, "bytes": 2048, "place": "x", "catalogAgeSeconds": 7});
        let want = "15 blocks of 2.0 KiB in x, catalog read 7 s ago";
        assert_eq!(of_catalog(&shown), want);
    }

    #[test]
    fn deletes_are_one_line() {
        let check = |deletes: Value, want: &str| {
            assert_eq!(of_deletes(&json!({"deletes": deletes})), want);
        };
        let removed = json!({
            "begun": true, "selector": "{job=\"old\"}", "partitions": 16, "partitionsDone": 3,
        });
        check(json!([]), "none");
        check(
            json!([{"begun": false}, {"begun": false}]),
            "2 can be undone",
        );
        check(
            json!([{"begun": false}, removed, {"begun": true}]),
            "1 can be undone; {job=\"old\"} is being removed: 3 of 16 partitions done, and 1 more",
        );
    }

    #[test]
    fn figures_have_units() {
        let check = |value, unit, want: &str| assert_eq!(shown(value, unit), want);
        check(0.0, Unit::Bytes, "0 B");
        check(1_536.0, Unit::BytesPerSecond, "1.5 KiB/s");
        check(26.1 * 1_048_576.0, Unit::Bytes, "26.1 MiB");
        check(0.000_48, Unit::OfCore, "0.0 % of a core");
        check(25_300.0, Unit::SamplesPerSecond, "25.30k samples/s");
        check(0.25, Unit::SamplesPerSecond, "0.2 samples/s");
        check(12_345.0, Unit::Count, "12345");
        check(2.04, Unit::CommitsPerSecond, "2.04 commits/s");
        check(0.0, Unit::Wear, "nothing is written");
        let (day, lasts) = (
            "823.6 MiB a day",
            "a card that endures 10 TB lasts 31.7 years",
        );
        check(9_996.0, Unit::Wear, &format!("{day}: {lasts}"));
        check(
            1.0,
            Unit::Wear,
            "84.4 KiB a day: a card that endures 10 TB lasts more than 100 years",
        );
        let rarer = "with log.sync = \"interval\" and log.sync_interval = \"5s\"";
        check(
            9_996.0,
            Unit::WearWithRarerCommits,
            &format!("{day}: {lasts}, {rarer}"),
        );
    }
}
