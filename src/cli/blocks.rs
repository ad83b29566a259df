//! `cairn blocks`: what blocks a stopped node's data directory holds, and where their bytes are.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::graph::bytes;
use super::{conclude, table, time};
use crate::model::BlockId;
use crate::runtime::SystemChance;
use crate::store::{Offline, OfflineBlock, Section};

const EXAMPLES: &str = "\
Examples:
  cairn blocks --data-dir /var/lib/cairn              list them
  cairn blocks --data-dir /var/lib/cairn --inspect    bytes by section, of all together
  cairn blocks --data-dir /var/lib/cairn --inspect 3f --json | jq .";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Blocks {
    /// The data directory; no process may run on it.
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Say what the sections of the blocks take whose ids begin so; without an id, of all.
    #[arg(long, value_name = "ID", num_args = 0..=1, default_missing_value = "")]
    inspect: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl Blocks {
    pub(super) fn run(&self) -> ExitCode {
        conclude(self.answer())
    }

    fn answer(&self) -> Result<String, String> {
        let offline = Offline::open(&self.data_dir, &SystemChance);
        let offline = offline.map_err(|error| error.to_string())?;
        let blocks = offline.blocks();
        match &self.inspect {
            None => Ok(if self.json {
                list_json(blocks)
            } else {
                list(blocks)
            }),
            Some(prefix) => {
                let starts = |id: BlockId| id.to_string().starts_with(prefix.as_str());
                let chosen: Vec<_> = blocks.iter().filter(|b| starts(b.entry.id)).collect();
                inspect(&chosen, self.json)
            }
        }
    }
}

fn list_json(blocks: &[OfflineBlock]) -> String {
    let one = |block: &OfflineBlock| -> Value {
        let entry = &block.entry;
        json!({
            "id": entry.id.to_string(), "partition": block.arc.to_string(),
            "start": entry.range.start.0, "end": entry.range.end.0, "level": entry.level.merges(),
            "resolution": entry.level.resolution().to_string(),
            "round": entry.round, "bytes": entry.size, "samples": entry.samples,
            "file": block.path, "elsewhere": block.is_elsewhere(),
        })
    };
    json!({ "blocks": blocks.iter().map(one).collect::<Vec<_>>() }).to_string()
}

fn list(blocks: &[OfflineBlock]) -> String {
    let header = [
        "PARTITION",
        "FROM",
        "TO",
        "LEVEL",
        "RESOLUTION",
        "ROUND",
        "SAMPLES",
        "BYTES",
        "B/SAMPLE",
        "ID",
    ];
    let row = |block: &OfflineBlock| {
        let entry = &block.entry;
        vec![
            block.arc.to_string(),
            time::show(entry.range.start),
            time::show(entry.range.end),
            entry.level.merges().to_string(),
            entry.level.resolution().to_string(),
            entry.round.to_string(),
            entry.samples.to_string(),
            entry.size.to_string(),
            per_sample(entry.size, entry.samples),
            entry.id.to_string(),
        ]
    };
    let rows: Vec<Vec<String>> = blocks.iter().map(row).collect();
    let size: u64 = blocks.iter().map(|block| block.entry.size).sum();
    let samples: u64 = blocks.iter().map(|block| block.entry.samples).sum();
    format!(
        "{}\n{} blocks, {}, {samples} samples, {} bytes a sample",
        table::render(&header, &rows),
        blocks.len(),
        in_words(size),
        per_sample(size, samples)
    )
}

fn inspect(blocks: &[&OfflineBlock], as_json: bool) -> Result<String, String> {
    let mut all: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    let (mut size, mut samples) = (0, 0);
    for block in blocks.iter().filter(|block| !block.is_elsewhere()) {
        for Section { name, keys, bytes } in block.sections().map_err(|error| error.to_string())? {
            let sum = all.entry(name).or_default();
            *sum = (sum.0 + keys, sum.1 + bytes);
        }
        size += block.entry.size;
        samples += block.entry.samples;
    }
    let keyed: u64 = all.values().map(|(_, bytes)| bytes).sum();
    all.insert("keys and table", (0, size.saturating_sub(keyed)));
    if as_json {
        let section = |(name, (keys, bytes)): (&&str, &(u64, u64))| json!({ "section": name, "keys": keys, "bytes": bytes });
        let sections: Vec<Value> = all.iter().map(section).collect();
        return Ok(json!({ "blocks": blocks.len(), "bytes": size, "samples": samples, "sections": sections }).to_string());
    }
    let row = |(name, (keys, bytes)): (&&str, &(u64, u64))| {
        vec![
            (*name).to_owned(),
            keys.to_string(),
            bytes.to_string(),
            per_sample(*bytes, samples),
        ]
    };
    let rows: Vec<Vec<String>> = all.iter().map(row).collect();
    Ok(format!(
        "{}\n{} blocks, {}, {samples} samples",
        table::render(&["SECTION", "KEYS", "BYTES", "B/SAMPLE"], &rows),
        blocks.len(),
        in_words(size)
    ))
}

#[allow(clippy::cast_precision_loss, reason = "it is shown with a few digits")]
fn per_sample(bytes: u64, samples: u64) -> String {
    if samples == 0 {
        return "-".to_owned();
    }
    format!("{:.4}", bytes as f64 / samples as f64)
}

#[allow(clippy::cast_precision_loss, reason = "it is shown with a few digits")]
fn in_words(size: u64) -> String {
    bytes(size as f64)
}
