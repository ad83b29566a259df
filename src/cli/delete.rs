//! `cairn delete`: deletes samples of series, shows them again, and lists what is deleted.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::at::AtTenant;
use super::client::{Node, text};
use super::{conclude, table, time};
use crate::model::TimestampMs;
use crate::runtime::{Clock, SystemClock};

const EXAMPLES: &str = "\
Examples:
  cairn delete --match 'up{job=\"old\"}'                 only says what would go
  cairn delete --match 'up{job=\"old\"}' --yes           hides it now, and removes it after a day
  cairn delete --match 'temp{room=\"attic\"}' --start 2026-10-01T00:00:00Z --end -2d --yes
  cairn delete --list                                 what is deleted and not gone yet
  cairn delete --undo 6f0d...                         shows it again, within a day
  cairn delete --clean                                removes it now; nothing can be undone then

The node must allow it: http.enable_admin_api = true. On disk and in the bucket the space comes back
when blocks have been rewritten.";

const TIMEOUT: Duration = Duration::from_secs(120);

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
#[command(mut_arg("url", |arg| arg.help("Any node of the cluster")))]
pub(super) struct Delete {
    #[command(flatten)]
    at: AtTenant,
    /// Which series, as a PromQL selector; may be given several times.
    #[arg(long = "match", value_name = "SELECTOR")]
    matches: Vec<String>,
    /// From when on; without it, since ever.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    start: Option<String>,
    /// Up to when; without it, and at most, until now.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    end: Option<String>,
    /// Do it: without this, only count what would go.
    #[arg(long)]
    yes: bool,
    /// List what is deleted and not gone yet.
    #[arg(long, conflicts_with_all = ["matches", "undo", "clean"])]
    list: bool,
    /// Show again what a delete hides, by its name in the list.
    #[arg(long, value_name = "ID", conflicts_with_all = ["matches", "clean"])]
    undo: Option<String>,
    /// Remove what is deleted without waiting for the day to end.
    #[arg(long, conflicts_with = "matches")]
    clean: bool,
}

impl Delete {
    pub(super) fn run(&self) -> ExitCode {
        conclude(self.answer())
    }

    fn answer(&self) -> Result<String, String> {
        let node = self.at.node(TIMEOUT);
        if self.list {
            let rows = node.get("admin/tsdb/tombstones")?.data;
            return Ok(self.listed(&rows));
        }
        if let Some(id) = &self.undo {
            node.post("admin/tsdb/undelete", &[("id", id.as_str())])?;
            return Ok(self.done("undone", "it is shown again"));
        }
        if self.clean {
            node.post("admin/tsdb/clean_tombstones", &[])?;
            return Ok(self.done(
                "cleaning",
                "what is deleted is being removed; `cairn delete --list` shows what is left",
            ));
        }
        self.delete(&node)
    }

    fn delete(&self, node: &Node) -> Result<String, String> {
        if self.matches.is_empty() {
            return Err("name the series: --match 'up{job=\"old\"}'".to_owned());
        }
        let now = SystemClock::new().now();
        let moment = |text: &String| time::parse(text, now).map(time::seconds);
        let start = self.start.as_ref().map(moment).transpose()?;
        let end = self.end.as_ref().map(moment).transpose()?;
        let mut form: Vec<(&str, &str)> = Vec::new();
        form.extend(self.matches.iter().map(|one| ("match[]", one.as_str())));
        form.extend(start.iter().map(|at| ("start", at.as_str())));
        form.extend(end.iter().map(|at| ("end", at.as_str())));
        if self.yes {
            node.post("admin/tsdb/delete_series", &form)?;
            return Ok(self.done(
                "deleted",
                "deleted: hidden from now on, and removed after a day; `cairn delete --list` names it, --undo takes it back",
            ));
        }
        form.push(("dry_run", "true"));
        let would = node.post("admin/tsdb/delete_series", &form)?.data;
        if self.at.node.json {
            return Ok(would.to_string());
        }
        Ok(format!(
            "{} samples of {} series would go: give --yes to delete them",
            text(&would, "samples"),
            text(&would, "series")
        ))
    }

    fn done(&self, state: &str, words: &str) -> String {
        if self.at.node.json {
            return serde_json::json!({"state": state}).to_string();
        }
        words.to_owned()
    }

    fn listed(&self, rows: &Value) -> String {
        if self.at.node.json {
            return rows.to_string();
        }
        let rows: Vec<Vec<String>> = rows.as_array().into_iter().flatten().map(row).collect();
        if rows.is_empty() {
            return "nothing is being deleted".to_owned();
        }
        table::render(&["DELETE", "SERIES", "FROM", "TO", "STATE"], &rows)
    }
}

/// How far a delete is that cannot be undone any more.
pub(super) fn being_removed(row: &Value) -> String {
    let count = |name: &str| row.get(name).and_then(Value::as_u64).unwrap_or(0);
    format!(
        "being removed: {} of {} partitions done",
        count("partitionsDone"),
        count("partitions")
    )
}

fn row(row: &Value) -> Vec<String> {
    let at = |name: &str| text(row, name).parse().map(TimestampMs);
    let shown = |name: &str| match at(name) {
        Ok(TimestampMs::MIN) => "ever".to_owned(),
        Ok(at) => time::show(at),
        Err(_) => String::new(),
    };
    let state = match row.get("begun") {
        Some(Value::Bool(true)) => being_removed(row),
        _ => format!("can be undone until {}", shown("undoUntil")),
    };
    vec![
        text(row, "id"),
        text(row, "selector"),
        shown("start"),
        shown("end"),
        state,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delete_is_a_line() {
        let answer = serde_json::json!({
            "id": "6f", "selector": "{job=\"old\"}", "start": i64::MIN.to_string(),
            "end": "1700000000000", "at": "1700000000000", "undoUntil": "1700086400000",
            "begun": false,
        });
        let shown = row(&answer);
        assert_eq!(shown[..3], ["6f", "{job=\"old\"}", "ever"]);
        assert!(
            shown[4].starts_with("can be undone until 2023-11-15"),
            "{shown:?}"
        );
        let begun = serde_json::json!({"begun": true, "partitionsDone": 3, "partitions": 16});
        let words = "being removed: 3 of 16 partitions done";
        assert_eq!(row(&begun)[4], words);
    }
}
