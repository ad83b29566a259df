//! `cairn status`: what a node is, holds and receives.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::client::Node;
use super::graph::number;
use super::{complain, print};

const EXAMPLES: &str = "\
Examples:
  cairn status
  cairn status --url http://board-1:9009
  cairn status --json | jq .tsdb.headStats";

/// How long a status may take: it is asked of a healthy node, or of one in trouble.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What is shown of the node's own metrics: text, query, unit.
const FIGURES: &[(&str, &str, &str)] = &[
    (
        "receives",
        "sum(rate(cairn_ingest_stored_total{kind!=\"exemplar\"}[2m]))",
        " samples/s",
    ),
    (
        "writes to disk",
        "rate(cairn_device_written_bytes_total[5m])",
        " B/s",
    ),
    ("blocks", "sum(cairn_blocks)", ""),
    ("block bytes", "sum(cairn_block_bytes)", " B"),
    (
        "memory",
        "process_resident_memory_bytes{job=\"cairn\"}",
        " B",
    ),
    (
        "processor",
        "rate(process_cpu_seconds_total{job=\"cairn\"}[2m])",
        " cores",
    ),
];

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Status {
    /// The node to ask.
    #[arg(
        long,
        env = "CAIRN_URL",
        hide_env_values = true,
        default_value = "http://127.0.0.1:9009"
    )]
    url: String,
    /// Print everything as one JSON object.
    #[arg(long)]
    json: bool,
}

impl Status {
    pub(super) fn run(&self) -> ExitCode {
        match self.answer() {
            Ok(text) => {
                print(&text);
                ExitCode::SUCCESS
            }
            Err(error) => {
                complain(&error);
                ExitCode::FAILURE
            }
        }
    }

    fn answer(&self) -> Result<String, String> {
        let node = Node::new(&self.url, None, TIMEOUT);
        let build = node.ask("status/buildinfo", &[])?.data;
        let runtime = node.ask("status/runtimeinfo", &[])?.data;
        let tsdb = node.ask("status/tsdb", &[])?.data;
        let figures: Vec<(&str, Option<f64>, &str)> = FIGURES
            .iter()
            .map(|(text, query, unit)| (*text, figure(&node, query), *unit))
            .collect();
        if self.json {
            let figures: serde_json::Map<String, Value> = figures
                .iter()
                .map(|(text, value, _)| (text.replace(' ', "_"), json!(value)))
                .collect();
            return Ok(
                json!({"build": build, "runtime": runtime, "tsdb": tsdb, "figures": figures})
                    .to_string(),
            );
        }
        let text = |data: &Value, name: &str| {
            let value = data.get(name).cloned().unwrap_or_default();
            value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned)
        };
        let mut lines = vec![
            ("node", text(&runtime, "hostname")),
            (
                "version",
                format!(
                    "{} (answers as Prometheus {})",
                    text(&build, "cairnVersion"),
                    text(&build, "version")
                ),
            ),
            ("started", text(&runtime, "startTime")),
            (
                "retention",
                Some(text(&runtime, "storageRetention"))
                    .filter(|t| !t.is_empty())
                    .unwrap_or_else(|| "everything is kept".to_owned()),
            ),
            (
                "series",
                text(tsdb.get("headStats").unwrap_or(&Value::Null), "numSeries"),
            ),
        ];
        for (name, value, unit) in figures {
            let shown =
                value.map_or_else(|| "not known yet".to_owned(), |value| shown(value, unit));
            lines.push((name, shown));
        }
        Ok(lines
            .iter()
            .map(|(name, value)| format!("{name:<16}{value}"))
            .collect::<Vec<_>>()
            .join("\n"))
    }
}

/// A number with its unit; bytes as people count them.
fn shown(value: f64, unit: &str) -> String {
    let Some(rest) = unit.strip_prefix(" B") else {
        return format!("{}{unit}", number(value));
    };
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut name) = (value, "B");
    for next in units.iter().skip(1) {
        if value < 1024.0 {
            break;
        }
        (value, name) = (value / 1024.0, next);
    }
    format!("{value:.1} {name}{rest}")
}

/// The value of a query with one result, if the node has one.
fn figure(node: &Node, query: &str) -> Option<f64> {
    let answer = node.ask("query", &[("query", query)]).ok()?;
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
