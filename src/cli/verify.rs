//! `cairn verify`: reads every byte of the blocks of a stopped node, or of all nodes of a running
//! cluster, and says what is wrong.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::at::AtNode;
use super::verify_cluster::{Ask, look_everywhere};
use super::{complain, print, time};
use crate::runtime::{CancelToken, SystemChance};
use crate::store::{Fault, Offline, OfflineBlock};

const EXAMPLES: &str = "\
Examples:
  cairn verify --data-dir /var/lib/cairn
  cairn verify --data-dir /var/lib/cairn --json | jq '.faults[]'
  cairn verify --cluster                               all copies on all nodes, and the bucket
  cairn verify --cluster --rate 100MiB --url http://board-1:9009

The exit code is 0 when everything is as it was written, 1 when something is wrong or could not be
looked at. The log is not looked at: every start reads it whole, and refuses damage. A cluster that
is verified goes on as ever; what is found damaged is replaced from a good copy afterwards. When
this command is ended, the nodes end what they do for it within a minute.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
#[command(mut_arg("url", |arg| arg.help("Any node of the cluster").requires("cluster")))]
pub(super) struct Verify {
    /// The data directory of a stopped node; no process may run on it.
    #[arg(long, value_name = "DIR", required_unless_present = "cluster")]
    data_dir: Option<PathBuf>,
    /// Have all nodes of a running cluster read their copies, and those in the bucket.
    #[arg(long, conflicts_with = "data_dir")]
    cluster: bool,
    /// Read so much a second on each node [default: 32MiB].
    #[arg(long, value_name = "SIZE", requires = "cluster")]
    rate: Option<String>,
    /// End what somebody else has begun.
    #[arg(long, requires = "cluster", conflicts_with = "rate")]
    call_off: bool,
    #[command(flatten)]
    at: AtNode,
}

/// What was found.
#[derive(Default)]
struct Report {
    blocks: usize,
    bytes: u64,
    series: u64,
    samples: u64,
    /// Blocks that are only in the bucket, and not looked at.
    elsewhere: u64,
    faults: Vec<Value>,
}

impl Verify {
    pub(super) fn run(&self) -> ExitCode {
        match &self.data_dir {
            Some(data_dir) => self.look(data_dir),
            None => self.look_everywhere(),
        }
    }

    fn look_everywhere(&self) -> ExitCode {
        let ask = Ask {
            rate: self.rate.as_deref(),
            call_off: self.call_off,
            json: self.at.json,
        };
        match look_everywhere(&self.at, &ask) {
            Ok((text, whole)) => {
                print(&text);
                if whole {
                    ExitCode::SUCCESS
                } else {
                    ExitCode::FAILURE
                }
            }
            Err(error) => {
                complain(&error);
                ExitCode::FAILURE
            }
        }
    }

    fn look(&self, data_dir: &Path) -> ExitCode {
        let offline = match Offline::open(data_dir, &SystemChance) {
            Ok(offline) => offline,
            Err(error) => {
                complain(&error.to_string());
                return ExitCode::FAILURE;
            }
        };
        let report = look(offline.blocks());
        let whole = report.faults.is_empty();
        print(&if self.at.json {
            report.json()
        } else {
            report.text()
        });
        if whole {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

fn look(blocks: &[OfflineBlock]) -> Report {
    let style = ProgressStyle::with_template("{wide_bar} {bytes}/{total_bytes}  {msg}");
    let here = blocks.iter().filter(|block| !block.is_elsewhere());
    let bytes = here.map(|block| block.entry.size).sum();
    let bar =
        ProgressBar::new(bytes).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let mut report = Report::default();
    for block in blocks {
        bar.set_message(format!("partition {}", block.arc));
        if block.is_elsewhere() {
            report.elsewhere += 1;
            continue;
        }
        report.blocks += 1;
        match block.verify(&CancelToken::new()) {
            Ok(verified) => {
                report.bytes += verified.size;
                report.series += verified.series;
                report.samples += verified.samples;
                let faults = verified.faults.iter();
                report
                    .faults
                    .extend(faults.map(|fault| of_series(block, fault)));
            }
            Err(error) => report.faults.push(of_block(block, &error.to_string())),
        }
        bar.inc(block.entry.size);
    }
    bar.finish_and_clear();
    report
}

fn of_block(block: &OfflineBlock, problem: &str) -> Value {
    let range = block.entry.range;
    json!({
        "block": block.entry.id.to_string(), "partition": block.arc.to_string(),
        "start": range.start.0, "end": range.end.0, "file": block.path, "problem": problem,
    })
}

fn of_series(block: &OfflineBlock, fault: &Fault) -> Value {
    let mut value = of_block(block, &fault.problem);
    if let Some(fields) = value.as_object_mut() {
        let tenant = fault.tenant.as_ref().map(ToString::to_string);
        let series = fault.series.as_ref().map(ToString::to_string);
        fields.insert("tenant".to_owned(), json!(tenant));
        fields.insert("series".to_owned(), json!(series));
    }
    value
}

impl Report {
    fn json(&self) -> String {
        json!({
            "blocks": self.blocks, "bytes": self.bytes, "series": self.series,
            "samples": self.samples, "elsewhere": self.elsewhere, "faults": self.faults,
        })
        .to_string()
    }

    fn text(&self) -> String {
        let mut lines: Vec<String> = self.faults.iter().map(line).collect();
        let end = match self.faults.len() {
            0 => "everything is as it was written".to_owned(),
            faults => format!("{faults} things are wrong"),
        };
        lines.push(format!(
            "{} blocks, {} bytes, {} series, {} samples: {end}",
            self.blocks, self.bytes, self.series, self.samples
        ));
        if self.elsewhere > 0 {
            lines.push(format!(
                "{} more blocks are only in the bucket",
                self.elsewhere
            ));
        }
        lines.join("\n")
    }
}

/// A fault for a person.
fn line(fault: &Value) -> String {
    let text = |key: &str| fault.get(key).and_then(Value::as_str);
    let at = |key: &str| {
        let ms = fault.get(key).and_then(Value::as_i64).unwrap_or(0);
        time::show(crate::model::TimestampMs(ms))
    };
    let series = text("series").map_or(String::new(), |series| format!(", series {series}"));
    format!(
        "block {} of partition {}, {} to {}{series}: {}",
        text("block").unwrap_or_default(),
        text("partition").unwrap_or_default(),
        at("start"),
        at("end"),
        text("problem").unwrap_or_default()
    )
}
