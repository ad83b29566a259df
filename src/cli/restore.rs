//! `cairn restore`: an empty data directory becomes a cluster that was lost, from the bucket alone.

use std::process::ExitCode;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::graph::{bytes, number};
use super::{ConfigArgs, EXIT_USAGE, complain, conclude};
use crate::cluster::{RestoreExtent, RestoreProgress, Restored};
use crate::node;

const EXAMPLES: &str = "\
Examples:
  cairn restore --config /etc/cairn.toml        then `cairn serve` with the same file
  cairn restore --config /etc/cairn.toml --all --data-dir /srv/new

The data directory must be empty, and the archive that of the cluster that was lost. Blocks stay
in the bucket and queries read them there; with --all every one of them is fetched and checked
now. Interrupted, the same command goes on where it was. For a cluster of several nodes run it on
one of them, start that one first, then the others with empty directories.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Restore {
    #[command(flatten)]
    config: ConfigArgs,
    /// Fetch all blocks to this disk.
    #[arg(long)]
    all: bool,
    /// Print the outcome as one JSON object.
    #[arg(long)]
    json: bool,
}

impl Restore {
    pub(super) fn run(self) -> ExitCode {
        let settings = match self.config.load() {
            Ok(settings) => settings,
            Err(error) => {
                complain(&error);
                return ExitCode::from(EXIT_USAGE);
            }
        };
        let style =
            ProgressStyle::with_template("{wide_bar} {bytes}/{total_bytes}  {msg}  {eta} left");
        let bar =
            ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_message("looking what is there");
        let show = |progress: RestoreProgress| {
            bar.set_length(progress.bytes);
            bar.set_position(progress.bytes_done);
            let (done, all) = (progress.blocks_done, progress.blocks);
            bar.set_message(format!("{done} of {all} blocks"));
        };
        let extent = match self.all {
            true => RestoreExtent::Blocks,
            false => RestoreExtent::Catalog,
        };
        let restored = node::restore(settings, extent, &show);
        bar.finish_and_clear();
        let json = self.json;
        conclude(
            restored
                .map(|restored| shown(&restored, json))
                .map_err(|error| error.to_string()),
        )
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "counts for a person, in three digits"
)]
fn shown(restored: &Restored, json: bool) -> String {
    if json {
        return serde_json::json!({
            "cluster": restored.cluster, "from": restored.from, "blocks": restored.blocks,
            "bytes": restored.bytes, "samples": restored.samples, "adopted": restored.adopted,
            "deletes": restored.deletes,
            "complaints": restored.complaints,
        })
        .to_string();
    }
    let mut text = format!(
        "restored {} blocks, {}, {} samples of the cluster {} as the cluster {}",
        restored.blocks,
        bytes(restored.bytes as f64),
        number(restored.samples as f64),
        restored.from,
        restored.cluster
    );
    if restored.adopted > 0 {
        text += &format!(
            "\n{} blocks were not in a catalog yet and were taken as they are",
            restored.adopted
        );
    }
    if restored.deletes > 0 {
        text += &format!(
            "\n{} deletes that had not ended are in force (cairn delete --list)",
            restored.deletes
        );
    }
    for complaint in &restored.complaints {
        text += &format!("\n! {complaint}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_lost_is_said() {
        let restored = Restored {
            cluster: "new".to_owned(),
            from: "old".to_owned(),
            blocks: 3,
            bytes: 2048,
            samples: 1000,
            adopted: 1,
            deletes: 2,
            complaints: vec!["an object is damaged".to_owned()],
        };
        let text = shown(&restored, false);
        assert!(text.contains("3 blocks") && text.contains("! an object is damaged"));
        let json: serde_json::Value = serde_json::from_str(&shown(&restored, true)).unwrap();
        assert_eq!(json["complaints"][0], "an object is damaged");
    }
}
