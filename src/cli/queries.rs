//! `cairn queries`: what runs on all nodes, and calling it off.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::at::AtTenant;
use super::client::{list, text};
use super::{conclude, table};

const EXAMPLES: &str = "\
Examples:
  cairn queries                     what runs now, on all nodes
  cairn queries --cancel board-1/7  call one off, as it is listed
  cairn queries --cancel all        call off every one";

const TIMEOUT: Duration = Duration::from_secs(30);

/// Characters of a query in the table.
const QUERY_CHARS: usize = 120;

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
#[command(mut_arg("url", |arg| arg.help("Any node of the cluster")))]
#[command(mut_arg("tenant", |arg| arg.help("Whose queries (X-Scope-OrgID), where tenancy is on")))]
pub(super) struct Queries {
    #[command(flatten)]
    at: AtTenant,
    /// Call one off by its id, or all.
    #[arg(long, value_name = "ID")]
    cancel: Option<String>,
}

impl Queries {
    pub(super) fn run(&self) -> ExitCode {
        conclude(self.answer())
    }

    fn answer(&self) -> Result<String, String> {
        let node = self.at.node(TIMEOUT);
        let answer = match &self.cancel {
            Some(id) => node.post("admin/queries/cancel", &[("id", id)])?,
            None => node.get("status/queries")?,
        };
        answer.complain();
        if self.at.node.json {
            return Ok(answer.data.to_string());
        }
        if self.cancel.is_some() {
            let cancelled = text(&answer.data, "cancelled");
            return Ok(format!("{cancelled} called off"));
        }
        Ok(show(&answer.data))
    }
}

fn show(data: &Value) -> String {
    let rows: Vec<Vec<String>> = list(data, "queries")
        .iter()
        .map(|query| {
            let waiting = query.get("waiting").and_then(Value::as_bool) == Some(true);
            let expression: String = text(query, "query").chars().take(QUERY_CHARS).collect();
            vec![
                text(query, "id"),
                if waiting { "waits" } else { "runs" }.to_owned(),
                text(query, "seconds"),
                text(query, "samples"),
                text(query, "peakMemoryBytes"),
                text(query, "tenant"),
                expression.replace('\n', " "),
            ]
        })
        .collect();
    if rows.is_empty() {
        return "no query runs".to_owned();
    }
    let header = [
        "ID", "STATE", "SECONDS", "SAMPLES", "BYTES", "TENANT", "QUERY",
    ];
    table::render(&header, &rows)
}

#[cfg(test)]
mod tests {
    #[test]
    fn queries_become_a_table() {
        let data = serde_json::json!({"queries": [{"id": "board-1/7", "tenant": "a", "query": "up\n+ 1",
            "waiting": true, "seconds": 1.5, "samples": 3, "peakMemoryBytes": 9}]});
        assert_eq!(
            super::show(&data).lines().last(),
            Some("board-1/7  waits  1.5      3        9      a       up + 1")
        );
        assert_eq!(super::show(&serde_json::json!({})), "no query runs");
    }
}
