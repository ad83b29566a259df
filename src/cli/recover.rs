//! `cairn recover control`: the control group goes on without a majority of its voters.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::conclude;
use crate::cluster::{Survivor, recover_control};
use crate::runtime::SystemChance;

const EXAMPLES: &str = "\
Examples, on a board that is left, its node switched off:
  cairn recover control --data-dir /var/lib/cairn
      how far its log goes: go on from the board where it goes farthest
  cairn recover control --data-dir /var/lib/cairn --lost board-1 --lost board-2 --accept-loss
      on that board alone; then start it, and the others";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Recover {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Let the control group go on from the log of this board, whose node is switched off.
    ///
    /// For when a majority of the voters is gone for good, disks and all. Those that are lost are
    /// given up for ever. Decisions that only they knew are undone; no sample is lost by it. Use it
    /// on one board: the others follow when they are started.
    Control(Control),
}

#[derive(Args, Debug)]
struct Control {
    /// The board's data directory.
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// A node that will never come back, by its name or incarnation. May be repeated.
    #[arg(long, value_name = "NODE")]
    lost: Vec<String>,
    /// Do it: without this it is only said how far the log goes and what would be done.
    #[arg(long)]
    accept_loss: bool,
    /// Print the outcome as one JSON object.
    #[arg(long)]
    json: bool,
}

impl Recover {
    pub(super) fn run(&self) -> ExitCode {
        let What::Control(control) = &self.what;
        conclude(control.answer())
    }
}

impl Control {
    fn answer(&self) -> Result<String, String> {
        let survivor = recover_control(&self.data_dir, &self.lost, self.accept_loss, &SystemChance);
        let survivor = survivor.map_err(|error| error.to_string())?;
        if self.json {
            return Ok(as_json(&survivor));
        }
        let said = told(&survivor);
        if survivor.done { Ok(said) } else { Err(said) }
    }
}

fn as_json(survivor: &Survivor) -> String {
    serde_json::json!({
        "name": survivor.name, "cluster": survivor.cluster, "term": survivor.last.0,
        "index": survivor.last.1, "voters": survivor.voters,
        "generation": survivor.generation, "lost": survivor.lost, "done": survivor.done,
    })
    .to_string()
}

fn told(survivor: &Survivor) -> String {
    let Survivor {
        name,
        cluster,
        last: (term, index),
        voters,
        generation,
        lost,
        done,
    } = survivor;
    if *done {
        return format!(
            "the control group of cluster {cluster} goes on from {name} as generation {generation}; given up for ever: {}.\nStart {name} now, then the other boards that are left. `cairn ring` says what is still missing, and `cairn ring recover` what is lost with it.",
            lost.join(", ")
        );
    }
    format!(
        "nothing is changed. The control log of {name} (cluster {cluster}, generation {generation}) ends at term {term}, index {index}; by it the voters are {}.\nIf a majority of these can be started, do that: they go on by themselves. Otherwise look at this on every board that is left, and on the one with the highest term, and of those the highest index, name all that are gone for good: cairn recover control --data-dir ... --lost NODE --accept-loss",
        voters.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_where_the_log_ends_and_what_was_done() {
        let mut survivor = Survivor {
            name: "board-3".to_owned(),
            cluster: "c0ffee".to_owned(),
            last: (4, 77),
            voters: vec!["board-1".to_owned(), "board-3".to_owned()],
            ..Survivor::default()
        };
        let before = told(&survivor);
        assert!(before.starts_with("nothing is changed") && before.contains("term 4, index 77"));
        assert!(before.contains("board-1, board-3"));
        survivor.done = true;
        survivor.generation = 1;
        survivor.lost = vec!["board-1".to_owned()];
        let after = told(&survivor);
        assert!(after.contains("generation 1") && after.contains("given up for ever: board-1"));
    }
}
